//! `lua_capture_error_log`: a copy of each error log line, kept in a ring for `ngx.errlog`.
//!
//! A log of nginx is a chain of `ngx_log_t`; one with a `writer` passes its lines to that function instead of a file.
//! Each chain's head is copied behind itself, and becomes a link whose writer is ours: nginx then calls us and goes on
//! with the copy. Connections copy file, writer and next link from the head, so they are captured too. No patch needed.

use core::cell::{Cell, RefCell};
use core::ptr;

use ::ngx::ffi::{self, ngx_log_t, ngx_uint_t};
use logic::log_ring::{Line, LogRing};

use super::log::Level;

/// The captured lines of one cycle.
pub struct Capture {
    ring: RefCell<LogRing>,
    filter: Cell<ngx_uint_t>,
    /// Heads of the chains that configuration levels use, and the copies behind those that are hooked.
    heads: RefCell<Vec<(*mut ngx_log_t, *mut ngx_log_t)>>,
}

impl Capture {
    /// Room for `size` bytes of lines; `None` when memory is out.
    pub fn new(size: usize) -> Option<Capture> {
        Some(Capture {
            ring: RefCell::new(LogRing::new(size)?),
            filter: Cell::new(Level::Debug as ngx_uint_t),
            heads: RefCell::default(),
        })
    }

    /// From now on keeps only lines of `level` or worse.
    pub fn set_filter(&self, level: Level) {
        self.filter.set(level as ngx_uint_t);
    }

    /// Forgets all lines: a worker starts with those that the master had when it forked.
    pub fn clear(&self) {
        self.ring.borrow_mut().clear();
    }

    /// Takes the oldest line out, its text into `text`.
    pub fn take(&self, text: &mut Vec<u8>) -> Option<Line> {
        self.ring.borrow_mut().pop(text)
    }

    /// Notes the log of a configuration level, to be captured when [`Capture::start`] is called.
    pub(super) fn add(&self, head: *mut ngx_log_t) {
        let mut heads = self.heads.borrow_mut();
        if !head.is_null() && heads.iter().all(|(h, _)| *h != head) {
            heads.push((head, ptr::null_mut()));
        }
    }

    /// Hooks into the cycle's log and those that were added, once nginx has opened them.
    ///
    /// # Safety
    /// `cycle` must be live and being initialized; `self` must live as long as it.
    pub(super) unsafe fn start(&self, cycle: *mut ffi::ngx_cycle_t) -> Option<()> {
        // SAFETY: the cycle is live.
        self.add(unsafe { &raw mut (*cycle).new_log });
        for (head, copy) in self.heads.borrow_mut().iter_mut() {
            // SAFETY: the logs, like the copy, live in the cycle's pool, or in the cycle.
            unsafe {
                *copy = ffi::ngx_palloc((*cycle).pool, size_of::<ngx_log_t>()).cast::<ngx_log_t>();
                if copy.is_null() {
                    return None;
                }
                ptr::copy_nonoverlapping(*head, *copy, 1);
                (**head).writer = Some(write);
                (**head).wdata = ptr::from_ref(self).cast_mut().cast();
                (**head).next = *copy;
            }
        }
        Some(())
    }
}

impl Drop for Capture {
    /// nginx goes on logging while it takes the cycle's pool down: without us.
    fn drop(&mut self) {
        for (head, copy) in self.heads.get_mut().iter().filter(|(_, copy)| !copy.is_null()) {
            // SAFETY: a pool's cleanups, this one among them, run before its memory goes.
            unsafe {
                (**head).writer = (**copy).writer;
                (**head).wdata = (**copy).wdata;
                (**head).next = (**copy).next;
            }
        }
    }
}

/// The writer of a hooked log.
unsafe extern "C" fn write(log: *mut ngx_log_t, level: ngx_uint_t, line: *mut u8, len: usize) {
    // SAFETY: `wdata` is the `Capture` that `start` put there, or null once an in-memory log at the head was destroyed.
    let Some(capture) = (unsafe { (*log).wdata.cast::<Capture>().as_ref() }) else { return };
    // SAFETY: nginx passes the line and its length.
    let line = unsafe { core::slice::from_raw_parts(line, len) };
    if level > capture.filter.get() {
        return;
    }
    crate::native::guard(|| {
        // a line that is logged while one is taken out is not kept
        if let Ok(mut ring) = capture.ring.try_borrow_mut() {
            ring.push(now(), level as u8, line.strip_suffix(b"\n").unwrap_or(line));
        }
    });
}

/// nginx's cached time, in seconds.
fn now() -> f64 {
    // SAFETY: nginx keeps the cached time from its start on.
    unsafe {
        let time = ptr::addr_of!(ffi::ngx_cached_time).read_volatile();
        (*time).sec as f64 + (*time).msec as f64 / 1000.0
    }
}
