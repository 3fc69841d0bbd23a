//! So many a second, and so many more at once: the leaky bucket as a meter.
//!
//! *The fact* of a bucket is one time: when it will have run empty (the *theoretical arrival time* of the generic cell rate algorithm, ITU-T
//! I.371, annex A). One compare-and-swap of that word takes from it, whoever else does: in any time `t` no more than `rate * t + burst + 1`
//! units are admitted, exactly. As in nginx's `limit_req`, `burst` is what may come beyond the one that is due. Who waits has a time of
//! its own reserved, so that those who wait go in the order they came, over all workers, without a queue. What is
//! given back while others wait for their times goes to those who come next: by so much there may be more at such a moment.
//!
//! Times are in ticks of a sixteenth of a nanosecond, and a unit takes a whole number of them, rounded up: below a million units a second
//! the rate is kept to a part in ten thousand, and never exceeded.

use super::{Ask, Refusal};
use crate::autoscale::metrics::word::Word;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

const TICKS_PER_US: u64 = 16_000;
const TICKS_PER_S: f64 = 16e9;
/// No bucket is filled further ahead than this, two years.
const FAR: u64 = 1 << 60;

/// A rate and a burst, in the time that they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    unit: u64,
    capacity: u64,
}

impl Rate {
    /// Units a second, more than zero, and how many more at once.
    pub fn new(per_s: f64, burst: u32) -> Self {
        let unit = (TICKS_PER_S / per_s).ceil().clamp(1.0, FAR as f64) as u64;
        Self { unit, capacity: unit.saturating_mul(u64::from(burst) + 1).min(FAR) }
    }

    /// Units a second.
    pub fn per_s(&self) -> f64 {
        TICKS_PER_S / self.unit as f64
    }

    /// How many fit at once.
    pub fn units(&self) -> u32 {
        u32::try_from(self.capacity / self.unit).unwrap_or(u32::MAX)
    }

    pub(super) fn words(&self) -> [u64; 2] {
        [self.unit, self.capacity]
    }

    #[inline]
    fn ticks(&self, cost: u32) -> u64 {
        self.unit.saturating_mul(u64::from(cost)).min(FAR)
    }
}

/// What was taken: until when the bucket is filled by it, in ticks, and how long to wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub until: u64,
    pub wait_us: u64,
}

impl Taken {
    /// When it will have run out of the bucket.
    pub fn even_us(&self) -> u64 {
        self.until / TICKS_PER_US
    }
}

/// Takes `ask.cost` units from the bucket, at once or for later.
#[inline]
pub fn take(bucket: &Word, rate: &Rate, ask: &Ask, now_us: u64) -> Result<Taken, Refusal> {
    let (now, cost) = (now_us * TICKS_PER_US, rate.ticks(ask.cost));
    if cost > rate.capacity {
        return Err(Refusal::TooLarge);
    }
    let room = ask.share_of(rate.capacity).max(cost);
    let mut seen = bucket.load(Acquire);
    loop {
        let until = seen.max(now) + cost;
        let wait_us = until.saturating_sub(now + room).div_ceil(TICKS_PER_US);
        if wait_us > ask.max_wait_us {
            return Err(Refusal::Later { us: wait_us });
        }
        match bucket.compare_exchange_weak(seen, until, AcqRel, Acquire) {
            Ok(_) => return Ok(Taken { until, wait_us }),
            Err(other) => seen = other,
        }
    }
}

/// When the bucket will have run empty.
pub fn even_us(bucket: &Word) -> u64 {
    bucket.load(Acquire) / TICKS_PER_US
}

/// Corrects what was taken from `cost` to `actual`. More may lead into debt. Of less, what has run out of the bucket since is not given
/// back: others have had it.
pub fn settle(bucket: &Word, rate: &Rate, until: u64, cost: u32, actual: u32, now_us: u64) {
    let now = now_us * TICKS_PER_US;
    let (was, is) = (rate.ticks(cost), rate.ticks(actual));
    let less = was.saturating_sub(is).min(until.saturating_sub(now));
    let more = is.saturating_sub(was);
    let mut seen = bucket.load(Acquire);
    loop {
        let base = if more > 0 { seen.max(now) } else { seen };
        let next = (base + more).min(now + FAR).saturating_sub(less);
        match bucket.compare_exchange_weak(seen, next, AcqRel, Acquire) {
            Ok(_) => return,
            Err(other) => seen = other,
        }
    }
}
