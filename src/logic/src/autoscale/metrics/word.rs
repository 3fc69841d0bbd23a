//! The one kind of memory there is: 64-bit atomic words, zero to begin with.
//!
//! Two 32-bit counts share a word, so that one addition counts two things and a half never spills into the other: a slot would need
//! four thousand million events before it turns. Floats are their bits, added by compare-and-swap.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A word of the zone.
pub type Word = AtomicU64;

/// One in the lower half.
pub const LOW: u64 = 1;
/// One in the upper half.
pub const HIGH: u64 = 1 << 32;

#[inline]
pub const fn low(word: u64) -> u64 {
    word & 0xffff_ffff
}

#[inline]
pub const fn high(word: u64) -> u64 {
    word >> 32
}

#[inline]
pub const fn pair(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

#[inline]
pub fn add(word: &Word, n: u64) {
    word.fetch_add(n, Relaxed);
}

#[inline]
pub fn get(word: &Word) -> u64 {
    word.load(Relaxed)
}

#[inline]
pub fn put(word: &Word, value: u64) {
    word.store(value, Relaxed);
}

/// Adds to a float kept as bits. Lock-free: a failed swap means that another writer got on.
pub fn add_float(word: &Word, x: f64) {
    let mut seen = get(word);
    while let Err(now) =
        word.compare_exchange_weak(seen, (f64::from_bits(seen) + x).to_bits(), Relaxed, Relaxed)
    {
        seen = now;
    }
}

/// A float as an integer of the same order; zero is less than all of them and means "none".
pub fn ordered(x: f64) -> u64 {
    let bits = x.to_bits();
    if bits >> 63 == 0 {
        bits | 1 << 63
    } else {
        !bits
    }
}

/// The inverse of [`ordered`].
pub fn unordered(key: u64) -> Option<f64> {
    match key {
        0 => None,
        k if k >> 63 == 1 => Some(f64::from_bits(k & !(1 << 63))),
        k => Some(f64::from_bits(!k)),
    }
}

const PART: u64 = (1 << 21) - 1;

/// Three maxima in one word, 21 bits each.
pub fn parts(values: [u64; 3]) -> u64 {
    values[0].min(PART) | values[1].min(PART) << 21 | values[2].min(PART) << 42
}

pub fn unparts(word: u64) -> [u64; 3] {
    [word & PART, word >> 21 & PART, word >> 42 & PART]
}

/// How two values of the same word become one, when slots are folded or summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Counts, alone or in halves.
    Add,
    /// A float.
    Float,
    /// One maximum.
    Max,
    /// Three maxima of 21 bits.
    Parts,
}

impl Merge {
    pub fn plain(self, a: u64, b: u64) -> u64 {
        match self {
            Self::Add => a.wrapping_add(b),
            Self::Float => (f64::from_bits(a) + f64::from_bits(b)).to_bits(),
            Self::Max => a.max(b),
            Self::Parts => {
                let (a, b) = (unparts(a), unparts(b));
                parts([a[0].max(b[0]), a[1].max(b[1]), a[2].max(b[2])])
            }
        }
    }

    pub fn into(self, word: &Word, value: u64) {
        if self == Self::Add {
            return add(word, value);
        }
        let mut seen = get(word);
        loop {
            let merged = self.plain(seen, value);
            if merged == seen {
                return;
            }
            match word.compare_exchange_weak(seen, merged, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_survives(a: f64, b: f64) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(ordered(a) < ordered(b), a.to_bits() != b.to_bits() && (a < b || (a == b && a.is_sign_negative())));
            prop_assert_eq!(unordered(ordered(a)).map(f64::to_bits), Some(a.to_bits()));
            prop_assert!(ordered(a) > 0);
        }

        #[test]
        fn parts_keep_their_maxima(a in [0u64..PART, 0..PART, 0..PART], b in [0u64..PART, 0..PART, 0..PART]) {
            let word = Word::new(parts(a));
            Merge::Parts.into(&word, parts(b));
            prop_assert_eq!(unparts(get(&word)), [a[0].max(b[0]), a[1].max(b[1]), a[2].max(b[2])]);
        }
    }
}
