//! What a worker keeps from one request to the next: idle connections, and the files of TLS.

use core::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};

use logic::text::url::Server;

use super::connection::Connection;
use super::request::{Keepalive, Proxy, TlsOptions};
use super::tls::Files;
use crate::ngx::{process, Peer};

/// How many connections a worker keeps, to whomever.
const MAX_IDLE: usize = 256;

/// What connections have in common that can stand for each other.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub server: Server,
    pub proxy: Option<Rc<Proxy>>,
    /// How TLS is spoken, and by which of the configuration's contexts.
    pub tls: Option<(Rc<TlsOptions>, usize)>,
}

#[derive(Default)]
pub struct Kept {
    idle: RefCell<HashMap<Key, VecDeque<Idle>>>,
    count: Cell<usize>,
    next: Cell<u64>,
    pub files: Files,
}

struct Idle {
    number: u64,
    connection: Connection,
}

/// Where a connection goes when its request is done.
pub struct Place {
    pub kept: Rc<Kept>,
    pub key: Key,
    pub keepalive: Keepalive,
}

impl Kept {
    /// The connection that was used last, if there is one that the server has not closed.
    pub fn take(&self, key: &Key) -> Option<Connection> {
        loop {
            let idle = self.remove(key, VecDeque::pop_back)?;
            let stream = &idle.connection.wire.stream;
            stream.rouse();
            if stream.peek() == Peer::Quiet {
                return Some(idle.connection);
            }
        }
    }

    fn remove(&self, key: &Key, which: impl FnOnce(&mut VecDeque<Idle>) -> Option<Idle>) -> Option<Idle> {
        let mut all = self.idle.borrow_mut();
        let list = all.get_mut(key)?;
        let removed = which(list);
        if list.is_empty() {
            all.remove(key);
        }
        self.count.set(self.count.get() - usize::from(removed.is_some()));
        removed
    }

    /// Makes room for one more: the one that has waited longest goes.
    fn make_room(&self) {
        if self.count.get() < MAX_IDLE {
            return;
        }
        let oldest = {
            let all = self.idle.borrow();
            let first = all.iter().filter_map(|(key, list)| Some((list.front()?.number, key)));
            first.min_by_key(|(number, _)| *number).map(|(_, key)| key.clone())
        };
        if let Some(key) = oldest {
            drop(self.remove(&key, VecDeque::pop_front));
        }
    }
}

impl Place {
    pub fn keep(self, mut connection: Connection) {
        // a worker that stops has closed what was idle, and would wait for what comes to be
        if process::exiting() || self.keepalive.size == 0 || !connection.rest() {
            return;
        }
        let kept = &self.kept;
        kept.make_room();
        let number = kept.next.get();
        kept.next.set(number + 1);
        let stream = Rc::clone(&connection.wire.stream);
        let (weak, key): (Weak<Kept>, Key) = (Rc::downgrade(kept), self.key.clone());
        let over = Box::new(move || {
            if let Some(kept) = weak.upgrade() {
                let at = |list: &mut VecDeque<Idle>| {
                    let i = list.iter().position(|idle| idle.number == number)?;
                    list.remove(i)
                };
                drop(kept.remove(&key, at));
            }
        });
        if !stream.rest(self.keepalive.idle, over) {
            return;
        }
        let oldest = {
            let mut all = kept.idle.borrow_mut();
            let list = all.entry(self.key.clone()).or_default();
            list.push_back(Idle { number, connection });
            let oldest = if list.len() > self.keepalive.size { list.pop_front() } else { None };
            kept.count.set(kept.count.get() + 1 - usize::from(oldest.is_some()));
            oldest
        };
        drop(oldest);
    }
}
