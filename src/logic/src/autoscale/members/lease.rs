//! Which worker keeps a watch: one word of shared memory, and nobody's lock.
//!
//! The word says who has it and until when. The holder says so again long before that, several times; a worker that is killed is
//! replaced when its time is over. One that stood still for longer finds that it has lost the watch, and ends it.

use crate::autoscale::metrics::word::Word;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// How long it lasts, and how often it is looked at: a worker that is killed is replaced within two seconds.
pub const LASTS_MS: u64 = 1200;
pub const LOOK_MS: u64 = 400;

const PID: u64 = 0xff_ffff;

/// Whether process `pid` has the watch from now on.
pub fn hold(word: &Word, pid: u32, now_ms: u64) -> bool {
    let me = u64::from(pid) & PID;
    let seen = word.load(Acquire);
    let (until, holder) = (seen >> 24, seen & PID);
    let free = holder == 0 || until <= now_ms || until > now_ms + 2 * LASTS_MS;
    let mine = (now_ms + LASTS_MS) << 24 | me;
    (free || holder == me) && word.compare_exchange(seen, mine, AcqRel, Acquire).is_ok()
}

/// Gives it back, for whoever looks next.
pub fn give_back(word: &Word, pid: u32) {
    let seen = word.load(Acquire);
    if seen & PID == u64::from(pid) & PID {
        // somebody has taken it just now: it is not ours
        let _ = word.compare_exchange(seen, 0, AcqRel, Acquire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_has_it_and_another_one_after_its_death() {
        let word = Word::new(0);
        assert!(hold(&word, 70, 1000) && !hold(&word, 71, 1000) && hold(&word, 70, 1400));
        assert!(!hold(&word, 71, 1400 + LASTS_MS - 1));
        assert!(
            hold(&word, 71, 1400 + LASTS_MS) && !hold(&word, 70, 1400 + LASTS_MS),
            "it finds that it has lost it"
        );
        give_back(&word, 70);
        assert!(!hold(&word, 70, 2700));
        give_back(&word, 71);
        assert!(hold(&word, 70, 2700));
    }

    #[test]
    fn a_time_that_no_clock_shows_does_not_keep_it() {
        let word = Word::new(u64::MAX);
        assert!(hold(&word, 70, 1000));
    }
}
