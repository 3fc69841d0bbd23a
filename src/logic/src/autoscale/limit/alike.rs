//! How many requests the peers of one upstream take at a time, as far as that is known of any of them.
//!
//! Most peers of an upstream are alike. Where little was sent to one, or never more than it takes, what was found of the others says more
//! than what was measured: until there is evidence against it, it has as many slots as they have.

use crate::autoscale::metrics::word::{get, high, low, pair, put, Word};

/// The average remembers so many verdicts.
const MEMORY: u32 = 32;
/// After so many it has its whole weight.
const SURE: f32 = 8.0;

/// The word of one upstream: the mean of the logarithms of slots, and how many verdicts stand behind it.
#[derive(Clone, Copy)]
pub struct Alike<'a>(&'a Word);

impl<'a> Alike<'a> {
    /// `word` is zero to begin with.
    #[inline]
    pub fn over(word: &'a Word) -> Self {
        Self(word)
    }

    /// The logarithm of the usual slots, and how much that weighs, from 0 to 1.
    pub(super) fn usual(&self) -> (f32, f32) {
        let word = get(self.0);
        (f32::from_bits(high(word) as u32), (low(word) as f32 / SURE).min(1.0))
    }

    /// A peer has been found to have `ln_slots`. Of two that race, one is lost.
    pub(super) fn learn(&self, ln_slots: f32) {
        let word = get(self.0);
        let (mean, n) = (f32::from_bits(high(word) as u32), (low(word) as u32 + 1).min(MEMORY));
        put(self.0, pair((mean + (ln_slots - mean) / n as f32).to_bits(), n));
    }
}
