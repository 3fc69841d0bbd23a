//! The signals that a gateway before the simulated service would see.

use crate::service::Second;
use crate::trace::Trace;
use logic::autoscale::policy::{Policy, View};
use logic::autoscale::read::Reading;
use logic::autoscale::signal::{Metric, Scope, Signal, Stat, Window};

/// The longest window, the longest lag and some room.
const KEPT: usize = 3600 + 120;
/// What is summed up, so that any average is a difference.
const SUMS: usize = 8;

/// The past of a run, second by second.
pub struct History {
    seconds: Vec<Second>,
    /// Sums from the beginning up to and with each kept second.
    sums: Vec<[f64; SUMS]>,
    /// How many seconds there were.
    pub n: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { seconds: vec![Second::default(); KEPT], sums: vec![[0.0; SUMS]; KEPT], n: 0 }
    }
}

/// Which sum a metric is taken from.
fn parts(second: &Second) -> [f64; SUMS] {
    [
        second.arrived,
        second.served,
        second.lost,
        second.latency * second.served,
        second.inflight,
        second.queue,
        second.busy,
        f64::from(second.ready),
    ]
}

impl History {
    pub fn push(&mut self, second: Second) {
        let mut sum = if self.n == 0 { [0.0; SUMS] } else { self.sums[(self.n - 1) as usize % KEPT] };
        sum.iter_mut().zip(parts(&second)).for_each(|(sum, part)| *sum += part);
        let at = self.n as usize % KEPT;
        (self.seconds[at], self.sums[at]) = (second, sum);
        self.n += 1;
    }

    /// Sums over the `window_s` seconds that ended `lag_s` ago, and how many of them there were.
    fn window(&self, window_s: u64, lag_s: u64) -> ([f64; SUMS], f64) {
        let until = self.n.saturating_sub(lag_s);
        let from = until.saturating_sub(window_s).max(self.n.saturating_sub(KEPT as u64 - 1));
        let sum = |n: u64| if n == 0 { [0.0; SUMS] } else { self.sums[(n - 1) as usize % KEPT] };
        let (mut total, before) = (sum(until), sum(from));
        total.iter_mut().zip(before).for_each(|(sum, before)| *sum -= before);
        (total, until.saturating_sub(from) as f64)
    }

    fn each(&self, window_s: u64, lag_s: u64) -> impl DoubleEndedIterator<Item = &Second> {
        let until = self.n.saturating_sub(lag_s);
        let from = until.saturating_sub(window_s).max(self.n.saturating_sub(KEPT as u64 - 1));
        (from..until).map(|n| &self.seconds[n as usize % KEPT])
    }

    /// Utilisation of the ready replicas over a window that ended `lag_s` ago.
    pub fn busy(&self, window_s: u64, lag_s: u64) -> Option<f64> {
        let (sums, n) = self.window(window_s, lag_s);
        (n > 0.0).then(|| sums[6] / n)
    }

    fn average(&self, metric: Metric, window_s: u64, lag_s: u64) -> Option<f64> {
        let (sums, n) = self.window(window_s, lag_s);
        let [arrived, served, lost, latency, inflight, queue, ..] = sums;
        let mean = |sum: f64| (n > 0.0).then_some(sum / n);
        match metric {
            Metric::Rate => mean(arrived),
            Metric::Latency | Metric::Ttfb => (served > 0.0).then_some(latency / served),
            Metric::Inflight => mean(inflight),
            // those without a first byte yet are all, in this model
            Metric::Waiting => mean(inflight),
            Metric::Queue => mean(queue),
            Metric::Rejects => Some(lost.max(0.0)),
            Metric::Errors => Some(0.0),
            Metric::ErrorRate => (served > 0.0).then_some(0.0),
            _ => None,
        }
    }

    /// Maximum or quantile over seconds, each weighed by its requests.
    fn spread(&self, signal: &Signal, window_s: u64, lag_s: u64) -> Option<f64> {
        let value = |second: &Second| match signal.metric {
            Metric::Latency | Metric::Ttfb => (second.latency, second.served),
            Metric::Queue => (second.queue, 1.0),
            _ => (second.inflight, 1.0),
        };
        let mut values: Vec<(f64, f64)> =
            self.each(window_s, lag_s).map(value).filter(|(_, n)| *n > 0.0).collect();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = values.iter().map(|(_, n)| n).sum();
        let mut left = total * signal.stat.quantile().unwrap_or(1.0);
        let found = values.iter().find(|(_, n)| {
            left -= n;
            left <= 1e-9
        });
        found.or(values.last()).map(|(value, _)| *value)
    }
}

/// A view of a run for one policy, as old as `lag_s`.
pub struct Simulated<'a> {
    pub policy: &'a Policy,
    pub history: &'a History,
    pub trace: &'a Trace,
    pub lag_s: u64,
    pub tick_s: u64,
}

impl View for Simulated<'_> {
    fn read(&self, slot: usize) -> Reading {
        let signal = &self.policy.signals[slot].signal;
        let value = self.value(signal);
        let samples = self.history.n;
        Reading {
            value,
            age: if value.is_some() { self.lag_s as f64 } else { self.history.n as f64 },
            samples,
        }
    }

    fn last(&self, slot: usize, into: &mut [f64]) -> (usize, u64) {
        let signal = &self.policy.signals[slot].signal;
        if signal.metric != Metric::Latency || !self.simulates(signal) {
            return (0, 0);
        }
        let mut found = 0;
        for second in self.history.each(60, self.lag_s).rev() {
            let n = (second.served as usize).min(into.len() - found);
            into[found..found + n].fill(second.latency);
            found += n;
            if found == into.len() {
                break;
            }
        }
        (found, self.ended())
    }
}

impl Simulated<'_> {
    /// Requests that ended since the beginning: the sums begin there.
    fn ended(&self) -> u64 {
        match self.history.n.checked_sub(1 + self.lag_s) {
            Some(n) => self.history.sums[n as usize % KEPT][1] as u64,
            None => 0,
        }
    }

    /// The simulated service is the one upstream there is, whatever its name, and the whole gateway.
    fn simulates(&self, signal: &Signal) -> bool {
        match signal.scope {
            Scope::Upstream(_) => true,
            Scope::Gateway => !matches!(signal.metric, Metric::Cpu | Metric::Mem),
            _ => false,
        }
    }

    fn value(&self, signal: &Signal) -> Option<f64> {
        let window_s = match signal.window {
            Window::Now => 1,
            Window::Seconds(s) => s.into(),
            Window::Ticks(n) => u64::from(n) * self.tick_s,
            // about as long as so many requests take
            Window::Requests(_) => 1,
        };
        let at = |window_s: u64, lag_s: u64| self.over(signal, window_s, lag_s);
        if !signal.slope {
            return at(window_s, self.lag_s);
        }
        let half = (window_s / 2).max(1);
        if self.history.n < window_s + self.lag_s {
            return None;
        }
        let (late, early) = (at(half, self.lag_s)?, at(window_s - half, self.lag_s + half)?);
        Some((late - early) / (window_s as f64 / 2.0))
    }

    fn over(&self, signal: &Signal, window_s: u64, lag_s: u64) -> Option<f64> {
        if !self.simulates(signal) {
            return self.recorded(signal, window_s, lag_s);
        }
        match signal.stat {
            Stat::Avg | Stat::Ewma => self.history.average(signal.metric, window_s, lag_s),
            _ => self.history.spread(signal, window_s, lag_s),
        }
    }

    /// A column of the trace: found by the name of the signal without its window.
    fn recorded(&self, signal: &Signal, window_s: u64, lag_s: u64) -> Option<f64> {
        let name = match signal.metric {
            Metric::Value => signal.scope.to_string(),
            metric => format!("{}.{}", signal.scope, metric.word()),
        };
        let until = self.history.n.saturating_sub(1 + lag_s);
        let from = until.saturating_sub(window_s - 1);
        let values = (from..=until).step_by((window_s as usize / 60).max(1));
        let values: Vec<f64> = values.map_while(|s| self.trace.column(&name, s as f64)).collect();
        match signal.stat {
            _ if values.is_empty() => None,
            Stat::Max => values.into_iter().reduce(f64::max),
            _ => Some(values.iter().sum::<f64>() / values.len() as f64),
        }
    }
}
