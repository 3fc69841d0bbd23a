//! `autoscale_balance` as a load balancing method of nginx.
//!
//! Round robin makes the list of peers, so that everything a `server` line says holds; what chooses among them, and counts
//! what becomes of the choice, is here and takes no lock. Peers that were added while nginx runs are not on that list: they
//! have an address of ours, and the zone alone counts for them. The keepalive module wraps the method as it does any other.

use core::ffi::c_void;
use core::ptr;
use std::rc::Rc as Shared;

use ::ngx::ffi::{
    self, ngx_conf_t, ngx_http_request_t, ngx_http_upstream_rr_peer_data_t, ngx_http_upstream_srv_conf_t,
    ngx_int_t, ngx_peer_connection_t, ngx_uint_t,
};

use super::super::conf::{Cf, ConfError};
use super::super::request::{Rc, Request};
#[cfg(upstream_sid)]
use super::super::text::bytes;
use super::address::Address;
use super::key::Key;
use super::Upstream;
use crate::conf::SrvConf;
use crate::native::guard;
use crate::scale::balance::{Seated, Team, Tried};
use crate::scale::Shell;

/// Per request, in its pool: what nginx passes to the callbacks. Small, because a pool that is full costs another page.
struct Attempts {
    request: Request,
    team: Shared<Team>,
    tried: Tried,
    /// The number of the upstream.
    number: u32,
    /// How many attempts were left when the last one ended.
    left: u32,
    /// The peer of the attempt that is open.
    current: Option<u32>,
    /// The key of the session of a peer that is not on nginx's list.
    #[cfg(upstream_tls)]
    key: Option<&'static Key>,
}

impl Cf {
    /// Makes our rule the balancing method of the `upstream {}` being parsed.
    pub fn balance_by_rule(&mut self) -> Result<(), ConfError> {
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
            #[cfg(nginx_resolving_peers)]
            {
                (*us).flags |= ffi::NGX_HTTP_UPSTREAM_MODIFY as ngx_uint_t;
            }
        }
        Ok(())
    }
}

unsafe extern "C" fn init_upstream(cf: *mut ngx_conf_t, us: *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes its live parser and the block.
    unsafe {
        let rc = ffi::ngx_http_upstream_init_round_robin(cf, us);
        if rc == Rc::OK.0 {
            (*us).peer.init = Some(init);
            if let Some(SrvConf { upstream, .. }) = Upstream::from_raw(us).as_ref().and_then(Upstream::conf) {
                upstream.is_balanced.set(true);
            }
        }
        rc
    }
}

/// A request begins with this upstream.
unsafe extern "C" fn init(r: *mut ngx_http_request_t, us: *mut ngx_http_upstream_srv_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request that has an upstream, and the block.
    unsafe {
        let request = Request::new(r);
        let team = guard(|| {
            let upstream = Upstream::from_raw(us)?;
            let number = upstream.conf()?.upstream.number.get()?;
            Some((number as u32, request.main_conf().shell()?.team(number)?))
        });
        let Some((number, team)) = team.flatten() else {
            // a process without a part in the zone
            return ffi::ngx_http_upstream_init_round_robin_peer(r, us);
        };
        let cleanup = ffi::ngx_pool_cleanup_add((*r).pool, size_of::<Attempts>());
        let Some(cleanup) = cleanup.as_mut() else { return Rc::ERROR.0 };
        let place = cleanup.data.cast::<Attempts>();
        let pc = &raw mut (*(*r).upstream).peer;
        (*pc).tries = team.tries();
        place.write(Attempts {
            request,
            team,
            tried: Tried::default(),
            number,
            left: 0,
            current: None,
            #[cfg(upstream_tls)]
            key: None,
        });
        cleanup.handler = Some(drop_attempts);
        (*pc).data = place.cast();
        (*pc).get = Some(get);
        (*pc).free = Some(free);
        #[cfg(upstream_tls)]
        {
            (*pc).set_session = Some(set_session);
            (*pc).save_session = Some(save_session);
        }
    }
    Rc::OK.0
}

unsafe extern "C" fn drop_attempts(data: *mut c_void) {
    // SAFETY: what `init` wrote into the cleanup's own memory.
    unsafe { data.cast::<Attempts>().drop_in_place() };
}

impl Attempts {
    /// The peer for the next attempt.
    #[inline]
    fn choose(&mut self, pc: *mut ngx_peer_connection_t) -> Option<usize> {
        let request = self.request;
        let shell = request.main_conf().shell()?;
        // SAFETY: nginx's live attempt. One that failed on a kept connection says nothing of the peer: nginx gives it back.
        let is_given_back = unsafe { (*pc).tries } > self.left as ngx_uint_t;
        if let Some(last) = self.current.take().filter(|_| !is_given_back) {
            // whatever else became of it
            self.team.mark(last as usize, &mut self.tried);
        }
        let chosen = match self.hinted(pc, shell) {
            None => {
                let chosen = shell.choose(self.number as usize, &self.team, &self.tried);
                chosen.or_else(|| self.choose_again(shell))?
            }
            Some(hinted) => hinted,
        };
        self.current = Some(chosen as u32);
        Some(chosen)
    }

    /// Nobody is left.
    #[cold]
    #[inline(never)]
    fn choose_again(&self, shell: &Shell) -> Option<usize> {
        let number = self.number as usize;
        shell.forgive(number, &self.team).then(|| shell.choose(number, &self.team, &self.tried))?
    }

    /// The current peer has failed `max_fails` times.
    #[cold]
    fn has_failed(&self) {
        if let Some(shell) = self.request.main_conf().shell() {
            shell.forgive(self.number as usize, &self.team);
        }
        if !self.team.forgives() {
            self.request.log(super::super::log::Level::Warn, "upstream server temporarily disabled");
        }
    }

    fn upstream(&self) -> Option<Upstream> {
        self.request.main_conf().observed().get(self.number as usize)?.upstream()
    }

    /// Nobody was chosen: the log names the upstream.
    #[cold]
    fn name(&self, pc: *mut ngx_peer_connection_t) {
        if let Some(upstream) = self.upstream() {
            // SAFETY: nginx's live attempt; the block outlives it.
            unsafe { (*pc).name = &raw mut (*upstream.raw()).host };
        }
    }

    /// The peer that the client was with before, where nginx's `sticky` asks for it and it can be had.
    #[cfg(upstream_sid)]
    #[inline]
    fn hinted(&self, pc: *mut ngx_peer_connection_t, shell: &Shell) -> Option<usize> {
        // SAFETY: nginx's live attempt; the hint is null or lives as long as the request.
        let hint = unsafe { bytes(*(*pc).hint.as_ref()?) };
        let is_hinted = |i: &usize| match self.team.seated(*i) {
            Some(Seated::Listed(peer)) => peer.sid() == hint,
            _ => false,
        };
        let found = (0..self.team.seats().len()).find(is_hinted)?;
        shell.suits(self.number as usize, &self.team, &self.tried, found).then_some(found)
    }

    #[cfg(not(upstream_sid))]
    #[inline]
    fn hinted(&self, _: *mut ngx_peer_connection_t, _: &Shell) -> Option<usize> {
        None
    }
}

/// nginx wants a peer for an attempt.
unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: `data` is what `init` made, the connection is that of the same request.
    unsafe {
        let attempts = &mut *data.cast::<Attempts>();
        (*pc).set_cached(0);
        (*pc).connection = ptr::null_mut();
        let Some(chosen) = guard(|| attempts.choose(pc)).flatten() else {
            guard(|| attempts.name(pc));
            return Rc::BUSY.0;
        };
        let address = match attempts.team.seated(chosen) {
            Some(Seated::Listed(peer)) => {
                peer.begin();
                #[cfg(upstream_sid)]
                {
                    (*pc).sid = &raw mut (*peer.as_ptr()).sid;
                }
                peer.address()
            }
            Some(Seated::Added(endpoint)) => endpoint.address(),
            None => return Rc::ERROR.0,
        };
        #[cfg(upstream_tls)]
        {
            attempts.key = None;
        }
        ((*pc).sockaddr, (*pc).socklen, (*pc).name) = address;
    }
    Rc::OK.0
}

/// The attempt is over.
unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    // SAFETY: as in `get`.
    unsafe {
        let attempts = &mut *data.cast::<Attempts>();
        let team = &*attempts.team;
        // who is alone has nobody that takes over, and is not spared
        let is_single = team.is_single();
        let current = attempts.current.map(|i| i as usize);
        if let Some(Seated::Listed(peer)) = current.and_then(|i| team.seated(i)) {
            let failed = state & ffi::NGX_PEER_FAILED as ngx_uint_t != 0;
            if failed && !is_single {
                if peer.fail() {
                    guard(|| attempts.has_failed());
                }
            } else {
                let recovered = peer.end();
                let shell = attempts.request.main_conf().shell();
                if let (true, Some(shell), Some(i)) = (recovered, shell, current) {
                    guard(|| team.rise(i, &shell.zone));
                }
            }
            if is_single {
                peer.forgive();
            }
        }
        (*pc).tries = if is_single { 0 } else { (*pc).tries.saturating_sub(1) };
        attempts.left = u32::try_from((*pc).tries).unwrap_or(u32::MAX);
    }
}

#[cfg(upstream_tls)]
unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: `data` is what `init` made; round robin gets what it wants, and keeps nothing of it.
    unsafe {
        let attempts = &mut *data.cast::<Attempts>();
        match guard(|| attempts.listed()) {
            Some(Some(mut listed)) => {
                ffi::ngx_http_upstream_set_round_robin_peer_session(pc, (&raw mut listed).cast())
            }
            Some(None) => guard(|| attempts.offer_session(pc)).unwrap_or(Rc::ERROR.0),
            None => Rc::ERROR.0,
        }
    }
}

#[cfg(upstream_tls)]
unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    // SAFETY: as in `set_session`.
    unsafe {
        let attempts = &mut *data.cast::<Attempts>();
        guard(|| match attempts.listed() {
            Some(mut listed) => {
                ffi::ngx_http_upstream_save_round_robin_peer_session(pc, (&raw mut listed).cast());
            }
            None => attempts.remember_session(pc),
        });
    }
}

/// Sessions with peers that are not on nginx's list are kept by the worker.
#[cfg(upstream_tls)]
impl Attempts {
    /// What round robin's functions for TLS sessions want, where the current peer is on nginx's list.
    fn listed(&self) -> Option<ngx_http_upstream_rr_peer_data_t> {
        let Seated::Listed(peer) = self.team.seated(self.current? as usize)? else { return None };
        let upstream = self.upstream()?;
        // SAFETY: plain data; the block lives as long as its configuration, and its peers are round robin's.
        unsafe {
            let mut listed: ngx_http_upstream_rr_peer_data_t = core::mem::zeroed();
            listed.peers = (*upstream.raw()).peer.data.cast();
            listed.current = peer.as_ptr();
            Some(listed)
        }
    }

    /// In the request's pool, which lives as long as the attempts.
    #[cold]
    fn keep(&self, key: Key) -> Option<&'static Key> {
        // SAFETY: the pool is that of a live request; the memory is written before it is lent.
        unsafe {
            let kept = ffi::ngx_palloc((*self.request.raw()).pool, size_of::<Key>()).cast::<Key>();
            if kept.is_null() {
                return None;
            }
            kept.write(key);
            Some(&*kept)
        }
    }

    #[cold]
    fn offer_session(&mut self, pc: *mut ngx_peer_connection_t) -> ngx_int_t {
        // SAFETY: nginx's live attempt at a peer whose address the team keeps.
        unsafe {
            let address = Address { sockaddr: (*pc).sockaddr, socklen: (*pc).socklen, name: (*pc).name };
            self.key = Key::new(self.request, &address, (*pc).local, &[]).and_then(|key| self.keep(key));
            #[cfg(ngx_feature = "ssl")]
            if let (Some(conf), Some(key)) = (self.upstream().as_ref().and_then(Upstream::conf), self.key) {
                return conf.balancing.sessions.offer(key, (*pc).connection);
            }
        }
        Rc::OK.0
    }

    #[cold]
    fn remember_session(&self, pc: *mut ngx_peer_connection_t) {
        #[cfg(ngx_feature = "ssl")]
        if let (Some(conf), Some(key)) = (self.upstream().as_ref().and_then(Upstream::conf), self.key) {
            // SAFETY: as in `offer_session`.
            unsafe { conf.balancing.sessions.remember(key, (*pc).connection) };
        }
        #[cfg(not(ngx_feature = "ssl"))]
        let _ = pc;
    }
}
