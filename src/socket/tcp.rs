//! A TCP socket as scripts hold it: connected or not, with bytes that have come and were not asked for yet.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::rc::Rc;

use logic::receive::{Found, Step, Unread, Until, Wanted};

use super::error::Reason;
use super::pool::{Asked, Leave, Pools};
use super::{Settings, SocketError};
use crate::ngx::{
    clock, cycle_main_conf, debug_cycle, Endpoint, Interrupted, Io, Kind, Level, Location, Peer, Stream,
};
use crate::run::{Ends, Host, Owned, Place};

/// The most that is read at a time when much is asked for.
const MOST: usize = 256 * 1024;

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

/// While it lives, a connection is on its way.
struct AwaitsPeer(Rc<Tcp>);

impl AwaitsPeer {
    fn begin(tcp: &Rc<Tcp>) -> AwaitsPeer {
        tcp.awaits_peer.set(true);
        AwaitsPeer(Rc::clone(tcp))
    }
}

impl Drop for AwaitsPeer {
    fn drop(&mut self) {
        self.0.awaits_peer.set(false);
    }
}

/// Where to connect, and what pool the connection belongs to.
pub struct Connect<'a> {
    pub host: &'a [u8],
    pub port: u16,
    pub pool: &'a [u8],
    /// Given when the script asked for a pool of its own making.
    pub pool_size: Option<usize>,
    pub backlog: Option<usize>,
}

/// What to receive.
pub enum Ask {
    Plain(Wanted),
    Until { until: Rc<RefCell<Until>>, size: Option<usize> },
}

/// What was received.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// So many bytes at the front.
    Piece(Found),
    /// The pattern was reached before.
    End,
}

impl Ask {
    fn find(&mut self, unread: &[u8]) -> Option<Outcome> {
        match self {
            Ask::Plain(wanted) => wanted.find(unread).map(Outcome::Piece),
            Ask::Until { until, size } => match until.borrow_mut().find(unread, *size) {
                Step::More => None,
                Step::Piece(found) => Some(Outcome::Piece(found)),
                Step::End => Some(Outcome::End),
            },
        }
    }

    fn at_end(&self, unread: &[u8]) -> Option<Outcome> {
        match self {
            Ask::Plain(wanted) => wanted.at_end(unread).map(Outcome::Piece),
            Ask::Until { .. } => None,
        }
    }

    fn missing(&self, unread: usize) -> usize {
        match self {
            Ask::Plain(wanted) => wanted.missing(unread),
            Ask::Until { .. } => 1,
        }
    }

    pub fn drops_cr(&self) -> bool {
        matches!(self, Ask::Plain(wanted) if wanted.drops_cr())
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

    /// Connects as far as that takes no time: true when it is done, else [`Tcp::connect_slowly`] goes on.
    pub fn connect_at_once(
        self: &Rc<Self>,
        owned: &Rc<Owned>,
        what: &Connect<'_>,
        pools: &'static Pools,
    ) -> Result<Option<Asked>, SocketError> {
        if self.place.borrow().as_ref().is_some_and(|place| !place.is_of(owned)) {
            return Err(SocketError::NotOurs);
        }
        self.refuse(&[Doing::Connecting, Doing::Reading, Doing::Writing])?;
        self.drop_stream();
        self.place.replace(Some(owned.add(Rc::downgrade(&(Rc::clone(self) as Rc<dyn Ends>)))));
        let size = match what.backlog {
            Some(_) => what.pool_size.or(Some(self.settings().pool_size())),
            None => what.pool_size,
        };
        let pool = match size {
            Some(size) => Some(pools.get(what.pool, size, what.backlog)),
            None => pools.find(what.pool),
        };
        let Some(pool) = pool else {
            self.pool_name.replace(what.pool.to_vec());
            return Ok(Some(Asked::Free));
        };
        match pool.ask() {
            Asked::Reused(leave, stream, reused) => {
                self.adopt(stream, Some(leave), reused);
                Ok(None)
            }
            asked => Ok(Some(asked)),
        }
    }

    /// Connects after what its pool has `asked`; a name is looked up.
    pub async fn connect_slowly(
        self: Rc<Self>,
        to: Result<Endpoint, (Vec<u8>, u16)>,
        asked: Asked,
        host: Host,
    ) -> Result<(), SocketError> {
        let timeout = self.connect_timeout.get().unwrap_or(self.settings().connect_timeout());
        let asked = match asked {
            Asked::Full(pool) => match pool.wait(timeout).await {
                Err(SocketError::Timeout) => {
                    let late = "lua tcp socket queued connect timed out, when trying to connect to";
                    match to {
                        Ok(to) => self.log(&host, format_args!("{late} {to}")),
                        Err((name, port)) => {
                            self.log(&host, format_args!("{late} {}:{port}", String::from_utf8_lossy(&name)));
                        }
                    }
                    return Err(SocketError::Timeout);
                }
                given => given?,
            },
            asked => asked,
        };
        let leave = match asked {
            Asked::Reused(leave, stream, reused) => {
                self.adopt(stream, Some(leave), reused);
                return Ok(());
            }
            Asked::Make(leave) => Some(leave),
            Asked::Free | Asked::Full(_) => None,
        };
        let endpoint = match to {
            Ok(endpoint) => endpoint,
            Err((name, _)) if name.is_empty() => return Err(SocketError::NoHost),
            Err((name, port)) => {
                let all = self.location.resolve(&name).await?;
                let one = all.get(clock::random() as usize % all.len().max(1)).ok_or(SocketError::Closed)?;
                Endpoint::Ip((*one, port).into())
            }
        };
        host.debug(format_args!("lua tcp socket connect timeout: {}", timeout.as_millis()));
        let (stream, done) = Stream::connect(&endpoint, self.local.borrow().as_ref(), Kind::Tcp)?;
        if !done {
            let _awaits = AwaitsPeer::begin(&self);
            match stream.writable(timeout).await {
                Ok(()) => {
                    if let Err(e) = stream.connected() {
                        let (code, why) = (e.raw_os_error().unwrap_or_default(), Reason(e));
                        let failed =
                            format_args!("connect() failed ({code}: {why}), when connecting to {endpoint}");
                        self.log(&host, failed);
                        return Err(SocketError::Io(why));
                    }
                }
                Err(Interrupted::TimedOut) => {
                    let message = "lua tcp socket connect timed out, when connecting to";
                    self.log(&host, format_args!("{message} {endpoint}"));
                    return Err(SocketError::Timeout);
                }
                Err(Interrupted::Closed) => return Err(SocketError::Closed),
            }
        }
        if self.location.tcp_nodelay() && matches!(endpoint, Endpoint::Ip(_)) {
            host.debug(format_args!("lua socket tcp_nodelay"));
            stream.set_option(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
        }
        self.adopt(stream, leave, 0);
        Ok(())
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

    /// Receives as far as that takes no time; `None` when more must come.
    pub fn receive_at_once(&self, ask: &mut Ask) -> Result<Option<Outcome>, SocketError> {
        loop {
            let mut unread = self.unread.borrow_mut();
            if let Some(outcome) = ask.find(unread.bytes()) {
                return Ok(Some(outcome));
            }
            if self.read_ended.get() {
                return Err(SocketError::Closed);
            }
            let stream = self.stream()?;
            let room = ask.missing(unread.len()).clamp(self.settings().buffer_size(), MOST);
            match stream.recv(unread.room(room)) {
                Io::Done(_) => {}
                Io::Again => return Ok(None),
                Io::Failed(e) => {
                    drop(unread);
                    self.drop_stream_only();
                    return Err(e.into());
                }
                Io::Eof => {
                    self.read_ended.set(true);
                    let outcome = ask.at_end(unread.bytes());
                    return outcome.map(Some).ok_or(SocketError::Closed);
                }
            }
        }
    }

    /// Receives what has not come at once, however long that takes.
    pub async fn receive(self: Rc<Self>, mut ask: Ask, host: Host) -> (Result<Outcome, SocketError>, Ask) {
        let timeout = self.read_timeout.get().unwrap_or(self.settings().read_timeout());
        loop {
            let Ok(stream) = self.stream() else { return (Err(SocketError::Closed), ask) };
            host.debug(format_args!("lua tcp socket read timeout: {}", timeout.as_millis()));
            match stream.readable(timeout).await {
                Ok(()) => {}
                Err(Interrupted::TimedOut) => {
                    self.log(&host, format_args!("lua tcp socket read timed out"));
                    return (Err(SocketError::Timeout), ask);
                }
                Err(Interrupted::Closed) => return (Err(SocketError::Closed), ask),
            }
            match self.receive_at_once(&mut ask) {
                Ok(Some(outcome)) => return (Ok(outcome), ask),
                Ok(None) => {}
                Err(e) => return (Err(e), ask),
            }
        }
    }

    /// Takes what was found out of the buffer and shows it to `f`.
    pub fn take<T>(&self, ask: &Ask, found: Found, f: impl FnOnce(&[u8]) -> T) -> T {
        let mut unread = self.unread.borrow_mut();
        unread.take(found.used);
        let taken = &unread.taken(found.used)[..found.keep];
        let Some((last, front)) = taken.split_last().filter(|_| ask.drops_cr()) else { return f(taken) };
        if memchr::memchr(b'\r', front).is_some() {
            let without: Vec<u8> = taken.iter().copied().filter(|c| *c != b'\r').collect();
            return f(&without);
        }
        f(if *last == b'\r' { front } else { taken })
    }

    /// What had come when receiving failed.
    pub fn take_partial<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        let mut unread = self.unread.borrow_mut();
        let n = unread.len();
        unread.take(n);
        f(unread.taken(n))
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
