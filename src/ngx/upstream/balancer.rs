//! balancer_by_lua: a load balancing method of nginx whose choice a script makes.
//!
//! The method is round robin until the script names a peer: then nginx connects there, and round robin, which is only
//! set up when it is needed, learns nothing of the attempt. The keepalive module wraps the method as it does any other.

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use ::ngx::ffi::{
    self, ngx_conf_t, ngx_http_request_t, ngx_http_upstream_conf_t, ngx_http_upstream_srv_conf_t,
    ngx_http_upstream_t, ngx_int_t, ngx_peer_connection_t, ngx_str_t, ngx_uint_t,
};

use super::super::conf::{Cf, ConfError};
use super::super::request::{Rc, Request};
use super::super::text::to_pool;
use super::address::Address;
use super::exit::exit_with;
use super::Upstream;
use crate::native::guard;
use crate::phase::balancer::{self, Choice};

/// Per request, in its pool: what nginx passes to the callbacks.
struct Peer {
    request: Request,
    upstream: Upstream,
    /// What the script chose for this attempt.
    chosen: Option<Address>,
    /// Attempts that the script asked for beyond those that are left.
    more_tries: usize,
    attempts: usize,
    /// How the last attempt ended, as nginx's flags; 0 before the first.
    last_state: ngx_uint_t,
    /// The request has an upstream configuration of its own.
    own_conf: bool,
    /// The TLS name that nginx would use, if the script has put another in its place.
    ssl_name: Option<ngx_str_t>,
    /// The request's round robin state, once an attempt needed it.
    fallback: Option<Method>,
}

/// The callbacks of a balancing method, and their data.
#[derive(Clone, Copy)]
struct Method {
    get: ffi::ngx_event_get_peer_pt,
    free: ffi::ngx_event_free_peer_pt,
    data: *mut c_void,
    #[cfg(upstream_tls)]
    set_session: ffi::ngx_event_set_peer_session_pt,
    #[cfg(upstream_tls)]
    save_session: ffi::ngx_event_save_peer_session_pt,
}

impl Cf {
    /// Makes the script of the `upstream {}` being parsed its balancing method.
    pub fn balance_by_script(&mut self) -> Result<(), ConfError> {
        let upstream = self.upstream().ok_or("no upstream here")?;
        // SAFETY: the block is being configured on this thread.
        unsafe {
            let us = upstream.raw();
            if (*us).peer.init_upstream.is_some() {
                self.warn("load balancing method redefined");
            }
            (*us).peer.init_upstream = Some(init_upstream);
            (*us).flags = (ffi::NGX_HTTP_UPSTREAM_CREATE
                | ffi::NGX_HTTP_UPSTREAM_WEIGHT
                | ffi::NGX_HTTP_UPSTREAM_MAX_CONNS
                | ffi::NGX_HTTP_UPSTREAM_MAX_FAILS
                | ffi::NGX_HTTP_UPSTREAM_FAIL_TIMEOUT
                | ffi::NGX_HTTP_UPSTREAM_DOWN
                | ffi::NGX_HTTP_UPSTREAM_BACKUP) as ngx_uint_t;
        }
        Ok(())
    }
}

unsafe extern "C" fn init_upstream(cf: *mut ngx_conf_t, us: *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes its live parser and the block.
    unsafe {
        if ffi::ngx_http_upstream_init_round_robin(cf, us) != ffi::NGX_OK as ngx_int_t {
            return Rc::ERROR.0;
        }
        (*us).peer.init = Some(init);
    }
    Rc::OK.0
}

/// A request begins with this upstream.
unsafe extern "C" fn init(r: *mut ngx_http_request_t, us: *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request that has an upstream, and the block, whose data are round robin's peers.
    unsafe {
        let place = ffi::ngx_palloc((*r).pool, size_of::<Peer>()).cast::<Peer>();
        if place.is_null() {
            return Rc::ERROR.0;
        }
        place.write(Peer {
            request: Request::new(r),
            upstream: Upstream(NonNull::new_unchecked(us)),
            chosen: None,
            more_tries: 0,
            attempts: 0,
            last_state: 0,
            own_conf: false,
            ssl_name: None,
            fallback: None,
        });
        let pc = &raw mut (*(*r).upstream).peer;
        (*pc).data = place.cast();
        (*pc).get = Some(get);
        (*pc).free = Some(free);
        #[cfg(upstream_tls)]
        {
            (*pc).set_session = Some(set_session);
            (*pc).save_session = Some(save_session);
        }
        let peers = (*us).peer.data.cast::<ffi::ngx_http_upstream_rr_peers_t>();
        let backup = (*peers).next;
        (*pc).tries = (*peers).tries + if backup.is_null() { 0 } else { (*backup).tries };
    }
    Rc::OK.0
}

/// nginx wants a peer for an attempt.
unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    let peer = data.cast::<Peer>();
    // SAFETY: `data` is what `init` made; the script reaches it through `CURRENT` alone, never while we hold a
    // reference.
    let request = unsafe {
        (*peer).begin_attempt();
        (*peer).request
    };
    let before = CURRENT.0.replace(peer);
    // SAFETY: as above.
    let choice = guard(|| balancer::choose(request, unsafe { &(*peer).upstream }));
    CURRENT.0.set(before);
    // SAFETY: the script is done.
    let peer = unsafe { &mut *peer };
    match choice {
        Some(Choice::Made) => peer.connect(pc),
        Some(Choice::Exit(Rc::DECLINED)) => {
            // SAFETY: nginx's live attempt. An attempt without a peer counts too, else nginx would ask for ever.
            unsafe { (*pc).tries = (*pc).tries.saturating_sub(1) };
            Rc::DECLINED.0
        }
        Some(Choice::Exit(Rc::BUSY)) => Rc::BUSY.0,
        Some(Choice::Exit(code)) => {
            if let Some(ctx) =
                request.ctx_if_any().filter(|_| code.0 >= 300 && code != Rc::INTERNAL_SERVER_ERROR)
            {
                exit_with(request, ctx, code);
            }
            Rc::ERROR.0
        }
        Some(Choice::Failed) | None => Rc::ERROR.0,
    }
}

/// The attempt is over.
unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    // SAFETY: `data` is what `init` made; round robin gets its own data.
    unsafe {
        let peer = &mut *data.cast::<Peer>();
        peer.last_state = state;
        match peer.fallback {
            Some(Method { free: Some(free), data, .. }) if peer.chosen.is_none() => free(pc, data, state),
            _ => (*pc).tries = (*pc).tries.saturating_sub(1),
        }
    }
}

#[cfg(upstream_tls)]
unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: `data` is what `init` made; round robin gets its own data.
    unsafe {
        match (*data.cast::<Peer>()).round_robin() {
            Some(Method { set_session: Some(set), data, .. }) => set(pc, data),
            _ => Rc::OK.0,
        }
    }
}

#[cfg(upstream_tls)]
unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    // SAFETY: as in `set_session`.
    unsafe {
        if let Some(Method { save_session: Some(save), data, .. }) = (*data.cast::<Peer>()).round_robin() {
            save(pc, data);
        }
    }
}

impl Peer {
    fn begin_attempt(&mut self) {
        self.chosen = None;
        self.more_tries = 0;
        self.attempts += 1;
        #[cfg(upstream_tls)]
        if let Some(name) = self.ssl_name.take() {
            // SAFETY: the request has an upstream as long as this state lives.
            unsafe { (*self.upstream()).ssl_name = name };
        }
    }

    fn upstream(&self) -> *mut ngx_http_upstream_t {
        // SAFETY: a plain field read of a live request.
        unsafe { (*self.request.raw()).upstream }
    }

    /// Round robin's state, if it has the present attempt.
    #[cfg(upstream_tls)]
    fn round_robin(&self) -> Option<Method> {
        self.fallback.filter(|_| self.chosen.is_none())
    }

    /// Tells nginx where to connect.
    fn connect(&mut self, pc: *mut ngx_peer_connection_t) -> ngx_int_t {
        let Some(address) = self.chosen else { return self.connect_by_round_robin(pc) };
        // SAFETY: nginx's live attempt; the address lives as long as the request.
        unsafe {
            (*pc).sockaddr = address.sockaddr;
            (*pc).socklen = address.socklen;
            (*pc).name = address.name;
            (*pc).set_cached(0);
            (*pc).connection = ptr::null_mut();
            (*pc).tries += self.more_tries;
        }
        Rc::OK.0
    }

    /// The script named no peer.
    #[cold]
    fn connect_by_round_robin(&mut self, pc: *mut ngx_peer_connection_t) -> ngx_int_t {
        if self.fallback.is_none() {
            // SAFETY: round robin writes its callbacks into the request's attempt, which gets ours back.
            unsafe {
                let before = *pc;
                (*pc).data = ptr::null_mut();
                let rc =
                    ffi::ngx_http_upstream_init_round_robin_peer(self.request.raw(), self.upstream.raw());
                let method = Method {
                    get: (*pc).get,
                    free: (*pc).free,
                    data: (*pc).data,
                    #[cfg(upstream_tls)]
                    set_session: (*pc).set_session,
                    #[cfg(upstream_tls)]
                    save_session: (*pc).save_session,
                };
                *pc = before;
                if rc != Rc::OK.0 {
                    return rc;
                }
                self.fallback = Some(method);
            }
        }
        match self.fallback {
            // SAFETY: round robin's own callback and data.
            Some(Method { get: Some(get), data, .. }) => unsafe { get(pc, data) },
            _ => Rc::ERROR.0,
        }
    }
}

struct Current(Cell<*mut Peer>);

// SAFETY: a worker runs requests on one thread.
unsafe impl Sync for Current {}

/// The attempt whose script is running.
static CURRENT: Current = Current(Cell::new(ptr::null_mut()));

/// Why the attempt did not take what the script gave it.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub enum Refusal {
    #[error("no memory")]
    NoMemory,
    #[error("{0}")]
    Address(&'static str),
    #[error("failed to recreate the upstream request")]
    Recreate,
}

/// The attempt for which a script is choosing a peer.
pub struct Balancing(NonNull<Peer>);

impl Balancing {
    /// The attempt whose script is running; `None` outside of balancer_by_lua.
    pub fn current() -> Option<Balancing> {
        NonNull::new(CURRENT.0.get()).map(Balancing)
    }

    fn peer(&mut self) -> &mut Peer {
        // SAFETY: while the script runs, the state is reached through its one handle.
        unsafe { self.0.as_mut() }
    }

    /// Connects to `address`; `host` is the name for TLS.
    pub fn set_peer(&mut self, address: &[u8], port: u16, host: &[u8]) -> Result<(), Refusal> {
        let peer = self.peer();
        // SAFETY: the request and its pool are alive.
        let pool = unsafe { (*peer.request.raw()).pool };
        // SAFETY: as above.
        let parsed = unsafe { Address::parse(pool, address, port) }.map_err(Refusal::Address)?;
        if !host.is_empty() {
            peer.set_tls_name(&parsed, host)?;
        }
        peer.chosen = Some(parsed);
        Ok(())
    }

    /// Allows `count` attempts more after this one; true when `proxy_next_upstream_tries` allows fewer.
    pub fn set_more_tries(&mut self, count: usize) -> bool {
        let peer = self.peer();
        // SAFETY: plain field reads of the request's live upstream.
        let (limit, left) = unsafe {
            let u = peer.upstream();
            ((*(*u).conf).next_upstream_tries, (*u).peer.tries)
        };
        let total = peer.attempts + left - 1;
        let reduced = limit != 0 && total + count > limit;
        peer.more_tries = if reduced { limit.saturating_sub(total) } else { count };
        reduced
    }

    /// How the attempt before this one ended, as nginx's flags, and the status it had; `None` before the first.
    pub fn last_failure(&mut self) -> Option<(usize, usize)> {
        let peer = self.peer();
        if peer.last_state == 0 {
            return None;
        }
        // SAFETY: the array holds one state for each attempt, this one's last.
        let status = unsafe {
            match (*peer.request.raw()).upstream_states.as_ref() {
                Some(states) if states.nelts > 1 => {
                    let all = states.elts.cast::<ffi::ngx_http_upstream_state_t>();
                    (*all.add(states.nelts - 2)).status
                }
                _ => 0,
            }
        };
        Some((peer.last_state, status))
    }

    /// Sets the milliseconds for connecting, sending and reading; `None` leaves one as it is.
    pub fn set_timeouts(&mut self, timeouts: [Option<usize>; 3]) -> Result<(), Refusal> {
        let conf = self.peer().own_conf()?;
        let [connect, send, read] = timeouts;
        // SAFETY: the configuration is this request's alone.
        unsafe {
            (*conf).connect_timeout = connect.unwrap_or((*conf).connect_timeout);
            (*conf).send_timeout = send.unwrap_or((*conf).send_timeout);
            (*conf).read_timeout = read.unwrap_or((*conf).read_timeout);
        }
        Ok(())
    }

    /// Composes the request to the upstream anew, from the variables as they are now.
    pub fn recreate_request(&mut self) -> Result<(), Refusal> {
        let peer = self.peer();
        let r = peer.request.raw();
        // SAFETY: the request is alive and has an upstream; between attempts nginx reads nothing of the buffers.
        unsafe {
            let u = peer.upstream();
            let body = (*r).request_body.as_ref().map_or(ptr::null_mut(), |b| b.bufs);
            if let Some(first) = (*u).request_bufs.as_ref() {
                // the header composed before; what follows it is the body, which the new one is put in front of
                if !ptr::eq(first, body) {
                    (*u).request_bufs = first.next;
                }
            }
            match (*u).create_request.map(|create| create(r)) {
                Some(0) => Ok(()),
                _ => Err(Refusal::Recreate),
            }
        }
    }
}

impl Peer {
    /// The upstream configuration for this request alone: a copy, made on first use.
    fn own_conf(&mut self) -> Result<*mut ngx_http_upstream_conf_t, Refusal> {
        let u = self.upstream();
        // SAFETY: a copy of a plain structure into the request's pool, where the request's upstream may refer to it.
        unsafe {
            if !self.own_conf {
                let copy = ffi::ngx_palloc((*self.request.raw()).pool, size_of::<ngx_http_upstream_conf_t>());
                let copy = copy.cast::<ngx_http_upstream_conf_t>();
                if copy.is_null() {
                    return Err(Refusal::NoMemory);
                }
                ptr::copy_nonoverlapping((*u).conf, copy, 1);
                (*u).conf = copy;
                self.own_conf = true;
            }
            Ok((*u).conf)
        }
    }

    /// Makes `host` the name that nginx asks the peer for, and expects in its certificate.
    #[cfg(upstream_tls)]
    fn set_tls_name(&mut self, address: &Address, host: &[u8]) -> Result<(), Refusal> {
        let u = self.upstream();
        // SAFETY: the name is copied into the request's pool; the upstream is the live request's.
        unsafe {
            if (*u).ssl() == 0 {
                return Ok(());
            }
            address.keep_apart(host).map_err(Refusal::Address)?;
            let name = to_pool((*self.request.raw()).pool, host).ok_or(Refusal::NoMemory)?;
            let before = (*u).ssl_name;
            self.ssl_name.get_or_insert(before);
            (*u).ssl_name = name;
        }
        Ok(())
    }

    /// An nginx without TLS has no use for a name.
    #[cfg(not(upstream_tls))]
    fn set_tls_name(&mut self, _: &Address, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}
