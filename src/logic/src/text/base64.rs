//! Base64 (RFC 4648) as `ngx.encode_base64`, `ngx.decode_base64` and the `ngx.base64` library do it.
//!
//! nginx's decoder, which they use, is lenient in three ways that scripts rely on: padding is optional, everything
//! from the first `=` on is ignored, and the bits left over in the last character may be anything. It refuses a
//! character outside the alphabet (line ends too) and a length that leaves a lone character.

use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::Engine;
use memchr::memchr;

static PADDED: GeneralPurpose = engine(&STANDARD, true);
static UNPADDED: GeneralPurpose = engine(&STANDARD, false);
static URL: GeneralPurpose = engine(&URL_SAFE, false);

const fn engine(alphabet: &Alphabet, padding: bool) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_encode_padding(padding)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config)
}

/// How long `encode` makes `len` bytes; `None` past what can be addressed.
pub fn encoded_len(len: usize, padding: bool) -> Option<usize> {
    base64::encoded_len(len, padding)
}

/// The bound of what the decoders append for `len` characters.
pub const fn decoded_len_bound(len: usize) -> usize {
    len.div_ceil(4).saturating_mul(3)
}

/// `ngx.encode_base64`.
pub fn encode(src: &[u8], padding: bool, out: &mut Vec<u8>) {
    encode_by(if padding { &PADDED } else { &UNPADDED }, src, out);
}

/// `encode_base64url` of the `ngx.base64` library: `-` and `_`, no padding.
pub fn encode_url(src: &[u8], out: &mut Vec<u8>) {
    encode_by(&URL, src, out);
}

/// `ngx.decode_base64`. False, and nothing appended, when it does not decode.
pub fn decode(src: &[u8], out: &mut Vec<u8>) -> bool {
    decode_by(&UNPADDED, src, out)
}

/// `decode_base64url` of the `ngx.base64` library. False, and nothing appended, when it does not decode.
pub fn decode_url(src: &[u8], out: &mut Vec<u8>) -> bool {
    decode_by(&URL, src, out)
}

/// `ngx.decode_base64mime`: as `decode`, but characters outside the alphabet are skipped (RFC 2045, section 6.8).
pub fn decode_mime(src: &[u8], out: &mut Vec<u8>) -> bool {
    let text = &src[..memchr(b'=', src).unwrap_or(src.len())];
    // what is not skipped is decoded in blocks of whole quadruples, so that no memory is needed for it
    let start = out.len();
    let mut block = [0; 256];
    let mut filled = 0;
    for &byte in text {
        if byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/' {
            block[filled] = byte;
            filled += 1;
            if filled == block.len() {
                decode_by(&UNPADDED, &block, out);
                filled = 0;
            }
        }
    }
    let decoded = decode_by(&UNPADDED, &block[..filled], out);
    if !decoded {
        out.truncate(start);
    }
    decoded
}

fn encode_by(engine: &GeneralPurpose, src: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    // four characters for three bytes bound every mode; what is not used is cut off
    out.resize(start + src.len().div_ceil(3) * 4, 0);
    // an error says that the room does not do, and it always does
    let len = engine.encode_slice(src, &mut out[start..]).unwrap_or(0);
    out.truncate(start + len);
}

fn decode_by(engine: &GeneralPurpose, src: &[u8], out: &mut Vec<u8>) -> bool {
    let text = &src[..memchr(b'=', src).unwrap_or(src.len())];
    let start = out.len();
    out.resize(start + decoded_len_bound(text.len()), 0);
    let len = engine.decode_slice(text, &mut out[start..]);
    out.truncate(start + len.as_ref().map_or(0, |len| *len));
    len.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Decoder = fn(&[u8], &mut Vec<u8>) -> bool;

    /// What a decoder appends, or `None`; a refusal must append nothing.
    fn run(decoder: Decoder, src: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        let decoded = decoder(src, &mut out);
        assert!(decoded || out == b"before");
        assert!(out.len() - 6 <= decoded_len_bound(src.len()));
        decoded.then(|| out.split_off(6))
    }

    #[test]
    fn encodes_with_and_without_padding() {
        for (src, padded, url) in [
            ("", "", ""),
            ("f", "Zg==", "Zg"),
            ("fo", "Zm8=", "Zm8"),
            ("foo", "Zm9v", "Zm9v"),
            ("hello", "aGVsbG8=", "aGVsbG8"),
            ("\u{3ff}\u{3fe}>?", "z7/Pvj4/", "z7_Pvj4_"),
        ] {
            let mut out = b"x".to_vec();
            encode(src.as_bytes(), true, &mut out);
            assert_eq!(out, format!("x{padded}").as_bytes());
            assert_eq!(encoded_len(src.len(), true), Some(padded.len()));
            out.truncate(1);
            encode(src.as_bytes(), false, &mut out);
            assert_eq!(out, format!("x{}", padded.trim_end_matches('=')).as_bytes());
            assert_eq!(encoded_len(src.len(), false), Some(url.len()));
            out.truncate(1);
            encode_url(src.as_bytes(), &mut out);
            assert_eq!(out, format!("x{url}").as_bytes());
        }
    }

    #[test]
    fn decodes_what_nginx_decodes() {
        for (src, want) in [
            ("", Some(&b""[..])),
            ("=", Some(b"")),
            ("====", Some(b"")),
            ("=a!", Some(b"")),
            ("aGVsbG8=", Some(b"hello")),
            ("aGVsbG8", Some(b"hello")),
            ("aGVsbG8====", Some(b"hello")),
            ("aGVsbG8=\nmore", Some(b"hello")),
            ("Zg=", Some(b"f")),
            ("Zh", Some(b"f")),
            ("Zm//", Some(b"fo\xff")),
            ("Z", None),
            ("Z===", None),
            ("Zm9vZ", None),
            ("Zm9v\n", None),
            ("Zm 9v", None),
            ("Zm-_", None),
            ("Zm\u{e9}v", None),
            ("     ", None),
        ] {
            assert_eq!(run(decode, src.as_bytes()).as_deref(), want, "{src:?}");
        }
    }

    #[test]
    fn url_alphabet_takes_its_own_characters_only() {
        for (src, want) in [
            ("_w", Some(&b"\xff"[..])),
            ("-_-_", Some(b"\xfb\xff\xbf")),
            ("YQBi", Some(b"a\0b")),
            ("Zg==", Some(b"f")),
            ("+/", None),
            ("     ", None),
        ] {
            assert_eq!(run(decode_url, src.as_bytes()).as_deref(), want, "{src:?}");
        }
    }

    #[test]
    fn mime_skips_what_is_outside_the_alphabet() {
        for (src, want) in [
            ("aGVs\r\nbG8=\n", Some(&b"hello"[..])),
            ("!a\nG-V_s[b]G8=", Some(b"hello")),
            ("^&$", Some(b"")),
            ("", Some(b"")),
            ("zaaLg==", None),
        ] {
            assert_eq!(run(decode_mime, src.as_bytes()).as_deref(), want, "{src:?}");
        }
    }

    #[test]
    fn sizes_around_a_buffer() {
        assert_eq!(run(decode, &[b'a'; 5460]).map(|out| out.len()), Some(4095));
        assert_eq!(run(decode, &[b'a'; 5462]).map(|out| out.len()), Some(4096));
        assert_eq!(run(decode, &[b'a'; 5461]), None);
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(src in prop::collection::vec(any::<u8>(), 0..600), padding in any::<bool>()) {
            let mut out = Vec::new();
            encode(&src, padding, &mut out);
            prop_assert_eq!(Some(out.len()), encoded_len(src.len(), padding));
            let lines: Vec<u8> = out.chunks(76).flat_map(|line| [line, b"\r\n"].concat()).collect();
            prop_assert_eq!(run(decode, &out), Some(src.clone()));
            prop_assert_eq!(run(decode_mime, &lines), Some(src.clone()));
            out.clear();
            encode_url(&src, &mut out);
            prop_assert_eq!(run(decode_url, &out), Some(src));
        }
    }
}
