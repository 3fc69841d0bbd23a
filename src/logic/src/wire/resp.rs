//! RESP2, the protocol of Redis (redis.io, "Redis serialization protocol specification"): commands out, replies in, bounded.

use memchr::memmem;

/// The longest reply: ours are numbers, identifiers and errors.
pub const MAX_REPLY: usize = 16 * 1024;
const MAX_DEPTH: usize = 4;
const MAX_ITEMS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Simple(String),
    /// Its first word is a code: `ERR`, `NOAUTH`.
    Error(String),
    Int(i64),
    /// `None`: there is nothing.
    Bulk(Option<Vec<u8>>),
    Array(Option<Vec<Reply>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("not a reply of Redis")]
    Syntax,
    #[error("a reply longer than {MAX_REPLY} bytes")]
    Long,
    #[error("a reply of too many parts")]
    Complex,
}

/// Appends a command: an array of bulk strings.
pub fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// The reply that `input` begins with, and its length; `None` when more of it has to come.
pub fn reply(input: &[u8]) -> Result<Option<(Reply, usize)>, Malformed> {
    let mut parser = Parser { input, at: 0, items: 0 };
    match parser.reply(0) {
        Ok(reply) if parser.at <= MAX_REPLY => Ok(Some((reply, parser.at))),
        Ok(_) => Err(Malformed::Long),
        Err(Stop::Short) if input.len() >= MAX_REPLY => Err(Malformed::Long),
        Err(Stop::Short) => Ok(None),
        Err(Stop::Bad(e)) => Err(e),
    }
}

/// Whether an error is of a server that is not ready, or not the one that writes for now; the same again may come to something else.
pub fn may_pass(error: &str) -> bool {
    const FOR_NOW: &[&str] = &[
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOREPLICAS",
        "OOM",
        "READONLY",
        "TRYAGAIN",
    ];
    FOR_NOW.contains(&error.split(' ').next().unwrap_or_default())
}

struct Parser<'a> {
    input: &'a [u8],
    at: usize,
    items: usize,
}

enum Stop {
    Short,
    Bad(Malformed),
}

impl<'a> Parser<'a> {
    fn reply(&mut self, depth: usize) -> Result<Reply, Stop> {
        self.items += 1;
        if self.items > MAX_ITEMS || depth > MAX_DEPTH {
            return Err(Stop::Bad(Malformed::Complex));
        }
        let kind = *self.input.get(self.at).ok_or(Stop::Short)?;
        if !b"+-:$*".contains(&kind) {
            return Err(Stop::Bad(Malformed::Syntax));
        }
        self.at += 1;
        let line = self.line()?;
        Ok(match kind {
            b'+' => Reply::Simple(String::from_utf8_lossy(line).into_owned()),
            b'-' => Reply::Error(String::from_utf8_lossy(line).into_owned()),
            b':' => Reply::Int(number(line)?),
            b'$' => Reply::Bulk(match length(line, MAX_REPLY, Malformed::Long)? {
                None => None,
                Some(length) => Some(self.bulk(length)?.to_vec()),
            }),
            _ => Reply::Array(match length(line, MAX_ITEMS, Malformed::Complex)? {
                None => None,
                Some(count) => Some((0..count).map(|_| self.reply(depth + 1)).collect::<Result<_, _>>()?),
            }),
        })
    }

    /// Up to the next CRLF.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.input[self.at..];
        let end = memmem::find(rest, b"\r\n").ok_or(Stop::Short)?;
        self.at += end + 2;
        Ok(&rest[..end])
    }

    fn bulk(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let rest = &self.input[self.at..];
        let end = rest.get(length..length + 2).ok_or(Stop::Short)?;
        if end != b"\r\n" {
            return Err(Stop::Bad(Malformed::Syntax));
        }
        self.at += length + 2;
        Ok(&rest[..length])
    }
}

fn number(line: &[u8]) -> Result<i64, Stop> {
    let text = core::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
    text.ok_or(Stop::Bad(Malformed::Syntax))
}

/// `None` is written -1.
fn length(line: &[u8], most: usize, beyond: Malformed) -> Result<Option<usize>, Stop> {
    match number(line)? {
        -1 => Ok(None),
        n => match usize::try_from(n) {
            Ok(n) if n <= most => Ok(Some(n)),
            Ok(_) => Err(Stop::Bad(beyond)),
            Err(_) => Err(Stop::Bad(Malformed::Syntax)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(reply: &Reply, out: &mut Vec<u8>) {
        let mut line = |text: String| out.extend_from_slice(format!("{text}\r\n").as_bytes());
        match reply {
            Reply::Simple(text) => line(format!("+{text}")),
            Reply::Error(text) => line(format!("-{text}")),
            Reply::Int(n) => line(format!(":{n}")),
            Reply::Bulk(None) => line("$-1".into()),
            Reply::Array(None) => line("*-1".into()),
            Reply::Bulk(Some(bytes)) => {
                line(format!("${}", bytes.len()));
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Reply::Array(Some(all)) => {
                line(format!("*{}", all.len()));
                all.iter().for_each(|one| write(one, out));
            }
        }
    }

    fn any_reply() -> impl Strategy<Value = Reply> {
        let leaf = prop_oneof![
            "[ -~]{0,20}".prop_map(Reply::Simple),
            "[ -~]{0,20}".prop_map(Reply::Error),
            any::<i64>().prop_map(Reply::Int),
            proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)).prop_map(Reply::Bulk),
            Just(Reply::Array(None)),
        ];
        leaf.prop_recursive(3, 30, 4, |inner| {
            proptest::collection::vec(inner, 0..4).prop_map(|all| Reply::Array(Some(all)))
        })
    }

    proptest! {
        /// However it is cut: what has not come is asked for, and what comes behind is left alone.
        #[test]
        fn a_reply_is_read_as_it_was_written(reply in any_reply(), more in proptest::collection::vec(any::<u8>(), 0..9)) {
            let mut bytes = Vec::new();
            write(&reply, &mut bytes);
            for cut in 0..bytes.len() {
                prop_assert_eq!(super::reply(&bytes[..cut]), Ok(None), "cut at {}", cut);
            }
            let length = bytes.len();
            bytes.extend_from_slice(&more);
            prop_assert_eq!(super::reply(&bytes), Ok(Some((reply, length))));
        }

        #[test]
        fn anything_at_all_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((_, length))) = reply(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }

        #[test]
        fn what_looks_like_replies_is_read_or_refused(text in "[-+:$*0-9a\r\n]{0,60}") {
            if let Ok(Some((_, length))) = reply(text.as_bytes()) {
                prop_assert!(length <= text.len());
            }
        }

        #[test]
        fn a_command_is_an_array_of_its_words(words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 1..9)) {
            let mut out = Vec::new();
            command(&words.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut out);
            let all = words.into_iter().map(|word| Reply::Bulk(Some(word))).collect();
            let length = out.len();
            prop_assert_eq!(reply(&out), Ok(Some((Reply::Array(Some(all)), length))));
        }
    }

    #[test]
    fn what_is_too_much_is_refused_before_it_has_come() {
        assert_eq!(reply(b"$16385\r\n"), Err(Malformed::Long));
        assert_eq!(reply(b"$9999999999999999999\r\n"), Err(Malformed::Syntax));
        assert_eq!(reply(b"*65\r\n"), Err(Malformed::Complex));
        assert_eq!(reply(b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"), Err(Malformed::Complex));
        assert_eq!(reply(&[b"+".as_slice(), &[b'x'; MAX_REPLY]].concat()), Err(Malformed::Long));
        let many = [b"*64\r\n".as_slice(), &b"+x\r\n".repeat(64)].concat();
        assert_eq!(reply(&many), Err(Malformed::Complex), "the array itself is a part");
    }

    #[test]
    fn a_server_that_is_not_ready_is_worth_another_try() {
        assert!(may_pass("LOADING Redis is loading the dataset in memory"));
        assert!(may_pass("READONLY You can't write against a read only replica."));
        assert!(!may_pass("WRONGTYPE Operation against a key holding the wrong kind of value"));
        assert!(!may_pass("ERR unknown command"));
        assert!(!may_pass(""));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bad in
            ["x", "HTTP/1.1 400", ":\r\n", ":1x\r\n", "$-2\r\n", "*-2\r\n", "$1\r\nabc", "$\r\n", "*1\r\n?"]
        {
            assert_eq!(reply(bad.as_bytes()), Err(Malformed::Syntax), "{bad:?}");
        }
    }
}
