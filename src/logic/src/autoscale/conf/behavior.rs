//! `behavior up|down`, `limit`, `cooldown`.

use super::options::Options;
use super::unit::{count, duration_ms, quantity, seconds, Unit};
use super::{ConfError, Result};
use crate::autoscale::policy::behavior::{Amount, Behavior, Rule, Select, RULES};
use crate::autoscale::policy::{Cooldown, Limits};

pub(super) const BEHAVIOR: &str =
    "behavior up|down [window=W] [select=max|min|disabled] [N/PERIOD | N%/PERIOD] …, for example \"behavior up 4/15s 100%/15s\"";
pub(super) const LIMIT: &str = "limit [min=N] [max=N] [rate=N|N%] [stale=hold|N]";
pub(super) const COOLDOWN: &str = "cooldown [up=W] [down=W]";
/// The longest stabilisation window and period, as Kubernetes has them.
const LONGEST_WINDOW_S: u32 = 3600;
const LONGEST_PERIOD_S: u32 = 1800;

/// `up`? and the brakes.
pub(super) fn behavior(words: &[&str]) -> Result<(bool, Behavior)> {
    let usage = || ConfError::usage("behavior", BEHAVIOR);
    let (&direction, rest) = words.split_first().ok_or_else(usage)?;
    let up = match direction {
        "up" => true,
        "down" => false,
        _ => return Err(usage()),
    };
    if rest.is_empty() {
        return Err(usage());
    }
    let (rules, named): (Vec<&str>, Vec<&str>) = rest.iter().partition(|word| word.contains('/'));
    let options = Options::parse(&named, &["window", "select"])?;
    let mut behavior = Behavior::default();
    if let Some(window_s) = options.get("window", |text| seconds(text, 0))? {
        if window_s > LONGEST_WINDOW_S {
            return Err(ConfError::value(
                "window",
                options.text("window").unwrap_or(""),
                "the longest is 1h",
            ));
        }
        behavior.window_s = window_s;
    }
    behavior.select = match options.text("select") {
        None | Some("max") => Select::Max,
        Some("min") => Select::Min,
        Some("disabled") => Select::Disabled,
        Some(other) => return Err(ConfError::value("select", other, "write max, min or disabled")),
    };
    if rules.len() > RULES {
        return Err(ConfError::value("behavior", direction, format!("write at most {RULES} rules")));
    }
    behavior.rules = rules.into_iter().map(rule).collect::<Result<_>>()?;
    Ok((up, behavior))
}

fn rule(word: &str) -> Result<Rule> {
    let bad = || {
        ConfError::value("rule", word, "write a number or per cent and a period, such as 4/15s or 100%/1m")
    };
    let (amount_text, period) = word.split_once('/').ok_or_else(bad)?;
    let period_s = seconds(period, 1)?;
    if period_s > LONGEST_PERIOD_S {
        return Err(ConfError::value("period", period, "the longest is 30m"));
    }
    Ok(Rule { amount: amount(amount_text).ok_or_else(bad)?, period_s })
}

/// `4` or `100%`, not nothing.
fn amount(text: &str) -> Option<Amount> {
    let quantity = quantity(text).ok()?;
    match quantity.unit {
        Unit::Plain if quantity.value >= 1.0 => count(text).ok().map(Amount::Replicas),
        Unit::Ratio if quantity.value > 0.0 => Some(Amount::Part(quantity.value)),
        _ => None,
    }
}

pub(super) fn limit(words: &[&str], limits: &mut Limits) -> Result<()> {
    if words.is_empty() {
        return Err(ConfError::usage("limit", LIMIT));
    }
    let options = Options::parse(words, &["min", "max", "rate", "stale"])?;
    if let Some(min) = options.get("min", count)? {
        limits.min = Some(min);
    }
    if let Some(max) = options.get("max", count)? {
        limits.max = max;
    }
    if let Some(text) = options.text("rate") {
        // "/m" is how one reads it
        let rate = amount(text.strip_suffix("/m").unwrap_or(text));
        let right =
            "write how many replicas, or what part of them, may change in a minute: rate=4 or rate=50%";
        limits.rate = Some(rate.ok_or_else(|| ConfError::value("rate", text, right))?);
    }
    limits.stale = match options.text("stale") {
        None | Some("hold") => limits.stale,
        Some(text) => count(text).map_err(|_| {
            ConfError::value(
                "stale",
                text,
                "write hold, or how many replicas there are at least while a signal is stale",
            )
        })?,
    };
    Ok(())
}

pub(super) fn cooldown(words: &[&str], cooldown: &mut Option<Cooldown>, default: Cooldown) -> Result<()> {
    if words.is_empty() {
        return Err(ConfError::usage("cooldown", COOLDOWN));
    }
    let options = Options::parse(words, &["up", "down"])?;
    let us = |name| options.get(name, |text| duration_ms(text).map(|ms| ms * 1000));
    *cooldown = Some(Cooldown {
        up_us: us("up")?.unwrap_or(default.up_us),
        down_us: us("down")?.unwrap_or(default.down_us),
    });
    Ok(())
}
