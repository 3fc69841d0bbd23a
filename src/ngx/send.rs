//! The response on its way out: begun once, handed to the filters, and let go as the client takes it.

use std::rc::Rc as Shared;

use ::ngx::ffi::{self, ngx_chain_t, ngx_event_t, ngx_http_request_t};

use super::bits::bits;
use super::chain::Output;
use super::log::Level;
use super::request::{Rc, Request};
use crate::phase::Phase;

/// Output that the socket has not taken, in `connection.buffered`.
const UNSENT: u32 = ffi::NGX_LOWLEVEL_BUFFERED | ffi::NGX_HTTP_LOWLEVEL_BUFFERED;

/// Whom to tell that all output has left; dropping it cancels.
pub struct Waiter(core::cell::Cell<Option<OnDrained>>);

type OnDrained = Box<dyn FnOnce(Drained)>;

/// What became of output that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    Sent,
    TimedOut,
    Broken,
}

impl Request {
    /// Chooses what the header will say before the first output: from here on it counts as sent. Never reaches a filter.
    #[cold]
    pub fn begin_output(&self, out: &Output, may_hold: bool) -> bool {
        out.set_begun();
        if may_hold && self.wants_length() {
            out.hold();
            self.log(Level::Debug, "lua buffering output bufs for the HTTP 1.0 request");
        }
        if !self.has_status() {
            self.set_status(ffi::NGX_HTTP_OK as usize);
        }
        if !out.keeps_type() && self.loc_conf().use_default_type() && self.status() != 304 {
            // SAFETY: a call on a live request whose header has not been sent.
            if unsafe { ffi::ngx_http_set_content_type(self.raw()) } != ffi::NGX_OK as isize {
                return false;
            }
        }
        out.keep_type();
        if !out.keeps_fields() {
            self.clear_content_length();
            self.clear_accept_ranges();
        }
        true
    }

    /// Whether the response must be complete before its header can be made: HTTP/1.0 has no chunks.
    fn wants_length(&self) -> bool {
        // SAFETY: plain field reads of a live request.
        let unknown = unsafe {
            (*self.raw()).http_version < ffi::NGX_HTTP_VERSION_11 as usize
                && (*self.raw()).headers_out.content_length_n < 0
        };
        unknown && !self.is_subrequest() && !self.header_sent() && self.loc_conf().http10_buffering()
    }

    /// Sends the response header, if that has not happened. May run Lua (header filters).
    pub fn send_header(&self, out: &Output) -> Rc {
        if self.header_sent() {
            return Rc::OK;
        }
        if !out.is_begun() && !self.begin_output(out, false) {
            return Rc::ERROR;
        }
        // SAFETY: a call on a live request whose header has not been sent.
        let rc = Rc(unsafe { ffi::ngx_http_send_header(self.raw()) });
        if rc == Rc::ERROR || rc.0 > Rc::OK.0 {
            out.set_failed();
        } else if self.header_only() {
            out.set_ended();
        }
        rc
    }

    /// Hands the collected output to the filters, with the header before it. May run Lua (filters).
    ///
    /// `last` ends the response, `flush` asks that nothing be held back.
    pub fn send_output(&self, out: &Output, last: bool, flush: bool) -> Rc {
        if out.is_ended() || out.is_failed() {
            out.take();
            return if out.is_failed() { Rc::ERROR } else { Rc::OK };
        }
        if self.is_head() {
            self.set_header_only();
        }
        if !out.is_begun() && !self.begin_output(out, true) {
            return Rc::ERROR;
        }
        if last && !self.drop_unread_body() {
            return Rc::ERROR;
        }
        if out.is_held() {
            if !last && !self.header_only() {
                return Rc::OK;
            }
            out.release();
            self.clear_content_length();
            if !self.header_only() {
                self.set_content_length(out.pending());
            }
        }
        let rc = self.send_header(out);
        if rc == Rc::ERROR || rc.0 > Rc::OK.0 {
            return rc;
        }
        let chain = out.take();
        if out.is_ended() {
            return rc;
        }
        if last {
            out.set_ended();
        }
        self.pass_flagged(out, chain, last, flush)
    }

    fn pass_flagged(&self, out: &Output, mut chain: *mut ngx_chain_t, last: bool, flush: bool) -> Rc {
        // a script that looks at the body learns of its end with the last call, as it does on OpenResty
        if last && !chain.is_null() && self.loc_conf().handler(Phase::BodyFilter).is_some() {
            let rc = self.pass(out, chain);
            if rc == Rc::ERROR || rc.0 >= 300 {
                return rc;
            }
            chain = core::ptr::null_mut();
        }
        if last || flush {
            match self.flag(out, chain, last, flush) {
                Some(flagged) => chain = flagged,
                None => return Rc::ERROR,
            }
        }
        if chain.is_null() {
            return Rc::OK;
        }
        self.pass(out, chain)
    }

    /// Gives `chain` to the body filters; null lets them go on with what they have.
    fn pass(&self, out: &Output, chain: *mut ngx_chain_t) -> Rc {
        // SAFETY: `chain` is a well-formed chain of ours; `sort` tells them apart again.
        let rc = Rc(unsafe { ffi::ngx_http_output_filter(self.raw(), chain) });
        if rc == Rc::ERROR || rc.0 >= 300 {
            out.set_failed();
        }
        out.buffers.sort(*self, chain);
        rc
    }

    /// Puts the flags on the chain's last buffer, or on one that carries nothing else.
    fn flag(
        &self,
        out: &Output,
        chain: *mut ngx_chain_t,
        last: bool,
        flush: bool,
    ) -> Option<*mut ngx_chain_t> {
        let head = if chain.is_null() { out.buffers.mark(*self)? } else { chain };
        // SAFETY: `head` is a well-formed, null-terminated chain; its buffers are ours alone until handed on.
        unsafe {
            let mut tail = head;
            while !(*tail).next.is_null() {
                tail = (*tail).next;
            }
            let b = &mut *(*tail).buf;
            if last {
                b.set_last_in_chain(1);
                if self.is_subrequest() || (*bits(self.raw())).post_action() != 0 {
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

    /// Has nginx drop a request body that nobody has read: it must not be taken for the next request.
    fn drop_unread_body(&self) -> bool {
        self.has_body() || self.is_subrequest() || self.discard_unwanted_body() == Rc::OK
    }

    pub fn is_head(&self) -> bool {
        // SAFETY: a plain field read of a live request.
        unsafe { (*self.raw()).method == ffi::NGX_HTTP_HEAD as usize }
    }

    /// Whether the method is GET or HEAD.
    pub fn only_reads(&self) -> bool {
        // SAFETY: a plain field read of a live request.
        unsafe { (*self.raw()).method & (ffi::NGX_HTTP_GET | ffi::NGX_HTTP_HEAD) as usize != 0 }
    }

    /// Whether the response has no body whatever is printed.
    pub fn header_only(&self) -> bool {
        // SAFETY: a plain field read of a live request.
        unsafe { (*bits(self.raw())).header_only() != 0 }
    }

    pub fn set_header_only(&self) {
        // SAFETY: a plain field write to a live request.
        unsafe { (*bits(self.raw())).set_header_only(1) }
    }

    /// Declares the length of the response.
    pub fn set_content_length(&self, n: usize) {
        // SAFETY: a plain field write to a live request.
        unsafe { (*self.raw()).headers_out.content_length_n = n as ffi::off_t };
    }

    fn write_event(&self) -> *mut ngx_event_t {
        // SAFETY: a request's connection and its events live as long as it does.
        unsafe { (*(*self.raw()).connection).write }
    }

    pub(super) fn has_unsent(&self) -> bool {
        // SAFETY: a plain field read of a live connection.
        let unsent = unsafe { (*(*self.raw()).connection).buffered() & UNSENT != 0 };
        // what a captured subrequest prints goes to no client
        unsent && !self.is_captured()
    }

    /// Whether output is on its way that the client has not taken.
    pub fn is_draining(&self) -> bool {
        // SAFETY: a plain field read of a live event.
        self.has_unsent() || unsafe { (*self.write_event()).delayed() != 0 } && !self.is_captured()
    }

    /// Before a script waits: what it has printed leaves, and goes on leaving meanwhile.
    pub fn send_before_wait(&self, out: &Output) {
        if out.pending() > 0 {
            self.send_output(out, false, false);
        }
        if self.has_unsent() {
            self.watch_socket();
        }
    }

    /// Has [`writable`] called when the client takes more, or has not for `send_timeout`.
    fn watch_socket(&self) -> bool {
        // SAFETY: calls on the write event of a live connection; the core module's location configuration exists.
        unsafe {
            let core =
                *(*self.raw()).loc_conf.add((*core::ptr::addr_of!(ffi::ngx_http_core_module)).ctx_index);
            let core = &*core.cast::<ffi::ngx_http_core_loc_conf_t>();
            let event = self.write_event();
            if (*event).delayed() == 0 {
                ffi::ngx_add_timer(event, core.send_timeout);
            }
            ffi::ngx_handle_write_event(event, core.send_lowat) == ffi::NGX_OK as isize
        }
    }

    /// Calls `fire` once all output has left; `None` when the connection is broken.
    pub fn when_drained(&self, out: &Output, fire: Box<dyn FnOnce(Drained)>) -> Option<Shared<Waiter>> {
        if !self.watch_socket() {
            return None;
        }
        if self.logs(Level::Debug) {
            // SAFETY: plain field reads of a live connection and its write event.
            let (buffered, delayed) =
                unsafe { ((*(*self.raw()).connection).buffered(), (*self.write_event()).delayed()) };
            let message = format!("lua flush requires waiting: buffered {buffered:#x}, delayed:{delayed}");
            self.log(Level::Debug, &message);
        }
        let waiter = Shared::new(Waiter(core::cell::Cell::new(Some(fire))));
        out.waiters.borrow_mut().push(Shared::downgrade(&waiter));
        Some(waiter)
    }

    /// While a script waits, the output goes on leaving.
    pub fn keep_sending(&self) {
        // SAFETY: a plain field write to a live request.
        unsafe { (*self.raw()).write_event_handler = Some(writable) };
    }

    fn drain(self) {
        let Some(ctx) = self.ctx_if_any() else { return };
        let out = &ctx.output;
        let event = self.write_event();
        // SAFETY: field accesses of a live connection and its write event.
        let late = unsafe { (*event).timedout() != 0 && (*event).delayed() == 0 };
        let timed_out = late && self.has_unsent();
        if late && !timed_out {
            // nginx set the timer for a subrequest whose body was still being read: no client was waited for
            // SAFETY: as above.
            unsafe { (*event).set_timedout(0) };
        }
        let drained = if timed_out {
            self.log(Level::Info, "client timed out");
            // SAFETY: as above.
            unsafe { (*(*self.raw()).connection).set_timedout(1) };
            out.set_failed();
            Drained::TimedOut
        } else if self.has_unsent() && self.pass(out, core::ptr::null_mut()) == Rc::ERROR {
            Drained::Broken
        } else if self.has_unsent() {
            self.watch_socket();
            return;
        } else if self.is_draining() {
            return;
        } else {
            // SAFETY: as above.
            unsafe {
                if (*event).timer_set() != 0 {
                    ffi::ngx_del_timer(event);
                }
            }
            Drained::Sent
        };
        let waiters = out.waiters.take();
        for waiter in waiters {
            // one that was woken may have ended the request and so cancelled the others
            if let Some(fire) = waiter.upgrade().and_then(|w| w.0.take()) {
                fire(drained);
            }
        }
    }
}

/// The write event handler of requests whose script waits.
unsafe extern "C" fn writable(r: *mut ngx_http_request_t) {
    // SAFETY: nginx calls a request's handler while the request lives.
    let request = unsafe { Request::new(r) };
    crate::native::guard(|| {
        if !request.wake_client_writer() {
            request.drain();
        }
    });
}
