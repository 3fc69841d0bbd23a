//! Which worker does what is to be done once a period: one word of shared memory, and nobody's lock.
//!
//! The word says when the next turn is due, who had the last, and how many in a row have failed. Whoever finds a turn due puts the time
//! there by which it is sure to be over, and has it; so a worker that is killed in its turn is replaced by the next one that looks, as
//! what it leaves behind is a turn that is due. The others leave the one that had the last turn a moment, so that it keeps what it has: a connection, a sample to
//! compare with. Times are milliseconds of the clock that all workers share.

use crate::autoscale::metrics::word::Word;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

const FAILURES: u64 = 63;
const HOLDER: u64 = 0xffff;

/// What has no value for so long after it failed is asked for again.
const MOST_WAIT_MS: u64 = 30_000;

/// The word.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    word: &'a Word,
    /// Who looks at it.
    me: u64,
}

/// A turn that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// As it was put.
    word: u64,
    next_ms: u64,
}

/// The parts of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    due_ms: u64,
    failures: u64,
    holder: u64,
}

impl Seen {
    fn of(word: u64) -> Self {
        Self { due_ms: word >> 22, failures: word >> 16 & FAILURES, holder: word & HOLDER }
    }

    fn word(self) -> u64 {
        self.due_ms << 22 | self.failures.min(FAILURES) << 16 | self.holder
    }
}

impl Turn {
    /// How many turns in a row have failed before this one.
    pub fn failures(self) -> u64 {
        Seen::of(self.word).failures
    }
}

impl<'a> Claim<'a> {
    /// `pid` is the process that looks.
    pub fn new(word: &'a Word, pid: u32) -> Self {
        Self { word, me: u64::from(pid) & HOLDER }
    }

    fn seen(&self) -> (u64, Seen) {
        let word = self.word.load(Acquire);
        (word, Seen::of(word))
    }

    fn swap(&self, from: u64, to: Seen) -> bool {
        self.word.compare_exchange(from, to.word(), AcqRel, Acquire).is_ok()
    }

    /// In how many milliseconds it is this worker's time to look again; zero is now.
    pub fn wait_ms(&self, now_ms: u64, period_ms: u64) -> u64 {
        let (_, seen) = self.seen();
        let mine = [0, self.me].contains(&seen.holder);
        let due_ms = seen.due_ms + if mine { 0 } else { grace_ms(period_ms) };
        due_ms.saturating_sub(now_ms)
    }

    /// Takes the turn that is due, which ends before `over_ms`; the next one is at `next_ms`.
    pub fn take(&self, now_ms: u64, period_ms: u64, over_ms: u64, next_ms: u64) -> Option<Turn> {
        let (word, seen) = self.seen();
        if self.wait_ms(now_ms, period_ms) > 0 {
            return None;
        }
        let mine = Seen { due_ms: over_ms.min(next_ms).max(1), failures: seen.failures, holder: self.me };
        self.swap(word, mine).then_some(Turn { word: mine.word(), next_ms })
    }

    /// The turn went well. False when it was not ours any more.
    pub fn succeed(&self, turn: Turn) -> bool {
        self.swap(turn.word, Seen { failures: 0, due_ms: turn.next_ms, ..Seen::of(turn.word) })
    }

    /// It did not; the next one is at `next_ms`.
    pub fn fail(&self, turn: Turn, next_ms: u64) -> bool {
        let seen = Seen::of(turn.word);
        self.swap(turn.word, Seen { due_ms: next_ms, failures: seen.failures + 1, ..seen })
    }

    /// The worker cannot end its turn: whoever looks next has it.
    pub fn give_back(&self, turn: Turn, now_ms: u64) -> bool {
        self.swap(turn.word, Seen { due_ms: now_ms, holder: 0, ..Seen::of(turn.word) })
    }

    /// There is another configuration: what has failed may go well now, and a period may be shorter than it was.
    pub fn renew(&self, now_ms: u64, period_ms: u64) {
        let (word, seen) = self.seen();
        let due_ms = if seen.failures > 0 { 1 } else { seen.due_ms.min(now_ms + period_ms) };
        // a lost race means that somebody has just tried
        self.swap(word, Seen { due_ms, ..seen });
    }
}

/// How long the others wait for the one that had the last turn.
fn grace_ms(period_ms: u64) -> u64 {
    (period_ms / 2).clamp(50, 1000)
}

/// From one turn to the next: up to a tenth less than the period, so that many gateways do not ask at the same moment. `random` is any
/// number.
pub fn period_ms(every_ms: u64, random: u64) -> u64 {
    every_ms - random % (every_ms / 10 + 1)
}

/// How long to wait after the n-th failure in a row: twice as long each time up to half a minute, a quarter of it at random.
pub fn backoff_ms(every_ms: u64, failures: u64, random: u64) -> u64 {
    let doubled = every_ms.saturating_mul(1 << failures.saturating_sub(1).min(20));
    let wait = doubled.min(MOST_WAIT_MS.max(every_ms));
    wait - random % (wait / 4 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(word: &Word) -> [Claim<'_>; 2] {
        [Claim::new(word, 70_001), Claim::new(word, 70_002)]
    }

    #[test]
    fn one_worker_has_a_turn_and_keeps_it() {
        let word = Word::new(0);
        let [a, b] = claims(&word);
        let turn = a.take(1000, 500, 1500, 1500).unwrap();
        assert_eq!((b.take(1000, 500, 1500, 1500), a.take(1499, 500, 1999, 1999)), (None, None));
        assert!(a.succeed(turn));
        assert_eq!((a.wait_ms(1000, 500), b.wait_ms(1000, 500)), (500, 750));
        assert!(b.take(1500, 500, 2000, 2000).is_none());
        assert!(a.take(1500, 500, 2000, 2000).is_some());
    }

    fn turn_at(claim: &Claim<'_>, now_ms: u64) -> Turn {
        claim.take(now_ms, 500, now_ms + 500, now_ms + 500).unwrap()
    }

    #[test]
    fn a_turn_of_a_long_period_is_over_soon() {
        let word = Word::new(0);
        let [a, b] = claims(&word);
        let hour = 3_600_000;
        let turn = a.take(1000, hour, 12_000, hour).unwrap();
        // had it died, the other one would not wait for an hour
        assert_eq!(b.wait_ms(1000, hour), 12_000);
        assert!(a.succeed(turn));
        assert_eq!(a.wait_ms(1000, hour), hour - 1000);
    }

    #[test]
    fn a_dead_worker_is_replaced() {
        let word = Word::new(0);
        let [a, b] = claims(&word);
        let turn = a.take(1000, 500, 1500, 1500).unwrap();
        let next = b.take(1750, 500, 2250, 2250).unwrap();
        // the dead one was only slow: its turn is not its own any more
        assert!(!a.succeed(turn) && !a.fail(turn, 9000) && !a.give_back(turn, 1800));
        assert!(b.succeed(next));
    }

    #[test]
    fn failures_are_counted_by_whoever_has_the_turn() {
        let word = Word::new(0);
        let [a, b] = claims(&word);
        let turn = a.take(1000, 500, 1500, 1500).unwrap();
        assert!(a.fail(turn, 3000));
        assert_eq!(a.wait_ms(1000, 500), 2000);
        let turn = b.take(3250, 500, 3750, 3750).unwrap();
        assert_eq!(turn.failures(), 1);
        assert!(b.fail(turn, 9000));
        a.renew(3300, 500);
        let turn = a.take(3300, 500, 3800, 3800).unwrap();
        assert_eq!(turn.failures(), 2);
        assert!(a.succeed(turn));
        let turn = a.take(3800, 500, 4300, 4300).unwrap();
        assert!(turn.failures() == 0 && a.succeed(turn));
        assert!(a.succeed(turn_at(&a, 4300)));
        a.renew(4300, 500);
        assert_eq!(a.wait_ms(4300, 500), 500, "what goes well is not hurried");
        a.renew(4300, 200);
        assert_eq!(a.wait_ms(4300, 200), 200, "but it keeps to a period that is shorter now");
    }

    #[test]
    fn what_is_given_back_is_anybodys() {
        let word = Word::new(0);
        let [a, b] = claims(&word);
        let turn = a.take(1000, 500, 1500, 1500).unwrap();
        assert!(a.give_back(turn, 1100));
        assert!(b.take(1150, 500, 1600, 1600).is_some());
    }

    #[test]
    fn many_failures_do_not_spill_over() {
        let word = Word::new(0);
        let [a, _] = claims(&word);
        for n in 0..200 {
            let turn = a.take(n * 10, 5, n * 10 + 5, n * 10 + 5).unwrap();
            assert_eq!(turn.failures(), n.min(63));
            assert!(a.fail(turn, n * 10 + 10));
        }
    }

    #[test]
    fn waits_are_bounded() {
        for random in [0, 1, 77, u64::MAX] {
            for every in [100, 5000, 3_600_000] {
                assert!((every - every / 10..=every).contains(&period_ms(every, random)));
                let waits: Vec<u64> = (1..70).map(|n| backoff_ms(every, n, random)).collect();
                assert!(waits.iter().all(|wait| (every * 3 / 4..=every.max(30_000)).contains(wait)));
            }
        }
        assert_eq!([1, 2, 3, 4].map(|n| backoff_ms(5000, n, 0)), [5000, 10_000, 20_000, 30_000]);
    }
}
