//! nginx's error log.

use core::ptr::{self, NonNull};

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

/// The level up to which `log` takes messages; logs of `debug_http` and the like count as debug.
///
/// # Safety
/// `log` must be a live log.
pub unsafe fn level(log: *mut ngx_log_t) -> Level {
    // SAFETY: the caller vouches for `log`.
    let level = unsafe { (*log).log_level };
    i32::try_from(level).ok().and_then(Level::new).unwrap_or(Level::Debug)
}

/// Writes `message` to the cycle's log: for what belongs to no request.
pub fn log_cycle(level: Level, message: &str) {
    log_cycle_bytes(level, message.as_bytes());
}

/// Writes `message` to the cycle's log.
pub fn log_cycle_bytes(level: Level, message: &[u8]) {
    // SAFETY: nginx sets `ngx_cycle` and its log before any module's code runs, and never clears them.
    unsafe { write((*ffi::ngx_cycle).log, level, message) }
}

/// The same for what a thread may do as well as nginx: without the context of what nginx does at the moment.
pub fn log_cycle_plainly(level: Level, message: &str) {
    // SAFETY: as above. The copy's fields that change while a worker runs, its context, are not used.
    unsafe {
        let mut log = ptr::read_volatile((*ffi::ngx_cycle).log);
        log.handler = None;
        write(&raw mut log, level, message.as_bytes());
    }
}

/// Writes a message to the cycle's log, if that is set to `debug`.
pub fn debug_cycle(message: core::fmt::Arguments<'_>) {
    if cycle_log_level() == Level::Debug {
        log_cycle(Level::Debug, &message.to_string());
    }
}

/// The level up to which the cycle's log takes messages.
pub fn cycle_log_level() -> Level {
    // SAFETY: as above.
    unsafe { level((*ffi::ngx_cycle).log) }
}

/// While it lives, each line of the cycle's log ends with a text.
pub struct LogContext<'a> {
    before: ngx_log_t,
    suffix: &'a Vec<u8>,
}

impl<'a> LogContext<'a> {
    /// `suffix` is what the lines end with, such as `, context: init_worker_by_lua*`.
    pub fn enter(suffix: &'a Vec<u8>) -> LogContext<'a> {
        // SAFETY: the cycle's log is live; the text lives until the handler is taken back.
        unsafe {
            let log = (*ffi::ngx_cycle).log;
            let before = *log;
            (*log).handler = Some(append);
            (*log).data = ptr::from_ref(suffix).cast_mut().cast();
            LogContext { before, suffix }
        }
    }

    /// The same, and the lines go to the log of a server, under the number of a connection.
    pub fn enter_server(server: &ServerLog, suffix: &'a Vec<u8>) -> LogContext<'a> {
        let context = LogContext::enter(suffix);
        // SAFETY: the cycle's log is live, and gets its own content back; that of the server lives as long as its cycle.
        unsafe {
            let log = (*ffi::ngx_cycle).log;
            let own = *log;
            *log = *server.log.as_ptr();
            ((*log).handler, (*log).data) = (own.handler, own.data);
            (*log).connection = server.connection;
        }
        context
    }
}

/// The error log of a server, for what happens on one of its connections.
#[derive(Clone, Copy)]
pub struct ServerLog {
    log: NonNull<ngx_log_t>,
    connection: ffi::ngx_atomic_uint_t,
}

impl ServerLog {
    /// # Safety
    /// `log` must be that of a configuration that lives as long as the value.
    pub unsafe fn new(log: NonNull<ngx_log_t>, connection: ffi::ngx_atomic_uint_t) -> ServerLog {
        ServerLog { log, connection }
    }
}

impl Drop for LogContext<'_> {
    fn drop(&mut self) {
        // SAFETY: as in `enter`.
        unsafe {
            let log = (*ffi::ngx_cycle).log;
            if (*log).data == ptr::from_ref(self.suffix).cast_mut().cast() {
                *log = self.before;
            }
        }
    }
}

unsafe extern "C" fn append(log: *mut ngx_log_t, buf: *mut u8, len: usize) -> *mut u8 {
    // SAFETY: `data` is the text that `enter` put there; nginx passes a buffer with room for `len` bytes.
    unsafe {
        let suffix = &*(*log).data.cast::<Vec<u8>>();
        let n = suffix.len().min(len);
        ptr::copy_nonoverlapping(suffix.as_ptr(), buf, n);
        buf.add(n)
    }
}
