//! Watches every attempt of every upstream, whatever balances it.
//!
//! The `peer.init` of each upstream is wrapped once the configuration is read. Per request that leaves our `get` and
//! `free` outermost, around those of the balancer and of `keepalive`, which see their own data and nothing of us.

use core::ffi::c_void;
use core::ptr;

use ::ngx::ffi::{
    self, ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_event_notify_peer_pt, ngx_http_request_t,
    ngx_http_upstream_init_peer_pt, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_peer_connection_t,
    ngx_uint_t,
};

use super::clock;
use super::conf::Cf;
use super::request::Request;
use super::text::bytes;
use super::upstream::{park, Upstream};
use crate::conf::SrvConf;
use crate::native::guard;
use crate::scale::collect::{self, Outcome};
use crate::scale::Shell;
use logic::autoscale::metrics::flight::{Flight, MOST_KEYS};
use logic::autoscale::metrics::series;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::KeyRef;

/// An upstream whose attempts are watched.
pub struct Observed {
    upstream: *mut ngx_http_upstream_srv_conf_t,
    init: ngx_http_upstream_init_peer_pt,
    /// Its name in the configuration, with the port that an upstream without a block has.
    pub name: Box<str>,
}

impl Observed {
    /// The upstream itself.
    pub fn upstream(&self) -> Option<Upstream> {
        // SAFETY: it belongs to the configuration that the list is kept by.
        unsafe { Upstream::from_raw(self.upstream) }
    }

    /// What its block says to us; `None` when it has none.
    pub fn conf(&self) -> Option<&crate::conf::SrvConf> {
        let upstream = self.upstream()?;
        // SAFETY: what a block says lives as long as the configuration that `self` belongs to.
        upstream.conf().map(|conf| unsafe { &*ptr::from_ref(conf) })
    }
}

impl Cf {
    /// Wraps every upstream of the configuration; the list must be kept as long as the configuration.
    pub fn observe_upstreams(&mut self) -> Vec<Observed> {
        let mut all = Vec::new();
        // SAFETY: in postconfiguration the upstream module's main configuration holds every upstream; those named by a
        // block or by an address of `proxy_pass` have been initialised.
        unsafe {
            let ctx = (*self.raw()).ctx.cast::<ffi::ngx_http_conf_ctx_t>();
            let main = *(*ctx).main_conf.add((*ptr::addr_of!(ffi::ngx_http_upstream_module)).ctx_index);
            let main = main.cast::<ffi::ngx_http_upstream_main_conf_t>();
            for upstream in (*main).upstreams.as_slice::<*mut ngx_http_upstream_srv_conf_t>() {
                let u = &mut **upstream;
                let Some(init) = u.peer.init else { continue };
                let mut name = String::from_utf8_lossy(bytes(u.host)).into_owned();
                if u.port != 0 {
                    name.push_str(&format!(":{}", u.port));
                }
                u.peer.init = Some(init_peer);
                all.push(Observed { upstream: *upstream, init: Some(init), name: name.into() });
            }
        }
        // so that a request finds its upstream by bisection
        all.sort_by_key(|o| o.upstream as usize);
        for (number, observed) in all.iter().enumerate() {
            if let Some(SrvConf { upstream, .. }) = observed.upstream().as_ref().and_then(Upstream::conf) {
                upstream.number.set(Some(number));
            }
        }
        all
    }
}

/// Our data in front of the balancer's, in the request's pool. Small: every proxied request has one.
struct Watch {
    data: *mut c_void,
    get: ngx_event_get_peer_pt,
    free: ngx_event_free_peer_pt,
    notify: ngx_event_notify_peer_pt,
    finalize: Option<unsafe extern "C" fn(*mut ngx_http_request_t, ngx_int_t)>,
    #[cfg(upstream_tls)]
    set_session: ffi::ngx_event_set_peer_session_pt,
    #[cfg(upstream_tls)]
    save_session: ffi::ngx_event_save_peer_session_pt,
    request: Request,
    /// `None` until the balancer is asked for the first time.
    flight: Option<Flight<'static>>,
    /// The number of the upstream.
    upstream: u32,
    /// Which in the row of its peer the open try is; 0 where nobody learns of it.
    rank: u32,
    /// The pool's cleanup ends what is still open.
    is_guarded: bool,
}

unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request that has an upstream; what we leave in it lives in its pool.
    unsafe {
        let request = Request::new(r);
        let main = request.main_conf();
        let all = main.observed();
        let Ok(index) = all.binary_search_by_key(&(us as usize), |o| o.upstream as usize) else {
            return ffi::NGX_ERROR as ngx_int_t;
        };
        let mut index = index;
        if let Some(shell) = main.shell() {
            let resumed = park::resumed(request);
            // before the balancer looks: another worker may have changed a peer
            guard(|| {
                shell.sync();
                index = resumed.unwrap_or_else(|| shell.divert(request, index));
                shell.rouse(index);
            });
            if resumed.is_none() {
                if let Some(rc) = guard(|| park::arrive(shell, request, index)).flatten() {
                    return rc;
                }
            }
        }
        let chosen = &all[index];
        if chosen.upstream != us {
            (*(*r).upstream).upstream = chosen.upstream;
        }
        let rc = chosen.init.map_or(ffi::NGX_ERROR as ngx_int_t, |init| init(r, chosen.upstream));
        if rc != ffi::NGX_OK as ngx_int_t || main.shell().is_none() {
            return rc;
        }
        let watch = ffi::ngx_palloc((*r).pool, size_of::<Watch>()).cast::<Watch>();
        if watch.is_null() {
            return ffi::NGX_ERROR as ngx_int_t;
        }
        let finalize =
            (*(*r).upstream).finalize_request.filter(|f| *f as usize != finalize as *const () as usize);
        let peer = &mut (*(*r).upstream).peer;
        watch.write(Watch {
            data: peer.data,
            get: peer.get,
            free: peer.free,
            notify: peer.notify,
            finalize,
            #[cfg(upstream_tls)]
            set_session: peer.set_session,
            #[cfg(upstream_tls)]
            save_session: peer.save_session,
            request,
            flight: None,
            upstream: index as u32,
            rank: 0,
            is_guarded: false,
        });
        peer.data = watch.cast();
        peer.get = Some(get);
        peer.free = Some(free);
        peer.notify = peer.notify.map(|_| notify as unsafe extern "C" fn(_, _, _));
        (*(*r).upstream).finalize_request = Some(self::finalize);
        #[cfg(upstream_tls)]
        {
            peer.set_session = peer.set_session.map(|_| set_session as unsafe extern "C" fn(_, _) -> _);
            peer.save_session = peer.save_session.map(|_| save_session as unsafe extern "C" fn(_, _));
        }
        rc
    }
}

/// The request counts from here on: whoever asks for a peer gives it back, or the pool's cleanup sees to it.
fn start(shell: &Shell, request: Request, upstream: u32) -> Flight<'static> {
    let labels = if request.loc_conf().keys.is_empty() { &[][..] } else { labels(shell, request) };
    collect::start(shell, upstream as usize, labels)
}

/// The request's labels, in its pool: they live as long as the flight, which is in the same pool.
#[cold]
fn labels(shell: &Shell, request: Request) -> &'static [KeyRef] {
    let mut labels = [KeyRef::NONE; MOST_KEYS];
    let count = collect::label(shell, request, &mut labels);
    // SAFETY: the pool is that of a live request; the memory is written before it is lent.
    unsafe {
        let kept = ffi::ngx_palloc((*request.raw()).pool, size_of_val(&labels)).cast::<[KeyRef; MOST_KEYS]>();
        if kept.is_null() {
            return &[];
        }
        kept.write(labels);
        &(&*kept)[..count]
    }
}

unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: `data` is the `Watch` that `init_peer` made; the connection belongs to the same request. No reference is
    // held while the balancer, which may be a script that asks for this very state, runs.
    unsafe {
        let watch = data.cast::<Watch>();
        let shell = (*watch).request.main_conf().shell();
        if let (Some(shell), true) = (shell, (*watch).flight.is_none()) {
            let (request, upstream) = ((*watch).request, (*watch).upstream);
            (*watch).flight = guard(|| start(shell, request, upstream));
        }
        let (balancer, inner) = ((*watch).get, (*watch).data);
        let ask = || balancer.map_or(ffi::NGX_ERROR as ngx_int_t, |get| get(pc, inner));
        let mut rc = ask();
        while rc == ffi::NGX_BUSY as ngx_int_t {
            let upstream = (*watch).upstream as usize;
            match shell.and_then(|shell| guard(|| shell.relieve(upstream))) {
                Some(true) => rc = ask(),
                _ => break,
            }
        }
        let (Some(shell), Some(flight)) = (shell, (*watch).flight.as_mut()) else { return rc };
        let chosen = rc == ffi::NGX_OK as ngx_int_t || rc == ffi::NGX_DONE as ngx_int_t;
        if chosen && !(*pc).name.is_null() && !(*pc).sockaddr.is_null() {
            let upstream = (*watch).upstream as usize;
            let rank = guard(|| {
                collect::attempt(shell, flight, bytes(*(*pc).name));
                shell.begun(upstream, flight)
            });
            (*watch).rank = rank.unwrap_or(0);
        } else {
            // nobody was chosen, so nobody is given back
            end_with_pool(watch, shell);
        }
        rc
    }
}

unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    // SAFETY: as in `get`.
    unsafe {
        let watch = data.cast::<Watch>();
        let shell = (*watch).request.main_conf().shell();
        let mut is_given_back = false;
        if let (Some(shell), Some(flight)) = (shell, (*watch).flight.as_mut()) {
            let request = (*watch).request;
            let (upstream, rank) = ((*watch).upstream as usize, (*watch).rank);
            guard(|| {
                let (outcome, now) = (outcome(request, pc, state), clock::monotonic());
                is_given_back = outcome.is_given_back();
                shell.protect.learn(shell, flight, rank, Some(&outcome), now);
                collect::end(shell, upstream, flight, &outcome, now);
                if flight.is_ended() {
                    shell.request_ended(upstream);
                }
            });
            if !flight.is_ended() {
                // whether another try follows is not known yet
                end_with_pool(watch, shell);
            }
        }
        if let Some(free) = (*watch).free {
            free(pc, (*watch).data, state);
        }
        if let Some(shell) = shell {
            // now that the balancer has counted it, too
            guard(|| shell.protect.freed(shell, (*watch).upstream as usize));
        }
        // what is given back costs no try, and the budget neither
        if let (Some(shell), true) = (shell, state != 0 && (*pc).tries > 0 && !is_given_back) {
            let upstream = (*watch).upstream as usize;
            if guard(|| shell.protect.may_retry(shell, upstream)) == Some(false) {
                // nginx answers with what it has
                (*pc).tries = 0;
            }
        }
    }
}

/// Sees to it that the request ends with its pool at the latest. What goes well never needs it.
#[cold]
unsafe fn end_with_pool(watch: *mut Watch, shell: &Shell) {
    // SAFETY: the caller's `Watch` lives in the pool of its request.
    unsafe {
        let watch = &mut *watch;
        if watch.is_guarded {
            return;
        }
        let cleanup = ffi::ngx_pool_cleanup_add((*watch.request.raw()).pool, 0);
        if let Some(cleanup) = cleanup.as_mut() {
            cleanup.handler = Some(close);
            cleanup.data = ptr::from_mut(watch).cast();
            watch.is_guarded = true;
        } else if let Some(flight) = watch.flight.as_mut() {
            // out of memory: it ends now, whatever comes
            guard(|| collect::close(shell, flight, watch.request.status()));
        }
    }
}

/// The request's pool goes: whatever is still open ends here.
unsafe extern "C" fn close(data: *mut c_void) {
    // SAFETY: `data` is the `Watch` in the pool, and the request's structure outlives its pool's cleanups.
    let watch = unsafe { &mut *data.cast::<Watch>() };
    guard(|| watch.close(watch.request.status()));
}

/// nginx gives up the upstream, and may keep the request for long: another place answers it, or it was a subrequest. A try that is open
/// is given back right after this, which ends it.
unsafe extern "C" fn finalize(r: *mut ngx_http_request_t, rc: ngx_int_t) {
    // SAFETY: nginx passes a live request with the upstream that `init_peer` has seen; the data is a `Watch` exactly when `get` is ours. No
    // reference is held while the module that the upstream belongs to runs.
    unsafe {
        let Some(watch) = watch_of(r) else { return };
        if let Some(finalize) = (*watch).finalize {
            finalize(r, rc);
        }
        if (*(*r).upstream).peer.sockaddr.is_null() {
            let status = usize::try_from(rc).ok().filter(|rc| *rc >= 100);
            guard(|| (*watch).close(status.unwrap_or((*watch).request.status())));
        }
    }
}

/// # Safety
/// The request must be live.
unsafe fn watch_of(r: *mut ngx_http_request_t) -> Option<*mut Watch> {
    // SAFETY: a request without upstream has a null one; `get` is ours exactly when the data is.
    unsafe {
        let peer = &(*r).upstream.as_ref()?.peer;
        let ours = peer.get.is_some_and(|g| g as usize == get as *const () as usize);
        ours.then_some(peer.data.cast::<Watch>())
    }
}

impl Watch {
    /// The request ends, unless it has.
    fn close(&mut self, status: usize) -> Option<()> {
        let shell = self.request.main_conf().shell()?;
        let flight = self.flight.as_mut()?;
        if !flight.is_ended() {
            collect::close(shell, flight, status);
            shell.protect.freed(shell, self.upstream as usize);
            shell.request_ended(self.upstream as usize);
        }
        Some(())
    }
}

/// What nginx knows about the try that is being given up.
unsafe fn outcome(request: Request, pc: *mut ngx_peer_connection_t, state: ngx_uint_t) -> Outcome {
    // SAFETY: the caller is inside `free`: the upstream and its state are those of the try.
    unsafe {
        let u = (*request.raw()).upstream;
        let s = (*u).state.as_ref();
        let c = (*pc).connection.as_ref();
        let mut client_gone = (*(*request.raw()).connection).error() != 0;
        let mut broke_off = false;
        if let Some(pipe) = (*u).pipe.as_ref() {
            let whole = pipe.upstream_done() != 0 || pipe.upstream_eof() != 0 && pipe.length == -1;
            broke_off = !whole && (pipe.upstream_eof() != 0 || pipe.upstream_error() != 0);
            client_gone |= pipe.downstream_error() != 0;
        }
        // without buffering there is no pipe to ask: what is left of the announced length tells
        let unbuffered = (*u).buffering() == 0 && (*u).header_sent() != 0;
        broke_off |= unbuffered && !client_gone && (*u).length > 0;
        Outcome {
            status: s.map_or(0, |s| s.status as u16),
            connected: s.is_some_and(|s| s.connect_time != ffi::ngx_msec_t::MAX),
            failed: state & ffi::NGX_PEER_FAILED as ngx_uint_t != 0,
            timed_out: c.is_some_and(|c| (*c.read).timedout() != 0 || (*c.write).timedout() != 0),
            broke_off,
            client_gone,
            retried: state != 0,
            reused: (*pc).cached() != 0,
        }
    }
}

unsafe extern "C" fn notify(pc: *mut ngx_peer_connection_t, data: *mut c_void, kind: ngx_uint_t) {
    // SAFETY: as in `get`.
    unsafe {
        let watch = &*data.cast::<Watch>();
        if let Some(notify) = watch.notify {
            notify(pc, watch.data, kind);
        }
    }
}

#[cfg(upstream_tls)]
unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: as in `get`.
    unsafe {
        let watch = &*data.cast::<Watch>();
        watch.set_session.map_or(ffi::NGX_OK as ngx_int_t, |set| set(pc, watch.data))
    }
}

#[cfg(upstream_tls)]
unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    // SAFETY: as in `get`.
    unsafe {
        let watch = &*data.cast::<Watch>();
        if let Some(save) = watch.save_session {
            save(pc, watch.data);
        }
    }
}

/// The response header of `request` is on its way to the client: the first byte of its upstream's answer is here.
pub fn header_sent(request: Request) {
    // SAFETY: a request without upstream has a null one; the data is a `Watch` exactly when `get` is ours.
    unsafe {
        let Some(u) = (*request.raw()).upstream.as_mut() else { return };
        let ours = u.peer.get.is_some_and(|g| g as usize == get as *const () as usize);
        if !ours || u.peer.sockaddr.is_null() {
            return;
        }
        let Some(shell) = request.main_conf().shell() else { return };
        let watch = &mut *u.peer.data.cast::<Watch>();
        let Some(flight) = watch.flight.as_mut() else { return };
        let connect = u.state.as_ref().map(|s| s.connect_time).filter(|t| *t != ffi::ngx_msec_t::MAX);
        let connect = connect.filter(|_| u.peer.cached() == 0).map(|t| t as u32);
        let content_type = u.headers_in.content_type.as_ref().map_or(&[][..], |h| bytes(h.value));
        let stream = u.upgrade() != 0 || content_type.starts_with(b"text/event-stream");
        let now = clock::monotonic();
        collect::first_byte(shell, flight, connect, stream, now);
        if let Some(peer) = flight.peer() {
            shell.heed(watch.upstream as usize, peer, request, now);
        }
        if stream {
            shell.stream_began(watch.upstream as usize, flight);
            // it holds no place any more
            shell.protect.learn(shell, flight, watch.rank, None, now);
            shell.protect.freed(shell, watch.upstream as usize);
        }
    }
}

/// The upstream that `request` goes to, if its attempts are watched.
pub fn upstream_of(request: Request) -> Option<Ref<series::Upstream>> {
    let number = upstream_number(request)?;
    request.main_conf().shell()?.upstreams.get(number).copied()
}

/// Its number among the observed ones.
pub fn upstream_number(request: Request) -> Option<usize> {
    // SAFETY: as in `header_sent`.
    unsafe {
        let u = (*request.raw()).upstream.as_ref()?;
        let ours = u.peer.get.is_some_and(|g| g as usize == get as *const () as usize);
        ours.then(|| (*u.peer.data.cast::<Watch>()).upstream as usize)
    }
}
