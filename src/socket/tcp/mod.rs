//! A TCP socket as scripts hold it: connected or not, with bytes that have come and were not asked for yet.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::rc::Rc;

use logic::receive::Unread;

use super::pool::{Leave, Pools};
use super::{Settings, SocketError};
use crate::ngx::{cycle_main_conf, debug_cycle, Endpoint, Interrupted, Io, Level, Location, Peer, Stream};
use crate::run::{Ends, Host, Owned, Place};

mod connect;
mod receive;

pub use connect::Connect;
pub use receive::{Ask, Outcome};

pub struct Tcp {
    stream: RefCell<Option<Rc<Stream>>>,
    /// The place in the host's list, from the first connection on.
    place: RefCell<Option<Place>>,
    leave: Cell<Option<Leave>>,
    pool_name: RefCell<Vec<u8>>,
    unread: RefCell<Unread>,
    reused: Cell<u32>,
    /// Set by the script; else as the location says.
    pub(super) connect_timeout: Cell<Option<Duration>>,
    send_timeout: Cell<Option<Duration>>,
    read_timeout: Cell<Option<Duration>>,
    busy: [Cell<bool>; 3],
    /// A connection is on its way.
    awaits_peer: Cell<bool>,
    /// The peer has closed its side.
    read_ended: Cell<bool>,
    local: RefCell<Option<Endpoint>>,
    location: Location,
    /// What is set for handshakes.
    pub tls: super::tls::Own,
}

/// What a thread may do to a socket while no other does the same.
#[derive(Clone, Copy)]
pub enum Doing {
    Connecting,
    Reading,
    Writing,
}

const DOINGS: [(Doing, &str); 3] =
    [(Doing::Connecting, "connecting"), (Doing::Reading, "reading"), (Doing::Writing, "writing")];

/// While it lives, the socket is busy with something.
pub struct Busy {
    tcp: Rc<Tcp>,
    doing: Doing,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.tcp.busy[self.doing as usize].set(false);
    }
}

impl Tcp {
    pub fn new(location: Location) -> Rc<Tcp> {
        Rc::new(Tcp {
            stream: RefCell::default(),
            place: RefCell::default(),
            leave: Cell::default(),
            pool_name: RefCell::default(),
            unread: RefCell::default(),
            reused: Cell::new(0),
            connect_timeout: Cell::default(),
            send_timeout: Cell::default(),
            read_timeout: Cell::default(),
            busy: Default::default(),
            awaits_peer: Cell::new(false),
            read_ended: Cell::new(false),
            local: RefCell::default(),
            location,
            tls: Default::default(),
        })
    }

    /// A socket that is the connection of a request's client.
    pub fn of_client(location: Location, stream: Rc<Stream>, owned: &Rc<Owned>) -> Rc<Tcp> {
        let tcp = Tcp::new(location);
        tcp.place.replace(Some(owned.add(Rc::downgrade(&(Rc::clone(&tcp) as Rc<dyn Ends>)))));
        tcp.adopt(stream, None, 0);
        tcp
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.location.conf().sockets
    }

    pub(super) fn location(&self) -> Location {
        self.location
    }

    /// Whether something has come that was not asked for yet.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.borrow().is_empty()
    }

    /// Whether the socket is connected, and by the script of this host.
    pub fn check(&self, owned: &Rc<Owned>) -> Result<(), SocketError> {
        match &*self.place.borrow() {
            Some(place) if !place.is_of(owned) => Err(SocketError::NotOurs),
            _ if self.stream.borrow().is_some() => Ok(()),
            // a name that is looked up is no connection yet
            _ if self.awaits_peer.get() => self.refuse(&[Doing::Connecting]),
            _ => Err(SocketError::Closed),
        }
    }

    pub fn stream(&self) -> Result<Rc<Stream>, SocketError> {
        self.stream.borrow().clone().ok_or(SocketError::Closed)
    }

    /// Marks the socket as busy; an error when another thread does the same, or connects.
    pub fn begin(self: &Rc<Self>, doing: Doing) -> Result<Busy, SocketError> {
        self.refuse(&[Doing::Connecting, doing])?;
        self.busy[doing as usize].set(true);
        Ok(Busy { tcp: Rc::clone(self), doing })
    }

    pub(super) fn refuse(&self, doings: &[Doing]) -> Result<(), SocketError> {
        for doing in doings {
            if self.busy[*doing as usize].get() {
                return Err(SocketError::Busy(DOINGS[*doing as usize].1));
            }
        }
        Ok(())
    }

    /// Sets timeouts (zero: none); `None` stands for what the location says.
    pub fn set_timeouts(&self, connect: Option<Duration>, send: Option<Duration>, read: Option<Duration>) {
        self.connect_timeout.set(connect);
        self.send_timeout.set(send);
        self.read_timeout.set(read);
    }

    /// Has new connections leave from `local`.
    pub fn bind(&self, local: Option<Endpoint>) {
        if let Some(Endpoint::Ip(address)) = &local {
            debug_cycle(format_args!("lua tcp socket bind ip: {}", address.ip()));
        }
        self.local.replace(local);
    }

    fn adopt(&self, stream: Rc<Stream>, leave: Option<Leave>, reused: u32) {
        if let (1.., Some(fd)) = (reused, stream.fd()) {
            debug_cycle(format_args!("lua tcp socket get keepalive peer: using connection, fd:{fd}"));
        }
        self.stream.replace(Some(stream));
        self.leave.set(leave);
        self.reused.set(reused);
        self.read_ended.set(false);
        let buffer = cycle_main_conf().map(|main| main.pools.buffer()).unwrap_or_default();
        self.unread.replace(Unread::with(buffer));
    }

    /// Logs a failure, unless `lua_socket_log_errors` is off.
    pub fn log(&self, host: &Host, message: core::fmt::Arguments<'_>) {
        if self.settings().log_errors() {
            host.log(Level::Error, &message.to_string());
        }
    }

    /// Sends as much as takes no time.
    pub fn send_at_once(&self, data: &[u8]) -> Result<usize, SocketError> {
        let stream = self.stream()?;
        let mut sent = 0;
        while sent < data.len() {
            match stream.send(&data[sent..]) {
                Io::Done(n) => sent += n,
                Io::Again => break,
                Io::Eof => {
                    self.drop_stream_only();
                    return Err(SocketError::Closed);
                }
                Io::Failed(e) => {
                    self.drop_stream_only();
                    return Err(e.into());
                }
            }
        }
        Ok(sent)
    }

    /// Sends the rest of `data`, of which `sent` bytes are on their way.
    pub async fn send(
        self: Rc<Self>,
        data: Vec<u8>,
        mut sent: usize,
        host: Host,
    ) -> Result<usize, SocketError> {
        let timeout = self.send_timeout.get().unwrap_or(self.settings().send_timeout());
        let unfinished = super::tls::Unfinished::if_encrypted(&self);
        while sent < data.len() {
            host.debug(format_args!("lua tcp socket send timeout: {}", timeout.as_millis()));
            match self.stream()?.writable(timeout).await {
                Ok(()) => sent += self.send_at_once(&data[sent..])?,
                Err(Interrupted::TimedOut) => {
                    self.log(&host, format_args!("lua tcp socket write timed out"));
                    self.drop_stream_only();
                    return Err(SocketError::Timeout);
                }
                Err(Interrupted::Closed) => return Err(SocketError::Closed),
            }
        }
        if let Some(unfinished) = unfinished {
            unfinished.finish();
        }
        Ok(sent)
    }

    /// Gives the connection back to its pool.
    pub fn keep_alive(
        &self,
        pools: &'static Pools,
        timeout: Option<Duration>,
        size: Option<usize>,
    ) -> Result<(), SocketError> {
        self.refuse(&[Doing::Connecting, Doing::Reading, Doing::Writing])?;
        let stream = self.stream()?;
        if !self.unread.borrow().is_empty() {
            return Err(SocketError::UnreadData);
        }
        match stream.peek() {
            Peer::Quiet if !self.read_ended.get() => {}
            Peer::Talks => return Err(SocketError::Dubious),
            _ => return Err(SocketError::Closed),
        }
        let leave = self.leave.take().unwrap_or_else(|| {
            let size = size.unwrap_or(self.settings().pool_size());
            pools.get(&self.pool_name.borrow(), size, None).leave()
        });
        self.stream.take();
        self.place.take();
        self.drop_unread();
        let timeout = timeout.unwrap_or(self.settings().keepalive_timeout());
        leave.keep(pools, stream, self.reused.get(), timeout);
        Ok(())
    }

    pub fn reused(&self) -> u32 {
        self.reused.get()
    }

    /// Closes it, unless a thread waits for it.
    pub fn close(&self) -> Result<(), SocketError> {
        self.refuse(&[Doing::Connecting, Doing::Reading, Doing::Writing])?;
        self.stream()?;
        self.drop_stream();
        Ok(())
    }

    /// Closes it, and forgets what has come.
    fn drop_stream(&self) {
        self.drop_stream_only();
        self.drop_unread();
        self.place.take();
    }

    fn drop_unread(&self) {
        let buffer = self.unread.take().into_buffer();
        if let Some(main) = cycle_main_conf() {
            main.pools.keep_buffer(buffer);
        }
    }

    pub(super) fn drop_stream_only(&self) {
        if let Some(stream) = self.stream.take() {
            stream.close();
        }
        self.leave.take();
    }
}

impl Ends for Tcp {
    fn host_ended(&self) {
        // to others that have kept it, it is a closed one
        self.drop_stream();
    }
}
