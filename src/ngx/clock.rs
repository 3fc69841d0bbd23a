//! nginx's clock: the time as of the last turn of the event loop.

use core::ffi::{c_long, c_void};
use core::mem::{offset_of, size_of};

use ::ngx::ffi::{self, ngx_msec_t, ngx_time_t};

// the prelude reads both through the FFI, as `as_time` and `uintptr_t`
const _: () = assert!(
    size_of::<ngx_time_t>() == 3 * size_of::<c_long>()
        && offset_of!(ngx_time_t, sec) == 0
        && offset_of!(ngx_time_t, msec) == size_of::<c_long>()
        && size_of::<ngx_msec_t>() == size_of::<usize>()
);

/// Where nginx keeps the pointer to its current `ngx_time_t`.
pub fn wall_clock_address() -> *const c_void {
    (&raw const ffi::ngx_cached_time).cast()
}

/// Where nginx keeps its monotonic milliseconds.
pub fn msec_address() -> *const c_void {
    (&raw const ffi::ngx_current_msec).cast()
}

/// Milliseconds of a clock that nobody sets, as of the last turn of the event loop.
pub fn msec() -> u64 {
    // SAFETY: a plain read; one thread writes it.
    unsafe { ffi::ngx_current_msec as u64 }
}

/// Seconds since 1970, and the local zone's offset in seconds east of UTC.
pub fn wall_clock() -> (i64, i32) {
    // SAFETY: nginx sets its time before any module's code runs, and the record stays valid for the caller's statement.
    let now = unsafe { *ffi::ngx_cached_time };
    (now.sec, (now.gmtoff * 60) as i32)
}

/// Milliseconds since 1970, as of the last turn of the event loop.
pub fn unix_ms() -> u64 {
    // SAFETY: as above.
    let now = unsafe { *ffi::ngx_cached_time };
    (now.sec as u64).saturating_mul(1000) + now.msec as u64
}

/// A number that nobody needs to be unable to guess.
pub fn random() -> u32 {
    // SAFETY: the C library's generator, which nginx has seeded; one thread.
    unsafe { ffi::random() as u32 }
}

/// Reads the system's clock.
pub fn update() {
    // SAFETY: nginx allows it at any time.
    unsafe { ffi::ngx_time_update() }
}

/// The clock that all processes share and that nobody sets: `CLOCK_MONOTONIC`, read now.
#[inline]
pub fn monotonic() -> logic::autoscale::metrics::Now {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is ours; the clock exists on every system that nginx's shared memory works on.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut t) };
    logic::autoscale::metrics::Now::new(t.tv_sec as u64, t.tv_nsec as u64 / 1000)
}
