//! The record of an evaluation, for the decision log and for `explain`.

use super::verdict::{Evaluation, Outcome, Seen, Verdict, Why};
use super::{Policy, Watched};
use crate::autoscale::signal::{Metric, Signal};
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::Write;

/// One record: one JSON object of the decision log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    pub policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The number of the decision; none when nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// `scale`, `would` (observing) or `stay`.
    pub action: &'static str,
    /// Why, in words.
    pub reason: String,
    /// The rule that had the highest wish, as it was written.
    pub rule: Option<String>,
    pub current: Option<u32>,
    pub ready: Option<u32>,
    pub wish: u32,
    pub after_limits: u32,
    pub after_cooldown: u32,
    pub signals: Vec<Input>,
    pub rules: Vec<Said>,
    /// What the write led to and how long it took in milliseconds: filled in by whoever wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
}

/// One JSON object and a line feed. There is nothing in a record that JSON has no words for.
fn line(record: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(record).unwrap_or_default();
    line.push(b'\n');
    line
}

impl Decision {
    /// A line of the decision log.
    pub fn line(&self) -> Vec<u8> {
        line(self)
    }
}

/// What the write of a decision led to: its second line in the log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settled<'a> {
    pub time: String,
    pub policy: &'a str,
    pub target: &'a str,
    pub id: u64,
    /// `written` or `failed`.
    pub action: &'static str,
    pub result: String,
    pub latency_ms: f64,
}

impl<'a> Settled<'a> {
    /// `written` is the number of replicas that there is now, or why there is none.
    pub fn new(
        policy: &'a str,
        target: &'a str,
        id: u64,
        written: core::result::Result<u32, &str>,
        took_us: u64,
        unix_ms: u64,
    ) -> Self {
        let (action, result) = match written {
            Ok(replicas) => ("written", format!("{replicas} replicas")),
            Err(why) => ("failed", format!("failed: {why}")),
        };
        let latency_ms = took_us as f64 / 1e3;
        Self { time: rfc3339(unix_ms), policy, target, id, action, result, latency_ms }
    }

    /// A line of the decision log.
    pub fn line(&self) -> Vec<u8> {
        line(self)
    }
}

/// A signal as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Input {
    pub signal: String,
    pub value: Option<f64>,
    /// Seconds.
    pub age: f64,
    pub samples: u64,
    pub stale: bool,
}

/// What a rule said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    pub rule: String,
    pub says: String,
}

impl Policy {
    /// The record of an evaluation at a time of the wall clock.
    pub fn decision(&self, evaluation: &Evaluation, unix_ms: u64) -> Decision {
        let inputs = self.signals.iter().zip(&evaluation.seen).map(|(watched, seen)| Input {
            signal: watched.signal.to_string(),
            value: seen.reading.value.filter(|value| value.is_finite()),
            age: seen.reading.age,
            samples: seen.reading.samples,
            stale: seen.stale,
        });
        let said = self.rules.iter().zip(&evaluation.verdicts);
        let said = said.map(|(rule, verdict)| Said { rule: rule.text.clone(), says: self.says(verdict) });
        Decision {
            time: rfc3339(unix_ms),
            policy: self.name.clone(),
            target: self.target.clone(),
            id: Some(evaluation.id).filter(|id| *id != 0),
            action: match evaluation.outcome {
                Outcome::Scale { .. } => "scale",
                Outcome::Would { .. } => "would",
                Outcome::Stay(_) => "stay",
            },
            reason: self.explain(evaluation),
            rule: evaluation.rule.map(|n| self.rules[n].text.clone()),
            current: evaluation.replicas.map(|replicas| replicas.wanted),
            ready: evaluation.replicas.map(|replicas| replicas.ready),
            wish: evaluation.wish,
            after_limits: evaluation.after_limits,
            after_cooldown: evaluation.after_cooldown,
            signals: inputs.collect(),
            rules: said.collect(),
            result: None,
            latency_ms: None,
        }
    }

    /// In one line what is done and why, or why nothing is done.
    pub fn explain(&self, evaluation: &Evaluation) -> String {
        let current = evaluation.replicas.map_or(0, |replicas| replicas.wanted);
        let stays = |why: String| format!("stays at {current}: {why}");
        let asks = |wish: u32| format!("{wish} wanted by {}", self.whom(evaluation));
        match evaluation.outcome {
            Outcome::Scale { from, to } => format!("from {from} to {to}: {}", asks(evaluation.wish)),
            Outcome::Would { from, to } => format!("would go from {from} to {to}: {}", asks(evaluation.wish)),
            Outcome::Stay(why) => match why {
                Why::Enough => stays(self.quiet(evaluation)),
                Why::Off => "autoscale is off".into(),
                Why::NoTarget => "the policy has no target".into(),
                Why::Unknown => "how many replicas there are is not known".into(),
                Why::Paused => stays("somebody scaled the target to zero; scale it up to resume".into()),
                Why::Stale { slot } => {
                    stays(format!("{} is stale, so nothing is taken away", self.signal(slot)))
                }
                Why::Stabilising { wish } => {
                    stays(format!("{}, but the stabilisation window remembers otherwise", asks(wish)))
                }
                Why::TooFast { wish } => {
                    stays(format!("{}, but as many have changed lately as may", asks(wish)))
                }
                Why::AtMax { wish } => {
                    stays(format!("{}, but {} is the maximum", asks(wish), self.limits.max))
                }
                Why::AtMin { wish } => {
                    stays(format!("{}, but {} is the minimum", asks(wish), self.limits.least()))
                }
                Why::Cooldown { wish, left_s } => {
                    stays(format!("{}, but the cooldown lasts {left_s:.1} s more", asks(wish)))
                }
                Why::Held { wish, left_s } => {
                    stays(format!("{}, but a script holds the policy for {left_s:.1} s more", asks(wish)))
                }
                Why::Pending { wish, to } => {
                    stays(format!("{}, but the change to {to} is still being written", asks(wish)))
                }
            },
        }
    }

    fn whom(&self, evaluation: &Evaluation) -> String {
        if let Some(reason) = &evaluation.asked {
            return match reason.as_str() {
                "" => "a script".into(),
                reason => format!("a script: {reason}"),
            };
        }
        let Some(rule) = evaluation.rule.and_then(|n| self.rules.get(n)) else {
            return "the bounds".into();
        };
        if let Some(reason) = &evaluation.reason {
            return format!("\"{}\" ({reason})", rule.text);
        }
        // what held for single requests is not what the window's average says
        if let super::Does::Up(super::Line { hold: super::Hold::Requests(n), .. }) = rule.does {
            return match n {
                1 => format!("\"{}\" (so when a request ended)", rule.text),
                n => format!("\"{}\" (so for the last {n} requests)", rule.text),
            };
        }
        let slot = rule.slot();
        let seen = slot.and_then(|slot| Some((self.signals.get(slot)?, evaluation.seen.get(slot)?)));
        match seen.and_then(|(watched, seen)| value(watched, seen)) {
            Some(value) => format!("\"{}\" (it is {value})", rule.text),
            None => format!("\"{}\"", rule.text),
        }
    }

    /// Why nobody asks: what the rules said, without repeating "no".
    fn quiet(&self, evaluation: &Evaluation) -> String {
        let mut text = String::from("no rule asks for a change");
        for (rule, verdict) in self.rules.iter().zip(&evaluation.verdicts) {
            let tells =
                !matches!(verdict, Verdict::Quiet | Verdict::NotNow | Verdict::Wish(_) | Verdict::Floor(_));
            if tells {
                let _ = write!(text, "; \"{}\": {}", rule.text, self.says(verdict));
            }
        }
        text
    }

    fn signal(&self, slot: usize) -> String {
        self.signals.get(slot).map(|watched| watched.signal.to_string()).unwrap_or_default()
    }

    fn says(&self, verdict: &Verdict) -> String {
        match verdict {
            Verdict::Quiet => "not so".into(),
            Verdict::NotNow => "looked at every tick".into(),
            Verdict::Holding { held, of, unit } => {
                format!("so for {}{unit} of {}{unit}", short(*held), short(*of))
            }
            Verdict::Wish(n) => format!("{n} replicas"),
            Verdict::Floor(n) => format!("at least {n} replicas"),
            Verdict::Observed(n) => format!("would ask for at least {n} replicas"),
            Verdict::NoValue { slot } => format!("{} has no fresh value", self.signal(*slot)),
            Verdict::Learning { seen_s, of_s } => {
                format!("has seen {} s of {} s", short(*seen_s), short(*of_s))
            }
            Verdict::Inferior => "no better than the present so far".into(),
            Verdict::Failed(why) => format!("failed: {why}"),
        }
    }
}

impl super::Rule {
    fn slot(&self) -> Option<usize> {
        match &self.does {
            super::Does::Up(line) | super::Does::Down(line) => Some(line.condition.slot),
            super::Does::Track(track) => Some(track.slot),
            super::Does::Forecast(ahead) => Some(ahead.slot),
            _ => None,
        }
    }
}

/// A value in the unit of its signal.
fn value(watched: &Watched, seen: &Seen) -> Option<String> {
    let value = seen.reading.value?;
    let Signal { metric, slope, .. } = &watched.signal;
    let text = match metric {
        Metric::Latency | Metric::Ttfb | Metric::Connect if value.abs() < 1.0 => {
            format!("{}ms", short(value * 1e3))
        }
        Metric::Latency | Metric::Ttfb | Metric::Connect => format!("{}s", short(value)),
        Metric::ErrorRate | Metric::Cpu | Metric::Mem => format!("{}%", short(value * 100.0)),
        _ => short(value),
    };
    Some(if *slope { text + "/s" } else { text })
}

/// Four digits, without zeros that say nothing.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// UTC, with milliseconds.
pub fn rfc3339(unix_ms: u64) -> String {
    let time = Timestamp::from_millisecond(unix_ms as i64).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
