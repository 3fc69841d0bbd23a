//! What is shown of one series, and of one reported number.

use crate::autoscale::metrics::columns::Levels;
use crate::autoscale::metrics::custom::{Dist, Meter};
use crate::autoscale::metrics::series::{Peer, Shape, Time, Totals, Upstream, Window, BOUNDED};
use crate::autoscale::metrics::table::{Kind, Ref};
use crate::autoscale::metrics::zone::{Health, State, Zone};
use crate::autoscale::metrics::Now;

/// The windows that are shown, by name and seconds.
pub const WINDOWS: [(&str, u64); 5] = [("1s", 1), ("5s", 5), ("1m", 60), ("5m", 300), ("1h", 3600)];
pub const TIMES: [Time; 3] = [Time::Latency, Time::Ttfb, Time::Connect];

/// Seconds: p50, p95, p99, maximum.
pub type Quantiles = [Option<f64>; 4];

/// One window of a series.
pub struct Past {
    pub window: Window,
    pub seconds: f64,
    pub averages: [Option<f64>; 3],
    /// `None` where no histogram is kept.
    pub quantiles: [Option<Quantiles>; 3],
}

/// Everything about one series.
pub struct Snapshot {
    pub name: String,
    pub levels: Levels,
    pub totals: Totals,
    /// Moving averages in seconds.
    pub ewma: [Option<f64>; 3],
    pub failing: f64,
    pub bounded: [Option<[u64; BOUNDED]>; 3],
    pub past: Vec<Past>,
}

impl Snapshot {
    /// `None` when the entry is gone.
    pub fn of<K: Kind + Shape>(zone: &Zone<'_>, entry: Ref<K>, now: Now, windows: &[u64]) -> Option<Self> {
        let series = zone.series(entry)?;
        let past = windows.iter().filter_map(|s| {
            let span = crate::autoscale::metrics::series::Series::<K>::span(now, *s)?;
            let window = series.window(span);
            Some(Past {
                window,
                seconds: span.seconds(now, series.born_us()),
                averages: TIMES.map(|time| window.average(time).map(seconds)),
                quantiles: TIMES.map(|time| {
                    let counts = series.counts(span, time)?;
                    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| counts.quantile(q).map(seconds));
                    Some([p50, p95, p99, counts.max().map(seconds)])
                }),
            })
        });
        Some(Self {
            name: text(zone, entry)?,
            levels: zone.levels(entry),
            totals: series.totals(),
            ewma: TIMES.map(|time| series.ewma(time).map(|us| seconds(us.into()))),
            failing: series.failing(now).into(),
            bounded: TIMES.map(|time| series.bounded(time)),
            past: past.collect(),
        })
    }
}

/// A level or a counter.
pub struct Reported {
    /// Name and, of a signal its field, of a counter its key.
    pub name: (String, Option<String>),
    pub value: Option<f64>,
    pub age: f64,
    pub total: f64,
}

impl Reported {
    pub fn of(meter: &Meter<'_>, name: (String, Option<String>), now: Now) -> Self {
        let age = now.us.saturating_sub(meter.last_us()) as f64 / 1e6;
        Self { name, value: meter.value(), age, total: meter.totals().0 }
    }
}

/// A distribution: sum and count since birth, quantiles over the last minute.
pub struct Observed {
    pub name: (String, Option<String>),
    pub total: (f64, u64),
    pub average: Option<f64>,
    pub quantiles: Quantiles,
}

impl Observed {
    pub fn of(dist: &Dist<'_>, name: (String, Option<String>), now: Now) -> Option<Self> {
        let span = Dist::span(now, 60)?;
        let (sums, counts) = (dist.window(span), dist.counts(span));
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| counts.quantile(q));
        Some(Self {
            name,
            total: dist.totals(),
            average: sums.average(),
            quantiles: [p50, p95, p99, sums.max],
        })
    }
}

/// What a peer is to its upstream, in a word.
pub fn state(zone: &Zone<'_>, peer: Ref<Peer>, now: Now) -> &'static str {
    match (zone.control(peer).says(), zone.standing(peer, now)) {
        (State::Up, Health::Well) => "up",
        (State::Up, Health::Ejected) => "ejected",
        (State::Up, Health::Probation) => "probation",
        (State::Down, _) => "down",
        (State::Drain, _) => "drain",
        (State::Standby, _) => "standby",
    }
}

/// How many requests a peer takes at a time, where that was learnt: how many at this moment, how many it works on, and the seconds that
/// one takes.
pub fn learnt(zone: &Zone<'_>, peer: Ref<Peer>, now: Now) -> Option<(u32, u32, f64)> {
    let room = zone.tenant(peer)?.learnt().room(now);
    (room.service_us > 0.0).then(|| (room.limit, room.slots, seconds(room.service_us.into())))
}

/// How many peers of an upstream are ejected, and whether that is ignored.
pub fn ejected(zone: &Zone<'_>, upstream: Ref<Upstream>, now: Now) -> (usize, bool) {
    let peers = zone.peers(upstream);
    let out = peers.into_iter().filter(|peer| zone.standing(*peer, now) == Health::Ejected).count();
    (out, zone.ignored_until_ms(upstream) > now.us / 1000)
}

/// The name of an entry as text.
pub fn text<K: Kind>(zone: &Zone<'_>, entry: Ref<K>) -> Option<String> {
    zone.table::<K>().text(entry)
}

/// Entries in the order of their names.
pub fn sorted<K: Kind>(zone: &Zone<'_>, mut entries: Vec<Ref<K>>) -> Vec<Ref<K>> {
    entries.sort_by_cached_key(|entry| zone.name(*entry));
    entries
}

/// `name` and what follows the separator.
pub fn parts(name: String, separator: char) -> (String, Option<String>) {
    match name.split_once(separator) {
        Some((name, part)) => (name.into(), Some(part.into())),
        None => (name, None),
    }
}

fn seconds(us: f64) -> f64 {
    us / 1e6
}
