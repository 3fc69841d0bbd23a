//! Where a peer stands: one word, so that every change of it is whole, and a worker that is killed leaves the old one or the new one.

use super::Settings;
use crate::autoscale::metrics::word::Word;
use std::sync::atomic::Ordering::SeqCst;

/// A claim that is older belongs to a worker that was killed.
const CLAIM_MS: u64 = 1000;
const MOST_STREAK: u32 = (1 << 10) - 1;
const MOST_LEVEL: u32 = (1 << 4) - 1;
/// Phase and streak.
const TROUBLE: u64 = (1 << 12) - 1;
const PHASE: u64 = 3;
const DEAD: u64 = 1 << 16;

/// What a peer gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// All that it is chosen for. `at_ms` is since when, or zero if it was never ejected.
    #[default]
    Well,
    /// The same, while somebody counts whether it may be ejected. `at_ms` is since when.
    Claimed,
    /// Nothing, until `at_ms`.
    Ejected,
    /// A little, since `at_ms`.
    Probation,
}

/// The word in its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub phase: Phase,
    /// Failures in a row of one that is well, answers in a row of one on probation.
    pub streak: u32,
    /// How many ejections this one follows on.
    pub level: u32,
    /// It could not be reached, so that a check which reaches it says more than its time.
    pub dead: bool,
    pub at_ms: u64,
}

impl Standing {
    pub fn of(word: u64) -> Self {
        let phase = match word & PHASE {
            0 => Phase::Well,
            1 => Phase::Claimed,
            2 => Phase::Ejected,
            _ => Phase::Probation,
        };
        Self {
            phase,
            streak: (word >> 2) as u32 & MOST_STREAK,
            level: (word >> 12) as u32 & MOST_LEVEL,
            dead: word & DEAD != 0,
            at_ms: word >> 20,
        }
    }

    pub fn to_bits(self) -> u64 {
        self.phase as u64
            | u64::from(self.streak.min(MOST_STREAK)) << 2
            | u64::from(self.level.min(MOST_LEVEL)) << 12
            | if self.dead { DEAD } else { 0 }
            | self.at_ms << 20
    }

    /// Well, and the last that was heard of it was no failure: an answer changes nothing.
    #[inline]
    pub fn is_untroubled(word: u64) -> bool {
        word & TROUBLE == 0
    }

    /// Well, whatever was heard of it last.
    #[inline]
    pub fn is_well(word: u64) -> bool {
        word & PHASE == 0
    }

    /// What time makes of it: an ejection that is over is a probation, and what a dead worker claims is nobody's.
    pub fn at(self, now_ms: u64) -> Self {
        match self.phase {
            Phase::Ejected if self.at_ms <= now_ms => Self { phase: Phase::Probation, streak: 0, ..self },
            Phase::Claimed if now_ms.saturating_sub(self.at_ms) > CLAIM_MS => {
                Self { phase: Phase::Well, streak: 0, ..self }
            }
            _ => self,
        }
    }

    /// On how many ejections the next one follows: each time that it was well for as long as the last one took, one is forgotten.
    pub fn remembered(&self, settings: &Settings, now_ms: u64) -> u32 {
        if self.phase != Phase::Well || self.level == 0 {
            return self.level;
        }
        let last_ms = settings.ejection_ms(self.level - 1).max(1);
        let forgotten = now_ms.saturating_sub(self.at_ms) / last_ms;
        self.level.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }
}

/// Reads the word.
pub(super) fn read(word: &Word) -> Standing {
    Standing::of(word.load(SeqCst))
}

/// Changes it if it still is what was read. In one order for all workers: who claims second sees the first when it counts.
pub(super) fn swap(word: &Word, from: Standing, to: Standing) -> bool {
    word.compare_exchange(from.to_bits(), to.to_bits(), SeqCst, SeqCst).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_lost_in_the_word(phase in 0u64..4, streak in 0..=MOST_STREAK, level in 0..=MOST_LEVEL, dead: bool, at_ms in 0u64..1 << 44) {
            let standing = Standing { phase: Standing::of(phase).phase, streak, level, dead, at_ms };
            let word = standing.to_bits();
            prop_assert_eq!(Standing::of(word), standing);
            prop_assert_eq!(Standing::is_untroubled(word), phase == 0 && streak == 0);
            prop_assert_eq!(Standing::is_well(word), phase == 0);
        }
    }

    #[test]
    fn time_forgets() {
        let settings = Settings::default();
        let well = Standing { level: 3, at_ms: 1_000_000, ..Standing::default() };
        let after = |s: u64| well.remembered(&settings, 1_000_000 + s * 1000);
        // the third ejection took 40 s
        assert_eq!([0, 39, 40, 79, 80, 10_000].map(after), [3, 3, 2, 2, 1, 0]);
        let claimed = Standing { phase: Phase::Claimed, at_ms: 5000, level: 2, ..Standing::default() };
        assert_eq!(claimed.at(6000), claimed);
        assert_eq!(claimed.at(6001).phase, Phase::Well);
        let ejected = Standing { phase: Phase::Ejected, at_ms: 5000, ..Standing::default() };
        assert_eq!((ejected.at(4999), ejected.at(5000).phase), (ejected, Phase::Probation));
    }
}
