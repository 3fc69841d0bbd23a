//! Watching every attempt that nginx makes to reach a peer, whatever balances.
//!
//! Each upstream's `peer.init` is wrapped once the configuration is complete, outside of all others: keepalive, zones,
//! stock methods and scripts work as they do, and see their own data. nginx gives no word of the first byte of an
//! answer, so for that the function that parses it is wrapped too, for one call.

use core::any::Any;
use core::cell::OnceCell;
use core::ffi::c_void;
use core::ptr;

use ::ngx::ffi::{
    self, ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_int_t,
    ngx_peer_connection_t, ngx_uint_t,
};

use super::super::conf::{Cf, ConfError};
use super::super::request::{Rc, Request};
use super::super::text::bytes;
use super::{Upstream, Upstreams};
use crate::native::guard;

/// Told of the attempts of one upstream. All calls come from nginx's event loop, on a request's path: be quick.
pub trait Observer: 'static {
    /// What is remembered from the start of an attempt to its end.
    type Attempt: Copy + 'static;

    /// nginx is about to connect to `target`, or has a kept connection to it.
    fn start(&self, request: Request, target: &Target<'_>) -> Self::Attempt;

    /// The first bytes of the answer are there. Not called for an attempt that gets none.
    fn first_byte(&self, attempt: &mut Self::Attempt);

    /// The attempt is over. Each `start` has one `end`, unless the worker dies.
    fn end(&self, attempt: Self::Attempt, outcome: &Outcome);
}

/// Where an attempt goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The address in text, as `$upstream_addr` shows it and [`super::Peer::name`] names it.
    pub name: &'a [u8],
    /// Whether a kept connection is used.
    pub kept: bool,
}

/// What became of an attempt. Times are in milliseconds, as exact as nginx's clock, which ticks with the event loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The status that the peer answered; 0 when there was no answer.
    pub status: u16,
    /// nginx counts it as a failure of the peer: no answer, or one that `proxy_next_upstream` names.
    pub failed: bool,
    /// nginx does not, but goes on to another peer (403 and 404 in `proxy_next_upstream`).
    pub next: bool,
    /// A timeout ended it.
    pub timed_out: bool,
    /// The answer began and did not come to its end: the peer closed or went silent.
    pub broke_off: bool,
    /// The attempt ended for no fault of the peer's before its answer was delivered: mostly, the client left.
    pub abandoned: bool,
    pub connect_time: Option<u32>,
    /// Until the header of the answer was there.
    pub header_time: Option<u32>,
    pub total_time: u32,
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

/// The observers of one configuration.
#[derive(Default)]
pub struct Watches(OnceCell<Box<dyn Any>>);

/// Sorted by address, which is how nginx names upstreams at run time.
struct Table<O>(Vec<Row<O>>);

struct Row<O> {
    upstream: Upstream,
    init: ffi::ngx_http_upstream_init_peer_pt,
    observer: O,
}

/// Per request, in its pool: in front of the method that balances.
struct Watched<O: Observer> {
    request: Request,
    row: *const Row<O>,
    get: ffi::ngx_event_get_peer_pt,
    free: ffi::ngx_event_free_peer_pt,
    notify: ffi::ngx_event_notify_peer_pt,
    #[cfg(upstream_tls)]
    set_session: ffi::ngx_event_set_peer_session_pt,
    #[cfg(upstream_tls)]
    save_session: ffi::ngx_event_save_peer_session_pt,
    data: *mut c_void,
    attempt: Option<O::Attempt>,
    /// nginx's functions that ours stand in for, while they do.
    process_header: Option<unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t>,
    reinit_request: Option<unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t>,
}

/// Has the upstreams of the configuration being completed watched by what `observer` makes for each; `None` leaves one
/// alone. Once per configuration, from postconfiguration.
pub fn watch_upstreams<O: Observer>(
    cf: &mut Cf,
    mut observer: impl FnMut(Upstream) -> Option<O>,
) -> Result<(), ConfError> {
    let Some(upstreams) = Upstreams::configured(cf) else { return Ok(()) };
    let mut rows = Vec::new();
    for upstream in upstreams.iter() {
        // SAFETY: a plain field read.
        let init = unsafe { (*upstream.raw()).peer.init };
        if init.is_some() {
            if let Some(observer) = observer(upstream) {
                rows.push(Row { upstream, init, observer });
            }
        }
    }
    rows.sort_unstable_by_key(|row| row.upstream.raw());
    let wrapped: Vec<Upstream> = rows.iter().map(|row| row.upstream).collect();
    if cf.main_conf().watches.0.set(Box::new(Table(rows))).is_err() {
        return Err("upstreams are watched already".into());
    }
    for upstream in wrapped {
        // SAFETY: a plain field write, while configuring on one thread.
        unsafe { (*upstream.raw()).peer.init = Some(init::<O>) };
    }
    Ok(())
}

impl Watches {
    fn row<O: Observer>(&self, us: *mut ngx_http_upstream_srv_conf_t) -> Option<&Row<O>> {
        let table = self.0.get()?.downcast_ref::<Table<O>>()?;
        let i = table.0.binary_search_by_key(&us, |row| row.upstream.raw()).ok()?;
        table.0.get(i)
    }

    /// The observer of `upstream`, if it is watched by this kind.
    pub fn observer<O: Observer>(&self, upstream: Upstream) -> Option<&O> {
        Some(&self.row::<O>(upstream.raw())?.observer)
    }
}

/// A request begins with an upstream.
unsafe extern "C" fn init<O: Observer>(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request that has an upstream; the row was made for this upstream.
    unsafe {
        let request = Request::new(r);
        let Some(row) = request.main_conf().watches.row::<O>(us) else { return Rc::ERROR.0 };
        let rc = row.init.map_or(Rc::ERROR.0, |init| init(r, us));
        if rc != Rc::OK.0 {
            return rc;
        }
        let place = ffi::ngx_palloc((*r).pool, size_of::<Watched<O>>()).cast::<Watched<O>>();
        if place.is_null() {
            return Rc::ERROR.0;
        }
        let pc = &raw mut (*(*r).upstream).peer;
        place.write(Watched {
            request,
            row: ptr::from_ref(row),
            get: (*pc).get,
            free: (*pc).free,
            notify: (*pc).notify,
            #[cfg(upstream_tls)]
            set_session: (*pc).set_session,
            #[cfg(upstream_tls)]
            save_session: (*pc).save_session,
            data: (*pc).data,
            attempt: None,
            process_header: None,
            reinit_request: None,
        });
        (*pc).data = place.cast();
        (*pc).get = Some(get::<O>);
        (*pc).free = Some(free::<O>);
        if (*pc).notify.is_some() {
            (*pc).notify = Some(notify::<O>);
        }
        #[cfg(upstream_tls)]
        {
            (*pc).set_session = Some(set_session::<O>);
            (*pc).save_session = Some(save_session::<O>);
        }
    }
    Rc::OK.0
}

unsafe extern "C" fn get<O: Observer>(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: `data` is what `init` made; no reference to it is held while the method, which may run a script, runs.
    unsafe {
        let watched = data.cast::<Watched<O>>();
        let inner = (*watched).data;
        let rc = match (*watched).get {
            Some(get) => get(pc, inner),
            None => return Rc::ERROR.0,
        };
        if rc == Rc::OK.0 || rc == Rc::DONE.0 || rc == Rc::AGAIN.0 {
            let watched = &mut *watched;
            let name = (*pc).name.as_ref().map_or(&[][..], |name| bytes(*name));
            let target = Target { name, kept: (*pc).cached() != 0 };
            watched.attempt = guard(|| (*watched.row).observer.start(watched.request, &target));
            watched.expect_header(pc);
        }
        rc
    }
}

unsafe extern "C" fn free<O: Observer>(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    // SAFETY: as in `get`.
    unsafe {
        let watched = &mut *data.cast::<Watched<O>>();
        if let Some(attempt) = watched.attempt.take() {
            watched.forget_header();
            let outcome = watched.outcome(pc, state);
            guard(|| (*watched.row).observer.end(attempt, &outcome));
        }
        if let Some(free) = watched.free {
            free(pc, watched.data, state);
        }
    }
}

unsafe extern "C" fn notify<O: Observer>(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    kind: ngx_uint_t,
) {
    // SAFETY: as in `get`.
    unsafe {
        let watched = &*data.cast::<Watched<O>>();
        if let Some(notify) = watched.notify {
            notify(pc, watched.data, kind);
        }
    }
}

#[cfg(upstream_tls)]
unsafe extern "C" fn set_session<O: Observer>(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
) -> ngx_int_t {
    // SAFETY: as in `get`.
    unsafe {
        let watched = &*data.cast::<Watched<O>>();
        watched.set_session.map_or(Rc::OK.0, |set| set(pc, watched.data))
    }
}

#[cfg(upstream_tls)]
unsafe extern "C" fn save_session<O: Observer>(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    // SAFETY: as in `get`.
    unsafe {
        let watched = &*data.cast::<Watched<O>>();
        if let Some(save) = watched.save_session {
            save(pc, watched.data);
        }
    }
}

/// Stands in for the protocol's parser of answers, until the first bytes of one are there.
unsafe extern "C" fn process_header<O: Observer>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: `expect_header` put us here, only while the attempt's data are ours.
    unsafe {
        let u = (*r).upstream;
        let watched = &mut *(*u).peer.data.cast::<Watched<O>>();
        let Some(original) = watched.process_header.take() else { return Rc::ERROR.0 };
        (*u).process_header = Some(original);
        if let Some(attempt) = &mut watched.attempt {
            guard(|| (*watched.row).observer.first_byte(attempt));
        }
        original(r)
    }
}

/// Stands in for the protocol's preparation of another attempt, which sets its parser again.
unsafe extern "C" fn reinit_request<O: Observer>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: as in `process_header`.
    unsafe {
        let u = (*r).upstream;
        let watched = &mut *(*u).peer.data.cast::<Watched<O>>();
        let Some(original) = watched.reinit_request else { return Rc::ERROR.0 };
        let rc = original(r);
        if watched.process_header.is_some() {
            watched.process_header = (*u).process_header;
            (*u).process_header = Some(process_header::<O>);
        }
        rc
    }
}

impl<O: Observer> Watched<O> {
    fn upstream(&self) -> *mut ngx_http_upstream_t {
        // SAFETY: a plain field read of a live request.
        unsafe { (*self.request.raw()).upstream }
    }

    /// Puts our functions in the way of the answer. Not if another module has wrapped us: they could not find us.
    fn expect_header(&mut self, pc: *mut ngx_peer_connection_t) {
        // SAFETY: plain field access of the request's live upstream and its attempt.
        unsafe {
            if !ptr::eq((*pc).data, ptr::from_mut(self).cast()) || self.process_header.is_some() {
                return;
            }
            let u = self.upstream();
            self.process_header = (*u).process_header;
            (*u).process_header = Some(process_header::<O>);
            self.reinit_request = (*u).reinit_request;
            (*u).reinit_request = Some(reinit_request::<O>);
        }
    }

    /// Takes them away again.
    fn forget_header(&mut self) {
        // SAFETY: as above.
        unsafe {
            let u = self.upstream();
            if let Some(original) = self.process_header.take() {
                (*u).process_header = Some(original);
            }
            if let Some(original) = self.reinit_request.take() {
                (*u).reinit_request = Some(original);
            }
        }
    }

    fn outcome(&self, pc: *mut ngx_peer_connection_t, state: ngx_uint_t) -> Outcome {
        let failed = state & ffi::NGX_PEER_FAILED as usize != 0;
        let mut outcome =
            Outcome { failed, next: state & ffi::NGX_PEER_NEXT as usize != 0, ..Outcome::default() };
        // SAFETY: plain field reads of the request's live upstream and its attempt's connection, if it still has one.
        unsafe {
            let u = self.upstream();
            let now = ptr::addr_of!(ffi::ngx_current_msec).read_volatile();
            outcome.total_time = ms(now.wrapping_sub((*u).start_time)).unwrap_or(0);
            if let Some(state) = (*u).state.as_ref() {
                outcome.status = state.status as u16;
                outcome.connect_time = ms(state.connect_time);
                outcome.header_time = ms(state.header_time);
                outcome.bytes_received = state.bytes_received as u64;
                outcome.bytes_sent = state.bytes_sent as u64;
            }
            if let Some(connection) = (*pc).connection.as_ref() {
                let (read, write) = (&*connection.read, &*connection.write);
                outcome.timed_out = read.timedout() != 0 || write.timedout() != 0;
                outcome.bytes_sent = connection.sent as u64;
            }
            let mut client_gone = (*(*self.request.raw()).connection).error() != 0;
            if let Some(pipe) = (*u).pipe.as_ref() {
                let whole = pipe.upstream_done() != 0 || pipe.upstream_eof() != 0 && pipe.length == -1;
                outcome.broke_off = !whole && (pipe.upstream_eof() != 0 || pipe.upstream_error() != 0);
                client_gone |= pipe.downstream_error() != 0;
            }
            let unbuffered = (*u).buffering() == 0 && (*u).header_sent() != 0;
            outcome.broke_off |= unbuffered && !client_gone && (*u).length > 0;
            let no_verdict = outcome.status == 0 && !outcome.next;
            outcome.abandoned = !failed && !outcome.broke_off && (client_gone || no_verdict);
        }
        outcome
    }
}

/// nginx's "not known" is the largest number there is.
fn ms(time: usize) -> Option<u32> {
    if time == usize::MAX {
        return None;
    }
    Some(u32::try_from(time).unwrap_or(u32::MAX))
}
