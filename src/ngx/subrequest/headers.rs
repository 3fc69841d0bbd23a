//! The request headers of a subrequest are its parent's until one of the two changes them: then that one gets a copy.

use core::ptr;

use ::ngx::ffi::{self, ngx_http_header_t, ngx_list_t, ngx_table_elt_t};

use super::Captured;
use crate::ngx::headers_in::{Elts, HeaderError};
use crate::ngx::request::{Rc, Request};

type Elt = ngx_table_elt_t;

/// More headers than a copy has, which a script may add before the list needs another part.
const ROOM: usize = 4;

impl Request {
    /// Before a change: makes sure that no other request has the same list.
    pub(in crate::ngx) fn own_headers_in(&self) -> Result<(), HeaderError> {
        if !self.shares_headers_in() {
            return Ok(());
        }
        self.copy_headers_in()?;
        if let Some(ctx) = self.ctx_if_any() {
            ctx.lends_headers.set(false);
        }
        if let Some(Captured::For(capture)) = self.captured() {
            capture.owns_headers.set(true);
        }
        Ok(())
    }

    fn shares_headers_in(&self) -> bool {
        if self.ctx_if_any().is_some_and(|ctx| ctx.lends_headers.get()) {
            return true;
        }
        match self.captured() {
            Some(Captured::For(capture)) => !capture.owns_headers.get(),
            Some(Captured::ForNobody) => true,
            None => self.is_subrequest() && self.has_headers_of_parent(),
        }
    }

    /// Whether a subrequest that another module has made still has the list that nginx gave it.
    fn has_headers_of_parent(&self) -> bool {
        // SAFETY: plain field reads of a live subrequest and its parent.
        unsafe {
            let parent = (*self.raw()).parent;
            let elts = |r: *mut ffi::ngx_http_request_t| (*r).headers_in.headers.part.elts;
            !parent.is_null() && elts(self.raw()) == elts(parent)
        }
    }

    fn copy_headers_in(&self) -> Result<(), HeaderError> {
        let r = self.raw();
        let n = self.headers_in_count();
        // SAFETY: the old list is live and stays so (it is another request's too, and nothing of a pool is freed before
        // its end); the new one has room for all of its elements.
        unsafe {
            let mut fresh: ngx_list_t = core::mem::zeroed();
            let rc = ffi::ngx_list_init(&raw mut fresh, (*r).pool, n + ROOM, size_of::<Elt>());
            if rc != Rc::OK.0 {
                return Err(HeaderError::NoMemory);
            }
            let copies = fresh.part.elts.cast::<Elt>();
            for (i, old) in Elts::of(&(*r).headers_in.headers).enumerate() {
                ptr::copy_nonoverlapping(old, copies.add(i), 1);
            }
            let moved = Moved { old: (*r).headers_in.headers, copies };
            #[cfg(nginx_multi_headers)]
            for i in 0..n {
                moved.redirect(&raw mut (*copies.add(i)).next);
            }
            self.redirect_fields(&moved)?;
            fresh.part.nelts = n;
            let list = &raw mut (*r).headers_in.headers;
            *list = fresh;
            (*list).last = &raw mut (*list).part;
        }
        Ok(())
    }

    /// Has nginx's own pointers to headers point into the copy.
    ///
    /// # Safety
    /// `moved` must be about this request's headers.
    unsafe fn redirect_fields(&self, moved: &Moved) -> Result<(), HeaderError> {
        // SAFETY: nginx's table of the fields that it keeps, which ends with an empty name, is constant; each entry has
        // the offset of its field in the structure.
        unsafe {
            let base = (&raw mut (*self.raw()).headers_in).cast::<u8>();
            let mut known = ptr::addr_of!(ffi::ngx_http_headers_in).cast::<ngx_http_header_t>();
            while (*known).name.len > 0 {
                let field = base.add((*known).offset);
                if is_array(&*known) {
                    #[cfg(not(nginx_multi_headers))]
                    self.redirect_array(field.cast(), moved)?;
                } else if (*known).offset != 0 {
                    moved.redirect(field.cast());
                }
                known = known.add(1);
            }
        }
        Ok(())
    }

    /// # Safety
    /// `array` must be one of the request's arrays of pointers to headers.
    #[cfg(not(nginx_multi_headers))]
    unsafe fn redirect_array(&self, array: *mut ffi::ngx_array_t, moved: &Moved) -> Result<(), HeaderError> {
        // SAFETY: the caller vouches for the array; the new one has room for as many.
        unsafe {
            if (*array).nelts == 0 {
                // one that is filled later must not be filled in the place that another request's has
                ptr::write_bytes(array, 0, 1);
                return Ok(());
            }
            let (n, size) = ((*array).nelts, size_of::<*mut Elt>());
            let own = ffi::ngx_palloc((*self.raw()).pool, n * size).cast::<*mut Elt>();
            if own.is_null() {
                return Err(HeaderError::NoMemory);
            }
            ptr::copy_nonoverlapping((*array).elts.cast::<*mut Elt>(), own, n);
            for i in 0..n {
                moved.redirect(own.add(i));
            }
            array.write(ffi::ngx_array_t {
                elts: own.cast(),
                nelts: n,
                size,
                nalloc: n,
                pool: (*self.raw()).pool,
            });
        }
        Ok(())
    }
}

/// Whether nginx keeps all values of a header: up to 1.22 in an array of pointers.
fn is_array(known: &ngx_http_header_t) -> bool {
    // SAFETY: a name of nginx's own table.
    let name = unsafe { crate::ngx::text::bytes(known.name) };
    cfg!(not(nginx_multi_headers))
        && (name.eq_ignore_ascii_case(b"cookie") || name.eq_ignore_ascii_case(b"x-forwarded-for"))
}

/// Headers that were copied, in their order, to one place.
struct Moved {
    old: ngx_list_t,
    copies: *mut Elt,
}

impl Moved {
    /// Has a pointer to one of them point to its copy; any other stays as it is.
    ///
    /// # Safety
    /// `place` must be readable and writable, and the lists alive.
    unsafe fn redirect(&self, place: *mut *mut Elt) {
        // SAFETY: the caller vouches for both.
        unsafe {
            let (mut part, mut before) = (&raw const self.old.part, 0);
            while let Some(p) = part.as_ref() {
                let elts = p.elts.cast::<Elt>();
                if *place >= elts && *place < elts.add(p.nelts) {
                    *place = self.copies.add(before + (*place).offset_from_unsigned(elts));
                    return;
                }
                before += p.nelts;
                part = p.next;
            }
        }
    }
}
