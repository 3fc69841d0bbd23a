//! The JSON of the status page.

use super::policies::Scaling;
use super::snapshot::{
    ejected, learnt, parts, sorted, state, text, Observed, Past, Quantiles, Reported, Snapshot, WINDOWS,
};
use crate::autoscale::metrics::series::{Class, Time};
use crate::autoscale::metrics::zone::{Reporter, Zone};
use crate::autoscale::metrics::Now;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
pub struct Status<'a> {
    #[serde(flatten)]
    scaling: &'a Scaling,
    uptime: f64,
    zone: Room,
    upstreams: Vec<Upstream>,
    keys: Vec<Label>,
    counters: Vec<Number>,
    distributions: Vec<Spread>,
    signals: Vec<Number>,
    gateway: Vec<Number>,
}

#[derive(Serialize)]
struct Room {
    bytes: usize,
    upstreams: usize,
    peers: usize,
    keys: usize,
    refused: u64,
}

#[derive(Serialize)]
struct Upstream {
    #[serde(flatten)]
    counted: Counted,
    ejected: usize,
    ejections_ignored: bool,
    peers: Vec<Peer>,
}

#[derive(Serialize)]
struct Peer {
    #[serde(flatten)]
    counted: Counted,
    state: &'static str,
    /// The override; null is what the configuration says.
    weight: Option<u16>,
    limit: Option<u32>,
    failing: f64,
    ejections: u64,
    /// By `autoscale_protect limit=auto`; null is nothing yet.
    learnt: Option<Learnt>,
}

/// How many requests a peer takes at a time.
#[derive(Serialize)]
struct Learnt {
    limit: u32,
    slots: u32,
    service: f64,
}

#[derive(Serialize)]
struct Label {
    #[serde(flatten)]
    counted: Counted,
    values: Vec<Counted>,
}

#[derive(Serialize)]
struct Counted {
    name: String,
    active: u32,
    waiting: u32,
    queued: u32,
    totals: BTreeMap<&'static str, u64>,
    ewma: Ewma,
    windows: BTreeMap<&'static str, Shown>,
}

#[derive(Serialize)]
struct Ewma {
    latency: Option<f64>,
    ttfb: Option<f64>,
    connect: Option<f64>,
}

#[derive(Serialize)]
struct Shown {
    rate: f64,
    error_rate: Option<f64>,
    #[serde(flatten)]
    classes: BTreeMap<&'static str, u64>,
    retries: u64,
    tokens: u64,
    latency: Option<Times>,
    ttfb: Option<Times>,
    connect: Option<Times>,
}

#[derive(Serialize)]
struct Times {
    n: u64,
    avg: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p95: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<f64>,
}

#[derive(Serialize)]
struct Number {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<String>,
    value: Option<f64>,
    age: f64,
}

#[derive(Serialize)]
struct Spread {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    count: u64,
    sum: f64,
    avg: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

const SECONDS: [u64; 5] = [WINDOWS[0].1, WINDOWS[1].1, WINDOWS[2].1, WINDOWS[3].1, WINDOWS[4].1];

pub fn status<'a>(zone: &Zone<'_>, now: Now, scaling: &'a Scaling) -> Status<'a> {
    let room = zone.layout().room();
    Status {
        scaling,
        uptime: now.us.saturating_sub(zone.born_us()) as f64 / 1e6,
        zone: Room {
            bytes: zone.layout().words * 8,
            upstreams: room.upstreams,
            peers: room.peers,
            keys: room.keys,
            refused: zone.refused().iter().sum(),
        },
        upstreams: upstreams(zone, now),
        keys: labels(zone, now),
        counters: numbers(zone, Reporter::Script, '/', now),
        distributions: spreads(zone, now),
        signals: numbers(zone, Reporter::External, '.', now),
        gateway: numbers(zone, Reporter::Gateway, '.', now),
    }
}

fn upstreams(zone: &Zone<'_>, now: Now) -> Vec<Upstream> {
    let shown = sorted(zone, zone.upstreams()).into_iter().filter_map(|entry| {
        let counted = Counted::of(Snapshot::of(zone, entry, now, &SECONDS)?);
        let peers = sorted(zone, zone.peers(entry)).into_iter().filter_map(|peer| {
            let snapshot = Snapshot::of(zone, peer, now, &SECONDS)?;
            let control = zone.control(peer);
            let (state, ejections) = (state(zone, peer, now), zone.ejections(peer));
            let failing = round(snapshot.failing);
            let (weight, limit) = (Some(control.weight), Some(control.limit));
            let (weight, limit) = (weight.filter(|w| *w > 0), limit.filter(|l| *l > 0));
            let learnt = learnt(zone, peer, now);
            let learnt =
                learnt.map(|(limit, slots, service)| Learnt { limit, slots, service: round(service) });
            Some(Peer { counted: Counted::of(snapshot), state, weight, limit, failing, ejections, learnt })
        });
        let (ejected, ejections_ignored) = ejected(zone, entry, now);
        Some(Upstream { counted, ejected, ejections_ignored, peers: peers.collect() })
    });
    shown.collect()
}

fn labels(zone: &Zone<'_>, now: Now) -> Vec<Label> {
    let shown = sorted(zone, zone.key_names()).into_iter().filter_map(|entry| {
        let counted = Counted::of(Snapshot::of(zone, entry, now, &SECONDS)?);
        let values = sorted(zone, zone.keys(entry)).into_iter();
        let values = values.filter_map(|key| Snapshot::of(zone, key, now, &SECONDS).map(Counted::of));
        Some(Label { counted, values: values.collect() })
    });
    shown.collect()
}

fn numbers(zone: &Zone<'_>, reporter: Reporter, separator: char, now: Now) -> Vec<Number> {
    let shown = sorted(zone, zone.meters(reporter)).into_iter().filter_map(|entry| {
        let reported = Reported::of(&zone.meter(entry)?, parts(text(zone, entry)?, separator), now);
        let (name, part) = reported.name;
        let value = if reporter == Reporter::Script { Some(reported.total) } else { reported.value };
        Some(Number { name, part, value, age: round(reported.age) })
    });
    shown.collect()
}

fn spreads(zone: &Zone<'_>, now: Now) -> Vec<Spread> {
    let shown = sorted(zone, zone.distributions()).into_iter().filter_map(|entry| {
        let observed = Observed::of(&zone.dist(entry)?, parts(text(zone, entry)?, '/'), now)?;
        let ((name, key), (sum, count)) = (observed.name, observed.total);
        let [p50, p95, p99, max] = observed.quantiles;
        Some(Spread { name, key, count, sum, avg: observed.average, p50, p95, p99, max })
    });
    shown.collect()
}

impl Counted {
    fn of(snapshot: Snapshot) -> Self {
        let [latency, ttfb, connect] = snapshot.ewma.map(|s| s.map(round));
        let mut totals = by_class(&snapshot.totals.classes);
        totals.insert("retries", snapshot.totals.retries);
        totals.insert("tokens", snapshot.totals.tokens);
        let names = WINDOWS.iter().map(|(name, _)| *name);
        Self {
            name: snapshot.name,
            active: snapshot.levels.active,
            waiting: snapshot.levels.waiting,
            queued: snapshot.levels.queued,
            totals,
            ewma: Ewma { latency, ttfb, connect },
            windows: names.zip(snapshot.past.iter().map(Shown::of)).collect(),
        }
    }
}

impl Shown {
    fn of(past: &Past) -> Self {
        let times = |time: Time| {
            let (i, n) = (time as usize, past.window.times[time as usize].1);
            let [p50, p95, p99, max]: Quantiles = past.quantiles[i].unwrap_or_default().map(|s| s.map(round));
            past.averages[i].map(|avg| Times { n, avg: round(avg), p50, p95, p99, max })
        };
        Self {
            rate: round(past.window.arrived as f64 / past.seconds),
            error_rate: past.window.error_rate().map(round),
            classes: by_class(&past.window.classes),
            retries: past.window.retries,
            tokens: past.window.tokens,
            latency: times(Time::Latency),
            ttfb: times(Time::Ttfb),
            connect: times(Time::Connect),
        }
    }
}

fn by_class(counts: &[u64; 8]) -> BTreeMap<&'static str, u64> {
    Class::ALL.iter().map(|class| (class.word(), counts[*class as usize])).collect()
}

/// Microseconds are what is measured: more digits would be noise.
fn round(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}
