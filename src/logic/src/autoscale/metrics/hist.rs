//! Histograms with a stated relative error, indexed without a logarithm.
//!
//! Log-linear buckets as in HdrHistogram (Gil Tene): each power of two is cut into `2^BITS` equal parts, so the index is the position
//! of the highest bit and the bits below it. A bucket `[a, b)` answers with `2ab/(a+b)`, the point whose worst relative error is least
//! (the estimate DDSketch uses; Masson, Rim, Lee, VLDB 2019): `(b-a)/(b+a)`, at most `1/(2^(BITS+1)+1)`.
//!
//! | BITS | worst relative error | words of a time histogram |
//! |---|---|---|
//! | 3 | 5.9 % | 85 |
//! | 2 | 11.2 % | 43 |
//! | 1 | 20 % | 22 |
//!
//! Times are microseconds from 64 us to 134 s; below and above is one bucket each.

use super::word::{add, high, low, Word, LOW};

const FLOOR: u32 = 6;
const TOP: u32 = 27;

/// How values map to buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Microseconds, `2^bits` buckets a power of two.
    Micros { bits: u32 },
    /// Any positive number from 2^-14 (0.00006) to 2^34 (17,000,000,000), four buckets a power of two.
    Wide,
}

const WIDE_BITS: u32 = 2;
const WIDE_FLOOR: i32 = -14;
const WIDE_TOP: i32 = 34;
/// Buckets of the largest histogram.
pub const MAX_BUCKETS: usize = Scale::Wide.buckets();

impl Scale {
    pub const fn buckets(self) -> usize {
        match self {
            Self::Micros { bits } => ((TOP - FLOOR) << bits) as usize + 2,
            Self::Wide => ((WIDE_TOP - WIDE_FLOOR) << WIDE_BITS) as usize + 2,
        }
    }

    /// Two buckets share a word.
    pub const fn words(self) -> usize {
        self.buckets().div_ceil(2)
    }

    /// The half-open range of a bucket; the last one has no upper end.
    pub fn range(self, bucket: usize) -> (f64, f64) {
        let (floor, top, bits) = match self {
            Self::Micros { bits } => (FLOOR as i32, TOP as i32, bits),
            Self::Wide => (WIDE_FLOOR, WIDE_TOP, WIDE_BITS),
        };
        match bucket {
            0 => (0.0, 2f64.powi(floor)),
            b if b + 1 >= self.buckets() => (2f64.powi(top), f64::INFINITY),
            b => {
                let (octave, part) = ((b - 1) >> bits, (b - 1) & ((1 << bits) - 1));
                let (base, step) = (2f64.powi(floor + octave as i32), 1.0 / f64::from(1u32 << bits));
                (base * (1.0 + part as f64 * step), base * (1.0 + (part + 1) as f64 * step))
            }
        }
    }

    /// The value a bucket stands for.
    pub fn estimate(self, bucket: usize) -> f64 {
        let (a, b) = self.range(bucket);
        match bucket {
            0 => b / 2.0,
            _ if b.is_infinite() => a,
            _ => 2.0 * a * b / (a + b),
        }
    }
}

/// The bucket of a time.
#[inline]
pub const fn micros_bucket(us: u32, bits: u32) -> usize {
    if us < 1 << FLOOR {
        return 0;
    }
    if us >= 1 << TOP {
        return Scale::Micros { bits }.buckets() - 1;
    }
    let octave = 31 - us.leading_zeros();
    let part = us >> (octave - bits) & ((1 << bits) - 1);
    (1 + ((octave - FLOOR) << bits) + part) as usize
}

/// The bucket of any number, from the exponent and the first bits of the fraction. Zero, negative and NaN are in the first.
pub fn wide_bucket(x: f64) -> usize {
    if x.is_nan() || x < 2f64.powi(WIDE_FLOOR) {
        return 0;
    }
    if x >= 2f64.powi(WIDE_TOP) {
        return Scale::Wide.buckets() - 1;
    }
    let bits = x.to_bits();
    let octave = (bits >> 52) as i32 - 1023 - WIDE_FLOOR;
    let part = bits >> (52 - WIDE_BITS) & ((1 << WIDE_BITS) - 1);
    1 + ((octave as usize) << WIDE_BITS) + part as usize
}

/// Counts one value in a bucket.
#[inline]
pub fn count(words: &[Word], bucket: usize) {
    if let Some(word) = words.get(bucket / 2) {
        add(word, LOW << (32 * (bucket % 2)));
    }
}

/// The counts of a window, taken out of the zone.
#[derive(Clone, Debug)]
pub struct Counts {
    scale: Scale,
    words: [u64; MAX_BUCKETS.div_ceil(2)],
}

impl Counts {
    pub fn new(scale: Scale) -> Self {
        Self { scale, words: [0; MAX_BUCKETS.div_ceil(2)] }
    }

    /// The words to sum slots into.
    pub fn words(&mut self) -> &mut [u64] {
        &mut self.words[..self.scale.words()]
    }

    /// Adds another window. Both must have the same scale.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.scale, other.scale);
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine += theirs;
        }
    }

    pub fn total(&self) -> u64 {
        self.words.iter().map(|word| low(*word) + high(*word)).sum()
    }

    fn bucket(&self, i: usize) -> u64 {
        if i.is_multiple_of(2) {
            low(self.words[i / 2])
        } else {
            high(self.words[i / 2])
        }
    }

    /// The value that a share `q` of the samples does not exceed (nearest rank), `None` without samples.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.total();
        let rank = ((q * total as f64).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        for (i, word) in self.words.iter().enumerate() {
            let both = low(*word) + high(*word);
            if both > 0 && seen + both >= rank {
                let is_high = seen + low(*word) < rank;
                return Some(self.scale.estimate(2 * i + usize::from(is_high)));
            }
            seen += both;
        }
        None
    }

    /// The highest value, within the error of its bucket.
    pub fn max(&self) -> Option<f64> {
        (0..self.scale.buckets()).rev().find(|i| self.bucket(*i) > 0).map(|i| self.scale.estimate(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(scale: Scale, buckets: impl Iterator<Item = usize>) -> Counts {
        let words: Vec<Word> = (0..scale.words()).map(|_| Word::new(0)).collect();
        buckets.for_each(|bucket| count(&words, bucket));
        let mut counts = Counts::new(scale);
        counts.words().iter_mut().zip(&words).for_each(|(to, from)| *to = super::super::word::get(from));
        counts
    }

    #[test]
    fn buckets_tile_the_range() {
        for bits in 1..=3 {
            let scale = Scale::Micros { bits };
            for i in 0..scale.buckets() - 1 {
                let (a, b) = scale.range(i);
                assert_eq!(b, scale.range(i + 1).0);
                assert_eq!(micros_bucket(a.ceil() as u32, bits), i);
                assert_eq!(micros_bucket(b as u32 - 1, bits), i);
            }
            assert_eq!(micros_bucket(u32::MAX, bits), scale.buckets() - 1);
        }
        assert_eq!(wide_bucket(-1.0), 0);
        assert_eq!(wide_bucket(f64::NAN), 0);
        assert_eq!(wide_bucket(f64::INFINITY), Scale::Wide.buckets() - 1);
    }

    #[test]
    fn nothing_has_no_quantile() {
        let counts = Counts::new(Scale::Wide);
        assert_eq!((counts.quantile(0.5), counts.max(), counts.total()), (None, None, 0));
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_stated_error(
            mut values in prop::collection::vec(64u32..(1 << 27), 1..300), bits in 1u32..=3, q in 0.0f64..=1.0,
        ) {
            let counts = filled(Scale::Micros { bits }, values.iter().map(|us| micros_bucket(*us, bits)));
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let bound = 1.0 / f64::from((2 << bits) + 1);
            for (exact, estimate) in [(values[rank - 1], counts.quantile(q)), (values[values.len() - 1], counts.max())] {
                let exact = f64::from(exact);
                let error = (estimate.unwrap() - exact).abs() / exact;
                prop_assert!(error <= bound + 1e-9, "{} against {}", estimate.unwrap(), exact);
            }
        }

        #[test]
        fn wide_values_are_within_the_stated_error(x in 0.0001f64..1e10) {
            let counts = filled(Scale::Wide, std::iter::once(wide_bucket(x)));
            let estimate = counts.quantile(0.99).unwrap();
            prop_assert!((estimate - x).abs() / x <= 1.0 / 9.0 + 1e-9);
        }
    }
}
