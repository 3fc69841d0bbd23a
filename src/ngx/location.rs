//! The configuration that a script runs under, be there a request or not.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::time::Duration;

use ::ngx::ffi;

use super::module;
use super::request::Request;
use crate::conf::LocConf;

/// A location's configurations of all modules. They live as long as the cycle.
#[derive(Clone, Copy)]
pub struct Location(NonNull<*mut c_void>);

impl Request {
    /// The location that serves the request now.
    pub fn location(&self) -> Location {
        // SAFETY: a live request has its configurations.
        unsafe { Location(NonNull::new_unchecked((*self.raw()).loc_conf)) }
    }
}

impl Location {
    /// What `http {}` itself says, for scripts that no location runs.
    pub fn of_http() -> Option<Location> {
        // SAFETY: the running cycle has its configurations; one without `http {}` has null there.
        unsafe {
            let ctx = *(*ffi::ngx_cycle).conf_ctx.add((*ptr::addr_of!(ffi::ngx_http_module)).index);
            let ctx = ctx.cast::<ffi::ngx_http_conf_ctx_t>().as_ref()?;
            NonNull::new(ctx.loc_conf).map(Location)
        }
    }

    /// # Safety
    /// `slots` must be null, or a location's configurations that live as long as the result is used.
    pub(super) unsafe fn of_slots(slots: *mut *mut c_void) -> Option<Location> {
        NonNull::new(slots).map(Location)
    }

    /// `error_log`
    pub(super) fn error_log(&self) -> Option<NonNull<ffi::ngx_log_t>> {
        // SAFETY: a plain field read of the core module's configuration.
        NonNull::new(unsafe { (*self.core()).error_log })
    }

    pub fn conf(&self) -> &LocConf {
        // SAFETY: `create_loc_conf` filled our slot of each location.
        unsafe { &*(*self.0.as_ptr().add(module::ctx_index())).cast::<LocConf>() }
    }

    fn core(&self) -> *mut ffi::ngx_http_core_loc_conf_t {
        // SAFETY: the core module's configuration exists for each location.
        unsafe { *self.0.as_ptr().add((*ptr::addr_of!(ffi::ngx_http_core_module)).ctx_index) }.cast()
    }

    /// `tcp_nodelay`
    pub fn tcp_nodelay(&self) -> bool {
        // SAFETY: a plain field read of the core module's configuration.
        unsafe { (*self.core()).tcp_nodelay != 0 }
    }

    /// Whether a name server is configured.
    pub(super) fn has_resolver(&self) -> bool {
        self.resolver().is_some()
    }

    /// `resolver` and `resolver_timeout`; `None` when no name server is configured.
    pub(super) fn resolver(&self) -> Option<(NonNull<ffi::ngx_resolver_t>, Duration)> {
        // SAFETY: plain field reads of the core module's configuration.
        unsafe {
            let core = self.core();
            let resolver = NonNull::new((*core).resolver)?;
            if (*resolver.as_ptr()).connections.nelts == 0 {
                return None;
            }
            Some((resolver, Duration::from_millis((*core).resolver_timeout as u64)))
        }
    }
}
