//! `autoscale_split $variable { … }`, line by line.

use super::options::Options;
use super::rules::{comparison, fixed};
use super::unit::{duration_ms, quantity, Unit};
use super::{ConfError, Result};
use crate::autoscale::signal::{hint, Scope, Signal};
use crate::autoscale::split::{Arm, Guard, Split, Step, Than, WHOLE};

const USAGE: &str =
    "autoscale_split $VARIABLE { UPSTREAM 95%; UPSTREAM 5%; guard …; step …; key $VARIABLE; }";
const GUARD: &str =
    "\"guard UPSTREAM.METRIC <= UPSTREAM.METRIC + 1% min=200r\", \"… * 1.2\", or a value such as 500ms";
const STEP: &str = "\"step +10% every=5m [max=50%]\"";
/// Requests on which a guard is judged, unless it says so.
const MIN: u64 = 100;
/// How far a guard looks back where neither it nor a step says so, and at most.
const WINDOW_S: u64 = 60;
const LONGEST_S: u64 = 3600;

/// A split being read: words in, a [`Split`] out.
pub struct SplitBuilder {
    variable: String,
    arms: Vec<Arm>,
    /// Their words: which window they mean is known when the step is.
    guards: Vec<Vec<String>>,
    step: Option<Step>,
    key: Option<String>,
}

impl SplitBuilder {
    /// From the words after `autoscale_split`.
    pub fn new(words: &[&str]) -> Result<Self> {
        let [word] = words else { return Err(ConfError::usage("autoscale_split", USAGE)) };
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let variable = word.strip_prefix('$').filter(|name| !name.is_empty() && name.chars().all(legal));
        let variable = variable.ok_or_else(|| {
            ConfError::value("variable", word, "write a dollar, letters, digits and \"_\": $backend")
        })?;
        let (arms, guards) = (Vec::new(), Vec::new());
        Ok(Self { variable: variable.into(), arms, guards, step: None, key: None })
    }

    /// One line of the block, by its words.
    pub fn line(&mut self, words: &[&str]) -> Result<()> {
        match words {
            ["guard", rest @ ..] => {
                self.guards.push(rest.iter().map(|word| (*word).to_string()).collect());
                Ok(())
            }
            ["step", rest @ ..] => once(self.step.replace(step(rest)?).is_some(), "step"),
            ["key", text] if text.contains('$') => once(self.key.replace((*text).into()).is_some(), "key"),
            ["key", ..] => Err(ConfError::usage(
                "key",
                "\"key $VARIABLE\": what tells users apart, such as $cookie_user",
            )),
            [upstream, share] => {
                if self.arms.iter().any(|arm| arm.upstream == *upstream) {
                    return Err(ConfError::Duplicate { what: "upstream", name: (*upstream).into() });
                }
                let share = percent("share", share)?;
                self.arms.push(Arm { upstream: (*upstream).into(), share });
                Ok(())
            }
            _ => Err(ConfError::usage(
                words.join(" "),
                "\"UPSTREAM 5%\", \"guard …\", \"step …\" or \"key $VARIABLE\"",
            )),
        }
    }

    /// The whole split, checked.
    pub fn finish(self) -> Result<Split> {
        if self.arms.len() < 2 {
            return Err(ConfError::missing("autoscale_split", "two upstreams at least, each with its share"));
        }
        let sum: u32 = self.arms.iter().map(|arm| arm.share).sum();
        if sum != WHOLE {
            let sum = format!("{}%", f64::from(sum) / 100.0);
            return Err(ConfError::value("sum of the shares", &sum, "it must be 100%"));
        }
        let window_s = self.step.map_or(WINDOW_S, |step| (step.every_us / 1_000_000).clamp(1, LONGEST_S));
        let (mut guards, mut moving) = (Vec::new(), None);
        for words in &self.guards {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let (guard, arm) = self.guard(&words, window_s)?;
            if moving.replace(arm).is_some_and(|other| other != arm) {
                let right = "all guards of a split are about one upstream, the one that may grow";
                return Err(ConfError::value("guard", &guard.text, right));
            }
            guards.push(guard);
        }
        let moving = moving.unwrap_or(self.arms.len() - 1);
        let fixed: u32 =
            self.arms.iter().enumerate().skip(1).filter(|(i, _)| *i != moving).map(|(_, a)| a.share).sum();
        let mut step = self.step;
        if let Some(Step { max, .. }) = &mut step {
            let (arm, most) = (&self.arms[moving], WHOLE - fixed);
            // all that there is
            *max = if *max == WHOLE { most } else { *max };
            let max = *max;
            if max > most || max < arm.share {
                let right = format!(
                    "upstream \"{}\" begins with {}% and can have {}% at most",
                    arm.upstream,
                    f64::from(arm.share) / 100.0,
                    f64::from(most) / 100.0
                );
                return Err(ConfError::value("max", &format!("{}%", f64::from(max) / 100.0), right));
            }
        }
        let Self { variable, arms, key, .. } = self;
        Ok(Split { variable, arms, moving, guards, step, key })
    }

    /// A guard, and the number of the arm that it is about.
    fn guard(&self, words: &[&str], window_s: u64) -> Result<(Guard, usize)> {
        let [left, op, right, rest @ ..] = words else { return Err(ConfError::usage("guard", GUARD)) };
        let (signal, arm) = self.signal(left, window_s)?;
        if arm == 0 {
            let why =
                "the first upstream has what the others leave: the one that may grow stands on the left";
            return Err(ConfError::value("guard", left, why));
        }
        let op = comparison(op)?;
        let is_signal = self.arms.iter().any(|arm| right.starts_with(&format!("{}.", arm.upstream)));
        let (than, rest) = match rest {
            _ if !is_signal => (Than::Value(fixed(&signal, right)?), rest),
            ["+", plus, rest @ ..] => {
                let (other, _) = self.signal(right, window_s)?;
                (Than::Signal { signal: other, times: 1.0, plus: fixed(&signal, plus)? }, rest)
            }
            ["*", times, rest @ ..] => {
                let times = times
                    .parse()
                    .ok()
                    .filter(|n: &f64| n.is_finite() && *n > 0.0)
                    .ok_or_else(|| ConfError::value("factor", times, "write a number such as 1.2"))?;
                (Than::Signal { signal: self.signal(right, window_s)?.0, times, plus: 0.0 }, rest)
            }
            rest => (Than::Signal { signal: self.signal(right, window_s)?.0, times: 1.0, plus: 0.0 }, rest),
        };
        let options = Options::parse(rest, &["min"])?;
        let min = options.text("min").map_or(Ok(MIN), |text| {
            let number = text.strip_suffix('r').unwrap_or(text).parse().ok().filter(|n| *n > 0);
            number.ok_or_else(|| ConfError::value("min", text, "write a number of requests, such as 200r"))
        })?;
        Ok((Guard { text: words.join(" "), signal, op, than, min }, arm))
    }

    /// A signal of an arm, which is written `UPSTREAM.METRIC[.STAT][@WINDOW]`.
    fn signal(&self, text: &str, window_s: u64) -> Result<(Signal, usize)> {
        let windowed = if text.contains('@') { text.to_string() } else { format!("{text}@{window_s}s") };
        let signal: Signal = format!("upstream.{windowed}").parse()?;
        let Scope::Upstream(name) = &signal.scope else { return Err(ConfError::usage("guard", GUARD)) };
        match self.arms.iter().position(|arm| arm.upstream == *name) {
            Some(arm) => Ok((signal, arm)),
            None => {
                let hint = hint(name, self.arms.iter().map(|arm| arm.upstream.as_str()));
                Err(ConfError::NoSuch { what: "upstream in this split called", name: name.clone(), hint })
            }
        }
    }
}

fn step(words: &[&str]) -> Result<Step> {
    let [by, rest @ ..] = words else { return Err(ConfError::usage("step", STEP)) };
    let Some(by) = by.strip_prefix('+') else { return Err(ConfError::usage("step", STEP)) };
    let options = Options::parse(rest, &["every", "max"])?;
    let every_ms = options
        .get("every", duration_ms)?
        .ok_or_else(|| ConfError::missing("step", "every=: how long between two steps, such as 5m"))?;
    if every_ms < 1000 {
        return Err(ConfError::value("every", options.text("every").unwrap_or(""), "write 1s or more"));
    }
    let by = percent("step", by)?;
    if by == 0 {
        return Err(ConfError::value("step", "0%", "write how much is added, such as +10%"));
    }
    let max = options.text("max").map_or(Ok(WHOLE), |text| percent("max", text))?;
    Ok(Step { by, every_us: every_ms * 1000, max })
}

/// A part of [`WHOLE`].
fn percent(what: &'static str, text: &str) -> Result<u32> {
    let right = "write a part from 0% to 100%, with two digits after the point at most";
    let quantity = quantity(text)?;
    let parts = quantity.value * f64::from(WHOLE);
    let legal =
        quantity.unit == Unit::Ratio && parts <= f64::from(WHOLE) && (parts - parts.round()).abs() < 1e-6;
    legal.then_some(parts.round() as u32).ok_or_else(|| ConfError::value(what, text, right))
}

fn once(again: bool, name: &str) -> Result<()> {
    if again {
        return Err(ConfError::Duplicate { what: "line", name: name.into() });
    }
    Ok(())
}
