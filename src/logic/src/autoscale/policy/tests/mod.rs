//! The engine on a simulated clock: the scenarios by their ids, and properties.

mod handover;
mod leading;
mod properties;
mod scenarios;
mod wishes;
mod zone;

use super::*;
use crate::autoscale::metrics::Now;
use crate::autoscale::nginx_conf::{parse, settings, Files};
use std::collections::HashMap;

struct NoFiles;

impl Files for NoFiles {
    fn open(&self, pattern: &str) -> Result<Vec<(String, String)>, String> {
        Err(format!("no file {pattern}"))
    }
}

/// The first policy of a piece of configuration.
pub fn policy(text: &str) -> Policy {
    let statements = parse("test", text, &NoFiles).unwrap();
    let found = settings(&statements, &|_| Err("no zones".into())).unwrap_or_else(|e| panic!("{e}"));
    found.settings.policies[0].policy.clone()
}

/// A policy of these lines, for a pool.
pub fn lines(lines: &str) -> Policy {
    policy(&format!("autoscale_target t pool:app; autoscale_policy p target=t {{ {lines} }}"))
}

/// A policy with a clock, signals and replicas to play with. What it decides is done at once unless `writes` is off.
pub struct Rig {
    pub policy: Policy,
    pub state: State,
    pub ms: u64,
    pub unix_ms: u64,
    pub values: HashMap<String, Reading>,
    pub requests: Vec<f64>,
    pub current: u32,
    pub writes: bool,
    pub mode: Mode,
    /// Every change: when, in seconds, and to how many.
    pub log: Vec<(u64, u32)>,
}

struct Board<'a>(&'a Policy, &'a HashMap<String, Reading>, &'a [f64]);

impl View for Board<'_> {
    fn read(&self, slot: usize) -> Reading {
        let name = self.0.signals[slot].signal.to_string();
        self.1.get(&name).copied().unwrap_or(Reading { value: None, age: 1e9, samples: 0 })
    }

    fn last(&self, slot: usize, into: &mut [f64]) -> (usize, u64) {
        if self.0.signals[slot].signal.metric != Metric::Latency {
            return (0, 0);
        }
        let newest = self.2.iter().rev().take(into.len());
        let found = newest.zip(into.iter_mut()).map(|(value, to)| *to = *value).count();
        (found, self.2.len() as u64)
    }
}

impl Rig {
    pub fn new(policy: Policy, current: u32) -> Self {
        Self {
            policy,
            state: State::default(),
            ms: 1_000_000,
            unix_ms: 1_795_000_000_000,
            values: HashMap::new(),
            requests: Vec::new(),
            current,
            writes: true,
            mode: Mode::On,
            log: Vec::new(),
        }
    }

    /// By canonical name.
    pub fn set(&mut self, signal: &str, value: f64) {
        let signal: Signal = signal.parse().unwrap();
        self.values.insert(signal.to_string(), Reading { value: Some(value), age: 0.0, samples: 1 });
    }

    pub fn stale(&mut self, signal: &str) {
        let signal: Signal = signal.parse().unwrap();
        self.values.insert(signal.to_string(), Reading { value: Some(0.0), age: 31.0, samples: 1 });
    }

    pub fn run(&mut self, event: Event) -> Evaluation {
        let now = Now::from_ms(self.ms);
        let evaluation = self.policy.step(
            &mut self.state,
            Input {
                now,
                unix_ms: self.unix_ms,
                event,
                mode: self.mode,
                replicas: Some(Replicas { wanted: self.current, ready: self.current }),
                view: &Board(&self.policy, &self.values, &self.requests),
                script: None,
            },
        );
        if let (Some(to), true) = (evaluation.scale(), self.writes) {
            self.policy.settle(&mut self.state, now.us, evaluation.id, Some(to));
            self.current = to;
            self.log.push((self.ms / 1000, to));
        }
        evaluation
    }

    /// A tick a second later.
    pub fn tick(&mut self) -> Evaluation {
        self.ms += 1000;
        self.unix_ms += 1000;
        self.run(Event::Tick)
    }

    /// So many seconds of ticks; the changes in them, by seconds since the first.
    pub fn seconds(&mut self, n: u64) -> Vec<(u64, u32)> {
        let (from, begun) = (self.log.len(), self.ms / 1000);
        (0..n).for_each(|_| drop(self.tick()));
        self.log[from..].iter().map(|(s, to)| (s - begun, *to)).collect()
    }

    /// A script asks for so many.
    pub fn ask(&mut self, replicas: u32) -> Evaluation {
        let input = Input {
            now: Now::from_ms(self.ms),
            unix_ms: self.unix_ms,
            event: Event::Request,
            mode: self.mode,
            replicas: Some(Replicas { wanted: self.current, ready: self.current }),
            view: &Board(&self.policy, &self.values, &self.requests),
            script: None,
        };
        self.policy.ask(&mut self.state, input, replicas, "because")
    }

    /// A request ends: the engine is asked as the module would ask it.
    pub fn request(&mut self, latency: f64) -> bool {
        self.ms += 10;
        self.requests.push(latency);
        self.set("upstream.app.latency", latency);
        let due =
            self.policy.due(&self.state, &Board(&self.policy, &self.values, &self.requests), self.ms * 1000);
        due && self.run(Event::Request).scale().is_some()
    }
}
