//! Tells that a peer has become slower than what is known of it.
//!
//! An average of a hundred answers needs seconds to follow. This adds up, answer by answer, how much likelier each is if everything takes
//! [`TIMES`] as long, and never less than nothing (Page, "Continuous inspection schemes", 1954). Where times vary as much as exponential
//! ones, fifteen answers of a peer that is three times as slow are enough.

use crate::autoscale::metrics::word::{get, high, low, pair, put, Word};

/// What it looks for.
const TIMES: f32 = 3.0;
/// So many times as likely, as a logarithm.
const SURE: f32 = 9.0;
/// A single answer says no more than this, in expected times: services have slow answers for reasons of their own.
const MOST: f32 = 6.0;
/// Of the sum.
const PART: f32 = 64.0;

/// One answer took `times` as long as expected. Says by how much the peer has become slower, once.
pub(super) fn slower(word: &Word, times: f32) -> Option<f32> {
    let (seen, times) = (get(word), times.min(MOST));
    let (score, n, sum) =
        (f32::from_bits(high(seen) as u32), low(seen) as u32 >> 16, low(seen) as u32 & 0xffff);
    let score = score + times * (1.0 - 1.0 / TIMES) - TIMES.ln();
    if score <= 0.0 {
        if seen != 0 {
            put(word, 0);
        }
        return None;
    }
    let (n, sum) = ((n + 1).min(0xffff), (sum + (times * PART) as u32).min(0xffff));
    if score < SURE {
        put(word, pair(score.to_bits(), n << 16 | sum));
        return None;
    }
    put(word, 0);
    Some(sum as f32 / PART / n as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many answers that are `slow` times as slow as expected it was said, and by how much. With exponential times.
    fn said(slow: f32, seed: u64) -> Option<(usize, f32)> {
        let word = Word::new(0);
        let mut state = seed;
        (1..=2000).find_map(|i| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let even = ((state >> 40) as f32 + 0.5) / (1 << 24) as f32;
            slower(&word, -even.ln() * slow).map(|times| (i, times))
        })
    }

    #[test]
    fn a_peer_that_is_slower_is_found_soon_and_one_that_is_not_hardly_ever() {
        let mut all: Vec<_> = (1..=200).filter_map(|seed| said(3.0, seed)).collect();
        assert_eq!(all.len(), 200);
        all.sort_unstable_by_key(|(answers, _)| *answers);
        assert!(all[100].0 <= 20 && all[190].0 <= 50, "{:?}, {:?}", all[100], all[190]);
        let mean = all.iter().map(|(_, times)| times).sum::<f32>() / 200.0;
        assert!((2.3..3.8).contains(&mean), "{mean}");
        let wrong = (1..=200).filter(|seed| said(1.0, *seed).is_some()).count();
        assert!(wrong <= 20, "of 200 with 2000 answers each: {wrong}");
        assert!((1..=200).all(|seed| said(0.5, seed).is_none()));
    }

    #[test]
    fn one_slow_answer_says_nothing() {
        let word = Word::new(0);
        for _ in 0..100 {
            assert_eq!(slower(&word, 1000.0), None);
            (0..10).for_each(|_| assert_eq!(slower(&word, 0.5), None));
        }
    }
}
