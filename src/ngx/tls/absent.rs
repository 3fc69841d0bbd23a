//! What stands in for TLS in an nginx that was built without it: nothing can be made, so nothing is ever asked.

use core::convert::Infallible;
use core::ptr::NonNull;
use std::rc::Rc;

use ::ngx::ffi::ngx_connection_t;

use super::{ContextOptions, Shaken, TlsError, Wish};
use crate::ngx::conf::{Cf, ConfError};
use crate::ngx::socket::{Peer, Stream};

pub type Tls = ();

const ABSENT: &str = "this nginx was built without TLS";

pub struct Context(Infallible);
pub struct Session(Infallible);
pub struct Identity(Infallible);
pub struct Store(Infallible);

/// The addresses of what a script may have from another library.
pub struct Chain(u8);
pub struct Key(u8);
pub struct RawStore(u8);
pub struct Certificate(u8);
pub struct RawConnection(u8);

impl Certificate {
    pub fn give_back(&self) {}
}

impl RawConnection {
    pub fn is_reused(&self) -> bool {
        false
    }
}

impl Context {
    pub fn new(_: &mut Cf, options: &ContextOptions) -> Result<Context, ConfError> {
        let _ = options;
        Err(ConfError(format!("{ABSENT}: no lua_ssl_* directive can be used")))
    }
}

impl core::fmt::Display for Session {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {}
    }
}

impl Chain {
    pub fn from_pem(_: &[u8]) -> Result<NonNull<Chain>, &'static str> {
        Err(ABSENT)
    }

    pub fn from_der(_: &[u8]) -> Result<NonNull<Chain>, &'static str> {
        Err(ABSENT)
    }

    pub fn write_der(&self, _: &mut Vec<u8>) -> bool {
        false
    }

    pub fn give_back(&self) {}
}

impl Key {
    pub fn from_pem(_: &[u8], _: &[u8]) -> Result<NonNull<Key>, &'static str> {
        Err(ABSENT)
    }

    pub fn from_der(_: &[u8]) -> Result<NonNull<Key>, &'static str> {
        Err(ABSENT)
    }

    pub fn write_der(&self, _: &mut Vec<u8>) -> bool {
        false
    }

    pub fn give_back(&self) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    Certificate,
    Key,
}

impl Identity {
    pub fn from_pem(_: &[u8], _: &[u8]) -> Result<Identity, Wrong> {
        Err(Wrong::Certificate)
    }

    pub fn new(_: &Chain, _: &Key) -> Option<Identity> {
        None
    }
}

impl Store {
    pub fn from_pem(_: &[u8]) -> Option<Store> {
        None
    }

    pub fn of_system() -> Option<Store> {
        None
    }

    pub fn new(_: &RawStore) -> Option<Store> {
        None
    }
}

impl Stream {
    pub fn begin_tls(&self, context: &Context, _: &Wish<'_>) -> Result<(), TlsError> {
        match context.0 {}
    }

    pub(super) fn shake(&self) -> Result<Shaken, TlsError> {
        Err(TlsError::Refused(ABSENT))
    }

    pub fn verify_peer(&self, _: &[u8]) -> Result<(), TlsError> {
        Err(TlsError::Refused(ABSENT))
    }

    pub fn is_encrypted(&self) -> bool {
        false
    }

    pub fn session(&self) -> Option<Rc<Session>> {
        None
    }

    pub fn alpn(&self, _: &mut Vec<u8>) {}

    pub fn openssl(&self) -> Option<(usize, usize)> {
        None
    }
}

/// # Safety
/// None is asked for.
pub unsafe fn is_tls(_: *mut ngx_connection_t) -> bool {
    false
}

/// # Safety
/// None is asked for.
pub unsafe fn peek(_: *mut ngx_connection_t) -> Peer {
    Peer::Gone
}

/// # Safety
/// None is asked for.
pub unsafe fn say_goodbye(_: *mut ngx_connection_t) {}

/// # Safety
/// None is asked for.
pub unsafe fn shut_down(_: *mut ngx_connection_t) {}
