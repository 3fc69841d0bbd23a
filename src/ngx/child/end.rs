//! Our end of a pipe, as a stream.

use core::ptr::NonNull;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;

use ::ngx::ffi::{self, ngx_connection_t};

use crate::ngx::Stream;

impl Stream {
    /// One end of a pipe, which must not block. It comes back when nginx has no connection left.
    pub fn pipe(fd: OwnedFd) -> Result<Rc<Stream>, OwnedFd> {
        // SAFETY: the cycle is running; the connection, and with it the descriptor, are the stream's from here on.
        unsafe {
            let connection = ffi::ngx_get_connection(fd.as_raw_fd(), (*ffi::ngx_cycle).log);
            let Some(connection) = NonNull::new(connection) else { return Err(fd) };
            let _ = fd.into_raw_fd();
            (*connection.as_ptr()).recv = Some(receive);
            (*connection.as_ptr()).send = Some(send);
            Ok(Stream::of_pipe(connection))
        }
    }
}

/// As nginx's own functions for sockets, which would not do.
unsafe extern "C" fn receive(c: *mut ngx_connection_t, buffer: *mut u8, size: usize) -> isize {
    loop {
        // SAFETY: the caller passes a live connection, and a buffer of this size.
        let n = unsafe { libc::read((*c).fd, buffer.cast(), size) };
        if n >= 0 {
            return n;
        }
        match io::Error::last_os_error().kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => {
                // SAFETY: as above.
                unsafe { (*(*c).read).set_ready(0) };
                return ffi::NGX_AGAIN as isize;
            }
            _ => return ffi::NGX_ERROR as isize,
        }
    }
}

unsafe extern "C" fn send(c: *mut ngx_connection_t, data: *mut u8, size: usize) -> isize {
    loop {
        // SAFETY: as above; nginx ignores SIGPIPE.
        let n = unsafe { libc::write((*c).fd, data.cast(), size) };
        if n >= 0 {
            return n;
        }
        match io::Error::last_os_error().kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => {
                // SAFETY: as above.
                unsafe { (*(*c).write).set_ready(0) };
                return ffi::NGX_AGAIN as isize;
            }
            _ => return ffi::NGX_ERROR as isize,
        }
    }
}
