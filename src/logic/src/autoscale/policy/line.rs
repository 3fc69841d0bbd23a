//! `up` and `down` lines: a condition, how long it must hold, and a step.

use super::state::{Baseline, RuleState};
use super::verdict::Verdict;
use super::{Policy, View};
use crate::autoscale::read::Reading;
use crate::autoscale::signal::Window;

/// `up COND [for=W] by=…` or `down …`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub condition: Condition,
    pub hold: Hold,
    pub by: Step,
}

/// `SIGNAL > VALUE`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    pub slot: usize,
    pub op: Op,
    pub threshold: Threshold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// What the signal is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    Fixed(f64),
    /// So many times the signal's own average over the window, which counts once a tenth of it has been seen.
    Baseline {
        factor: f64,
        window_s: f64,
    },
}

/// How long a condition must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Now,
    /// Microseconds.
    Time(u64),
    /// Ticks in a row.
    Ticks(u32),
    /// Requests in a row, each of which satisfies the condition by itself; once the rule has acted it takes as many new ones.
    Requests(u32),
}

/// A change of the number of replicas. A part is of the current number; at least one replica moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Replicas(i64),
    Part(f64),
}

/// A condition that was not seen true for so long begins anew, whatever the ticks missed: 30 s.
const GAP_US: u64 = 30_000_000;
/// The part of its window a baseline must have seen.
const SEEN: f64 = 0.1;
/// The most requests that are remembered one by one.
const MOST: usize = 64;

impl Op {
    pub fn holds(self, value: f64, than: f64) -> bool {
        match self {
            Self::Above => value > than,
            Self::AtLeast => value >= than,
            Self::Below => value < than,
            Self::AtMost => value <= than,
        }
    }

    pub fn is_upper(self) -> bool {
        matches!(self, Self::Above | Self::AtLeast)
    }
}

impl Step {
    /// The number of replicas after it.
    pub fn of(self, current: u32) -> u32 {
        let n = f64::from(current);
        let wanted = match self {
            Self::Replicas(by) => return (i64::from(current) + by).clamp(0, u32::MAX.into()) as u32,
            Self::Part(part) if part > 0.0 => (n * (1.0 + part) - 1e-9).ceil().max(n + 1.0),
            Self::Part(part) => (n * (1.0 + part) + 1e-9).floor().min(n - 1.0),
        };
        wanted.max(0.0) as u32
    }
}

impl Baseline {
    /// Takes a value into the average over `window_s`: a mean at first, then an exponential one of that time constant.
    pub(super) fn learn(&mut self, now_us: u64, window_s: f64, value: f64) {
        // a gap (no samples, no worker) is not a stretch of the last value
        let passed = now_us.saturating_sub(self.at_us) as f64 / 1e6;
        let step_s = if self.at_us == 0 || passed > 60.0 { 1.0 } else { passed };
        self.at_us = now_us;
        self.seen_s = (self.seen_s + step_s).min(window_s);
        self.mean += (value - self.mean) * (step_s / self.seen_s).min(1.0);
    }
}

impl Threshold {
    pub(super) fn value(self, baseline: &Baseline) -> Option<f64> {
        match self {
            Self::Fixed(value) => Some(value),
            Self::Baseline { factor, window_s } => {
                (baseline.seen_s >= window_s * SEEN).then_some(factor * baseline.mean)
            }
        }
    }
}

/// What a line is evaluated with.
pub(super) struct Look<'a> {
    pub view: &'a dyn View,
    pub reading: Reading,
    pub stale: bool,
    /// That of the signal.
    pub window: Window,
    pub now_us: u64,
    /// A tick counts time and ticks; a request counts only requests.
    pub tick: bool,
}

impl Line {
    /// Whether it holds, and what the rule remembers of it. The verdict of a line that holds is a wish.
    pub(super) fn judge(&self, state: &mut RuleState, look: &Look<'_>, current: u32) -> Verdict {
        let Condition { slot, op, threshold } = self.condition;
        let value = look.reading.value.unwrap_or_default();
        // a baseline is what was before this value
        let before = state.baseline;
        if let (Threshold::Baseline { window_s, .. }, true, false) = (threshold, look.tick, look.stale) {
            state.baseline.learn(look.now_us, window_s, value);
        }
        if look.stale {
            self.lost(state, look);
            return Verdict::NoValue { slot };
        }
        let than = match (threshold, threshold.value(&before)) {
            (_, Some(than)) => than,
            (Threshold::Baseline { window_s, .. }, None) => {
                return Verdict::Learning { seen_s: before.seen_s, of_s: window_s * SEEN };
            }
            (Threshold::Fixed(than), None) => than,
        };
        let holds = op.holds(value, than) && !self.spent(state, look);
        if look.tick {
            self.keep(state, look.now_us, holds);
        }
        let wish = Verdict::Wish(self.by.of(current));
        match self.hold {
            Hold::Now if holds => wish,
            Hold::Time(us) if state.since_us > 0 => match look.now_us - state.since_us {
                held if held >= us => wish,
                held => Verdict::Holding { held: held as f64 / 1e6, of: us as f64 / 1e6, unit: "s" },
            },
            Hold::Ticks(n) if state.ticks >= n => wish,
            Hold::Ticks(n) if state.ticks > 0 => {
                Verdict::Holding { held: state.ticks.into(), of: n.into(), unit: " ticks" }
            }
            Hold::Requests(1) if !self.per_request(look.view) => {
                if holds {
                    wish
                } else {
                    Verdict::Quiet
                }
            }
            Hold::Requests(n) => match self.run(state, look.view, n, than) {
                run if run >= n => wish,
                0 => Verdict::Quiet,
                run => Verdict::Holding { held: run.into(), of: n.into(), unit: " requests" },
            },
            _ => Verdict::Quiet,
        }
    }

    /// Time and ticks of a condition that is true or false now.
    fn keep(&self, state: &mut RuleState, now_us: u64, holds: bool) {
        if !holds {
            (state.since_us, state.ticks) = (0, 0);
            return;
        }
        let gap = now_us.saturating_sub(state.seen_us) > GAP_US;
        if state.since_us == 0 || gap {
            (state.since_us, state.ticks) = (now_us.max(1), 0);
        }
        state.seen_us = now_us.max(1);
        state.ticks = state.ticks.saturating_add(1);
    }

    /// Nothing is known: ticks in a row are broken, time is forgiven a short gap.
    fn lost(&self, state: &mut RuleState, look: &Look<'_>) {
        if look.tick {
            state.ticks = 0;
            if look.now_us.saturating_sub(state.seen_us) > GAP_US {
                state.since_us = 0;
            }
        }
    }

    /// The value is still made of requests that the rule has acted on.
    fn spent(&self, state: &RuleState, look: &Look<'_>) -> bool {
        let Window::Requests(n) = look.window else { return false };
        let ended = look.view.last(self.condition.slot, &mut []).1;
        let spent = state.spent_of(ended);
        spent > 0 && ended < spent + u64::from(n)
    }

    /// How many of the last requests in a row satisfy the condition, not counting those the rule has acted on.
    fn run(&self, state: &RuleState, view: &dyn View, n: u32, than: f64) -> u32 {
        let mut values = [0.0; MOST];
        let n = (n as usize).min(MOST);
        let (found, ended) = view.last(self.condition.slot, &mut values[..n]);
        let run =
            values[..found.min(n)].iter().take_while(|value| self.condition.op.holds(**value, than)).count();
        (run as u64).min(ended - state.spent_of(ended)) as u32
    }

    fn per_request(&self, view: &dyn View) -> bool {
        view.last(self.condition.slot, &mut [0.0]).1 > 0
    }

    /// Whether the newest request leaves the rule a chance.
    pub(super) fn due(&self, policy: &Policy, state: &RuleState, view: &dyn View) -> bool {
        let Some(than) = self.condition.threshold.value(&state.baseline) else { return false };
        match self.hold {
            Hold::Requests(n) if n > 1 || self.per_request(view) => self.run(state, view, n, than) >= n,
            _ => {
                let reading = view.read(self.condition.slot);
                let watched = &policy.signals[self.condition.slot];
                // a time or a number of ticks is counted by ticks; here only whether it may be complete
                let counted = match self.hold {
                    Hold::Time(_) => state.since_us > 0,
                    Hold::Ticks(n) => state.ticks >= n,
                    _ => true,
                };
                counted
                    && !watched.is_stale(&reading)
                    && reading.value.is_some_and(|value| self.condition.op.holds(value, than))
            }
        }
    }

    /// The rule acted: the requests it acted on are spent.
    pub(super) fn spend(&self, policy: &Policy, state: &mut RuleState, view: &dyn View) {
        let window = policy.signals[self.condition.slot].signal.window;
        if matches!(self.hold, Hold::Requests(_)) || matches!(window, Window::Requests(_)) {
            state.spent = view.last(self.condition.slot, &mut []).1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_move_at_least_one_and_round_away_from_nothing() {
        let table = [
            (Step::Replicas(2), 3, 5),
            (Step::Replicas(-5), 3, 0),
            (Step::Part(0.2), 10, 12),
            (Step::Part(0.2), 1, 2),
            (Step::Part(0.2), 0, 1),
            (Step::Part(0.5), 3, 5),
            (Step::Part(-0.1), 10, 9),
            (Step::Part(-0.1), 5, 4),
            (Step::Part(-0.1), 0, 0),
            (Step::Part(-1.0), 7, 0),
        ];
        for (step, current, right) in table {
            assert_eq!(step.of(current), right, "{step:?} of {current}");
        }
    }

    #[test]
    fn a_baseline_is_a_mean_and_then_forgets() {
        let mut baseline = Baseline::default();
        for s in 1..=100u64 {
            baseline.learn(s * 1_000_000, 1000.0, 50.0 + (s % 2) as f64);
        }
        assert!((baseline.mean - 50.5).abs() < 0.02, "{}", baseline.mean);
        let twice = Threshold::Baseline { factor: 2.0, window_s: 1000.0 };
        assert!((twice.value(&baseline).unwrap() - 101.0).abs() < 0.05);
        assert_eq!(Threshold::Baseline { factor: 2.0, window_s: 1001.0 }.value(&baseline), None);
        for s in 101..=3000u64 {
            baseline.learn(s * 1_000_000, 1000.0, 200.0);
        }
        // after two windows all but 13.5 % is forgotten
        assert!((baseline.mean - 200.0).abs() < 150.0 * 0.16, "{}", baseline.mean);
    }
}
