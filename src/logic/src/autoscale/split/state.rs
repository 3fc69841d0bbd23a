//! How far a split is, in words that all workers share. One worker writes, once a tick; all read.

use super::{Guard, Split, Than};
use crate::autoscale::metrics::word::{get, put, Word};
use crate::autoscale::metrics::Now;
use crate::autoscale::read::Reading;
use crate::autoscale::signal::{Signal, Window};
use std::sync::atomic::Ordering::{Acquire, Release};

/// Words of one split.
pub const WORDS: usize = 8;
/// Which text of the split the others are about: written last when it begins.
const MARK: usize = 0;
/// The share of the moving arm, and the phase above: one word, so that both change at once.
const SHARE: usize = 1;
const SINCE: usize = 2;
/// When it was last said what would have been done.
const SAID: usize = 3;
/// When it began.
const BEGAN: usize = 4;

/// How often what would be done is said.
const SAY_US: u64 = 60_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The moving arm may grow, or its share is fixed.
    Running = 0,
    /// It has all that it may get.
    Done = 1,
    /// A guard did not hold: it gets nothing.
    RolledBack = 2,
}

/// What a tick has changed. Shares are of [`super::WHOLE`].
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Stepped {
        from: u32,
        to: u32,
    },
    RolledBack {
        from: u32,
        why: String,
    },
    /// Nothing: the gateway only observes.
    Would(String),
}

/// How far it is.
#[derive(Clone, Copy)]
pub struct Progress<'a> {
    words: &'a [Word],
    mark: u64,
}

enum Judgement {
    Holds,
    Fails(String),
    /// Too little was seen.
    Open,
}

impl<'a> Progress<'a> {
    /// Over the words of the moving arm's upstream.
    ///
    /// `mark` is [`Split::mark`].
    pub fn new(words: &'a [Word], mark: u64) -> Self {
        Self { words, mark }
    }

    /// The share of the moving arm, and the phase.
    #[inline]
    pub fn share(&self, split: &Split) -> (u32, Phase) {
        if self.words[MARK].load(Acquire) != self.mark {
            return (split.arms[split.moving].share, Phase::Running);
        }
        let word = get(&self.words[SHARE]);
        let phase = match word >> 32 {
            1 => Phase::Done,
            2 => Phase::RolledBack,
            _ => Phase::Running,
        };
        (word as u32, phase)
    }

    /// Begins, if the words are of another text, or of none.
    pub fn begin(&self, split: &Split, now: Now) {
        if self.words[MARK].load(Acquire) != self.mark {
            self.restart(split, now);
        }
    }

    /// Begins anew with the configured share.
    pub fn restart(&self, split: &Split, now: Now) {
        self.words[MARK].store(0, Release);
        self.put(split.arms[split.moving].share, Phase::Running, now);
        put(&self.words[SAID], 0);
        put(&self.words[BEGAN], now.us);
        self.words[MARK].store(self.mark, Release);
    }

    fn put(&self, share: u32, phase: Phase, now: Now) {
        put(&self.words[SINCE], now.us);
        put(&self.words[SHARE], u64::from(share) | (phase as u64) << 32);
    }

    /// A tick: rolls back, or makes a step. With `observe` it changes nothing, and says now and then what it would do.
    pub fn tick(
        &self,
        split: &Split,
        observe: bool,
        read: &dyn Fn(&Signal) -> Option<Reading>,
        now: Now,
    ) -> Option<Change> {
        self.begin(split, now);
        let (from, phase) = self.share(split);
        if phase == Phase::RolledBack || from == 0 && split.step.is_none() {
            return None;
        }
        let mut open = false;
        let age_us = now.us.saturating_sub(get(&self.words[BEGAN]));
        for guard in &split.guards {
            match guard.judge(age_us, read) {
                Judgement::Holds => {}
                Judgement::Open => open = true,
                Judgement::Fails(why) if observe => return self.would(format!("roll back: {why}"), now),
                Judgement::Fails(why) => {
                    self.put(0, Phase::RolledBack, now);
                    return Some(Change::RolledBack { from, why });
                }
            }
        }
        let step = split.step.filter(|step| {
            // who has nothing cannot be judged
            (!open || from == 0)
                && from < step.max
                && now.us.saturating_sub(get(&self.words[SINCE])) >= step.every_us
        })?;
        let to = (from + step.by).min(step.max);
        if observe {
            return self.would(format!("give it {}%", f64::from(to) / 100.0), now);
        }
        self.put(to, if to == step.max { Phase::Done } else { Phase::Running }, now);
        Some(Change::Stepped { from, to })
    }

    fn would(&self, what: String, now: Now) -> Option<Change> {
        let said = get(&self.words[SAID]);
        if said != 0 && now.us.saturating_sub(said) < SAY_US {
            return None;
        }
        put(&self.words[SAID], now.us.max(1));
        Some(Change::Would(what))
    }
}

impl Guard {
    /// `age_us` is how long ago the split began: what was a second or more before that is not looked at.
    fn judge(&self, age_us: u64, read: &dyn Fn(&Signal) -> Option<Reading>) -> Judgement {
        let own = |signal: &Signal| match signal.window {
            Window::Seconds(s) => match u32::try_from(age_us.div_ceil(1_000_000)) {
                Ok(0) => None,
                Ok(age_s) => Some(Signal { window: Window::Seconds(s.min(age_s)), ..signal.clone() }),
                Err(_) => Some(signal.clone()),
            },
            _ => Some(signal.clone()),
        };
        let read = |signal: &Signal| read(&own(signal)?);
        let Some(seen) = read(&self.signal).filter(|seen| seen.samples >= self.min) else {
            return Judgement::Open;
        };
        let Some(value) = seen.value else { return Judgement::Open };
        let than = match &self.than {
            Than::Value(than) => *than,
            Than::Signal { signal, times, plus } => {
                let other = read(signal).filter(|other| other.samples > 0).and_then(|other| other.value);
                // it has too little traffic left to be compared with
                let Some(other) = other else { return Judgement::Open };
                other * times + plus
            }
        };
        if self.op.holds(value, than) {
            return Judgement::Holds;
        }
        Judgement::Fails(format!("\"guard {}\" does not hold: {value:.4} against {than:.4}", self.text))
    }
}
