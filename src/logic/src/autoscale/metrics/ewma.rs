//! A moving average that forgets by time, in one word.
//!
//! The word holds the value (a float of 32 bits) and when it was last fed, so one store changes both and a writer that dies
//! leaves the old average or the new one. The weight of a sample that comes `dt` after the one before is `dt/(dt+τ)`, the first
//! step of `1-exp(-dt/τ)`: one float division instead of a call into libm, and the same while samples come faster than `τ`. It is at
//! least 1/1024, because many requests may end in the same tick of a worker's clock: the average remembers [`TAU_US`] or the last
//! thousand samples, whichever is less.
//! (Finagle's peak EWMA weighs by time alone, which its nanosecond clock allows.)

use super::word::{get, high, low, pair, put, Word};

/// The memory of every moving average: ten seconds, as Finagle's balancers have it.
pub const TAU_US: u64 = 10_000_000;
/// Stamps count units of 256 us and turn after 12 days.
const UNIT: u32 = 8;
const TAU: f32 = (TAU_US >> UNIT) as f32;
/// A stamp this little ahead of the clock is another worker's newer clock, not 12 days of silence.
const SKEW: u32 = 1 << 20;
const LEAST: f32 = 1.0 / 1024.0;

/// Feeds one sample. Of two that race, one may be lost; the word is never torn.
#[inline]
pub fn feed(word: &Word, x: f32, now_us: u64) {
    feed_over(word, x, now_us, TAU_US);
}

/// Feeds one sample to an average with another memory than [`TAU_US`].
#[inline]
pub fn feed_over(word: &Word, x: f32, now_us: u64, tau_us: u64) {
    let stamp = stamp(now_us);
    let seen = get(word);
    let tau = (tau_us >> UNIT) as f32;
    let value =
        if seen == 0 { x } else { mix(f32::from_bits(high(seen) as u32), x, low(seen) as u32, stamp, tau) };
    put(word, pair(value.to_bits(), stamp));
}

/// Replaces the average by a value that speaks for itself.
pub fn put_value(word: &Word, x: f32, now_us: u64) {
    put(word, pair(x.to_bits(), stamp(now_us)));
}

/// How long ago it was fed, `None` before the first sample.
#[inline]
pub fn age_us(word: &Word, now_us: u64) -> Option<u64> {
    let seen = get(word);
    (seen != 0).then(|| u64::from(between(low(seen) as u32, stamp(now_us))) << UNIT)
}

/// Feeds a zero: what most samples of an average of failures are.
#[inline]
pub fn feed_zero(word: &Word, now_us: u64) {
    if is_zero(word) {
        put(word, pair(0, stamp(now_us)));
    } else {
        feed(word, 0.0, now_us);
    }
}

#[inline]
fn stamp(now_us: u64) -> u32 {
    (now_us >> UNIT) as u32 | 1
}

/// Units between two stamps.
#[inline]
fn between(then: u32, now: u32) -> u32 {
    let dt = now.wrapping_sub(then);
    if dt > u32::MAX - SKEW {
        0
    } else {
        dt
    }
}

#[inline]
fn mix(old: f32, x: f32, then: u32, now: u32, tau: f32) -> f32 {
    let dt = between(then, now) as f32;
    let weight = (dt / (dt + tau)).max(LEAST);
    old + (x - old) * weight
}

/// The average, `None` before the first sample.
#[inline]
pub fn value(word: &Word) -> Option<f32> {
    let seen = get(word);
    (seen != 0).then(|| f32::from_bits(high(seen) as u32))
}

/// Nothing but zeros was fed, or nothing.
#[inline]
pub fn is_zero(word: &Word) -> bool {
    high(get(word)) == 0
}

/// The average as if nothing but zeros had come since it was last fed.
#[inline]
pub fn faded(word: &Word, now_us: u64) -> Option<f32> {
    // most averages of failures
    if is_zero(word) {
        return value(word);
    }
    let dt = between(low(get(word)) as u32, (now_us >> UNIT) as u32) as f32;
    value(word).map(|value| value * TAU / (dt + TAU))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sample_is_the_average() {
        let word = Word::new(0);
        assert_eq!(value(&word), None);
        feed(&word, 0.0, 0);
        assert_eq!(value(&word), Some(0.0));
    }

    #[test]
    fn zeros_weigh_like_any_sample() {
        let (fed, plain) = (Word::new(0), Word::new(0));
        for (i, x) in [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0].into_iter().enumerate() {
            let us = 1_000_000 * (i as u64 + 1);
            feed(&plain, x, us);
            if x == 0.0 {
                feed_zero(&fed, us);
            } else {
                feed(&fed, x, us);
            }
            assert_eq!(get(&fed), get(&plain), "sample {i}");
        }
    }

    #[test]
    fn a_step_is_followed_in_tau() {
        let word = Word::new(0);
        feed(&word, 100.0, 1_000_000);
        for step in 1..=500 {
            feed(&word, 200.0, 1_000_000 + step * 20_000);
        }
        // 63 % of the way after one tau of fifty samples a second
        assert!((value(&word).unwrap() - 163.2).abs() < 1.0, "{:?}", value(&word));
    }

    #[test]
    fn samples_of_one_instant_all_weigh() {
        let word = Word::new(0);
        feed(&word, 0.0, 5_000_000);
        for _ in 0..1024 {
            feed(&word, 100.0, 5_000_000);
        }
        assert!((value(&word).unwrap() - 63.2).abs() < 1.0);
    }

    #[test]
    fn silence_forgets_and_an_older_clock_does_not() {
        let word = Word::new(0);
        feed(&word, 100.0, 1_000_000);
        feed(&word, 200.0, 900_000);
        assert!(value(&word).unwrap() < 101.0);
        feed(&word, 200.0, 3_000_000_000);
        assert!(value(&word).unwrap() > 199.0);
    }
}
