//! Holds a request in front of its upstream, before anything of it has begun.
//!
//! `peer.init` is the last moment at which nothing is connected, and the only one at which every `*_pass` has come to its upstream, through
//! variables, from a subrequest or over HTTP/2. What is left there of the upstream is given up as if the request were finalized already:
//! nginx then drops the count that was taken for it, and nothing else. To go on, `ngx_http_upstream_init` is called again from an event: it
//! makes the request for the peer anew and comes back to `peer.init`. What the first call has changed and the second must not find is
//! put back: the states of the upstream, what was made for the peer, and that a cache has been asked.

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use ::ngx::ffi::{
    self, ngx_http_cleanup_t, ngx_http_event_handler_pt, ngx_http_request_t, ngx_http_upstream_conf_t,
    ngx_int_t,
};
use logic::autoscale::metrics::flight::Queued;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::queue::Slot;

use super::super::bits::bits;
use super::super::event::Signal;
use super::super::log::Level;
use super::super::request::{Rc, Request};
use crate::native::guard;
use crate::scale::protect::{Arrival, Why};
use crate::scale::Shell;

/// A request that is held, in its own pool.
#[repr(C)]
struct Parked {
    /// First: the event's handler is given its address.
    signal: Signal,
    request: Request,
    /// The number of its upstream.
    upstream: usize,
    /// `None` when it was refused at once.
    slot: Cell<Option<Slot>>,
    since_us: u64,
    queued: Queued,
    verdict: Cell<Option<Verdict>>,
    conf: *mut ngx_http_upstream_conf_t,
    cleanup: *mut ngx_http_cleanup_t,
    read: ngx_http_event_handler_pt,
    write: ngx_http_event_handler_pt,
}

/// What has become of it.
#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Go,
    Refuse(Why),
}

/// A request that is held, for whoever decides about it. Valid as long as the list of those that are held has it.
#[derive(Clone, Copy, PartialEq)]
pub struct Ticket(NonNull<Parked>);

/// What is known of one when it is held no more.
#[derive(Clone, Copy)]
pub struct Released {
    pub request: Request,
    pub upstream: usize,
    pub slot: Option<Slot>,
    pub since_us: u64,
}

/// The request that goes on at this moment, on its way to `peer.init`.
#[derive(Clone, Copy)]
struct Resuming {
    request: Request,
    upstream: usize,
    conf: *mut ngx_http_upstream_conf_t,
}

struct OneThread(Cell<Option<Resuming>>);

// SAFETY: a worker runs requests on one thread.
unsafe impl Sync for OneThread {}

static RESUMING: OneThread = OneThread(Cell::new(None));

impl Ticket {
    fn parked(&self) -> &Parked {
        // SAFETY: as the type says.
        unsafe { self.0.as_ref() }
    }

    pub fn request(&self) -> Request {
        self.parked().request
    }

    pub fn upstream(&self) -> usize {
        self.parked().upstream
    }

    pub fn slot(&self) -> Option<Slot> {
        self.parked().slot.get()
    }

    /// Its slot was given back, and may be another one's by now.
    pub fn lose_slot(&self) {
        self.parked().slot.set(None);
    }

    /// Its turn has come: it goes on soon.
    pub fn go(&self) {
        self.decide(Verdict::Go);
    }

    /// It is refused soon.
    pub fn refuse(&self, why: Why) {
        self.decide(Verdict::Refuse(why));
    }

    /// Whether it was decided about.
    pub fn is_decided(&self) -> bool {
        self.parked().verdict.get().is_some()
    }

    fn decide(&self, verdict: Verdict) {
        let parked = self.parked();
        if parked.verdict.get().is_none() {
            parked.verdict.set(Some(verdict));
            // SAFETY: it stays where it is until it is taken, which drops the signal.
            unsafe { parked.signal.post(decided) };
        }
    }

    /// Ends that it is held. It is off the list, the queue does not count it any more; its slot is the caller's to give back.
    fn take(self, shell: &Shell) -> Released {
        shell.protect.forget(self);
        // SAFETY: nobody else has a ticket of it now, so it is dropped once; the memory is its request's pool's.
        unsafe {
            let parked = self.0.as_ptr();
            (*parked).queued.end(&shell.zone);
            (*(*parked).cleanup).handler = None;
            let p = &*parked;
            let released = Released {
                request: p.request,
                upstream: p.upstream,
                slot: p.slot.get(),
                since_us: p.since_us,
            };
            ptr::drop_in_place(parked);
            released
        }
    }
}

/// The upstream that the request was held for, if it comes back to `peer.init` because it goes on.
///
/// # Safety
/// As [`arrive`].
pub unsafe fn resumed(request: Request) -> Option<usize> {
    let resuming = RESUMING.0.get().filter(|resuming| resuming.request == request)?;
    RESUMING.0.set(None);
    // SAFETY: the upstream is that of the live request; its configuration lives as long.
    unsafe { (*(*request.raw()).upstream).conf = resuming.conf };
    Some(resuming.upstream)
}

/// A request comes to upstream number `upstream`. `Some` is what `peer.init` is to return instead of anything else: it is held.
///
/// # Safety
/// To be called in `peer.init` of the live request, which has an upstream.
pub unsafe fn arrive(shell: &Shell, request: Request, upstream: usize) -> Option<ngx_int_t> {
    let (slot, why) = match shell.protect.arrive(shell, upstream, request) {
        Arrival::Go => return None,
        Arrival::Wait(slot) => (Some(slot), None),
        Arrival::Refuse(why) => (None, Some(why)),
    };
    // SAFETY: the caller's.
    match unsafe { suspend(shell, request, upstream, slot) } {
        Some(ticket) => {
            shell.protect.keep(ticket);
            if let Some(why) = why {
                ticket.refuse(why);
            }
            Some(ffi::NGX_ERROR as ngx_int_t)
        }
        // out of memory: it goes, rather than that it is lost
        None => {
            shell.protect.give_back(shell, upstream, slot);
            None
        }
    }
}

/// # Safety
/// As [`arrive`].
unsafe fn suspend(shell: &Shell, request: Request, upstream: usize, slot: Option<Slot>) -> Option<Ticket> {
    // SAFETY: the request is live and in `ngx_http_upstream_init_request`: its upstream has a cleanup and states. All that is allocated is
    // in its pool.
    unsafe {
        let r = request.raw();
        let u = (*r).upstream;
        if (*u).cleanup.is_null() {
            return None;
        }
        let parked = ffi::ngx_palloc((*r).pool, size_of::<Parked>()).cast::<Parked>();
        let place = NonNull::new(parked)?;
        let cleanup = ffi::ngx_http_cleanup_add(r, 0);
        (*NonNull::new(cleanup)?.as_ptr()).data = parked.cast();
        let entry = shell.upstreams.get(upstream).copied().unwrap_or(Ref::NONE);
        parked.write(Parked {
            signal: Signal::new(),
            request,
            upstream,
            slot: Cell::new(slot),
            since_us: super::super::clock::monotonic().us,
            queued: Queued::start(&shell.zone, shell.worker, entry),
            verdict: Cell::new(None),
            conf: (*u).conf,
            cleanup,
            read: (*r).read_event_handler,
            write: (*r).write_event_handler,
        });
        (*cleanup).handler = Some(gone);
        // finalized, as far as nginx is concerned
        request.retain();
        *(*u).cleanup = None;
        (*u).cleanup = ptr::null_mut();
        // a subrequest has no body of its own to put in its place
        (*u).request_bufs = ptr::null_mut();
        // the state that separates this upstream from one before it comes again
        if let Some(states) = (*r).upstream_states.as_mut() {
            if states.nelts <= 1 {
                (*r).upstream_states = ptr::null_mut();
            } else {
                states.nelts -= 1;
            }
            (*u).state = ptr::null_mut();
        }
        if hears(r, (*u).conf) {
            (*r).read_event_handler = Some(heard);
            (*r).write_event_handler = Some(heard);
        }
        (*(*(*r).connection).log).action = c"waiting for room at upstream".as_ptr().cast_mut();
        Some(Ticket(place))
    }
}

/// Whether a request ends with its client's connection.
///
/// # Safety
/// The request must be live and have an upstream, `conf` be that one's.
unsafe fn hears(r: *mut ngx_http_request_t, conf: *mut ngx_http_upstream_conf_t) -> bool {
    // SAFETY: plain reads.
    unsafe {
        (*(*r).upstream).store() == 0 && (*bits(r)).post_action() == 0 && (*conf).ignore_client_abort == 0
    }
}

/// The request's pool or connection goes while it is held.
unsafe extern "C" fn gone(data: *mut c_void) {
    guard(|| {
        let ticket = Ticket(NonNull::new(data.cast::<Parked>())?);
        let request = ticket.request();
        let shell = request.main_conf().shell()?;
        let released = ticket.take(shell);
        leave_cache(request);
        shell.protect.give_back(shell, released.upstream, released.slot);
        // as nginx's own cleanup of an upstream does, it drops what the request held for it
        if request.references() > 1 {
            request.release();
        }
        Some(())
    });
}

/// It goes on, or is refused: posted by [`Ticket::decide`].
unsafe fn decided(signal: *const Signal) {
    let Some(place) = NonNull::new(signal.cast_mut().cast::<Parked>()) else { return };
    let ticket = Ticket(place);
    let (request, verdict) = (ticket.request(), ticket.parked().verdict.get());
    let connection = request.connection();
    request.log_as_current();
    let Some(shell) = request.main_conf().shell() else { return };
    match verdict {
        Some(Verdict::Refuse(why)) => refuse(shell, ticket, why),
        // SAFETY: the ticket's request is live.
        _ => unsafe { resume(shell, ticket) },
    }
    Request::run_posted(connection);
}

/// # Safety
/// The ticket's request must be live.
unsafe fn resume(shell: &Shell, ticket: Ticket) {
    // SAFETY: the request is live until `ngx_http_upstream_init`, and nothing of it is used after that.
    unsafe {
        let (conf, read, write) = {
            let parked = ticket.parked();
            (parked.conf, parked.read, parked.write)
        };
        let released = ticket.take(shell);
        shell.protect.waited(&released);
        let r = released.request.raw();
        if hears(r, conf) && is_gone(released.request) {
            return give_up(shell, &released);
        }
        (*r).read_event_handler = read;
        (*r).write_event_handler = write;
        (*(*r).upstream).conf = without_cache(r, conf);
        RESUMING.0.set(Some(Resuming { request: released.request, upstream: released.upstream, conf }));
        ffi::ngx_http_upstream_init(r);
        RESUMING.0.set(None);
        // it counts as in flight now, or is gone
        shell.protect.give_back(shell, released.upstream, released.slot);
    }
}

/// The same configuration, of an upstream that asks no cache: this one was asked.
///
/// # Safety
/// The request must be live, `conf` its upstream's.
#[cfg(ngx_feature = "http_cache")]
unsafe fn without_cache(
    r: *mut ngx_http_request_t,
    conf: *mut ngx_http_upstream_conf_t,
) -> *mut ngx_http_upstream_conf_t {
    // SAFETY: the copy is in the request's pool, and has the same pointers into the configuration.
    unsafe {
        if (*conf).cache() == 0 {
            return conf;
        }
        let copy = ffi::ngx_palloc((*r).pool, size_of::<ngx_http_upstream_conf_t>());
        let Some(copy) = NonNull::new(copy.cast::<ngx_http_upstream_conf_t>()) else { return conf };
        ptr::copy_nonoverlapping(conf, copy.as_ptr(), 1);
        (*copy.as_ptr()).set_cache(0);
        copy.as_ptr()
    }
}

/// # Safety
/// None is needed: there is no cache.
#[cfg(not(ngx_feature = "http_cache"))]
unsafe fn without_cache(
    _: *mut ngx_http_request_t,
    conf: *mut ngx_http_upstream_conf_t,
) -> *mut ngx_http_upstream_conf_t {
    conf
}

/// A request that does not come to its upstream updates no cache: others may, as after any failure.
#[cfg(ngx_feature = "http_cache")]
fn leave_cache(request: Request) {
    // SAFETY: the request is live; what it has of a cache, it has in its own pool. nginx looks itself whether that was left already.
    unsafe {
        if let Some(cache) = NonNull::new((*request.raw()).cache) {
            ffi::ngx_http_file_cache_free(cache.as_ptr(), ptr::null_mut());
        }
    }
}

#[cfg(not(ngx_feature = "http_cache"))]
fn leave_cache(_: Request) {}

fn refuse(shell: &Shell, ticket: Ticket, why: Why) {
    let released = ticket.take(shell);
    shell.protect.waited(&released);
    shell.protect.refused(shell, &released, why);
    // SAFETY: the request is live.
    unsafe { (*released.request.raw()).read_event_handler = Some(ffi::ngx_http_block_reading) };
    leave_cache(released.request);
    released.request.finalize(Rc::SERVICE_UNAVAILABLE);
}

/// Something has happened to the client's connection while its request is held.
unsafe extern "C" fn heard(r: *mut ngx_http_request_t) {
    guard(|| {
        // SAFETY: nginx calls a request's handler while the request lives.
        let request = unsafe { Request::new(r) };
        // SAFETY: as above.
        if !unsafe { is_gone(request) } {
            return;
        }
        let Some(shell) = request.main_conf().shell() else { return };
        let Some(ticket) = shell.protect.find(request) else { return };
        let released = ticket.take(shell);
        shell.protect.waited(&released);
        give_up(shell, &released);
    });
}

/// The client has gone: nobody wants the answer.
fn give_up(shell: &Shell, released: &Released) {
    let request = released.request;
    leave_cache(request);
    shell.protect.give_back(shell, released.upstream, released.slot);
    request.log(Level::Info, "client closed its connection while the request waited for its upstream");
    request.finalize(Rc::CLIENT_CLOSED_REQUEST);
}

/// Whether the client is gone, as nginx sees it while an upstream answers.
///
/// # Safety
/// The request must be live.
unsafe fn is_gone(request: Request) -> bool {
    // SAFETY: field accesses of a live connection and its event; the byte is only looked at.
    unsafe {
        let c = (*request.raw()).connection;
        if (*c).error() != 0 {
            return true;
        }
        if request.http_version() >= 2000 {
            return false;
        }
        let mut byte = 0u8;
        let n = libc::recv((*c).fd, ptr::from_mut(&mut byte).cast(), 1, libc::MSG_PEEK);
        let closed = n == 0
            || n < 0 && std::io::Error::last_os_error().kind() != std::io::ErrorKind::WouldBlock
            || has_hung_up(c);
        if closed {
            (*(*c).read).set_eof(1);
            (*c).set_error(1);
        }
        closed
    }
}

/// # Safety
/// The connection must be live.
#[cfg(ngx_feature = "have_epollrdhup")]
unsafe fn has_hung_up(c: *mut ffi::ngx_connection_t) -> bool {
    // SAFETY: plain reads.
    unsafe { ffi::ngx_use_epoll_rdhup != 0 && (*(*c).read).pending_eof() != 0 }
}

/// # Safety
/// None is needed.
#[cfg(not(ngx_feature = "have_epollrdhup"))]
unsafe fn has_hung_up(_: *mut ffi::ngx_connection_t) -> bool {
    false
}
