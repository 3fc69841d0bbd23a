//! Names and values of headers that scripts set: what is legal, and what becomes of what is not.
//!
//! A script may put text of a client into a header. Were a line end let through, the client could add headers, or a
//! whole second response, of its own (HTTP response splitting); so what cannot stand in a name or value is escaped.

use super::byte_set::ByteSet;
use memchr::memchr;

/// Bytes that are no part of a "token" of RFC 9110, section 5.6.2.
static NAME: ByteSet = ByteSet::EMPTY.range(0, 0x20).range(0x7f, 0xff).with(b"\"(),/:;<=>?@[\\]{}");
/// Control characters but the tab.
static VALUE: ByteSet = ByteSet::EMPTY.range(0, 0x1f).with(&[0x7f]).without(b"\t");

/// Whether a name is legal: a "token" of RFC 9110.
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && is_plain_name(name)
}

/// Whether `escape_name` would change nothing.
pub fn is_plain_name(name: &[u8]) -> bool {
    NAME.find(name).is_none()
}

/// Whether `escape_value` would change nothing.
pub fn is_plain_value(value: &[u8]) -> bool {
    VALUE.find(value).is_none()
}

/// A name as `ngx.header`, `ngx.req.set_header` and their like write it: `%XX` for separators, control characters,
/// space and bytes past ASCII. Bound: three times the length.
pub fn escape_name(name: &[u8], out: &mut Vec<u8>) {
    NAME.escape(name, out);
}

/// A value as they write it: `%XX` for control characters but the tab. Bound: three times the length.
pub fn escape_value(value: &[u8], out: &mut Vec<u8>) {
    VALUE.escape(value, out);
}

/// `lua_transform_underscores_in_response_headers`: `ngx.header.content_type` names `content-type`.
pub fn hyphenate(name: &mut [u8]) {
    let mut rest = name;
    while let Some(i) = memchr(b'_', rest) {
        rest[i] = b'-';
        rest = &mut rest[i + 1..];
    }
}

/// The key under which the tables of `ngx.req.get_headers` and `ngx.resp.get_headers` keep a header. Bound: the length.
pub fn lower_case(name: &[u8], out: &mut Vec<u8>) {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
}

/// The key such a table tries when a script asks for `Content_Type`: lower case, hyphens. Bound: the length.
pub fn lookup_key(name: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    lower_case(name, out);
    hyphenate(&mut out[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(f: fn(&[u8], &mut Vec<u8>), src: &[u8]) -> Vec<u8> {
        let mut out = b"x".to_vec();
        f(src, &mut out);
        assert!(out.len() <= 1 + 3 * src.len());
        out.split_off(1)
    }

    #[test]
    fn names_and_values_cannot_break_the_line() {
        for (name, want) in [
            ("X-Foo", "X-Foo"),
            ("header: value\rfoo:bar\nbar:foo", "header%3A%20value%0Dfoo%3Abar%0Abar%3Afoo"),
            ("\nheader", "%0Aheader"),
            ("a\tb\0\x7f你", "a%09b%00%7F%E4%BD%A0"),
            ("!#$%&'*+-.^_`|~", "!#$%&'*+-.^_`|~"),
            ("\"(),/;<=>?@[\\]{}", "%22%28%29%2C%2F%3B%3C%3D%3E%3F%40%5B%5C%5D%7B%7D"),
        ] {
            assert_eq!(run(escape_name, name.as_bytes()), want.as_bytes(), "{name:?}");
            assert_eq!(is_plain_name(name.as_bytes()), name == want);
        }
        for (value, want) in [
            ("value\rfoo:bar\nbar:foo", "value%0Dfoo:bar%0Abar:foo"),
            ("new\nvalue, foo\tbar.", "new%0Avalue, foo\tbar."),
            ("\"100%\" 你 \0\x1f\x7f", "\"100%\" 你 %00%1F%7F"),
            ("", ""),
        ] {
            assert_eq!(run(escape_value, value.as_bytes()), want.as_bytes(), "{value:?}");
            assert_eq!(is_plain_value(value.as_bytes()), value == want);
        }
    }

    #[test]
    fn tokens() {
        for (name, want) in
            [("Host", true), ("x_y.z~1'", true), ("", false), ("a b", false), ("a:", false), ("é", false)]
        {
            assert_eq!(is_token(name.as_bytes()), want, "{name:?}");
        }
        let marks: Vec<u8> =
            (0..=255).filter(|b: &u8| !b.is_ascii_alphanumeric() && is_token(&[*b])).collect();
        assert_eq!(marks, b"!#$%&'*+-.^_`|~");
    }

    #[test]
    fn case_and_underscores() {
        assert_eq!(run(lookup_key, b"X_Forwarded_FOR"), b"x-forwarded-for");
        assert_eq!(run(lower_case, b"X_Foo-\xc9"), b"x_foo-\xc9");
        let mut name = *b"__Content_Type_";
        hyphenate(&mut name);
        assert_eq!(&name, b"--Content-Type-");
    }

    proptest! {
        #[test]
        fn escaped_text_is_plain(src in prop::collection::vec(any::<u8>(), 0..40)) {
            let name = run(escape_name, &src);
            prop_assert!(is_plain_name(&name));
            prop_assert!(src.is_empty() || is_token(&name));
            prop_assert!(is_plain_value(&run(escape_value, &src)));
        }
    }
}
