//! Why there is no response, in words that scripts may compare with: `PART: REASON`.

use core::fmt;
use std::error::Error;
use std::io;

use logic::text::url::UrlError;

use super::wire::Wire;
use crate::ngx::tls::TlsError;
use crate::ngx::{Interrupted, ResolveError};

/// What was going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Looking the name up, and connecting.
    Connect,
    /// Asking the proxy for a tunnel.
    Proxy,
    /// The handshake.
    Tls,
    Send,
    Read,
    /// All of it.
    Total,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Connect => "connect",
            Part::Proxy => "proxy",
            Part::Tls => "tls",
            Part::Send => "send",
            Part::Read => "read",
            Part::Total => "total",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{0}")]
    Url(#[from] UrlError),
    #[error("bad method \"{0}\"")]
    Method(String),
    #[error("bad header \"{0}\"")]
    HeaderName(String),
    #[error("bad value of header \"{0}\"")]
    HeaderValue(String),
    /// It says how the message is sent, which is the client's business.
    #[error("header \"{0}\" is set by the client")]
    OwnHeader(String),
    #[error("too many headers")]
    TooManyHeaders,
    #[error("bad proxy: {0}")]
    BadProxy(&'static str),
    #[error("{0}: timeout")]
    Timeout(Part),
    /// By the peer, before anything of the response came.
    #[error("{0}: closed")]
    Closed(Part),
    #[error("read: closed in the middle of the response")]
    Cut,
    #[error("{0}: {text}", text = words(.1))]
    Io(Part, #[source] io::Error),
    #[error("connect: {0}")]
    Resolve(#[from] ResolveError),
    #[error("tls: {0}")]
    Tls(TlsError),
    /// A file of certificates or of a key cannot be used.
    #[error("tls: \"{0}\": {1}")]
    TlsFile(String, String),
    #[error("bad tls.server_name")]
    ServerName,
    #[error("proxy: answered {0}")]
    ProxyStatus(u16),
    #[error("proxy: bad response")]
    ProxyResponse,
    #[error("read: bad response ({0})")]
    BadResponse(String),
    #[error("body too large: more than {0} bytes")]
    TooLarge(u64),
    #[error("send: the body is {0} than its content-length")]
    BodyLength(&'static str),
    #[error("send: {0}")]
    Unfit(String),
    #[error("too many redirects: more than {0}")]
    TooManyRedirects(u32),
    #[error("redirect: {0}")]
    Redirect(&'static str),
    #[error("redirect: {0}")]
    RedirectUrl(UrlError),
    /// Its gate was closed before anything left.
    #[error("send: not allowed any more")]
    Barred,
    /// Of a script's request that another thread waits for.
    #[error("busy")]
    Busy,
    /// Of a script's request that has ended.
    #[error("closed")]
    Over,
    #[error("bad request")]
    NotOurs,
    #[error("no memory")]
    NoMemory,
}

impl From<TlsError> for HttpError {
    fn from(e: TlsError) -> Self {
        match e {
            TlsError::Timeout => HttpError::Timeout(Part::Tls),
            TlsError::Closed => HttpError::Closed(Part::Tls),
            e => HttpError::Tls(e),
        }
    }
}

impl HttpError {
    pub fn interrupted(part: Part, e: Interrupted) -> HttpError {
        match e {
            Interrupted::TimedOut => HttpError::Timeout(part),
            Interrupted::Closed => HttpError::Closed(part),
        }
    }

    /// What hyper's complaint about an exchange over `wire` comes to; `begun` says that some of the response has come.
    pub fn of_exchange(e: &hyper::Error, wire: &Wire, begun: bool) -> HttpError {
        let io = sources(e).find_map(|e| e.downcast_ref::<io::Error>());
        match io {
            Some(io) if io.kind() == io::ErrorKind::UnexpectedEof => return HttpError::Cut,
            Some(io) if matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
                return HttpError::BadResponse(io.to_string());
            }
            Some(io) => return HttpError::Io(Part::Read, copy(io)),
            None => {}
        }
        if e.is_incomplete_message() || e.is_canceled() || e.is_closed() {
            return HttpError::closed(wire, begun);
        }
        let causes: Vec<String> = sources(e).map(|e| e.to_string()).collect();
        HttpError::BadResponse(causes.join(": "))
    }

    /// The peer has closed before the response was complete.
    pub fn closed(wire: &Wire, begun: bool) -> HttpError {
        match wire.take_failure() {
            _ if begun => HttpError::Cut,
            Some(e) => HttpError::Io(Part::Send, e),
            None => HttpError::Closed(Part::Read),
        }
    }

    /// Whether it may be the fault of a connection that the peer was about to close.
    pub fn is_of_connection(&self) -> bool {
        matches!(self, HttpError::Closed(_) | HttpError::Io(Part::Send | Part::Read, _))
    }
}

/// An error, what caused it, and so on.
fn sources<'a>(e: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    core::iter::successors(Some(e), |e| {
        let e: &'a (dyn Error + 'static) = *e;
        e.source()
    })
}

fn copy(e: &io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(e.kind(), e.to_string()),
    }
}

/// The system's words, in lower case and without the number that the standard library adds.
pub fn words(e: &io::Error) -> String {
    let text = e.to_string();
    text.find(" (os error").map_or(text.as_str(), |end| &text[..end]).to_lowercase()
}
