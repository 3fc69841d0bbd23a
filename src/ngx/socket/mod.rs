//! A connection to a peer: bytes in, bytes out, and futures that wait for either.

use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::task::Waker;
use core::time::Duration;
use std::io::{self, Write};
use std::rc::Rc;

use ::ngx::ffi::{self, ngx_connection_t, ngx_event_t};

use super::address::Address;
use super::client::Client;
use super::cycle_main_conf;
use super::log::debug_cycle;
use super::resolver::Endpoint;
use super::tls;

mod wait;

pub(super) use wait::Side;
use wait::{readable, writable};
pub use wait::{Interrupted, Wait};

/// What came of reading or writing.
#[derive(Debug)]
pub enum Io {
    Done(usize),
    /// The peer has closed.
    Eof,
    /// Not now.
    Again,
    Failed(io::Error),
}

/// What a peer does of whom nothing is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Quiet,
    /// It has sent what nobody asked for.
    Talks,
    Gone,
}

/// A connected, or connecting, socket; dropping it closes it.
pub struct Stream {
    /// `None` once closed.
    connection: Cell<Option<NonNull<ngx_connection_t>>>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
    /// Called when something happens to a stream that nobody waits for.
    idle: Cell<Option<Box<dyn FnOnce()>>>,
    /// nginx's connection points at it.
    _address: Option<Box<Address>>,
    /// Set when it is the connection of a request's client, which stays nginx's.
    client: Option<Client>,
    #[cfg_attr(not(ngx_feature = "ssl"), allow(dead_code))]
    pub(super) tls: tls::Tls,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Udp,
}

impl Stream {
    /// Begins to connect to `to`, from the address `from` if given; whether that is done already.
    pub fn connect(to: &Endpoint, from: Option<&Endpoint>, kind: Kind) -> io::Result<(Rc<Stream>, bool)> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let mut address = Box::new(Address::new(to).ok_or_else(invalid)?);
        let mut local = from.map(|from| Address::new(from).ok_or_else(invalid)).transpose()?;
        if matches!((kind, to, &local), (Kind::Udp, Endpoint::Unix(_), None)) {
            local = Some(Address::unnamed_unix());
        }
        let mut text = [0; 160];
        let mut rest = &mut text[..];
        // it is for log lines; what there is no room for is left out
        let _ = write!(rest, "{to}");
        let len = 160 - rest.len();
        let mut name = ffi::ngx_str_t { len, data: text.as_mut_ptr() };
        // SAFETY: nginx reads the structure during the call; what it keeps is the address, which the stream keeps too.
        unsafe {
            let mut from_text = from.map(|from| from.host().into_bytes()).unwrap_or_default();
            let mut from: ffi::ngx_addr_t = core::mem::zeroed();
            from.name = ffi::ngx_str_t { len: from_text.len(), data: from_text.as_mut_ptr() };
            let mut peer: ffi::ngx_peer_connection_t = core::mem::zeroed();
            peer.sockaddr = ptr::from_mut(&mut address.storage).cast();
            peer.socklen = address.len;
            peer.name = &raw mut name;
            peer.get = Some(ffi::ngx_event_get_peer);
            peer.log = (*ffi::ngx_cycle).log;
            peer.set_log_error(ffi::ngx_connection_log_error_e_NGX_ERROR_ERR);
            peer.type_ = if kind == Kind::Udp { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
            if let Some(local) = &mut local {
                from.sockaddr = ptr::from_mut(&mut local.storage).cast();
                from.socklen = local.len;
                peer.local = &raw mut from;
            }
            let rc = ffi::ngx_event_connect_peer(&raw mut peer);
            let error = io::Error::last_os_error();
            let Some(connection) = NonNull::new(peer.connection) else { return Err(error) };
            if rc != ffi::NGX_OK as isize && rc != ffi::NGX_AGAIN as isize {
                ffi::ngx_close_connection(connection.as_ptr());
                return Err(error);
            }
            Ok((Stream::adopt(connection, Some(address)), rc == ffi::NGX_OK as isize))
        }
    }

    unsafe fn adopt(connection: NonNull<ngx_connection_t>, address: Option<Box<Address>>) -> Rc<Stream> {
        let stream = Rc::new(Stream {
            connection: Cell::new(Some(connection)),
            reader: Cell::default(),
            writer: Cell::default(),
            idle: Cell::default(),
            _address: address,
            client: None,
            tls: tls::Tls::default(),
        });
        // SAFETY: the caller hands the connection over; the stream closes it before it goes.
        unsafe {
            let c = &mut *connection.as_ptr();
            c.data = Rc::as_ptr(&stream).cast_mut().cast();
            (*c.read).log = c.log;
            (*c.write).log = c.log;
        }
        stream.take_events();
        stream
    }

    /// A connection that reads and writes by functions of its own.
    ///
    /// # Safety
    /// It must be the stream's alone, with a descriptor.
    pub(super) unsafe fn of_pipe(connection: NonNull<ngx_connection_t>) -> Rc<Stream> {
        // SAFETY: the caller hands the connection over.
        unsafe { Stream::adopt(connection, None) }
    }

    /// The connection that a request came on.
    ///
    /// # Safety
    /// It must live until the stream is closed.
    pub(super) unsafe fn of_client(connection: NonNull<ngx_connection_t>, client: Client) -> Rc<Stream> {
        Rc::new(Stream {
            connection: Cell::new(Some(connection)),
            reader: Cell::default(),
            writer: Cell::default(),
            idle: Cell::default(),
            _address: None,
            client: Some(client),
            tls: tls::Tls::default(),
        })
    }

    #[cfg_attr(not(ngx_feature = "ssl"), allow(dead_code))]
    pub(super) fn connection(&self) -> Option<NonNull<ngx_connection_t>> {
        self.connection.get()
    }

    /// Has the connection's events come to the stream.
    pub(super) fn take_events(&self) {
        let Some(c) = self.connection.get() else { return };
        // SAFETY: an open stream's connection is live.
        unsafe {
            (*(*c.as_ptr()).read).handler = Some(readable);
            (*(*c.as_ptr()).write).handler = Some(writable);
        }
    }

    /// Once a stream that was connecting can be written: what came of it.
    pub fn connected(&self) -> io::Result<()> {
        let Some(fd) = self.fd() else { return Err(io::ErrorKind::NotConnected.into()) };
        let (mut error, mut len): (i32, _) = (0, size_of::<i32>() as libc::socklen_t);
        // SAFETY: the option's value is an int.
        let rc = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_ERROR,
                ptr::from_mut(&mut error).cast(),
                &raw mut len,
            )
        };
        match (rc, error) {
            (0, 0) => Ok(()),
            (0, error) => Err(io::Error::from_raw_os_error(error)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub fn fd(&self) -> Option<i32> {
        // SAFETY: an open stream's connection is live.
        self.connection.get().map(|c| unsafe { (*c.as_ptr()).fd })
    }

    /// Appends what has come to `out`, as far as that has room for it without growing.
    pub fn recv(&self, out: &mut Vec<u8>) -> Io {
        let Some(c) = self.connection.get() else { return Io::Eof };
        if let Some(client) = &self.client {
            return client.recv(out);
        }
        let room = out.spare_capacity_mut();
        // SAFETY: the connection is live, and the room as long as said; what nginx has filled of it is initialized.
        unsafe {
            forget_error(c.as_ptr());
            let recv = (*c.as_ptr()).recv;
            let n = recv.map_or(ffi::NGX_ERROR as isize, |recv| {
                recv(c.as_ptr(), room.as_mut_ptr().cast(), room.len())
            });
            if n > 0 {
                out.set_len(out.len() + n as usize);
            }
            result(n)
        }
    }

    pub fn send(&self, data: &[u8]) -> Io {
        let Some(c) = self.connection.get() else { return Io::Eof };
        // SAFETY: as above; nginx does not write to what it sends.
        let n = unsafe {
            forget_error(c.as_ptr());
            let send = (*c.as_ptr()).send;
            send.map_or(ffi::NGX_ERROR as isize, |send| {
                send(c.as_ptr(), data.as_ptr().cast_mut(), data.len())
            })
        };
        match result(n) {
            Io::Eof if data.is_empty() => Io::Done(0),
            io => io,
        }
    }

    /// Has nginx log what goes wrong with it for information only: the script is told anyway.
    pub fn log_quietly(&self) {
        if let Some(c) = self.connection.get() {
            // SAFETY: an open stream's connection is live.
            unsafe { (*c.as_ptr()).set_log_error(ffi::ngx_connection_log_error_e_NGX_ERROR_INFO) };
        }
    }

    /// Sends a datagram that carries nothing, which nginx's `send` takes for a mistake.
    pub fn send_empty(&self) -> Io {
        let Some(fd) = self.fd() else { return Io::Eof };
        // SAFETY: a plain system call that reads nothing.
        match unsafe { libc::send(fd, ptr::null(), 0, 0) } {
            0 => Io::Done(0),
            _ => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::WouldBlock => Io::Again,
                e => Io::Failed(e),
            },
        }
    }

    /// Waits until there is something to read, or `timeout` has passed (zero: for ever).
    pub fn readable(self: &Rc<Self>, timeout: Duration) -> Wait {
        Wait { stream: Rc::clone(self), side: Side::Read, timeout, armed: false }
    }

    /// Waits until something can be written.
    pub fn writable(self: &Rc<Self>, timeout: Duration) -> Wait {
        Wait { stream: Rc::clone(self), side: Side::Write, timeout, armed: false }
    }

    /// Leaves the stream to itself: `fire` is called when the peer closes it or sends something unasked, when the
    /// worker stops, or when `timeout` has passed (zero: never).
    pub fn rest(&self, timeout: Duration, fire: Box<dyn FnOnce()>) -> bool {
        let Some(c) = self.connection.get() else { return false };
        self.idle.set(Some(fire));
        // SAFETY: the connection is live.
        unsafe {
            let c = c.as_ptr();
            (*c).set_idle(1);
            (*c).log = (*ffi::ngx_cycle).log;
            if !timeout.is_zero() {
                ffi::ngx_add_timer((*c).read, timeout.as_millis() as usize);
            }
            ffi::ngx_handle_read_event((*c).read, 0) == ffi::NGX_OK as isize
        }
    }

    /// Takes a resting stream into use again.
    pub fn rouse(&self) {
        self.idle.take();
        let Some(c) = self.connection.get() else { return };
        // SAFETY: the connection is live.
        unsafe {
            let c = c.as_ptr();
            (*c).set_idle(0);
            if (*(*c).read).timer_set() != 0 {
                ffi::ngx_del_timer((*c).read);
            }
        }
    }

    /// What the peer does while nothing is asked of it.
    pub fn peek(&self) -> Peer {
        let Some(c) = self.connection.get() else { return Peer::Gone };
        // SAFETY: the connection is live; the byte is only looked at.
        unsafe {
            let c = c.as_ptr();
            let read = &*(*c).read;
            if read.eof() != 0 || read.error() != 0 || read.timedout() != 0 || (*(*c).write).error() != 0 {
                return Peer::Gone;
            }
            if read.ready() == 0 {
                return Peer::Quiet;
            }
            if tls::is_tls(c) {
                return tls::peek(c);
            }
            let mut byte = 0u8;
            let n = libc::recv((*c).fd, ptr::from_mut(&mut byte).cast(), 1, libc::MSG_PEEK);
            if n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
                (*(*c).read).set_ready(0);
                return Peer::Quiet;
            }
            if n > 0 {
                Peer::Talks
            } else {
                Peer::Gone
            }
        }
    }

    /// Says that nothing more will be sent.
    pub fn shutdown_send(&self) -> io::Result<()> {
        let Some(c) = self.connection.get() else { return Err(io::ErrorKind::NotConnected.into()) };
        // SAFETY: the connection is live.
        let rc = unsafe {
            tls::say_goodbye(c.as_ptr());
            libc::shutdown((*c.as_ptr()).fd, libc::SHUT_WR)
        };
        match rc {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Reads an option of the socket whose value is a number.
    pub fn option(&self, level: i32, name: i32) -> io::Result<i32> {
        let Some(fd) = self.fd() else { return Err(io::ErrorKind::NotConnected.into()) };
        let (mut value, mut len): (i32, _) = (0, size_of::<i32>() as libc::socklen_t);
        // SAFETY: the options that are asked for are ints.
        match unsafe { libc::getsockopt(fd, level, name, ptr::from_mut(&mut value).cast(), &raw mut len) } {
            0 => Ok(value),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub fn set_option(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        let Some(fd) = self.fd() else { return Err(io::ErrorKind::NotConnected.into()) };
        let len = size_of::<i32>() as libc::socklen_t;
        // SAFETY: as above.
        match unsafe { libc::setsockopt(fd, level, name, ptr::from_ref(&value).cast(), len) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Closes it; who waits for it is told.
    pub fn close(&self) {
        let Some(c) = self.connection.take() else { return };
        if self.client.is_some() {
            self.leave(c);
            return;
        }
        // SAFETY: the connection is live, and forgotten from here on. Its pool, if any, is ours.
        unsafe {
            tls::shut_down(c.as_ptr());
            let pool = NonNull::new((*c.as_ptr()).pool);
            ffi::ngx_close_connection(c.as_ptr());
            match (pool, cycle_main_conf()) {
                (Some(pool), Some(main)) => main.spare_pools.give(pool),
                (Some(pool), None) => ffi::ngx_destroy_pool(pool.as_ptr()),
                (None, _) => {}
            }
        }
        self.idle.take();
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    /// Lets go of a client's connection; who waits for it is told.
    fn leave(&self, c: NonNull<ngx_connection_t>) {
        debug_cycle(format_args!("lua finalize socket"));
        for (waker, side) in [(self.reader.take(), Side::Read), (self.writer.take(), Side::Write)] {
            let Some(waker) = waker else { continue };
            // SAFETY: the connection is live; while somebody waits, the timer is ours.
            unsafe {
                let event = if side == Side::Read { (*c.as_ptr()).read } else { (*c.as_ptr()).write };
                if (*event).timer_set() != 0 {
                    ffi::ngx_del_timer(event);
                }
            }
            waker.wake();
        }
    }

    /// Wakes who waits to read or to write; whether somebody did.
    pub(super) fn wake(&self, side: Side) -> bool {
        let waker = self.waker(side).take();
        waker.map(Waker::wake).is_some()
    }

    fn event(&self, side: Side) -> Option<*mut ngx_event_t> {
        // SAFETY: an open stream's connection is live.
        self.connection.get().map(|c| unsafe {
            match side {
                Side::Read => (*c.as_ptr()).read,
                Side::Write => (*c.as_ptr()).write,
            }
        })
    }

    fn waker(&self, side: Side) -> &Cell<Option<Waker>> {
        match side {
            Side::Read => &self.reader,
            Side::Write => &self.writer,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close();
    }
}

pub(super) fn result(n: isize) -> Io {
    match n {
        n if n > 0 => Io::Done(n as usize),
        0 => Io::Eof,
        n if n == ffi::NGX_AGAIN as isize => Io::Again,
        _ => Io::Failed(match io::Error::last_os_error() {
            // the system had no part in it; nginx has logged OpenSSL's reason
            e if e.raw_os_error() == Some(0) => io::Error::other("tls error"),
            e => e,
        }),
    }
}

/// Forgets the system's last error, so that one of TLS is not taken for it.
///
/// # Safety
/// `c` must be live.
unsafe fn forget_error(c: *mut ngx_connection_t) {
    // SAFETY: the caller vouches for the connection; the error's place is this thread's.
    #[cfg(target_os = "linux")]
    unsafe {
        if tls::is_tls(c) {
            *libc::__errno_location() = 0;
        }
    }
}
