//! Learning that a child has ended.

use core::ptr;
use core::time::Duration;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use ::ngx::ffi::{self, ngx_connection_t, ngx_event_t};

use crate::ngx::Timer;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// Somebody else in the process has waited for it.
    Lost,
}

/// How a child has ended, if it has. After this its number may be another process's.
pub fn reap(pid: i32) -> Option<Ended> {
    let mut status = 0;
    loop {
        // SAFETY: a plain system call with room for the status.
        let rc = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        return match rc {
            0 => None,
            _ if rc == pid && libc::WIFSIGNALED(status) => Some(Ended::Signal(libc::WTERMSIG(status))),
            _ if rc == pid => Some(Ended::Exit(libc::WEXITSTATUS(status))),
            _ if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => continue,
            _ => Some(Ended::Lost),
        };
    }
}

/// Tells when a child has ended; dropping it ends the watch.
pub struct ChildWatch(Box<Watched>);

struct Watched {
    pid: i32,
    by: By,
    tell: Option<Box<dyn FnOnce(Ended)>>,
}

/// What wakes us.
enum By {
    /// A descriptor of the process, which can be read once it has ended.
    Descriptor(*mut ngx_connection_t),
    /// Looking for it again and again, where there is no such descriptor (Linux before 5.3, or a system call filter).
    Turns(#[allow(dead_code)] Timer),
    Nothing,
}

const TURN: Duration = Duration::from_millis(10);

impl ChildWatch {
    /// Calls `tell` from the event loop when the child with this number has ended, which is then no more.
    pub fn new(pid: i32, tell: Box<dyn FnOnce(Ended)>) -> ChildWatch {
        let mut watched = Box::new(Watched { pid, by: By::Nothing, tell: Some(tell) });
        let place = &raw mut *watched;
        // SAFETY: the watched child stays in its box, which gives up the connection and the timer before it goes.
        watched.by =
            unsafe { descriptor(pid).and_then(|fd| watch(fd, place)).unwrap_or_else(|| turn(place)) };
        ChildWatch(watched)
    }

    /// Has something else called instead.
    pub fn tell_instead(&mut self, tell: Box<dyn FnOnce(Ended)>) {
        self.0.tell = Some(tell);
    }
}

impl Watched {
    fn stop(&mut self) {
        if let By::Descriptor(connection) = core::mem::replace(&mut self.by, By::Nothing) {
            // SAFETY: the connection is ours, and forgotten from here on.
            unsafe { ffi::ngx_close_connection(connection) }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop();
    }
}

fn descriptor(pid: i32) -> Option<OwnedFd> {
    // SAFETY: a plain system call; what it returns is a new descriptor, closed on exec.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        i32::try_from(fd).ok().filter(|fd| *fd >= 0).map(|fd| OwnedFd::from_raw_fd(fd))
    }
}

/// Has the event loop watch the process behind `fd`.
///
/// # Safety
/// `watched` must stay where it is until the connection is closed.
unsafe fn watch(fd: OwnedFd, watched: *mut Watched) -> Option<By> {
    // SAFETY: the cycle is running; the connection, and with it the descriptor, are ours until closed.
    unsafe {
        let connection = ffi::ngx_get_connection(fd.as_raw_fd(), (*ffi::ngx_cycle).log);
        let c = connection.as_mut()?;
        let _ = fd.into_raw_fd();
        c.data = watched.cast();
        (*c.read).handler = Some(readable);
        (*c.read).log = c.log;
        (*c.write).log = c.log;
        if ffi::ngx_handle_read_event(c.read, 0) == ffi::NGX_OK as isize {
            return Some(By::Descriptor(connection));
        }
        ffi::ngx_close_connection(connection);
        None
    }
}

/// Looks for the child after a while. It does not keep a worker that is to stop.
///
/// # Safety
/// `watched` must stay where it is until the timer is dropped.
unsafe fn turn(watched: *mut Watched) -> By {
    // SAFETY: the caller vouches for it.
    By::Turns(Timer::background(TURN, Box::new(move || unsafe { look(watched) })))
}

unsafe extern "C" fn readable(event: *mut ngx_event_t) {
    // SAFETY: `data` of a connection's event is the connection, whose `data` is the box that lives as long as it does.
    crate::native::guard(|| unsafe { look((*(*event).data.cast::<ngx_connection_t>()).data.cast()) });
}

/// # Safety
/// `watched` must be alive.
unsafe fn look(watched: *mut Watched) {
    // SAFETY: the caller vouches for it; it is not touched after `tell`, which may drop it.
    unsafe {
        match reap((*watched).pid) {
            Some(ended) => {
                (*watched).stop();
                if let Some(tell) = ptr::replace(&raw mut (*watched).tell, None) {
                    tell(ended);
                }
            }
            None => {
                (*watched).stop();
                (*watched).by = turn(watched);
            }
        }
    }
}
