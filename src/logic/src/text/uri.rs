//! Percent-escaping, as `ngx.escape_uri`, `ngx.unescape_uri`, `ngx.req.set_uri` and `ngx.redirect` do it.

use super::byte_set::ByteSet;
use memchr::memchr2;

/// What a text is escaped for. The numbers are the `type` argument of `ngx.escape_uri`; its documentation names 0 and
/// 2, the others are those of nginx's own escaping function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    Uri = 0,
    Args = 1,
    Component = 2,
    Html = 3,
    Refresh = 4,
    Memcached = 5,
    MailAuth = 6,
}

/// Control characters and all that is not ASCII.
const UNPRINTABLE: ByteSet = ByteSet::EMPTY.range(0, 0x1f).range(0x7f, 0xff);

static URI: ByteSet = UNPRINTABLE.with(b" #%?");
static ARGS: ByteSet = UNPRINTABLE.with(b" #%?+");
/// RFC 3986 "reserved" and what no URI may hold; the marks `!'()*` stay as they are.
static COMPONENT: ByteSet = UNPRINTABLE.with(b" \"#$%&+,/:;<=>?@[\\]^`{|}");
static HTML: ByteSet = UNPRINTABLE.with(b" \"#%'");
static REFRESH: ByteSet = UNPRINTABLE.with(b" \"'");
static MEMCACHED: ByteSet = ByteSet::EMPTY.range(0, 0x1f).with(b" %");

/// What may not stand in a URI given to `ngx.redirect` or `ngx.req.set_uri`.
static UNSAFE: ByteSet = ByteSet::EMPTY.range(0, 0x1f).with(&[0x7f]).without(b"\t");
/// What a query string given whole to `ngx.req.set_uri_args` gets escaped.
static QUERY: ByteSet = ByteSet::EMPTY.range(0, 0x20).with(&[0x7f]);
/// What a text shown in the error log gets escaped.
static LOG: ByteSet = UNPRINTABLE.with(b"\"\\");

impl Escape {
    /// The type with this number, if there is one.
    pub fn from_number(number: i64) -> Option<Self> {
        use Escape::*;
        [Uri, Args, Component, Html, Refresh, Memcached, MailAuth].into_iter().find(|e| *e as i64 == number)
    }

    /// The bytes it escapes.
    pub fn set(self) -> &'static ByteSet {
        match self {
            Escape::Uri => &URI,
            Escape::Args => &ARGS,
            Escape::Component => &COMPONENT,
            Escape::Html => &HTML,
            Escape::Refresh => &REFRESH,
            Escape::Memcached | Escape::MailAuth => &MEMCACHED,
        }
    }
}

/// `ngx.escape_uri`. Bound: three times the length; exact: `Escape::set(…).escaped_len(…)`.
pub fn escape_uri(src: &[u8], escape: Escape, out: &mut Vec<u8>) {
    escape.set().escape(src, out);
}

/// `ngx.unescape_uri`: `%XX` becomes a byte and `+` a space; a `%` without two hex digits stays. Bound: the length.
pub fn unescape_uri(src: &[u8], out: &mut Vec<u8>) {
    let mut rest = src;
    while let Some(i) = memchr2(b'%', b'+', rest) {
        out.extend_from_slice(&rest[..i]);
        let (byte, taken) = match &rest[i..] {
            [b'+', ..] => (b' ', 1),
            [_, high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            _ => (b'%', 1),
        };
        out.push(byte);
        rest = &rest[i + taken..];
    }
    out.extend_from_slice(rest);
}

/// Whether `unescape_uri` would change nothing.
pub fn is_unescaped(src: &[u8]) -> bool {
    memchr2(b'%', b'+', src).is_none()
}

/// A query string given whole to `ngx.req.set_uri_args`: control characters and spaces are escaped, nothing else.
/// Bound: three times the length.
pub fn escape_query(src: &[u8], out: &mut Vec<u8>) {
    QUERY.escape(src, out);
}

/// The first byte for which `ngx.redirect` and `ngx.req.set_uri` (unless told that the URI is binary) refuse a URI:
/// any control character but the tab.
pub fn unsafe_byte(uri: &[u8]) -> Option<u8> {
    UNSAFE.find(uri).map(|i| uri[i])
}

/// A text as error messages show it: `"`, `\`, control characters and bytes past ASCII become `\xXX`.
/// Bound: four times the length.
pub fn escape_log(src: &[u8], out: &mut Vec<u8>) {
    LOG.escape_as(b"\\x", src, out);
}

/// The message for a URI that `unsafe_byte` refused; `what` is `uri` or `redirect uri`.
pub fn unsafe_message(what: &str, byte: u8, uri: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("unsafe byte \"0x{byte:02x}\" in {what} \"").as_bytes());
    escape_log(uri, out);
    out.push(b'"');
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(src: impl AsRef<[u8]>, number: i64) -> String {
        let mut out = Vec::new();
        escape_uri(src.as_ref(), Escape::from_number(number).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn unescaped(src: impl AsRef<[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        unescape_uri(src.as_ref(), &mut out);
        out
    }

    /// The ASCII characters above space that a set leaves as they are, in order.
    fn kept(set: &ByteSet) -> String {
        (b'!'..0x7f).filter(|&b| !set.contains(b) && !b.is_ascii_alphanumeric()).map(char::from).collect()
    }

    #[test]
    fn component_escaping_is_the_default() {
        for (src, want) in [
            ("", ""),
            ("abc", "abc"),
            ("a 你", "a%20%E4%BD%A0"),
            ("a+b", "a%2Bb"),
            ("\"a/b={}:<>;&[]\\^", "%22a%2Fb%3D%7B%7D%3A%3C%3E%3B%26%5B%5D%5C%5E"),
            ("-_.!~*'()", "-_.!~*'()"),
            (",$@|`", "%2C%24%40%7C%60"),
            ("\0\x1f\x7f", "%00%1F%7F"),
        ] {
            assert_eq!(escaped(src, 2), want, "{src:?}");
        }
    }

    #[test]
    fn each_type_escapes_its_own_set() {
        let uri = "https://h.test/?t=abc@ :";
        for (number, want) in [
            (0, "https://h.test/%3Ft=abc@%20:"),
            (1, "https://h.test/%3Ft=abc@%20:"),
            (2, "https%3A%2F%2Fh.test%2F%3Ft%3Dabc%40%20%3A"),
            (3, "https://h.test/?t=abc@%20:"),
            (4, "https://h.test/?t=abc@%20:"),
            (5, "https://h.test/?t=abc@%20:"),
            (6, "https://h.test/?t=abc@%20:"),
        ] {
            assert_eq!(escaped(uri, number), want, "type {number}");
        }
        assert_eq!(escaped("-_.~!*'();:@&=+$,/?#", 0), "-_.~!*'();:@&=+$,/%3F%23");
        assert_eq!(escaped("<>[]{}\\\" ", 0), "<>[]{}\\\"%20");
        for (number, want) in [
            (0, "!\"$&'()*+,-./:;<=>@[\\]^_`{|}~"),
            (1, "!\"$&'()*,-./:;<=>@[\\]^_`{|}~"),
            (2, "!'()*-._~"),
            (3, "!$&()*+,-./:;<=>?@[\\]^_`{|}~"),
            (4, "!#$%&()*+,-./:;<=>?@[\\]^_`{|}~"),
            (5, "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
        ] {
            let set = Escape::from_number(number).unwrap().set();
            assert_eq!(kept(set), want, "type {number}");
            assert_eq!(set.contains(0x7f), number != 5);
            assert_eq!(set.contains(0xff), number != 5);
            assert!((0..=b' ').all(|b| set.contains(b)));
        }
        assert_eq!(Escape::from_number(-1), None);
        assert_eq!(Escape::from_number(7), None);
    }

    #[test]
    fn unescape_leaves_what_is_no_escape() {
        for (src, want) in [
            ("a%20%e4%bd%a0", "a 你"),
            ("b%20r56+7", "b r56 7"),
            ("try %search%%20%again%", "try %search% %again%"),
            ("%ua%%20%au", "%ua% %au"),
            ("%a", "%a"),
            ("%u", "%u"),
            ("%", "%"),
            ("good%20job%", "good job%"),
            ("%2", "%2"),
            ("%+1", "% 1"),
            ("%4g%4G%41", "%4g%4GA"),
            ("", ""),
        ] {
            assert_eq!(unescaped(src), want.as_bytes(), "{src:?}");
        }
    }

    #[test]
    fn control_characters_but_the_tab_are_unsafe() {
        let all: Vec<u8> = (0..=255).filter(|&b| unsafe_byte(&[b'/', b]) == Some(b)).collect();
        let want: Vec<u8> = (0..=8).chain(10..=0x1f).chain([0x7f]).collect();
        assert_eq!(all, want);
        assert_eq!(unsafe_byte(b"/a b\t\"\xff"), None);
        assert_eq!(unsafe_byte(b"/a\r\n"), Some(b'\r'));

        let mut out = Vec::new();
        unsafe_message("redirect uri", b'\r', b"\rhttp\\://\"h.test\"/\xff", &mut out);
        assert_eq!(out, b"unsafe byte \"0x0d\" in redirect uri \"\\x0Dhttp\\x5C://\\x22h.test\\x22/\\xFF\"");
    }

    #[test]
    fn whole_query_keeps_its_structure() {
        let mut out = Vec::new();
        escape_query(b"a=b c&d=\r\n\x7f%20+\xff", &mut out);
        assert_eq!(out, b"a=b%20c&d=%0D%0A%7F%20+\xff");
    }

    proptest! {
        #[test]
        fn unescape_undoes_escape(src in prop::collection::vec(any::<u8>(), 0..60), number in 0i64..7) {
            let set = Escape::from_number(number).unwrap().set();
            let mut out = b"before".to_vec();
            set.escape(&src, &mut out);
            prop_assert_eq!(out.len(), 6 + set.escaped_len(&src));
            prop_assert!(set.find(&out[6..]).is_none_or(|i| out[6 + i] == b'%'));
            if number != 4 { // "refresh" keeps the percent sign, so it cannot be undone
                // types other than 1 and 2 keep "+", which unescaping turns into a space
                let want: Vec<u8> =
                    src.iter().map(|&b| if b == b'+' && number != 1 && number != 2 { b' ' } else { b }).collect();
                prop_assert_eq!(unescaped(&out[6..]), want);
            }
        }

        #[test]
        fn unescape_never_grows_nor_empties(src in "[%+0-9a-gA-G]{0,30}") {
            let out = unescaped(&src);
            prop_assert!(out.len() <= src.len());
            prop_assert_eq!(out.is_empty(), src.is_empty());
        }
    }
}
