//! The request body: read, looked at, replaced.
//!
//! nginx reads it into memory up to `client_body_buffer_size`, and into a file beyond that.

use core::cell::Cell;
use core::ptr;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::rc::Rc as Counted;

use ::ngx::ffi::{self, ngx_buf_t, ngx_chain_t, ngx_http_request_body_t, ngx_http_request_t};

use super::bits::bits;
use super::headers_in::{Change, HeaderError};
use super::module;
use super::request::{Rc, Request};
use super::text::{bytes, to_pool};
use crate::run::State;

/// Why a body cannot be replaced.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("request body already discarded asynchronously")]
    Discarded,
    #[error("request body not read yet")]
    Unread,
    #[error("request_body not initialized")]
    NotBegun,
    #[error("no memory")]
    NoMemory,
    #[error("fail to write file")]
    Write,
    #[error("{0}() \"{1}\" failed ({2})")]
    File(&'static str, String, std::io::Error),
    #[error("\"{0}\" is not a regular file")]
    NotAFile(String),
    #[error("failed to reset the Content-Length input header")]
    Header(#[from] HeaderError),
}

/// Whom to tell that the body is there; nobody, once the reading was given up.
pub struct BodyWaiter(Cell<Option<Box<dyn FnOnce()>>>);

impl BodyWaiter {
    /// Whether somebody still waits.
    pub fn waits(&self) -> bool {
        let fire = self.0.take();
        let waits = fire.is_some();
        self.0.set(fire);
        waits
    }
}

/// A body that is being read; dropping it stops the reading, and the connection cannot be used again.
pub struct Reading {
    request: Request,
    waiter: Counted<BodyWaiter>,
}

impl Reading {
    /// After [`Request::read_body`] answered `AGAIN`: `fire` is called when the body is there.
    pub fn watch(request: Request, fire: Box<dyn FnOnce()>) -> Option<Reading> {
        let waiter = Counted::new(BodyWaiter(Cell::new(Some(fire))));
        request.ctx()?.body_read.replace(Some(waiter.clone()));
        Some(Reading { request, waiter })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.waiter.0.take().is_none() {
            return;
        }
        // SAFETY: whoever waits is dropped with the request at the latest, while it is still there.
        unsafe {
            let r = self.request.raw();
            (*r).read_event_handler = Some(ffi::ngx_http_block_reading);
            (*bits(r)).set_keepalive(0);
            let read = (*(*r).connection).read;
            if (*read).timer_set() != 0 {
                ffi::ngx_del_timer(read);
            }
        }
    }
}

/// nginx has the whole body: at once, or in an event.
unsafe extern "C" fn body_read(r: *mut ngx_http_request_t) {
    crate::native::guard(|| {
        // SAFETY: nginx passes the live request.
        let request = unsafe { Request::new(r) };
        let Some(ctx) = request.ctx_if_any() else { return };
        let waiting = ctx.body_read.take();
        if let Some(fire) = waiting.and_then(|waiter| waiter.0.take()) {
            fire();
        } else if matches!(*ctx.run.borrow(), State::Waiting(_)) {
            // the body of a stream comes whether or not somebody reads it, and then nginx watches it no more
            request.watch_client();
        }
    });
}

impl Request {
    /// Starts to read the body: `OK` if it is there (or there is none), `AGAIN` if it takes time, else the status to
    /// end the request with. Reaches no filter of the response, and runs no Lua.
    pub fn read_body(&self) -> Rc {
        let r = self.raw();
        // SAFETY: field access and calls on a live request.
        unsafe {
            (*bits(r)).set_request_body_in_single_buf(1);
            (*bits(r)).set_request_body_in_persistent_file(1);
            (*bits(r)).set_request_body_in_clean_file(1);
            if (*bits(r)).request_body_in_file_only() != 0 {
                (*bits(r)).set_request_body_file_log_level(0);
            }
            let rc = Rc(ffi::ngx_http_read_client_request_body(r, Some(body_read)));
            if rc == Rc::OK || rc == Rc::AGAIN {
                // the reference is for handlers that nginx lets go of; ours are held by their phase
                self.release();
                return rc;
            }
            if rc.0 < ffi::NGX_HTTP_SPECIAL_RESPONSE as isize {
                return Rc::INTERNAL_SERVER_ERROR;
            }
            rc
        }
    }

    /// Has nginx read the body and throw it away.
    pub fn discard_body(&self) -> Rc {
        // SAFETY: a call on a live request.
        Rc(unsafe { ffi::ngx_http_discard_request_body(self.raw()) })
    }

    /// The same without asking a client for it that waits to be asked (`Expect: 100-continue`): the answer is made.
    pub fn discard_unwanted_body(&self) -> Rc {
        // SAFETY: a plain field write to a live request.
        unsafe { (*bits(self.raw())).set_expect_tested(1) };
        self.discard_body()
    }

    /// Whether the body is thrown away, now or as it comes.
    pub fn body_discarded(&self) -> bool {
        // SAFETY: a plain field read of a live request.
        unsafe { (*bits(self.raw())).discard_body() != 0 }
    }

    /// Whether the body was read, or is being read.
    pub fn has_body(&self) -> bool {
        self.body().is_some()
    }

    #[allow(clippy::mut_from_ref)]
    fn body(&self) -> Option<&mut ngx_http_request_body_t> {
        // SAFETY: nginx's structure lives in the request's pool; one thread, and no caller here holds it twice.
        unsafe { (*self.raw()).request_body.as_mut() }
    }

    /// The pieces of a body in memory; none for one in a file.
    pub fn body_pieces(&self) -> impl Iterator<Item = &[u8]> {
        let body = self.body().filter(|b| b.temp_file.is_null());
        let mut link = body.map_or(ptr::null_mut(), |b| b.bufs);
        core::iter::from_fn(move || {
            // SAFETY: a well-formed chain in the request's pool; buffers in memory hold `pos..last`.
            unsafe {
                let here = link.as_ref()?;
                link = here.next;
                Some(filled(&*here.buf))
            }
        })
    }

    /// Name of the file that holds the body; `None` if none does.
    pub fn body_file(&self) -> Option<&[u8]> {
        let body = self.body()?;
        // SAFETY: the file's structure and name live in the request's pool.
        unsafe { body.temp_file.as_ref().map(|tf| bytes(tf.file.name)) }
    }

    /// Makes `data` the body.
    pub fn set_body(&self, data: &[u8]) -> Result<(), BodyError> {
        let body = self.replaceable_body()?;
        self.drop_body(body);
        if !data.is_empty() {
            let link = self.body_buffer(data.len())?;
            // SAFETY: a fresh buffer of that size.
            unsafe {
                let b = &mut *(*link).buf;
                ptr::copy_nonoverlapping(data.as_ptr(), b.last, data.len());
                b.last = b.last.add(data.len());
                b.set_last_buf(1);
                body.buf = b;
            }
            body.bufs = link;
        }
        self.set_body_length(data.len() as u64)
    }

    /// Makes the file `name` the body; with `delete`, removes the file when the body is replaced or the request ends.
    pub fn set_body_file(&self, name: &[u8], delete: bool) -> Result<(), BodyError> {
        let body = self.replaceable_body()?;
        let shown = || String::from_utf8_lossy(name).into_owned();
        let path = std::ffi::OsStr::from_bytes(name);
        // a FIFO must not block
        let file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(|e| BodyError::File("open", shown(), e))?;
        let info = file.metadata().map_err(|e| BodyError::File("fstat", shown(), e))?;
        if !info.is_file() {
            return Err(BodyError::NotAFile(shown()));
        }
        if info.len() == 0 {
            if delete {
                std::fs::remove_file(path).map_err(|e| BodyError::File("unlink", shown(), e))?;
            }
            self.drop_body(body);
            return self.set_body_length(0);
        }
        self.drop_body(body);
        // SAFETY: all memory is of the request's pool, whose clean-up closes the file.
        unsafe {
            let pool = (*self.raw()).pool;
            let text = to_pool(pool, name).ok_or(BodyError::NoMemory)?;
            let link = self.body_buffer(0)?;
            let size = size_of::<ffi::ngx_temp_file_t>();
            let tf = ffi::ngx_pcalloc(pool, size).cast::<ffi::ngx_temp_file_t>();
            let cleanup = ffi::ngx_pool_cleanup_add(pool, size_of::<ffi::ngx_pool_cleanup_file_t>());
            if tf.is_null() || cleanup.is_null() {
                return Err(BodyError::NoMemory);
            }
            (*tf).file.fd = file.into_raw_fd();
            (*tf).file.name = text;
            (*tf).file.log = (*(*self.raw()).connection).log;
            (*(*cleanup).data.cast::<ffi::ngx_pool_cleanup_file_t>()) =
                ffi::ngx_pool_cleanup_file_t { fd: (*tf).file.fd, name: text.data, log: (*pool).log };
            (*cleanup).handler =
                Some(if delete { ffi::ngx_pool_delete_file } else { ffi::ngx_pool_cleanup_file });
            let b = &mut *(*link).buf;
            b.set_temporary(0);
            b.set_in_file(1);
            b.set_last_buf(1);
            b.file = &raw mut (*tf).file;
            b.file_last = info.len() as ffi::off_t;
            body.temp_file = tf;
            body.bufs = link;
        }
        self.set_body_length(info.len())
    }

    /// Begins a new body, which is collected in `size` bytes of memory, or as much as `client_body_buffer_size` says.
    pub fn begin_body(&self, size: Option<usize>) -> Result<(), BodyError> {
        let body = self.replaceable_body()?;
        // SAFETY: the core module's location configuration exists for each request; plain field writes.
        let default = unsafe { (*self.core_loc_conf()).client_body_buffer_size };
        let link = self.body_buffer(size.unwrap_or(default))?;
        self.drop_body(body);
        // SAFETY: `link` is fresh; plain field writes to the live request.
        unsafe {
            (*bits(self.raw())).set_request_body_in_clean_file(1);
            (*self.raw()).headers_in.content_length_n = 0;
            body.buf = (*link).buf;
        }
        body.bufs = link;
        Ok(())
    }

    /// Adds `data` to the body that was begun; what does not fit into memory goes to a file.
    pub fn append_body(&self, data: &[u8]) -> Result<(), BodyError> {
        let body = self.body().filter(|b| !b.buf.is_null() && !b.bufs.is_null());
        let body = body.ok_or(BodyError::NotBegun)?;
        let mut rest = data;
        // SAFETY: `begin_body` or nginx gave the body a buffer in memory, `last..end` of which is unused.
        unsafe {
            let b = &mut *body.buf;
            let direct = (*bits(self.raw())).request_body_in_file_only() != 0 || b.start == b.end;
            while !rest.is_empty() {
                if direct {
                    self.write_body(body, rest)?;
                    break;
                }
                if b.last == b.end {
                    self.write_body(body, filled(b))?;
                    (b.pos, b.last) = (b.start, b.start);
                }
                let n = rest.len().min(b.end.offset_from_unsigned(b.last));
                ptr::copy_nonoverlapping(rest.as_ptr(), b.last, n);
                b.last = b.last.add(n);
                rest = &rest[n..];
            }
            (*self.raw()).headers_in.content_length_n += data.len() as ffi::off_t;
        }
        Ok(())
    }

    /// Makes the body that was begun the request's.
    pub fn finish_body(&self) -> Result<(), BodyError> {
        let body = self.body().filter(|b| !b.buf.is_null() && !b.bufs.is_null());
        let body = body.ok_or(BodyError::NotBegun)?;
        // SAFETY: as in `append_body`; the file's structure lives in the request's pool.
        unsafe {
            if !body.temp_file.is_null() {
                self.write_body(body, filled(&*body.buf))?;
                let link = self.body_buffer(0)?;
                let b = &mut *(*link).buf;
                b.set_temporary(0);
                b.set_in_file(1);
                b.file = &raw mut (*body.temp_file).file;
                b.file_last = (*body.temp_file).offset;
                body.bufs = link;
                body.buf = ptr::null_mut();
            }
            let n = u64::try_from((*self.raw()).headers_in.content_length_n).unwrap_or(0);
            if n == 0 {
                // an empty buffer is one that nginx's writers complain of
                (body.bufs, body.buf) = (ptr::null_mut(), ptr::null_mut());
            } else {
                (*(*body.bufs).buf).set_last_buf(1);
            }
            self.set_body_length(n)
        }
    }

    /// The body, if it may be replaced.
    #[allow(clippy::mut_from_ref)]
    fn replaceable_body(&self) -> Result<&mut ngx_http_request_body_t, BodyError> {
        if self.body_discarded() {
            return Err(BodyError::Discarded);
        }
        self.body().ok_or(BodyError::Unread)
    }

    fn core_loc_conf(&self) -> *mut ffi::ngx_http_core_loc_conf_t {
        // SAFETY: each request has a location configuration of the core module.
        unsafe {
            let index = (*ptr::addr_of!(ffi::ngx_http_core_module)).ctx_index;
            (*(*self.raw()).loc_conf.add(index)).cast()
        }
    }

    /// A link with an empty buffer of `size` bytes.
    pub(super) fn body_buffer(&self, size: usize) -> Result<*mut ngx_chain_t, BodyError> {
        // SAFETY: the pool is the request's.
        unsafe {
            let pool = (*self.raw()).pool;
            let b = if size == 0 {
                ffi::ngx_pcalloc(pool, size_of::<ngx_buf_t>()).cast::<ngx_buf_t>()
            } else {
                ffi::ngx_create_temp_buf(pool, size)
            };
            let link = ffi::ngx_alloc_chain_link(pool);
            if b.is_null() || link.is_null() {
                return Err(BodyError::NoMemory);
            }
            (*b).tag = module::tag();
            (*link).buf = b;
            (*link).next = ptr::null_mut();
            Ok(link)
        }
    }

    /// Gives memory and file of the body up.
    fn drop_body(&self, body: &mut ngx_http_request_body_t) {
        // what a subrequest has, too, goes with the pool
        let shared = self.shares_body();
        self.note_own_body();
        // SAFETY: the chain, the file and the clean-ups live in the request's pool; a buffer of ours is not shared.
        unsafe {
            let pool = (*self.raw()).pool;
            let mut link = body.bufs;
            while let Some(here) = link.as_mut() {
                let b = &mut *here.buf;
                if !shared && b.tag == module::tag() && b.temporary() != 0 {
                    ffi::ngx_pfree(pool, b.start.cast());
                    b.set_temporary(0);
                }
                link = here.next;
            }
            if let Some(tf) = body.temp_file.as_mut().filter(|_| !shared) {
                close_now(pool, tf.file.fd);
                tf.file.fd = -1;
            }
        }
        body.bufs = ptr::null_mut();
        body.buf = ptr::null_mut();
        body.temp_file = ptr::null_mut();
    }

    /// Appends `data` to the body's file, which is made if there is none.
    fn write_body(&self, body: &mut ngx_http_request_body_t, data: &[u8]) -> Result<(), BodyError> {
        // SAFETY: the file lives in the request's pool; the buffer and its link live until the call returns.
        unsafe {
            if body.temp_file.is_null() {
                body.temp_file = self.temp_file()?;
            }
            if data.is_empty() {
                return Ok(());
            }
            let mut b: ngx_buf_t = core::mem::zeroed();
            (b.start, b.pos) = (data.as_ptr().cast_mut(), data.as_ptr().cast_mut());
            b.last = b.pos.add(data.len());
            b.end = b.last;
            b.set_temporary(1);
            let mut link = ngx_chain_t { buf: &raw mut b, next: ptr::null_mut() };
            let n = ffi::ngx_write_chain_to_temp_file(body.temp_file, &raw mut link);
            if n < 0 {
                return Err(BodyError::Write);
            }
            (*body.temp_file).offset += n as ffi::off_t;
        }
        Ok(())
    }

    fn temp_file(&self) -> Result<*mut ffi::ngx_temp_file_t, BodyError> {
        // SAFETY: a fresh structure of the request's pool; the path is the location's.
        unsafe {
            let r = self.raw();
            let size = size_of::<ffi::ngx_temp_file_t>();
            let tf = ffi::ngx_pcalloc((*r).pool, size).cast::<ffi::ngx_temp_file_t>();
            if tf.is_null() {
                return Err(BodyError::NoMemory);
            }
            (*tf).file.fd = -1;
            (*tf).file.log = (*(*r).connection).log;
            (*tf).path = (*self.core_loc_conf()).client_body_temp_path;
            (*tf).pool = (*r).pool;
            (*tf).warn = c"a client request body is buffered to a temporary file".as_ptr().cast_mut();
            (*tf).set_log_level((*bits(r)).request_body_file_log_level());
            (*tf).set_persistent(1);
            (*tf).set_clean(1);
            if (*bits(r)).request_body_file_group_access() != 0 {
                (*tf).access = 0o660;
            }
            Ok(tf)
        }
    }

    /// Has `Content-Length` and nginx's own field say `n`.
    pub(super) fn set_body_length(&self, n: u64) -> Result<(), BodyError> {
        self.change_header_in(b"Content-Length", n.to_string().as_bytes(), Change::Replace)?;
        Ok(())
    }
}

/// What a buffer in memory holds.
///
/// # Safety
/// It must be one whose pointers are set, or all null, and stay unchanged for `'a`.
unsafe fn filled<'a>(b: &ngx_buf_t) -> &'a [u8] {
    if b.pos.is_null() {
        return &[];
    }
    // SAFETY: the caller vouches for `pos..last`.
    unsafe { core::slice::from_raw_parts(b.pos, b.last.offset_from_unsigned(b.pos)) }
}

/// Closes a file of `pool` now instead of with the pool, and deletes it if that was agreed.
unsafe fn close_now(pool: *mut ffi::ngx_pool_t, fd: ffi::ngx_fd_t) {
    let (close, delete) = (
        ffi::ngx_pool_cleanup_file as unsafe extern "C" fn(*mut core::ffi::c_void),
        ffi::ngx_pool_delete_file as unsafe extern "C" fn(*mut core::ffi::c_void),
    );
    // SAFETY: the caller has a live pool; the data of these two handlers is an `ngx_pool_cleanup_file_t`.
    unsafe {
        let mut cleanup = (*pool).cleanup;
        while let Some(here) = cleanup.as_mut() {
            let closes = here.handler.filter(|f| ptr::fn_addr_eq(*f, close) || ptr::fn_addr_eq(*f, delete));
            if let Some(f) = closes {
                if (*here.data.cast::<ffi::ngx_pool_cleanup_file_t>()).fd == fd {
                    f(here.data);
                    here.handler = None;
                    return;
                }
            }
            cleanup = here.next;
        }
    }
}
