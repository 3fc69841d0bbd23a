//! All directives together, and what only the whole can tell: names that nobody defines, bounds of policy and target, routes in a circle.

use super::{ConfError, External, Leader, Log, Payload, Result, Target};
use crate::autoscale::policy::{Action, Does, Mode, Policy};
use crate::autoscale::signal::{hint, Scope};
use std::sync::Arc;

/// A policy and the code of its `by_lua_block` lines, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyConf {
    pub policy: Policy,
    pub scripts: Vec<Arc<str>>,
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
    pub fn finish(&mut self, upstreams: &[&str], keys: &[&str]) -> Result<()> {
        let (signals, targets) = (&self.signals, &self.targets);
        for target in targets {
            if let super::Kind::Pool { upstream } = &target.kind {
                exists("upstream", upstream, upstreams.iter().copied())?;
            }
        }
        let mut scaled: Vec<(&str, &str)> = Vec::new();
        for PolicyConf { policy, .. } in &mut self.policies {
            for watched in &mut policy.signals {
                match &watched.signal.scope {
                    Scope::Upstream(name) | Scope::Peer { upstream: name, .. } => {
                        exists("upstream", name, upstreams.iter().copied())?;
                    }
                    Scope::Key { name, .. } => exists("key", name, keys.iter().copied())?,
                    Scope::Ext { name, field } => {
                        exists("signal", name, signals.iter().map(|s| s.name.as_str()))?;
                        let external = signals.iter().find(|signal| signal.name == *name);
                        if let Some(External { payload: Payload::Prometheus(metrics), .. }) = external {
                            match field {
                                Some(field) if !metrics.is_empty() => {
                                    exists("metric", field, metrics.iter().map(String::as_str))?;
                                }
                                None if metrics.len() != 1 => {
                                    let right = format!("it brings several metrics: write ext.{name}.METRIC");
                                    return Err(ConfError::value(
                                        "signal",
                                        &watched.signal.to_string(),
                                        right,
                                    ));
                                }
                                _ => {}
                            }
                        }
                        watched.stale_s = external.map_or(watched.stale_s, |external| external.stale_s);
                    }
                    Scope::Custom { .. } | Scope::Gateway => {}
                }
            }
            for action in &policy.actions {
                match action {
                    Action::Notify(name) => exists("target", name, targets.iter().map(|t| t.name.as_str()))?,
                    Action::Route(name) => exists("upstream", name, upstreams.iter().copied())?,
                    Action::Throttle { key, .. } => exists("key", key, keys.iter().copied())?,
                    Action::Shed(_) => {}
                }
            }
            let Some(name) = policy.target.clone() else { continue };
            exists("target", &name, targets.iter().map(|t| t.name.as_str()))?;
            let Some(target) = targets.iter().find(|target| target.name == name) else { continue };
            if let Some((_, other)) = scaled.iter().find(|(other, _)| *other == target.name) {
                let why = format!(
                    "target \"{name}\" is scaled by policy \"{other}\" already; two would fight over it"
                );
                return Err(ConfError::Policy { policy: policy.name.clone(), why });
            }
            policy.within(target.min, target.max);
            bounded(policy, matches!(target.kind, super::Kind::Pool { .. }))?;
            scaled.push((&target.name, &policy.name));
        }
        self.circles()
    }

    /// A route from one upstream to another and back would hand requests round for ever.
    fn circles(&self) -> Result<()> {
        let routes: Vec<(&str, &str)> = self.policies.iter().flat_map(|p| routes(&p.policy)).collect();
        for (from, _) in &routes {
            let (mut at, mut path) = (vec![*from], vec![*from]);
            while let Some(upstream) = at.pop() {
                for (_, to) in routes.iter().filter(|(other, _)| *other == upstream) {
                    if to == from {
                        let shown = format!("{} -> {from}", path.join(" -> "));
                        return Err(ConfError::value(
                            "route",
                            from,
                            format!("requests would go in a circle: {shown}"),
                        ));
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

/// From the upstreams a policy looks at in its `up` lines to where it sends their requests.
fn routes(policy: &Policy) -> Vec<(&str, &str)> {
    let watched = policy.rules.iter().filter_map(|rule| match &rule.does {
        Does::Up(line) => match &policy.signals[line.condition.slot].signal.scope {
            Scope::Upstream(name) | Scope::Peer { upstream: name, .. } => Some(name.as_str()),
            _ => None,
        },
        _ => None,
    });
    let to = policy.actions.iter().filter_map(|action| match action {
        Action::Route(to) => Some(to.as_str()),
        _ => None,
    });
    watched.flat_map(|from| to.clone().map(move |to| (from, to))).collect()
}

fn bounded(policy: &Policy, pool: bool) -> Result<()> {
    let (min, max) = (policy.limits.min, policy.limits.max);
    let why = if min > max {
        format!("together with its target min={min} is more than max={max}")
    } else if max == u32::MAX && !pool {
        "no maximum: write max= at the target, or \"limit max=N\"".into()
    } else {
        return Ok(());
    };
    Err(ConfError::Policy { policy: policy.name.clone(), why })
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
