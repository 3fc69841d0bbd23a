//! What is said of many numbers.

/// The value that the share `q` of all does not exceed (nearest rank), of values in any order; `None` of none.
pub fn percentile(values: &mut [f64], q: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (q * values.len() as f64).ceil() as usize;
    values.get(rank.clamp(1, values.len().max(1)) - 1).copied()
}

/// What the gateway and its choice added, in ms: the latency less the work that the request itself brought.
pub fn wait_ms(latency_ns: u64, work_us: u32) -> f64 {
    latency_ns.saturating_sub(work_us as u64 * 1000) as f64 / 1e6
}

/// How many times longer than its own work a request took.
pub fn stretch(latency_ns: u64, work_us: u32) -> f64 {
    latency_ns as f64 / (work_us.max(1) as f64 * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occur() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.99), Some(198.0));
        assert_eq!(percentile(&mut values, 0.5), Some(100.0));
        assert_eq!(percentile(&mut values, 1.0), Some(200.0));
        assert_eq!(percentile(&mut values, 0.0), Some(1.0));
        assert_eq!(percentile(&mut [7.0], 0.99), Some(7.0));
        assert_eq!(percentile(&mut [], 0.99), None);
    }

    #[test]
    fn wait_and_stretch_are_against_a_requests_own_work() {
        assert_eq!(wait_ms(30_000_000, 20_000), 10.0);
        assert_eq!(wait_ms(10_000_000, 20_000), 0.0);
        assert_eq!(stretch(30_000_000, 10_000), 3.0);
    }
}
