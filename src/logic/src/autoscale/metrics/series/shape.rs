//! How much is kept of what: the shapes of a series.
//!
//! An upstream is kept finest, a peer in coarser histograms, a key value in fewer slots and one histogram, so that a thousand key
//! values fit beside the rest in 8 MB.
//!
//! | | slots | worst quantile error | histograms | last requests | words |
//! |---|---|---|---|---|---|
//! | upstream | 8 a ring: 1 s, 10 s, 1 min, 10 min | 5.9 % | latency, ttfb, connect | 64 | 8,775 |
//! | peer | 8 a ring | 11.2 % | latency, ttfb, connect | 64 | 4,695 |
//! | key name | 4 a ring: 2 s, 20 s, 2 min, 20 min | 11.2 % | latency | 16 | 887 |
//! | key value | 4 a ring | 20 % | latency | 16 | 551 |
//!
//! Of the eight one-second slots of an upstream or a peer, one is always the next second's: the finest windows end at 6 s. A key's
//! slot has few words and is turned by the first request that needs it.

use crate::autoscale::metrics::hist::{micros_bucket, Scale};
use crate::autoscale::metrics::ring::{Ring, Rings, LEVELS};
use crate::autoscale::metrics::word::Merge;

/// Words of a slot that every shape has; the first is the tag.
pub mod slot {
    /// Arrivals in the low half, retries in the high half.
    pub const ARRIVED: usize = 1;
    /// Eight classes, two a word; see [`super::super::Class`].
    pub const CLASSES: usize = 2;
    /// Latency samples in the low half, first bytes in the high half.
    pub const TIMED: usize = 6;
    pub const LATENCY: usize = 7;
    pub const TTFB: usize = 8;
    pub const TOKENS: usize = 9;
    pub const LEAN: usize = 10;
    /// Connects in the low half, samples of the levels in the high half.
    pub const CONNECTS: usize = 10;
    pub const CONNECT: usize = 11;
    /// Sums over the samples: in flight low, queued high.
    pub const INFLIGHT: usize = 12;
    /// Sum over the samples: waiting.
    pub const WAITING: usize = 13;
    /// Maxima of in flight, waiting, queued.
    pub const MAXIMA: usize = 14;
    pub const FULL: usize = 15;
}

/// Words before the rings.
pub mod head {
    pub const BORN: usize = 0;
    /// When a latency was last learnt.
    pub const LAST: usize = 1;
    pub const LATENCY: usize = 2;
    pub const TTFB: usize = 3;
    pub const CONNECT: usize = 4;
    /// Moving average of failing, 0 to 1.
    pub const FAILING: usize = 5;
    /// Totals since birth: eight classes.
    pub const CLASSES: usize = 6;
    pub const RETRIES: usize = 14;
    pub const TOKENS: usize = 15;
    /// Pairs of sum in microseconds and count: latency, ttfb, connect.
    pub const TIMES: usize = 16;
    pub const WORDS: usize = 22;
}

/// Upper bounds of the histograms shown to Prometheus, in microseconds; one more bucket has no bound.
pub const BOUNDS_US: [u32; 15] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];
/// Buckets of one such histogram.
pub const BOUNDED: usize = BOUNDS_US.len() + 1;

/// The bits of the shape that has such histograms; its own buckets are so narrow that at most one bound lies in each.
const BOUNDED_BITS: u32 = 3;
const BUCKETS: usize = Scale::Micros { bits: BOUNDED_BITS }.buckets();
/// How many of the bounds lie below the first time of each bucket.
static BOUNDS_BELOW: [u8; BUCKETS] = bounds_below();

const fn bounds_below() -> [u8; BUCKETS] {
    let mut below = [0; BUCKETS];
    let mut bound = 0;
    while bound < BOUNDS_US.len() {
        let mut bucket = micros_bucket(BOUNDS_US[bound], BOUNDED_BITS) + 1;
        while bucket < BUCKETS {
            below[bucket] = bound as u8 + 1;
            bucket += 1;
        }
        bound += 1;
    }
    below
}

/// How many bounds lie below a time, given its bucket in a histogram of [`BOUNDED_BITS`].
#[inline]
pub fn bounds_below_of(us: u32, bucket: usize) -> usize {
    let below = usize::from(BOUNDS_BELOW[bucket.min(BUCKETS - 1)]);
    below + usize::from(BOUNDS_US.get(below).is_some_and(|bound| *bound < us))
}

/// The times that have histograms, in their order in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    Latency = 0,
    Ttfb = 1,
    Connect = 2,
}

/// One kind of series.
pub trait Shape: Rings + Copy + 'static {
    const BITS: u32;
    /// Histograms of connect and ttfb too, and samples of the levels.
    const FULL: bool;
    /// Histograms since birth, for Prometheus.
    const BOUNDED: bool;
    /// How many last requests are kept.
    const RECENT: usize;

    const SCALE: Scale = Scale::Micros { bits: Self::BITS };
    const FIXED: usize = if Self::FULL { slot::FULL } else { slot::LEAN };
    const RECENT_AT: usize = head::WORDS + if Self::BOUNDED { 3 * BOUNDED } else { 0 };
    const RING_AT: usize = Self::RECENT_AT + 1 + Self::RECENT;
    const WORDS: usize = Self::RING_AT + Ring::<'static, Self>::WORDS;

    /// Where the histogram of a time begins in a slot.
    fn histogram(time: Time) -> Option<usize> {
        (Self::FULL || time == Time::Latency).then(|| Self::FIXED + time as usize * Self::SCALE.words())
    }
}

/// Words of a slot with `hists` histograms.
const fn slot_words(fixed: usize, hists: usize, bits: u32) -> usize {
    fixed + hists * Scale::Micros { bits }.words()
}

const fn full_merge(word: usize) -> Merge {
    if word == slot::MAXIMA {
        Merge::Parts
    } else {
        Merge::Add
    }
}

macro_rules! shape {
    ($(#[$doc:meta])* $name:ident, slots: $slots:expr, widths: $widths:expr, bits: $bits:expr, full: $full:expr, bounded: $bounded:expr, recent: $recent:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name;

        impl Rings for $name {
            const SLOTS: usize = $slots;
            const WIDTHS: [u64; LEVELS] = $widths;
            const AHEAD: usize = if $full { 1 } else { 0 };
            const SLOT_WORDS: usize =
                if $full { slot_words(slot::FULL, 3, $bits) } else { slot_words(slot::LEAN, 1, $bits) };

            #[inline]
            fn merge(word: usize) -> Merge {
                if $full { full_merge(word) } else { Merge::Add }
            }
        }

        impl Shape for $name {
            const BITS: u32 = $bits;
            const FULL: bool = $full;
            const BOUNDED: bool = $bounded;
            const RECENT: usize = $recent;
        }
    };
}

const FINE: [u64; LEVELS] = [1, 10, 60, 600];
const COARSE: [u64; LEVELS] = [2, 20, 120, 1200];

const _: () = assert!(Upstream::BITS == BOUNDED_BITS && !Peer::BOUNDED && !Name::BOUNDED && !Key::BOUNDED);

shape!(/// A group of peers.
    Upstream, slots: 8, widths: FINE, bits: 3, full: true, bounded: true, recent: 64);
shape!(/// One address of an upstream.
    Peer, slots: 8, widths: FINE, bits: 2, full: true, bounded: false, recent: 64);
shape!(/// All requests that carry a label.
    Name, slots: 4, widths: COARSE, bits: 2, full: false, bounded: false, recent: 16);
shape!(/// The requests that carry one value of a label.
    Key, slots: 4, widths: COARSE, bits: 1, full: false, bounded: false, recent: 16);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_table_of_bounds_says_what_a_search_says(us in prop_oneof![
            any::<u32>(), 0u32..200_000_000, prop::sample::select(BOUNDS_US.to_vec()),
            prop::sample::select(BOUNDS_US.to_vec()).prop_map(|bound| bound + 1),
        ]) {
            let searched = BOUNDS_US.partition_point(|bound| *bound < us);
            prop_assert_eq!(bounds_below_of(us, micros_bucket(us, BOUNDED_BITS)), searched);
        }
    }
}
