//! One contender against one trace.

use crate::contest::{Brain, Contender};
use crate::service::{Service, Shape};
use crate::trace::Trace;
use crate::view::{History, Simulated};
use logic::autoscale::metrics::Now;
use logic::autoscale::policy::hpa::{self, Pods};
use logic::autoscale::policy::{Event, Input, Mode, Outcome, Replicas, Script, State, Wish};

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    pub arrived: f64,
    pub lost: f64,
    pub late: f64,
    /// Paid from the wish on, started or not.
    pub replica_s: f64,
    /// What a clairvoyant would have paid: enough in each second, no more.
    pub ideal_s: f64,
    pub ups: u32,
    pub downs: u32,
    pub most: u32,
    /// Second, from, to, why.
    pub actions: Vec<(u64, u32, u32, String)>,
    /// Second, load, ready and wanted replicas: the highest of each stretch.
    pub course: Vec<(u64, f64, u32, u32)>,
}

impl Score {
    /// Percent of the requests.
    pub fn lost_percent(&self) -> f64 {
        100.0 * self.lost / self.arrived.max(1e-9)
    }

    /// Percent of the requests that were lost or late.
    pub fn missed_percent(&self) -> f64 {
        100.0 * (self.lost + self.late) / self.arrived.max(1e-9)
    }

    /// Replica-seconds in multiples of the ideal.
    pub fn cost(&self) -> f64 {
        self.replica_s / self.ideal_s.max(1e-9)
    }
}

/// How much of a run is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// Sums.
    Sums,
    /// Also each action and the course of the run in so many points.
    All { points: usize },
}

/// The HPA on CPU: what its own formula says, in the place of a script.
struct Cpu {
    goal: f64,
    busy: Option<f64>,
}

impl Script for Cpu {
    fn wish(&mut self, _: usize, replicas: Replicas) -> Result<Option<Wish>, String> {
        let Some(busy) = self.busy else { return Ok(None) };
        let unready = replicas.wanted.saturating_sub(replicas.ready);
        let pods =
            Pods { used: busy * f64::from(replicas.ready), ready: replicas.ready, unready, missing: 0 };
        let replicas = hpa::utilization(pods, self.goal, replicas.wanted, hpa::TOLERANCE);
        Ok(Some(Wish { replicas, reason: format!("cpu {:.0} %", busy * 100.0) }))
    }
}

/// Runs the contender through the trace.
pub fn run(trace: &Trace, shape: Shape, contender: &Contender, tell: Tell) -> Score {
    let policy = &contender.policy;
    let (min, max) = (policy.limits.least(), policy.limits.max);
    let enough = |load: f64| hpa::ceil(load / shape.rate).clamp(min, max);
    // a start that favours nobody: what 70 % utilisation needs
    let mut service = Service::new(shape, enough(trace.load(0.0) / 0.7).max(1));
    let (mut history, mut state, mut score) = (History::default(), State::default(), Score::default());
    let seconds = trace.seconds();
    let points = if let Tell::All { points } = tell { points.max(1) } else { 0 };
    let stretch = seconds.div_ceil(points.max(1) as u64).max(1);
    for now in 0..seconds {
        let load = trace.load(now as f64);
        let second = service.second(now, load);
        history.push(second);
        score.arrived += second.arrived;
        score.lost += second.lost;
        score.late += second.late;
        score.replica_s += f64::from(second.wanted);
        score.ideal_s += f64::from(enough(load));
        score.most = score.most.max(second.wanted);
        if points > 0 {
            course(&mut score, now, stretch, load, second.ready, second.wanted);
        }
        if (now + 1) % contender.every_s != 0 {
            continue;
        }
        let mut cpu = match contender.brain {
            Brain::Policy => None,
            Brain::Cpu { goal, window_s } => {
                Some(Cpu { goal, busy: history.busy(window_s, contender.lag_s) })
            }
        };
        let script = cpu.as_mut().map(|cpu| cpu as &mut dyn Script);
        let view =
            Simulated { policy, history: &history, trace, lag_s: contender.lag_s, tick_s: contender.every_s };
        let replicas = Replicas { wanted: service.wanted(), ready: service.ready() };
        let at = Now::from_ms((now + 1) * 1000);
        let unix_ms = (trace.begins.max(0) as u64 + now + 1) * 1000;
        let input = Input {
            now: at,
            unix_ms,
            event: Event::Tick,
            mode: Mode::On,
            replicas: Some(replicas),
            view: &view,
            script,
        };
        let evaluation = policy.step(&mut state, input);
        if let Outcome::Scale { from, to } = evaluation.outcome {
            policy.settle(&mut state, at.us, evaluation.id, Some(to));
            service.scale(now + 1, to);
            *(if to > from { &mut score.ups } else { &mut score.downs }) += 1;
            if points > 0 {
                score.actions.push((now + 1, from, to, policy.explain(&evaluation)));
            }
        }
    }
    score
}

fn course(score: &mut Score, now: u64, stretch: u64, load: f64, ready: u32, wanted: u32) {
    if now.is_multiple_of(stretch) {
        score.course.push((now, load, ready, wanted));
    } else if let Some((_, most, least_ready, most_wanted)) = score.course.last_mut() {
        *most = most.max(load);
        *least_ready = (*least_ready).min(ready);
        *most_wanted = (*most_wanted).max(wanted);
    }
}
