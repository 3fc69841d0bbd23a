//! Pauses between tries: exponential, with full jitter, and never past the time there is for everything.
//!
//! Full jitter is from Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): a pause is drawn from zero to a
//! bound that doubles, which keeps those who failed together from coming back together. `Retry-After` (RFC 9110, section 10.2.3) is a
//! lower bound; a short draw is added to it for the same reason.

use crate::text::date::parse_http_time;

/// Tries of one call. All times are milliseconds of one clock that is not set.
#[derive(Clone, Debug)]
pub struct Backoff {
    deadline: u64,
    total: u64,
    first: u64,
    most: u64,
    failed: u32,
}

/// What is drawn on top of `Retry-After`, at most.
const SPREAD_MS: u64 = 100;

impl Backoff {
    /// For servers in trouble: 100 ms, 200 ms, … up to 2 s, until `total` is over.
    pub fn of_errors(now: u64, total: u64) -> Backoff {
        Backoff::new(now, total, 100, 2000)
    }

    /// For conflicts, where somebody else has just succeeded: 10 ms, 20 ms, … up to 100 ms (client-go's `DefaultRetry` begins so).
    pub fn of_conflicts(now: u64, total: u64) -> Backoff {
        Backoff::new(now, total, 10, 100)
    }

    fn new(now: u64, total: u64, first: u64, most: u64) -> Backoff {
        Backoff { deadline: now.saturating_add(total), total, first, most, failed: 0 }
    }

    /// How much time is left.
    pub fn left(&self, now: u64) -> u64 {
        self.deadline.saturating_sub(now)
    }

    /// How long one try may take: half of the time there was, so that a server that hangs is not all there is to try.
    pub fn share(&self, now: u64) -> u64 {
        self.left(now).min(self.total.div_ceil(2)).max(1)
    }

    /// How long to wait after a failure; `None` when a try after that would be too late. `asked` is the server's own wish, `random`
    /// any number.
    pub fn pause(&mut self, now: u64, asked: Option<u64>, random: u64) -> Option<u64> {
        let bound = self.first.saturating_mul(1 << self.failed.min(20)).min(self.most);
        self.failed = self.failed.saturating_add(1);
        let pause = match asked {
            Some(asked) => asked.saturating_add(random % (SPREAD_MS + 1)),
            None => random % (bound + 1),
        };
        (pause < self.left(now)).then_some(pause)
    }
}

/// The longest wish of a server that is believed, in milliseconds.
const LONGEST_MS: u64 = 3_600_000;

/// The value of a `Retry-After` header in milliseconds: seconds, or a date (in any of the three forms of HTTP) seen from `unix_s`.
pub fn retry_after(value: &[u8], unix_s: i64) -> Option<u64> {
    let text = value.trim_ascii();
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let seconds = match digits {
        true => core::str::from_utf8(text).ok()?.parse::<u64>().unwrap_or(u64::MAX),
        false => u64::try_from(parse_http_time(text)?.saturating_sub(unix_s)).unwrap_or(0),
    };
    Some(seconds.saturating_mul(1000).min(LONGEST_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_double_and_end() {
        let mut backoff = Backoff::of_errors(1000, 60_000);
        let bounds = [100, 200, 400, 800, 1600, 2000, 2000];
        for bound in bounds {
            // the draw is from zero to the bound, both included
            assert_eq!(backoff.clone().pause(1000, None, bound), Some(bound));
            assert_eq!(backoff.clone().pause(1000, None, bound + 1), Some(0));
            backoff.pause(1000, None, 0);
        }
    }

    #[test]
    fn ten_conflicts_fit_into_a_second() {
        let (mut now, mut backoff) = (0, Backoff::of_conflicts(0, 1000));
        for _ in 0..10 {
            // the longest draw each time
            let bound = backoff.first.saturating_mul(1 << backoff.failed).min(backoff.most);
            now += backoff.pause(now, None, bound).unwrap();
        }
        assert!(now < 1000, "{now}");
    }

    #[test]
    fn what_the_server_asks_for_is_a_lower_bound() {
        let mut backoff = Backoff::of_errors(0, 5000);
        assert_eq!(backoff.pause(0, Some(1000), 0), Some(1000));
        assert_eq!(backoff.pause(1000, Some(1000), SPREAD_MS), Some(1000 + SPREAD_MS));
        // it asks for more than there is
        assert_eq!(backoff.pause(2100, Some(3000), 0), None);
    }

    #[test]
    fn one_try_takes_half_of_the_time_at_most() {
        let backoff = Backoff::of_errors(0, 5000);
        assert_eq!(backoff.share(0), 2500);
        assert_eq!(backoff.share(3000), 2000);
        // zero would mean without a limit
        assert_eq!(backoff.share(5000), 1);
        assert_eq!(backoff.share(9000), 1);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
        for (value, want) in [
            ("0", Some(0)),
            (" 2 ", Some(2000)),
            ("120", Some(120_000)),
            ("99999999999999999999999", Some(LONGEST_MS)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", Some(3000)),
            ("Sunday, 06-Nov-94 08:49:40 GMT", Some(3000)),
            ("Sun, 06 Nov 1994 08:49:30 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(LONGEST_MS)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value.as_bytes(), now), want, "{value}");
        }
    }

    proptest! {
        /// Whatever happens, no pause leads past the end, and tries come to an end even if they take no time.
        #[test]
        fn never_past_the_end(
            total in 1u64..60_000,
            draws in prop::collection::vec((any::<u64>(), prop::option::of(0u64..10_000), 0u64..3000), 1..200),
        ) {
            let (mut now, mut backoff) = (7, Backoff::of_errors(7, total));
            for (random, asked, took) in draws {
                now += took;
                match backoff.pause(now, asked, random) {
                    Some(pause) => {
                        prop_assert!(now + pause < 7 + total);
                        prop_assert!(pause >= asked.unwrap_or(0));
                        now += pause;
                    }
                    None => prop_assert!(now + asked.unwrap_or(2000) + SPREAD_MS >= 7 + total),
                }
            }
        }
    }
}
