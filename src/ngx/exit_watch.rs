//! Tells that the worker is to stop, while it still serves what it has begun.
//!
//! nginx has no hook for this moment. What it does then is to close idle connections, by calling their read handlers:
//! so an idle connection without a socket is what learns of it.

use core::ptr;

use ::ngx::ffi::{self, ngx_connection_t, ngx_event_t};

/// Dropping it ends the watch.
pub struct ExitWatch(Box<Watched>);

struct Watched {
    connection: *mut ngx_connection_t,
    fire: Option<Box<dyn FnOnce()>>,
}

/// Neither a socket, nor what nginx takes for a free connection.
const NO_SOCKET: i32 = -2;

impl ExitWatch {
    /// Calls `fire` when the worker is to stop; `None` when nginx has no connection left.
    pub fn new(fire: impl FnOnce() + 'static) -> Option<ExitWatch> {
        ExitWatch::on(1, fire)
    }

    /// Calls `fire` when the time is over that `worker_shutdown_timeout` leaves to a worker that stops: nginx then closes
    /// all connections, not just those that are idle.
    pub fn last(fire: impl FnOnce() + 'static) -> Option<ExitWatch> {
        ExitWatch::on(0, fire)
    }

    fn on(idle: u32, fire: impl FnOnce() + 'static) -> Option<ExitWatch> {
        // SAFETY: the cycle is running; the connection is ours until it is freed.
        unsafe {
            let connection = ffi::ngx_get_connection(0, (*ffi::ngx_cycle).log);
            let c = connection.as_mut()?;
            let mut watched = Box::new(Watched { connection, fire: Some(Box::new(fire)) });
            c.fd = NO_SOCKET;
            c.set_idle(idle);
            c.data = (&raw mut *watched).cast();
            (*c.read).handler = Some(closing);
            (*c.read).log = (*ffi::ngx_cycle).log;
            Some(ExitWatch(watched))
        }
    }
}

impl Watched {
    fn free(&mut self) {
        let connection = core::mem::replace(&mut self.connection, ptr::null_mut());
        if !connection.is_null() {
            // SAFETY: the connection is ours; nginx may look up what it takes for a descriptor.
            unsafe {
                (*connection).fd = 0;
                ffi::ngx_free_connection(connection);
                (*connection).fd = -1;
            }
        }
    }
}

impl Drop for ExitWatch {
    fn drop(&mut self) {
        self.0.free();
    }
}

unsafe extern "C" fn closing(event: *mut ngx_event_t) {
    // SAFETY: `data` of a connection's event is the connection, whose `data` is the box that lives as long as it does.
    let watched = unsafe { &mut *(*(*event).data.cast::<ngx_connection_t>()).data.cast::<Watched>() };
    watched.free();
    if let Some(fire) = watched.fire.take() {
        crate::native::guard(fire);
    }
}
