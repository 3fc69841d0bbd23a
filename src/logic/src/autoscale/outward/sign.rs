//! The signature of webhooks, as the Standard Webhooks specification (standardwebhooks.com) has it, so that receivers find a library.
//!
//! Signed with HMAC-SHA256 (RFC 2104, FIPS 180-4) is `ID.TIMESTAMP.BODY`; the header says `v1,` and the signature in base64. A receiver
//! computes the same, compares in constant time and refuses a timestamp more than five minutes off; what is left of that window is for
//! the `id`, which it remembers.

use crate::text::base64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The value of the header `webhook-signature`. `secret` is the file's content: bytes as they are but for white space at the end, or
/// `whsec_` and base64.
pub fn webhook(secret: &[u8], id: &str, unix_s: i64, body: &[u8]) -> String {
    let mut signature = b"v1,".to_vec();
    let digest = hmac_sha256(&key(secret), &[id.as_bytes(), b".", unix_s.to_string().as_bytes(), b".", body]);
    base64::encode(&digest, true, &mut signature);
    String::from_utf8(signature).unwrap_or_default()
}

fn key(secret: &[u8]) -> Vec<u8> {
    let secret = secret.trim_ascii_end();
    let mut key = Vec::new();
    match secret.strip_prefix(b"whsec_") {
        Some(text) if base64::decode(text, &mut key) => key,
        _ => secret.to_vec(),
    }
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // the error is for constructions that need a key of a certain length, and HMAC takes any
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn digests_are_those_of_rfc_4231() {
        for (key, src, want) in [
            (
                &[0x0b; 20][..],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
        ] {
            assert_eq!(hex(&hmac_sha256(key, &[src])), want);
        }
    }

    #[test]
    fn secrets_come_in_two_forms() {
        assert_eq!(key(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")[..3], [0x31, 0xf2, 0x90]);
        assert_eq!(key(b"plain secret\r\n"), b"plain secret");
        assert_eq!(key(b"whsec_not base64!"), b"whsec_not base64!");
    }

    /// The example of the specification's libraries.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
        let body = br#"{"test": 2432232314}"#;
        let signature = webhook(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
