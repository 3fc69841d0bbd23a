//! Tells that a peer has become slower than what is known of it.
//!
//! An average of a hundred answers needs seconds to follow. This adds up, answer by answer, how much likelier each is if everything takes
//! [`TIMES`] as long, and never less than nothing (Page, "Continuous inspection schemes", 1954). Where times vary as much as exponential
//! ones, fifteen answers of a peer that is three times as slow are enough.

use crate::autoscale::metrics::word::{get, put, Word};

/// What it looks for, and what is believed then: by how much the answers were slower that led to it says too much.
pub(super) const TIMES: f32 = 3.0;
/// So many times as likely, as a logarithm.
const SURE: f32 = 9.0;
/// Where what is expected stands on so few answers, it takes twice as much: they may have been quick by chance.
const FEW: f32 = 6.0;
/// A single answer says no more than this, in expected times: services have slow answers for reasons of their own.
const MOST: f32 = 6.0;

/// One answer took `times` as long as expected from `known` answers. Says once that the peer has become slower.
pub(super) fn is_slower(word: &Word, times: f32, known: f32) -> bool {
    let before = f32::from_bits(get(word) as u32);
    let score = (before + times.min(MOST) * (1.0 - 1.0 / TIMES) - TIMES.ln()).max(0.0);
    let is_sure = score >= SURE * (1.0 + FEW / known.max(1.0));
    let after = if is_sure { 0.0 } else { score };
    if after != before {
        put(word, u64::from(after.to_bits()));
    }
    is_sure
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many answers that are `slow` times as slow as expected it was said, with exponential times.
    fn said(slow: f32, seed: u64, known: f32) -> Option<usize> {
        let word = Word::new(0);
        let mut state = seed;
        (1..=2000).find(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let even = ((state >> 40) as f32 + 0.5) / (1 << 24) as f32;
            is_slower(&word, -even.ln() * slow, known)
        })
    }

    #[test]
    fn a_peer_that_is_slower_is_found_soon_and_one_that_is_not_hardly_ever() {
        let mut all: Vec<_> = (1..=200).filter_map(|seed| said(3.0, seed, 60.0)).collect();
        assert_eq!(all.len(), 200);
        all.sort_unstable();
        assert!(all[100] <= 20 && all[190] <= 50, "{} {}", all[100], all[190]);
        let wrong = (1..=200).filter(|seed| said(1.0, *seed, 60.0).is_some()).count();
        assert!(wrong <= 20, "of 200 with 2000 answers each: {wrong}");
        assert!((1..=200).all(|seed| said(0.5, seed, 60.0).is_none()));
    }

    /// What eight answers say may be a third too little.
    #[test]
    fn where_little_is_known_it_takes_more() {
        let wrong =
            |known| (1..=200).filter(|seed| said(1.4, *seed, known).is_some_and(|n| n <= 100)).count();
        let (little, much) = (wrong(8.0), wrong(100.0));
        assert!(much > 0 && little * 3 <= much, "{little} and {much} of 200");
    }

    #[test]
    fn one_slow_answer_says_nothing() {
        let word = Word::new(0);
        for _ in 0..100 {
            assert!(!is_slower(&word, 1000.0, 60.0));
            (0..10).for_each(|_| assert!(!is_slower(&word, 0.5, 60.0)));
        }
    }
}
