//! Digests and checksums of `ngx.md5`, `ngx.md5_bin`, `ngx.sha1_bin`, `ngx.hmac_sha1` and `ngx.crc32_short/long`.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;

/// `ngx.md5_bin` (RFC 1321).
pub fn md5(src: &[u8]) -> [u8; 16] {
    Md5::digest(src).into()
}

/// `ngx.md5`: lower-case hex.
pub fn md5_hex(src: &[u8]) -> [u8; 32] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 32];
    for (pair, byte) in out.chunks_exact_mut(2).zip(md5(src)) {
        pair.copy_from_slice(&[HEX[(byte >> 4) as usize], HEX[(byte & 15) as usize]]);
    }
    out
}

/// `ngx.sha1_bin` (RFC 3174).
pub fn sha1(src: &[u8]) -> [u8; 20] {
    Sha1::digest(src).into()
}

/// `ngx.hmac_sha1` (RFC 2104); a key may have any length.
pub fn hmac_sha1(key: &[u8], src: &[u8]) -> [u8; 20] {
    // the error is for constructions that need a key of a certain length, and HMAC takes any
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(src);
    mac.finalize().into_bytes().into()
}

/// `ngx.crc32_short` and `ngx.crc32_long`: one checksum (that of Ethernet and gzip), which nginx computes with two
/// sizes of table; here it is one routine, fast on short and long text.
pub fn crc32(src: &[u8]) -> u32 {
    crc32fast::hash(src)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn digests_of_their_rfcs() {
        // RFC 1321 A.5
        for (src, want) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(hex(&md5(src.as_bytes())), want);
            assert_eq!(md5_hex(src.as_bytes()), want.as_bytes());
        }
        // RFC 3174 7.3
        assert_eq!(hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(&sha1(b"")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(&sha1(&[b'a'; 1_000_000])), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
        // RFC 2202 3
        for (key, src, want) in [
            (&[0x0b; 20][..], &b"Hi There"[..], "b617318655057264e28bc0b6fb378c8ef146be00"),
            (b"Jefe", b"what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                &[0xaa; 80],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "aa4ae5e15272d00e95705637ce8a3b55ed402112",
            ),
            (b"", b"", "fbdb1d1b18aa6c08324b7d64b71fb76370690e1d"),
        ] {
            assert_eq!(hex(&hmac_sha1(key, src)), want);
        }
    }

    #[test]
    fn crc32_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b"hello, world"), 4_289_425_978);
        assert_eq!(crc32(b""), 0);
    }
}
