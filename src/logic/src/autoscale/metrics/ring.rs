//! Time in slots: four rings of growing width, written only at the finest.
//!
//! A sample goes into the slot of its second and nowhere else. When that slot is wanted for a new second, whoever comes first moves
//! what is in it one ring up, into the slot of its ten seconds; those move up in turn. So each sample is in exactly one slot, a
//! request pays for one ring, and a window sums the coarse slots and the fine ones that have not moved yet.
//!
//! The first word of a slot is its tag: which period it holds. To turn a slot, a writer moves the words out one by one (swap, then add
//! above) and then swaps the tag. Any number of writers may do that at once: a word moves once, whoever takes it. A writer killed
//! between swap and add loses one word of one slot; killed anywhere else it loses nothing, and the next writer finishes. There is no
//! lock and no half-turned slot that a reader believes, since a slot is turned only after it has left every window that reads its ring.
//! Turning a slot costs more than a request should, so whoever ticks turns the finest slots of upstreams and peers one second ahead
//! ([`Ring::prepare`]); a request turns one only where the tick is late or longer than a second.
//! A reader of a longer window may miss the word that is moving in that very instant.

use super::word::{get, put, Merge, Word};
use super::Now;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// Rings of growing width.
pub const LEVELS: usize = 4;
/// The most words that one reading takes from a slot.
const MOST: usize = 100;
/// The tag of a slot whose words are left over from an earlier owner of the memory.
const STALE: u64 = 1;
/// What is added to a period to make its tag.
const FIRST: u64 = 2;

/// The geometry of one kind of rings.
pub trait Rings {
    /// Slots a ring, a power of two.
    const SLOTS: usize;
    /// Seconds a slot, by ring; each divides the next.
    const WIDTHS: [u64; LEVELS];
    /// Words a slot; the first is the tag.
    const SLOT_WORDS: usize;
    /// Slots of the finest ring that are turned before their time, by [`Ring::prepare`].
    const AHEAD: usize = 0;

    fn merge(word: usize) -> Merge;
}

/// Whole slots that a window covers: at least the window, at most one slot more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    level: usize,
    /// The first second.
    pub from_s: u64,
    /// The second after the last one.
    pub until_s: u64,
}

impl Span {
    /// Seconds that the span has lasted at `now`, for something that exists since `born_us`; at least one.
    pub fn seconds(&self, now: Now, born_us: u64) -> f64 {
        let until = now.us.min(self.until_s.saturating_mul(1_000_000));
        let from = born_us.max(self.from_s * 1_000_000);
        (until.saturating_sub(from) as f64 / 1e6).max(1.0)
    }
}

/// The rings of one series, over its words.
pub struct Ring<'a, R> {
    words: &'a [Word],
    rings: PhantomData<R>,
}

impl<'a, R: Rings> Ring<'a, R> {
    /// Words that the rings take.
    pub const WORDS: usize = R::SLOTS * LEVELS * R::SLOT_WORDS;

    pub fn new(words: &'a [Word]) -> Self {
        Self { words, rings: PhantomData }
    }

    /// The span of the last `window_s` seconds, `None` when the rings do not reach so far.
    pub fn span(now: Now, window_s: u64) -> Option<Span> {
        let level = Self::level(window_s)?;
        Some(Span {
            level,
            from_s: align::<R>(now.s().saturating_sub(window_s), level),
            until_s: now.s() + 1,
        })
    }

    /// Two adjoining spans, the earlier first, that together cover the window: what a slope compares.
    pub fn halves(now: Now, window_s: u64) -> Option<(Span, Span)> {
        let level = Self::level(window_s)?;
        let middle_s = align::<R>(now.s().saturating_sub(window_s / 2), level);
        let from_s = align::<R>(now.s().saturating_sub(window_s), level);
        let from_s = from_s.min(middle_s.saturating_sub(R::WIDTHS[level]));
        let later = Span { level, from_s: middle_s, until_s: now.s() + 1 };
        Some((Span { level, from_s, until_s: middle_s }, later))
    }

    fn level(window_s: u64) -> Option<usize> {
        let kept = |level| R::SLOTS - 1 - if level == 0 { R::AHEAD } else { 0 };
        (0..LEVELS).find(|level| window_s <= kept(*level) as u64 * R::WIDTHS[*level])
    }

    #[inline]
    fn slot(&self, level: usize, tag: u64) -> &'a [Word] {
        let at = (level * R::SLOTS + (tag as usize & (R::SLOTS - 1))) * R::SLOT_WORDS;
        &self.words[at..at + R::SLOT_WORDS]
    }

    /// The slot to write into now.
    #[inline]
    pub fn current(&self, now: Now) -> &'a [Word] {
        let tag = now.s() / R::WIDTHS[0] + FIRST;
        let slot = self.slot(0, tag);
        if slot[0].load(Acquire) != tag {
            self.turn(0, tag);
        }
        slot
    }

    /// Turns the slot of the next period now, for rings that keep one [`Rings::AHEAD`]. Called in time, it leaves nothing to turn
    /// for those who write.
    pub fn prepare(&self, now: Now) {
        let tag = now.s() / R::WIDTHS[0] + FIRST + 1;
        if R::AHEAD > 0 && self.slot(0, tag)[0].load(Acquire) != tag {
            self.turn(0, tag);
        }
    }

    /// Makes a slot hold the period of `tag`. False when it holds a later one (a clock that lags behind).
    #[cold]
    #[inline(never)]
    fn turn(&self, level: usize, tag: u64) -> bool {
        let slot = self.slot(level, tag);
        loop {
            let seen = slot[0].load(Acquire);
            if seen >= tag {
                return seen == tag;
            }
            if seen != 0 {
                self.drain(level, slot, seen);
            }
            if slot[0].compare_exchange(seen, tag, AcqRel, Acquire).is_ok() {
                return true;
            }
        }
    }

    /// Moves the words of a slot one ring up, or drops them where no ring keeps their time.
    fn drain(&self, level: usize, slot: &[Word], tag: u64) {
        let above = if tag == STALE { None } else { self.above(level, (tag - FIRST) * R::WIDTHS[level]) };
        for (i, word) in slot.iter().enumerate().skip(1) {
            if get(word) != 0 {
                let value = word.swap(0, Relaxed);
                if let (Some(above), true) = (above, value != 0) {
                    R::merge(i).into(&above[i], value);
                }
            }
        }
    }

    fn above(&self, level: usize, start_s: u64) -> Option<&'a [Word]> {
        (level + 1..LEVELS).find_map(|level| {
            let tag = start_s / R::WIDTHS[level] + FIRST;
            self.turn(level, tag).then(|| self.slot(level, tag))
        })
    }

    /// Merges words `range` of every slot in the span into `sum`.
    pub fn sum(&self, span: Span, range: Range<usize>, sum: &mut [u64]) {
        self.each(span, range.clone(), |copy| {
            let merged = sum.iter_mut().zip(copy).zip(range.clone());
            merged.for_each(|((sum, value), word)| *sum = R::merge(word).plain(*sum, *value));
        });
    }

    /// The same for words that are all counts, in less time.
    pub fn add_up(&self, span: Span, range: Range<usize>, sum: &mut [u64]) {
        debug_assert!(range.clone().all(|word| R::merge(word) == Merge::Add));
        let add =
            |copy: &[u64]| sum.iter_mut().zip(copy).for_each(|(sum, value)| *sum = sum.wrapping_add(*value));
        self.each(span, range, add);
    }

    /// Words `range` of every slot in the span, copied; a slot that was turned meanwhile is left out.
    #[inline]
    fn each(&self, span: Span, range: Range<usize>, mut take: impl FnMut(&[u64])) {
        let mut copy = [0u64; MOST];
        let copy = &mut copy[..range.len()];
        for level in (0..=span.level).rev() {
            for i in 0..R::SLOTS {
                let at = (level * R::SLOTS + i) * R::SLOT_WORDS;
                let slot = &self.words[at..at + R::SLOT_WORDS];
                let tag = slot[0].load(Acquire);
                let Some(period) = tag.checked_sub(FIRST) else { continue };
                let start_s = period * R::WIDTHS[level];
                if start_s < span.from_s || start_s >= span.until_s {
                    continue;
                }
                for (to, from) in copy.iter_mut().zip(&slot[range.clone()]) {
                    *to = from.load(Acquire);
                }
                if slot[0].load(Relaxed) == tag {
                    take(copy);
                }
            }
        }
    }

    /// Forgets everything; the words are wiped when their slots are turned.
    pub fn forget(&self) {
        self.words.iter().step_by(R::SLOT_WORDS).filter(|tag| get(tag) != 0).for_each(|tag| put(tag, STALE));
    }
}

fn align<R: Rings>(s: u64, level: usize) -> u64 {
    s - s % R::WIDTHS[level]
}

#[cfg(test)]
mod tests;
