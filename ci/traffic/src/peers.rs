//! The peers: each works on a few requests at once and lets the others wait in the order in which they came, without
//! noticing when a client has left, as most servers do. The work is slept, not burnt.
//!
//! How a peer is, is told on a control port, a line each: `3 slow 3` (work takes three times as long), `3 fail 0.5`
//! (that share gets 500 at once), `3 hang` (nothing more is answered), `3 dead` (resets, then refuses), `3 busy` (429 at
//! once), `3 cold 5 2` (five times slower at first, well after two seconds), `3 well`. `stats` is answered with JSON.

use crate::clock::now;
use crate::events::Events;
use crate::http;
use crate::random::Random;
use crate::slots::Slots;
use crate::{PEERS, SLOTS};
use rustix::net::sockopt::{set_socket_linger, set_socket_reuseaddr};
use rustix::net::{bind, ipproto, listen, socket_with, AddressFamily, SocketFlags, SocketType};
use serde_json::json;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

/// An immediate answer takes this long.
const AT_ONCE_NS: u64 = 1_000_000;
/// Connections of one peer; one more is closed at once.
const CONNECTIONS: usize = 4096;
const BACKLOG: i32 = 1024;
/// The token of the control port; the peers' listeners are those below.
const CONTROL: u64 = PEERS as u64;

/// How a peer is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Well,
    Slow(f64),
    /// The share of requests that fail.
    Fail(f64),
    Hang,
    Dead,
    Busy,
    /// So many times slower at first, and well after that many seconds.
    Cold(f64, f64),
}

impl Way {
    /// A line of the control port: which peer, and how it shall be.
    pub fn parse(line: &str) -> Option<(usize, Self)> {
        let mut words = line.split_ascii_whitespace();
        let peer = words.next()?.parse().ok().filter(|peer| *peer < PEERS)?;
        let name = words.next()?;
        let mut number = || words.next()?.parse::<f64>().ok().filter(|number| *number >= 0.0);
        let way = match name {
            "well" => Self::Well,
            "slow" => Self::Slow(number()?),
            "fail" => Self::Fail(number()?),
            "hang" => Self::Hang,
            "dead" => Self::Dead,
            "busy" => Self::Busy,
            "cold" => Self::Cold(number()?, number()?),
            _ => return None,
        };
        words.next().is_none().then_some((peer, way))
    }

    /// How many times longer work takes, so many seconds after it became so.
    fn factor(self, seconds: f64) -> f64 {
        match self {
            Self::Slow(factor) => factor,
            Self::Cold(factor, warm) if seconds < warm => factor + (1.0 - factor) * seconds / warm,
            _ => 1.0,
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// `None`: of the control port.
    peer: Option<usize>,
    bytes: Vec<u8>,
    /// A request of it waits or is worked on.
    busy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    connection: u64,
    arrived_ns: u64,
    work_us: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Done { peer: usize, job: Job, queued_ns: u64 },
    Say { status: u16, job: Job },
}

struct Peer {
    listener: Option<TcpListener>,
    address: SocketAddr,
    way: Way,
    since_ns: u64,
    running: usize,
    queue: VecDeque<Job>,
    connections: usize,
    served: u64,
    refused: u64,
    most_queued: usize,
}

pub struct Peers {
    events: Events,
    peers: Vec<Peer>,
    control: TcpListener,
    connections: Slots<Connection>,
    timers: BinaryHeap<Reverse<(u64, Timer)>>,
    random: Random,
}

impl Peers {
    /// Peers on as many ports from `port` on, told how to be on `control`; all on the loopback. 0 is any port.
    pub fn new(port: u16, control: u16) -> io::Result<Self> {
        let events = Events::new()?;
        let control = listening(SocketAddrV4::new(Ipv4Addr::LOCALHOST, control))?;
        events.add_listener(&control, CONTROL)?;
        let mut peers = Vec::new();
        for at in 0..PEERS {
            let wanted = if port == 0 { 0 } else { port + at as u16 };
            let listener = listening(SocketAddrV4::new(Ipv4Addr::LOCALHOST, wanted))?;
            let address = listener.local_addr()?;
            events.add_listener(&listener, at as u64)?;
            peers.push(Peer {
                listener: Some(listener),
                address,
                way: Way::Well,
                since_ns: 0,
                running: 0,
                queue: VecDeque::new(),
                connections: 0,
                served: 0,
                refused: 0,
                most_queued: 0,
            });
        }
        let (connections, timers) = (Slots::default(), BinaryHeap::new());
        Ok(Self { events, peers, control, connections, timers, random: Random::new(1) })
    }

    /// Where a peer listens, and where one tells them how to be.
    pub fn addresses(&self, peer: usize) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.peers[peer].address, self.control.local_addr()?))
    }

    /// Serves for so long.
    pub fn run(&mut self, seconds: u64) -> io::Result<()> {
        let end = now() + seconds * 1_000_000_000;
        let mut ready = Vec::new();
        loop {
            let time = now();
            if time >= end {
                return Ok(());
            }
            while self.timers.peek().is_some_and(|Reverse((due, _))| *due <= time) {
                if let Some(Reverse((due, timer))) = self.timers.pop() {
                    self.fire(due, timer);
                }
            }
            let next = self.timers.peek().map_or(end, |Reverse((due, _))| *due);
            self.events.wait(Some(next.saturating_sub(now())), &mut ready)?;
            for token in &ready {
                match *token {
                    token if token <= CONTROL => self.accept(token),
                    name => self.readable(name),
                }
            }
        }
    }

    fn accept(&mut self, token: u64) {
        let peer = (token < CONTROL).then_some(token as usize);
        loop {
            let listener = peer.map_or(Some(&self.control), |at| self.peers[at].listener.as_ref());
            let Some(Ok((stream, _))) = listener.map(TcpListener::accept) else { return };
            if peer.is_some_and(|at| self.peers[at].connections >= CONNECTIONS) {
                continue;
            }
            if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
                continue;
            }
            let name = self.connections.put(Connection { stream, peer, bytes: Vec::new(), busy: false });
            if let Some(at) = peer {
                self.peers[at].connections += 1;
            }
            let added = self.connections.get(name).map(|it| self.events.add(&it.stream, name));
            if !matches!(added, Some(Ok(()))) {
                self.close(name);
            }
        }
    }

    fn close(&mut self, name: u64) -> Option<Connection> {
        let gone = self.connections.take(name)?;
        if let Some(at) = gone.peer {
            self.peers[at].connections -= 1;
        }
        Some(gone)
    }

    fn readable(&mut self, name: u64) {
        let Some(connection) = self.connections.get(name) else { return };
        let mut buffer = [0; 4096];
        let open = loop {
            match connection.stream.read(&mut buffer) {
                Ok(0) => break false,
                Ok(count) => connection.bytes.extend_from_slice(&buffer[..count]),
                Err(why) if why.kind() == ErrorKind::WouldBlock => break true,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        match connection.peer {
            Some(peer) => self.request(name, peer),
            None => self.order(name),
        }
        if !open {
            // a request of it stays in the queue: nobody here looks whether its client still waits
            self.close(name);
        }
    }

    fn request(&mut self, name: u64, peer: usize) {
        let Some(connection) = self.connections.get(name).filter(|connection| !connection.busy) else {
            return;
        };
        let Some(request) = http::request(&connection.bytes) else { return };
        let Some(request) = request else {
            self.close(name);
            return;
        };
        connection.bytes.drain(..request.bytes);
        connection.busy = true;
        let time = now();
        let job = Job { connection: name, arrived_ns: time, work_us: request.work_us };
        let fails = matches!(self.peers[peer].way, Way::Fail(share) if self.random.unit() < share);
        let it = &mut self.peers[peer];
        let status = if fails { 500 } else { 429 };
        if fails || it.way == Way::Busy {
            it.refused += 1;
            self.timers.push(Reverse((time + AT_ONCE_NS, Timer::Say { status, job })));
        } else if it.running < SLOTS {
            self.start(peer, job, time);
        } else {
            it.queue.push_back(job);
            it.most_queued = it.most_queued.max(it.queue.len());
        }
    }

    /// Begins with a job at a time that may already be over, for the next one in the queue begins when the last one
    /// was due, not when this thread was woken.
    fn start(&mut self, peer: usize, job: Job, from_ns: u64) {
        let it = &mut self.peers[peer];
        it.running += 1;
        let factor = it.way.factor(from_ns.saturating_sub(it.since_ns) as f64 / 1e9);
        let due = from_ns + (job.work_us as f64 * 1000.0 * factor) as u64;
        let queued_ns = from_ns - job.arrived_ns;
        self.timers.push(Reverse((due, Timer::Done { peer, job, queued_ns })));
    }

    fn fire(&mut self, due: u64, timer: Timer) {
        match timer {
            Timer::Say { status, job } => self.answer(job, status, 0),
            Timer::Done { peer, job, queued_ns } => {
                let it = &mut self.peers[peer];
                it.running -= 1;
                it.served += 1;
                let answers = it.way != Way::Hang;
                if let Some(next) = it.queue.pop_front() {
                    self.start(peer, next, due.max(next.arrived_ns));
                }
                if answers {
                    self.answer(job, 200, queued_ns);
                }
            }
        }
    }

    fn answer(&mut self, job: Job, status: u16, queued_ns: u64) {
        let Some(connection) = self.connections.get(job.connection) else { return };
        let Some(peer) = connection.peer else { return };
        let more = if status == 429 { "Retry-After: 1\r\n" } else { "" };
        let text = format!(
            "HTTP/1.1 {status} -\r\nContent-Length: 3\r\nX-Peer: {peer}\r\nX-Arrived-Us: {}\r\nX-Queued-Us: {}\r\n{more}\r\nok\n",
            job.arrived_ns / 1000,
            queued_ns / 1000,
        );
        connection.busy = false;
        if !matches!(connection.stream.write(text.as_bytes()), Ok(count) if count == text.len()) {
            self.close(job.connection);
        } else if !connection.bytes.is_empty() {
            self.request(job.connection, peer);
        }
    }

    fn order(&mut self, name: u64) {
        while let Some(connection) = self.connections.get(name) {
            let Some(end) = connection.bytes.iter().position(|&byte| byte == b'\n') else { return };
            let line: Vec<u8> = connection.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let said = match Way::parse(line.trim()) {
                Some((peer, way)) => {
                    self.become_(peer, way).map_or_else(|why| format!("{why}\n"), |()| "ok\n".into())
                }
                None if line.trim() == "stats" => format!("{}\n", self.stats()),
                None => "what?\n".into(),
            };
            let Some(connection) = self.connections.get(name) else { return };
            if connection.stream.write_all(said.as_bytes()).is_err() {
                self.close(name);
            }
        }
    }

    fn become_(&mut self, peer: usize, way: Way) -> io::Result<()> {
        let it = &mut self.peers[peer];
        it.way = way;
        it.since_ns = now();
        if way == Way::Dead {
            it.listener = None;
            it.queue.clear();
            for name in self.connections.names() {
                if self.connections.get(name).is_some_and(|connection| connection.peer == Some(peer)) {
                    if let Some(gone) = self.close(name) {
                        // closing resets: that is what the client of a process that was killed sees at once
                        let _ = set_socket_linger(&gone.stream, Some(Duration::ZERO));
                    }
                }
            }
        } else if it.listener.is_none() {
            let listener = listening(it.address)?;
            self.events.add_listener(&listener, peer as u64)?;
            it.listener = Some(listener);
        }
        Ok(())
    }

    fn stats(&self) -> serde_json::Value {
        let rows = self.peers.iter().map(|peer| {
            json!({ "served": peer.served, "refused": peer.refused, "most_queued": peer.most_queued,
                    "queued": peer.queue.len(), "connections": peer.connections })
        });
        json!(rows.collect::<Vec<_>>())
    }
}

fn listening(address: impl Into<SocketAddr>) -> io::Result<TcpListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address.into())?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_a_peer_is() {
        assert_eq!(Way::parse("3 slow 3"), Some((3, Way::Slow(3.0))));
        assert_eq!(Way::parse("0 fail 0.5"), Some((0, Way::Fail(0.5))));
        assert_eq!(Way::parse("7 cold 5 2"), Some((7, Way::Cold(5.0, 2.0))));
        for wrong in ["8 well", "x well", "1 slow", "1 slow -1", "1 well 2", "1 other", "stats", ""] {
            assert_eq!(Way::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_cold_peer_warms_up() {
        let way = Way::Cold(5.0, 2.0);
        assert_eq!([0.0, 1.0, 2.0, 9.0].map(|seconds| way.factor(seconds)), [5.0, 3.0, 1.0, 1.0]);
        assert_eq!(Way::Slow(3.0).factor(100.0), 3.0);
        assert_eq!(Way::Busy.factor(0.0), 1.0);
    }
}
