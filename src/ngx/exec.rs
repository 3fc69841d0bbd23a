//! What ends or moves a request: finalize, run on, redirect internally.

use ::ngx::ffi;

use super::request::{Rc, Request};
use super::text::to_pool;

impl Request {
    /// Ends the request with `rc`, from an event.
    pub fn finalize(self, rc: Rc) {
        // SAFETY: the request is alive; after this call it may not be, and the handle is consumed.
        unsafe { ffi::ngx_http_finalize_request(self.raw(), rc.0) }
    }

    /// Lets nginx go on with the phases, from an event.
    pub fn run_phases(self) {
        // SAFETY: as above.
        unsafe {
            (*self.raw()).write_event_handler = Some(ffi::ngx_http_core_run_phases);
            ffi::ngx_http_core_run_phases(self.raw());
        }
    }

    /// Runs what other requests of the same connection posted: the last step of an event's handler.
    pub fn run_posted(connection: Connection) {
        // SAFETY: the connection was alive when the event began; nginx's own event handlers do the same.
        unsafe { ffi::ngx_http_run_posted_requests(connection.0) }
    }

    pub fn connection(&self) -> Connection {
        // SAFETY: a plain field read of a live request.
        Connection(unsafe { (*self.raw()).connection })
    }

    /// Takes a reference on the main request, so that it stays while a script waits.
    pub fn retain(&self) {
        // SAFETY: plain field access of a live request.
        unsafe {
            let main = (*self.raw()).main;
            (*main).set_count((*main).count() + 1);
        }
    }

    /// Takes one reference off the main request.
    pub fn release(&self) {
        // SAFETY: as above.
        unsafe {
            let main = (*self.raw()).main;
            (*main).set_count((*main).count() - 1);
        }
    }

    /// While a script waits: no reads, no writes but those the script asked for.
    pub fn wait_quietly(&self) {
        let reads_body = self.ctx_if_any().is_some_and(|ctx| ctx.body_read.borrow().is_some());
        // SAFETY: plain field writes to a live request.
        unsafe {
            if !reads_body {
                (*self.raw()).read_event_handler = Some(ffi::ngx_http_block_reading);
            }
            (*self.raw()).write_event_handler = Some(ffi::ngx_http_request_empty_handler);
        }
    }

    /// Starts the request over at `uri` or at the named location `@name`.
    pub fn internal_redirect(&self, uri: &[u8], args: Option<&[u8]>) -> Rc {
        // SAFETY: the strings are copied into the request's pool, where nginx keeps them.
        unsafe {
            let pool = (*self.raw()).pool;
            let Some(mut uri_str) = to_pool(pool, uri) else { return Rc::ERROR };
            if uri.first() == Some(&b'@') {
                return Rc(ffi::ngx_http_named_location(self.raw(), &raw mut uri_str));
            }
            let mut args_str = match args {
                Some(a) => match to_pool(pool, a) {
                    Some(s) => s,
                    None => return Rc::ERROR,
                },
                None => ffi::ngx_str_t { len: 0, data: core::ptr::null_mut() },
            };
            Rc(ffi::ngx_http_internal_redirect(self.raw(), &raw mut uri_str, &raw mut args_str))
        }
    }
}

/// The connection of a request, which an event handler must remember: the request may be gone when it ends.
#[derive(Clone, Copy)]
pub struct Connection(*mut ffi::ngx_connection_t);
