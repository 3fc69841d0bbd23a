//! The text format of Prometheus, version 0.0.4.
//!
//! Sources: "Exposition formats" and "Metric and label naming" in the Prometheus documentation; `promtool check metrics` must have
//! nothing to say. All samples of a family stand together; times are in seconds; what is counted ends in `_total`. An upstream has
//! histograms since birth; peers and keys, of which there are many, have summaries: sum and count since birth, quantiles of the last
//! minute.

use super::snapshot::{ejected, learnt, parts, sorted, text, Observed, Reported, Snapshot};
use crate::autoscale::metrics::series::{Class, Upstream, BOUNDS_US};
use crate::autoscale::metrics::table::Ref;
use crate::autoscale::metrics::zone::{Health, Reporter, State, Zone};
use crate::autoscale::metrics::Now;
use std::io::Write;

const TIMES: [(&str, &str); 3] =
    [("response", "Response time"), ("first_byte", "Time to first byte"), ("connect", "Connect time")];
const QUANTILES: [&str; 3] = ["0.5", "0.95", "0.99"];

/// Labels and what they label.
type Labelled = (Vec<(&'static str, String)>, Snapshot);

pub fn write(zone: &Zone<'_>, now: Now, out: &mut Vec<u8>) {
    let mut text = Text { out };
    let upstreams = sorted(zone, zone.upstreams());
    let name = |entry| super::snapshot::text(zone, entry).unwrap_or_default();
    let groups: Vec<Labelled> = upstreams
        .iter()
        .filter_map(|entry| Some((vec![("upstream", name(*entry))], Snapshot::of(zone, *entry, now, &[])?)))
        .collect();
    text.series("upstream", "of an upstream", &groups, true);
    text.histograms(&groups);
    ejections(zone, now, &upstreams, &mut text);
    peers(zone, now, &upstreams, &mut text);
    keys(zone, now, &mut text);
    reported(zone, now, &mut text);
    room(zone, &mut text);
}

fn ejections(zone: &Zone<'_>, now: Now, upstreams: &[Ref<Upstream>], text: &mut Text<'_>) {
    let of = |entry: &Ref<Upstream>| {
        let name = super::snapshot::text(zone, *entry).unwrap_or_default();
        (vec![("upstream", name)], ejected(zone, *entry, now))
    };
    let all: Vec<_> = upstreams.iter().map(of).collect();
    text.family("autoscale_upstream_ejected_peers", "gauge", "Peers that are ejected now.");
    for (labels, (out, _)) in &all {
        text.sample("autoscale_upstream_ejected_peers", labels, &[], *out as f64);
    }
    let help = "Whether ejections are ignored, because too few peers are left.";
    text.family("autoscale_upstream_ejections_ignored", "gauge", help);
    for (labels, (_, ignored)) in &all {
        text.sample("autoscale_upstream_ejections_ignored", labels, &[], f64::from(u8::from(*ignored)));
    }
}

fn peers(zone: &Zone<'_>, now: Now, upstreams: &[Ref<Upstream>], text: &mut Text<'_>) {
    let mut peers = Vec::new();
    let (mut states, mut slots) = (Vec::new(), Vec::new());
    for upstream in upstreams {
        let group = super::snapshot::text(zone, *upstream).unwrap_or_default();
        for peer in sorted(zone, zone.peers(*upstream)) {
            if let Some(snapshot) = Snapshot::of(zone, peer, now, &[60]) {
                let labels = vec![("upstream", group.clone()), ("peer", snapshot.name.clone())];
                let is_up = zone.control(peer).says() == State::Up;
                states.push((labels.clone(), is_up, zone.standing(peer, now), zone.ejections(peer)));
                slots.extend(learnt(zone, peer, now).map(|(_, slots, s)| (labels.clone(), slots, s)));
                peers.push((labels, snapshot));
            }
        }
    }
    text.series("peer", "of a peer", &peers, false);
    text.summaries("peer", "of a peer", &peers, 3);
    text.family(
        "autoscale_peer_up",
        "gauge",
        "Whether requests may be sent to the peer: 0 is down, draining or standing by.",
    );
    for (labels, is_up, ..) in &states {
        text.sample("autoscale_peer_up", labels, &[], f64::from(u8::from(*is_up)));
    }
    let help = "Whether the peer gets what it is chosen for: 0 is ejected, 0.5 on probation.";
    text.family("autoscale_peer_health", "gauge", help);
    for (labels, _, standing, _) in &states {
        let health = match standing {
            Health::Well => 1.0,
            Health::Probation => 0.5,
            Health::Ejected => 0.0,
        };
        text.sample("autoscale_peer_health", labels, &[], health);
    }
    text.family("autoscale_peer_ejections_total", "counter", "How often the peer was ejected.");
    for (labels, .., ejections) in &states {
        text.sample("autoscale_peer_ejections_total", labels, &[], *ejections as f64);
    }
    text.family("autoscale_peer_failing_ratio", "gauge", "Moving average of failing tries.");
    for (labels, snapshot) in &peers {
        text.sample("autoscale_peer_failing_ratio", labels, &[], snapshot.failing);
    }
    text.family("autoscale_peer_slots", "gauge", "Requests that the peer works on at a time, as learnt.");
    for (labels, n, _) in &slots {
        text.sample("autoscale_peer_slots", labels, &[], f64::from(*n));
    }
    let help = "How long the peer takes for a request while it has room, as learnt.";
    text.family("autoscale_peer_service_seconds", "gauge", help);
    for (labels, _, seconds) in &slots {
        text.sample("autoscale_peer_service_seconds", labels, &[], *seconds);
    }
}

fn keys(zone: &Zone<'_>, now: Now, text: &mut Text<'_>) {
    let (mut all, mut values) = (Vec::new(), Vec::new());
    for label in sorted(zone, zone.key_names()) {
        let Some(snapshot) = Snapshot::of(zone, label, now, &[60]) else { continue };
        let name = snapshot.name.clone();
        all.push((vec![("key", name.clone())], snapshot));
        let of =
            sorted(zone, zone.keys(label)).into_iter().filter_map(|key| Snapshot::of(zone, key, now, &[60]));
        values.extend(of.map(|key| (vec![("key", name.clone()), ("value", key.name.clone())], key)));
    }
    text.series("label", "that carry a label", &all, false);
    text.summaries("label", "that carry a label", &all, 1);
    text.series("key", "that carry one value of a label", &values, false);
    text.summaries("key", "that carry one value of a label", &values, 1);
}

fn reported(zone: &Zone<'_>, now: Now, out: &mut Text<'_>) {
    let meters = |reporter, separator| {
        let all = sorted(zone, zone.meters(reporter)).into_iter();
        let known = all.filter_map(|entry| {
            Some(Reported::of(&zone.meter(entry)?, parts(text(zone, entry)?, separator), now))
        });
        known.collect::<Vec<_>>()
    };
    out.family("autoscale_custom_total", "counter", "Counters of scripts.");
    for counter in meters(Reporter::Script, '/') {
        out.sample("autoscale_custom_total", &named(counter.name, "key"), &[], counter.total);
    }
    out.family(
        "autoscale_custom_observations",
        "summary",
        "Values observed by scripts; quantiles of the last minute.",
    );
    for dist in sorted(zone, zone.distributions()) {
        let name = text(zone, dist).map(|name| parts(name, '/'));
        let observed = zone.dist(dist).zip(name).and_then(|(dist, name)| Observed::of(&dist, name, now));
        if let Some(observed) = observed {
            let labels = named(observed.name, "key");
            let (sum, count) = observed.total;
            out.summary("autoscale_custom_observations", &labels, &observed.quantiles[..3], sum, count);
        }
    }
    let signals = meters(Reporter::External, '.');
    out.family("autoscale_signal_value", "gauge", "Last value of an external signal.");
    for signal in &signals {
        let labels = named(signal.name.clone(), "field");
        signal.value.into_iter().for_each(|value| out.sample("autoscale_signal_value", &labels, &[], value));
    }
    out.family("autoscale_signal_age_seconds", "gauge", "Age of the last value of an external signal.");
    for signal in &signals {
        out.sample("autoscale_signal_age_seconds", &named(signal.name.clone(), "field"), &[], signal.age);
    }
    out.family("autoscale_gateway_load_ratio", "gauge", "CPU and memory of the gateway, of what it may use.");
    for level in meters(Reporter::Gateway, '.') {
        let labels = [("resource", level.name.0)];
        level
            .value
            .into_iter()
            .for_each(|value| out.sample("autoscale_gateway_load_ratio", &labels, &[], value));
    }
}

fn room(zone: &Zone<'_>, text: &mut Text<'_>) {
    let room = zone.layout().room();
    text.family("autoscale_zone_size_bytes", "gauge", "Size of the zone.");
    text.sample("autoscale_zone_size_bytes", &[], &[], (zone.layout().words * 8) as f64);
    text.family("autoscale_zone_room_entries", "gauge", "How many entries the zone has room for.");
    let rooms = [("upstream", room.upstreams), ("peer", room.peers), ("key", room.keys)];
    for (table, n) in rooms {
        text.sample("autoscale_zone_room_entries", &[("table", table.into())], &[], n as f64);
    }
    text.family("autoscale_zone_refused_total", "counter", "Names that found no room in the zone.");
    let tables = ["upstream", "peer", "label", "key", "meter", "distribution"];
    for (table, n) in tables.iter().zip(zone.refused()) {
        text.sample("autoscale_zone_refused_total", &[("table", (*table).into())], &[], n as f64);
    }
}

fn named((name, part): (String, Option<String>), label: &'static str) -> Vec<(&'static str, String)> {
    vec![("name", name), (label, part.unwrap_or_default())]
}

pub(super) struct Text<'o> {
    pub out: &'o mut Vec<u8>,
}

impl Text<'_> {
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a vector does not fail.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub fn sample(
        &mut self,
        name: &str,
        labels: &[(&'static str, String)],
        more: &[(&str, &str)],
        value: f64,
    ) {
        self.out.extend_from_slice(name.as_bytes());
        let all = labels.iter().map(|(label, value)| (*label, value.as_str())).chain(more.iter().copied());
        let mut before = b'{';
        for (label, value) in all {
            self.out.push(before);
            self.out.extend_from_slice(label.as_bytes());
            self.out.extend_from_slice(b"=\"");
            escape(value, self.out);
            self.out.push(b'"');
            before = b',';
        }
        if before == b',' {
            self.out.push(b'}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    /// Counters and levels of a kind of series.
    fn series(&mut self, kind: &str, what: &str, all: &[Labelled], is_upstream: bool) {
        let name = format!("autoscale_{kind}_requests_total");
        self.family(&name, "counter", &format!("Finished requests {what} by result."));
        for (labels, snapshot) in all {
            for class in Class::ALL {
                let n = snapshot.totals.classes[class as usize];
                self.sample(&name, labels, &[("result", class.word())], n as f64);
            }
        }
        type Column = (&'static str, &'static str, &'static str, fn(&Snapshot) -> u64);
        let columns: [Column; 5] = [
            ("active_requests", "gauge", "Requests in flight", |s| s.levels.active.into()),
            ("waiting_requests", "gauge", "Requests without a first byte yet", |s| s.levels.waiting.into()),
            ("tokens_total", "counter", "Tokens spent by requests", |s| s.totals.tokens),
            ("retries_total", "counter", "Retries of requests", |s| s.totals.retries),
            ("queued_requests", "gauge", "Requests held back", |s| s.levels.queued.into()),
        ];
        for (suffix, kind_of, help, value) in &columns[..if is_upstream { 5 } else { 3 }] {
            let name = format!("autoscale_{kind}_{suffix}");
            self.family(&name, kind_of, &format!("{help} {what}."));
            all.iter().for_each(|(labels, snapshot)| self.sample(&name, labels, &[], value(snapshot) as f64));
        }
        let name = format!("autoscale_{kind}_response_average_seconds");
        self.family(&name, "gauge", &format!("Moving average of the response time {what}."));
        for (labels, snapshot) in all {
            snapshot.ewma[0].into_iter().for_each(|s| self.sample(&name, labels, &[], s));
        }
    }

    fn histograms(&mut self, all: &[Labelled]) {
        for (i, (time, help)) in TIMES.iter().enumerate() {
            let name = format!("autoscale_upstream_{time}_seconds");
            self.family(&name, "histogram", &format!("{help} of an upstream."));
            for (labels, snapshot) in all {
                let Some(counts) = snapshot.bounded[i] else { continue };
                let mut seen = 0;
                for (count, bound) in counts.iter().zip(BOUNDS_US.map(Some).into_iter().chain([None])) {
                    seen += count;
                    let le = bound.map_or_else(|| "+Inf".into(), |us| format!("{}", f64::from(us) / 1e6));
                    self.sample(&format!("{name}_bucket"), labels, &[("le", &le)], seen as f64);
                }
                self.sample(&format!("{name}_sum"), labels, &[], snapshot.totals.times[i].0 as f64 / 1e6);
                self.sample(&format!("{name}_count"), labels, &[], seen as f64);
            }
        }
    }

    fn summaries(&mut self, kind: &str, what: &str, all: &[Labelled], times: usize) {
        for (i, (time, help)) in TIMES[..times].iter().enumerate() {
            let name = format!("autoscale_{kind}_{time}_seconds");
            self.family(&name, "summary", &format!("{help} {what}; quantiles of the last minute."));
            for (labels, snapshot) in all {
                let quantiles = snapshot.past.first().and_then(|past| past.quantiles[i]).unwrap_or_default();
                let (sum, count) = snapshot.totals.times[i];
                self.summary(&name, labels, &quantiles[..3], sum as f64 / 1e6, count);
            }
        }
    }

    fn summary(
        &mut self,
        name: &str,
        labels: &[(&'static str, String)],
        quantiles: &[Option<f64>],
        sum: f64,
        count: u64,
    ) {
        for (quantile, value) in QUANTILES.iter().zip(quantiles) {
            self.sample(name, labels, &[("quantile", quantile)], value.unwrap_or(f64::NAN));
        }
        self.sample(&format!("{name}_sum"), labels, &[], sum);
        self.sample(&format!("{name}_count"), labels, &[], count as f64);
    }
}

/// A label value: backslash, quote and line feed are escaped.
fn escape(value: &str, out: &mut Vec<u8>) {
    for byte in value.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
}
