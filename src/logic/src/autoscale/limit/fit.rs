//! Slots and service time from latencies by number in flight.

use super::levels::{Level, LEVELS, LN_LEVELS};

/// Fewer samples than that say nothing.
const LEAST: f32 = 2.0;

/// How well each number of slots explains what was measured.
#[derive(Clone, Copy, Debug)]
pub struct Fit {
    /// Sum of squared logarithmic errors, each as often as it was measured: about twice the logarithm of the odds against it, for service
    /// times that vary as much as exponential ones.
    pub against: [f32; LEVELS.len()],
    /// The logarithm of the service time that goes with each.
    ln_service_us: [f32; LEVELS.len()],
    /// Samples behind it, none of few.
    pub samples: f32,
}

impl Fit {
    pub fn of(levels: &[Level; LEVELS.len()]) -> Self {
        let mut points = [(0.0, 0.0, 0.0); LEVELS.len()];
        let (mut n, mut top) = (0, 0);
        for (i, level) in levels.iter().enumerate().filter(|(_, level)| level.samples >= LEAST) {
            // the logarithm of an average of few falls short by about half a sample's share
            let ln_us = level.us.max(1.0).ln() + 0.5 / level.samples;
            points[n] = (LN_LEVELS[i], ln_us, level.samples);
            (n, top) = (n + 1, i);
        }
        let points = &points[..n];
        let samples: f32 = points.iter().map(|(_, _, m)| m).sum();
        let mut fit = Self { against: [0.0; LEVELS.len()], ln_service_us: [0.0; LEVELS.len()], samples };
        for (i, ln_slots) in LN_LEVELS.iter().enumerate().take(top + 1) {
            let service = |(ln_n, ln_us, _): &(f32, f32, f32)| ln_us - (ln_n - ln_slots).max(0.0);
            let mean = points.iter().map(|p| service(p) * p.2).sum::<f32>() / samples.max(1.0);
            fit.against[i] = points.iter().map(|p| (service(p) - mean).powi(2) * p.2).sum();
            fit.ln_service_us[i] = mean;
        }
        // more slots than were ever tried explain it as well as that many
        let (against, ln_service_us) = (fit.against[top], fit.ln_service_us[top]);
        fit.against[top + 1..].fill(against);
        fit.ln_service_us[top + 1..].fill(ln_service_us);
        fit
    }

    /// The service time that goes with a number of slots.
    pub fn service_us(&self, slots: usize) -> f32 {
        self.ln_service_us[slots].exp()
    }

    /// The level of the best number of slots, the largest of equals.
    pub fn best(&self) -> usize {
        let better = |best: usize, i: usize| if self.against[i] <= self.against[best] { i } else { best };
        (0..LEVELS.len()).fold(0, better)
    }
}
