//! The client: it sends each request when it is due, whatever became of those before (open loop), and takes the time
//! from when it was due, so that nothing hides in a wait of its own. After a second without an answer it hangs up.

use crate::clock::now;
use crate::events::Events;
use crate::http::{self, Answer};
use crate::scenario::Scenario;
use crate::slots::Slots;
use crate::trace::Shot;
use crate::{DEADLINE_NS, PATIENCE_NS};
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{connect, ipproto, socket_with, AddressFamily, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Answered(Answer),
    /// The connection ended without an answer.
    Broken,
    GaveUp,
}

/// One request and what became of it; times from the beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    pub shot: Shot,
    pub sent_ns: u64,
    pub ended_ns: u64,
    pub end: End,
    /// How long the gateway kept it before it reached the peer that answered.
    pub held_ns: Option<u64>,
}

impl Record {
    pub fn latency_ns(&self) -> u64 {
        self.ended_ns.saturating_sub(self.shot.at_ns)
    }

    pub fn status(&self) -> Option<u16> {
        if let End::Answered(answer) = self.end {
            Some(answer.status)
        } else {
            None
        }
    }

    pub fn ok(&self) -> bool {
        self.status().is_some_and(|status| (200..300).contains(&status))
    }

    /// Answered while the answer was worth something.
    pub fn good(&self) -> bool {
        self.ok() && self.latency_ns() <= DEADLINE_NS
    }

    /// Told at once, and properly, to come back later.
    pub fn refused(&self) -> bool {
        matches!(self.status(), Some(429 | 503))
    }
}

struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// What could not be written yet.
    unsent: Vec<u8>,
    /// The request that it carries.
    shot: Option<usize>,
}

struct Client<'a> {
    gateway: SocketAddr,
    begin: u64,
    shots: &'a [Shot],
    events: Events,
    connections: Slots<Connection>,
    idle: VecDeque<u64>,
    /// By request: the connection it went out on, when, and what became of it.
    sent: Vec<(u64, u64)>,
    records: Vec<Option<Record>>,
}

/// The control port of the peers.
struct Control(BufReader<TcpStream>);

impl Control {
    fn say(&mut self, line: &str) -> io::Result<String> {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut said = String::new();
        self.0.read_line(&mut said)?;
        Ok(said)
    }
}

/// Plays a scenario; also what the peers say of themselves at its end.
pub fn play(
    scenario: &Scenario,
    shots: &[Shot],
    gateway: SocketAddr,
    control: SocketAddr,
    connections: usize,
) -> io::Result<(Vec<Record>, serde_json::Value)> {
    let mut control = Control(BufReader::new(TcpStream::connect(control)?));
    control.0.get_mut().set_nodelay(true)?;
    let mut client = Client {
        gateway,
        // time to connect
        begin: now() + 50_000_000,
        shots,
        events: Events::new()?,
        connections: Slots::default(),
        idle: VecDeque::new(),
        sent: Vec::with_capacity(shots.len()),
        records: vec![None; shots.len()],
    };
    for _ in 0..connections {
        let name = client.connect()?;
        client.idle.push_back(name);
    }
    client.run(scenario, &mut control)?;
    let stats = serde_json::from_str(&control.say("stats")?)?;
    Ok((client.records.into_iter().flatten().collect(), stats))
}

impl Client<'_> {
    fn run(&mut self, scenario: &Scenario, control: &mut Control) -> io::Result<()> {
        let mut faults = scenario.faults.iter().map(|(at, what)| ((at * 1e9) as u64, what)).peekable();
        let mut ready = Vec::new();
        let mut oldest = 0;
        loop {
            let time = now().saturating_sub(self.begin);
            while let Some((_, what)) = faults.next_if(|(at, _)| *at <= time) {
                let said = control.say(what)?;
                if said.trim() != "ok" {
                    return Err(io::Error::other(format!("the peers said {:?} to {what:?}", said.trim())));
                }
            }
            let before_begin = now() < self.begin;
            while !before_begin
                && self.sent.len() < self.shots.len()
                && self.shots[self.sent.len()].at_ns <= time
            {
                self.send()?;
            }
            // patience ends in the order of the requests
            while oldest < self.sent.len() {
                if self.records[oldest].is_none() {
                    if self.shots[oldest].at_ns + PATIENCE_NS > time {
                        break;
                    }
                    self.ended(oldest, End::GaveUp);
                    self.connections.take(self.sent[oldest].0);
                }
                oldest += 1;
            }
            if oldest == self.shots.len() {
                return Ok(());
            }
            let mut next = self.shots.get(self.sent.len()).map_or(u64::MAX, |shot| shot.at_ns);
            next = next.min(self.shots[oldest].at_ns + PATIENCE_NS);
            next = next.min(faults.peek().map_or(u64::MAX, |(at, _)| *at));
            let timeout = (self.begin + next).saturating_sub(now());
            self.events.wait(Some(timeout), &mut ready)?;
            for name in &ready {
                self.ready(*name)?;
            }
        }
    }

    fn connect(&mut self) -> io::Result<u64> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        set_tcp_nodelay(&socket, true)?;
        match connect(&socket, &self.gateway) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(why) => return Err(why.into()),
        }
        let stream = TcpStream::from(socket);
        let name =
            self.connections.put(Connection { stream, bytes: Vec::new(), unsent: Vec::new(), shot: None });
        if let Some(connection) = self.connections.get(name) {
            self.events.add(&connection.stream, name)?;
        }
        Ok(name)
    }

    fn send(&mut self) -> io::Result<()> {
        let shot = self.sent.len();
        let text = request(&self.shots[shot]);
        // the one that has been idle for longest, so that all are used alike
        let name = loop {
            match self.idle.pop_front() {
                Some(name) if self.connections.get(name).is_some() => break name,
                Some(_) => {}
                None => break self.connect()?,
            }
        };
        self.sent.push((name, now() - self.begin));
        if let Some(connection) = self.connections.get(name) {
            connection.shot = Some(shot);
            connection.unsent = text.into_bytes();
            if !flush(connection) {
                self.broken(name);
            }
        }
        Ok(())
    }

    fn ended(&mut self, shot: usize, end: End) {
        if self.records[shot].is_none() {
            let (ended_ns, sent_ns) = (now() - self.begin, self.sent[shot].1);
            let held_ns = match end {
                End::Answered(answer) if answer.arrived_us > 0 => {
                    Some((answer.arrived_us * 1000).saturating_sub(self.begin + sent_ns))
                }
                _ => None,
            };
            self.records[shot] = Some(Record { shot: self.shots[shot], sent_ns, ended_ns, end, held_ns });
        }
    }

    fn broken(&mut self, name: u64) {
        if let Some(shot) = self.connections.take(name).and_then(|connection| connection.shot) {
            self.ended(shot, End::Broken);
        }
    }

    fn ready(&mut self, name: u64) -> io::Result<()> {
        let Some(connection) = self.connections.get(name) else { return Ok(()) };
        let mut open = flush(connection);
        let mut buffer = [0; 4096];
        while open {
            match connection.stream.read(&mut buffer) {
                Ok(0) => open = false,
                Ok(count) => connection.bytes.extend_from_slice(&buffer[..count]),
                Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                Err(why) if why.kind() == ErrorKind::NotConnected => break,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(_) => open = false,
            }
        }
        let read = http::answer(&connection.bytes);
        let answer = match read {
            http::Read::Whole(answer) => Some(answer),
            http::Read::UntilClose(answer) if !open => Some(answer),
            http::Read::Nonsense => {
                self.broken(name);
                return Ok(());
            }
            _ => None,
        };
        match (answer, connection.shot) {
            (Some(answer), Some(shot)) => {
                connection.shot = None;
                connection.bytes.clear();
                self.ended(shot, End::Answered(answer));
                if open && !answer.closes {
                    self.idle.push_back(name);
                } else {
                    self.connections.take(name);
                }
            }
            // what nobody asked for: not a connection to ask on
            _ if !open || connection.shot.is_none() && !connection.bytes.is_empty() => self.broken(name),
            _ => {}
        }
        Ok(())
    }
}

/// Whether the connection still stands.
fn flush(connection: &mut Connection) -> bool {
    while !connection.unsent.is_empty() {
        match connection.stream.write(&connection.unsent) {
            Ok(count) => drop(connection.unsent.drain(..count)),
            Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return true,
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    true
}

fn request(shot: &Shot) -> String {
    let method = if shot.post { "POST" } else { "GET" };
    let class = if shot.checkout { "checkout" } else { "related" };
    let (length, body) = if shot.post { ("Content-Length: 8\r\n", "order=1\n") } else { ("", "") };
    format!(
        "{method} / HTTP/1.1\r\nHost: shop\r\nX-Work-Us: {}\r\nX-Class: {class}\r\nX-Tenant: t{}\r\n{length}\r\n{body}",
        shot.work_us, shot.tenant
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_reads_the_request_that_a_client_writes() {
        for post in [false, true] {
            let text = request(&Shot { at_ns: 0, work_us: 777, post, checkout: true, tenant: 4 });
            let read = http::request(text.as_bytes()).flatten();
            assert_eq!(read, Some(http::Request { work_us: 777, bytes: text.len() }));
            assert!(text.contains("X-Tenant: t4") && text.contains("X-Class: checkout"));
        }
    }
}
