//! The response body as scripts print it: collected in buffers, handed to the filters in one go (see `send`).

use core::cell::{Cell, RefCell};
use core::ptr;
use std::rc::Weak;

use ::ngx::ffi::{self, ngx_buf_t, ngx_chain_t};

use super::module;
use super::request::Request;
use super::send::Waiter;

/// Size of a request's first output buffer: most scripted answers fit.
const FIRST: usize = 512;
/// Size of those after it.
const NEXT: usize = 4096;
/// How many used buffers are looked at for one that is large enough.
const LOOKS: usize = 8;

/// The response as far as scripts have made it.
#[derive(Default)]
pub struct Output {
    collected: Chain,
    /// Bytes collected and not yet handed on.
    pending: Cell<usize>,
    free: Cell<Link>,
    busy: Cell<Link>,
    /// A buffer that carries flags alone, used again whenever everything has left.
    mark: Cell<Buf>,
    begun: Cell<bool>,
    holds: Cell<bool>,
    has_data: Cell<bool>,
    ended: Cell<bool>,
    failed: Cell<bool>,
    keeps_fields: Cell<bool>,
    keeps_type: Cell<bool>,
    pub(super) waiters: RefCell<Vec<Weak<Waiter>>>,
}

/// A link of a chain, or none.
#[derive(Clone, Copy)]
struct Link(*mut ngx_chain_t);

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

/// A chain that is being built.
#[derive(Default)]
struct Chain {
    head: Cell<Link>,
    tail: Cell<Link>,
}

impl Chain {
    fn push(&self, link: *mut ngx_chain_t) {
        // SAFETY: `link` is a fresh link; `tail` is null or the end of our chain.
        unsafe {
            (*link).next = ptr::null_mut();
            match self.tail.get().0.as_mut() {
                Some(tail) => tail.next = link,
                None => self.head.set(Link(link)),
            }
        }
        self.tail.set(Link(link));
    }

    // the buffer is behind a pointer: nobody else looks at it until it is handed on
    #[allow(clippy::mut_from_ref)]
    fn last_buf(&self) -> Option<&mut ngx_buf_t> {
        // SAFETY: `tail` is null or a link of our chain, whose buffer nobody else looks at before it is handed on.
        unsafe { self.tail.get().0.as_mut().map(|link| &mut *link.buf) }
    }
}

/// A flag that is set once in a response's life.
macro_rules! flags {
    ($($(#[$doc:meta])* $is:ident / $set:ident = $field:ident;)*) => {
        impl Output { $(
            $(#[$doc])*
            pub fn $is(&self) -> bool {
                self.$field.get()
            }
            pub fn $set(&self) {
                self.$field.set(true);
            }
        )* }
    };
}

flags! {
    /// Whether a script has begun the response: status and content type are chosen.
    is_begun / set_begun = begun;
    /// Whether all of it is held until the end, so that an HTTP/1.0 client learns its length.
    is_held / hold = holds;
    /// Whether any part of a body was printed.
    is_nonempty / set_nonempty = has_data;
    /// Whether the end of the response has been handed on: nothing can be added.
    is_ended / set_ended = ended;
    /// Whether a filter has refused a part of it: nothing more can be sent.
    is_failed / set_failed = failed;
    /// Whether a script has set a field of the header: those that tell the length are its own.
    keeps_fields / keep_fields = keeps_fields;
    /// Whether a script has chosen the content type, or that there be none.
    keeps_type / keep_type = keeps_type;
}

impl Output {
    pub fn pending(&self) -> usize {
        self.pending.get()
    }

    pub(super) fn release(&self) {
        self.holds.set(false);
    }

    /// The collected chain, which is then empty.
    pub(super) fn take(&self) -> *mut ngx_chain_t {
        self.collected.tail.take();
        self.pending.set(0);
        self.collected.head.take().0
    }

    /// Sorts `chain`, which the filters have seen, into what is free and what is still needed.
    pub(super) fn update(&self, request: Request, mut chain: *mut ngx_chain_t) {
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
                    return Some(link);
                }
                before = link;
                link = next;
            }
        }
        None
    }
}

impl Request {
    /// Adds `data` to the collected output; `None` when memory is out. Never reaches a filter.
    #[inline]
    pub fn append_output(&self, out: &Output, data: &[u8], newline: bool) -> Option<usize> {
        let more = data.len() + usize::from(newline);
        match out.collected.last_buf() {
            // SAFETY: `last..end` is the unused part of the buffer.
            Some(b) if unsafe { b.end.offset_from_unsigned(b.last) } >= more => put(b, data, newline),
            _ => self.append_to_new(out, data, newline)?,
        }
        let pending = out.pending.get() + more;
        out.pending.set(pending);
        Some(pending)
    }

    fn append_to_new(&self, out: &Output, data: &[u8], newline: bool) -> Option<()> {
        let least = if out.is_nonempty() { NEXT } else { FIRST };
        out.set_nonempty();
        let link = self.buffer(out, least.max(data.len() + usize::from(newline)))?;
        // SAFETY: a fresh link with a buffer of its own.
        put(unsafe { &mut *(*link).buf }, data, newline);
        out.collected.push(link);
        Some(())
    }

    /// A link with an empty buffer of at least `size` bytes.
    fn buffer(&self, out: &Output, size: usize) -> Option<*mut ngx_chain_t> {
        if let Some(link) = out.reuse(size) {
            return Some(link);
        }
        // SAFETY: the pool is the request's.
        unsafe {
            let b = ffi::ngx_create_temp_buf((*self.raw()).pool, size);
            (!b.is_null()).then(|| (*b).tag = module::tag())?;
            self.link(b)
        }
    }

    fn link(&self, b: *mut ngx_buf_t) -> Option<*mut ngx_chain_t> {
        // SAFETY: the pool is the request's.
        let link = unsafe { ffi::ngx_alloc_chain_link((*self.raw()).pool).as_mut() }?;
        link.buf = b;
        link.next = ptr::null_mut();
        Some(link)
    }

    /// A link with a buffer that carries flags only.
    pub(super) fn mark(&self, out: &Output) -> Option<*mut ngx_chain_t> {
        let mut b = out.mark.get().0;
        // SAFETY: the pool is the request's. A mark has no size, by which nginx would tell whether it has left: it may
        // still stand in a filter's chain unless all that was sent has left.
        unsafe {
            if b.is_null() || !(*self.raw()).out.is_null() || (*self.raw()).buffered() != 0 {
                b = ffi::ngx_pcalloc((*self.raw()).pool, size_of::<ngx_buf_t>()).cast();
                if b.is_null() {
                    return None;
                }
                out.mark.set(Buf(b));
            } else {
                *b = core::mem::zeroed();
            }
        }
        self.link(b)
    }
}

/// Appends to a buffer that has room.
fn put(b: &mut ngx_buf_t, data: &[u8], newline: bool) {
    // SAFETY: the caller has made sure of the room, and the buffer is ours alone.
    unsafe {
        ptr::copy_nonoverlapping(data.as_ptr(), b.last, data.len());
        b.last = b.last.add(data.len());
        if newline {
            *b.last = b'\n';
            b.last = b.last.add(1);
        }
    }
}
