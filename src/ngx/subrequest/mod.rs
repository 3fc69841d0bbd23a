//! Subrequests whose responses are kept for a script instead of being sent to the client.
//!
//! nginx makes them, as *background* ones: those have no place in the order in which a client's response is put
//! together, so the connection's events stay with its main request, and the postpone filter never hears of them (what
//! they produce stops at our filters, see `filter`). The flag is off again while they run, because it also says how they
//! may use caches, and back when they end, which is when nginx asks for their order.
//!
//! Each holds a reference on the main request, that nginx takes off when it has ended. Whoever waits is told from the
//! hook that nginx calls for a subrequest that ends (`post_subrequest`); the hook also marks the subrequest as ours,
//! which survives internal redirects where a module's own state does not. A subrequest that nobody waits for any more
//! keeps a hook without a sink: it runs to its end, and its response is dropped.

use core::cell::{Cell, RefCell, UnsafeCell};
use core::ffi::c_void;
use core::ptr;
use std::rc::{Rc as Shared, Weak};

use ::ngx::ffi::{self, ngx_http_post_subrequest_t, ngx_http_request_t, ngx_int_t, ngx_str_t};

use super::event::Signal;
use super::log::Level;
use super::request::{Rc, Request};
use super::text::{bytes, to_pool};
use crate::ngx::bits::bits;
use crate::run::Waker;
use crate::vm::Stack;

mod body;
mod filter;
mod headers;
mod setup;

pub(super) use filter::log_as;
pub use setup::{Spec, VarsFrom};

/// Why subrequests were not made; the text is what Lua is told.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("unsafe uri in argument #1: {0}")]
    UnsafeUri(String),
    #[error("failed to issue subrequest: {0}")]
    Refused(isize),
    #[error("failed to adjust the subrequest: {0}")]
    Setup(isize),
    #[error("no memory")]
    NoMemory,
}

/// Subrequests that were made together, in their order.
#[repr(C)]
pub struct Group {
    /// Posted when all have ended.
    signal: Signal,
    first: Capture,
    others: Box<[Capture]>,
    /// How many have not ended.
    left: Cell<usize>,
    waiter: Cell<Option<Waiter>>,
    me: Weak<Group>,
}

/// Who is told that all have ended, and how their responses are put on a stack.
pub struct Waiter {
    pub waker: Waker,
    pub push: fn(&mut Stack<'_>, &Group) -> i32,
}

/// One subrequest, and what it brought.
pub struct Capture {
    request: Cell<Option<Request>>,
    hook: UnsafeCell<ngx_http_post_subrequest_t>,
    group: Cell<*const Group>,
    body: RefCell<Vec<u8>>,
    status: Cell<usize>,
    /// Whether the end of its body has been seen.
    complete: Cell<bool>,
    truncated: Cell<bool>,
    ended: Cell<bool>,
    /// Whether its list of request headers is its own, not its parent's.
    owns_headers: Cell<bool>,
    /// Whether its request body is its own.
    owns_body: Cell<bool>,
}

/// The hook of those that nobody waits for.
struct Unheard(ngx_http_post_subrequest_t);

// SAFETY: nginx only reads it.
unsafe impl Sync for Unheard {}

static UNHEARD: Unheard = Unheard(ngx_http_post_subrequest_t { handler: Some(ended), data: ptr::null_mut() });

/// Makes `count` subrequests, at least one, as `next` describes them; nginx runs them once the event at hand is over.
/// The waiter is told when all of them have ended, unless the group has been dropped.
pub fn capture<'a>(
    parent: Request,
    count: usize,
    mut next: impl FnMut() -> Spec<'a>,
    waiter: Waiter,
) -> Result<Shared<Group>, CaptureError> {
    let group = Shared::new_cyclic(|me| Group {
        signal: Signal::new(),
        first: Capture::new(),
        others: (1..count).map(|_| Capture::new()).collect(),
        left: Cell::new(count),
        waiter: Cell::new(Some(waiter)),
        me: Weak::clone(me),
    });
    for capture in group.captures() {
        capture.group.set(Shared::as_ptr(&group));
        if let Err(e) = parent.begin_capture(capture, &next()) {
            for begun in group.captures().filter_map(|c| c.request.take()) {
                begun.withdraw();
            }
            return Err(e);
        }
    }
    Ok(group)
}

impl Group {
    pub fn captures(&self) -> impl Iterator<Item = &Capture> {
        core::iter::once(&self.first).chain(self.others.iter())
    }

    pub fn len(&self) -> usize {
        1 + self.others.len()
    }

    fn one_ended(&self) {
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            // SAFETY: a group stays where it is, behind `Rc`, and its signal is its first field.
            unsafe { self.signal.post(wake) }
        }
    }
}

/// # Safety
/// `signal` must be that of a live group.
unsafe fn wake(signal: *const Signal) {
    // SAFETY: the caller vouches for it: the signal is the group's first field.
    let group = unsafe { (*signal.cast::<Group>()).me.upgrade() };
    let Some(group) = group else { return };
    if let Some(Waiter { waker, push }) = group.waiter.take() {
        // the group goes before its request can
        waker.wake(move |stack| push(stack, &group));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // nobody waits any more: what still runs must not find us
        for request in self.captures().filter_map(|c| c.request.take()) {
            request.forget_capture();
        }
    }
}

impl Capture {
    fn new() -> Capture {
        Capture {
            request: Cell::default(),
            hook: UnsafeCell::new(ngx_http_post_subrequest_t { handler: Some(ended), data: ptr::null_mut() }),
            group: Cell::new(ptr::null()),
            body: RefCell::default(),
            status: Cell::default(),
            complete: Cell::default(),
            truncated: Cell::default(),
            ended: Cell::default(),
            owns_headers: Cell::default(),
            owns_body: Cell::default(),
        }
    }

    pub fn status(&self) -> usize {
        self.status.get()
    }

    /// Whether an error cut the body short.
    pub fn is_truncated(&self) -> bool {
        self.truncated.get()
    }

    pub fn take_body(&self) -> Vec<u8> {
        self.body.take()
    }

    /// The subrequest, which is there as long as its parent is.
    pub fn request(&self) -> Option<Request> {
        self.request.get()
    }

    /// What nginx is to call: the address stays where it is.
    fn hook(&self) -> *mut ngx_http_post_subrequest_t {
        let hook = self.hook.get();
        // SAFETY: nobody else has a reference to it, and nginx does not have it yet.
        unsafe { (*hook).data = ptr::from_ref(self).cast_mut().cast() };
        hook
    }
}

/// A request whose response is kept.
#[derive(Clone, Copy)]
pub(super) enum Captured<'a> {
    For(&'a Capture),
    /// Nobody waits for it any more.
    ForNobody,
}

impl Request {
    /// Whether the response is kept for a script, and where.
    #[inline]
    pub(super) fn captured(&self) -> Option<Captured<'_>> {
        if !self.is_subrequest() {
            return None;
        }
        // SAFETY: a live subrequest's hook is null or lives as long as it; with our handler, its data is null or a
        // `Capture` that takes the hook away before it goes.
        unsafe {
            let hook = (*self.raw()).post_subrequest.as_ref()?;
            let ours =
                ended as unsafe extern "C" fn(*mut ngx_http_request_t, *mut c_void, ngx_int_t) -> ngx_int_t;
            if !hook.handler.is_some_and(|f| ptr::fn_addr_eq(f, ours)) {
                return None;
            }
            Some(hook.data.cast::<Capture>().as_ref().map_or(Captured::ForNobody, Captured::For))
        }
    }

    pub fn is_captured(&self) -> bool {
        self.captured().is_some()
    }

    /// The request that a captured one was made by.
    pub(super) fn captured_by(&self) -> Option<Request> {
        self.captured()?;
        // SAFETY: a subrequest has a parent, which lives as long as it does.
        Some(unsafe { Request::new((*self.raw()).parent) })
    }

    fn forget_capture(self) {
        // SAFETY: a field write to a subrequest whose memory is that of its main request's pool; nginx only reads the hook.
        unsafe { (*self.raw()).post_subrequest = ptr::from_ref(&UNHEARD.0).cast_mut() }
    }

    /// Takes a subrequest back that nginx has not begun to run.
    fn withdraw(self) {
        self.forget_capture();
        self.release();
        // SAFETY: nginx's list of the requests that are to run, each entry in the pool of the main request.
        unsafe {
            let mut at = &raw mut (*(*self.raw()).main).posted_requests;
            while let Some(posted) = (*at).as_mut() {
                if posted.request == self.raw() {
                    *at = posted.next;
                    return;
                }
                at = &raw mut posted.next;
            }
        }
    }

    /// URI and arguments of a subrequest, in the request's pool.
    fn capture_uri(&self, spec: &Spec<'_>) -> Result<(ngx_str_t, ngx_str_t), CaptureError> {
        let Some((path, own)) = self.split_uri(spec.uri) else {
            return Err(CaptureError::UnsafeUri(String::from_utf8_lossy(spec.uri).into_owned()));
        };
        // SAFETY: the pool is the live request's.
        let copy = |text: &[u8]| unsafe { to_pool((*self.raw()).pool, text) }.ok_or(CaptureError::NoMemory);
        let args = match (own, spec.args) {
            (b"", b"") => ngx_str_t { len: 0, data: ptr::null_mut() },
            (args, b"") | (b"", args) => copy(args)?,
            (own, more) => copy(&[own, b"&", more].concat())?,
        };
        Ok((copy(path)?, args))
    }

    fn begin_capture(&self, capture: &Capture, spec: &Spec<'_>) -> Result<(), CaptureError> {
        let (mut uri, mut args) = self.capture_uri(spec)?;
        let mut made = ptr::null_mut();
        let background = ffi::NGX_HTTP_SUBREQUEST_BACKGROUND as usize;
        // SAFETY: a call on a live request; the texts are in its pool, and the hook stays until `forget_capture`.
        unsafe {
            if (*bits(self.raw())).subrequests() == 0 {
                let uri = String::from_utf8_lossy(bytes(uri));
                self.log(Level::Error, &format!("lua subrequests cycle while processing \"{uri}\""));
                return Err(CaptureError::Refused(Rc::ERROR.0));
            }
            let hook = capture.hook();
            let rc = ffi::ngx_http_subrequest(
                self.raw(),
                &raw mut uri,
                &raw mut args,
                &raw mut made,
                hook,
                background,
            );
            if rc != Rc::OK.0 {
                if !made.is_null() {
                    // it was counted, but could not be put on the list
                    Request::new(made).withdraw();
                }
                return Err(CaptureError::Refused(rc));
            }
            (*bits(made)).set_background(0);
            if self.logs(Level::Debug) {
                let shown = [bytes(uri), b"?", bytes(args)].concat();
                let shown = String::from_utf8_lossy(&shown).into_owned();
                self.log(Level::Debug, &format!("lua http subrequest \"{shown}\""));
            }
            let made = Request::new(made);
            capture.request.set(Some(made));
            made.set_up(*self, spec, capture)
        }
    }

    /// A captured subrequest has ended, or could not begin, with `rc`; what nginx is to take it for.
    fn end_capture(self, captured: Option<&Capture>, rc: Rc) -> Rc {
        let r = self.raw();
        let failed = rc == Rc::ERROR || matches!(rc.0, 201 | 204) || rc.0 >= 300;
        // SAFETY: plain field accesses of a live request.
        unsafe {
            if !failed && ((*bits(r)).buffered() != 0 || !(*r).postponed.is_null()) {
                // not all of the body has come down yet
                return rc;
            }
            (*bits(r)).set_background(1);
            (*bits(r)).set_discard_body(0);
            self.free_write_timer();
            if matches!(rc.0, 408 | 444 | 499) {
                // it ends the main request, too
                return rc;
            }
            if failed {
                (*bits(r)).set_buffered(0);
                (*r).postponed = ptr::null_mut();
            }
            let begun = self.header_sent();
            if failed && rc.0 > 0 && !begun {
                self.answer_without_page(rc);
            }
            if let Some(capture) = captured {
                if capture.ended.replace(true) {
                    // nginx has noted its end before (it was replaced by a page in a filter), and complains of a second
                    (*bits(r)).set_logged(0);
                } else {
                    let refused = rc.0 > 0 && !begun;
                    capture.truncated.set(!refused && !capture.complete.get() && self.has_more_body());
                    capture.status.set(self.captured_status(rc));
                    if let Some(group) = capture.group.get().as_ref() {
                        group.one_ended();
                    }
                }
            }
        }
        if failed {
            Rc::OK
        } else {
            rc
        }
    }

    /// Whether a response whose end nobody has marked lacks something: nginx marks none without a body.
    fn has_more_body(&self) -> bool {
        !self.header_only() && self.content_length() != Some(0)
    }

    fn captured_status(&self, rc: Rc) -> usize {
        match (self.status(), rc) {
            (0, Rc::OK) => 200,
            (0, Rc::ERROR) => 500,
            (0, rc) => usize::try_from(rc.0).ok().filter(|code| *code >= 100).unwrap_or(0),
            (status, _) => status,
        }
    }

    /// A response of status `rc` without a body, in the place of nginx's page for it. May run Lua (header filters).
    fn answer_without_page(&self, rc: Rc) {
        // SAFETY: plain field writes to a live request whose header has not been sent, and calls on it.
        unsafe {
            let r = self.raw();
            (*r).err_status = rc.0 as usize;
            (*bits(r)).set_expect_tested(1);
            let out = &mut (*r).headers_out;
            out.content_type.len = 0;
            out.last_modified_time = -1;
            if let Some(h) = out.last_modified.as_mut() {
                h.hash = 0;
                out.last_modified = ptr::null_mut();
            }
            self.clear_accept_ranges();
            self.clear_content_length();
            if self.loc_conf().use_default_type() {
                ffi::ngx_http_set_content_type(r);
            }
            ffi::ngx_http_send_header(r);
        }
    }

    /// Takes the timer off the connection that nginx sets for whoever has something left to write: it is no client that
    /// a subrequest has waited for.
    fn free_write_timer(&self) {
        // SAFETY: field accesses and a call on a live connection's write event.
        unsafe {
            let c = (*self.raw()).connection;
            let event = (*c).write;
            if (*event).timer_set() != 0 && (*event).delayed() == 0 && (*c).buffered() == 0 {
                ffi::ngx_del_timer(event);
            }
        }
    }
}

/// nginx's hook.
unsafe extern "C" fn ended(r: *mut ngx_http_request_t, data: *mut c_void, rc: ngx_int_t) -> ngx_int_t {
    // SAFETY: nginx passes the live request; `data` is what `Capture::hook` or `UNHEARD` has put there.
    let (request, capture) = unsafe { (Request::new(r), data.cast::<Capture>().as_ref()) };
    crate::native::guard(|| request.end_capture(capture, Rc(rc))).unwrap_or(Rc::ERROR).0
}
