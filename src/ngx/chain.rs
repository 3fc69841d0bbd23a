//! The response body: what scripts printed, collected and handed to the filters in one go.

use core::cell::Cell;
use core::ptr;

use ::ngx::ffi::{self, ngx_buf_t, ngx_chain_t};

use super::module;
use super::request::{Rc, Request};

/// Size of a request's first output buffer: most scripted answers fit.
const FIRST: usize = 512;
/// Size of those after it.
const NEXT: usize = 4096;

/// Output that has not been handed to the filters, and buffers to use again.
pub struct Output {
    head: Cell<*mut ngx_chain_t>,
    tail: Cell<*mut ngx_chain_t>,
    /// Bytes collected and not yet handed on.
    pending: Cell<usize>,
    free: Cell<*mut ngx_chain_t>,
    busy: Cell<*mut ngx_chain_t>,
    /// Whether the last buffer of the response has been handed on.
    ended: Cell<bool>,
}

impl Default for Output {
    fn default() -> Self {
        Output {
            head: Cell::new(ptr::null_mut()),
            tail: Cell::new(ptr::null_mut()),
            pending: Cell::new(0),
            free: Cell::new(ptr::null_mut()),
            busy: Cell::new(ptr::null_mut()),
            ended: Cell::new(false),
        }
    }
}

impl Output {
    pub fn pending(&self) -> usize {
        self.pending.get()
    }

    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    pub fn set_ended(&self) {
        self.ended.set(true);
    }

    fn last_buf(&self) -> Option<&mut ngx_buf_t> {
        // SAFETY: `tail` is null or a link of our chain, whose buffer nobody else looks at before it is handed on.
        unsafe { self.tail.get().as_mut().map(|link| &mut *link.buf) }
    }

    fn push(&self, link: *mut ngx_chain_t) {
        // SAFETY: `link` is a fresh link; `tail` is null or the end of our chain.
        unsafe {
            (*link).next = ptr::null_mut();
            match self.tail.get().as_mut() {
                Some(tail) => tail.next = link,
                None => self.head.set(link),
            }
        }
        self.tail.set(link);
    }

    fn take(&self) -> *mut ngx_chain_t {
        self.tail.set(ptr::null_mut());
        self.pending.set(0);
        self.head.replace(ptr::null_mut())
    }
}

impl Request {
    /// Adds `data` to the collected output; `None` when memory is out. Never reaches a filter.
    #[inline]
    pub fn append_output(&self, out: &Output, data: &[u8]) -> Option<usize> {
        if let Some(b) = out.last_buf() {
            // SAFETY: `last..end` is the unused part of a buffer that is ours alone.
            unsafe {
                if b.end.offset_from_unsigned(b.last) >= data.len() {
                    ptr::copy_nonoverlapping(data.as_ptr(), b.last, data.len());
                    b.last = b.last.add(data.len());
                    out.pending.set(out.pending.get() + data.len());
                    return Some(out.pending.get());
                }
            }
        }
        self.append_to_new(out, data)
    }

    fn append_to_new(&self, out: &Output, data: &[u8]) -> Option<usize> {
        let size = data.len().max(if out.head.get().is_null() { FIRST } else { NEXT });
        let link = self.buffer(out, size)?;
        // SAFETY: `buffer` returned a link with a buffer of at least `size` bytes, all unused.
        unsafe {
            let b = (*link).buf;
            ptr::copy_nonoverlapping(data.as_ptr(), (*b).last, data.len());
            (*b).last = (*b).last.add(data.len());
        }
        out.push(link);
        out.pending.set(out.pending.get() + data.len());
        Some(out.pending.get())
    }

    /// A link with an empty buffer of at least `size` bytes: a used one if it is large enough.
    fn buffer(&self, out: &Output, size: usize) -> Option<*mut ngx_chain_t> {
        // SAFETY: the free chain holds links of ours that the filters are done with; the pool is the request's.
        unsafe {
            if let Some(link) = out.free.get().as_mut() {
                let b = &mut *link.buf;
                if b.end.offset_from_unsigned(b.start) >= size {
                    out.free.set(link.next);
                    let (start, end) = (b.start, b.end);
                    *b = core::mem::zeroed();
                    (b.start, b.pos, b.last, b.end) = (start, start, start, end);
                    b.set_temporary(1);
                    b.tag = module::tag();
                    return Some(link);
                }
            }
            let pool = (*self.raw()).pool;
            let b = ffi::ngx_create_temp_buf(pool, size);
            let link = ffi::ngx_alloc_chain_link(pool);
            if b.is_null() || link.is_null() {
                return None;
            }
            (*b).tag = module::tag();
            (*link).buf = b;
            Some(link)
        }
    }

    /// A link with a buffer that carries flags only.
    fn mark(&self) -> Option<*mut ngx_chain_t> {
        // SAFETY: the pool is the request's.
        unsafe {
            let pool = (*self.raw()).pool;
            let b = ffi::ngx_pcalloc(pool, size_of::<ngx_buf_t>()).cast::<ngx_buf_t>();
            let link = ffi::ngx_alloc_chain_link(pool);
            if b.is_null() || link.is_null() {
                return None;
            }
            (*b).tag = module::tag();
            (*link).buf = b;
            Some(link)
        }
    }

    /// Sends the response header, if that has not happened. May run Lua (header filters).
    pub fn send_header(&self) -> Rc {
        if self.header_sent() {
            return Rc::OK;
        }
        let r = self.raw();
        // SAFETY: field access and calls on a live request whose header has not been sent.
        unsafe {
            let out = &raw mut (*r).headers_out;
            if (*out).status == 0 {
                (*out).status = ffi::NGX_HTTP_OK as usize;
            }
            if (*out).content_type.len == 0
                && self.loc_conf().use_default_type()
                && ffi::ngx_http_set_content_type(r) != ffi::NGX_OK as isize
            {
                return Rc::ERROR;
            }
            Rc(ffi::ngx_http_send_header(r))
        }
    }

    /// Hands the collected output to the filters, with the header before it. May run Lua (filters).
    ///
    /// `last` ends the response, `flush` asks that nothing be held back.
    pub fn send_output(&self, out: &Output, last: bool, flush: bool) -> Rc {
        if out.ended() {
            out.take();
            return Rc::OK;
        }
        let mut chain = out.take();
        if last {
            out.set_ended();
        }
        let rc = self.send_header();
        let r = self.raw();
        // SAFETY: a plain field read of a live request.
        let header_only = unsafe { (*r).header_only() != 0 };
        if rc == Rc::ERROR || rc.0 > Rc::OK.0 || header_only {
            return rc;
        }
        if last || flush {
            match self.flag(chain, last, flush) {
                Some(flagged) => chain = flagged,
                None => return Rc::ERROR,
            }
        }
        if chain.is_null() {
            return Rc::OK;
        }
        // SAFETY: `chain` is a well-formed chain of ours; `update_chains` sorts it into ours again.
        unsafe {
            let rc = ffi::ngx_http_output_filter(r, chain);
            let (mut free, mut busy) = (out.free.get(), out.busy.get());
            ffi::ngx_chain_update_chains(
                (*r).pool,
                &raw mut free,
                &raw mut busy,
                &raw mut chain,
                module::tag(),
            );
            out.free.set(free);
            out.busy.set(busy);
            Rc(rc)
        }
    }

    /// Puts the flags on the chain's last buffer, or on one that carries nothing else.
    fn flag(&self, chain: *mut ngx_chain_t, last: bool, flush: bool) -> Option<*mut ngx_chain_t> {
        let mut head = chain;
        let mut tail = chain;
        if chain.is_null() {
            head = self.mark()?;
            tail = head;
        }
        // SAFETY: `head` is a well-formed, null-terminated chain; its buffers are ours alone until handed on.
        unsafe {
            (*tail).next = if chain.is_null() { ptr::null_mut() } else { (*tail).next };
            while !(*tail).next.is_null() {
                tail = (*tail).next;
            }
            let b = &mut *(*tail).buf;
            if last {
                b.set_last_in_chain(1);
                if self.is_subrequest() {
                    b.set_sync(u32::from(chain.is_null()));
                } else {
                    b.set_last_buf(1);
                }
            }
            if flush {
                b.set_flush(1);
            }
        }
        Some(head)
    }

    /// Whether an earlier part of the output is still on its way to the client.
    pub fn output_buffered(&self) -> bool {
        // SAFETY: plain field reads of a live request and its connection.
        unsafe {
            let r = self.raw();
            (*r).buffered() != 0 || (*(*r).connection).buffered() as u32 & ffi::NGX_LOWLEVEL_BUFFERED != 0
        }
    }

    /// Whether the collected output is to be held until the end, so that HTTP/1.0 learns its length.
    pub fn holds_output(&self) -> bool {
        let r = self.raw();
        // SAFETY: plain field reads of a live request.
        unsafe {
            (*r).http_version < ffi::NGX_HTTP_VERSION_11 as usize
                && (*r).headers_out.content_length_n < 0
                && !self.is_subrequest()
                && !self.header_sent()
                && self.loc_conf().http10_buffering()
        }
    }

    /// Declares the length of a response that is complete in `out`.
    pub fn set_content_length(&self, n: usize) {
        // SAFETY: plain field writes to a live request whose header has not been sent.
        unsafe {
            (*self.raw()).headers_out.content_length_n = n as ffi::off_t;
        }
    }
}
