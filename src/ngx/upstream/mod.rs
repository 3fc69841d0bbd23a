//! Upstreams: the choice of a peer by a script, what the stock balancers know, and watching either.

use core::ptr::{self, NonNull};

use ::ngx::ffi::{self, ngx_http_upstream_srv_conf_t};

use super::conf::Cf;
use super::module;
use crate::conf::SrvConf;

mod address;
mod balancer;
mod exit;

pub use balancer::{Balancing, Refusal};
pub use exit::{install as install_exit_filter, PendingExit};

/// An `upstream {}` block, or the one that a `proxy_pass` to a fixed host implies. Lives as long as its configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Upstream(NonNull<ngx_http_upstream_srv_conf_t>);

impl Upstream {
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
