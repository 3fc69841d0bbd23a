//! What was decided, where every worker can read it: records of a fixed size in shared memory.
//!
//! [`Decisions`] keeps the last records of all policies, [`Last`] the last evaluation of one. A record is a
//! [`Decision`](super::policy::decision::Decision) in a compact form ([`record`]) in a place of a [`ring`]; what does not fit is cut, and
//! the [`Entry`] says so. What a write led to is added when it is known.
//!
//! Decisions and mere explanations have rings of their own, so that a policy that keeps changing its mind about why nothing is to be done
//! does not push out what was done.
//!
//! Any number of processes may write and read, nobody waits for anybody. A writer that is killed leaves one place that is not believed, or
//! what was in it before.

mod record;
mod ring;

pub use record::{BODY, RESULT};
pub use ring::Ring;

use super::metrics::word::{get, Word};
use super::policy::decision::Decision;
use std::sync::atomic::Ordering::{AcqRel, Release};

/// A record that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub decision: Decision,
    /// The wall clock, milliseconds since 1970.
    pub unix_ms: u64,
    /// The clock that never steps.
    pub at_us: u64,
    /// Not everything found room.
    pub cut: bool,
}

/// The last records of all policies, over their words.
#[derive(Clone, Copy)]
pub struct Decisions<'a> {
    acted: Ring<'a>,
    held: Ring<'a>,
}

impl<'a> Decisions<'a> {
    /// Over as many words as there are, which are zero to begin with: three of four are for decisions, the rest for explanations.
    pub fn new(words: &'a [Word]) -> Self {
        let places = words.len().saturating_sub(2) / ring::PLACE;
        let (acted, held) = words.split_at(Ring::words(places - places / 4));
        Self { acted: Ring::new(acted), held: Ring::new(held) }
    }

    /// Keeps a record.
    pub fn push(&self, decision: &Decision, unix_ms: u64, at_us: u64) {
        let ring = if decision.id.is_some() { &self.acted } else { &self.held };
        ring.push(&record::encode(decision, unix_ms, at_us));
    }

    /// Adds to decision `id` of a policy what its write led to and how long it took. False when it is not there any more.
    pub fn settle(&self, policy: &str, id: u64, result: &str, latency_ms: f64) -> bool {
        self.acted.settle(
            |body| record::id(body) == id && record::is_of(body, policy),
            &record::encode_result(result, latency_ms),
        )
    }

    /// The newest `most` records, of one policy or of all, the newest first; with `acted` only decisions.
    pub fn newest(&self, policy: Option<&str>, acted: bool, most: usize) -> Vec<Entry> {
        let takes = |body: &[u64; BODY]| policy.is_none_or(|policy| record::is_of(body, policy));
        let mut found = self.acted.newest(takes, most);
        if !acted {
            found.extend(self.held.newest(takes, most));
            // a stable order: of the same instant, what was done comes first
            found.sort_by_key(|(body, _)| core::cmp::Reverse(record::at_us(body)));
            found.truncate(most);
        }
        found.iter().filter_map(|(body, result)| record::decode(body, result.as_ref())).collect()
    }
}

/// The last evaluation of one policy, and the decision that is in force.
#[derive(Clone, Copy)]
pub struct Last<'a> {
    in_force: &'a Word,
    ring: Ring<'a>,
}

impl<'a> Last<'a> {
    /// Words that it takes.
    pub const WORDS: usize = 1 + Ring::words(2);

    /// Over [`Last::WORDS`] words, which are zero to begin with.
    pub fn new(words: &'a [Word]) -> Self {
        Self { in_force: &words[0], ring: Ring::new(&words[1..Self::WORDS]) }
    }

    pub fn set(&self, decision: &Decision, unix_ms: u64, at_us: u64) {
        self.ring.push(&record::encode(decision, unix_ms, at_us));
    }

    pub fn get(&self) -> Option<Entry> {
        let found = self.ring.newest(|_| true, 1);
        found.iter().find_map(|(body, result)| record::decode(body, result.as_ref()))
    }

    /// The number of the last decision that was carried out; 0 is none.
    pub fn in_force(&self) -> u64 {
        get(self.in_force)
    }

    /// Decision `id` was carried out. An earlier one that is told later changes nothing.
    pub fn carried_out(&self, id: u64) {
        self.in_force.fetch_max(id, AcqRel);
    }

    /// The place has another policy now.
    pub fn forget(&self) {
        self.in_force.store(0, Release);
        self.ring.forget();
    }
}

#[cfg(test)]
mod tests;
