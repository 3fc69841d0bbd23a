//! Query strings: the pairs of `a=b&c&d=`, and how they are written.
//!
//! The peer reads them with two readers that differ in what a limit counts, and scripts can see it, so both are here.
//! `ngx.req.get_uri_args` limits pairs: it is truncated when more pieces stand between the `&` than the limit allows.
//! `ngx.decode_args` and `ngx.req.get_post_args` count each piece that a `&` ends, also those without a key, which
//! yield no pair, and are truncated as soon as the count reaches the limit, whether or not anything follows.

use super::uri::{escape_uri, Escape};
use memchr::memchr;

/// The limit when a script names none.
pub const DEFAULT_MAX: usize = 100;

/// One pair, still escaped: both sides are to go through `uri::unescape_uri`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg<'a> {
    /// Never empty, nor is it once unescaped.
    pub key: &'a [u8],
    /// `None` without `=`: the script sees `true`.
    pub value: Option<&'a [u8]>,
}

/// An iterator over the pairs. When it has ended, `truncated` tells whether a limit ended it.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    /// `None` once the text is used up.
    rest: Option<&'a [u8]>,
    /// What is left of the limit; `None` is no limit.
    left: Option<usize>,
    counts: Counts,
    truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Pairs,
    EndedPieces,
}

impl<'a> Args<'a> {
    /// Reads as `ngx.req.get_uri_args(max)`: zero is no limit, below zero the default.
    pub fn of_uri(src: &'a [u8], max: i64) -> Self {
        let max = usize::try_from(max).unwrap_or(DEFAULT_MAX);
        let truncated = max > 0 && !src.is_empty() && memchr::memchr_iter(b'&', src).count() >= max;
        // with no more pieces than the limit it cannot be hit
        Self { rest: Some(src), left: truncated.then_some(max), counts: Counts::Pairs, truncated }
    }

    /// Reads as `ngx.decode_args(str, max)` and `ngx.req.get_post_args(max)`: zero or below is no limit.
    pub fn of_text(src: &'a [u8], max: i64) -> Self {
        let left = usize::try_from(max).ok().filter(|&max| max > 0);
        Self { rest: Some(src), left, counts: Counts::EndedPieces, truncated: false }
    }

    /// Whether the limit cut pairs off. Only known when the iterator has ended.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Charges the limit; at its end nothing more is read.
    fn charge(&mut self) {
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                self.rest = None;
                self.truncated = true;
            }
        }
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = Arg<'a>;

    fn next(&mut self) -> Option<Arg<'a>> {
        loop {
            let src = self.rest?;
            let (piece, ended) = match memchr(b'&', src) {
                Some(i) => (&src[..i], true),
                None => (src, false),
            };
            self.rest = ended.then(|| &src[piece.len() + 1..]);
            let arg = match memchr(b'=', piece) {
                Some(i) => Arg { key: &piece[..i], value: Some(&piece[i + 1..]) },
                None => Arg { key: piece, value: None },
            };
            let pair = !arg.key.is_empty();
            if ended && (pair || self.counts == Counts::EndedPieces) {
                self.charge();
            }
            if pair {
                return Some(arg);
            }
        }
    }
}

/// Appends one pair as `ngx.encode_args` writes it, after a `&` unless `out` still ends at `start`. `None` is a key
/// without `=`, as for the value `true`. Bound: three times the lengths, and two.
pub fn encode_arg(key: &[u8], value: Option<&[u8]>, start: usize, out: &mut Vec<u8>) {
    if out.len() > start {
        out.push(b'&');
    }
    escape_uri(key, Escape::Component, out);
    if let Some(value) = value {
        out.push(b'=');
        escape_uri(value, Escape::Component, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::uri::unescape_uri;
    use super::*;
    use proptest::prelude::*;

    /// Pairs as text, and `!` when truncated.
    fn text(mut args: Args) -> String {
        let mut out: Vec<String> = Vec::new();
        for Arg { key, value } in args.by_ref() {
            let (mut k, mut v) = (Vec::new(), Vec::new());
            unescape_uri(key, &mut k);
            let k = String::from_utf8(k).unwrap();
            out.push(match value {
                Some(value) => {
                    unescape_uri(value, &mut v);
                    format!("{k}={}", String::from_utf8(v).unwrap())
                }
                None => k,
            });
        }
        if args.truncated() {
            out.push("!".into());
        }
        out.join(" ")
    }

    #[test]
    fn pairs_of_both_readers() {
        for (src, want) in [
            ("", ""),
            ("&", ""),
            ("=", ""),
            ("&=&", ""),
            ("a=bar&b=foo", "a=bar b=foo"),
            ("foo&baz=", "foo baz="),
            ("a%2C+b=1%3D%26", "a, b=1=&"),
            ("f+f=b+z&f=", "f f=b z f="),
            ("a==b=c", "a==b=c"),
            ("=hello&=world", ""),
            ("a&&b&", "a b"),
            ("%=%", "%=%"),
            ("a=1&a=2", "a=1 a=2"),
        ] {
            assert_eq!(text(Args::of_uri(src.as_bytes(), 0)), want, "{src:?}");
            assert_eq!(text(Args::of_text(src.as_bytes(), 0)), want, "{src:?}");
        }
    }

    #[test]
    fn limits_of_both_readers() {
        for (src, max, uri, body) in [
            ("foo=3&bar=4&baz=2", 2, "foo=3 bar=4 !", "foo=3 bar=4 !"),
            ("foo=3&bar&baz=2", 2, "foo=3 bar !", "foo=3 bar !"),
            ("foo=3&=hello&=world", 2, "foo=3 !", "foo=3 !"),
            ("a&b", 2, "a b", "a b"),
            ("a&b&", 2, "a b !", "a b !"),
            ("a", 1, "a", "a"),
            ("a&", 1, "a !", "a !"),
            ("&&a&b&c", 2, "a b !", "!"),
            ("&&a", 2, "a !", "!"),
            ("", 1, "", ""),
            ("a&b&c", 0, "a b c", "a b c"),
            ("a&b&c", -1, "a b c", "a b c"),
        ] {
            assert_eq!(text(Args::of_uri(src.as_bytes(), max)), uri, "uri {src:?} {max}");
            assert_eq!(text(Args::of_text(src.as_bytes(), max)), body, "text {src:?} {max}");
        }
    }

    #[test]
    fn below_zero_means_the_default_for_uri_args_and_no_limit_for_text() {
        let src = vec!["x=y"; 102].join("&");
        let mut uri = Args::of_uri(src.as_bytes(), -1);
        assert_eq!((uri.by_ref().count(), uri.truncated()), (100, true));
        let mut text = Args::of_text(src.as_bytes(), -1);
        assert_eq!((text.by_ref().count(), text.truncated()), (102, false));
    }

    #[test]
    fn encoding_joins_pairs() {
        let mut out = b"/path?".to_vec();
        let start = out.len();
        encode_arg(b"foo", Some(b"3"), start, &mut out);
        encode_arg(b"b r", Some(b"hello world"), start, &mut out);
        encode_arg(b"flag&", None, start, &mut out);
        encode_arg(b"e", Some(b""), start, &mut out);
        assert_eq!(out, b"/path?foo=3&b%20r=hello%20world&flag%26&e=");
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(
            pairs in prop::collection::vec((".{1,6}", prop::option::of(".{0,6}")), 0..6),
        ) {
            let mut out = Vec::new();
            for (key, value) in &pairs {
                encode_arg(key.as_bytes(), value.as_ref().map(|v| v.as_bytes()), 0, &mut out);
            }
            let back: Vec<(String, Option<String>)> = Args::of_text(&out, 0).map(|arg| {
                let plain = |src: &[u8]| {
                    let mut out = Vec::new();
                    unescape_uri(src, &mut out);
                    String::from_utf8(out).unwrap()
                };
                (plain(arg.key), arg.value.map(plain))
            }).collect();
            prop_assert_eq!(back, pairs);
        }

        #[test]
        fn limit_bounds_the_pairs_and_takes_the_first(src in "[a=&]{0,20}", max in 1i64..6) {
            let all: Vec<_> = Args::of_text(src.as_bytes(), 0).collect();
            for mut args in [Args::of_uri(src.as_bytes(), max), Args::of_text(src.as_bytes(), max)] {
                let some: Vec<_> = args.by_ref().collect();
                prop_assert!(some.len() <= max as usize);
                prop_assert_eq!(&all[..some.len()], &some[..]);
                prop_assert!(args.truncated() || some.len() == all.len());
            }
        }
    }
}
