//! Who runs: the policy, and models of what others do, all on the same engine.
//!
//! | contender | looks at | every | lag | formula and brakes |
//! |---|---|---|---|---|
//! | policy | what its signals say | 1 s | 0 | its own |
//! | HPA on CPU | utilisation of ready pods over 30 s | 15 s | 12 s | `utilization`, tolerance 0.1, Kubernetes' default behavior |
//! | HPA on rate | requests a second over 1 minute | 15 s | 15 s | `AverageValue`, tolerance 0.1, Kubernetes' default behavior |
//! | KPA | concurrency over 60 s and 6 s | 2 s | 1 s | Knative's, panic at 200 % |
//! | KPA on rate | requests a second over 60 s and 6 s | 2 s | 1 s | Knative's, panic at 200 % |
//!
//! The lags stand for the way of a number: kubelet and metrics-server (a resolution of 15 s each) put CPU about 27 s behind on average,
//! which a window of 30 s that ended 12 s ago has; an adapter reads Prometheus, which scrapes every 15 s; Knative scrapes every second.
//! A pod of the CPU model that is not ready counts as idle on the way up, as Kubernetes has it.

use crate::conf;
use crate::service::Shape;
use logic::autoscale::policy::{Does, Policy};
use std::path::PathBuf;

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Brain {
    /// The policy itself.
    Policy,
    /// HPA on CPU: its formula in the place of the policy's script.
    Cpu { goal: f64, window_s: u64 },
}

/// One who runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    pub name: &'static str,
    /// The utilisation it aims at, or by what its `per=` was multiplied.
    pub setting: f64,
    pub policy: Policy,
    pub brain: Brain,
    pub every_s: u64,
    pub lag_s: u64,
}

/// The bounds of all contenders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub min: u32,
    pub max: u32,
}

/// The utilisations that rivals and the built-in policy are run at; the middle one is their default.
pub const GOALS: [f64; 7] = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];
/// The goal that stands for a contender where only one is shown.
pub const USUAL: f64 = 0.7;
const HPA: &str = "behavior up 4/15s 100%/15s; behavior down window=300s 100%/15s;";

/// A policy text as a contender's. The texts are ours, so an error is a mistake of this program.
fn policy(lines: &str, bounds: Bounds) -> Policy {
    let Bounds { min, max } = bounds;
    let text = format!("autoscale_target t pool:app min={min} max={max}; autoscale_policy model target=t {{ {lines} limit min={min}; }}");
    let found = conf::parsed("model", &text, PathBuf::new())
        .map(|mut found| found.settings.policies.remove(0).policy);
    found.unwrap_or_else(|e| unreachable!("{e}"))
}

/// Kubernetes on CPU.
pub fn hpa_cpu(goal: f64, bounds: Bounds) -> Contender {
    let policy = policy(&format!("by_lua_block {{ }} {HPA}"), bounds);
    let brain = Brain::Cpu { goal, window_s: 30 };
    Contender { name: "HPA on CPU", setting: goal, policy, brain, every_s: 15, lag_s: 12 }
}

/// Kubernetes on requests a second.
pub fn hpa_rate(goal: f64, shape: Shape, bounds: Bounds) -> Contender {
    let policy = policy(&format!("track upstream.app.rate@1m per={}; {HPA}", shape.rate * goal), bounds);
    Contender { name: "HPA on rate", setting: goal, policy, brain: Brain::Policy, every_s: 15, lag_s: 15 }
}

/// Knative on concurrency.
pub fn kpa(goal: f64, shape: Shape, bounds: Bounds) -> Contender {
    let per = shape.rate * shape.service_s * goal;
    let policy = policy(&format!("track upstream.app.inflight@1m per={per} panic=200%:6s;"), bounds);
    Contender { name: "KPA", setting: goal, policy, brain: Brain::Policy, every_s: 2, lag_s: 1 }
}

/// Knative on requests a second (`autoscaling.knative.dev/metric: rps`), which does not mistake a queue for work.
pub fn kpa_rate(goal: f64, shape: Shape, bounds: Bounds) -> Contender {
    let policy =
        policy(&format!("track upstream.app.rate@1m per={} panic=200%:6s;", shape.rate * goal), bounds);
    Contender { name: "KPA on rate", setting: goal, policy, brain: Brain::Policy, every_s: 2, lag_s: 1 }
}

/// The policy of a user, its `per=` multiplied by `factor`.
pub fn own(policy: &Policy, factor: f64) -> Contender {
    let mut policy = policy.clone();
    for rule in &mut policy.rules {
        match &mut rule.does {
            Does::Track(track) => track.per *= factor,
            Does::Forecast(ahead) => ahead.per *= factor,
            _ => {}
        }
    }
    Contender { name: "policy", setting: factor, policy, brain: Brain::Policy, every_s: 1, lag_s: 0 }
}

/// Whether a policy has something that [`own`] can turn.
pub fn turns(policy: &Policy) -> bool {
    policy.rules.iter().any(|rule| matches!(rule.does, Does::Track(_)))
}
