//! Sessions on their way between OpenSSL and scripts.

use core::cell::{Cell, RefCell};
use core::ffi::c_long;
use core::ptr::{self, NonNull};

use ::ngx::ffi::{self, SSL_SESSION};

use super::super::keys::clear_errors;
use super::Handshake;

/// Those of a handshake.
#[derive(Default)]
pub struct Sessions {
    /// The id of the session that is looked for, or stored.
    id: RefCell<Option<Vec<u8>>>,
    /// What a script has found.
    found: RefCell<Option<Counted>>,
    /// What a script may store, while it runs.
    lent: Cell<Option<NonNull<SSL_SESSION>>>,
}

/// A counted reference.
struct Counted(NonNull<SSL_SESSION>);

impl Drop for Counted {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { ffi::SSL_SESSION_free(self.0.as_ptr()) };
    }
}

/// Larger ones scripts are not given: shared memory and other stores have limits, too.
const LARGEST: usize = 4096;

/// While it lives, scripts can read a session.
pub struct Lent<'a>(&'a Sessions);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.lent.set(None);
        self.0.id.take();
    }
}

impl Sessions {
    pub fn look_for(&self, id: &[u8]) {
        if !self.is_looked_for(id) {
            self.id.replace(Some(id.to_vec()));
        }
    }

    pub fn is_looked_for(&self, id: &[u8]) -> bool {
        self.id.borrow().as_deref() == Some(id)
    }

    /// Gives what a script has found away.
    pub fn take_found(&self) -> Option<NonNull<SSL_SESSION>> {
        let found = self.found.take()?;
        let session = found.0;
        core::mem::forget(found);
        Some(session)
    }

    /// # Safety
    /// `session` must be live for as long as the result.
    pub unsafe fn lend(&self, session: *mut SSL_SESSION) -> Lent<'_> {
        let mut len = 0;
        // SAFETY: the caller vouches for the session, whose id is copied at once.
        let id = unsafe {
            let id = ffi::SSL_SESSION_get_id(session, &raw mut len);
            if id.is_null() { &[][..] } else { core::slice::from_raw_parts(id, len as usize) }.to_vec()
        };
        self.id.replace(Some(id));
        self.lent.set(NonNull::new(session));
        Lent(self)
    }
}

impl Handshake {
    /// The id of the session, in hexadecimal digits.
    pub fn session_id(&self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let id = self.sessions.id.borrow();
        let id =
            id.as_deref().filter(|id| !id.is_empty()).ok_or("uninitialized session id len in lua context")?;
        for byte in id {
            out.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        Ok(())
    }

    /// Writes the session that is to be stored, in OpenSSL's format.
    pub fn write_session(&self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let session = self.sessions.lent.get().ok_or("bad session in lua context")?.as_ptr();
        // SAFETY: the session is live as long as it is lent; without a buffer the length is told, then as much is written.
        unsafe {
            let len = usize::try_from(ffi::i2d_SSL_SESSION(session, ptr::null_mut())).unwrap_or(0);
            if len == 0 {
                clear_errors();
                return Err("i2d_SSL_SESSION() failed");
            }
            if len > LARGEST {
                return Err("session too big to serialize");
            }
            let from = out.len();
            out.resize(from + len, 0);
            let mut at = out[from..].as_mut_ptr();
            ffi::i2d_SSL_SESSION(session, &raw mut at);
        }
        Ok(())
    }

    /// The session that a script has found, in OpenSSL's format.
    pub fn found_session(&self, data: &[u8]) -> Result<(), &'static str> {
        let mut at = data.as_ptr();
        let len = c_long::try_from(data.len()).unwrap_or(c_long::MAX);
        // SAFETY: OpenSSL reads within the length.
        let session = unsafe { ffi::d2i_SSL_SESSION(ptr::null_mut(), &raw mut at, len) };
        clear_errors();
        let session = NonNull::new(session).ok_or("failed to de-serialize session")?;
        self.sessions.found.replace(Some(Counted(session)));
        Ok(())
    }
}
