//! `ngx.escape_uri` and its kin, base64, checksums and digests, `ngx.quote_sql_str`: bytes in, bytes out.

use logic::text::uri::Escape;
use logic::text::{base64, hash, sql, uri};

use crate::native::{natives, Cx, Str};

const SAME: i32 = 0;
const CHANGED: i32 = 1;

/// Lends what `write` makes.
fn made(cx: Cx, out: &mut Str, write: impl FnOnce(&mut Vec<u8>)) {
    let buffer = cx.scratch();
    write(buffer);
    out.lend(buffer);
}

natives! {
    /// `SAME` if there is nothing to escape; then `out` is not set.
    fn codec_escape_uri(cx, s: bytes, kind: val<i32>, out: out<Str>) -> i32 {
        let Some(escape) = Escape::from_number(kind.into()) else { return -1 };
        if escape.set().find(s).is_none() {
            return SAME;
        }
        made(cx, out, |buffer| {
            buffer.reserve(escape.set().escaped_len(s));
            uri::escape_uri(s, escape, buffer);
        });
        CHANGED
    }

    fn codec_unescape_uri(cx, s: bytes, out: out<Str>) -> () {
        made(cx, out, |buffer| uri::unescape_uri(s, buffer));
    }

    fn codec_encode_base64(cx, s: bytes, padding: val<i32>, out: out<Str>) -> () {
        made(cx, out, |buffer| base64::encode(s, padding != 0, buffer));
    }

    fn codec_encode_base64url(cx, s: bytes, out: out<Str>) -> () {
        made(cx, out, |buffer| base64::encode_url(s, buffer));
    }

    /// 1, or 0 for what is no base64. `kind`: 0 standard, 1 URL-safe, 2 MIME.
    fn codec_decode_base64(cx, s: bytes, kind: val<i32>, out: out<Str>) -> i32 {
        let buffer = cx.scratch();
        let decode = match kind {
            0 => base64::decode,
            1 => base64::decode_url,
            _ => base64::decode_mime,
        };
        let ok = decode(s, buffer);
        out.lend(buffer);
        ok.into()
    }

    fn codec_crc32(cx, s: bytes) -> f64 {
        hash::crc32(s).into()
    }

    fn codec_md5(cx, s: bytes, out: out<Str>) -> () {
        made(cx, out, |buffer| buffer.extend_from_slice(&hash::md5_hex(s)));
    }

    fn codec_md5_bin(cx, s: bytes, out: out<Str>) -> () {
        made(cx, out, |buffer| buffer.extend_from_slice(&hash::md5(s)));
    }

    fn codec_sha1_bin(cx, s: bytes, out: out<Str>) -> () {
        made(cx, out, |buffer| buffer.extend_from_slice(&hash::sha1(s)));
    }

    fn codec_hmac_sha1(cx, key: bytes, s: bytes, out: out<Str>) -> () {
        made(cx, out, |buffer| buffer.extend_from_slice(&hash::hmac_sha1(key, s)));
    }

    fn codec_quote_sql_str(cx, s: bytes, out: out<Str>) -> () {
        made(cx, out, |buffer| sql::quote_sql_str(s, buffer));
    }
}
