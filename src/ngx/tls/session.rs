//! Sessions: what makes the next handshake with the same peer shorter.

use core::cell::Cell;
use core::ptr::NonNull;

use ::ngx::ffi::{self, SSL_SESSION};

use crate::ngx::debug_cycle;

/// A session that a script holds. Tickets of TLS 1.3 come after the handshake; as long as the connection lives, the
/// session is the latest that the peer has sent.
pub struct Session {
    latest: Cell<NonNull<SSL_SESSION>>,
}

impl Session {
    /// Takes over a counted reference.
    pub(super) fn adopt(session: NonNull<SSL_SESSION>) -> Session {
        let session = Session { latest: Cell::new(session) };
        debug_cycle(format_args!("lua ssl save session: {session}"));
        session
    }

    pub(super) fn raw(&self) -> *mut SSL_SESSION {
        self.latest.get().as_ptr()
    }

    /// Takes over a counted reference to a newer session.
    pub(super) fn replace(&self, session: NonNull<SSL_SESSION>) {
        let before = self.latest.replace(session);
        // SAFETY: the reference was ours.
        unsafe { ffi::SSL_SESSION_free(before.as_ptr()) };
    }
}

impl core::fmt::Display for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:016X}", self.raw() as usize)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        debug_cycle(format_args!("lua ssl free session: {self}"));
        // SAFETY: the reference is ours.
        unsafe { ffi::SSL_SESSION_free(self.raw()) };
    }
}
