//! What ends or moves a request: finalize, run on, redirect internally.

use ::ngx::ffi;

use super::bits::bits;
use super::request::{Rc, Request};
use super::text::{bytes, to_pool};

impl Request {
    /// Ends the request with `rc`, from an event.
    pub fn finalize(self, rc: Rc) {
        // SAFETY: the request is alive; after this call it may not be, and the handle is consumed.
        unsafe { ffi::ngx_http_finalize_request(self.raw(), rc.0) }
    }

    /// Answers with the page of status `code` instead of the response whose header is being filtered.
    pub fn replace_response(&self, code: Rc) -> Rc {
        // SAFETY: called from our header filter, as nginx's own filters do; our module keeps its context.
        let rc =
            unsafe { ffi::ngx_http_filter_finalize_request(self.raw(), super::module::tag().cast(), code.0) };
        if rc == Rc::ERROR.0 || rc == Rc::AGAIN.0 {
            Rc(rc)
        } else {
            Rc::OK
        }
    }

    /// Asks nginx for a body whose bytes are in memory, not in files.
    pub fn need_body_in_memory(&self) {
        // SAFETY: a plain field write to a live request.
        unsafe { (*bits(self.raw())).set_filter_need_in_memory(1) }
    }

    /// Path, unescaped, and arguments of a URI that a script redirects to; `None` when nginx calls it unsafe.
    pub fn split_uri<'a>(&'a self, uri: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let mut path = ffi::ngx_str_t { len: uri.len(), data: uri.as_ptr().cast_mut() };
        let mut args = ffi::ngx_str_t { len: 0, data: core::ptr::null_mut() };
        let mut flags = ffi::NGX_HTTP_LOG_UNSAFE as usize;
        // SAFETY: the function narrows the strings; what it unescapes it puts into the request's pool.
        unsafe {
            let rc = ffi::ngx_http_parse_unsafe_uri(self.raw(), &raw mut path, &raw mut args, &raw mut flags);
            (rc == ffi::NGX_OK as isize).then(|| (bytes(path), bytes(args)))
        }
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

    /// Has what is logged on the connection from now on be this request's.
    pub fn log_as_current(&self) {
        super::subrequest::log_as(self);
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
            (*bits(main)).set_count((*bits(main)).count() + 1);
        }
    }

    /// Takes one reference off the main request.
    pub fn release(&self) {
        // SAFETY: as above.
        unsafe {
            let main = (*self.raw()).main;
            (*bits(main)).set_count((*bits(main)).count() - 1);
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
            // no arguments and empty ones are different things to nginx's variables
            let mut args_str = match args.filter(|a| !a.is_empty()) {
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
