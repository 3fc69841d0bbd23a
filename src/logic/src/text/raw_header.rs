//! The request header as the client sent it, from buffers that nginx has parsed.
//!
//! nginx parses in place: it ends each name and value of a header line that it takes with a zero byte, so the colon
//! is gone, and so is the byte after the value (the carriage return, the line feed if there was none, or the first of
//! the spaces that trail the value). Lines that it ignores it leaves alone. A zero byte is never part of a header that
//! nginx accepts, so what was there can be told from what follows. When a line does not fit into a buffer its
//! beginning is copied to the next one: what a buffer holds after its last complete line is void.

use memchr::{memchr, memchr3};

/// Appends the lines of one buffer, the first of which starts at a line's start; `true` once the empty line that ends
/// the header was among them. An incomplete last line is left out.
///
/// `crlf`: whether the request line ended with a carriage return, so that the other lines are taken to.
pub fn restore(mut buffer: &[u8], crlf: bool, out: &mut Vec<u8>) -> bool {
    while !buffer.is_empty() {
        let start = out.len();
        match line(buffer, crlf, out) {
            Some(n) => {
                buffer = &buffer[n..];
                if matches!(&out[start..], b"\r\n" | b"\n") {
                    return true;
                }
            }
            None => {
                out.truncate(start);
                return false;
            }
        }
    }
    false
}

/// Appends the first line; how many bytes it took, unless it is incomplete.
fn line(buffer: &[u8], crlf: bool, out: &mut Vec<u8>) -> Option<usize> {
    let name = memchr3(b':', b'\n', 0, buffer)?;
    out.extend_from_slice(&buffer[..name]);
    if buffer[name] != 0 {
        let end = name + memchr(b'\n', &buffer[name..])? + 1;
        out.extend_from_slice(&buffer[name..end]);
        return Some(end);
    }
    out.push(b':');
    let value = name + 1;
    let mark = value + memchr(0, &buffer[value..])?;
    out.extend_from_slice(&buffer[value..mark]);
    let rest = &buffer[mark + 1..];
    let (gone, end) = match rest {
        [b'\n', ..] if crlf => (b'\r', 1),
        _ => match trailing(rest) {
            Some(end) => (b' ', end),
            None => (b'\n', 0),
        },
    };
    out.push(gone);
    out.extend_from_slice(&rest[..end]);
    Some(mark + 1 + end)
}

/// Where the line ends, if `rest` is what follows the first of the spaces after a value, not the next line.
///
/// With one space alone it looks like the empty line that ends the header, unless the header goes on after it.
fn trailing(rest: &[u8]) -> Option<usize> {
    let spaces = rest.iter().take_while(|&&b| b == b' ').count();
    let end = match &rest[spaces..] {
        [b'\r', b'\n', ..] => spaces + 2,
        [b'\n', ..] => spaces + 1,
        _ => return None,
    };
    let next = &rest[end..];
    let goes_on = matches!(next, [b'\r', b'\n', ..] | [b'\n', ..])
        || memchr3(b':', b'\n', 0, next).is_some_and(|i| next[i] == 0);
    (spaces > 0 || goes_on).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nginx makes of the lines it takes, and whether `restore` undoes it.
    fn parsed(raw: &str) -> Vec<u8> {
        let mut buffer = raw.as_bytes().to_vec();
        let mut at = 0;
        while at < buffer.len() {
            let end = at + memchr(b'\n', &buffer[at..]).unwrap();
            if let Some(colon) = buffer[at..end].iter().position(|&b| b == b':') {
                if !buffer[at..at + colon].contains(&b'?') {
                    let mut last = end;
                    if buffer[last - 1] == b'\r' {
                        last -= 1;
                    }
                    while buffer[last - 1] == b' ' && last - 1 > at + colon {
                        last -= 1;
                    }
                    buffer[at + colon] = 0;
                    buffer[last] = 0;
                }
            }
            at = end + 1;
        }
        buffer
    }

    #[test]
    fn parsing_is_undone() {
        for raw in [
            "Host: a.test\r\nX-Foo: b:c\r\n\r\n",
            "Host: a.test\nX-Foo: b\n\n",
            "Host: a.test  \r\nX-Foo: b \r\n\r\n",
            "Host: a.test \nX: b  \n\n",
            "Host: a.test\nX: b\r\nY: c\n\r\n",
            "Empty:\r\nBlank: \r\nX: y\r\n\r\n",
            "Bad?Name: x\r\nX: y\r\nno colon at all\r\n\r\n",
            "\r\n",
            "\n",
        ] {
            let mut out = Vec::new();
            let mut buffer = parsed(raw);
            buffer.extend_from_slice(b"body: of the request\r\n\r\n");
            assert!(restore(&buffer, raw.contains('\r'), &mut out), "{raw:?}");
            assert_eq!(String::from_utf8(out).unwrap(), raw);
        }
    }

    #[test]
    fn incomplete_lines_are_dropped() {
        for (buffer, want, done) in [
            (&b""[..], "", false),
            (b"A\0 b\0\nC: d", "A: b\r\n", false),
            (b"A\0 b\0\nC\0 d", "A: b\r\n", false),
            (b"A\0 b\0", "A: b\n", false),
            (b"A\0 b\0\n\r", "A: b\r\n", false),
            (b"A\0 b\0\n\r\nX", "A: b\r\n\r\n", true),
        ] {
            let mut out = Vec::new();
            assert_eq!(restore(buffer, true, &mut out), done, "{}", buffer.escape_ascii());
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }
}
