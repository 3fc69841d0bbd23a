//! nginx's error log.

use ::ngx::ffi::{self, ngx_log_t, ngx_uint_t};

/// Severity, as nginx counts it: smaller is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    Stderr = 0,
    Emerg,
    Alert,
    Crit,
    Error,
    Warn,
    Notice,
    Info,
    Debug,
}

impl Level {
    /// The level with number `n`, if there is one.
    pub fn new(n: i32) -> Option<Level> {
        use Level::*;
        [Stderr, Emerg, Alert, Crit, Error, Warn, Notice, Info, Debug].get(usize::try_from(n).ok()?).copied()
    }
}

/// Writes `message` to `log` if the log takes this level.
///
/// # Safety
/// `log` must be a live log.
pub unsafe fn write(log: *mut ngx_log_t, level: Level, message: &[u8]) {
    // SAFETY: the caller vouches for `log`.
    if unsafe { (*log).log_level } < level as ngx_uint_t {
        return;
    }
    let s = ffi::ngx_str_t { len: message.len(), data: message.as_ptr().cast_mut() };
    // SAFETY: `%V` reads one `ngx_str_t` by pointer, which lives until the call returns.
    unsafe { ffi::ngx_log_error_core(level as ngx_uint_t, log, 0, c"%V".as_ptr(), &raw const s) }
}

/// Whether `log` takes messages of this level.
///
/// # Safety
/// `log` must be a live log.
pub unsafe fn takes(log: *mut ngx_log_t, level: Level) -> bool {
    // SAFETY: the caller vouches for `log`.
    unsafe { (*log).log_level >= level as ngx_uint_t }
}

/// Writes `message` to the cycle's log: for what belongs to no request.
pub fn log_cycle(level: Level, message: &str) {
    // SAFETY: nginx sets `ngx_cycle` and its log before any module's code runs, and never clears them.
    unsafe { write((*ffi::ngx_cycle).log, level, message.as_bytes()) }
}
