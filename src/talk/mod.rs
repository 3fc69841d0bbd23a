//! Conversations with servers that do not speak HTTP: one connection, a few words each way, an end by a deadline.
//!
//! A message to Redis or RabbitMQ is rare, and a connection of its own for each is the simplest that cannot be stale. What connects,
//! shakes hands and limits the time is the HTTP client's.

use core::cell::Cell;
use core::fmt;
use core::future::Future;
use core::time::Duration;
use std::rc::Rc;

use logic::autoscale::conf::Endpoint;
use logic::wire::login::Login;

use crate::http::{self, Deadline, HttpError, Part, TlsOptions};
use crate::ngx::{Io, Location, Stream};

pub mod amqp;
pub mod redis;

/// How much is read at a time.
const READ_SIZE: usize = 4096;

/// A server, and who we are to it.
pub struct Server<'a> {
    pub at: &'a Endpoint,
    pub ca_file: Option<&'a str>,
    pub login: Option<Login>,
}

/// How far a conversation has come, and the time there is for all of it.
pub struct Turn {
    pub location: Location,
    pub limit: Duration,
    part: Cell<Part>,
}

/// Why there was no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    #[error("{0}")]
    Net(#[from] HttpError),
    /// The server's words, and whether the same again may come to something else.
    #[error("{0}")]
    Said(Shown, bool),
    /// Right before the bytes were to leave.
    #[error("no longer the leader")]
    Deposed,
}

/// Somebody else's text, fit for a line of a log.
#[derive(Debug)]
pub struct Shown(String);

impl Shown {
    pub fn new(text: &str) -> Shown {
        const LONGEST: usize = 200;
        Shown(text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Turn {
    pub fn new(location: Location, limit: Duration) -> Turn {
        Turn { location, limit, part: Cell::new(Part::Connect) }
    }

    /// Does `work` within the time there is.
    pub async fn within<T>(&self, work: impl Future<Output = Result<T, TalkError>>) -> Result<T, TalkError> {
        let outcome = async { Ok(work.await) };
        http::within(self.limit, Deadline::default(), &self.part, outcome).await?
    }
}

/// A connection on which bytes are sent and read.
struct Talk<'a> {
    stream: Rc<Stream>,
    turn: &'a Turn,
    /// What has come and was not taken yet.
    input: Vec<u8>,
}

impl<'a> Talk<'a> {
    async fn to(server: &Server<'_>, turn: &'a Turn) -> Result<Talk<'a>, TalkError> {
        let options = server.at.tls.then(|| TlsOptions {
            ca: server.ca_file.map(|file| file.as_bytes().to_vec()),
            ..TlsOptions::default()
        });
        let Endpoint { host, port, .. } = server.at;
        let stream = http::dial(host, *port, options.as_ref(), turn.location, turn.limit, &turn.part).await?;
        expire(&stream, turn.limit)?;
        Ok(Talk { stream, turn, input: Vec::new() })
    }

    async fn send(&self, mut bytes: &[u8]) -> Result<(), TalkError> {
        self.turn.part.set(Part::Send);
        while !bytes.is_empty() {
            match self.stream.send(bytes) {
                Io::Done(n) => bytes = &bytes[n..],
                Io::Again => {
                    let wait = self.stream.writable(Duration::ZERO);
                    wait.await.map_err(|e| HttpError::interrupted(Part::Send, e))?;
                }
                Io::Eof => return Err(HttpError::Closed(Part::Send).into()),
                Io::Failed(e) => return Err(HttpError::Io(Part::Send, e).into()),
            }
        }
        Ok(())
    }

    /// Waits for more than has come.
    async fn more(&mut self) -> Result<(), TalkError> {
        self.turn.part.set(Part::Read);
        self.input.reserve(READ_SIZE);
        loop {
            match self.stream.recv(&mut self.input) {
                Io::Done(_) => return Ok(()),
                Io::Again => {
                    let wait = self.stream.readable(Duration::ZERO);
                    wait.await.map_err(|e| HttpError::interrupted(Part::Read, e))?;
                }
                Io::Eof if self.input.is_empty() => return Err(HttpError::Closed(Part::Read).into()),
                Io::Eof => return Err(HttpError::Cut.into()),
                Io::Failed(e) => return Err(HttpError::Io(Part::Read, e).into()),
            }
        }
    }
}

/// Has the system give up what the server has not taken after so long, even when we have left: bytes of somebody who has lost the lead
/// must not arrive at last. What is still under way then, a fence tells from what is valid.
fn expire(stream: &Stream, limit: Duration) -> Result<(), TalkError> {
    #[cfg(target_os = "linux")]
    if !limit.is_zero() {
        let ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
        let set = stream.set_option(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, ms);
        set.map_err(|e| HttpError::Io(Part::Connect, e))?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, limit);
    Ok(())
}
