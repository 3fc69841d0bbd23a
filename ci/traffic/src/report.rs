//! The numbers of one run, out of what became of each request.

use crate::load::{End, Record};
use crate::scenario::Scenario;
use crate::stats::{percentile, stretch, wait_ms};
use crate::trace::NOISY;
use crate::{DEADLINE_NS, PATIENCE_NS, PEERS, SLOTS};
use serde_json::{json, Value};
use std::collections::BTreeMap;

/// Held for longer in the gateway: it has decided to let a request wait, and was not only late.
const HELD_NS: u64 = 10_000_000;
/// Recovery is looked at in spans of this length; in each that counts as well, this share of requests is.
const SPAN_NS: u64 = 100_000_000;
const WELL: f64 = 0.95;

/// Everything `ci/bench traffic` makes its tables of. Times in ms unless they end in `_s`; shares in percent.
pub fn report(scenario: &Scenario, records: &[Record]) -> Value {
    let (from, to) = ((scenario.window.0 * 1e9) as u64, (scenario.window.1 * 1e9) as u64);
    let window: Vec<&Record> = records.iter().filter(|it| (from..to).contains(&it.shot.at_ns)).collect();
    let errors: Vec<&&Record> = window.iter().filter(|it| !it.ok()).collect();
    let refused = || window.iter().filter(|it| it.refused());
    json!({
        "scenario": scenario.name,
        "requests": window.len(),
        "sent": records.len(),
        "late_p99": percent(records.iter().map(late_ms), 0.99),
        "late_max": percent(records.iter().map(late_ms), 1.0),
        "wait_p50": percent(window.iter().filter_map(|it| waited(it)), 0.5),
        "wait_p99": percent(window.iter().filter_map(|it| waited(it)), 0.99),
        "stretch_p99": percent(window.iter().filter(|it| it.ok()).map(|it| stretch(it.latency_ns(), it.shot.work_us)), 0.99),
        "ok_p99": latency(window.iter().filter(|it| it.ok())),
        "held_p99": percent(window.iter().filter_map(|it| it.held_ns).map(|ns| ns as f64 / 1e6), 0.99),
        "queued_p99": percent(window.iter().filter_map(|it| queued(it)), 0.99),
        "errors": errors.len(),
        "error_last_s": errors.iter().map(|it| it.ended_ns.saturating_sub(from)).max().map(|ns| ns as f64 / 1e9),
        "slow_answers": window.iter().filter(|it| it.ok() && it.latency_ns() > DEADLINE_NS).count(),
        "served": share(&window, |_| true),
        "capacity": capacity(records, from, to),
        "refusals": refused().count(),
        "refusal_p99": latency(refused()),
        "retry_after": ratio(refused().filter(|it| retry_after(it).is_some()).count(), refused().count()),
        "retry_after_min_s": refused().filter_map(|it| retry_after(it)).min(),
        "retry_after_max_s": refused().filter_map(|it| retry_after(it)).max(),
        "recovery_s": recovery(records, to),
        "decided_ms": decided(&window, from),
        "checkout_served": share(&window, |it| it.shot.checkout),
        "checkout_p99": latency(window.iter().filter(|it| it.shot.checkout && it.ok())),
        // neither an answer nor a proper refusal
        "related_lost": ratio(
            window.iter().filter(|it| !it.shot.checkout && !it.good() && retry_after(it).is_none()).count(),
            window.iter().filter(|it| !it.shot.checkout).count(),
        ),
        "others_served": share(&window, |it| it.shot.tenant != NOISY),
        "others_p99": latency(window.iter().filter(|it| it.shot.tenant != NOISY && it.ok())),
        // what it would be if nobody ever waited
        "others_work_p99": percent(
            window.iter().filter(|it| it.shot.tenant != NOISY).map(|it| it.shot.work_us as f64 / 1000.0), 0.99),
        "ends": ends(&window),
    })
}

/// A line for each request, for whoever wants to look closer.
pub fn dump(records: &[Record]) -> String {
    let mut text =
        "at_ms,work_ms,method,class,tenant,late_ms,latency_ms,end,peer,held_ms,queued_ms\n".to_owned();
    for it in records {
        let (end, peer) = match it.end {
            End::Answered(answer) => (answer.status.to_string(), answer.peer),
            End::Broken => ("broken".into(), None),
            End::GaveUp => ("gave up".into(), None),
        };
        let or_empty = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.2}"));
        text += &format!(
            "{:.2},{:.2},{},{},t{},{:.2},{:.2},{end},{},{},{}\n",
            it.shot.at_ns as f64 / 1e6,
            it.shot.work_us as f64 / 1e3,
            if it.shot.post { "POST" } else { "GET" },
            if it.shot.checkout { "checkout" } else { "related" },
            it.shot.tenant,
            late_ms(it),
            it.latency_ns() as f64 / 1e6,
            peer.map_or(String::new(), |peer| peer.to_string()),
            or_empty(it.held_ns.map(|ns| ns as f64 / 1e6)),
            or_empty(queued(it)),
        );
    }
    text
}

/// How long it waited for a slot of its peer, in ms.
fn queued(it: &Record) -> Option<f64> {
    match it.end {
        End::Answered(answer) if answer.peer.is_some() => Some(answer.queued_us as f64 / 1e3),
        _ => None,
    }
}

fn late_ms(it: &Record) -> f64 {
    it.sent_ns.saturating_sub(it.shot.at_ns) as f64 / 1e6
}

/// A client that gave up has waited at least until then; a refusal or an error is no wait.
fn waited(it: &Record) -> Option<f64> {
    match it.end {
        End::GaveUp => Some(wait_ms(PATIENCE_NS, it.shot.work_us)),
        _ if it.ok() => Some(wait_ms(it.latency_ns(), it.shot.work_us)),
        _ => None,
    }
}

fn retry_after(it: &Record) -> Option<u64> {
    match it.end {
        End::Answered(answer) if it.refused() => answer.retry_after,
        _ => None,
    }
}

fn percent(values: impl Iterator<Item = f64>, q: f64) -> Option<f64> {
    percentile(&mut values.collect::<Vec<_>>(), q)
}

fn latency<'a>(records: impl Iterator<Item = &'a &'a Record>) -> Option<f64> {
    percent(records.map(|it| it.latency_ns() as f64 / 1e6), 0.99)
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64 * 100.0)
}

/// Of those that are meant, how many had a good answer.
fn share(window: &[&Record], meant: fn(&Record) -> bool) -> Option<f64> {
    let all = window.iter().filter(|it| meant(it));
    ratio(all.clone().filter(|it| it.good()).count(), all.count())
}

/// The work of good answers that came in the window, of the work that all slots could have done in it: in work and not
/// in requests, for the mean work of a few thousand requests is off by a percent or two.
fn capacity(records: &[Record], from: u64, to: u64) -> f64 {
    let done = records.iter().filter(|it| it.good() && (from..to).contains(&it.ended_ns));
    let work_ns: u64 = done.map(|it| it.shot.work_us as u64 * 1000).sum();
    work_ns as f64 / ((to - from) as f64 * (PEERS * SLOTS) as f64) * 100.0
}

/// How long after the load fell the last span of requests was sent of which many had no good answer, in seconds.
fn recovery(records: &[Record], fell: u64) -> Option<f64> {
    let mut spans: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for it in records.iter().filter(|it| it.shot.at_ns >= fell) {
        let span = spans.entry((it.shot.at_ns - fell) / SPAN_NS).or_default();
        span.0 += usize::from(it.good());
        span.1 += 1;
    }
    let last = spans.iter().rev().find(|(_, (good, all))| (*good as f64) < WELL * *all as f64);
    (!spans.is_empty()).then(|| last.map_or(0.0, |(span, _)| ((span + 1) * SPAN_NS) as f64 / 1e9))
}

/// From the beginning of the window until the third request that the gateway refused or let wait, in ms: the third, for
/// one may be chance.
fn decided(window: &[&Record], from: u64) -> Option<f64> {
    let when = |it: &&Record| {
        if it.refused() {
            Some(it.ended_ns - from)
        } else if it.held_ns.is_some_and(|held| held >= HELD_NS) {
            Some(it.sent_ns - from)
        } else {
            None
        }
    };
    let mut times: Vec<u64> = window.iter().filter_map(when).collect();
    times.sort_unstable();
    times.get(2).map(|ns| *ns as f64 / 1e6)
}

fn ends(window: &[&Record]) -> Value {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for it in window {
        let name = match it.end {
            End::Answered(answer) => answer.status.to_string(),
            End::Broken => "broken".into(),
            End::GaveUp => "gave up".into(),
        };
        *counts.entry(name).or_default() += 1;
    }
    json!(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Answer;
    use crate::scenario::{Mix, Phase};
    use crate::trace::Shot;

    /// A second of warming up, a second of measuring, a second after.
    fn scenario() -> Scenario {
        let phases = vec![Phase { seconds: 1.0, load: 1.0 }; 3];
        Scenario { name: "overload", phases, faults: Vec::new(), window: (1.0, 2.0), mix: Mix::Checkout }
    }

    fn record(at_ms: u64, took_ms: u64, end: End) -> Record {
        let at_ns = at_ms * 1_000_000;
        let shot = Shot {
            at_ns,
            work_us: 10_000,
            post: false,
            checkout: at_ms.is_multiple_of(2),
            tenant: (at_ms % 2) as u8,
        };
        Record {
            shot,
            sent_ns: at_ns + 100_000,
            ended_ns: at_ns + took_ms * 1_000_000,
            end,
            held_ns: Some(1000),
        }
    }

    fn status(status: u16, retry_after: Option<u64>) -> End {
        End::Answered(Answer { status, retry_after, ..Answer::default() })
    }

    #[test]
    fn what_is_measured_is_what_was_sent_in_the_window() {
        let ok = status(200, None);
        let records = [
            record(500, 900, ok),
            record(1000, 20, ok),
            record(1100, 600, ok),
            record(1201, 5, status(503, Some(1))),
            record(1301, 7, status(503, None)),
            record(1400, 1000, End::GaveUp),
            record(1501, 30, End::Broken),
            record(2000, 900, ok),
            record(2150, 20, ok),
        ];
        let said = report(&scenario(), &records);
        let is = |name: &str, value: Value| assert_eq!(said[name], value, "{name}");
        is("requests", json!(6));
        is("errors", json!(4));
        is("error_last_s", json!(1.4));
        is("slow_answers", json!(1));
        is("refusals", json!(2));
        is("refusal_p99", json!(7.0));
        is("retry_after", json!(50.0));
        is("wait_p99", json!(990.0));
        is("ok_p99", json!(600.0));
        is("late_p99", json!(0.1));
        // one good answer of 10 ms, in a second of sixteen slots
        is("capacity", json!(0.0625));
        is("recovery_s", json!(0.1));
        is("checkout_served", json!(1.0 / 3.0 * 100.0));
        // the one without Retry-After, and the broken one
        is("related_lost", json!(2.0 / 3.0 * 100.0));
        is("ends", json!({"200": 2, "503": 2, "broken": 1, "gave up": 1}));
    }

    #[test]
    fn a_dump_has_a_line_for_each_request() {
        let answered =
            End::Answered(Answer { status: 200, peer: Some(3), queued_us: 1500, ..Answer::default() });
        let said = dump(&[record(1000, 20, answered), record(1001, 1000, End::GaveUp)]);
        let lines: Vec<&str> = said.lines().skip(1).collect();
        assert_eq!(lines[0], "1000.00,10.00,GET,checkout,t0,0.10,20.00,200,3,0.00,1.50");
        assert_eq!(lines[1], "1001.00,10.00,GET,related,t1,0.10,1000.00,gave up,,0.00,");
    }

    #[test]
    fn the_third_decision_counts() {
        let mut records = vec![record(1010, 3, status(503, None)), record(1020, 3, status(503, None))];
        assert_eq!(report(&scenario(), &records)["decided_ms"], Value::Null);
        let mut held = record(1015, 40, status(200, None));
        held.held_ns = Some(HELD_NS);
        records.push(held);
        assert_eq!(report(&scenario(), &records)["decided_ms"], json!(23.0));
    }
}
