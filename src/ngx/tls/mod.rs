//! TLS by nginx's own OpenSSL, for the connections that scripts make.
//!
//! A [`Context`] comes from the configuration; a handshake is a future that leaves a [`Stream`] whose reads and writes
//! are encrypted from then on. In an nginx that was built without TLS everything here is there and refuses.
#![cfg_attr(not(ngx_feature = "ssl"), allow(dead_code))]

use core::time::Duration;
use std::rc::Rc;

use super::socket::Stream;

#[cfg(not(ngx_feature = "ssl"))]
mod absent;
#[cfg(ngx_feature = "ssl")]
mod context;
#[cfg(ngx_feature = "ssl")]
mod handshake;
#[cfg(ngx_feature = "ssl")]
mod keys;
#[cfg(ngx_feature = "http_ssl")]
mod scripted;
#[cfg(ngx_feature = "ssl")]
mod session;
#[cfg(not(ngx_feature = "http_ssl"))]
mod unscripted;

#[cfg(not(ngx_feature = "ssl"))]
pub use absent::*;
#[cfg(ngx_feature = "ssl")]
pub use context::Context;
#[cfg(ngx_feature = "ssl")]
pub(super) use handshake::{is_tls, peek, say_goodbye, shut_down, Tls};
#[cfg(ngx_feature = "ssl")]
pub use keys::{Certificate, Chain, Identity, Key, RawConnection, RawStore, Store, Wrong};
#[cfg(ngx_feature = "http_ssl")]
pub use scripted::{Connection, Handshake, Handshakes, Random, Responder};
#[cfg(ngx_feature = "ssl")]
pub use session::Session;
#[cfg(not(ngx_feature = "http_ssl"))]
pub use unscripted::{Connection, Handshake, Handshakes, Random, Responder};

/// Why a handshake failed, in the words that scripts compare with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("timeout")]
    Timeout,
    #[error("closed")]
    Closed,
    #[error("handshake failed")]
    Failed,
    /// OpenSSL's number of the reason, and its text.
    #[error("{0}: {1}")]
    Unverified(i64, String),
    #[error("certificate host mismatch")]
    WrongName,
    #[error("peer sent no certificate")]
    NoCertificate,
    /// OpenSSL did not take what the script gave.
    #[error("{0}")]
    Refused(&'static str),
}

/// What a context is made from; empty and `None` are OpenSSL's defaults.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ContextOptions {
    /// Bits of [`PROTOCOLS`].
    pub protocols: u32,
    pub ciphers: Vec<u8>,
    pub verify_depth: u32,
    pub trusted: Option<Vec<u8>>,
    pub crl: Option<Vec<u8>>,
    /// Files of a certificate with its chain, and of its key.
    pub certificates: Vec<(Vec<u8>, Vec<u8>)>,
    /// Commands for OpenSSL, and their values.
    pub commands: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Whether this nginx has TLS.
pub const AVAILABLE: bool = cfg!(ngx_feature = "ssl");

/// Whether scripts can take part in the handshakes of servers.
pub const SCRIPTABLE: bool = cfg!(ngx_feature = "http_ssl");

/// The names of protocols, and their bits in nginx.
pub const PROTOCOLS: [(&str, u32); 6] =
    [("SSLv2", 2), ("SSLv3", 4), ("TLSv1", 8), ("TLSv1.1", 16), ("TLSv1.2", 32), ("TLSv1.3", 64)];

/// What a script asks of a handshake.
#[derive(Default)]
pub struct Wish<'a> {
    pub session: Option<&'a Session>,
    pub server_name: &'a [u8],
    pub ask_status: bool,
    pub identity: Option<&'a Identity>,
    pub trusted: Option<&'a Store>,
    /// Protocols of the application in the wire format of ALPN; may be empty.
    pub alpn: &'a [u8],
}

/// Shakes hands on a stream that [`Stream::begin_tls`] has prepared; `timeout` is for the whole of it (zero: none).
pub async fn handshake(stream: Rc<Stream>, timeout: Duration) -> Result<(), TlsError> {
    let begun = super::clock::msec();
    loop {
        let left = timeout.saturating_sub(Duration::from_millis(super::clock::msec().saturating_sub(begun)));
        if left.is_zero() && !timeout.is_zero() {
            return Err(TlsError::Timeout);
        }
        match stream.shake()? {
            Shaken::Done => return Ok(()),
            Shaken::Reads => stream.readable(left).await?,
            Shaken::Writes => stream.writable(left).await?,
        }
    }
}

/// How far a handshake has come.
pub enum Shaken {
    Done,
    /// It goes on once something can be read.
    Reads,
    Writes,
}

impl From<super::socket::Interrupted> for TlsError {
    fn from(e: super::socket::Interrupted) -> TlsError {
        match e {
            super::socket::Interrupted::TimedOut => TlsError::Timeout,
            super::socket::Interrupted::Closed => TlsError::Closed,
        }
    }
}
