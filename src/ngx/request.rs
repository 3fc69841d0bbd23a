//! A request, as the callback that was called for it may use it.

use core::ptr::NonNull;

use ::ngx::ffi::{self, ngx_http_request_t, ngx_int_t};

use super::bits::bits;
use super::log::{self, Level};
use super::module;
use super::text::bytes;
use crate::conf::{LocConf, MainConf};

/// One of nginx's return codes, or an HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Rc(pub ngx_int_t);

impl Rc {
    pub const OK: Rc = Rc(ffi::NGX_OK as ngx_int_t);
    pub const ERROR: Rc = Rc(ffi::NGX_ERROR as ngx_int_t);
    pub const AGAIN: Rc = Rc(ffi::NGX_AGAIN as ngx_int_t);
    pub const DONE: Rc = Rc(ffi::NGX_DONE as ngx_int_t);
    pub const BUSY: Rc = Rc(ffi::NGX_BUSY as ngx_int_t);
    pub const DECLINED: Rc = Rc(ffi::NGX_DECLINED as ngx_int_t);
    pub const INTERNAL_SERVER_ERROR: Rc = Rc(ffi::NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t);
    pub const SERVICE_UNAVAILABLE: Rc = Rc(ffi::NGX_HTTP_SERVICE_UNAVAILABLE as ngx_int_t);
    pub const NOT_ALLOWED: Rc = Rc(ffi::NGX_HTTP_NOT_ALLOWED as ngx_int_t);
    pub const NOT_FOUND: Rc = Rc(ffi::NGX_HTTP_NOT_FOUND as ngx_int_t);
    pub const CLIENT_CLOSED_REQUEST: Rc = Rc(ffi::NGX_HTTP_CLIENT_CLOSED_REQUEST as ngx_int_t);
    pub const HTTP_OK: Rc = Rc(ffi::NGX_HTTP_OK as ngx_int_t);
}

/// A handle to a request: as valid as the callback or the armed event that holds it.
///
/// Whoever keeps one beyond a callback must be cancelled when the request's state is dropped (see [`crate::run`]).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Request(NonNull<ngx_http_request_t>);

impl Request {
    /// # Safety
    /// `r` must be the live request nginx passed to the calling callback.
    pub unsafe fn new(r: *mut ngx_http_request_t) -> Request {
        // SAFETY: nginx never calls a handler with a null request.
        Request(unsafe { NonNull::new_unchecked(r) })
    }

    pub(crate) fn raw(&self) -> *mut ngx_http_request_t {
        self.0.as_ptr()
    }

    /// The main request of this one: itself, unless it is a subrequest.
    pub fn main(&self) -> Request {
        // SAFETY: `main` is never null.
        unsafe { Request::new((*self.raw()).main) }
    }

    pub fn is_subrequest(&self) -> bool {
        self.main() != *self
    }

    pub fn main_conf(&self) -> &MainConf {
        // SAFETY: `create_main_conf` filled our slot.
        unsafe { &*(*(*self.raw()).main_conf.add(module::ctx_index())).cast::<MainConf>() }
    }

    pub fn loc_conf(&self) -> &LocConf {
        // SAFETY: `create_loc_conf` filled our slot of each location.
        unsafe { &*(*(*self.raw()).loc_conf.add(module::ctx_index())).cast::<LocConf>() }
    }

    /// Writes to the request's error log.
    pub fn log(&self, level: Level, message: &str) {
        self.log_bytes(level, message.as_bytes());
    }

    pub fn log_bytes(&self, level: Level, message: &[u8]) {
        // SAFETY: the connection and its log outlive the request.
        unsafe { log::write((*(*self.raw()).connection).log, level, message) }
    }

    /// Adds the client's and the server's address as error logs show them.
    pub fn describe_ends(&self, out: &mut Vec<u8>) {
        // SAFETY: plain field reads of a live connection and its listening socket.
        let (client, server) = unsafe {
            let c = (*self.raw()).connection;
            (bytes((*c).addr_text), (*c).listening.as_ref().map_or(&b""[..], |l| bytes(l.addr_text)))
        };
        for (name, text) in [(&b", client: "[..], client), (b", server: ", server)] {
            if !text.is_empty() {
                out.extend_from_slice(name);
                out.extend_from_slice(text);
            }
        }
    }

    /// Whether the request's error log takes messages of this level.
    pub fn logs(&self, level: Level) -> bool {
        // SAFETY: as above.
        unsafe { log::takes((*(*self.raw()).connection).log, level) }
    }

    /// The level up to which the request's error log takes messages.
    pub fn log_level(&self) -> Level {
        // SAFETY: as above.
        unsafe { log::level((*(*self.raw()).connection).log) }
    }

    /// Whether the response header has left, or is about to with output already produced.
    pub fn header_sent(&self) -> bool {
        // SAFETY: plain field reads of a live request.
        unsafe { (*bits(self.raw())).header_sent() != 0 }
    }

    pub fn status(&self) -> usize {
        // SAFETY: a plain field read of a live request.
        unsafe { (*self.raw()).headers_out.status }
    }

    /// Whether a status was chosen for the response.
    pub fn has_status(&self) -> bool {
        self.status() != 0
    }

    /// Sets the status of the response to come, dropping a status line that an upstream may have set.
    pub fn set_status(&self, status: usize) {
        // SAFETY: plain field writes to a live request.
        unsafe {
            let out = &raw mut (*self.raw()).headers_out;
            (*out).status = status;
            (*out).status_line = ffi::ngx_str_t { len: 0, data: core::ptr::null_mut() };
        }
    }

    /// The error status that an internal redirect to an error page carries; 0 when there is none.
    pub fn err_status(&self) -> usize {
        // SAFETY: a plain field read of a live request.
        unsafe { (*self.raw()).err_status }
    }

    /// Sets the whole status line; `false` when memory is out.
    pub fn set_status_line(&self, line: &[u8]) -> bool {
        // SAFETY: the line is copied into the request's pool.
        unsafe {
            let Some(line) = super::text::to_pool((*self.raw()).pool, line) else { return false };
            (*self.raw()).headers_out.status_line = line;
        }
        true
    }

    /// Forgets the error status that an internal redirect to an error page carries.
    pub fn clear_err_status(&self) {
        // SAFETY: a plain field write to a live request.
        unsafe { (*self.raw()).err_status = 0 }
    }

    /// The status as scripts see it: that of an error page, else the one that was set; 9 for HTTP/0.9.
    pub fn shown_status(&self) -> usize {
        match (self.err_status(), self.status()) {
            (0, 0) if self.http_version() == 9 => 9,
            (0, status) => status,
            (error, _) => error,
        }
    }

    /// The protocol as nginx numbers it: 9, 1000, 1001, 2000.
    pub fn http_version(&self) -> usize {
        // SAFETY: a plain field read of a live request.
        unsafe { (*self.raw()).http_version }
    }

    pub fn uri(&self) -> &[u8] {
        // SAFETY: the URI lives in the request's pool.
        unsafe { bytes((*self.raw()).uri) }
    }

    /// How many wait for the request, or for a subrequest of it, to end.
    pub fn references(&self) -> u32 {
        // SAFETY: a live request has a main one.
        unsafe { (*bits((*self.raw()).main)).count() }
    }

    /// How much memory the request holds, as far as its client has filled it: what of its body is in a file does not count.
    pub fn bytes_in_memory(&self) -> u64 {
        // SAFETY: plain field reads of a live request and its body.
        unsafe {
            let length = (*self.raw()).request_length.max(0) as u64;
            let file = (*self.raw()).request_body.as_ref().and_then(|body| body.temp_file.as_ref());
            length.saturating_sub(file.map_or(0, |file| file.file.offset.max(0) as u64))
        }
    }

    /// Whether an upstream answers the request.
    pub fn has_upstream(&self) -> bool {
        // SAFETY: a plain field read of a live request.
        unsafe { !(*self.raw()).upstream.is_null() }
    }

    /// Whether our phase handler may be entered: not while nginx answers an error to a broken request line.
    pub fn has_uri(&self) -> bool {
        // SAFETY: a plain field read of a live request.
        unsafe { (*self.raw()).uri.len != 0 }
    }
}
