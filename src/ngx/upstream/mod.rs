//! Upstreams: the choice of a peer by a script, what the stock balancers know, and watching either.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use ::ngx::ffi::{self, ngx_http_upstream_srv_conf_t};

use super::conf::Cf;
use super::module;
use super::request::Request;
use super::text::bytes;
use crate::conf::SrvConf;

mod address;
mod attempt;
mod balancer;
#[cfg(nginx_keeps_by_default)]
mod default_keepalive;
mod exit;
mod keepalive;
mod key;
mod method;
mod own_address;
pub(super) mod park;
mod peers;
mod roster;
#[cfg(all(upstream_tls, ngx_feature = "ssl"))]
mod sessions;

pub use attempt::{Balancing, Refusal};
pub use balancer::BalancerConf;
pub use exit::{install as install_exit_filter, PendingExit};
pub use own_address::OwnAddress;
pub use park::{Released, Ticket};
pub use peers::{Known, PeerError, PeerId, Whose};
pub use roster::{Listed, Roster};

/// An `upstream {}` block, or the one that a `proxy_pass` to a fixed host implies. Lives as long as its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream(NonNull<ngx_http_upstream_srv_conf_t>);

impl Upstream {
    /// # Safety
    /// `us` must be null or of a live configuration that outlives the result.
    pub(super) unsafe fn from_raw(us: *mut ngx_http_upstream_srv_conf_t) -> Option<Upstream> {
        NonNull::new(us).map(Upstream)
    }

    fn raw(self) -> *mut ngx_http_upstream_srv_conf_t {
        self.0.as_ptr()
    }

    /// Our configuration of the block; implied upstreams have none.
    pub fn conf(&self) -> Option<&SrvConf> {
        // SAFETY: `srv_conf` of a block has a slot for each module, ours filled by `create_srv_conf`.
        unsafe {
            let slots = NonNull::new((*self.raw()).srv_conf)?;
            (*slots.as_ptr().add(module::ctx_index())).cast::<SrvConf>().as_ref()
        }
    }

    /// Its name: what stands behind `upstream`, or the host that implies it.
    pub fn name(&self) -> &[u8] {
        // SAFETY: the name lives in the configuration's pool.
        unsafe { bytes((*self.raw()).host) }
    }

    /// The port that belongs to its name; 0 when there is none.
    pub fn port(&self) -> u16 {
        // SAFETY: a plain field read.
        unsafe { (*self.raw()).port }
    }
}

/// All upstreams of one configuration.
#[derive(Clone, Copy)]
pub struct Upstreams(NonNull<ffi::ngx_http_upstream_main_conf_t>);

impl Upstreams {
    /// # Safety
    /// `slots` must be the main configurations of a live `http {}`, or null.
    unsafe fn new(slots: *mut *mut c_void) -> Option<Upstreams> {
        // SAFETY: the upstream module has a slot.
        unsafe {
            let index = (*ptr::addr_of!(ffi::ngx_http_upstream_module)).ctx_index;
            NonNull::new((*NonNull::new(slots)?.as_ptr().add(index)).cast()).map(Upstreams)
        }
    }

    /// Those that serve `request`.
    pub fn of(request: &Request) -> Option<Upstreams> {
        // SAFETY: a live request has its configuration.
        unsafe { Upstreams::new((*request.raw()).main_conf) }
    }

    /// Those of the configuration that this process runs; none while the first one is read.
    pub fn running() -> Option<Upstreams> {
        // SAFETY: the running cycle is live; before there is one, nginx has a cycle without configurations.
        unsafe {
            let cycle = *ptr::addr_of!(ffi::ngx_cycle);
            let slots = NonNull::new((*cycle).conf_ctx)?;
            let http = *slots.as_ptr().add((*ptr::addr_of!(ffi::ngx_http_module)).index);
            Upstreams::new(http.cast::<ffi::ngx_http_conf_ctx_t>().as_ref()?.main_conf)
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Upstream> + '_ {
        // SAFETY: the array holds pointers to blocks that live as long as the configuration.
        let all = unsafe { (*self.0.as_ptr()).upstreams.as_slice::<*mut ngx_http_upstream_srv_conf_t>() };
        all.iter().filter_map(|us| NonNull::new(*us).map(Upstream))
    }

    /// The one called `name`, or `name:port`.
    pub fn find(&self, name: &[u8]) -> Option<Upstream> {
        if let Some(found) = self.iter().find(|u| u.name() == name) {
            return Some(found);
        }
        let colon = name.iter().position(|c| *c == b':')?;
        let port = core::str::from_utf8(&name[colon + 1..]).ok()?.parse::<u16>().ok().filter(|p| *p != 0)?;
        self.iter().find(|u| u.port() == port && u.name() == &name[..colon])
    }
}

impl Request {
    /// The upstream that answers the request; `None` when there is none, or its host is only known at run time.
    pub fn upstream(&self) -> Option<Upstream> {
        // SAFETY: plain field reads of a live request.
        unsafe { NonNull::new((*(*self.raw()).upstream.as_ref()?.conf).upstream).map(Upstream) }
    }
}

impl Cf {
    /// The `upstream {}` block being parsed.
    fn upstream(&self) -> Option<Upstream> {
        // SAFETY: inside `http {}` the context is a `ngx_http_conf_ctx_t`; the upstream module has a slot in it.
        unsafe {
            let ctx = (*self.raw()).ctx.cast::<ffi::ngx_http_conf_ctx_t>();
            let index = (*ptr::addr_of!(ffi::ngx_http_upstream_module)).ctx_index;
            NonNull::new((*(*ctx).srv_conf.add(index)).cast()).map(Upstream)
        }
    }
}
