//! Signals: how a policy or a script names one number of the zone.
//!
//! `scope.name.metric[.stat][@window]`, or `slope(…)` around it. Names hold dots, colons and slashes
//! (`peer.app/unix:/run/a.sock.latency`, `peer.app/[::1]:80.rate`), so the text is read from its right end: window, stat and metric
//! come from closed sets that do not overlap, and what is left is the name, whatever is in it.
//!
//! A [`Signal`] in hand can be evaluated: combinations that the zone does not keep (a p99 of a rate, a window longer than an hour)
//! are refused while parsing, with the part that is wrong and what would be right.

mod kinds;
mod parse;
mod suggest;
mod window;
mod words;

pub use suggest::hint;

pub use parse::SignalError;
pub use window::{Window, WindowError, LONGEST_S};
pub use words::{Metric, Stat};

use std::fmt;

/// What the number belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Upstream(String),
    Peer {
        upstream: String,
        addr: String,
    },
    /// A label of `autoscale_key`; without a value, all requests that carry the label.
    Key {
        name: String,
        value: Option<String>,
    },
    /// A signal of `autoscale_signal`; `field` chooses one when it brings several.
    Ext {
        name: String,
        field: Option<String>,
    },
    /// What `as.incr` and `as.observe` record.
    Custom {
        name: String,
        key: Option<String>,
    },
    /// The gateway itself: all upstreams together, its own CPU and memory.
    Gateway,
}

/// One number of the zone. Times are in seconds, rates per second, ratios between 0 and 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Signal {
    pub scope: Scope,
    pub metric: Metric,
    pub stat: Stat,
    pub window: Window,
    /// The change of the number per second instead of the number.
    pub slope: bool,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(name) => write!(f, "upstream.{name}"),
            Self::Peer { upstream, addr } => write!(f, "peer.{upstream}/{addr}"),
            Self::Key { name, value: None } => write!(f, "key.{name}"),
            Self::Key { name, value: Some(value) } => write!(f, "key.{name}/{value}"),
            Self::Ext { name, field: None } => write!(f, "ext.{name}"),
            Self::Ext { name, field: Some(field) } => write!(f, "ext.{name}.{field}"),
            Self::Custom { name, key: None } => write!(f, "custom.{name}"),
            Self::Custom { name, key: Some(key) } => write!(f, "custom.{name}/{key}"),
            Self::Gateway => f.write_str("self"),
        }
    }
}

/// The canonical spelling: it parses to the same signal, with stat and window written out.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.slope {
            f.write_str("slope(")?;
        }
        write!(f, "{}", self.scope)?;
        if self.metric != Metric::Value {
            write!(f, ".{}", self.metric.word())?;
        }
        if self.window != Window::Now || self.stat == Stat::Ewma {
            write!(f, ".{}", self.stat.word())?;
        }
        if self.window != Window::Now {
            write!(f, "@{}", self.window)?;
        }
        f.write_str(if self.slope { ")" } else { "" })
    }
}

#[cfg(test)]
mod tests;
