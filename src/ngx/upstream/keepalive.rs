//! Idle connections to the peers that scripts have named: `enable_keepalive` of `ngx.balancer`.
//!
//! Each worker keeps those of an upstream together, bounded in number, and finds one by its [`Key`]. One that its peer
//! closes, that has waited too long, or that meets the end of its worker is closed where it lies. What makes a
//! connection fit to be kept is what nginx's keepalive module goes by.

use core::cell::RefCell;
use core::ptr::{self, NonNull};
use std::io;

use ::ngx::ffi::{self, ngx_connection_t, ngx_event_t, ngx_http_upstream_t, ngx_msec_t, ngx_uint_t};

use super::super::log::{debug_cycle, takes, write, Level};
use super::super::socket::Peer;
use super::super::tls;
use super::key::Key;

/// How many connections are kept unless `balancer_keepalive` says otherwise.
const SIZE: usize = 32;

/// A worker's idle connections of one upstream.
#[derive(Default)]
pub struct Idle {
    /// `balancer_keepalive`
    pub size: Option<usize>,
    /// The one that has waited longest is the first.
    resting: RefCell<Vec<Resting>>,
}

struct Resting {
    hash: u64,
    key: Box<[u8]>,
    connection: NonNull<ngx_connection_t>,
}

/// How the connection of an attempt is to be kept.
#[derive(Clone, Copy)]
pub struct Keep {
    /// Zero: for ever.
    pub timeout: ngx_msec_t,
    /// Zero: as many as it likes.
    pub requests: ngx_uint_t,
}

impl Idle {
    /// Takes a connection that serves `key`, to be used for what `log` is the log of.
    ///
    /// # Safety
    /// The key's request must be alive, and be what the log is of.
    pub unsafe fn take(&self, key: &Key, log: *mut ffi::ngx_log_t) -> Option<NonNull<ngx_connection_t>> {
        loop {
            let found = {
                let mut resting = self.resting.borrow_mut();
                // SAFETY: the caller vouches for the key.
                let text = unsafe { key.text() };
                let at = resting.iter().rposition(|r| r.hash == key.hash && *r.key == *text)?;
                resting.remove(at).connection
            };
            // SAFETY: what rests is live, and nobody's but ours.
            unsafe {
                // what it has to say may not have come by as an event yet
                if !is_quiet(found.as_ptr()) {
                    close(found.as_ptr());
                    continue;
                }
                let c = &mut *found.as_ptr();
                c.set_idle(0);
                c.sent = 0;
                c.data = ptr::null_mut();
                log_to(found.as_ptr(), log);
                if (*c.read).timer_set() != 0 {
                    ffi::ngx_del_timer(c.read);
                }
            }
            return Some(found);
        }
    }

    /// Closes the one that has waited longest if there is no room for one more.
    pub fn make_room(&self) {
        let mut resting = self.resting.borrow_mut();
        if resting.len() >= self.size.unwrap_or(SIZE) {
            let oldest = resting.remove(0).connection;
            drop(resting);
            // SAFETY: what rests is live, and nobody's but ours.
            unsafe { close(oldest.as_ptr()) };
        }
    }

    /// Keeps `c`, for which there must be room.
    ///
    /// # Safety
    /// `c` must be the live connection of an attempt made with `key`, in whose place nothing uses it any more; the pool
    /// must stay where it is as long as the worker runs.
    pub unsafe fn keep(&self, c: NonNull<ngx_connection_t>, key: &Key, timeout: ngx_msec_t) {
        // SAFETY: the caller vouches for both.
        unsafe {
            let resting = Resting { hash: key.hash, key: key.text().into(), connection: c };
            self.resting.borrow_mut().push(resting);
            let c = c.as_ptr();
            let (read, write) = ((*c).read, (*c).write);
            (*read).set_delayed(0);
            if timeout != 0 {
                ffi::ngx_add_timer(read, timeout);
            } else if (*read).timer_set() != 0 {
                ffi::ngx_del_timer(read);
            }
            if (*write).timer_set() != 0 {
                ffi::ngx_del_timer(write);
            }
            (*read).handler = Some(happened);
            (*write).handler = Some(nothing);
            (*c).data = ptr::from_ref(self).cast_mut().cast();
            (*c).set_idle(1);
            log_to(c, (*ffi::ngx_cycle).log);
            if (*read).ready() != 0 {
                happened(read);
            }
        }
    }

    /// Closes one of them.
    unsafe fn drop_one(&self, c: *mut ngx_connection_t) {
        let mut all = self.resting.borrow_mut();
        let found = all.iter().position(|r| ptr::eq(r.connection.as_ptr(), c)).map(|at| all.remove(at));
        drop(all);
        if found.is_some() {
            // SAFETY: what rests is live, and nobody's but ours.
            unsafe { close(c) };
        }
    }
}

/// Whether the attempt's connection may serve another request.
///
/// # Safety
/// Both must be of an attempt that is being given up with `state`.
pub unsafe fn is_reusable(
    u: *mut ngx_http_upstream_t,
    c: NonNull<ngx_connection_t>,
    state: ngx_uint_t,
    keep: Keep,
) -> bool {
    // SAFETY: the caller vouches for both; the flags are nginx's own, on one thread.
    unsafe {
        let (c, u) = (&*c.as_ptr(), &*u);
        let (read, write) = (&*c.read, &*c.write);
        let failed = state & ffi::NGX_PEER_FAILED as ngx_uint_t != 0
            || read.eof() + read.error() + read.timedout() + write.error() + write.timedout() != 0;
        let worn = keep.requests != 0 && c.requests >= keep.requests;
        !failed
            && !worn
            && u.keepalive() != 0
            && u.request_body_sent() != 0
            && ffi::ngx_terminate == 0
            && ffi::ngx_exiting == 0
            && ffi::ngx_handle_read_event(c.read, 0) == ffi::NGX_OK as isize
    }
}

unsafe extern "C" fn nothing(_: *mut ngx_event_t) {}

/// Something happens to a connection that rests: its peer closes it or speaks unasked, its time is over, or the worker
/// is to stop.
unsafe extern "C" fn happened(event: *mut ngx_event_t) {
    crate::native::guard(|| {
        // SAFETY: the event is that of a connection that rests, whose data `keep` has set.
        unsafe {
            let c = (*event).data.cast::<ngx_connection_t>();
            let over = (*c).close() != 0 || (*event).timedout() != 0 || !is_quiet(c);
            if over || ffi::ngx_handle_read_event(event, 0) != ffi::NGX_OK as isize {
                (*(*c).data.cast::<Idle>()).drop_one(c);
            }
        }
    });
}

/// Whether the peer has neither closed the connection nor said anything.
unsafe fn is_quiet(c: *mut ngx_connection_t) -> bool {
    // SAFETY: the caller vouches for the connection; the byte is only looked at.
    unsafe {
        let read = &mut *(*c).read;
        if read.eof() != 0 || read.error() != 0 || (*(*c).write).error() != 0 {
            return false;
        }
        if tls::is_tls(c) {
            return tls::peek(c) == Peer::Quiet;
        }
        let mut byte = 0u8;
        let n = libc::recv((*c).fd, ptr::from_mut(&mut byte).cast(), 1, libc::MSG_PEEK);
        let quiet = n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock;
        if quiet {
            read.set_ready(0);
        }
        quiet
    }
}

unsafe fn close(c: *mut ngx_connection_t) {
    debug_cycle(format_args!("lua balancer: keepalive closing connection {:016X}", c as usize));
    // SAFETY: the caller vouches for the connection, and forgets it. Its pool is its own.
    unsafe {
        tls::shut_down(c);
        if !(*c).pool.is_null() {
            ffi::ngx_destroy_pool((*c).pool);
        }
        ffi::ngx_close_connection(c);
    }
}

unsafe fn log_to(c: *mut ngx_connection_t, log: *mut ffi::ngx_log_t) {
    // SAFETY: the caller vouches for the connection; nginx gives each that it has made for an upstream a pool.
    unsafe {
        (*c).log = log;
        (*(*c).read).log = log;
        (*(*c).write).log = log;
        if let Some(pool) = (*c).pool.as_mut() {
            pool.log = log;
        }
    }
}

/// A line for whoever debugs: `what`, which connection, and where it leads.
///
/// # Safety
/// `log` must be live, and the key's request.
pub unsafe fn debug(log: *mut ffi::ngx_log_t, what: &str, c: Option<usize>, leads: Option<(&[u8], &Key)>) {
    // SAFETY: the caller vouches for the log and the key.
    unsafe {
        if !takes(log, Level::Debug) {
            return;
        }
        let mut line = format!("lua balancer: keepalive {what} connection").into_bytes();
        if let Some(c) = c {
            line.extend_from_slice(format!(" {c:016X}").as_bytes());
        }
        if let Some((address, key)) = leads {
            for part in [&b", host: "[..], address, b", name: ", key.name()] {
                line.extend_from_slice(part);
            }
        }
        write(log, Level::Debug, &line);
    }
}
