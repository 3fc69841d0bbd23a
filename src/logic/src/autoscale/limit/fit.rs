//! Slots and service time from latencies by number in flight.

use super::levels::{Level, LEVELS};

/// Fewer samples than that say nothing.
const LEAST: f32 = 2.0;

/// How well each number of slots explains what was measured.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    /// Sum of squared logarithmic errors, each as often as it was measured: about twice the logarithm of the odds against it, for service
    /// times that vary as much as exponential ones.
    pub against: [f32; LEVELS.len()],
    /// The service time that goes with each.
    pub service_us: [f32; LEVELS.len()],
    /// Samples behind it, none of few.
    pub samples: f32,
}

impl Fit {
    pub fn of(levels: &[Level; LEVELS.len()]) -> Self {
        let mut points = [(0.0, 0.0, 0.0); LEVELS.len()];
        let mut n = 0;
        for (i, level) in levels.iter().enumerate().filter(|(_, level)| level.samples >= LEAST) {
            // the logarithm of an average of few falls short by about half a sample's share
            let ln_us = level.us.max(1.0).ln() + 0.5 / level.samples;
            points[n] = (f32::from(LEVELS[i]).ln(), ln_us, level.samples);
            n += 1;
        }
        let points = &points[..n];
        let samples: f32 = points.iter().map(|(_, _, m)| m).sum();
        let mut fit = Self { against: [0.0; LEVELS.len()], service_us: [0.0; LEVELS.len()], samples };
        for (i, slots) in LEVELS.iter().enumerate() {
            let ln_slots = f32::from(*slots).ln();
            let service = |(ln_n, ln_us, _): &(f32, f32, f32)| ln_us - (ln_n - ln_slots).max(0.0);
            let mean = points.iter().map(|p| service(p) * p.2).sum::<f32>() / samples.max(1.0);
            fit.against[i] = points.iter().map(|p| (service(p) - mean).powi(2) * p.2).sum();
            fit.service_us[i] = mean.exp();
        }
        fit
    }

    /// The level of the best number of slots, the largest of equals.
    pub fn best(&self) -> usize {
        let better = |best: usize, i: usize| if self.against[i] <= self.against[best] { i } else { best };
        (0..LEVELS.len()).fold(0, better)
    }
}
