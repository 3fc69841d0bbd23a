//! The average latency at each number in flight, two to a word.
//!
//! A half word holds 22 bits of a float (the value in microseconds, to four digits) and how many samples stand behind it, in sixteenths.

use crate::autoscale::metrics::word::{get, put, Word};

/// The numbers in flight that are told apart; those between count for the nearest.
pub const LEVELS: [u16; 20] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 512];
/// Their natural logarithms.
pub const LN_LEVELS: [f32; LEVELS.len()] = [
    0.0,
    core::f32::consts::LN_2,
    1.0986123,
    1.3862944,
    1.609438,
    1.7917595,
    2.0794415,
    core::f32::consts::LN_10,
    2.4849067,
    2.7725887,
    2.9957323,
    3.1780539,
    3.465736,
    3.871201,
    4.158883,
    4.564348,
    4.8520303,
    5.2574954,
    5.5451775,
    6.2383246,
];
pub const WORDS: usize = LEVELS.len() / 2;

/// An average remembers so many samples.
const MEMORY: f32 = 120.0;
const COUNT_BITS: u32 = 10;
const COUNT: u32 = (1 << COUNT_BITS) - 1;
const PART: f32 = 8.0;

/// An average and its samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    pub us: f32,
    pub samples: f32,
}

impl Level {
    fn of(bits: u32) -> Self {
        Self {
            // without the sign: the value is positive
            us: f32::from_bits((bits & !COUNT) >> 1),
            samples: (bits & COUNT) as f32 / PART,
        }
    }

    fn to_bits(self) -> u32 {
        // rounded to what is kept of it, so that small steps do not all go down
        let us = (self.us.to_bits() << 1).saturating_add(1 << (COUNT_BITS - 1)) & !COUNT;
        us | ((self.samples * PART) as u32).min(COUNT)
    }

    pub fn fed(self, us: f32) -> Self {
        let samples = (self.samples + 1.0).min(MEMORY);
        Self { us: self.us + (us - self.us) / samples, samples }
    }
}

/// Which level a number in flight counts for.
pub fn level_of(inflight: u32) -> usize {
    let above = LEVELS.partition_point(|n| u32::from(*n) < inflight);
    match (above.checked_sub(1).map(|i| LEVELS[i]), LEVELS.get(above)) {
        (Some(low), Some(high)) if inflight - u32::from(low) < u32::from(*high) - inflight => above - 1,
        (_, Some(_)) => above,
        (_, None) => LEVELS.len() - 1,
    }
}

/// All levels, over their words.
#[derive(Clone, Copy)]
pub struct Levels<'a>(pub &'a [Word]);

impl Levels<'_> {
    pub fn get(&self, i: usize) -> Level {
        Level::of((get(&self.0[i / 2]) >> (32 * (i % 2))) as u32)
    }

    /// Of two that race, one is lost.
    pub fn change(&self, i: usize, change: impl FnOnce(Level) -> Level) {
        let (word, shift) = (&self.0[i / 2], 32 * (i % 2));
        let bits = u64::from(change(self.get(i)).to_bits()) << shift;
        put(word, get(word) & !(0xffff_ffff << shift) | bits);
    }

    pub fn all(&self) -> [Level; LEVELS.len()] {
        core::array::from_fn(|i| self.get(i))
    }

    /// Makes what is known count for less.
    pub fn fade(&self, by: f32) {
        self.slow_down(1.0, by);
    }

    /// Everything takes so many times as long from now on, which counts for less.
    pub fn slow_down(&self, times: f32, by: f32) {
        for i in 0..LEVELS.len() {
            if self.get(i).samples > 0.0 {
                self.change(i, |level| Level { us: level.us * times, samples: level.samples * by });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithms_are_those_of_the_levels() {
        LEVELS
            .iter()
            .zip(LN_LEVELS)
            .for_each(|(n, ln)| assert!((f32::from(*n).ln() - ln).abs() < 1e-6, "{n}"));
    }

    #[test]
    fn numbers_count_for_the_nearest_level() {
        let table = [
            (0, 1),
            (1, 1),
            (6, 6),
            (7, 8),
            (9, 10),
            (14, 16),
            (13, 12),
            (40, 48),
            (39, 32),
            (511, 512),
            (9999, 512),
        ];
        for (n, level) in table {
            assert_eq!(LEVELS[level_of(n)], level, "{n}");
        }
    }

    #[test]
    fn an_average_is_kept_to_four_digits() {
        let words: Vec<Word> = (0..WORDS).map(|_| Word::new(0)).collect();
        let levels = Levels(&words);
        for _ in 0..1000 {
            levels.change(3, |level| level.fed(20_000.0));
            levels.change(2, |level| level.fed(10_000.0));
        }
        levels.change(3, |level| level.fed(26_000.0));
        assert!((levels.get(3).us - 20_050.0).abs() < 3.0, "{:?}", levels.get(3));
        assert!((levels.get(2).us - 10_000.0).abs() < 1.0);
        assert_eq!((levels.get(3).samples, levels.get(4)), (120.0, Level::default()));
        levels.fade(0.5);
        assert_eq!(levels.get(3).samples, 60.0);
    }
}
