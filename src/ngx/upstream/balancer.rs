//! balancer_by_lua: a load balancing method of nginx whose choice a script makes.
//!
//! The method is the one in force before, round robin as a rule, until the script names a peer: then nginx connects
//! there, and the other method, which is only set up when it is needed, learns nothing of the attempt. The keepalive
//! module wraps the method as it does any other; `enable_keepalive` of the script needs no such help.

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};

use ::ngx::ffi::{
    self, ngx_conf_t, ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_int_t,
    ngx_peer_connection_t, ngx_str_t, ngx_uint_t,
};

use super::super::conf::{Cf, ConfError};
use super::super::log::Level;
use super::super::request::{Rc, Request};
use super::super::text::bytes;
use super::address::Address;
use super::attempt::CURRENT;
use super::exit::exit_with;
use super::keepalive::{self, Idle, Keep};
use super::key::Key;
use super::Upstream;
use crate::native::guard;
use crate::phase::balancer::{self, Choice};

/// What an upstream with a script has beyond it.
#[derive(Default)]
pub struct BalancerConf {
    /// Connections that scripts keep.
    pub idle: Idle,
    #[cfg(all(upstream_tls, ngx_feature = "ssl"))]
    pub(super) sessions: super::sessions::Sessions,
    /// The block's method before the script became it; `None` is round robin.
    before: Cell<ffi::ngx_http_upstream_init_pt>,
    /// How that method begins a request.
    init_before: Cell<ffi::ngx_http_upstream_init_peer_pt>,
    /// How many attempts it may make: one for each address.
    tries: Cell<usize>,
    /// The block had no server when the script came: the first one is a placeholder.
    has_placeholder: Cell<bool>,
}

/// Per request, in its pool: what nginx passes to the callbacks.
pub(super) struct Peer {
    pub(super) request: Request,
    upstream: Upstream,
    /// What the script chose for this attempt.
    pub(super) chosen: Option<Address>,
    /// The name that it gave with the peer.
    pub(super) host: ngx_str_t,
    /// Whether the attempt's connection is to be kept.
    pub(super) keep: Option<Keep>,
    /// Where to connect from; null: nginx's choice.
    pub(super) local: *mut ffi::ngx_addr_t,
    /// Which connections, and which TLS sessions, serve the attempt.
    key: Option<Key>,
    /// Attempts that the script asked for beyond those that are left.
    pub(super) more_tries: usize,
    pub(super) attempts: usize,
    /// How the last attempt ended, as nginx's flags; 0 before the first.
    pub(super) last_state: ngx_uint_t,
    /// The request has an upstream configuration of its own.
    pub(super) own_conf: bool,
    /// The TLS name that nginx would use, if the script has put another in its place.
    pub(super) ssl_name: Option<ngx_str_t>,
    /// The request's state of the method before, once an attempt needed it.
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
    pub fn balance_by_script(&mut self, conf: &mut BalancerConf) -> Result<(), ConfError> {
        let upstream = self.upstream().ok_or("no upstream here")?;
        // SAFETY: the block is being configured on this thread.
        unsafe {
            let us = upstream.raw();
            if (*us).peer.init_upstream.is_some() {
                self.warn("load balancing method redefined");
            }
            conf.before.set((*us).peer.init_upstream);
            if (*(*us).servers).nelts == 0 {
                self.add_placeholder((*us).servers).ok_or("out of memory")?;
                conf.has_placeholder.set(true);
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

    /// Adds a server that nobody connects to: nginx takes no block without any.
    unsafe fn add_placeholder(&mut self, servers: *mut ffi::ngx_array_t) -> Option<()> {
        // SAFETY: the caller vouches for the array; nginx reads the address's text before it returns.
        unsafe {
            let mut url: ffi::ngx_url_t = core::mem::zeroed();
            let text = "0.0.0.1";
            url.url = ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() };
            url.default_port = 80;
            if ffi::ngx_parse_url((*self.raw()).pool, &raw mut url) != ffi::NGX_OK as ngx_int_t {
                return None;
            }
            let server = ffi::ngx_array_push(servers).cast::<ffi::ngx_http_upstream_server_t>();
            ptr::write_bytes(server.as_mut()?, 0, 1);
            (*server).name = url.url;
            (*server).addrs = url.addrs;
            (*server).naddrs = url.naddrs;
            (*server).weight = 1;
            (*server).max_fails = 1;
            (*server).fail_timeout = 10;
        }
        Some(())
    }
}

unsafe extern "C" fn init_upstream(cf: *mut ngx_conf_t, us: *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes its live parser and the block, which has our configuration.
    unsafe {
        let upstream = Upstream::from_raw(us);
        let Some(conf) = upstream.as_ref().and_then(Upstream::conf).map(|conf| &conf.balancing) else {
            return Rc::ERROR.0;
        };
        let servers = (*us).servers;
        if conf.has_placeholder.get() && (*servers).nelts > 1 {
            // the block has got servers of its own meanwhile
            let all = (*servers).elts.cast::<ffi::ngx_http_upstream_server_t>();
            ptr::copy(all.add(1), all, (*servers).nelts - 1);
            (*servers).nelts -= 1;
            conf.has_placeholder.set(false);
        }
        let before = conf.before.get().unwrap_or(ffi::ngx_http_upstream_init_round_robin);
        if before(cf, us) != ffi::NGX_OK as ngx_int_t {
            return Rc::ERROR.0;
        }
        // what another method keeps of its servers is its own business
        let all = (*servers).as_slice::<ffi::ngx_http_upstream_server_t>();
        conf.tries.set(all.iter().filter(|s| s.down == 0).map(|s| s.naddrs).sum());
        conf.init_before.set((*us).peer.init);
        (*us).peer.init = Some(init);
        #[cfg(nginx_keeps_by_default)]
        super::default_keepalive::turn_off(cf, us);
    }
    Rc::OK.0
}

/// A request begins with this upstream.
unsafe extern "C" fn init(r: *mut ngx_http_request_t, us: *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request that has an upstream, and the block.
    unsafe {
        let place = ffi::ngx_palloc((*r).pool, size_of::<Peer>()).cast::<Peer>();
        if place.is_null() {
            return Rc::ERROR.0;
        }
        place.write(Peer {
            request: Request::new(r),
            upstream: Upstream(NonNull::new_unchecked(us)),
            chosen: None,
            host: ngx_str_t::empty(),
            keep: None,
            local: ptr::null_mut(),
            key: None,
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
        let conf = (*place).conf().filter(|conf| conf.before.get().is_some());
        (*pc).tries = conf.map_or_else(|| round_robin_tries(us), |conf| conf.tries.get());
    }
    Rc::OK.0
}

/// How many attempts round robin would make now.
unsafe fn round_robin_tries(us: *mut ngx_http_upstream_srv_conf_t) -> usize {
    // SAFETY: the caller's block has round robin's peers for data.
    unsafe {
        let peers = (*us).peer.data.cast::<ffi::ngx_http_upstream_rr_peers_t>();
        let backup = (*peers).next;
        (*peers).tries + if backup.is_null() { 0 } else { (*backup).tries }
    }
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
        guard(|| peer.keep_connection(pc, state));
    }
}

#[cfg(upstream_tls)]
unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: `data` is what `init` made; the other method gets its own data.
    unsafe {
        let peer = &*data.cast::<Peer>();
        match peer.other() {
            Some(Method { set_session: Some(set), data, .. }) => set(pc, data),
            Some(_) => Rc::OK.0,
            None => guard(|| peer.offer_session((*pc).connection)).unwrap_or(Rc::ERROR.0),
        }
    }
}

#[cfg(upstream_tls)]
unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    // SAFETY: as in `set_session`.
    unsafe {
        let peer = &*data.cast::<Peer>();
        match peer.other() {
            Some(Method { save_session: Some(save), data, .. }) => save(pc, data),
            Some(_) => {}
            None => _ = guard(|| peer.remember_session((*pc).connection)),
        }
    }
}

impl Peer {
    fn begin_attempt(&mut self) {
        self.chosen = None;
        self.keep = None;
        self.key = None;
        self.more_tries = 0;
        self.attempts += 1;
        self.restore_tls_name();
    }

    pub(super) fn upstream(&self) -> *mut ngx_http_upstream_t {
        // SAFETY: a plain field read of a live request.
        unsafe { (*self.request.raw()).upstream }
    }

    fn conf(&self) -> Option<&BalancerConf> {
        self.upstream.conf().map(|conf| &conf.balancing)
    }

    /// The other method's state, if that has the present attempt.
    #[cfg(upstream_tls)]
    fn other(&self) -> Option<Method> {
        self.fallback.filter(|_| self.chosen.is_none())
    }

    /// Tells nginx where to connect.
    fn connect(&mut self, pc: *mut ngx_peer_connection_t) -> ngx_int_t {
        if !self.local.is_null() {
            // SAFETY: nginx's live attempt; the address lives as long as the request.
            unsafe { (*pc).local = self.local };
        }
        let Some(address) = self.chosen else { return self.connect_elsewhere(pc) };
        // SAFETY: as above.
        unsafe {
            (*pc).sockaddr = address.sockaddr;
            (*pc).socklen = address.socklen;
            (*pc).name = address.name;
            (*pc).set_cached(0);
            (*pc).connection = ptr::null_mut();
            (*pc).tries += self.more_tries;
            if self.keep.is_some() || self.wants_session() {
                self.key = Key::new(self.request, &address, (*pc).local, bytes(self.host));
            }
        }
        if self.keep.is_some() && self.take_connection(pc) {
            Rc::DONE.0
        } else {
            Rc::OK.0
        }
    }

    /// Whether the attempt begins with a handshake that a session may shorten.
    fn wants_session(&self) -> bool {
        #[cfg(upstream_tls)]
        // SAFETY: the request has an upstream as long as this state lives.
        unsafe {
            let u = self.upstream();
            (*u).ssl() != 0 && (*(*u).conf).ssl_session_reuse != 0
        }
        #[cfg(not(upstream_tls))]
        false
    }

    /// Takes a connection that was kept; whether there is one.
    fn take_connection(&self, pc: *mut ngx_peer_connection_t) -> bool {
        let (Some(conf), Some(key)) = (self.conf(), &self.key) else { return false };
        // SAFETY: nginx's live attempt; the key is of its request.
        unsafe {
            let leads = Some((bytes(*(*pc).name), key));
            let Some(found) = conf.idle.take(key, (*pc).log) else {
                keepalive::debug((*pc).log, "no free", None, leads);
                return false;
            };
            keepalive::debug((*pc).log, "reusing", Some(found.as_ptr() as usize), leads);
            (*pc).connection = found.as_ptr();
            (*pc).set_cached(1);
        }
        true
    }

    /// Keeps the connection of the attempt that ends with `state`, if the script wants that and it can be.
    fn keep_connection(&self, pc: *mut ngx_peer_connection_t, state: ngx_uint_t) {
        let Some(keep) = self.keep else { return };
        // SAFETY: nginx's live attempt; the key is of its request. What is kept, nginx must not find any more.
        unsafe {
            let connection = NonNull::new((*pc).connection);
            let fit = connection.filter(|c| keepalive::is_reusable(self.upstream(), *c, state, keep));
            let number = Some((*pc).connection as usize);
            match (self.conf(), &self.key, fit) {
                (Some(conf), Some(key), Some(c)) => {
                    conf.idle.make_room();
                    keepalive::debug((*pc).log, "saving", number, Some((bytes(*(*pc).name), key)));
                    (*pc).connection = ptr::null_mut();
                    conf.idle.keep(c, key, keep.timeout);
                }
                _ => keepalive::debug((*pc).log, "not saving", number, None),
            }
        }
    }

    #[cfg(upstream_tls)]
    fn offer_session(&self, c: *mut ffi::ngx_connection_t) -> ngx_int_t {
        #[cfg(ngx_feature = "ssl")]
        if let (Some(conf), Some(key)) = (self.conf(), &self.key) {
            // SAFETY: nginx asks for the session of a live connection, for the key's request.
            return unsafe { conf.sessions.offer(key, c) };
        }
        Rc::OK.0
    }

    #[cfg(upstream_tls)]
    fn remember_session(&self, c: *mut ffi::ngx_connection_t) {
        #[cfg(ngx_feature = "ssl")]
        if let (Some(conf), Some(key)) = (self.conf(), &self.key) {
            // SAFETY: as in `offer_session`.
            unsafe { conf.sessions.remember(key, c) };
        }
    }

    /// The script named no peer: the method before it is asked.
    #[cold]
    fn connect_elsewhere(&mut self, pc: *mut ngx_peer_connection_t) -> ngx_int_t {
        let Some(conf) = self.conf() else { return Rc::ERROR.0 };
        if conf.has_placeholder.get() {
            self.request.log(Level::Error, "lua balancer: no peer set");
            return Rc::ERROR.0;
        }
        if self.fallback.is_none() {
            let begin = conf.init_before.get().unwrap_or(ffi::ngx_http_upstream_init_round_robin_peer);
            // SAFETY: the method writes its callbacks into the request's attempt, which gets ours back.
            unsafe {
                let before = *pc;
                (*pc).data = ptr::null_mut();
                let rc = begin(self.request.raw(), self.upstream.raw());
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
            // SAFETY: the method's own callback and data.
            Some(Method { get: Some(get), data, .. }) => unsafe { get(pc, data) },
            _ => Rc::ERROR.0,
        }
    }
}
