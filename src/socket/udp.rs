//! A datagram socket as scripts hold it: one datagram is one `send` or one `receive`.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::rc::Rc;

use super::{Settings, SocketError};
use crate::ngx::{clock, Endpoint, Interrupted, Io, Kind, Level, Location, Stream};
use crate::run::{Ends, Host, Owned, Place};

/// The longest datagram that is received whole; the rest of a longer one is lost.
pub const MAX_DATAGRAM: usize = 65536;

pub struct Udp {
    stream: RefCell<Option<Rc<Stream>>>,
    /// The place in the host's list, while there is a peer.
    place: RefCell<Option<Place>>,
    /// Set by the script; else as the location says.
    pub read_timeout: Cell<Option<Duration>>,
    busy: Cell<bool>,
    local: RefCell<Option<Endpoint>>,
    location: Location,
}

/// While it lives, a thread waits for the socket.
pub struct Busy(Rc<Udp>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(false);
    }
}

impl Udp {
    pub fn new(location: Location) -> Rc<Udp> {
        Rc::new(Udp {
            stream: RefCell::default(),
            place: RefCell::default(),
            read_timeout: Cell::default(),
            busy: Cell::new(false),
            local: RefCell::default(),
            location,
        })
    }

    fn settings(&self) -> &Settings {
        &self.location.conf().sockets
    }

    fn is_of(&self, owned: &Rc<Owned>) -> Result<(), SocketError> {
        match &*self.place.borrow() {
            Some(place) if !place.is_of(owned) => Err(SocketError::NotOurs),
            _ => Ok(()),
        }
    }

    /// Whether the socket has a peer, was given it by the script of this host, and no thread waits for it.
    pub fn check(&self, owned: &Rc<Owned>) -> Result<Rc<Stream>, SocketError> {
        self.is_of(owned)?;
        let stream = self.stream.borrow().clone().ok_or(SocketError::Closed)?;
        if self.busy.get() {
            return Err(SocketError::InUse);
        }
        Ok(stream)
    }

    /// Marks the socket as waited for.
    pub fn begin(self: &Rc<Self>) -> Busy {
        self.busy.set(true);
        Busy(Rc::clone(self))
    }

    /// Has datagrams leave from `local`.
    pub fn bind(&self, local: Endpoint) {
        self.local.replace(Some(local));
    }

    /// Gives up the peer it has, to be given another one.
    pub fn begin_peer(self: &Rc<Self>, host: &Host, owned: &Rc<Owned>) -> Result<(), SocketError> {
        self.is_of(owned)?;
        if self.busy.get() {
            return Err(SocketError::InUse);
        }
        if self.stream.borrow().is_some() {
            host.debug(format_args!("lua udp socket reconnect without shutting down"));
            host.debug(format_args!("lua reuse socket upstream ctx"));
        }
        self.close();
        self.place.replace(Some(owned.add(Rc::downgrade(&(Rc::clone(self) as Rc<dyn Ends>)))));
        Ok(())
    }

    /// Chooses the peer.
    pub fn set_peer(&self, peer: &Endpoint) -> Result<(), SocketError> {
        let (stream, _) = Stream::connect(peer, self.local.borrow().as_ref(), Kind::Udp)?;
        if !self.settings().log_errors() {
            stream.log_quietly();
        }
        self.stream.replace(Some(stream));
        Ok(())
    }

    /// Chooses a peer by its name.
    pub async fn resolve_peer(self: Rc<Self>, name: Vec<u8>, port: u16) -> Result<(), SocketError> {
        let all = self.location.resolve(&name).await?;
        let one = all.get(clock::random() as usize % all.len().max(1)).ok_or(SocketError::Closed)?;
        self.set_peer(&Endpoint::Ip((*one, port).into()))
    }

    /// Sends `data` as one datagram; `false` when the system has no room for it now.
    pub fn send_at_once(stream: &Stream, data: &[u8]) -> Result<bool, SocketError> {
        let sent = if data.is_empty() { stream.send_empty() } else { stream.send(data) };
        match sent {
            Io::Done(n) if n < data.len() => Err(SocketError::PartialWrite),
            Io::Done(_) => Ok(true),
            Io::Eof => Err(SocketError::Closed),
            Io::Again => Ok(false),
            Io::Failed(e) => Err(e.into()),
        }
    }

    /// The same, waiting for room.
    pub async fn send(
        self: Rc<Self>,
        stream: Rc<Stream>,
        data: Vec<u8>,
        host: Host,
    ) -> Result<(), SocketError> {
        let timeout = self.read_timeout.get().unwrap_or(self.settings().send_timeout());
        loop {
            self.wait(stream.writable(timeout).await, "write", &host)?;
            if Self::send_at_once(&stream, &data)? {
                return Ok(());
            }
        }
    }

    /// Receives into `out` what it has room for of a datagram; `false` when none has come.
    pub fn receive_at_once(stream: &Stream, out: &mut Vec<u8>) -> Result<bool, SocketError> {
        match stream.recv(out) {
            Io::Done(_) => Ok(true),
            // what is the end of a stream is an empty datagram here
            Io::Eof if stream.fd().is_some() => Ok(true),
            Io::Eof => Err(SocketError::Closed),
            Io::Again => Ok(false),
            Io::Failed(e) => Err(e.into()),
        }
    }

    /// Receives the datagram that comes next: `size` bytes of it at most.
    pub async fn receive(
        self: Rc<Self>,
        stream: Rc<Stream>,
        size: usize,
        host: Host,
    ) -> Result<Vec<u8>, SocketError> {
        let timeout = self.read_timeout.get().unwrap_or(self.settings().read_timeout());
        loop {
            self.wait(stream.readable(timeout).await, "read", &host)?;
            let mut data = Vec::with_capacity(size);
            if Self::receive_at_once(&stream, &mut data)? {
                data.truncate(size);
                return Ok(data);
            }
        }
    }

    fn wait(&self, waited: Result<(), Interrupted>, what: &str, host: &Host) -> Result<(), SocketError> {
        waited.map_err(|interrupted| match interrupted {
            Interrupted::TimedOut => {
                self.log(host, format_args!("lua udp socket {what} timed out"));
                SocketError::Timeout
            }
            Interrupted::Closed => SocketError::Closed,
        })
    }

    /// Logs a failure, unless `lua_socket_log_errors` is off.
    pub fn log(&self, host: &Host, message: core::fmt::Arguments<'_>) {
        if self.settings().log_errors() {
            host.log(Level::Error, &message.to_string());
        }
    }

    /// Closes it. It stays the host's: what belonged to one request is of no use to another one.
    pub fn close(&self) {
        if let Some(stream) = self.stream.take() {
            stream.close();
        }
    }
}

impl Ends for Udp {
    fn host_ended(&self) {
        self.close();
        self.place.take();
    }
}
