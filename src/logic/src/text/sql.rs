//! `ngx.quote_sql_str`: a text as a quoted MySQL string literal.

/// Appends `src` in single quotes, with MySQL's backslash escapes for the characters that need one. Bytes past ASCII
/// stay as they are, so the connection must use a character set whose multi-byte characters hold no ASCII byte
/// (UTF-8 does, GBK does not). Bound: twice the length, and two.
pub fn quote_sql_str(src: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    let mut rest = src;
    while let Some((i, letter)) = rest.iter().enumerate().find_map(|(i, &byte)| Some((i, escape(byte)?))) {
        out.extend_from_slice(&rest[..i]);
        out.extend_from_slice(&[b'\\', letter]);
        rest = &rest[i + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

/// What follows the backslash, for a byte that gets one.
#[inline]
fn escape(byte: u8) -> Option<u8> {
    Some(match byte {
        0 => b'0',
        0x08 => b'b',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x1a => b'Z',
        b'\\' | b'\'' | b'"' => byte,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quoted(src: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        quote_sql_str(src, &mut out);
        out
    }

    #[test]
    fn each_escape() {
        for (src, want) in [
            (&b""[..], &br"''"[..]),
            (b"a\0b\0", br"'a\0b\0'"),
            (b"\t\x08\n\r\x1a", br"'\t\b\n\r\Z'"),
            (b"\\ '\"", br#"'\\ \'\"'"#),
            ("a你\u{7f}\x0b%_".as_bytes(), "'a你\u{7f}\x0b%_'".as_bytes()),
        ] {
            assert_eq!(quoted(src), want);
        }
    }

    proptest! {
        #[test]
        fn literal_ends_at_its_own_quote_and_reads_back(src in prop::collection::vec(any::<u8>(), 0..40)) {
            let out = quoted(&src);
            let mut back = Vec::new();
            let mut body = out[1..out.len() - 1].iter();
            while let Some(&byte) = body.next() {
                prop_assert!(byte != b'\'' && byte != b'"' && byte != 0);
                back.push(match byte {
                    b'\\' => match body.next().copied() {
                        Some(b'0') => 0,
                        Some(b'b') => 8,
                        Some(b'n') => b'\n',
                        Some(b'r') => b'\r',
                        Some(b't') => b'\t',
                        Some(b'Z') => 0x1a,
                        Some(other) => other,
                        None => panic!("a backslash eats the closing quote"),
                    },
                    _ => byte,
                });
            }
            prop_assert_eq!(back, src);
        }
    }
}
