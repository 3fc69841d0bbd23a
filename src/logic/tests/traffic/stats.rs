//! What a run comes to.

use crate::gateway::Method;
use crate::sim::{Fate, Run, Scenario, DEADLINE_US};

/// Medians over seeds.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The 99th part of a hundred of what served requests took beyond their own work, in milliseconds.
    pub wait: f64,
    /// The same of what they took.
    pub p99: f64,
    /// Served within the deadline, as a share of what came.
    pub served: f64,
    /// The same as a share of the peers' capacity.
    pub goodput: f64,
    /// Answers that were errors, and clients that left.
    pub errors: f64,
    /// When the last of them came, in seconds since the start.
    pub last_error: f64,
}

pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values
        .get(((values.len() as f64 * q) as usize).min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}

fn one(scenario: &Scenario, run: &Run<'_>) -> [f64; 6] {
    let all: Vec<_> = run.measured().collect();
    let served: Vec<_> = all.iter().filter(|r| r.fate == Fate::Served).collect();
    let took = |ms: fn(u64, u64) -> u64| {
        let mut times: Vec<_> =
            served.iter().map(|r| ms(r.ended - r.at, r.work_us) as f64 / 1000.0).collect();
        quantile(&mut times, 0.99)
    };
    let good = served.iter().filter(|r| r.ended - r.at <= DEADLINE_US).count() as f64;
    let bad = all.iter().filter(|r| matches!(r.fate, Fate::Error | Fate::Gone));
    let last = bad.clone().map(|r| r.ended).max().map_or(0.0, Run::since_start);
    let seconds = scenario.seconds - scenario.warm;
    [
        took(|ms, work| ms.saturating_sub(work)),
        took(|ms, _| ms),
        good / all.len() as f64,
        good / seconds / scenario.capacity(),
        bad.count() as f64,
        last,
    ]
}

/// Runs a scenario with each of `seeds`.
pub fn run(
    scenario: &Scenario,
    seeds: std::ops::Range<u64>,
    method: &dyn Fn(&Scenario) -> Box<dyn Method>,
) -> Outcome {
    let runs: Vec<[f64; 6]> = seeds.map(|seed| one(scenario, &Run::of(scenario, seed, method))).collect();
    let median = |i: usize| quantile(&mut runs.iter().map(|run| run[i]).collect::<Vec<_>>(), 0.5);
    Outcome {
        wait: median(0),
        p99: median(1),
        served: median(2),
        goodput: median(3),
        errors: median(4),
        last_error: median(5),
    }
}
