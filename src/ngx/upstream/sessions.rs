//! TLS sessions with the peers that scripts have named: they make the next handshake shorter.
//!
//! nginx's round robin keeps one session for each server of the configuration. A peer that a script names is in no
//! configuration, so the worker remembers the sessions of an upstream by the [`Key`] of the connection.

use core::cell::RefCell;
use core::ptr::NonNull;

use ::ngx::ffi::{self, ngx_connection_t, ngx_int_t, SSL_SESSION};

use super::key::Key;

/// How many a worker remembers for an upstream: a session with its certificates takes some kilobytes.
const MOST: usize = 256;

#[derive(Default)]
pub struct Sessions {
    /// The one that was made longest ago is the first.
    all: RefCell<Vec<Session>>,
}

struct Session {
    hash: u64,
    key: Box<[u8]>,
    session: NonNull<SSL_SESSION>,
}

impl Sessions {
    /// Offers the peer of `c` the session of `key`, if there is one.
    ///
    /// # Safety
    /// `c` must be a live connection before its handshake, and the key's request alive.
    pub unsafe fn offer(&self, key: &Key, c: *mut ngx_connection_t) -> ngx_int_t {
        // SAFETY: the caller vouches for both; OpenSSL counts its own reference.
        unsafe {
            match self.all.borrow().iter().find(|s| s.is(key)) {
                Some(found) => ffi::ngx_ssl_set_session(c, found.session.as_ptr()),
                None => ffi::NGX_OK as ngx_int_t,
            }
        }
    }

    /// Remembers the session that the peer of `c` has given.
    ///
    /// # Safety
    /// `c` must be a live TLS connection, and the key's request alive.
    pub unsafe fn remember(&self, key: &Key, c: *mut ngx_connection_t) {
        // SAFETY: the caller vouches for both; the reference that nginx hands out is ours.
        unsafe {
            let Some(session) = NonNull::new(ffi::ngx_ssl_get_session(c)) else { return };
            let mut all = self.all.borrow_mut();
            if let Some(at) = all.iter().position(|s| s.is(key)) {
                all.remove(at);
            } else if all.len() >= MOST {
                all.remove(0);
            }
            all.push(Session { hash: key.hash, key: key.text().into(), session });
        }
    }
}

impl Session {
    /// # Safety
    /// The key's request must be alive.
    unsafe fn is(&self, key: &Key) -> bool {
        // SAFETY: the caller vouches for the key.
        self.hash == key.hash && *self.key == *unsafe { key.text() }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { ffi::SSL_SESSION_free(self.session.as_ptr()) };
    }
}
