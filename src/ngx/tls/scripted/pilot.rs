//! Shakes hands in nginx's place, as long as scripts may have to wait.
//!
//! When a handshake begins, inside nginx's call of OpenSSL, the connection is given an empty source to read from. So
//! nginx is told to wait for something to read, arms its timer, and says what is to be called once hands are shaken.
//! Right after that the source is put back, and the connection's events come here. A server's handshake goes back to
//! nginx when the client's first message has been answered, an upstream's when it is over; whoever refuses something
//! lets nginx meet the refusal. All by what OpenSSL and nginx offer to any module.

use core::cell::{Cell, RefCell};
use core::ffi::c_int;
use core::ptr::{self, NonNull};
use std::rc::Rc;

use ::ngx::ffi::{self, ngx_connection_t, ngx_event_handler_pt, ngx_event_t, BIO, SSL};

use super::super::keys::clear_errors;
use super::{connection, failure, Handshake};
use crate::native::guard;
use crate::ngx::event::Posted;

/// What OpenSSL calls at each step of a handshake.
pub type Info = Option<unsafe extern "C" fn(*const SSL, c_int, c_int)>;

pub struct Pilot {
    /// Where the connection reads from.
    source: Bio,
    /// nginx's own function for OpenSSL's steps.
    info: Info,
    /// nginx's handlers of the connection's events, while ours are in their place.
    handlers: Cell<Option<(ngx_event_handler_pt, ngx_event_handler_pt)>>,
    plan: RefCell<Option<Posted>>,
    /// OpenSSL is called by us.
    drives: Cell<bool>,
    /// The connection reads from nowhere.
    barred: Cell<bool>,
    /// Whatever comes next is nginx's.
    leaves: Cell<bool>,
}

/// A counted reference.
struct Bio(NonNull<BIO>);

impl Drop for Bio {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { ffi::BIO_free(self.0.as_ptr()) };
    }
}

impl Pilot {
    pub fn drives(&self) -> bool {
        self.drives.get()
    }

    /// As soon as OpenSSL returns, nginx takes over.
    pub fn leave(&self) {
        self.leaves.set(true);
    }

    pub fn forget_plans(&self) {
        self.plan.take();
    }
}

/// What a handshake that has been driven for a while wants.
enum Want {
    /// That something happens to the connection.
    Events,
    Script,
    Nginx,
    /// That this first byte of early data, and what follows, is read.
    Early(u8),
    /// OpenSSL's error, and the system's.
    Failed(c_int, c_int),
}

impl Handshake {
    /// Whether a script that is asked for something now may wait.
    pub(super) fn may_wait(&self) -> bool {
        self.pilot.get().is_some_and(Pilot::drives)
    }

    /// Begins to shake hands in nginx's place; called while nginx begins to.
    pub(super) fn pilot(self: &Rc<Self>, info: Info) -> Option<()> {
        let ssl = self.raw();
        // SAFETY: the connection is live; references are counted.
        let source = unsafe {
            let source = Bio(NonNull::new(ffi::SSL_get_rbio(ssl))?);
            if ffi::BIO_up_ref(source.0.as_ptr()) != 1 {
                core::mem::forget(source);
                return None;
            }
            source
        };
        let pilot = Pilot {
            source,
            info,
            handlers: Cell::new(None),
            plan: RefCell::default(),
            drives: Cell::new(false),
            barred: Cell::new(false),
            leaves: Cell::new(false),
        };
        // there is none: a connection begins once
        let _ = self.pilot.set(pilot);
        self.bar()?;
        self.go_on_soon();
        Some(())
    }

    /// Has the connection read from nowhere: OpenSSL says that nothing can be read yet.
    fn bar(&self) -> Option<()> {
        let pilot = self.pilot.get()?;
        // SAFETY: the connection is live, and takes the empty source over.
        unsafe {
            let nothing = NonNull::new(ffi::BIO_new(ffi::BIO_s_mem()))?;
            ffi::SSL_set0_rbio(self.raw(), nothing.as_ptr());
        }
        pilot.barred.set(true);
        Some(())
    }

    fn unbar(&self) {
        let Some(pilot) = self.pilot.get() else { return };
        if pilot.barred.replace(false) {
            // SAFETY: the connection is live, and takes over the reference that is counted here.
            unsafe {
                ffi::BIO_up_ref(pilot.source.0.as_ptr());
                ffi::SSL_set0_rbio(self.raw(), pilot.source.0.as_ptr());
            }
        }
    }

    /// Goes on right after the events at hand.
    pub(super) fn go_on_soon(self: &Rc<Self>) {
        let Some(pilot) = self.pilot.get() else { return };
        let handshake = Rc::downgrade(self);
        let posted = Posted::now(Box::new(move || {
            if let Some(handshake) = handshake.upgrade() {
                handshake.go_on();
            }
        }));
        pilot.plan.replace(Some(posted));
    }

    fn go_on(self: &Rc<Self>) {
        let Some(pilot) = self.pilot.get() else { return };
        let c = self.connection.as_ptr();
        if pilot.handlers.get().is_none() {
            // SAFETY: the connection is live.
            unsafe {
                pilot.handlers.set(Some(((*(*c).read).handler, (*(*c).write).handler)));
                (*(*c).read).handler = Some(on_event);
                (*(*c).write).handler = Some(on_event);
            }
            self.unbar();
            // SAFETY: as above.
            unsafe { ffi::SSL_set_info_callback(self.raw(), Some(on_step)) };
        }
        if self.is_waiting() {
            return;
        }
        let wants = self.drive(pilot);
        match wants {
            Want::Nginx => self.hand_over(pilot),
            Want::Early(byte) => self.hand_over_early(pilot, byte),
            Want::Failed(error, system) => self.fail(pilot, error, system),
            Want::Events | Want::Script => {
                // SAFETY: the connection is live.
                if unsafe { !listen(c) } {
                    self.fail(pilot, 0, 0);
                }
            }
        }
    }

    /// Calls OpenSSL.
    fn drive(&self, pilot: &Pilot) -> Want {
        let (c, ssl) = (self.connection.as_ptr(), self.raw());
        clear_errors();
        pilot.drives.set(true);
        // SAFETY: the connection is live and shakes hands.
        let shaken = unsafe { shake(c, ssl) };
        pilot.drives.set(false);
        let n = match shaken {
            Ok(n) => n,
            Err(byte) => return Want::Early(byte),
        };
        // SAFETY: as above; the system's error is that of the call just made.
        let (error, system) = unsafe { (ffi::SSL_get_error(ssl, n), last_system_error()) };
        if pilot.leaves.get() || error == ffi::SSL_ERROR_NONE as c_int {
            return Want::Nginx;
        }
        match error as u32 {
            ffi::SSL_ERROR_WANT_READ | ffi::SSL_ERROR_WANT_WRITE if pilot.barred.get() => Want::Nginx,
            ffi::SSL_ERROR_WANT_READ => {
                // SAFETY: as above.
                unsafe { (*(*c).read).set_ready(0) };
                Want::Events
            }
            ffi::SSL_ERROR_WANT_WRITE => {
                // SAFETY: as above.
                unsafe { (*(*c).write).set_ready(0) };
                Want::Events
            }
            _ if self.is_waiting() => Want::Script,
            _ => Want::Failed(error, system),
        }
    }

    /// Gives nginx the connection back as it was.
    fn release(&self, pilot: &Pilot) -> Option<ngx_event_handler_pt> {
        self.unbar();
        pilot.plan.take();
        let (read, write) = pilot.handlers.take()?;
        let c = self.connection.as_ptr();
        // SAFETY: the connection is live.
        unsafe {
            ffi::SSL_set_info_callback(self.raw(), pilot.info);
            (*(*c).read).handler = read;
            (*(*c).write).handler = write;
        }
        Some(read)
    }

    /// nginx goes on with the handshake, which may end the connection.
    fn hand_over(&self, pilot: &Pilot) {
        clear_errors();
        if let Some(Some(read)) = self.release(pilot) {
            // SAFETY: nginx's own handler, for the connection that it was made for.
            unsafe { read((*self.connection.as_ptr()).read) };
        }
    }

    /// The same, with early data to be read: OpenSSL gives none of it twice, so it is left where nginx would have put it.
    fn hand_over_early(&self, pilot: &Pilot, byte: u8) {
        let c = self.connection.as_ptr();
        clear_errors();
        self.release(pilot);
        // SAFETY: the connection is live; these are the marks that nginx leaves on one with early data.
        let validated = unsafe {
            let tls = &mut *(*c).ssl;
            tls.set_try_early_data(0);
            tls.early_buf = byte;
            tls.set_early_preread(1);
            tls.set_in_early(1);
            (*c).recv = Some(ffi::ngx_ssl_recv);
            (*c).send = Some(ffi::ngx_ssl_write);
            (*c).recv_chain = Some(ffi::ngx_ssl_recv_chain);
            (*c).send_chain = Some(ffi::ngx_ssl_send_chain);
            (*(*c).read).set_ready(1);
            (*(*c).write).set_ready(1);
            listen(c).then(|| ffi::ngx_ssl_ocsp_validate(c))
        };
        const AGAIN: isize = ffi::NGX_AGAIN as isize;
        match validated {
            // nginx's handlers go on once it knows about the client's certificate
            Some(AGAIN) => {}
            Some(0) => {
                // SAFETY: as above.
                unsafe { (*(*c).ssl).set_handshaked(1) };
                self.tell_nginx();
            }
            _ => self.tell_nginx(),
        }
    }

    /// The handshake has failed in a way that nginx has not seen.
    fn fail(&self, pilot: &Pilot, error: c_int, system: c_int) {
        let c = self.connection.as_ptr();
        self.release(pilot);
        // SAFETY: the connection is live; these are the marks that nginx leaves on one whose handshake has failed.
        unsafe {
            let tls = &mut *(*c).ssl;
            tls.set_no_wait_shutdown(1);
            tls.set_no_send_shutdown(1);
            (*(*c).read).set_eof(1);
            failure::log(c, error, system);
            (*(*c).read).set_error(1);
        }
        clear_errors();
        self.tell_nginx();
    }

    /// Calls what nginx has left to be called when the handshake is over, well or not.
    fn tell_nginx(&self) {
        let c = self.connection.as_ptr();
        // SAFETY: the connection is live; nginx sets the handler whenever it waits.
        unsafe {
            if let Some(handler) = (*(*c).ssl).handler {
                handler(c);
            }
        }
    }

    /// Something has happened to the connection.
    fn event(self: &Rc<Self>, event: *mut ngx_event_t) {
        let Some(pilot) = self.pilot.get() else { return };
        let c = self.connection.as_ptr();
        // SAFETY: event and connection are live.
        unsafe {
            // a client that the worker has no more time for is treated as one that took too long; what is proxied ends
            // with its request
            let has_to_close = (*c).close() != 0 && ffi::SSL_is_server(self.raw()) == 1;
            if (*event).timedout() != 0 || has_to_close {
                self.cancel();
                self.release(pilot);
                self.tell_nginx();
                return;
            }
            if !self.is_waiting() {
                self.go_on();
                return;
            }
            if event == (*c).read && has_gone(c) || !listen(c) {
                self.cancel();
                self.fail(pilot, 0, 0);
            }
        }
    }
}

/// What OpenSSL says, or the first byte of early data that has come with the client's first message.
///
/// # Safety
/// Both must be live and shaking hands.
unsafe fn shake(c: *mut ngx_connection_t, ssl: *mut SSL) -> Result<c_int, u8> {
    // SAFETY: the caller vouches for both.
    unsafe {
        if (*(*c).ssl).try_early_data() == 0 {
            return Ok(ffi::SSL_do_handshake(ssl));
        }
        let (mut byte, mut read) = (0u8, 0usize);
        let rc = ffi::SSL_read_early_data(ssl, ptr::from_mut(&mut byte).cast(), 1, &raw mut read);
        match rc as u32 {
            ffi::SSL_READ_EARLY_DATA_SUCCESS => Err(byte),
            ffi::SSL_READ_EARLY_DATA_FINISH => {
                // there is none to come, which OpenSSL says once: nginx goes on as if it had been told
                (*(*c).ssl).set_try_early_data(0);
                Ok(1)
            }
            _ => Ok(-1),
        }
    }
}

/// Asks for events of the connection.
///
/// # Safety
/// `c` must be live.
unsafe fn listen(c: *mut ngx_connection_t) -> bool {
    const OK: isize = ffi::NGX_OK as isize;
    // SAFETY: the caller vouches for the connection.
    unsafe {
        ffi::ngx_handle_read_event((*c).read, 0) == OK && ffi::ngx_handle_write_event((*c).write, 0) == OK
    }
}

/// Whether the other side has closed the connection, seen without taking anything from it.
///
/// # Safety
/// `c` must be live.
unsafe fn has_gone(c: *mut ngx_connection_t) -> bool {
    let mut byte = 0u8;
    // SAFETY: the caller vouches for the connection, whose descriptor is open.
    unsafe {
        if (*(*c).read).pending_eof() != 0 {
            return true;
        }
        match libc::recv((*c).fd, ptr::from_mut(&mut byte).cast(), 1, libc::MSG_PEEK) {
            0 => true,
            n if n > 0 => false,
            _ => {
                (*(*c).read).set_ready(0);
                !matches!(last_system_error(), libc::EAGAIN | libc::EINTR)
            }
        }
    }
}

fn last_system_error() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    guard(|| {
        // SAFETY: a connection's events have it as their data; it is live, and so is what it shakes hands with.
        let handshake = unsafe {
            let c = (*event).data.cast::<ngx_connection_t>();
            Handshake::known((*(*c).ssl).connection)
        };
        if let Some(handshake) = handshake {
            handshake.event(event);
        }
    });
}

/// A handshake begins: OpenSSL's first call for a connection.
pub unsafe extern "C" fn on_begin(ssl: *const SSL, what: c_int, value: c_int) {
    // SAFETY: the context's `Originals` live as long as the configuration.
    let info = unsafe { super::install::originals(ffi::SSL_get_SSL_CTX(ssl)) }.and_then(|o| o.info);
    guard(|| {
        // SAFETY: OpenSSL passes the live connection.
        unsafe {
            ffi::SSL_set_info_callback(ssl.cast_mut(), info);
            let c = connection(ssl);
            // QUIC has messages of its own in place of a stream, and nginx no way to be told to wait
            let begins = what & ffi::SSL_CB_HANDSHAKE_START as c_int != 0
                && !c.is_null()
                && (*c).type_ == libc::SOCK_STREAM
                && !(*c).ssl.is_null()
                && (*(*c).ssl).handshaked() == 0;
            if begins {
                if let Some(handshake) = Handshake::of(ssl.cast_mut()) {
                    handshake.pilot(info);
                }
            }
        }
    });
    // SAFETY: nginx's own function, for the call that it was made for.
    unsafe {
        if let Some(info) = info {
            info(ssl, what, value);
        }
    }
}

/// A handshake that we drive takes a step.
unsafe extern "C" fn on_step(ssl: *const SSL, what: c_int, value: c_int) {
    // SAFETY: OpenSSL passes the live connection.
    let info = guard(|| unsafe {
        let handshake = Handshake::known(ssl)?;
        let pilot = handshake.pilot.get()?;
        if what & ffi::SSL_CB_LOOP as c_int != 0 && pilot.drives() && !pilot.barred.get() && is_answered(ssl)
        {
            handshake.bar();
        }
        Some(pilot.info)
    });
    // SAFETY: nginx's own function, for the call that it was made for.
    unsafe {
        if let Some(Some(Some(info))) = info {
            info(ssl, what, value);
        }
    }
}

/// Whether a server has begun to answer a client's first message in a way that needs no second one.
///
/// # Safety
/// `ssl` must be live.
unsafe fn is_answered(ssl: *const SSL) -> bool {
    // SAFETY: the caller vouches for the connection.
    unsafe {
        ffi::SSL_is_server(ssl) == 1
            && !matches!(
                ffi::SSL_get_state(ssl),
                // the greeting that asks for another first message (TLS 1.3) looks like any other
                ffi::OSSL_HANDSHAKE_STATE_TLS_ST_BEFORE
                    | ffi::OSSL_HANDSHAKE_STATE_TLS_ST_SR_CLNT_HELLO
                    | ffi::OSSL_HANDSHAKE_STATE_TLS_ST_SW_SRVR_HELLO
                    | ffi::OSSL_HANDSHAKE_STATE_TLS_ST_SW_CHANGE
            )
    }
}
