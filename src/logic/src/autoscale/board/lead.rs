//! One worker leads: it evaluates, writes outward, and empties the queue.
//!
//! A word names it. Whoever finds the word empty, or its owner dead, or silent for long, puts itself there by compare-and-swap, so there
//! is one winner. Each leader has a *fence*, greater than any before it (M. Kleppmann, "How to do distributed locking", 2016): what a
//! former leader still has under way can be told from what the new one sends. Losing the word is noticed by [`Board::leads`], which is
//! asked right before bytes leave.

use super::{Board, BEAT, FENCE, LEADER, SEAT};
use crate::autoscale::metrics::columns::Owner;
use crate::autoscale::metrics::word::{get, put};
use crate::autoscale::outward::fence;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// A leader that has not been at work for so many ticks, and so long, is stuck or stopped.
const SILENT_TICKS: u64 = 5;
const SILENT_US: u64 = 10_000_000;

/// Who wants to lead, and when.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub me: Owner,
    /// Where it is woken.
    pub seat: usize,
    pub now_us: u64,
    /// Milliseconds since 1970: fences grow with it over restarts.
    pub unix_ms: u64,
    pub tick_us: u64,
}

impl Board<'_> {
    /// Takes the lead if nobody has it: the new leader's fence. Who leads already is at work, and has none to take.
    pub fn compete(&self, candidate: &Candidate, alive: impl Fn(Owner) -> bool) -> Option<u64> {
        let (word, mine) = (&self.head[LEADER], candidate.me.word());
        let seen = word.load(Acquire);
        if seen == mine {
            self.beat(candidate.now_us);
            return None;
        }
        let silence_us = candidate.now_us.saturating_sub(get(&self.head[BEAT]));
        let silent = silence_us > SILENT_US.max(SILENT_TICKS * candidate.tick_us);
        if seen != 0 && !silent && alive(Owner::of(seen)) {
            return None;
        }
        // at work from before it leads, or the next candidate would find it silent
        self.beat(candidate.now_us);
        word.compare_exchange(seen, mine, AcqRel, Acquire).ok()?;
        put(&self.head[SEAT], candidate.seat as u64 + 1);
        let next = |before: u64| Some(fence::next(before, candidate.unix_ms));
        let before = self.head[FENCE].fetch_update(AcqRel, Acquire, next);
        before.ok().and_then(next)
    }

    /// Whether this process leads.
    #[inline]
    pub fn leads(&self, me: Owner) -> bool {
        self.head[LEADER].load(Acquire) == me.word()
    }

    /// Gives the lead away. True when it was this process's.
    pub fn resign(&self, me: Owner) -> bool {
        self.head[LEADER].compare_exchange(me.word(), 0, AcqRel, Acquire).is_ok()
    }

    /// For tests: how long the leader has been silent.
    #[cfg(test)]
    pub(super) fn silent_since(&self) -> u64 {
        get(&self.head[BEAT])
    }
}
