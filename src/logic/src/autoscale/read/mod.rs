//! A signal becomes a number.
//!
//! [`Signal::resolve`] finds the names once; the [`Resolved`] handle is small, `Copy`, and reads in a few hundred nanoseconds without
//! a lookup. It knows when what it points to is gone ([`Gone`]): resolve again then, and when [`Zone::changes`] has moved for a name
//! that was not there.
//!
//! Times are seconds, ratios 0 to 1. A reading without a value is not a zero: nothing was sampled. Its age says for how long, and a
//! policy may hold on it, never scale down.

mod evaluate;

use super::metrics::custom::{Dists, Meters};
use super::metrics::series::{Key, Name, Peer, Upstream};
use super::metrics::table::{Kind, Ref};
use super::metrics::zone::{Reporter, Zone};
use super::signal::{hint, Metric, Scope, Signal, Stat, Window, LONGEST_S};
use thiserror::Error;

/// The value of a signal at an instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// `None` when nothing was sampled in the window.
    pub value: Option<f64>,
    /// Seconds since the newest sample; zero for what is counted exactly at any time (rates, counts, levels).
    pub age: f64,
    /// How many samples the value is made of.
    pub samples: u64,
}

/// A signal whose names were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    source: Source,
    metric: Metric,
    stat: Stat,
    past: Past,
    slope: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Upstream(Ref<Upstream>),
    Peer(Ref<Peer>),
    Name(Ref<Name>),
    Key(Ref<Key>),
    /// A level: the last value is the value.
    Level(Ref<Meters>),
    /// A counter: the sum in the window is the value.
    Counter(Ref<Meters>),
    Dist(Ref<Dists>),
    Gateway,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Past {
    Now,
    Seconds(u64),
    Requests(usize),
}

/// Why a signal cannot be read (yet).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ResolveError {
    #[error("signal \"{signal}\": there is no {what} \"{name}\"{hint}")]
    Unknown { signal: String, what: &'static str, name: String, hint: String },
    #[error("signal \"{signal}\": {ticks} ticks of {tick_s}s are longer than the hour that is kept")]
    Long { signal: String, ticks: u32, tick_s: u32 },
}

/// What the handle pointed to is gone: evicted, or removed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("what the signal was about is gone")]
pub struct Gone;

impl Signal {
    /// Finds what the signal is about. `tick_s` is the tick of the zone, for windows of ticks.
    pub fn resolve(&self, zone: &Zone<'_>, tick_s: u32) -> Result<Resolved, ResolveError> {
        let past = match self.window {
            Window::Now => Past::Now,
            Window::Seconds(s) => Past::Seconds(s.into()),
            Window::Requests(n) => Past::Requests(n as usize),
            Window::Ticks(ticks) => match ticks.checked_mul(tick_s.max(1)) {
                Some(s) if s <= LONGEST_S => Past::Seconds(s.into()),
                _ => return Err(ResolveError::Long { signal: self.to_string(), ticks, tick_s }),
            },
        };
        let source = self.source(zone)?;
        Ok(Resolved { source, metric: self.metric, stat: self.stat, past, slope: self.slope })
    }

    fn source(&self, zone: &Zone<'_>) -> Result<Source, ResolveError> {
        let unknown = |what, name: &str, known| self.unknown(what, name, known);
        match &self.scope {
            Scope::Upstream(name) => {
                let found = zone.find_upstream(name.as_bytes()).map(Source::Upstream);
                found.ok_or_else(|| unknown("upstream", name, names(zone, zone.upstreams())))
            }
            Scope::Peer { upstream, addr } => {
                let group = zone.find_upstream(upstream.as_bytes());
                let group =
                    group.ok_or_else(|| unknown("upstream", upstream, names(zone, zone.upstreams())))?;
                let found = zone.find_peer(group, addr.as_bytes()).map(Source::Peer);
                found.ok_or_else(|| unknown("peer", addr, names(zone, zone.peers(group))))
            }
            Scope::Key { name, value } => {
                let label = zone.find_key_name(name.as_bytes());
                let label = label.ok_or_else(|| unknown("key", name, names(zone, zone.key_names())))?;
                let Some(value) = value else { return Ok(Source::Name(label)) };
                let found = zone.find_key(label, value.as_bytes()).map(Source::Key);
                found.ok_or_else(|| unknown("key value", value, names(zone, zone.keys(label))))
            }
            Scope::Ext { name, field } => {
                let found =
                    zone.find_meter(Reporter::External, name.as_bytes(), field.as_deref().map(str::as_bytes));
                let known = || names(zone, zone.meters(Reporter::External));
                found
                    .map(Source::Level)
                    .ok_or_else(|| unknown("external signal", &joined(name, '.', field), known()))
            }
            Scope::Custom { name, key } => {
                let part = key.as_deref().map(str::as_bytes);
                let dist = zone.find_distribution(name.as_bytes(), part).map(Source::Dist);
                let counter =
                    || zone.find_meter(Reporter::Script, name.as_bytes(), part).map(Source::Counter);
                let known = || {
                    [names(zone, zone.distributions()), names(zone, zone.meters(Reporter::Script))].concat()
                };
                dist.or_else(counter)
                    .ok_or_else(|| unknown("custom metric", &joined(name, '/', key), known()))
            }
            Scope::Gateway if matches!(self.metric, Metric::Cpu | Metric::Mem) => {
                let found = zone.find_meter(Reporter::Gateway, self.metric.word().as_bytes(), None);
                found.map(Source::Level).ok_or_else(|| unknown("sample of", self.metric.word(), Vec::new()))
            }
            Scope::Gateway => Ok(Source::Gateway),
        }
    }

    fn unknown(&self, what: &'static str, name: &str, known: Vec<String>) -> ResolveError {
        let hint = hint(name, known.iter().map(String::as_str));
        ResolveError::Unknown { signal: self.to_string(), what, name: name.into(), hint }
    }
}

fn names<K: Kind>(zone: &Zone<'_>, entries: Vec<Ref<K>>) -> Vec<String> {
    entries.into_iter().filter_map(|entry| zone.table().text(entry)).collect()
}

fn joined(name: &str, separator: char, part: &Option<String>) -> String {
    part.as_ref().map_or_else(|| name.into(), |part| format!("{name}{separator}{part}"))
}

#[cfg(test)]
mod tests;
