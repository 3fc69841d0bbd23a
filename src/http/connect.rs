//! From a server's name to a stream over which HTTP is spoken: addresses, a connection, a tunnel, TLS.

use core::cell::Cell;
use core::net::SocketAddr;
use core::time::Duration;
use std::rc::Rc;

use logic::text::url::{bracketed, Server};

use super::pool::{Kept, Key};
use super::request::{Proxy, TlsOptions};
use super::tls::{self, HTTP_1_1};
use super::{HttpError, Part};
use crate::ngx::{clock, cycle_main_conf, Endpoint, Io, Kind, Location, Stream};

/// The longest answer of a proxy.
const MAX_ANSWER: usize = 8 * 1024;

/// Connects; `part` says how far it has come. `limit`, which the caller enforces, is shared by the server's addresses.
pub async fn connect(
    key: &Key,
    host: &str,
    location: Location,
    kept: &Kept,
    limit: Duration,
    part: &Cell<Part>,
) -> Result<Rc<Stream>, HttpError> {
    let stream = match (&key.proxy, &key.server) {
        (Some(proxy), server) => {
            let stream = to_net(&proxy.host, proxy.port, location, limit).await?;
            if let (Some(_), Server::Net { host, port }) = (&key.tls, server) {
                part.set(Part::Proxy);
                tunnel(&stream, proxy, &format!("{}:{port}", bracketed(host))).await?;
            }
            stream
        }
        (None, Server::Net { host, port }) => to_net(host, *port, location, limit).await?,
        (None, Server::Unix(path)) => to(&Endpoint::Unix(path.as_bytes().to_vec()), limit).await?,
    };
    if let Some((options, _)) = &key.tls {
        part.set(Part::Tls);
        tls::shake_hands(&stream, options, host, HTTP_1_1, &location, &kept.files).await?;
    }
    Ok(stream)
}

/// A connection for another protocol; what there is of a server's files and addresses serves it as well.
pub async fn dial(
    host: &str,
    port: u16,
    options: Option<&TlsOptions>,
    location: Location,
    limit: Duration,
    part: &Cell<Part>,
) -> Result<Rc<Stream>, HttpError> {
    part.set(Part::Connect);
    let stream = to_net(host, port, location, limit).await?;
    if let Some(options) = options {
        part.set(Part::Tls);
        let kept = Rc::clone(&cycle_main_conf().ok_or(HttpError::Over)?.http);
        tls::shake_hands(&stream, options, host, b"", &location, &kept.files).await?;
    }
    Ok(stream)
}

/// Tries the addresses of a name, one after the other from any of them on.
async fn to_net(host: &str, port: u16, location: Location, limit: Duration) -> Result<Rc<Stream>, HttpError> {
    if let Some(endpoint) = Endpoint::parse(host.as_bytes(), port) {
        return to(&endpoint, limit).await;
    }
    let mut all = location.resolve(host.as_bytes()).await?;
    let count = all.len().max(1);
    all.rotate_left(clock::random() as usize % count);
    let mut result = Err(HttpError::Closed(Part::Connect));
    for ip in all {
        let each = limit / u32::try_from(count).unwrap_or(u32::MAX);
        result = to(&Endpoint::Ip(SocketAddr::new(ip, port)), each).await;
        if result.is_ok() {
            break;
        }
    }
    result
}

async fn to(endpoint: &Endpoint, limit: Duration) -> Result<Rc<Stream>, HttpError> {
    let failed = |e| HttpError::Io(Part::Connect, e);
    let (stream, done) = Stream::connect(endpoint, None, Kind::Tcp).map_err(failed)?;
    stream.log_quietly();
    if !done {
        stream.writable(limit).await.map_err(|e| HttpError::interrupted(Part::Connect, e))?;
        stream.connected().map_err(failed)?;
    }
    if matches!(endpoint, Endpoint::Ip(_)) {
        stream.set_option(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1).map_err(failed)?;
    }
    Ok(stream)
}

/// Has a proxy connect to a server (RFC 9110, section 9.3.6).
async fn tunnel(stream: &Rc<Stream>, proxy: &Proxy, authority: &str) -> Result<(), HttpError> {
    let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    if let Some(value) = &proxy.authorization {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let interrupted = |e| HttpError::interrupted(Part::Proxy, e);
    let mut rest = head.as_slice();
    while !rest.is_empty() {
        match stream.send(rest) {
            Io::Done(n) => rest = &rest[n..],
            Io::Again => stream.writable(Duration::ZERO).await.map_err(interrupted)?,
            Io::Eof => return Err(HttpError::Closed(Part::Proxy)),
            Io::Failed(e) => return Err(HttpError::Io(Part::Proxy, e)),
        }
    }
    let mut answer = Vec::with_capacity(MAX_ANSWER);
    loop {
        match stream.recv(&mut answer) {
            Io::Done(_) => {
                if let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") {
                    // the server does not talk before it is asked
                    return if end + 4 == answer.len() {
                        judge(&answer)
                    } else {
                        Err(HttpError::ProxyResponse)
                    };
                }
                if answer.len() >= MAX_ANSWER {
                    return Err(HttpError::ProxyResponse);
                }
            }
            Io::Again => stream.readable(Duration::ZERO).await.map_err(interrupted)?,
            Io::Eof => return Err(HttpError::Closed(Part::Proxy)),
            Io::Failed(e) => return Err(HttpError::Io(Part::Proxy, e)),
        }
    }
}

/// What a status line comes to: `HTTP/1.1 200 …`.
fn judge(answer: &[u8]) -> Result<(), HttpError> {
    let digits = answer.strip_prefix(b"HTTP/1.").and_then(|rest| match rest {
        [b'0' | b'1', b' ', digits @ ..] => digits.get(..3),
        _ => None,
    });
    let status = digits.and_then(|digits| core::str::from_utf8(digits).ok()?.parse().ok());
    match status {
        Some(200..=299) => Ok(()),
        Some(status) => Err(HttpError::ProxyStatus(status)),
        None => Err(HttpError::ProxyResponse),
    }
}
