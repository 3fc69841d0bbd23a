//! The retry budget: retries are a share of what is asked, so that they cannot multiply what is too much already.
//!
//! As Finagle's `RetryBudget`: over a sliding window of ten seconds, at least ten a second, so that a quiet service may retry. What counts
//! is read from the upstream's own series, which all workers write: no request pays for it.

/// Seconds.
pub const WINDOW_S: u64 = 10;
const LEAST: u64 = 10 * WINDOW_S;

/// Whether one more retry fits into a budget of `share`, after so many requests and retries within the window.
pub fn allows(share: f64, requests: u64, retries: u64) -> bool {
    retries < LEAST.max((share * requests as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_requests_and_no_less_than_ten_a_second() {
        let table = [
            ((0.2, 0, 0), true),
            ((0.2, 10, 99), true),
            ((0.2, 10, 100), false),
            ((0.2, 10_000, 1_999), true),
            ((0.2, 10_000, 2_000), false),
            ((0.0, 10_000, 100), false),
        ];
        for ((share, requests, retries), right) in table {
            assert_eq!(allows(share, requests, retries), right, "{share} {requests} {retries}");
        }
    }
}
