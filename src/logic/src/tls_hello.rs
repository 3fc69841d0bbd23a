//! What a client's first TLS message says: the extensions that decide whether its session is looked up by an id.
//!
//! The formats are those of RFC 6066, section 3 (server names), and RFC 8446, section 4.2.1 (supported versions).

/// TLS 1.3 on the wire.
const TLS_1_3: [u8; 2] = [3, 4];

/// The first host name of a server name extension; `None` for one that is malformed.
pub fn server_name(extension: &[u8]) -> Option<&[u8]> {
    let list = sized(extension).filter(|list| list.len() + 2 == extension.len())?;
    let (0, entry) = list.split_first().map(|(kind, entry)| (*kind, entry))? else { return None };
    sized(entry).filter(|name| !name.is_empty())
}

/// The bytes behind their length in two bytes.
fn sized(s: &[u8]) -> Option<&[u8]> {
    let (len, rest) = s.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}

/// Whether the supported versions extension has TLS 1.3.
pub fn offers_tls_1_3(extension: &[u8]) -> bool {
    let Some((len, versions)) = extension.split_first() else { return false };
    usize::from(*len) == versions.len() && versions.chunks_exact(2).any(|version| version == TLS_1_3)
}

/// Values that clients offer only so that servers get used to unknown ones (RFC 8701).
pub fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_name_is_read() {
        let extension = b"\x00\x0e\x00\x00\x0bexample.com";
        assert_eq!(server_name(extension), Some(&b"example.com"[..]));
    }

    #[test]
    fn a_malformed_server_name_is_none() {
        let extension = b"\x00\x0e\x00\x00\x0bexample.com";
        for cut in 0..extension.len() {
            assert_eq!(server_name(&extension[..cut]), None, "cut at {cut}");
        }
        assert_eq!(server_name(b"\x00\x0e\x01\x00\x0bexample.com"), None, "no host name");
        assert_eq!(server_name(b"\x00\x03\x00\x00\x00"), None, "an empty one");
        assert_eq!(server_name(b"\x00\x0e\x00\x00\x0cexample.com"), None, "longer than there is");
    }

    #[test]
    fn versions_are_found_whole() {
        assert!(offers_tls_1_3(&[4, 3, 4, 3, 3]));
        assert!(offers_tls_1_3(&[6, 0x0a, 0x0a, 3, 3, 3, 4]));
        assert!(!offers_tls_1_3(&[4, 3, 3, 3, 2]));
        assert!(!offers_tls_1_3(&[4, 0, 3, 4, 0]), "not across two versions");
        assert!(!offers_tls_1_3(&[2, 3, 4, 3, 3]), "of another length than it says");
        assert!(!offers_tls_1_3(&[]));
    }

    #[test]
    fn grease_is_sixteen_values() {
        assert_eq!((0..=u16::MAX).filter(|value| is_grease(*value)).count(), 16);
        assert!(is_grease(0x0a0a) && is_grease(0xfafa) && !is_grease(0x1301));
    }
}
