//! Buffers of ours that the filters borrow: used again once their content has left.

use core::cell::Cell;
use core::ptr;

use ::ngx::ffi::{self, ngx_buf_t, ngx_chain_t};

use super::bits::bits;
use super::module;
use super::request::Request;

/// How many used buffers are looked at for one that is large enough.
const LOOKS: usize = 8;

/// The buffers of one maker of output, in one request.
#[derive(Default)]
pub struct Buffers {
    free: Cell<Link>,
    busy: Cell<Link>,
    /// A buffer that carries flags alone, used again whenever everything has left.
    mark: Cell<Buf>,
}

/// A link of a chain, or none.
#[derive(Clone, Copy)]
pub struct Link(pub *mut ngx_chain_t);

impl Default for Link {
    fn default() -> Self {
        Link(ptr::null_mut())
    }
}

#[derive(Clone, Copy)]
struct Buf(*mut ngx_buf_t);

impl Default for Buf {
    fn default() -> Self {
        Buf(ptr::null_mut())
    }
}

impl Buffers {
    /// Whether the filters still have content of ours.
    pub fn are_busy(&self) -> bool {
        !self.busy.get().0.is_null()
    }

    /// Sorts `chain`, which the filters have seen, into what is free and what is still needed.
    pub fn sort(&self, request: Request, mut chain: *mut ngx_chain_t) {
        let (mut free, mut busy) = (self.free.get().0, self.busy.get().0);
        // SAFETY: chains of links of ours; the pool is the request's.
        unsafe {
            ffi::ngx_chain_update_chains(
                (*request.raw()).pool,
                &raw mut free,
                &raw mut busy,
                &raw mut chain,
                module::tag(),
            );
        }
        self.free.set(Link(free));
        self.busy.set(Link(busy));
    }

    /// A link with an empty buffer of at least `size` bytes.
    pub fn with_room(&self, request: Request, size: usize) -> Option<*mut ngx_chain_t> {
        if let Some(link) = self.reuse(size) {
            return Some(link);
        }
        // SAFETY: the pool is the request's.
        unsafe {
            let b = ffi::ngx_create_temp_buf((*request.raw()).pool, size);
            (!b.is_null()).then(|| (*b).tag = module::tag())?;
            link_to(request, b)
        }
    }

    /// Takes a used link whose buffer has room for `size` bytes.
    fn reuse(&self, size: usize) -> Option<*mut ngx_chain_t> {
        let mut before: *mut ngx_chain_t = ptr::null_mut();
        let mut link = self.free.get().0;
        for _ in 0..LOOKS {
            // SAFETY: the free chain holds links of ours that the filters are done with.
            unsafe {
                let next = link.as_ref()?.next;
                let b = &mut *(*link).buf;
                if b.end.offset_from_unsigned(b.start) >= size {
                    match before.as_mut() {
                        Some(before) => before.next = next,
                        None => self.free.set(Link(next)),
                    }
                    let (start, end) = (b.start, b.end);
                    *b = core::mem::zeroed();
                    (b.start, b.pos, b.last, b.end) = (start, start, start, end);
                    b.set_temporary(1);
                    b.tag = module::tag();
                    (*link).next = ptr::null_mut();
                    return Some(link);
                }
                before = link;
                link = next;
            }
        }
        None
    }

    /// A link with a buffer that carries flags only.
    pub fn mark(&self, request: Request) -> Option<*mut ngx_chain_t> {
        let mut b = self.mark.get().0;
        // SAFETY: the pool is the request's. A mark has no size, by which nginx would tell whether it has left: it may
        // still stand in a filter's chain unless all that was sent has left.
        unsafe {
            let r = request.raw();
            if b.is_null() || !(*r).out.is_null() || (*bits(r)).buffered() != 0 {
                b = ffi::ngx_pcalloc((*r).pool, size_of::<ngx_buf_t>()).cast();
                if b.is_null() {
                    return None;
                }
                self.mark.set(Buf(b));
            } else {
                *b = core::mem::zeroed();
            }
        }
        link_to(request, b)
    }
}

fn link_to(request: Request, b: *mut ngx_buf_t) -> Option<*mut ngx_chain_t> {
    // SAFETY: the pool is the request's.
    let link = unsafe { ffi::ngx_alloc_chain_link((*request.raw()).pool).as_mut() }?;
    link.buf = b;
    link.next = ptr::null_mut();
    Some(link)
}
