//! The request body of a subrequest: one of its own, or its parent's, which it may look at and replace but not touch.

use core::ptr;

use ::ngx::ffi::{self, ngx_buf_t, ngx_chain_t, ngx_http_request_body_t};

use super::Captured;
use crate::ngx::request::Request;

impl Request {
    /// Makes `data` the body of a fresh subrequest; `None` when memory is out.
    pub(super) fn give_body(&self, data: &[u8]) -> Option<()> {
        // SAFETY: a fresh structure of the request's pool, and a fresh buffer that has room for the data.
        unsafe {
            let body = self.pool_zeroed::<ngx_http_request_body_t>()?;
            if !data.is_empty() {
                let link = self.body_buffer(data.len()).ok()?;
                let b = (*link).buf;
                ptr::copy_nonoverlapping(data.as_ptr(), (*b).last, data.len());
                (*b).last = (*b).last.add(data.len());
                (*b).set_last_buf(1);
                (*body).bufs = link;
                (*body).buf = b;
            }
            (*self.raw()).request_body = body;
        }
        Some(())
    }

    /// Gives a fresh subrequest, whose body is its parent's, descriptions of its own of what that body lies in; `None`
    /// when memory is out, otherwise how many bytes it has, if there is one.
    pub(super) fn borrow_body(&self) -> Option<Option<u64>> {
        // SAFETY: the body of the parent and its well-formed chain live in the pool that all of these requests share.
        unsafe {
            let Some(theirs) = (*self.raw()).request_body.as_ref() else { return Some(None) };
            let body = self.pool_zeroed::<ngx_http_request_body_t>()?;
            (*body).temp_file = theirs.temp_file;
            let mut size = 0;
            let mut from = theirs.bufs;
            let mut to = &raw mut (*body).bufs;
            while let Some(link) = from.as_ref() {
                let (copy, b) = (self.pool_zeroed::<ngx_chain_t>()?, self.pool_zeroed::<ngx_buf_t>()?);
                ptr::copy_nonoverlapping(link.buf, b, 1);
                // not ours to be freed, nor to be written behind its content
                (*b).tag = ptr::null_mut();
                (*b).end = (*b).last;
                size += if (*b).in_file() != 0 {
                    (*b).file_last - (*b).file_pos
                } else {
                    (*b).last.offset_from((*b).pos) as i64
                };
                (*copy).buf = b;
                *to = copy;
                to = &raw mut (*copy).next;
                from = link.next;
            }
            (*self.raw()).request_body = body;
            Some(Some(size as u64))
        }
    }

    /// Whether what the body lies in is another request's, too.
    pub(in crate::ngx) fn shares_body(&self) -> bool {
        match self.captured() {
            _ if self.ctx_if_any().is_some_and(|ctx| ctx.lends_body.get()) => true,
            None => false,
            Some(Captured::ForNobody) => true,
            Some(Captured::For(capture)) => !capture.owns_body.get(),
        }
    }

    /// What was shared has been given up for another body.
    pub(in crate::ngx) fn note_own_body(&self) {
        if let Some(ctx) = self.ctx_if_any() {
            ctx.lends_body.set(false);
        }
        if let Some(Captured::For(capture)) = self.captured() {
            capture.owns_body.set(true);
        }
    }

    fn pool_zeroed<T>(&self) -> Option<*mut T> {
        // SAFETY: the pool is the request's; these are plain structures of nginx, for which zero is a value.
        let place = unsafe { ffi::ngx_pcalloc((*self.raw()).pool, size_of::<T>()) }.cast::<T>();
        (!place.is_null()).then_some(place)
    }
}
