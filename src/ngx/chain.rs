//! The response body as scripts print it: collected in buffers, handed to the filters in one go (see `send`).

use core::cell::{Cell, RefCell};
use core::ptr;
use std::rc::Weak;

use ::ngx::ffi::{ngx_buf_t, ngx_chain_t};

use super::buffers::{Buffers, Link};
use super::request::Request;
use super::send::Waiter;

/// Size of a request's first output buffer: most scripted answers fit.
const FIRST: usize = 512;
/// Size of those after it.
const NEXT: usize = 4096;

/// The response as far as scripts have made it.
#[derive(Default)]
pub struct Output {
    collected: Chain,
    /// Bytes collected and not yet handed on.
    pending: Cell<usize>,
    pub(super) buffers: Buffers,
    begun: Cell<bool>,
    holds: Cell<bool>,
    has_data: Cell<bool>,
    taken: Cell<bool>,
    ended: Cell<bool>,
    failed: Cell<bool>,
    keeps_fields: Cell<bool>,
    keeps_type: Cell<bool>,
    pub(super) waiters: RefCell<Vec<Weak<Waiter>>>,
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
    /// Whether a script writes to the connection itself: there is no response of ours any more.
    is_taken / set_taken = taken;
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
        let link = out.buffers.with_room(*self, least.max(data.len() + usize::from(newline)))?;
        // SAFETY: a fresh link with a buffer of its own.
        put(unsafe { &mut *(*link).buf }, data, newline);
        out.collected.push(link);
        Some(())
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
