//! Why a socket operation failed, in the words that scripts compare with.

use std::io;

use crate::ngx::tls::TlsError;
use crate::ngx::ResolveError;

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("closed")]
    Closed,
    #[error("timeout")]
    Timeout,
    #[error("{}", .0.to_string().to_lowercase())]
    Io(#[source] Reason),
    #[error("{0}")]
    Resolve(#[from] ResolveError),
    #[error("failed to parse host name \"\": no host")]
    NoHost,
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("too many waiting connect operations")]
    TooManyWaiting,
    #[error("bad request")]
    NotOurs,
    #[error("socket busy {0}")]
    Busy(&'static str),
    #[error("socket busy")]
    InUse,
    #[error("partial write")]
    PartialWrite,
    #[error("unread data in buffer")]
    UnreadData,
    #[error("connection in dubious state")]
    Dubious,
}

impl SocketError {
    /// There is no room for what the peer has sent.
    pub fn no_memory() -> SocketError {
        io::Error::from_raw_os_error(libc::ENOMEM).into()
    }
}

/// A failure of the system, without the number that the standard library adds to its text.
#[derive(Debug)]
pub struct Reason(pub io::Error);

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.find(" (os error").map_or(text.as_str(), |end| &text[..end]))
    }
}

impl core::error::Error for Reason {}

impl From<io::Error> for SocketError {
    fn from(e: io::Error) -> Self {
        SocketError::Io(Reason(e))
    }
}
