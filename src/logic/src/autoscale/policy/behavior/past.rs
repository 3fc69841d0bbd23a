//! The stabilisation window: what was recommended lately.
//!
//! Kubernetes keeps each recommendation. A policy may be evaluated far more often than every 15 s, so here the window is cut into
//! 60 parts and each keeps the highest and the lowest of its recommendations until the last of them has left the window:
//! exactly Kubernetes' rule while at most one falls into a part, and at most one part (5 s of 300 s) longer otherwise.

/// Into how many parts a window is cut.
const PARTS: u64 = 60;
/// A window that begins in the middle of a part touches one more.
pub const BUCKETS: usize = PARTS as usize + 1;

/// The recommendations of one part. `at_us` of 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The time of the latest.
    pub at_us: u64,
    pub highest: u32,
    pub lowest: u32,
}

/// The recommendations of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past(pub [Bucket; BUCKETS]);

impl Default for Past {
    fn default() -> Self {
        Self([Bucket::default(); BUCKETS])
    }
}

impl Past {
    /// Remembers what was recommended, before any brake.
    pub fn record(&mut self, now_us: u64, window_s: u32, replicas: u32) {
        let width = (u64::from(window_s) * 1_000_000 / PARTS).max(1);
        let part = now_us / width;
        let bucket = &mut self.0[part as usize % BUCKETS];
        if bucket.at_us / width != part || bucket.at_us == 0 {
            *bucket = Bucket { at_us: 0, highest: replicas, lowest: replicas };
        }
        bucket.at_us = now_us.max(1);
        bucket.highest = bucket.highest.max(replicas);
        bucket.lowest = bucket.lowest.min(replicas);
    }

    /// The highest recommendation of the window.
    pub fn highest(&self, now_us: u64, window_s: u32) -> Option<u32> {
        self.young(now_us, window_s).map(|bucket| bucket.highest).max()
    }

    /// The lowest recommendation of the window.
    pub fn lowest(&self, now_us: u64, window_s: u32) -> Option<u32> {
        self.young(now_us, window_s).map(|bucket| bucket.lowest).min()
    }

    fn young(&self, now_us: u64, window_s: u32) -> impl Iterator<Item = &Bucket> {
        let window_us = u64::from(window_s) * 1_000_000;
        self.0.iter().filter(move |bucket| bucket.at_us > 0 && now_us < bucket.at_us + window_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000;

    #[test]
    fn the_highest_leaves_with_its_window() {
        let mut past = Past::default();
        // every 15 s, as the controller does
        for (s, replicas) in [(15, 5), (30, 9), (45, 4), (60, 3)] {
            past.record(s * S, 300, replicas);
        }
        assert_eq!(past.highest(60 * S, 300), Some(9));
        assert_eq!(past.lowest(60 * S, 300), Some(3));
        assert_eq!(past.highest(329 * S, 300), Some(9));
        // strictly younger than the window
        assert_eq!(past.highest(330 * S, 300), Some(4));
        assert_eq!(past.highest(360 * S, 300), None);
        assert_eq!(Past::default().highest(360 * S, 300), None);
    }

    proptest! {
        #[test]
        fn exact_at_the_controller_s_pace_and_never_shorter_at_any(
            steps in proptest::collection::vec((1u64..40, 0u32..50), 1..200),
        ) {
            let (mut past, mut all, mut s) = (Past::default(), Vec::new(), 0);
            for (step, replicas) in steps {
                s += step;
                past.record(s * S, 300, replicas);
                all.push((s, replicas));
                let highest = |window| all.iter().filter(|(t, _)| s < t + window).map(|(_, n)| *n).max();
                let got = past.highest(s * S, 300);
                prop_assert!(got >= highest(300) && got <= highest(305), "{got:?} at {s}");
                if step >= 5 && all.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 5) {
                    prop_assert_eq!(got, highest(300));
                }
            }
        }
    }
}
