//! So many a window, as an API's price list says it.
//!
//! Two counts in one word: this window's, and the last one's, which counts for the share of it that a window ending now would still cover
//! (the sliding window counter; the estimate is Cloudflare's, "How we built rate limiting capable of scaling to millions of domains", 2017).
//! *Exact*: in no window that begins at a multiple of its length more than the limit is admitted, over all workers. *Estimated*: in a window that begins anywhere it is no more than
//! the limit if arrivals were spread evenly over the window before, and in the worst case (all at its very end, and then at the full rate) just under twice the
//! limit, which is what a leaky bucket with `burst = limit` does too. An exact log of times would cost a word for each request.

use super::{Ask, Refusal};
use crate::autoscale::metrics::word::Word;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

const BITS: u32 = 27;
/// The greatest limit, and the greatest count.
pub const MOST: u32 = (1 << BITS) - 1;
const COUNT: u64 = MOST as u64;
const INDEX: u64 = (1 << (64 - 2 * BITS)) - 1;

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub limit: u32,
    pub length_us: u64,
}

/// A word, taken apart for the present window.
#[derive(Clone, Copy)]
struct Counts {
    before: u64,
    now: u64,
}

impl Window {
    fn index(&self, now_us: u64) -> u64 {
        now_us / self.length_us
    }

    /// When nothing of what is counted now counts any more.
    pub fn even_us(&self, now_us: u64) -> u64 {
        (self.index(now_us) + 2) * self.length_us
    }

    /// `fresh`: whatever the word says is long over.
    #[inline]
    fn read(&self, word: u64, index: u64, fresh: bool) -> Counts {
        let (age, before, now) =
            (index.wrapping_sub(word >> (2 * BITS)) & INDEX, word >> BITS & COUNT, word & COUNT);
        match age {
            _ if fresh => Counts { before: 0, now: 0 },
            0 => Counts { before, now },
            1 => Counts { before: now, now: 0 },
            _ => Counts { before: 0, now: 0 },
        }
    }

    fn word(index: u64, counts: Counts) -> u64 {
        (index & INDEX) << (2 * BITS) | counts.before.min(COUNT) << BITS | counts.now.min(COUNT)
    }

    /// How much of the last window still counts, `at_us` after this one has begun.
    fn weighted(&self, before: u64, at_us: u64) -> u64 {
        if before == 0 {
            return 0;
        }
        let left = u128::from(before) * u128::from(self.length_us - at_us);
        left.div_ceil(self.length_us.into()) as u64
    }

    /// How long after the beginning of a window no more than `room` of the last one counts.
    fn when(&self, before: u64, room: u64) -> u64 {
        let gone = u128::from(before.saturating_sub(room)) * u128::from(self.length_us);
        gone.div_ceil(before.max(1).into()) as u64
    }
}

/// Takes `ask.cost`; the result is the number of the window it was taken from. `even`: from when on, in microseconds, nothing of what the
/// word counts counts any more.
#[inline]
pub fn take(bucket: &Word, even: &Word, window: &Window, ask: &Ask, now_us: u64) -> Result<u64, Refusal> {
    let (index, at, cost) = (window.index(now_us), now_us % window.length_us, u64::from(ask.cost));
    if ask.cost > window.limit {
        return Err(Refusal::TooLarge);
    }
    let room = ask.share_of(u64::from(window.limit)).max(cost);
    let mut seen = bucket.load(Acquire);
    // in this order: who has written the word since has said so first
    let mut fresh = even.load(Acquire) <= now_us;
    let until = window.even_us(now_us);
    if even.load(Acquire) < until {
        even.fetch_max(until, AcqRel);
    }
    loop {
        let counts = window.read(seen, index, fresh);
        if window.weighted(counts.before, at) + counts.now + cost > room {
            return Err(Refusal::Later { us: later(window, counts, room - cost, at) });
        }
        let next = Window::word(index, Counts { now: counts.now + cost, ..counts });
        match bucket.compare_exchange(seen, next, AcqRel, Acquire) {
            Ok(_) => return Ok(index),
            Err(other) => (seen, fresh) = (other, false),
        }
    }
}

/// When there is room beside `room`, if nobody else comes.
fn later(window: &Window, counts: Counts, room: u64, at: u64) -> u64 {
    if counts.now <= room {
        return window.when(counts.before, room - counts.now).saturating_sub(at).max(1);
    }
    window.length_us - at + window.when(counts.now, room)
}

/// Corrects what was taken in window `taken` from `cost` to `actual`. More is counted now, less in the window it was taken from.
pub fn settle(bucket: &Word, window: &Window, taken: u64, cost: u32, actual: u32, now_us: u64) {
    let index = window.index(now_us);
    let (more, less) = (u64::from(actual.saturating_sub(cost)), u64::from(cost.saturating_sub(actual)));
    let mut seen = bucket.load(Acquire);
    loop {
        // what was not settled for two windows counts no more
        let mut counts = window.read(seen, index, index.wrapping_sub(taken) > INDEX / 2);
        counts.now += more;
        match index.wrapping_sub(taken) {
            0 => counts.now = counts.now.saturating_sub(less),
            1 => counts.before = counts.before.saturating_sub(less),
            _ => {}
        }
        match bucket.compare_exchange_weak(seen, Window::word(index, counts), AcqRel, Acquire) {
            Ok(_) => return,
            Err(other) => seen = other,
        }
    }
}
