//! A request's bit fields, in their right places on every nginx (see `build.rs`).

mod bound {
    #![allow(
        clippy::all,
        clippy::pedantic,
        dead_code,
        non_camel_case_types,
        non_snake_case,
        non_upper_case_globals,
        unsafe_op_in_unsafe_fn
    )]
    use ngx::ffi::*;
    include!(concat!(env!("OUT_DIR"), "/request_bits.rs"));
}

/// The same request, for its bit fields only.
pub fn bits(r: *mut ngx::ffi::ngx_http_request_t) -> *mut bound::ngx_http_request_s {
    r.cast()
}
