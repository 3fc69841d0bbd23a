//! The last requests, one by one: what `latency@11r` looks at.
//!
//! A small ring: the head word counts requests, each entry says which of them it is. An entry that a dead or slow writer has not
//! written carries the wrong number and is skipped.

use super::word::{get, put, Word};
use std::sync::atomic::Ordering::Relaxed;

/// The most requests that any series remembers.
pub const MOST: usize = 64;
const ERROR: u64 = 1 << 31;
const TIMED: u64 = 1 << 30;
const US: u64 = TIMED - 1;

/// One request that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// How long it took; `None` when it said nothing about speed (the client left, the connection was refused).
    pub us: Option<u32>,
    pub error: bool,
}

/// The ring over its words: a head and a power of two of entries.
pub struct Recent<'a>(pub &'a [Word]);

impl Recent<'_> {
    #[inline]
    pub fn push(&self, ended: Ended) {
        let Some((head, entries)) = self.0.split_first() else { return };
        let n = head.fetch_add(1, Relaxed);
        let time = ended.us.map_or(0, |us| TIMED | u64::from(us).min(US));
        let error = if ended.error { ERROR } else { 0 };
        if let Some(entry) = entries.get(n as usize & (entries.len().wrapping_sub(1))) {
            put(entry, (n + 1) << 32 | error | time);
        }
    }

    /// Copies the last `n` requests, the newest first, and says how many there were.
    pub fn last(&self, n: usize, into: &mut [Ended; MOST]) -> usize {
        let Some((head, entries)) = self.0.split_first() else { return 0 };
        let head = get(head);
        let wanted = n.min(entries.len()).min(MOST) as u64;
        let mut found = 0;
        for number in (head.saturating_sub(wanted)..head).rev() {
            let entry = get(&entries[number as usize & (entries.len() - 1)]);
            if entry >> 32 == (number + 1) & 0xffff_ffff {
                let us = (entry & TIMED != 0).then_some((entry & US) as u32);
                into[found] = Ended { us, error: entry & ERROR != 0 };
                found += 1;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first_and_the_ring_turns() {
        let words: Vec<Word> = (0..9).map(|_| Word::new(0)).collect();
        let (recent, mut out) = (Recent(&words), [Ended::default(); MOST]);
        assert_eq!(recent.last(5, &mut out), 0);
        for us in 0..20 {
            recent.push(Ended { us: Some(us), error: us % 2 == 0 });
        }
        assert_eq!(recent.last(3, &mut out), 3);
        assert_eq!(
            out[..3].iter().map(|e| (e.us, e.error)).collect::<Vec<_>>(),
            [(Some(19), false), (Some(18), true), (Some(17), false)]
        );
        assert_eq!(recent.last(64, &mut out), 8);
    }

    #[test]
    fn an_entry_that_was_never_written_is_skipped() {
        let words: Vec<Word> = (0..9).map(|_| Word::new(0)).collect();
        let (recent, mut out) = (Recent(&words), [Ended::default(); MOST]);
        (0..9).for_each(|us| recent.push(Ended { us: Some(us), error: false }));
        words[0].fetch_add(1, Relaxed); // a writer died after it took its number
        recent.push(Ended { us: None, error: true });
        assert_eq!(recent.last(3, &mut out), 2);
        assert_eq!(out[..2].iter().map(|e| e.us).collect::<Vec<_>>(), [None, Some(8)]);
    }
}
