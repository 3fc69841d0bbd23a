//! All directives together, and what only the whole can tell: names that nobody defines, bounds of policy and target, routes in a circle.

use super::{ConfError, External, Kind, Leader, Log, Payload, Result, Target};
use crate::autoscale::policy::{Action, Class, Does, Mode, Policy, Watched};
use crate::autoscale::signal::{hint, Scope};
use std::sync::Arc;
use thiserror::Error;

/// A policy and the code of its `by_lua_block` lines, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyConf {
    pub policy: Policy,
    pub scripts: Vec<Code>,
}

/// Lua code, and where its block begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Code {
    pub text: Arc<str>,
    pub file: String,
    pub line: usize,
}

/// What `http {}` says about autoscaling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub mode: Mode,
    pub signals: Vec<External>,
    pub targets: Vec<Target>,
    pub policies: Vec<PolicyConf>,
    pub leader: Leader,
    pub log: Option<Log>,
}

impl Settings {
    pub fn add_signal(&mut self, signal: External) -> Result<()> {
        fresh("signal", &signal.name, self.signals.iter().map(|s| s.name.as_str()))?;
        self.signals.push(signal);
        Ok(())
    }

    pub fn add_target(&mut self, target: Target) -> Result<()> {
        fresh("target", &target.name, self.targets.iter().map(|t| t.name.as_str()))?;
        self.targets.push(target);
        Ok(())
    }

    pub fn add_policy(&mut self, policy: PolicyConf) -> Result<()> {
        fresh("policy", &policy.policy.name, self.policies.iter().map(|p| p.policy.name.as_str()))?;
        self.policies.push(policy);
        Ok(())
    }

    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// When everything was read: resolves what policies name, narrows their bounds to the target's and takes over the age limits of
    /// polled signals. `upstreams` are the names that exist; `keys` those of `autoscale_key`.
    pub fn finish(&mut self, upstreams: &[&str], keys: &[&str]) -> core::result::Result<(), Misfit> {
        let names = Names { upstreams, keys, signals: &self.signals, targets: &self.targets };
        let mut pools: Vec<(&str, &str)> = Vec::new();
        for target in &self.targets {
            if let Kind::Pool { upstream } = &target.kind {
                let found = exists("upstream", upstream, upstreams.iter().copied());
                let fresh = found.and_then(|()| one_target(&pools, upstream));
                fresh.map_err(|error| Misfit::of(Subject::Target(target.name.clone()), error))?;
                pools.push((upstream, &target.name));
            }
        }
        let mut scaled: Vec<(String, String)> = Vec::new();
        for PolicyConf { policy, .. } in &mut self.policies {
            let fits = names.fit(policy, &mut scaled);
            fits.map_err(|error| Misfit::of(Subject::Policy(policy.name.clone()), error))?;
        }
        self.circles()
    }

    /// A route from one upstream to another and back would hand requests round for ever.
    fn circles(&self) -> core::result::Result<(), Misfit> {
        let routes: Vec<(&str, &str, &str)> = self.policies.iter().flat_map(|p| routes(&p.policy)).collect();
        for (policy, from, _) in &routes {
            let (mut at, mut path) = (vec![*from], vec![*from]);
            while let Some(upstream) = at.pop() {
                for (_, _, to) in routes.iter().filter(|(_, other, _)| *other == upstream) {
                    if to == from {
                        let shown = format!("requests would go in a circle: {} -> {from}", path.join(" -> "));
                        let error = ConfError::value("route", from, shown);
                        return Err(Misfit::of(Subject::Policy((*policy).into()), error));
                    }
                    if !path.contains(to) {
                        path.push(to);
                        at.push(to);
                    }
                }
            }
        }
        Ok(())
    }
}

/// An error of the whole, and the directive to point at.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{error}")]
pub struct Misfit {
    pub subject: Subject,
    pub error: Box<ConfError>,
}

/// A directive, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Policy(String),
    Target(String),
}

impl Misfit {
    fn of(subject: Subject, error: ConfError) -> Self {
        Self { subject, error: Box::new(error) }
    }
}

/// What policies may name.
struct Names<'a> {
    upstreams: &'a [&'a str],
    keys: &'a [&'a str],
    signals: &'a [External],
    targets: &'a [Target],
}

impl Names<'_> {
    fn fit(&self, policy: &mut Policy, scaled: &mut Vec<(String, String)>) -> Result<()> {
        for watched in &mut policy.signals {
            self.signal(watched)?;
        }
        for action in &policy.actions {
            match action {
                Action::Notify(name) => self.target(name).map(drop)?,
                Action::Route { to, class: None } => self.upstream(to)?,
                Action::Route { to, class: Some(class) } => {
                    self.upstream(to)?;
                    self.class(class)?;
                }
                Action::Throttle { key, .. } => self.key(key)?,
                Action::Shed(class) => self.class(class)?,
            }
        }
        if let Some(to) = aimless(policy) {
            let right =
                "its up lines look at no upstream: name the requests, as in \"do route UPSTREAM CLASS\"";
            return Err(ConfError::value("route", to, right));
        }
        let Some(name) = policy.target.clone() else { return Ok(()) };
        let target = self.target(&name)?;
        if let Some((_, other)) = scaled.iter().find(|(other, _)| *other == name) {
            let why =
                format!("target \"{name}\" is scaled by policy \"{other}\" already; two would fight over it");
            return Err(ConfError::Policy { policy: policy.name.clone(), why });
        }
        policy.within(target.min, target.max);
        bounded(policy, matches!(target.kind, Kind::Pool { .. }))?;
        scaled.push((name, policy.name.clone()));
        Ok(())
    }

    fn signal(&self, watched: &mut Watched) -> Result<()> {
        match &watched.signal.scope {
            Scope::Upstream(name) | Scope::Peer { upstream: name, .. } => self.upstream(name),
            Scope::Key { name, .. } => self.key(name),
            Scope::Custom { .. } | Scope::Gateway => Ok(()),
            Scope::Ext { name, field } => {
                let found = self.signals.iter().find(|signal| signal.name == *name);
                let known = self.signals.iter().map(|signal| signal.name.as_str());
                let Some(external) = found else { return exists("signal", name, known) };
                match (&external.payload, field) {
                    (Payload::Prometheus(metrics), Some(field)) if !metrics.is_empty() => {
                        exists("metric", field, metrics.iter().map(String::as_str))?;
                    }
                    (Payload::Prometheus(metrics), None) if metrics.len() != 1 => {
                        let right = format!("it brings several metrics: write ext.{name}.METRIC");
                        return Err(ConfError::value("signal", &watched.signal.to_string(), right));
                    }
                    (Payload::Json(_), Some(_)) => {
                        let right = format!("it brings one number: write ext.{name}");
                        return Err(ConfError::value("signal", &watched.signal.to_string(), right));
                    }
                    _ => {}
                }
                watched.stale_s = external.stale_s;
                Ok(())
            }
        }
    }

    fn target(&self, name: &str) -> Result<&Target> {
        let found = self.targets.iter().find(|target| target.name == name);
        let known = self.targets.iter().map(|target| target.name.as_str());
        found.ok_or_else(|| ConfError::NoSuch { what: "target", name: name.into(), hint: hint(name, known) })
    }

    fn upstream(&self, name: &str) -> Result<()> {
        exists("upstream", name, self.upstreams.iter().copied())
    }

    fn key(&self, name: &str) -> Result<()> {
        exists("key", name, self.keys.iter().copied())
    }

    fn class(&self, class: &Class) -> Result<()> {
        match &class.key {
            Some(key) => self.key(key),
            None if self.keys.is_empty() => {
                let right = "it is a value of an autoscale_key, and there is none: write \"autoscale_key class $VARIABLE;\"";
                Err(ConfError::value("class", &class.value, right))
            }
            None => Ok(()),
        }
    }
}

/// The policy, an upstream its `up` lines look at, and where it sends requests.
fn routes(policy: &Policy) -> Vec<(&str, &str, &str)> {
    let to = policy.actions.iter().filter_map(|action| match action {
        Action::Route { to, .. } => Some(to.as_str()),
        _ => None,
    });
    policy.presses().flat_map(|from| to.clone().map(move |to| (policy.name.as_str(), from, to))).collect()
}

/// Where a policy sends requests, when nothing says which.
fn aimless(policy: &Policy) -> Option<&str> {
    let looks = policy.presses().next().is_some();
    policy.actions.iter().find_map(|action| match action {
        Action::Route { to, class: None } if !looks => Some(to.as_str()),
        _ => None,
    })
}

/// The highest floor of a calendar.
fn floor(policy: &Policy) -> Option<u32> {
    let floors = policy.rules.iter().filter_map(|rule| match &rule.does {
        Does::Schedule(schedule) => Some(schedule.min),
        _ => None,
    });
    floors.max()
}

fn bounded(policy: &Policy, pool: bool) -> Result<()> {
    let (min, max) = (policy.limits.least(), policy.limits.max);
    let why = if min > max {
        format!("together with its target min={min} is more than max={max}")
    } else if let Some(floor) = floor(policy).filter(|floor| *floor > max) {
        format!("a schedule asks for min={floor}, but max={max}")
    } else if max == u32::MAX && !pool {
        "no maximum: write max= at the target, or \"limit max=N\"".into()
    } else {
        return Ok(());
    };
    Err(ConfError::Policy { policy: policy.name.clone(), why })
}

/// Two numbers for one pool would fight over it.
fn one_target(pools: &[(&str, &str)], upstream: &str) -> Result<()> {
    match pools.iter().find(|(other, _)| *other == upstream) {
        Some((_, target)) => {
            let text = format!("pool:{upstream}");
            Err(ConfError::value("target", &text, format!("it is the pool of target \"{target}\" already")))
        }
        None => Ok(()),
    }
}

fn fresh<'a>(what: &'static str, name: &str, mut known: impl Iterator<Item = &'a str>) -> Result<()> {
    match known.any(|other| other == name) {
        true => Err(ConfError::Duplicate { what, name: name.into() }),
        false => Ok(()),
    }
}

fn exists<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
    match known.clone().any(|other| other == name) {
        true => Ok(()),
        false => Err(ConfError::NoSuch { what, name: name.into(), hint: hint(name, known) }),
    }
}
