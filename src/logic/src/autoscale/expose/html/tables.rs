//! The tables of the page.

use super::{cell, styled, Cell, Html, PolicyRow};
use crate::autoscale::expose::snapshot::{
    ejected, parts, sorted, state, text, Observed, Past, Reported, Snapshot,
};
use crate::autoscale::metrics::series::Time;
use crate::autoscale::metrics::zone::{Reporter, Zone};
use crate::autoscale::metrics::Now;
use crate::autoscale::policy::decision::{Decision, Input};
use std::fmt::{self, Display};

const WINDOW: &[u64] = &[60];
const TRAFFIC: [&str; 10] =
    ["", "in flight", "waiting", "queued", "rate", "errors", "avg", "p50", "p95", "p99"];
/// Values of a key that are shown: those with most requests of the last minute.
const MOST_VALUES: usize = 50;

pub fn zone(html: &mut Html, zone: &Zone<'_>, now: Now) {
    let room = zone.layout().room();
    let uptime = Duration(now.us.saturating_sub(zone.born_us()) / 1_000_000);
    let refused: u64 = zone.refused().iter().sum();
    html.raw("<p class=\"dim\">");
    html.text(&format_args!(
        "up {uptime}, {} KiB of shared memory, room for {} upstreams, {} peers, {} keys; figures of the last minute",
        zone.layout().words * 8 / 1024,
        room.upstreams,
        room.peers,
        room.keys
    ));
    html.raw("</p>");
    if refused > 0 {
        html.raw("<p class=\"bad\">");
        html.text(&format_args!("{refused} names found no room in the zone"));
        html.raw("</p>");
    }
}

pub fn policies(html: &mut Html, policies: &[PolicyRow]) {
    if policies.is_empty() {
        return;
    }
    html.table("Policies", &["", "target", "mode", "replicas", "<now", "<signals", "<lines"], |html| {
        for policy in policies {
            let target = policy.target.as_deref().unwrap_or("–");
            let (replicas, rules) = (Known(policy.replicas), policy.rules.join("; "));
            let (reason, signals) = match &policy.last {
                Some(last) => {
                    (last.reason.as_str(), last.signals.iter().map(seen).collect::<Vec<_>>().join("; "))
                }
                None => ("–", String::new()),
            };
            html.row(
                "",
                &[
                    cell(&policy.name),
                    cell(&target),
                    cell(&policy.mode),
                    cell(&replicas),
                    styled("t", &reason),
                    styled("t", &signals),
                    styled("t dim", &rules),
                ],
            );
        }
    });
}

/// A signal as a policy saw it.
fn seen(input: &Input) -> String {
    let value = Known(input.value.map(Figure));
    let stale = if input.stale { ", stale" } else { "" };
    format!("{} = {value} ({:.1} s old{stale})", input.signal, input.age)
}

pub fn decisions(html: &mut Html, decisions: &[Decision]) {
    if decisions.is_empty() {
        return;
    }
    html.table("Last decisions", &["time", "<policy", "", "from", "to", "<result", "<reason"], |html| {
        for decision in decisions {
            let result = decision.result.as_deref().unwrap_or("–");
            html.row(
                "",
                &[
                    cell(&decision.time),
                    styled("l", &decision.policy),
                    cell(&decision.action),
                    cell(&Known(decision.current)),
                    cell(&decision.after_cooldown),
                    styled("l", &result),
                    styled("t", &decision.reason),
                ],
            );
        }
    });
}

pub fn upstreams(html: &mut Html, zone: &Zone<'_>, now: Now, down: &[(String, String)]) {
    let entries = sorted(zone, zone.upstreams());
    if entries.is_empty() {
        return;
    }
    let columns: Vec<&str> = TRAFFIC.iter().copied().chain(["state"]).collect();
    html.table("Upstreams", &columns, |html| {
        for entry in entries {
            let Some(upstream) = Snapshot::of(zone, entry, now, WINDOW) else { continue };
            let out = match ejected(zone, entry, now) {
                (0, _) => String::new(),
                (out, false) => format!("{out} ejected"),
                (out, true) => format!("{out} ejected, ignored"),
            };
            let class = if out.is_empty() { "" } else { "bad" };
            traffic(html, "group", &upstream, &[styled(class, &out)]);
            for peer in sorted(zone, zone.peers(entry)) {
                let Some(snapshot) = Snapshot::of(zone, peer, now, WINDOW) else { continue };
                let is_down = down.iter().any(|(u, p)| *u == upstream.name && *p == snapshot.name);
                let state = match state(zone, peer, now) {
                    "up" if is_down => "down",
                    state => state,
                };
                let class = match state {
                    "up" => "good",
                    "down" | "ejected" => "bad",
                    _ => "dim",
                };
                traffic(html, "member", &snapshot, &[styled(class, &state)]);
            }
        }
    });
}

pub fn keys(html: &mut Html, zone: &Zone<'_>, now: Now) {
    let entries = sorted(zone, zone.key_names());
    if entries.is_empty() {
        return;
    }
    html.table("Keys", &TRAFFIC, |html| {
        for entry in entries {
            let Some(name) = Snapshot::of(zone, entry, now, WINDOW) else { continue };
            traffic(html, "group", &name, &[]);
            let values = sorted(zone, zone.keys(entry)).into_iter();
            let mut values: Vec<_> =
                values.filter_map(|value| Snapshot::of(zone, value, now, WINDOW)).collect();
            let arrived = |s: &Snapshot| s.past.first().map_or(0, |past| past.window.arrived);
            values.sort_by_key(|value| std::cmp::Reverse(arrived(value)));
            for value in values.iter().take(MOST_VALUES) {
                traffic(html, "member", value, &[]);
            }
            if values.len() > MOST_VALUES {
                let rest = format!("… and {} more", values.len() - MOST_VALUES);
                html.row("member", &[styled("dim", &rest)]);
            }
        }
    });
}

fn traffic(html: &mut Html, class: &str, of: &Snapshot, more: &[Cell<'_>]) {
    let past = of.past.first();
    let rate = Known(past.map(|past| PerSecond(past.window.arrived as f64 / past.seconds)));
    let error_rate = past.and_then(|past| past.window.error_rate());
    let errors = Known(error_rate.map(Percent));
    let time = |get: fn(&Past) -> Option<f64>| Known(past.and_then(get).map(Spent));
    let [p50, p95, p99] = [0, 1, 2].map(|i| {
        Known(past.and_then(|past| past.quantiles[Time::Latency as usize].unwrap_or_default()[i]).map(Spent))
    });
    let average = time(|past| past.averages[Time::Latency as usize]);
    let wrong = if error_rate.is_some_and(|rate| rate > 0.0) { "bad" } else { "" };
    let cells = [
        cell(&of.name),
        cell(&of.levels.active),
        cell(&of.levels.waiting),
        cell(&of.levels.queued),
        cell(&rate),
        styled(wrong, &errors),
        cell(&average),
        cell(&p50),
        cell(&p95),
        cell(&p99),
    ];
    let cells: Vec<Cell<'_>> =
        cells.into_iter().chain(more.iter().map(|c| Cell { class: c.class, shown: c.shown })).collect();
    html.row(class, &cells);
}

/// Numbers that somebody else reports: polled signals, the gateway's own, scripts' counters and distributions.
pub fn reported(html: &mut Html, zone: &Zone<'_>, now: Now) {
    let kinds = [
        ("Signals", Reporter::External, '.'),
        ("Gateway", Reporter::Gateway, '.'),
        ("Counters", Reporter::Script, '/'),
    ];
    for (heading, reporter, separator) in kinds {
        let entries = sorted(zone, zone.meters(reporter));
        let rows = entries.into_iter().filter_map(|entry| {
            Some(Reported::of(&zone.meter(entry)?, parts(text(zone, entry)?, separator), now))
        });
        let rows: Vec<Reported> = rows.collect();
        if rows.is_empty() {
            continue;
        }
        html.table(heading, &["", "value", "age"], |html| {
            for row in rows {
                let value = if reporter == Reporter::Script { Some(row.total) } else { row.value };
                let name = joined(&row.name, separator);
                html.row(
                    "",
                    &[cell(&name), cell(&Known(value.map(Figure))), cell(&Duration(row.age as u64))],
                );
            }
        });
    }
    let entries = sorted(zone, zone.distributions());
    let rows = entries
        .into_iter()
        .filter_map(|entry| Observed::of(&zone.dist(entry)?, parts(text(zone, entry)?, '/'), now));
    let rows: Vec<Observed> = rows.collect();
    if rows.is_empty() {
        return;
    }
    html.table("Distributions", &["", "count", "avg", "p50", "p95", "p99", "max"], |html| {
        for row in rows {
            let name = joined(&row.name, '/');
            let [p50, p95, p99, max] = row.quantiles.map(|value| Known(value.map(Figure)));
            let average = Known(row.average.map(Figure));
            let figures = [&average, &p50, &p95, &p99, &max].map(|figure| cell(figure));
            let cells = [cell(&name), cell(&row.total.1)].into_iter().chain(figures);
            html.row("", &cells.collect::<Vec<_>>());
        }
    });
}

fn joined((name, part): &(String, Option<String>), separator: char) -> String {
    part.as_ref().map_or_else(|| name.clone(), |part| format!("{name}{separator}{part}"))
}

/// A dash where nothing is known.
struct Known<T>(Option<T>);

impl<T: Display> Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("–"),
        }
    }
}

/// Four digits and no more zeros than needed: what a script counts has no unit that is known here.
struct Figure(f64);

impl Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = match self.0.abs() {
            x if x == 0.0 || x >= 1000.0 => 0,
            x if x < 1e-6 => return write!(f, "{:.3e}", self.0),
            x => (3 - x.log10().floor() as i32) as usize,
        };
        let text = format!("{:.places$}", self.0);
        f.write_str(if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text })
    }
}

#[cfg(test)]
pub fn figure(value: f64) -> String {
    Figure(value).to_string()
}

struct PerSecond(f64);

impl Display for PerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}/s", self.0)
    }
}

struct Percent(f64);

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", self.0 * 100.0)
    }
}

/// Seconds of a response.
struct Spent(f64);

impl Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            s if s < 0.01 => write!(f, "{:.2} ms", s * 1e3),
            s if s < 1.0 => write!(f, "{:.0} ms", s * 1e3),
            s => write!(f, "{s:.2} s"),
        }
    }
}

/// Whole seconds, of any length.
struct Duration(u64);

impl Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            s if s < 60 => write!(f, "{s} s"),
            s if s < 3600 => write!(f, "{} min", s / 60),
            s if s < 86400 => write!(f, "{} h {} min", s / 3600, s % 3600 / 60),
            s => write!(f, "{} d {} h", s / 86400, s % 86400 / 3600),
        }
    }
}
