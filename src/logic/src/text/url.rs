//! The URLs of requests that we send: taken apart, and found from a reference in a response (RFC 3986, section 5).
//!
//! Beside `http://` and `https://` there is nginx's own form of a server at a unix socket,
//! `http://unix:/path/of.sock:/uri`. What may not stand in a request line as it is, a space or a letter that is not
//! ASCII, is percent-encoded; a control character is refused, and so is a name with a password: that one belongs into a
//! header, where no log shows it.

use core::fmt::{self, Write};

/// The longest URL that is taken.
pub const MAX_LEN: usize = 32 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    pub secure: bool,
    pub server: Server,
    /// Path and query, as they stand in a request line.
    pub target: String,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// A name in lower case or an address, this one without brackets.
    Net { host: String, port: u16 },
    /// The path of a unix socket.
    Unix(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad url \"{url}\": {why}")]
pub struct UrlError {
    url: String,
    why: &'static str,
}

impl UrlError {
    fn new(url: &[u8], why: &'static str) -> UrlError {
        // what is shown is bounded, as URLs come from anywhere
        let shown = url.get(..200).unwrap_or(url);
        UrlError { url: shown.escape_ascii().to_string(), why }
    }

    /// What is wrong, without the URL.
    pub fn why(&self) -> &'static str {
        self.why
    }
}

/// The same without the URL.
type Parsed<T> = Result<T, &'static str>;

impl Url {
    pub fn parse(text: &[u8]) -> Result<Url, UrlError> {
        parse(text).and_then(bounded).map_err(|why| UrlError::new(text, why))
    }

    /// What a reference, absolute or relative, in a response to this URL stands for.
    pub fn join(&self, reference: &[u8]) -> Result<Url, UrlError> {
        join(self, reference).and_then(bounded).map_err(|why| UrlError::new(reference, why))
    }

    /// Whether both are of the same origin (RFC 6454): scheme, host and port.
    pub fn same_origin(&self, other: &Url) -> bool {
        self.secure == other.secure && self.server == other.server
    }

    /// The name of the server without a port, as certificates have it.
    pub fn host(&self) -> &str {
        match &self.server {
            Server::Net { host, .. } => host,
            Server::Unix(_) => "localhost",
        }
    }

    /// What the header `Host` says: the port is left out when it is the scheme's.
    pub fn authority(&self) -> String {
        match &self.server {
            Server::Net { host, port } if *port == default_port(self.secure) => bracketed(host),
            Server::Net { host, port } => format!("{}:{port}", bracketed(host)),
            Server::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        match &self.server {
            Server::Net { .. } => write!(f, "{scheme}://{}{}", self.authority(), self.target),
            Server::Unix(path) => write!(f, "{scheme}://unix:{path}:{}", self.target),
        }
    }
}

/// A name as it is, an IPv6 address in brackets.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

pub const fn default_port(secure: bool) -> u16 {
    if secure {
        443
    } else {
        80
    }
}

fn parse(text: &[u8]) -> Parsed<Url> {
    if text.len() > MAX_LEN {
        return Err("too long");
    }
    if text.iter().any(u8::is_ascii_control) {
        return Err("a control character");
    }
    let (secure, rest) = match (strip_scheme(text, b"https://"), strip_scheme(text, b"http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err("it is to begin with http:// or https://"),
    };
    if let Some(rest) = rest.strip_prefix(b"unix:") {
        return unix(secure, rest);
    }
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    Ok(Url { secure, server: server(authority, default_port(secure))?, target: target(rest) })
}

/// Refuses what has become too long.
fn bounded(url: Url) -> Parsed<Url> {
    if url.target.len() > MAX_LEN {
        return Err("too long");
    }
    Ok(url)
}

fn strip_scheme<'a>(text: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn unix(secure: bool, rest: &[u8]) -> Parsed<Url> {
    let end = rest.iter().position(|b| *b == b':').unwrap_or(rest.len());
    let path = core::str::from_utf8(&rest[..end]).map_err(|_| "the socket's path is not UTF-8")?;
    if path.is_empty() {
        return Err("no path of a socket");
    }
    let rest = rest.get(end + 1..).unwrap_or_default();
    if !matches!(rest.first(), None | Some(b'/' | b'?' | b'#')) {
        return Err("what follows the socket's path is to begin with /");
    }
    Ok(Url { secure, server: Server::Unix(path.to_owned()), target: target(rest) })
}

/// `HOST`, `HOST:PORT`, `[IPv6]`, `[IPv6]:PORT`
pub fn server(authority: &[u8], default_port: u16) -> Parsed<Server> {
    if authority.contains(&b'@') {
        return Err("user and password belong into a header");
    }
    let (host, port) = match authority {
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|b| *b == b']').ok_or("no ] behind the address")?;
            let address = core::str::from_utf8(&rest[..end]).map_err(|_| "bad address")?;
            let address: core::net::Ipv6Addr = address.parse().map_err(|_| "bad address")?;
            (address.to_string(), &rest[end + 1..])
        }
        _ => {
            let end = authority.iter().position(|b| *b == b':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(end);
            (name(host)?, port)
        }
    };
    let port = match port {
        [] | [b':'] => default_port,
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            let digits = core::str::from_utf8(digits).map_err(|_| "bad port")?;
            digits.parse().ok().filter(|port| *port > 0).ok_or("bad port")?
        }
        _ => return Err("bad port"),
    };
    Ok(Server::Net { host, port })
}

fn name(host: &[u8]) -> Parsed<String> {
    if host.is_empty() {
        return Err("no host");
    }
    let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if host.len() > 255 || !host.iter().all(fits) {
        return Err("bad host");
    }
    Ok(host.iter().map(|b| char::from(b.to_ascii_lowercase())).collect())
}

/// Path and query as they stand in a request line, without the fragment.
fn target(rest: &[u8]) -> String {
    let rest = rest.split(|b| *b == b'#').next().unwrap_or_default();
    let mut target = String::with_capacity(rest.len() + 1);
    if rest.first() != Some(&b'/') {
        target.push('/');
    }
    for &b in rest {
        if b.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&b) {
            target.push(char::from(b));
        } else {
            // writing to memory does not fail
            let _ = write!(target, "%{b:02X}");
        }
    }
    target
}

fn join(base: &Url, reference: &[u8]) -> Parsed<Url> {
    if reference.len() > MAX_LEN {
        return Err("too long");
    }
    if reference.iter().any(u8::is_ascii_control) {
        return Err("a control character");
    }
    let absolute = |rest: &[u8]| [if base.secure { b"https:".as_slice() } else { b"http:" }, rest].concat();
    if has_scheme(reference) {
        return parse(reference);
    }
    if reference.starts_with(b"//") {
        return parse(&absolute(reference));
    }
    let (path, query) = match base.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (base.target.as_str(), None),
    };
    let reference = reference.split(|b| *b == b'#').next().unwrap_or_default();
    let merged = match reference.first() {
        None => match query {
            Some(query) => format!("{path}?{query}").into_bytes(),
            None => path.as_bytes().to_vec(),
        },
        Some(b'?') => [path.as_bytes(), reference].concat(),
        Some(b'/') => reference.to_vec(),
        Some(_) => {
            let directory = path.rfind('/').map_or("/", |slash| &path[..=slash]);
            [directory.as_bytes(), reference].concat()
        }
    };
    Ok(Url { target: without_dots(&target(&merged)), ..base.clone() })
}

/// Whether a reference begins with a scheme (RFC 3986, section 3.1).
fn has_scheme(reference: &[u8]) -> bool {
    let end = reference.iter().position(|b| matches!(b, b':' | b'/' | b'?' | b'#'));
    let Some((scheme, b':')) = end.map(|end| (&reference[..end], reference[end])) else { return false };
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
}

/// Takes `.` and `..` out of the path of a target (RFC 3986, section 5.2.4).
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut out: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    out.pop();
                }
                if last {
                    out.push("");
                }
            }
            _ => out.push(segment),
        }
    }
    format!("/{}{query}", out.join("/"))
}

#[cfg(test)]
mod tests;
