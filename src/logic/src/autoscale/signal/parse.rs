//! From text to a [`Signal`], from the right end to the left.

use super::kinds::{Kind, CUSTOM, EXT, GATEWAY, KEY, PEER, UPSTREAM};
use super::suggest::hint;
use super::words::{Nature, METRICS, STATS};
use super::{Metric, Scope, Signal, Stat, Window, WindowError};
use std::str::FromStr;
use thiserror::Error;

/// How many last requests one key value remembers; an upstream or a peer remembers 64.
const LONGEST_KEY_R: u32 = 16;
const DEFAULT_WINDOW: Window = Window::Seconds(5);
const SCOPES: &[&str] = &["upstream", "peer", "key", "ext", "custom", "self"];

/// Why a text is not a signal. `Display` is the message for the log or the script.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SignalError {
    #[error("signal is empty; write for example upstream.app.latency.p99@1m")]
    Empty,
    #[error("signal \"{signal}\": unknown scope \"{scope}\"{hint}; known are upstream, peer, key, ext, custom, self")]
    Scope { signal: String, scope: String, hint: String },
    #[error("signal \"{signal}\": no name after the scope; write {shape}")]
    NoName { signal: String, shape: &'static str },
    #[error("signal \"{signal}\": no metric; write {shape}")]
    NoMetric { signal: String, shape: &'static str },
    #[error("signal \"{signal}\": unknown metric \"{metric}\"{hint}; {scope} has {known}")]
    Metric { signal: String, scope: &'static str, metric: String, hint: String, known: String },
    #[error("signal \"{signal}\": unknown stat \"{stat}\"{hint}; known are avg, p50, p95, p99, max, ewma")]
    Stat { signal: String, stat: String, hint: String },
    #[error("signal \"{signal}\": peer \"{peer}\" needs an upstream and an address; write peer.UPSTREAM/ADDRESS.METRIC")]
    Peer { signal: String, peer: String },
    #[error("signal \"{signal}\": {metric} has no {stat}; {right}")]
    Unkept { signal: String, metric: &'static str, stat: String, right: &'static str },
    #[error("signal \"{signal}\": {error}")]
    Window { signal: String, error: WindowError },
    #[error("signal \"{signal}\": slope( is not closed by )")]
    Slope { signal: String },
}

impl FromStr for Signal {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SignalError::Empty);
        }
        let Some(inner) = text.strip_prefix("slope(") else {
            let (body, window) = split_window(text);
            return Reader { text, body, window, slope: false }.signal();
        };
        let (inner, outer) =
            inner.rsplit_once(')').ok_or_else(|| SignalError::Slope { signal: text.into() })?;
        let (body, inside) = split_window(inner.trim());
        let window = match (outer.trim().strip_prefix('@'), inside) {
            (None, _) if !outer.trim().is_empty() => return Err(SignalError::Slope { signal: text.into() }),
            (Some(_), Some(_)) => return Err(SignalError::Slope { signal: text.into() }),
            (outside, inside) => outside.or(inside),
        };
        Reader { text, body, window, slope: true }.signal()
    }
}

/// Cuts the window off. A text after the last `@` that holds a dot or a slash is part of a name, not a window.
fn split_window(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once('@') {
        Some((body, window)) if !window.contains(['.', '/']) => (body, Some(window)),
        _ => (text, None),
    }
}

struct Reader<'a> {
    text: &'a str,
    body: &'a str,
    window: Option<&'a str>,
    slope: bool,
}

impl<'a> Reader<'a> {
    fn signal(&self) -> Result<Signal, SignalError> {
        let (word, rest) = self.body.split_once('.').unwrap_or((self.body, ""));
        let (scope, metric, stat) = match word {
            "upstream" => {
                let (name, metric, stat) = self.metric(rest, UPSTREAM)?;
                (Scope::Upstream(name.into()), metric, stat)
            }
            "peer" => {
                let (name, metric, stat) = self.metric(rest, PEER)?;
                let (upstream, addr) = self.peer(name)?;
                (Scope::Peer { upstream: upstream.into(), addr: addr.into() }, metric, stat)
            }
            "key" => {
                let (name, metric, stat) = self.metric(rest, KEY)?;
                let (name, value) = self.slash(name, KEY)?;
                (Scope::Key { name, value }, metric, stat)
            }
            "self" => {
                let (metric, stat) = self.own(rest)?;
                (Scope::Gateway, metric, stat)
            }
            "ext" => self.ext(rest)?,
            "custom" => self.custom(rest)?,
            _ => {
                let hint = hint(word, SCOPES.iter().copied());
                return Err(SignalError::Scope { signal: self.text.into(), scope: word.into(), hint });
            }
        };
        let window = self.window(&scope, metric, stat)?;
        Ok(Signal { scope, metric, stat: stat.unwrap_or(Stat::Avg), window, slope: self.slope })
    }

    /// `name.metric[.stat]`, read from the right. The sets are disjoint, so there is one reading.
    fn metric(&self, rest: &'a str, kind: &Kind) -> Result<(&'a str, Metric, Option<Stat>), SignalError> {
        if rest.is_empty() {
            return Err(self.no_name(kind));
        }
        let (head, stat) = split_stat(rest);
        let (name, word) = head.rsplit_once('.').unwrap_or(("", head));
        let Some(metric) = Metric::parse(word) else { return Err(self.unknown(rest, kind)) };
        if name.is_empty() {
            return Err(self.no_name(kind));
        }
        self.allowed(metric, word, kind)?;
        Ok((name, metric, stat))
    }

    fn own(&self, rest: &str) -> Result<(Metric, Option<Stat>), SignalError> {
        if rest.is_empty() {
            return Err(SignalError::NoMetric { signal: self.text.into(), shape: GATEWAY.shape });
        }
        let (word, stat) = split_stat(rest);
        let Some(metric) = Metric::parse(word) else { return Err(self.unknown(rest, GATEWAY)) };
        self.allowed(metric, word, GATEWAY)?;
        Ok((metric, stat))
    }

    fn ext(&self, rest: &str) -> Result<(Scope, Metric, Option<Stat>), SignalError> {
        let (head, stat) = split_stat(rest);
        let (name, field) = match head.split_once('.') {
            Some((name, field)) => (name, Some(field.to_string())),
            None => (head, None),
        };
        if name.is_empty() || Stat::parse(name).is_some() || field.as_deref() == Some("") {
            return Err(self.no_name(EXT));
        }
        Ok((Scope::Ext { name: name.into(), field }, Metric::Value, stat))
    }

    fn custom(&self, rest: &str) -> Result<(Scope, Metric, Option<Stat>), SignalError> {
        let (head, stat) = split_stat(rest);
        let (name, metric) = match head.rsplit_once('.') {
            Some((name, "rate")) => (name, Metric::Rate),
            _ => (head, Metric::Value),
        };
        if Stat::parse(name).is_some() {
            return Err(self.no_name(CUSTOM));
        }
        let (name, key) = self.slash(name, CUSTOM)?;
        Ok((Scope::Custom { name, key }, metric, stat))
    }

    /// `name[/value]`; the value may hold anything.
    fn slash(&self, name: &str, kind: &Kind) -> Result<(String, Option<String>), SignalError> {
        let (name, value) = match name.split_once('/') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (name, None),
        };
        if name.is_empty() || value.as_deref() == Some("") {
            return Err(self.no_name(kind));
        }
        Ok((name.into(), value))
    }

    /// `upstream/address`. A unix address (and the implicit upstream of one) brings slashes of its own.
    fn peer(&self, name: &'a str) -> Result<(&'a str, &'a str), SignalError> {
        let at = match name.find("/unix:") {
            Some(at) => Some(at),
            None if name.starts_with("unix:") => None,
            None => name.find('/'),
        };
        let parts = at.map(|at| (&name[..at], &name[at + 1..]));
        parts
            .filter(|(upstream, addr)| !upstream.is_empty() && !addr.is_empty())
            .ok_or_else(|| SignalError::Peer { signal: self.text.into(), peer: name.into() })
    }

    fn window(&self, scope: &Scope, metric: Metric, stat: Option<Stat>) -> Result<Window, SignalError> {
        let window = self.window.map(Window::parse).transpose();
        let window = window.map_err(|error| SignalError::Window { signal: self.text.into(), error })?;
        let level = metric.nature() == Nature::Level || matches!(scope, Scope::Ext { .. });
        // A level is known exactly and now; CPU and memory come as samples, so they keep the common default.
        let sampled = matches!(metric, Metric::Cpu | Metric::Mem);
        let window = match (window, stat) {
            (Some(window), Some(Stat::Ewma)) => {
                return Err(self.unkept(
                    metric,
                    format!("ewma@{window}"),
                    "ewma forgets by itself: leave out the @",
                ));
            }
            (_, Some(Stat::Ewma)) => Window::Now,
            (Some(window), _) => window,
            (None, None) if level && !sampled && !self.slope => Window::Now,
            (None, _) => DEFAULT_WINDOW,
        };
        self.kept(scope, metric, stat.unwrap_or(Stat::Avg), window)?;
        Ok(window)
    }

    /// Refuses what the zone does not keep.
    fn kept(&self, scope: &Scope, metric: Metric, stat: Stat, window: Window) -> Result<(), SignalError> {
        let refuse = |what: String, right| Err(self.unkept(metric, what, right));
        let key = matches!(scope, Scope::Key { .. });
        let custom = matches!(scope, Scope::Custom { .. }) && metric == Metric::Value;
        let level = metric.nature() == Nature::Level || matches!(scope, Scope::Ext { .. });
        match (metric.nature(), stat) {
            (_, Stat::Avg) | (Nature::Time, _) => {}
            (_, Stat::Max) if level || custom => {}
            (_, Stat::P50 | Stat::P95 | Stat::P99) if custom => {}
            _ if level => return refuse(stat.word().into(), "a level has avg and max"),
            _ => return refuse(stat.word().into(), "it is one number a window, without a stat"),
        }
        if key && metric == Metric::Ttfb && stat != Stat::Avg {
            return refuse(stat.word().into(), "of a key only avg is kept");
        }
        if key && level && window != Window::Now {
            return refuse(
                format!("window {window}"),
                "of a key it is known only now: leave out stat and window",
            );
        }
        if matches!(scope, Scope::Gateway) && stat == Stat::Ewma {
            return refuse(stat.word().into(), "each upstream has one, all of them together have none");
        }
        if self.slope && (stat == Stat::Ewma || matches!(window, Window::Requests(_) | Window::Seconds(1))) {
            return refuse("slope here".into(), "a slope needs a window of time of 2s or more");
        }
        let Window::Requests(n) = window else { return Ok(()) };
        if !matches!(metric, Metric::Latency | Metric::Errors | Metric::ErrorRate)
            || matches!(scope, Scope::Gateway)
        {
            return refuse(
                format!("window {window}"),
                "last requests are kept for latency, errors and error_rate",
            );
        }
        if key && n > LONGEST_KEY_R {
            return refuse(format!("window {window}"), "a key remembers its last 16 requests");
        }
        Ok(())
    }

    fn allowed(&self, metric: Metric, word: &str, kind: &Kind) -> Result<(), SignalError> {
        if kind.metrics.contains(&metric) {
            return Ok(());
        }
        Err(self.no_metric(word, kind))
    }

    /// Says whether the last word looks like a stat or a metric that went wrong.
    fn unknown(&self, rest: &str, kind: &Kind) -> SignalError {
        let (before, last) = rest.rsplit_once('.').unwrap_or(("", rest));
        let previous = before.rsplit_once('.').map_or(before, |(_, word)| word);
        if Metric::parse(previous).is_some() && Metric::parse(last).is_none() && Stat::parse(last).is_none() {
            let hint = hint(last, STATS.iter().map(|(word, _)| *word));
            return SignalError::Stat { signal: self.text.into(), stat: last.into(), hint };
        }
        let (head, _) = split_stat(rest);
        self.no_metric(head.rsplit_once('.').map_or(head, |(_, word)| word), kind)
    }

    fn no_metric(&self, word: &str, kind: &Kind) -> SignalError {
        let known = METRICS.iter().filter(|(_, metric)| kind.metrics.contains(metric)).map(|(word, _)| *word);
        SignalError::Metric {
            signal: self.text.into(),
            scope: kind.word,
            metric: word.into(),
            hint: hint(word, known.clone()),
            known: known.collect::<Vec<_>>().join(", "),
        }
    }

    fn no_name(&self, kind: &Kind) -> SignalError {
        SignalError::NoName { signal: self.text.into(), shape: kind.shape }
    }

    fn unkept(&self, metric: Metric, stat: String, right: &'static str) -> SignalError {
        let metric = if metric == Metric::Value { "a value" } else { metric.word() };
        SignalError::Unkept { signal: self.text.into(), metric, stat, right }
    }
}

fn split_stat(rest: &str) -> (&str, Option<Stat>) {
    match rest.rsplit_once('.').map(|(head, word)| (head, Stat::parse(word))) {
        Some((head, Some(stat))) => (head, Some(stat)),
        _ => (rest, None),
    }
}
