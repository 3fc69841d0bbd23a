//! The closed sets of the grammar: metrics and stats, and which go together.

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Requests that arrived, per second.
    Rate,
    /// Requests in flight (also written `active`).
    Inflight,
    /// Requests sent to a peer that has not answered with a first byte yet.
    Waiting,
    /// Requests held before they are proxied.
    Queue,
    /// Response time in seconds; of a stream, the time to its first byte.
    Latency,
    /// Time to first byte in seconds.
    Ttfb,
    /// Connect time in seconds.
    Connect,
    /// 5xx answers, connect failures and timeouts in the window.
    Errors,
    /// Errors among the finished requests, 0 to 1.
    ErrorRate,
    /// Requests the gateway refused, in the window.
    Rejects,
    /// Tokens spent in the window.
    Tokens,
    /// CPU of the gateway, 0 to 1 of what it may use.
    Cpu,
    /// Memory of the gateway, 0 to 1 of what it may use.
    Mem,
    /// The number itself: what an external or custom signal says when no metric is named.
    Value,
}

/// How the samples of a window become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stat {
    Avg,
    P50,
    P95,
    P99,
    Max,
    /// A moving average that forgets by time; it has no window.
    Ewma,
}

/// The nature of a metric decides which stats and windows it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// One sample a request: every stat.
    Time,
    /// A level at an instant: now, or average and maximum of its samples.
    Level,
    /// Something counted: one number a window.
    Count,
}

pub(super) const METRICS: &[(&str, Metric)] = &[
    ("rate", Metric::Rate),
    ("inflight", Metric::Inflight),
    ("active", Metric::Inflight),
    ("waiting", Metric::Waiting),
    ("queue", Metric::Queue),
    ("latency", Metric::Latency),
    ("ttfb", Metric::Ttfb),
    ("connect", Metric::Connect),
    ("errors", Metric::Errors),
    ("error_rate", Metric::ErrorRate),
    ("rejects", Metric::Rejects),
    ("tokens", Metric::Tokens),
    ("cpu", Metric::Cpu),
    ("mem", Metric::Mem),
];

pub(super) const STATS: &[(&str, Stat)] = &[
    ("avg", Stat::Avg),
    ("p50", Stat::P50),
    ("p95", Stat::P95),
    ("p99", Stat::P99),
    ("max", Stat::Max),
    ("ewma", Stat::Ewma),
];

impl Metric {
    pub(super) fn parse(word: &str) -> Option<Self> {
        METRICS.iter().find(|(name, _)| *name == word).map(|(_, metric)| *metric)
    }

    /// The word of the grammar; empty for [`Metric::Value`].
    pub fn word(self) -> &'static str {
        METRICS.iter().find(|(_, metric)| *metric == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn nature(self) -> Nature {
        match self {
            Self::Latency | Self::Ttfb | Self::Connect => Nature::Time,
            Self::Inflight | Self::Waiting | Self::Queue | Self::Cpu | Self::Mem => Nature::Level,
            _ => Nature::Count,
        }
    }
}

impl Stat {
    pub(super) fn parse(word: &str) -> Option<Self> {
        STATS.iter().find(|(name, _)| *name == word).map(|(_, stat)| *stat)
    }

    /// The word of the grammar.
    pub fn word(self) -> &'static str {
        STATS.iter().find(|(_, stat)| *stat == self).map_or("avg", |(name, _)| name)
    }

    /// The quantile this stat asks for.
    pub fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.50),
            Self::P95 => Some(0.95),
            Self::P99 => Some(0.99),
            Self::Avg | Self::Max | Self::Ewma => None,
        }
    }
}
