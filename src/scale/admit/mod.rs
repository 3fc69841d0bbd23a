//! `as.admit` and `as.settle`: a worker's part in limits by key.
//!
//! What is decided is decided in [`logic::autoscale::admit`]. Here are the tickets that this worker's requests hold, which end with the
//! request at the latest, and those who wait.

use core::cell::{Cell, OnceCell, RefCell};
use core::time::Duration;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use logic::autoscale::admit::lease::Terms;
use logic::autoscale::admit::{digest, Ask, Declared, Failure, Kind, Limits, Refusal, Ticket, LONGEST_KEY};
use logic::autoscale::conf::limit;
use logic::autoscale::metrics::columns::Worker;
use logic::autoscale::metrics::Now;
use logic::autoscale::signal::hint;
use slab::Slab;

use crate::ngx::{clock, job, within_request};
use crate::run::Host;

mod global;
mod line;

use line::Line;

/// Limits that scripts have described. Those that make up limits without end are told so.
const MOST_LIMITS: usize = 4096;
/// The first bits of a ticket's number are its place; so many may be open in a worker.
const PLACE_BITS: u32 = 20;
/// Tickets of one request, before those that nobody needs are looked for.
const MANY: u32 = 1024;
/// The `next` of a ticket that belongs to no request.
const NOBODYS: u32 = u32::MAX;
/// Places that another worker gives back are seen within this time.
const POLL_US: u64 = 10_000;

struct Known {
    kind: Kind,
    owner: u32,
    shared: Option<Global>,
}

/// A limit that gateways share.
#[derive(Clone, Copy)]
struct Global {
    /// Among those that are.
    number: usize,
    terms: Terms,
    failure: Failure,
}

/// Something admitted whose request goes on.
struct Open {
    serial: u32,
    /// The next one of the same request, plus one.
    next: u32,
    /// Where waiting requests stand for it.
    line: u64,
    ticket: Ticket,
    settled: bool,
}

/// One worker's limits, and what it has admitted.
pub struct Admission {
    limits: Limits<'static>,
    worker: Worker,
    /// Those of the configuration first.
    known: RefCell<Vec<Known>>,
    names: Vec<String>,
    open: RefCell<Slab<Open>>,
    serial: Cell<u32>,
    line: Line,
    leasers: RefCell<Vec<job::Running>>,
}

/// The tickets of a request or timer; they end when it is dropped.
#[derive(Default)]
pub struct Tickets {
    admission: OnceCell<Rc<Admission>>,
    /// The place of the newest, plus one.
    head: Cell<u32>,
    /// How many there are.
    count: Cell<u32>,
}

impl Drop for Tickets {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.get() {
            admission.end(self.head.get());
        }
    }
}

/// What a script wants to pass.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Its number.
    pub limit: usize,
    pub key: &'a [u8],
    pub ask: Ask,
}

/// A ticket's number, and for how long it was or has to be waited for, in seconds.
pub type Admitted = (f64, f64);

impl Admission {
    pub fn new(limits: Limits<'static>, worker: Worker, declared: &[Declared]) -> Rc<Admission> {
        let mut shared = 0..;
        let known = declared.iter().map(|limit| Known {
            kind: limit.kind,
            owner: limit.kind.owner(Some(&limit.name)),
            shared: limit.shared.as_ref().and_then(|at| {
                Some(Global { number: shared.next()?, terms: Terms::of(&limit.kind)?, failure: at.failure })
            }),
        });
        Rc::new(Admission {
            limits,
            worker,
            known: RefCell::new(known.collect()),
            leasers: RefCell::default(),
            names: declared.iter().map(|d| d.name.clone()).collect(),
            open: RefCell::default(),
            serial: Cell::new(1),
            line: Line::default(),
        })
    }

    /// Begins to lease what gateways share.
    pub fn start(self: &Rc<Self>, declared: &[Declared]) {
        self.leasers.replace(global::start(self, declared));
    }

    /// The worker is about to end.
    pub fn stop(&self) {
        drop(self.leasers.take());
    }

    /// Limits by key, over all workers: `throttle` for what is let through or not, `take_…` for what is settled later.
    pub fn limits(&self) -> &Limits<'static> {
        &self.limits
    }

    /// The number of the limit that the configuration calls `name`.
    pub fn named(&self, name: &str) -> Result<usize, String> {
        self.names.iter().position(|known| known == name).ok_or_else(|| {
            let hint = hint(name, self.names.iter().map(String::as_str));
            format!("there is no autoscale_limit \"{name}\"{hint}")
        })
    }

    /// The number of a limit that a script has described.
    pub fn described(&self, kind: Kind) -> Result<usize, String> {
        let owner = kind.owner(None);
        let mut known = self.known.borrow_mut();
        let found = known.iter().skip(self.names.len()).position(|k| k.kind == kind);
        if let Some(i) = found {
            return Ok(self.names.len() + i);
        }
        if known.len() >= MOST_LIMITS + self.names.len() {
            return Err("too many different limits: let keys differ, not rates".into());
        }
        known.push(Known { kind, owner, shared: None });
        Ok(known.len() - 1)
    }

    /// Admits at once, or for a time to come (a rate alone). `None`: it has to stand in line.
    #[inline]
    pub fn admit(
        self: &Rc<Self>,
        wanted: &Wanted,
        tickets: Option<&Tickets>,
    ) -> Result<Option<Admitted>, Refusal> {
        let now = clock::monotonic();
        let (waits, counts) = self.known.borrow().get(wanted.limit).map_or((false, false), |known| {
            (
                known.shared.is_some() || !matches!(known.kind, Kind::Rate(_)),
                matches!(known.kind, Kind::Flight(_)),
            )
        });
        // where this key's requests stand, if anybody does or may come to stand there
        let line = if counts || waits && !self.line.is_empty() { place(wanted) } else { 0 };
        if waits && line != 0 && self.line.is_before(line, wanted.ask.priority) {
            // those who wait already are next
            return if wanted.ask.max_wait_us > 0 { Ok(None) } else { Err(Refusal::Later { us: POLL_US }) };
        }
        match self.take(wanted, now) {
            Ok((ticket, wait_us)) => {
                let number = self.keep(ticket, line, tickets).ok_or(Refusal::Full)?;
                Ok(Some((number, wait_us as f64 / 1e6)))
            }
            Err(Refusal::Later { .. }) if waits && wanted.ask.max_wait_us > 0 => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    fn take(&self, wanted: &Wanted, now: Now) -> Result<(Ticket, u64), Refusal> {
        let known = self.known.borrow();
        // numbers come from `named` and `described`
        let Some(Known { kind, owner, shared }) = known.get(wanted.limit) else { return Err(Refusal::Full) };
        let (key, ask) = (wanted.key, &wanted.ask);
        if let Some(Global { number, terms, failure }) = shared {
            match failure {
                _ if !self.limits.is_away(*number) => {
                    let ticket = match key.len() {
                        0..=LONGEST_KEY => self.limits.take_shared(*owner, key, terms, ask, now),
                        _ => self.limits.take_shared(*owner, &shortened(key), terms, ask, now),
                    };
                    return ticket.map(|ticket| (ticket, 0));
                }
                Failure::Allow => return Ok((Ticket::Free, 0)),
                Failure::Deny => return Err(Refusal::Later { us: 1_000_000 }),
                Failure::Local => {}
            }
        }
        match kind {
            Kind::Rate(rate) => self.limits.take_rate(*owner, key, rate, ask, now),
            Kind::Window(window) => self.limits.take_window(*owner, key, window, ask, now).map(|t| (t, 0)),
            Kind::Flight(most) => {
                self.limits.take_flight(*owner, key, *most, ask, self.worker, now).map(|t| (t, 0))
            }
        }
    }

    /// Keeps a ticket until it is settled or the request ends; its number.
    fn keep(self: &Rc<Self>, ticket: Ticket, line: u64, tickets: Option<&Tickets>) -> Option<f64> {
        if tickets.is_some_and(|tickets| tickets.count.get() >= MANY) {
            tickets.inspect(|tickets| self.tidy(tickets));
        }
        let mut open = self.open.borrow_mut();
        let entry = open.vacant_entry();
        let key = entry.key() as u32;
        if key >> PLACE_BITS != 0 {
            drop(open);
            self.limits.settle(&ticket, 0, self.worker, clock::monotonic());
            return None;
        }
        let serial = self.serial.replace(self.serial.get().wrapping_add(1).max(1));
        let next = tickets.map_or(NOBODYS, |tickets| {
            // tickets of one request are all of one cycle, the first one's
            tickets.admission.get_or_init(|| Rc::clone(self));
            tickets.count.set(tickets.count.get() + 1);
            tickets.head.replace(key + 1)
        });
        entry.insert(Open { serial, next, line, ticket, settled: false });
        Some(f64::from(serial) * f64::from(1 << PLACE_BITS) + f64::from(key))
    }

    /// Forgets what is settled of a request that goes on and on, and of what need not be, all but the newest half.
    #[cold]
    fn tidy(&self, tickets: &Tickets) {
        let mut open = self.open.borrow_mut();
        let (mut at, mut kept) = (tickets.head.replace(0), Vec::new());
        while let Some(entry) = at.checked_sub(1).and_then(|place| open.get(place as usize)) {
            let next = entry.next;
            let holds = matches!(entry.ticket, Ticket::Flight { .. });
            if entry.settled || !holds && kept.len() >= MANY as usize / 2 {
                open.remove(at as usize - 1);
            } else {
                kept.push(at);
            }
            at = next;
        }
        tickets.count.set(kept.len() as u32);
        for at in kept.into_iter().rev() {
            if let Some(entry) = open.get_mut(at as usize - 1) {
                entry.next = tickets.head.replace(at);
            }
        }
    }

    /// Corrects the cost of what was admitted, if `actual` says what it was, and gives back its places. False: there is no such ticket (any more).
    pub fn settle(&self, number: f64, actual: Option<u32>) -> bool {
        let number = number as u64;
        let (place, serial) = ((number & ((1 << PLACE_BITS) - 1)) as usize, (number >> PLACE_BITS) as u32);
        let mut open = self.open.borrow_mut();
        let Some(entry) = open.get_mut(place).filter(|open| open.serial == serial && !open.settled) else {
            return false;
        };
        entry.settled = true;
        let (ticket, line) = (entry.ticket, entry.line);
        if entry.next == NOBODYS {
            open.remove(place);
        }
        drop(open);
        self.give_back(&ticket, actual, line);
        true
    }

    fn give_back(&self, ticket: &Ticket, actual: Option<u32>, line: u64) {
        let actual = match (ticket, actual) {
            (_, Some(actual)) => actual,
            (Ticket::Flight { .. }, None) => 0,
            _ => return,
        };
        self.limits.settle(ticket, actual, self.worker, clock::monotonic());
        if line != 0 {
            self.line.poke(line);
        }
    }

    /// A request is over: so are its tickets.
    fn end(&self, mut head: u32) {
        while let Some(place) = head.checked_sub(1) {
            let open = self.open.borrow_mut().try_remove(place as usize);
            let Some(open) = open else { return };
            if !open.settled {
                self.give_back(&open.ticket, None, open.line);
            }
            head = open.next;
        }
    }

    /// Stands in line until it is admitted, for `wanted.ask.max_wait_us` at most. The ticket is `host`'s.
    pub async fn wait(self: Rc<Self>, wanted: Wanted<'_>, host: Option<Host>) -> Result<Admitted, Refused> {
        let (begin, line) = (clock::monotonic(), place(&wanted));
        let standing = self.line.join(line, wanted.ask.priority);
        let at_once = Wanted { ask: Ask { max_wait_us: 0, ..wanted.ask }, ..wanted };
        loop {
            let now = clock::monotonic();
            let waited = u64::from(now.since(begin.us));
            let left = wanted.ask.max_wait_us.saturating_sub(waited);
            let mut pause = left;
            if standing.is_first() {
                match self.take(&at_once, now) {
                    Ok((ticket, _)) => {
                        let number = self.keep(ticket, line, host.as_ref().and_then(Host::tickets));
                        let number = number.ok_or(Refused::now(Refusal::Full))?;
                        return Ok((number, waited as f64 / 1e6));
                    }
                    Err(Refusal::Later { us }) if left == 0 => {
                        return Err(Refused { late: true, why: Refusal::Later { us } })
                    }
                    Err(Refusal::Later { us }) => pause = us.clamp(500, POLL_US).min(left),
                    Err(why) => return Err(Refused::now(why)),
                }
            } else if left == 0 {
                return Err(Refused { late: true, why: Refusal::Later { us: POLL_US } });
            }
            // nginx's timers are of milliseconds
            let pause = Duration::from_millis(pause.div_ceil(1000));
            within_request(pause, standing.poked()).await;
        }
    }
}

/// Why nobody was let in.
pub struct Refused {
    /// It has waited as long as it would.
    pub late: bool,
    pub why: Refusal,
}

impl Refused {
    pub fn now(why: Refusal) -> Refused {
        Refused { late: false, why }
    }
}

/// What tells the lines of keys apart; never 0. Two keys that share one wait for each other, which is all.
fn place(wanted: &Wanted) -> u64 {
    let mut hasher = DefaultHasher::new();
    (wanted.limit, wanted.key).hash(&mut hasher);
    hasher.finish() | 1
}

/// A long key as one that is kept whole: its beginning, and what tells it from all others that begin so.
fn shortened(key: &[u8]) -> [u8; LONGEST_KEY] {
    let mut short = [b'~'; LONGEST_KEY];
    let digest = digest(key);
    short[..LONGEST_KEY - 1 - digest.len()].copy_from_slice(&key[..LONGEST_KEY - 1 - digest.len()]);
    short[LONGEST_KEY - digest.len()..].copy_from_slice(digest.as_bytes());
    short
}

/// The limit that a script describes: `rate` and `burst`, `window` and `limit`, `concurrency`.
pub fn described(what: i32, text: &str, number: u32) -> Result<Kind, String> {
    use logic::autoscale::admit::rate::Rate;
    let kind = match what {
        1 => limit::rate(text).map(|per_s| Kind::Rate(Rate::new(per_s, number))),
        2 => limit::window(text, number).map(Kind::Window),
        _ => limit::concurrency(number),
    };
    kind.map_err(|e| e.to_string())
}
