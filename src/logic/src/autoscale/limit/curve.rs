//! What is learnt of one peer or upstream.

use super::alike::Alike;
use super::fit::Fit;
use super::levels::{level_of, Level, Levels, LEVELS, LN_LEVELS, WORDS};
use super::shift::{is_slower, TIMES};
use crate::autoscale::metrics::word::{add, get, high, low, pair, put, Word};
use crate::autoscale::metrics::Now;
use std::sync::atomic::Ordering::Relaxed;

/// The verdict: slots as a level, flags, the unit of the windows, the service time.
const VERDICT: usize = 0;
/// Samples in the low half, when they last faded in the high half.
const TALLY: usize = 1;
/// Whether it has become slower.
const SHIFT: usize = 2;
const LEVELS_AT: usize = 3;
/// What is known of a peer that has become slower counts for so much.
const DOUBT: f32 = 0.1;

/// Slots of whom nothing is known.
const FIRST: usize = 3;
/// A verdict follows so many samples.
const EVERY: u64 = 8;

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer: its time is what the peer took.
    Answered,
    /// Somebody lost patience: the peer would have taken longer.
    GivenUp,
    /// Quickly or not, it says nothing about the time that answers take.
    Failed,
}

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Room {
    /// So many may be in flight at this moment.
    pub limit: u32,
    /// So many are worked on at a time, at least one.
    pub slots: u32,
    /// How long one takes, in microseconds; zero when nothing is known.
    pub service_us: f32,
}

/// The words of one peer or upstream.
#[derive(Clone, Copy)]
pub struct Learnt<'a>(&'a [Word]);

/// The level of half as many.
fn half(level: usize) -> usize {
    let half = LEVELS[level].div_ceil(2).min(LEVELS[level].saturating_sub(1));
    LEVELS.partition_point(|n| *n <= half).saturating_sub(1)
}

/// The evidence (see [`Fit::against`]) that it takes to give a peer more. Near levels differ by little, and it costs as little to take one
/// for the other.
fn for_more(now: usize) -> f32 {
    let next = LEVELS.get(now + 1).map_or(1.5, |next| f32::from(*next) / f32::from(LEVELS[now]));
    FOR_MORE * ((next - 1.0) * 2.0).min(1.0).powi(2)
}

/// The evidence that it takes to give it less: the more of its work may be lost, the more.
fn for_less(now: usize, less: usize) -> f32 {
    let times = f32::from(LEVELS[now]) / f32::from(LEVELS[less]);
    FOR_LESS * ((times - 1.0) * 2.0).max(1.0).sqrt()
}

/// Samples fade by half in so many units of time, which a full turn of the windows takes too.
const TURN: u64 = 256;
/// One unit of so many is for one more in flight.
const UP_EVERY: u64 = 16;
/// As long as half as many in flight may do as well, so many units of so many are for that.
const DOWN: u64 = 2;
const DOWN_EVERY: u64 = 16;
/// For steps of a half at most: too little costs work, too much only time.
const FOR_MORE: f32 = 1.5;
const FOR_LESS: f32 = 3.0;
/// What no number of slots explains any more: the peer has changed.
const NONSENSE: f32 = 40.0;
/// Stamps of the tally count units of 262 ms.
const TICK: u32 = 18;
/// The windows' unit is about a service time, from 1 ms to 17 minutes; 16 ms when that is unknown.
const SHORTEST: u32 = 10;
const LONGEST: u32 = 30;
const USUAL: u32 = 14;

/// The evidence against being unlike the other peers: so much at 2.7 times as many slots, or as few.
const UNLIKE: f32 = 10.0;

#[derive(Clone, Copy)]
struct Verdict {
    /// As a level.
    slots: usize,
    /// More is known when there are windows with one more, or with one less.
    up: bool,
    down: bool,
    unit: u32,
    /// Sets the windows of peers apart.
    phase: u8,
    service_us: f32,
}

impl Verdict {
    const NONE: Self = Self { slots: FIRST, up: false, down: false, unit: USUAL, phase: 0, service_us: 0.0 };

    #[inline]
    fn of(word: u64) -> Self {
        let bits = low(word) as u32;
        match (bits & 0xff) as usize {
            0 => Self::NONE,
            slots => Self {
                slots: (slots - 1).min(LEVELS.len() - 1),
                up: bits >> 8 & 1 == 1,
                down: bits >> 9 & 1 == 1,
                unit: bits >> 16 & 0x1f,
                phase: (bits >> 24) as u8,
                service_us: f32::from_bits(high(word) as u32),
            },
        }
    }

    /// The least of its limits.
    fn sure(&self) -> u32 {
        LEVELS[if self.down { half(self.slots) } else { self.slots }].into()
    }

    fn to_word(self) -> u64 {
        let flags = u32::from(self.up) << 8 | u32::from(self.down) << 9;
        let bits = (self.slots as u32 + 1) | flags | self.unit << 16 | u32::from(self.phase) << 24;
        pair(self.service_us.to_bits(), bits)
    }

    #[inline]
    fn limit(&self, now: Now) -> u32 {
        if !self.up && !self.down {
            return LEVELS[self.slots].into();
        }
        let at = ((now.us >> self.unit) + u64::from(self.phase)) % TURN;
        let level = match at {
            _ if self.down && at % DOWN_EVERY < DOWN => half(self.slots),
            _ if self.up && at % UP_EVERY == UP_EVERY / 2 => (self.slots + 1).min(LEVELS.len() - 1),
            _ => self.slots,
        };
        LEVELS[level].into()
    }
}

impl<'a> Learnt<'a> {
    pub const WORDS: usize = LEVELS_AT + WORDS;

    /// `words` are [`Learnt::WORDS`] many, zero to begin with.
    #[inline]
    pub fn over(words: &'a [Word]) -> Self {
        Self(&words[..Self::WORDS])
    }

    fn levels(&self) -> Levels<'a> {
        Levels(&self.0[LEVELS_AT..])
    }

    /// How many may be in flight at this moment.
    #[inline]
    pub fn limit(&self, now: Now) -> u32 {
        Verdict::of(get(&self.0[VERDICT])).limit(now)
    }

    /// The same, with what is known beside it.
    #[inline]
    pub fn room(&self, now: Now) -> Room {
        let verdict = Verdict::of(get(&self.0[VERDICT]));
        Room {
            limit: verdict.limit(now),
            slots: LEVELS[verdict.slots].into(),
            service_us: verdict.service_us,
        }
    }

    /// The word from which [`Learnt::room`] is read.
    #[inline]
    pub fn word(&self) -> u64 {
        get(&self.0[VERDICT])
    }

    /// How many may be in flight at any moment, as long as that word is the same.
    pub fn sure(&self) -> u32 {
        Verdict::of(get(&self.0[VERDICT])).sure()
    }

    /// A try is over that took `us` (a stream: until its first byte) and was number `inflight` at the peer when it began, itself included.
    /// `alike` is asked for what is known of the other peers.
    #[inline]
    pub fn sample(
        &self,
        now: Now,
        us: u32,
        inflight: u32,
        outcome: Outcome,
        alike: impl FnOnce() -> Option<Alike<'a>>,
    ) {
        let (i, us) = (level_of(inflight), us as f32);
        let tells = match outcome {
            Outcome::Answered => true,
            Outcome::GivenUp => us > self.levels().get(i).us,
            Outcome::Failed => false,
        };
        if !tells {
            return;
        }
        let verdict = Verdict::of(get(&self.0[VERDICT]));
        let busy = (inflight as f32 / f32::from(LEVELS[verdict.slots])).max(1.0);
        let has_slowed = verdict.service_us > 0.0 && {
            let known = self.levels().get(i).samples;
            is_slower(&self.0[SHIFT], us / (verdict.service_us * busy), known)
        };
        if has_slowed {
            self.levels().slow_down(TIMES, DOUBT);
        }
        self.levels().change(i, |level| level.fed(us));
        add(&self.0[TALLY], 1);
        if has_slowed || low(get(&self.0[TALLY])).is_multiple_of(EVERY) {
            self.decide(now, alike());
        }
    }

    #[cold]
    fn decide(&self, now: Now, alike: Option<Alike<'_>>) {
        let before = Verdict::of(get(&self.0[VERDICT]));
        self.fade(now, before.unit);
        let levels = self.levels().all();
        let mut fit = Fit::of(&levels);
        if fit.samples < EVERY as f32 {
            return;
        }
        let is_nonsense = fit.against[fit.best()] > NONSENSE;
        if let Some((ln_slots, weight)) = alike.map(|alike| alike.usual()) {
            let unlike = |ln: f32| UNLIKE * weight * (ln - ln_slots).powi(2);
            fit.against.iter_mut().zip(LN_LEVELS).for_each(|(against, ln)| *against += unlike(ln));
        }
        let known = |level: &Level| level.samples >= 2.0;
        let top = levels.iter().rposition(known).unwrap_or(0);
        // beyond what was tried, one step at a time
        let best = fit.best().min(top + 2).min(LEVELS.len() - 1);
        let gain = fit.against[before.slots] - fit.against[best];
        let enough = if best > before.slots { for_more(before.slots) } else { for_less(before.slots, best) };
        let slots = match before.slots {
            _ if gain > enough => best,
            // it is at its limit, answers as fast as ever, and nobody knows what more would do
            now if best >= now && top == now && levels[now].samples >= EVERY as f32 => best,
            now => now,
        };
        if is_nonsense {
            self.levels().fade(0.5);
        }
        let service_us = fit.service_us(slots);
        let fresh = get(&self.0[VERDICT]) == 0;
        let verdict = Verdict {
            slots,
            up: levels.get(slots + 1).is_some_and(|level| level.samples < 30.0),
            down: slots > 0 && fit.against[half(slots)] - fit.against[slots] < FOR_LESS,
            unit: (service_us as u32).max(1).ilog2().clamp(SHORTEST, LONGEST),
            phase: if fresh { (now.us >> 4) as u8 } else { before.phase },
            service_us,
        };
        put(&self.0[VERDICT], verdict.to_word());
        // what it does with more in flight was seen
        if let Some(alike) = alike.filter(|_| top > slots) {
            alike.learn(LN_LEVELS[slots]);
        }
    }

    /// Makes what is known count for half after each turn, once for all workers.
    fn fade(&self, now: Now, unit: u32) {
        let tally = get(&self.0[TALLY]);
        let (tick, then) = ((now.us >> TICK) as u32, high(tally) as u32);
        let turn = ((TURN << unit) >> TICK).max(1) as u32;
        let turns = tick.wrapping_sub(then) / turn;
        if then == 0 || turns > 0 {
            let first = self.0[TALLY].compare_exchange(tally, pair(tick.max(1), 0), Relaxed, Relaxed).is_ok();
            if first && then != 0 {
                self.levels().fade(0.5f32.powi(turns.min(16) as i32));
            }
        }
    }
}
