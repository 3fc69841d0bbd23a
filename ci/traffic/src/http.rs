//! As much HTTP/1.1 as both ends need, over bytes that may be incomplete.

/// What a peer reads of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    pub work_us: u32,
    /// Bytes of head and body.
    pub bytes: usize,
}

/// What a client reads of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// In seconds; a date counts as none, no client here would wait for it.
    pub retry_after: Option<u64>,
    /// The connection ends with it.
    pub closes: bool,
    /// When the request reached its peer, on the clock of this machine, in microseconds; 0: no peer says so.
    pub arrived_us: u64,
    /// How long it then waited for a slot of the peer.
    pub queued_us: u64,
    /// The peer that answered; `None`: the gateway did.
    pub peer: Option<u8>,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Read {
    Partly,
    /// It is whole only when the connection ends.
    UntilClose(Answer),
    Whole(Answer),
    Nonsense,
}

/// The first request in `bytes`: `None` until it is whole, `Some(None)` if it is none.
pub fn request(bytes: &[u8]) -> Option<Option<Request>> {
    let head = head_end(bytes)?;
    let (mut work_us, mut body) = (0, 0);
    for (name, value) in headers(&bytes[..head]) {
        if name.eq_ignore_ascii_case(b"x-work-us") {
            let Some(work) = number(value) else { return Some(None) };
            work_us = work;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let Some(length) = number(value) else { return Some(None) };
            body = length as usize;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Some(None);
        }
    }
    let bytes_needed = head + body;
    (bytes.len() >= bytes_needed).then_some(Some(Request { work_us: work_us as u32, bytes: bytes_needed }))
}

/// The answer in `bytes`.
pub fn answer(bytes: &[u8]) -> Read {
    let Some(head) = head_end(bytes) else { return Read::Partly };
    let Some(status) = bytes.get(9..12).and_then(number) else { return Read::Nonsense };
    let mut answer =
        Answer { status: status as u16, closes: bytes.starts_with(b"HTTP/1.0"), ..Answer::default() };
    let (mut length, mut chunked) = (None, false);
    for (name, value) in headers(&bytes[..head]) {
        if name.eq_ignore_ascii_case(b"content-length") {
            length = number(value);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"retry-after") {
            answer.retry_after = number(value);
        } else if name.eq_ignore_ascii_case(b"connection") {
            answer.closes = value.eq_ignore_ascii_case(b"close");
        } else if name.eq_ignore_ascii_case(b"x-arrived-us") {
            answer.arrived_us = number(value).unwrap_or(0);
        } else if name.eq_ignore_ascii_case(b"x-queued-us") {
            answer.queued_us = number(value).unwrap_or(0);
        } else if name.eq_ignore_ascii_case(b"x-peer") {
            answer.peer = number(value).map(|peer| peer as u8);
        }
    }
    let body = &bytes[head..];
    match length {
        _ if chunked => {
            if body.ends_with(b"0\r\n\r\n") {
                Read::Whole(answer)
            } else {
                Read::Partly
            }
        }
        Some(length) if body.len() as u64 >= length => Read::Whole(answer),
        Some(_) => Read::Partly,
        None => Read::UntilClose(answer),
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn headers(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|&byte| byte == b'\n').skip(1).filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_when_its_body_is_there() {
        let text = b"POST / HTTP/1.1\r\nhost: x\r\nX-Work-Us: 1234\r\nContent-Length: 3\r\n\r\nabc";
        for cut in 0..text.len() {
            assert_eq!(request(&text[..cut]), None, "{cut}");
        }
        assert_eq!(request(text), Some(Some(Request { work_us: 1234, bytes: text.len() })));
        assert_eq!(request(b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(None));
    }

    #[test]
    fn an_answer_is_read_to_its_end_however_that_is_told() {
        let whole = |text: &[u8]| match answer(text) {
            Read::Whole(answer) => answer,
            other => panic!("{other:?}"),
        };
        let text = b"HTTP/1.1 503 No\r\nRetry-After: 2\r\nContent-Length: 2\r\nX-Arrived-Us: 77\r\nX-Queued-Us: 5\r\nX-Peer: 3\r\n\r\nno";
        assert_eq!(answer(&text[..text.len() - 1]), Read::Partly);
        let expected = Answer {
            arrived_us: 77,
            queued_us: 5,
            peer: Some(3),
            status: 503,
            retry_after: Some(2),
            closes: false,
        };
        assert_eq!(whole(text), expected);
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        assert_eq!(answer(&chunked[..chunked.len() - 2]), Read::Partly);
        assert!(whole(chunked).closes);
        assert!(matches!(answer(b"HTTP/1.0 503 No\r\n\r\n"), Read::UntilClose(Answer { closes: true, .. })));
        assert_eq!(answer(b"nonsense\r\n\r\n"), Read::Nonsense);
        let dated =
            b"HTTP/1.1 503 No\r\nRetry-After: Sun, 22 Nov 2026 16:00:00 GMT\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(whole(dated).retry_after, None);
    }
}
