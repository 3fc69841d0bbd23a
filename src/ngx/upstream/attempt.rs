//! What a balancer_by_lua script may do to the attempt that it chooses a peer for.

use core::cell::Cell;
use core::ptr::{self, NonNull};

use ::ngx::ffi::{self, ngx_http_upstream_conf_t, ngx_msec_t, ngx_str_t, ngx_uint_t};

use super::super::text::to_pool;
use super::address::Address;
use super::balancer::Peer;
use super::keepalive::Keep;

pub(super) struct Current(pub(super) Cell<*mut Peer>);

// SAFETY: a worker runs requests on one thread.
unsafe impl Sync for Current {}

/// The attempt whose script is running.
pub(super) static CURRENT: Current = Current(Cell::new(ptr::null_mut()));

/// Why the attempt did not take what the script gave it.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("no memory")]
    NoMemory,
    #[error("{0}")]
    Address(&'static str),
    #[error("failed to recreate the upstream request")]
    Recreate,
    #[error("no current peer set")]
    NoPeer,
    #[error("invalid addr {0}")]
    Local(String),
    #[error("no TLS settings: the location passes requests on without TLS")]
    NoTls,
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
        if host.is_empty() {
            peer.restore_tls_name();
        } else {
            peer.set_tls_name(&parsed, host)?;
        }
        peer.chosen = Some(parsed);
        // SAFETY: the pool is alive.
        peer.host = unsafe { to_pool(pool, host) }.ok_or(Refusal::NoMemory)?;
        Ok(())
    }

    /// Has the attempt's connection come from a pool, and go there afterwards; `requests` as in [`Keep`].
    pub fn enable_keepalive(&mut self, timeout: ngx_msec_t, requests: ngx_uint_t) -> Result<(), Refusal> {
        let peer = self.peer();
        if peer.chosen.is_none() {
            return Err(Refusal::NoPeer);
        }
        peer.keep = Some(Keep { timeout, requests });
        Ok(())
    }

    /// Connects from `address`, an IP address with or without a port, in this attempt and those that follow it.
    pub fn bind(&mut self, address: &[u8]) -> Result<(), Refusal> {
        let peer = self.peer();
        // SAFETY: the request and its pool are alive; nginx writes the address into memory that is ours.
        unsafe {
            let pool = (*peer.request.raw()).pool;
            let text = to_pool(pool, address).ok_or(Refusal::NoMemory)?;
            let local = ffi::ngx_pcalloc(pool, size_of::<ffi::ngx_addr_t>()).cast::<ffi::ngx_addr_t>();
            if local.is_null() {
                return Err(Refusal::NoMemory);
            }
            if ffi::ngx_parse_addr_port(pool, local, text.data, text.len) != ffi::NGX_OK as isize {
                return Err(Refusal::Local(String::from_utf8_lossy(address).into_owned()));
            }
            (*local).name = text;
            peer.local = local;
        }
        Ok(())
    }

    /// Whether this attempt, and those that follow it, use TLS.
    #[cfg(upstream_tls)]
    pub fn set_tls(&mut self, on: bool) -> Result<(), Refusal> {
        let u = self.peer().upstream();
        // SAFETY: the upstream is the live request's; nginx only reads the scheme.
        unsafe {
            if on && !has_tls(&*(*u).conf) {
                return Err(Refusal::NoTls);
            }
            (*u).set_ssl(u32::from(on));
            let scheme: &'static [u8] = if on { b"https://" } else { b"http://" };
            (*u).schema = ngx_str_t { len: scheme.len(), data: scheme.as_ptr().cast_mut() };
        }
        Ok(())
    }

    #[cfg(not(upstream_tls))]
    pub fn set_tls(&mut self, on: bool) -> Result<(), Refusal> {
        if on {
            Err(Refusal::NoTls)
        } else {
            Ok(())
        }
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

/// Whether a location has what a handshake wants. Newer nginx (1.26 for one) has a place for it in any case, and fills it
/// where TLS is used.
#[cfg(upstream_tls)]
fn has_tls(conf: &ngx_http_upstream_conf_t) -> bool {
    // SAFETY: null, or the location's settings, which live as long as its configuration.
    let Some(settings) = (unsafe { conf.ssl.as_ref() }) else { return false };
    #[cfg(ngx_feature = "ssl")]
    return !settings.ctx.is_null();
    #[cfg(not(ngx_feature = "ssl"))]
    {
        let _ = settings;
        true
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

    /// Takes back the name that a script has put in place of nginx's.
    pub(super) fn restore_tls_name(&mut self) {
        #[cfg(upstream_tls)]
        if let Some(name) = self.ssl_name.take() {
            // SAFETY: the request has an upstream as long as this state lives.
            unsafe { (*self.upstream()).ssl_name = name };
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
