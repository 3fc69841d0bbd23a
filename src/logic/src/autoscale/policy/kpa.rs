//! Tracking with a panic window, as Knative's pod autoscaler (KPA) does it.
//!
//! Source: `pkg/autoscaler/scaling/autoscaler.go` of Knative Serving. *Why*: an average over a minute reacts late to a flash crowd, one
//! over seconds chases noise. *When it acts*: the long window decides until the short one asks for `threshold` times the replicas that
//! are ready; from then until that has not happened for a whole long window, the higher of both decides and nothing is taken away.
//! *What it cannot see*: replicas on their way; it counts the ready ones only.

use super::hpa::ceil;

/// How much one decision may multiply the ready replicas (`max-scale-up-rate`).
const MAX_UP_RATE: f64 = 1000.0;
/// How much one decision may divide them by (`max-scale-down-rate`).
const MAX_DOWN_RATE: f64 = 2.0;

/// What the tracking is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Panic {
    /// How many times the ready replicas must be needed: 2.0 is Knative's 200 %.
    pub threshold: f64,
    /// The short window; Knative's is a tenth of the long one, 6 s.
    pub window_s: u32,
}

/// What it remembers: since when it panics and the most replicas it asked for since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PanicState {
    /// When the threshold was last crossed, in microseconds; 0 is no panic.
    pub at_us: u64,
    pub most: u32,
}

/// What one evaluation led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desired {
    pub replicas: u32,
    pub panics: bool,
}

impl Panic {
    /// The replicas for totals of `stable` (over `stable_s`) and `panic` (over the short window), `per` of them for each replica.
    pub fn desired(
        &self,
        state: &mut PanicState,
        now_us: u64,
        (stable, stable_s): (f64, u32),
        panic: f64,
        per: f64,
        ready: u32,
    ) -> Desired {
        let ready = f64::from(ready.max(1));
        let most = (MAX_UP_RATE * ready).ceil();
        let least = (ready / MAX_DOWN_RATE).floor();
        let wanted = |total: f64| f64::from(ceil(total / per));
        let bounded = |wanted: f64| wanted.max(least).min(most) as u32;
        let over = wanted(panic) / ready >= self.threshold;
        if over {
            state.at_us = now_us.max(1);
        } else if state.at_us > 0 && state.at_us + u64::from(stable_s) * 1_000_000 < now_us {
            *state = PanicState::default();
        }
        let desired = bounded(wanted(stable));
        if state.at_us == 0 {
            return Desired { replicas: desired, panics: false };
        }
        state.most = state.most.max(desired).max(bounded(wanted(panic)));
        Desired { replicas: state.most, panics: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;
    const KNATIVE: Panic = Panic { threshold: 2.0, window_s: 6 };

    /// As the tables of Knative's `autoscaler_test.go`: a target of 10 for each pod.
    fn run(state: &mut PanicState, s: u64, stable: f64, panic: f64, ready: u32) -> (u32, bool) {
        let desired = KNATIVE.desired(state, s * S, (stable, 60), panic, 10.0, ready);
        (desired.replicas, desired.panics)
    }

    #[test]
    fn the_long_window_decides_in_peace() {
        let mut state = PanicState::default();
        assert_eq!(run(&mut state, 0, 100.0, 100.0, 10), (10, false));
        assert_eq!(run(&mut state, 2, 101.0, 100.0, 10), (11, false));
        // at most halved at a time
        assert_eq!(run(&mut state, 4, 1.0, 1.0, 10), (5, false));
        assert_eq!(run(&mut state, 6, 0.0, 0.0, 1), (0, false));
    }

    #[test]
    fn twice_the_ready_ones_is_panic_and_panic_never_scales_down() {
        let mut state = PanicState::default();
        assert_eq!(run(&mut state, 10, 100.0, 190.0, 10), (10, false));
        assert_eq!(run(&mut state, 12, 110.0, 191.0, 10), (20, true));
        assert_eq!(run(&mut state, 14, 110.0, 30.0, 10), (20, true));
        // still over, counted against what is ready: the panic is prolonged
        assert_eq!(run(&mut state, 40, 300.0, 400.0, 20), (40, true));
        // 60 s after the last time over, not before
        assert_eq!(run(&mut state, 100, 50.0, 50.0, 40), (40, true));
        assert_eq!(run(&mut state, 101, 50.0, 50.0, 40), (20, false));
    }

    #[test]
    fn in_panic_the_higher_of_both_windows_counts() {
        let mut state = PanicState::default();
        assert_eq!(run(&mut state, 2, 400.0, 200.0, 10), (40, true));
    }
}
