//! Between nginx's counted strings and Rust's slices.

use ::ngx::ffi::{ngx_pool_t, ngx_str_t};

/// The bytes of an nginx string; empty when it has none.
///
/// # Safety
/// The string's memory must live, unchanged, for `'a`.
pub unsafe fn bytes<'a>(s: ngx_str_t) -> &'a [u8] {
    if s.data.is_null() {
        return &[];
    }
    // SAFETY: nginx keeps `len` readable bytes behind a non-null `data`; the caller vouches for the lifetime.
    unsafe { core::slice::from_raw_parts(s.data, s.len) }
}

/// Copies `data` into `pool`; `None` when memory is out.
///
/// # Safety
/// `pool` must be a live pool.
pub unsafe fn to_pool(pool: *mut ngx_pool_t, data: &[u8]) -> Option<ngx_str_t> {
    // one byte more: several nginx functions want a zero behind the text
    // SAFETY: the caller vouches for the pool.
    let p = unsafe { ::ngx::ffi::ngx_pnalloc(pool, data.len() + 1) }.cast::<u8>();
    if p.is_null() {
        return None;
    }
    // SAFETY: `p` has room for the data and the zero, and is fresh memory.
    unsafe {
        core::ptr::copy_nonoverlapping(data.as_ptr(), p, data.len());
        *p.add(data.len()) = 0;
    }
    Some(ngx_str_t { len: data.len(), data: p })
}
