//! What each scope offers: its metrics and how a signal of it is spelt.

use super::Metric;

/// What one scope offers.
pub(super) struct Kind {
    pub word: &'static str,
    pub shape: &'static str,
    pub metrics: &'static [Metric],
}

pub(super) const UPSTREAM: &Kind = &Kind {
    word: "an upstream",
    shape: "upstream.NAME.METRIC, for example upstream.app.latency.p99@1m",
    metrics: &[
        Metric::Rate,
        Metric::Inflight,
        Metric::Waiting,
        Metric::Queue,
        Metric::Latency,
        Metric::Ttfb,
        Metric::Connect,
        Metric::Errors,
        Metric::ErrorRate,
        Metric::Rejects,
        Metric::Tokens,
    ],
};

pub(super) const PEER: &Kind = &Kind {
    word: "a peer",
    shape: "peer.UPSTREAM/ADDRESS.METRIC, for example peer.app/10.0.0.1:80.latency",
    metrics: &[
        Metric::Rate,
        Metric::Inflight,
        Metric::Waiting,
        Metric::Latency,
        Metric::Ttfb,
        Metric::Connect,
        Metric::Errors,
        Metric::ErrorRate,
        Metric::Tokens,
    ],
};

pub(super) const KEY: &Kind = &Kind {
    word: "a key",
    shape: "key.NAME/VALUE.METRIC or key.NAME.METRIC, for example key.tenant/acme.rate",
    metrics: &[
        Metric::Rate,
        Metric::Inflight,
        Metric::Waiting,
        Metric::Queue,
        Metric::Latency,
        Metric::Ttfb,
        Metric::Errors,
        Metric::ErrorRate,
        Metric::Rejects,
        Metric::Tokens,
    ],
};

pub(super) const GATEWAY: &Kind = &Kind {
    word: "self",
    shape: "self.METRIC, for example self.cpu@5m",
    metrics: &[
        Metric::Rate,
        Metric::Inflight,
        Metric::Waiting,
        Metric::Queue,
        Metric::Latency,
        Metric::Ttfb,
        Metric::Connect,
        Metric::Errors,
        Metric::ErrorRate,
        Metric::Rejects,
        Metric::Tokens,
        Metric::Cpu,
        Metric::Mem,
    ],
};

pub(super) const EXT: &Kind =
    &Kind { word: "ext", shape: "ext.NAME[.FIELD][.STAT], for example ext.queue.depth", metrics: &[] };

pub(super) const CUSTOM: &Kind = &Kind {
    word: "custom",
    shape: "custom.NAME[/KEY][.rate][.STAT], for example custom.cart_size.p95@1m",
    metrics: &[],
};
