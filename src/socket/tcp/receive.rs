//! Receiving: what is asked for, and what has come of it.

use core::cell::RefCell;
use std::rc::Rc;

use logic::receive::{Found, Step, Unread, Until, Wanted};

use super::Tcp;
use crate::ngx::{Interrupted, Io};
use crate::run::Host;
use crate::socket::SocketError;

/// The most that is read at a time when much is asked for.
const MOST: usize = 256 * 1024;

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
            let Some(room) = unread.room(room) else {
                // what has come is of no use in parts, and its memory is wanted elsewhere
                *unread = Unread::default();
                drop(unread);
                self.drop_stream_only();
                return Err(SocketError::no_memory());
            };
            match stream.recv(room) {
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
}
