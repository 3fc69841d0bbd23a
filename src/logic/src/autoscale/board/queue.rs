//! What scripts of any worker ask the leader for.
//!
//! A slot belongs to nobody, to the worker that writes into it, to everybody once it is whole, and to the leader that carries it out.
//! Its first word says which, and changes hands by compare-and-swap alone; so nobody waits for anybody, and what a dead worker had is
//! given back by [`Queue::sweep`]: a half-written command is dropped, one that a dead leader had begun is begun again.
//!
//! Who asks gets a number (*ticket*). Commands become whole in another order than that: a worker with a smaller number may be the slower
//! one. So the leader gives each a number of its own (*turn*) when it takes it, which a command that is begun again keeps: whoever must
//! not do one twice remembers the turn of the last one done.

use super::place::{bytes_of, put_bytes};
use crate::autoscale::metrics::columns::Owner;
use crate::autoscale::metrics::word::{get, high, low, pair, put, Word};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use thiserror::Error;

const SLOTS: usize = 32;
const SLOT_WORDS: usize = 256;
pub(super) const QUEUE_WORDS: usize = SLOTS * SLOT_WORDS;

/// 0: free. An owner: being written. [`READY`] or [`AGAIN`]: to be taken. [`READY`] and an owner: taken.
const HOLDER: usize = 0;
const TICKET: usize = 1;
const KIND: usize = 2;
const NUMBER: usize = 3;
/// Bytes of the name and of the text.
const LENGTHS: usize = 4;
const TURN: usize = 5;
const BYTES: usize = 6;

const READY: u64 = 1 << 63;
/// It was taken by a leader that is gone, and may have been done: its turn stays. No owner has no process.
const AGAIN: u64 = READY | 1 << 62;
/// Bytes of a name.
const MOST_SUBJECT: usize = 80;
/// Bytes of a text: a reason, or a message in JSON.
pub const MOST_TEXT: usize = (SLOT_WORDS - BYTES) * 8 - MOST_SUBJECT;

/// Why a command is not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Denied {
    #[error("{SLOTS} commands are waiting already")]
    Full,
    #[error("a name of {0} bytes: there may be {MOST_SUBJECT}")]
    LongName(usize),
    #[error("a text of {0} bytes: there may be {MOST_TEXT}")]
    LongText(usize),
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `as.scale(target, {replicas=N, reason=})`
    Scale { target: String, replicas: u32, reason: String },
    /// `as.scale(target, {delta=N, reason=})`
    Change { target: String, delta: i32, reason: String },
    /// `as.notify(target, table)`
    Notify { target: String, json: String },
    /// `as.policy(name):hold(seconds)`; 0 is `resume`.
    Hold { policy: String, seconds: f64 },
}

/// A command, and its place in the order.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub ticket: u64,
    /// Greater than those of all commands that were done before it.
    pub turn: u64,
    pub command: Command,
    slot: usize,
}

impl Command {
    fn parts(&self) -> (u64, &str, u64, &str) {
        match self {
            Self::Scale { target, replicas, reason } => (1, target, (*replicas).into(), reason),
            Self::Change { target, delta, reason } => (2, target, i64::from(*delta) as u64, reason),
            Self::Notify { target, json } => (3, target, 0, json),
            Self::Hold { policy, seconds } => (4, policy, seconds.to_bits(), ""),
        }
    }

    fn of(kind: u64, subject: String, number: u64, text: String) -> Option<Self> {
        Some(match kind {
            1 => Self::Scale { target: subject, replicas: number as u32, reason: text },
            2 => Self::Change { target: subject, delta: number as i64 as i32, reason: text },
            3 => Self::Notify { target: subject, json: text },
            4 => Self::Hold { policy: subject, seconds: f64::from_bits(number) },
            _ => return None,
        })
    }
}

/// The queue over its words.
#[derive(Clone, Copy)]
pub struct Queue<'a> {
    words: &'a [Word],
    tickets: &'a Word,
    turns: &'a Word,
}

impl<'a> Queue<'a> {
    pub(super) fn new(words: &'a [Word], tickets: &'a Word, turns: &'a Word) -> Self {
        Self { words, tickets, turns }
    }

    fn slot(&self, number: usize) -> &'a [Word] {
        &self.words[number * SLOT_WORDS..(number + 1) * SLOT_WORDS]
    }

    fn slots(&self) -> impl Iterator<Item = (usize, &'a [Word])> {
        let words: &'a [Word] = self.words;
        words.chunks_exact(SLOT_WORDS).enumerate()
    }

    /// Puts a command in: its ticket.
    pub fn put(&self, me: Owner, command: &Command) -> Result<u64, Denied> {
        let (kind, subject, number, text) = command.parts();
        if subject.len() > MOST_SUBJECT {
            return Err(Denied::LongName(subject.len()));
        }
        if text.len() > MOST_TEXT {
            return Err(Denied::LongText(text.len()));
        }
        let claims = |slot: &&[Word]| slot[HOLDER].compare_exchange(0, me.word(), AcqRel, Relaxed).is_ok();
        let slot = self.slots().map(|(_, slot)| slot).find(claims).ok_or(Denied::Full)?;
        let ticket = self.tickets.fetch_add(1, AcqRel) + 1;
        put(&slot[TICKET], ticket);
        put(&slot[TURN], 0);
        put(&slot[KIND], kind);
        put(&slot[NUMBER], number);
        put(&slot[LENGTHS], pair(subject.len() as u32, text.len() as u32));
        let bytes = subject.len().div_ceil(8);
        put_bytes(&slot[BYTES..], subject.as_bytes());
        put_bytes(&slot[BYTES + bytes..], text.as_bytes());
        slot[HOLDER].store(READY, Release);
        Ok(ticket)
    }

    /// Tickets and turns are greater than this from now on.
    pub fn after(&self, number: u64) {
        self.tickets.fetch_max(number, AcqRel);
        self.turns.fetch_max(number, AcqRel);
    }

    /// Whether anything waits.
    pub fn is_empty(&self) -> bool {
        self.slots().all(|(_, slot)| !matches!(get(&slot[HOLDER]), READY | AGAIN))
    }

    /// Takes the oldest command that is whole, those first that were taken before. It stays in its slot until it is [`Queue::done`].
    pub fn take(&self, me: Owner) -> Option<Asked> {
        loop {
            let ready = self.slots().filter_map(|(number, slot)| match slot[HOLDER].load(Acquire) {
                READY => Some((READY, get(&slot[TICKET]), number, slot)),
                // before all of those
                AGAIN => Some((0, get(&slot[TURN]), number, slot)),
                _ => None,
            });
            let (kind, _, number, slot) = ready.min_by_key(|(kind, order, ..)| (*kind, *order))?;
            let seen = if kind == READY { READY } else { AGAIN };
            if slot[HOLDER].compare_exchange(seen, READY | me.word(), AcqRel, Acquire).is_err() {
                continue;
            }
            if seen == READY || get(&slot[TURN]) == 0 {
                slot[TURN].store(self.turns.fetch_add(1, AcqRel) + 1, Release);
            }
            match self.read(number) {
                Some(asked) => return Some(asked),
                None => slot[HOLDER].store(0, Release),
            }
        }
    }

    fn read(&self, number: usize) -> Option<Asked> {
        let slot = self.slot(number);
        let lengths = get(&slot[LENGTHS]);
        let (subject, text) = (high(lengths) as usize, low(lengths) as usize);
        if subject > MOST_SUBJECT || text > MOST_TEXT {
            return None;
        }
        let string = |from: usize, length: usize| {
            let mut bytes = vec![0; length];
            bytes_of(&slot[from..], &mut bytes);
            String::from_utf8(bytes).ok()
        };
        let (subject, text) = (string(BYTES, subject)?, string(BYTES + subject.div_ceil(8), text)?);
        let command = Command::of(get(&slot[KIND]), subject, get(&slot[NUMBER]), text)?;
        Some(Asked { ticket: get(&slot[TICKET]), turn: get(&slot[TURN]), command, slot: number })
    }

    /// What was taken is carried out.
    pub fn done(&self, me: Owner, asked: &Asked) {
        // if the leader has changed meanwhile, it is the new one's
        let _ = self.slot(asked.slot)[HOLDER].compare_exchange(READY | me.word(), 0, AcqRel, Relaxed);
    }

    /// What was taken cannot be carried out yet: it gets another turn.
    pub fn back(&self, me: Owner, asked: &Asked) {
        let _ = self.slot(asked.slot)[HOLDER].compare_exchange(READY | me.word(), READY, AcqRel, Relaxed);
    }

    /// Gives back what the dead, and former leaders, have claimed. `me` leads.
    pub fn sweep(&self, me: Owner, alive: impl Fn(Owner) -> bool) {
        for (_, slot) in self.slots() {
            let seen = slot[HOLDER].load(Acquire);
            let owner = Owner::of(seen & !READY);
            let back = match (seen & READY != 0, seen & !READY) {
                (_, 0) => continue,
                _ if seen == AGAIN => continue,
                (true, mine) if mine == me.word() => continue,
                (true, _) => AGAIN,
                (false, _) if alive(owner) => continue,
                (false, _) => 0,
            };
            let _ = slot[HOLDER].compare_exchange(seen, back, AcqRel, Relaxed);
        }
    }

    /// A leader that resigns gives back what it has begun.
    pub fn give_back(&self, me: Owner) {
        for (_, slot) in self.slots() {
            let _ = slot[HOLDER].compare_exchange(READY | me.word(), AGAIN, AcqRel, Relaxed);
        }
    }
}
