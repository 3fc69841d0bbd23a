//! The response body on its way through body_filter_by_lua.
//!
//! The script sees the bytes of the buffers at hand as one string. What it puts in their place goes on in a buffer of
//! ours, and the original ones count as consumed. While such a buffer waits for a slow client, further input waits too,
//! unseen by the script: otherwise whoever makes the body would never be slowed down.

use core::cell::Cell;
use core::ptr;

use ::ngx::ffi::{self, ngx_buf_t, ngx_chain_t, ngx_http_request_t, ngx_int_t};

use super::buffers::Buffers;
use super::request::{Rc, Request};
use crate::phase::{self, Phase};

/// What the filter keeps between its calls, and while its script runs.
pub struct Body {
    /// What the script sees.
    now: Cell<*mut ngx_chain_t>,
    /// The buffer that took its place, if any.
    ours: Cell<*mut ngx_chain_t>,
    /// Input that has not been shown to the script yet.
    held: Cell<*mut ngx_chain_t>,
    buffers: Buffers,
    /// Whether the script has been shown, or has declared, the end: what follows is dropped.
    ended: Cell<bool>,
}

impl Default for Body {
    fn default() -> Self {
        let none = || Cell::new(ptr::null_mut());
        Body { now: none(), ours: none(), held: none(), buffers: Buffers::default(), ended: Cell::new(false) }
    }
}

/// Runs the location's script on `chain` and passes what it leaves to `next`.
pub fn filter(
    r: *mut ngx_http_request_t,
    chain: *mut ngx_chain_t,
    next: impl Fn(*mut ngx_chain_t) -> ngx_int_t,
) -> ngx_int_t {
    // SAFETY: nginx passes the live request of the callback.
    let request = unsafe { Request::new(r) };
    let Some(handler) = request.loc_conf().handler(Phase::BodyFilter) else { return next(chain) };
    if request.header_only() {
        return next(chain);
    }
    let Some(ctx) = request.ctx() else { return Rc::ERROR.0 };
    let body = &ctx.body;
    let mut input = chain;
    if body.ended.get() {
        consume(input);
        input = ptr::null_mut();
    }
    // SAFETY: nginx passes a well-formed chain, or null.
    if !input.is_null() && !unsafe { body.hold(request, input) } {
        return Rc::ERROR.0;
    }
    if body.buffers.are_busy() && request.has_unsent() {
        let rc = next(ptr::null_mut());
        body.buffers.sort(request, ptr::null_mut());
        if rc == Rc::ERROR.0 || body.buffers.are_busy() && request.has_unsent() {
            return if rc == Rc::ERROR.0 { rc } else { Rc::AGAIN.0 };
        }
    }
    let shown = body.held.replace(ptr::null_mut());
    if shown.is_null() {
        let rc = next(ptr::null_mut());
        body.buffers.sort(request, ptr::null_mut());
        return rc;
    }

    body.now.set(shown);
    // scripts nest: a filter's script may have another request's output filtered
    let ok = crate::native::guard(|| phase::body_filter::run(request, ctx, handler)).unwrap_or(false);
    let left = body.now.replace(ptr::null_mut());
    let ours = body.ours.replace(ptr::null_mut());
    if !ok {
        return Rc::ERROR.0;
    }
    if left != shown {
        // SAFETY: `hold` made these links; their buffers are consumed.
        unsafe { free_links(request, shown) };
        if left.is_null() {
            return Rc::OK.0;
        }
    }
    let rc = next(left);
    if ours.is_null() {
        // SAFETY: as above; whoever wants them longer has copied the links.
        unsafe { free_links(request, shown) };
    } else {
        body.buffers.sort(request, ours);
    }
    rc
}

impl Body {
    /// The bytes at hand: as they lie if in one buffer, else put together in `room`.
    pub fn text(&self, room: &mut Vec<u8>, use_it: impl FnOnce(&[u8])) {
        let chain = self.now.get();
        // SAFETY: a well-formed chain whose buffers stay while the script runs.
        unsafe {
            match chain.as_ref() {
                None => use_it(b""),
                Some(link) if link.next.is_null() => use_it(content(&*link.buf)),
                Some(_) => {
                    for b in buffers(chain) {
                        room.extend_from_slice(content(&*b));
                        if ends(&*b) {
                            break;
                        }
                    }
                    use_it(room);
                }
            }
        }
    }

    /// Whether the end of the body is at hand.
    pub fn is_last(&self) -> bool {
        // SAFETY: as in `text`.
        buffers(self.now.get()).any(|b| unsafe { ends(&*b) })
    }

    /// Adds copies of the links of `chain` to what waits.
    ///
    /// # Safety
    /// `chain` must be well-formed.
    unsafe fn hold(&self, request: Request, chain: *mut ngx_chain_t) -> bool {
        let mut held = self.held.get();
        // SAFETY: the caller vouches for the chain; the pool is the request's.
        let rc = unsafe { ffi::ngx_chain_add_copy((*request.raw()).pool, &raw mut held, chain) };
        self.held.set(held);
        rc == ffi::NGX_OK as ngx_int_t
    }
}

impl Request {
    /// Puts `text` in the place of the bytes at hand, keeping what says "flush" and "end"; `false` when memory is out.
    pub fn replace_body(&self, body: &Body, text: &[u8]) -> bool {
        let (mut flush, mut last) = (false, false);
        // SAFETY: the chain is well-formed, its buffers ours or lent to us by nginx for consuming; the pool is the
        // request's.
        unsafe {
            for b in buffers(body.now.get()) {
                flush |= (*b).flush() != 0;
                last |= ends(&*b);
            }
            consume(body.now.get());
            // what the script has put in before is free again
            body.buffers.sort(*self, body.ours.replace(ptr::null_mut()));
            if text.is_empty() && !flush && !last {
                body.now.set(ptr::null_mut());
                return true;
            }
            let link = if text.is_empty() {
                body.buffers.mark(*self)
            } else {
                body.buffers.with_room(*self, text.len())
            };
            let Some(link) = link else { return false };
            let b = (*link).buf;
            if !text.is_empty() {
                ptr::copy_nonoverlapping(text.as_ptr(), (*b).last, text.len());
                (*b).last = (*b).last.add(text.len());
            }
            (*b).set_flush(u32::from(flush));
            if last {
                self.set_end(&mut *b);
                body.ended.set(true);
            }
            body.now.set(link);
            body.ours.set(link);
        }
        true
    }

    /// Makes the bytes at hand the end of the body, or not the end; `false` when memory is out.
    pub fn mark_last(&self, body: &Body, last: bool) -> bool {
        body.ended.set(last);
        if last && body.now.get().is_null() {
            // the script has dropped everything: the end stands alone
            return self.end_alone(body);
        }
        let mut chain = body.now.get();
        // SAFETY: as in `replace_body`.
        unsafe {
            if last {
                while let Some(link) = chain.as_mut() {
                    if link.next.is_null() {
                        self.set_end(&mut *link.buf);
                    }
                    chain = link.next;
                }
                return true;
            }
            for b in buffers(chain) {
                let b = &mut *b;
                if ends(b) {
                    b.set_last_buf(0);
                    b.set_last_in_chain(0);
                    if content(b).is_empty() && b.in_file() == 0 {
                        // nginx takes an empty buffer without a purpose for a mistake
                        b.set_sync(1);
                    }
                }
            }
        }
        true
    }

    fn end_alone(&self, body: &Body) -> bool {
        let Some(link) = body.buffers.mark(*self) else { return false };
        // SAFETY: a fresh link and a buffer of ours.
        self.set_end(unsafe { &mut *(*link).buf });
        body.now.set(link);
        body.ours.set(link);
        true
    }

    fn set_end(&self, b: &mut ngx_buf_t) {
        if self.is_subrequest() {
            b.set_last_in_chain(1);
            b.set_sync(u32::from(b.temporary() == 0 && b.memory() == 0 && b.in_file() == 0));
        } else {
            b.set_last_buf(1);
        }
    }
}

pub(super) fn ends(b: &ngx_buf_t) -> bool {
    b.last_buf() != 0 || b.last_in_chain() != 0
}

/// # Safety
/// The buffer must be a live one of nginx.
pub(super) unsafe fn content(b: &ngx_buf_t) -> &[u8] {
    if b.pos.is_null() || b.pos >= b.last {
        return &[];
    }
    // SAFETY: `pos..last` of a buffer in memory is its content; others have no such range.
    unsafe { core::slice::from_raw_parts(b.pos, b.last.offset_from_unsigned(b.pos)) }
}

/// The buffers of a well-formed chain.
pub(super) fn buffers(chain: *mut ngx_chain_t) -> impl Iterator<Item = *mut ngx_buf_t> {
    let mut next = chain;
    core::iter::from_fn(move || {
        // SAFETY: links of a well-formed chain, which nobody changes while it is walked.
        let link = unsafe { next.as_ref() }?;
        next = link.next;
        Some(link.buf)
    })
}

/// Tells whoever made the buffers that they have been used.
pub(super) fn consume(chain: *mut ngx_chain_t) {
    for b in buffers(chain) {
        // SAFETY: a filter owns the content of what it is given.
        unsafe {
            (*b).pos = (*b).last;
            (*b).file_pos = (*b).file_last;
        }
    }
}

/// # Safety
/// The links must be the caller's own, and not used after this.
unsafe fn free_links(request: Request, mut chain: *mut ngx_chain_t) {
    // SAFETY: the caller vouches for the links; a pool keeps freed links in a list of its own.
    unsafe {
        let pool = (*request.raw()).pool;
        while !chain.is_null() {
            let next = (*chain).next;
            (*chain).next = (*pool).chain;
            (*pool).chain = chain;
            chain = next;
        }
    }
}
