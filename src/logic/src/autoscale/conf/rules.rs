//! The lines of a policy that wish: `up`, `down`, `track`, `schedule`, `forecast`, and `do`.

use super::options::{name, Options};
use super::unit::{count, duration_ms, quantity, seconds, Unit};
use super::{ConfError, Result};
use crate::autoscale::policy::hpa::{Share, TOLERANCE};
use crate::autoscale::policy::kpa::Panic;
use crate::autoscale::policy::schedule::Schedule;
use crate::autoscale::policy::{
    Action, Class, Condition, Hold, Line, Op, PanicTrack, Step, Threshold, Track,
};
use crate::autoscale::signal::{Metric, Scope, Signal, Stat, Window};
use jiff::tz::TimeZone;

pub(super) const UP: &str =
    "\"up SIGNAL > VALUE [for=W] by=+N|+N%\", for example \"up upstream.app.latency > 500ms for=5m by=+2\"";
pub(super) const DOWN: &str =
    "\"down SIGNAL < VALUE [for=W] by=-N|-N%\", for example \"down upstream.app.latency < 150ms for=10m by=-1\"";
pub(super) const TRACK: &str =
    "\"track SIGNAL per=N [tolerance=10%] [panic=200%:6s]\", for example \"track upstream.app.rate@1m per=80\"";
pub(super) const SCHEDULE: &str =
    "\"schedule \"CRON\" [before=W] [for=W] [tz=ZONE] min=N\", for example 'schedule \"0 9 * * fri\" before=15m for=2h min=20'";
pub(super) const FORECAST: &str = "\"forecast period=1d lead=5m [observe]\"";
pub(super) const DO: &str =
    "\"do shed CLASS\", \"do route UPSTREAM [CLASS]\", \"do throttle KEY RATE\" or \"do notify TARGET\"";
/// How many requests a series remembers one by one, and a key.
const REQUESTS: u32 = 64;
const KEY_REQUESTS: u32 = 16;
/// The longest `before=` and `for=` of a schedule.
const LONGEST_FLOOR_S: u32 = 14 * 86_400;
/// Knative's own panic window is at least a second.
const PANIC: (f64, f64) = (1.1, 10.0);

/// The signals of a policy, each once.
pub(super) type Slots<'a> = &'a mut dyn FnMut(Signal) -> usize;

/// `SIGNAL OP VALUE [baseline@W] [for=W] by=STEP`; `up` says which line it is.
pub(super) fn line(words: &[&str], up: bool, slots: Slots<'_>) -> Result<(Line, String)> {
    let (what, usage) = if up { ("up", UP) } else { ("down", DOWN) };
    let bad = || ConfError::usage(what, usage);
    let [signal, op, value, rest @ ..] = words else { return Err(bad()) };
    let parsed: Signal = signal.parse()?;
    let op = comparison(op)?;
    let (threshold, rest) = match rest {
        [baseline, rest @ ..] if baseline.starts_with("baseline") => (adaptive(value, baseline)?, rest),
        _ if value.ends_with('x') => {
            return Err(ConfError::value("threshold", value, "write what it multiplies: 2x baseline@1d"));
        }
        _ => (Threshold::Fixed(fixed(&parsed, value)?), rest),
    };
    let options = Options::parse(rest, &["for", "by"])?;
    let hold = options.text("for").map_or(Ok(Hold::Now), |text| hold(text, &parsed))?;
    let by = options
        .text("by")
        .ok_or_else(|| ConfError::missing(what, if up { "by=+N or by=+N%" } else { "by=-N or by=-N%" }))?;
    let by = step(by, up)?;
    let text = format!("{what} {}", words.join(" "));
    Ok((Line { condition: Condition { slot: slots(parsed), op, threshold }, hold, by }, text))
}

/// The unit that values of a signal have; `None` when only its reporter knows.
fn unit(signal: &Signal) -> Option<Unit> {
    match signal.metric {
        Metric::Latency | Metric::Ttfb | Metric::Connect => Some(Unit::Time),
        Metric::ErrorRate | Metric::Cpu | Metric::Mem => Some(Unit::Ratio),
        Metric::Value => None,
        _ => Some(Unit::Plain),
    }
}

pub(super) fn comparison(text: &str) -> Result<Op> {
    Ok(match text {
        ">" => Op::Above,
        ">=" => Op::AtLeast,
        "<" => Op::Below,
        "<=" => Op::AtMost,
        other => return Err(ConfError::value("comparison", other, "write >, >=, < or <=")),
    })
}

/// A value that a signal may be compared with.
pub(super) fn fixed(signal: &Signal, text: &str) -> Result<f64> {
    // only what rises and falls, or is anybody's number, can be below zero
    let may_be_negative = signal.slope || matches!(signal.metric, Metric::Value);
    let (sign, digits) = match text.strip_prefix('-').filter(|_| may_be_negative) {
        Some(digits) => (-1.0, digits),
        None => (1.0, text),
    };
    let quantity = quantity(digits)?;
    let right = match unit(signal) {
        Some(Unit::Time) if quantity.unit != Unit::Time => "is a time: write for example 500ms or 2s",
        Some(Unit::Ratio) if quantity.unit != Unit::Ratio => "is a ratio: write for example 80%",
        Some(Unit::Plain) if quantity.unit != Unit::Plain => "is a plain number: write for example 100 or 2k",
        _ => return Ok(sign * quantity.value),
    };
    Err(ConfError::value("threshold", text, format!("{} {right}", signal.metric.word())))
}

fn adaptive(factor: &str, baseline: &str) -> Result<Threshold> {
    let right = "write for example 2x baseline@1d";
    let times =
        factor.strip_suffix('x').and_then(|n| n.parse::<f64>().ok()).filter(|n| n.is_finite() && *n > 0.0);
    let factor = times.ok_or_else(|| ConfError::value("threshold", factor, right))?;
    let window =
        baseline.strip_prefix("baseline@").ok_or_else(|| ConfError::value("threshold", baseline, right))?;
    let window_s = f64::from(seconds(window, 60)?);
    Ok(Threshold::Baseline { factor, window_s })
}

/// `for=`: a time, `3x` ticks, `11r` requests.
fn hold(text: &str, signal: &Signal) -> Result<Hold> {
    let whole = |digits: &str| digits.parse::<u32>().ok().filter(|n| *n > 0);
    if let Some(n) = text.strip_suffix('x') {
        let right = "write how many ticks in a row, such as for=3x";
        return whole(n).map(Hold::Ticks).ok_or_else(|| ConfError::value("for", text, right));
    }
    if let Some(n) = text.strip_suffix('r') {
        let right = "write how many requests in a row, such as for=11r";
        let n = whole(n).ok_or_else(|| ConfError::value("for", text, right))?;
        let each = matches!(signal.metric, Metric::Latency | Metric::Errors | Metric::ErrorRate)
            && matches!(
                signal.scope,
                Scope::Upstream(_) | Scope::Peer { .. } | Scope::Key { value: Some(_), .. }
            )
            && matches!(signal.stat, Stat::Avg | Stat::Ewma)
            && !signal.slope;
        let most = match signal.scope {
            _ if !each => 1,
            Scope::Key { .. } => KEY_REQUESTS,
            _ => REQUESTS,
        };
        return match n {
            n if n <= most => Ok(Hold::Requests(n)),
            _ if !each => {
                let right = "single requests are remembered of latency, errors and error_rate of an upstream, a peer or a key \
                             value; write 1r (at the end of a request), a time or ticks";
                Err(ConfError::value("for", text, right))
            }
            _ => Err(ConfError::value("for", text, format!("the last {most} requests are remembered"))),
        };
    }
    match duration_ms(text)? {
        0 => Ok(Hold::Now),
        ms => Ok(Hold::Time(ms * 1000)),
    }
}

fn step(text: &str, up: bool) -> Result<Step> {
    let sign = if up { '+' } else { '-' };
    let right = format!("write by={sign}N or by={sign}N%");
    let bad = || ConfError::value("by", text, right.clone());
    let n = text.strip_prefix(sign).ok_or_else(bad)?;
    let quantity = quantity(n).map_err(|_| bad())?;
    let signed = if up { quantity.value } else { -quantity.value };
    match quantity.unit {
        _ if quantity.value == 0.0 => Err(bad()),
        Unit::Plain => Ok(Step::Replicas(if up { 1 } else { -1 } * i64::from(count(n)?))),
        Unit::Ratio if !up && quantity.value > 1.0 => Err(bad()),
        Unit::Ratio => Ok(Step::Part(signed)),
        Unit::Time => Err(bad()),
    }
}

/// `track SIGNAL per=N [tolerance=10%] [panic=200%:6s]`.
pub(super) fn track(words: &[&str], slots: Slots<'_>) -> Result<Track> {
    let (signal, rest) = words.split_first().ok_or_else(|| ConfError::usage("track", TRACK))?;
    let signal: Signal = signal.parse()?;
    let options = Options::parse(rest, &["per", "tolerance", "panic"])?;
    let per =
        options.text("per").ok_or_else(|| ConfError::missing("track", "per=: what one replica takes"))?;
    let per_value = fixed(&signal, per)?;
    if per_value <= 0.0 {
        return Err(ConfError::value("per", per, "write more than 0"));
    }
    if signal.slope {
        return Err(ConfError::value(
            "track",
            &signal.to_string(),
            "a slope is not divided among replicas; write an up line",
        ));
    }
    let mean = matches!(unit(&signal), Some(Unit::Time | Unit::Ratio));
    let share = if mean { Share::Mean } else { Share::Total };
    let tolerance = options.get("tolerance", ratio)?.unwrap_or(TOLERANCE);
    let panic = options.text("panic").map(|text| panic(text, &signal, share, slots)).transpose()?;
    Ok(Track { slot: slots(signal), per: per_value, share, tolerance, panic })
}

fn ratio(text: &str) -> Result<f64> {
    let quantity = quantity(text)?;
    let fits = quantity.unit == Unit::Ratio && quantity.value < 1.0;
    fits.then_some(quantity.value).ok_or_else(|| ConfError::value("tolerance", text, "write for example 10%"))
}

fn panic(text: &str, signal: &Signal, share: Share, slots: Slots<'_>) -> Result<PanicTrack> {
    let bad = |right: &str| ConfError::value("panic", text, right);
    let (threshold, window) =
        text.split_once(':').ok_or_else(|| bad("write a threshold and a window: panic=200%:6s"))?;
    let threshold = quantity(threshold)?;
    if threshold.unit != Unit::Ratio || !(PANIC.0..=PANIC.1).contains(&threshold.value) {
        return Err(bad("the threshold is 110% to 1000% of the replicas that are ready"));
    }
    let window_s = seconds(window, 1)?;
    let Window::Seconds(stable_s) = signal.window else {
        return Err(bad("the signal needs a window of time: write for example @1m"));
    };
    if share == Share::Mean {
        return Err(bad("panic needs a signal that is a total: a rate, requests in flight, a queue"));
    }
    if window_s >= stable_s {
        return Err(bad(&format!(
            "the panic window must be shorter than the signal's own, {}",
            signal.window
        )));
    }
    let slot = slots(Signal { window: Window::Seconds(window_s), ..signal.clone() });
    Ok(PanicTrack { slot, stable_s, panic: Panic { threshold: threshold.value, window_s } })
}

/// `schedule "CRON" [before=W] [for=W] [tz=ZONE] min=N`.
pub(super) fn schedule(words: &[&str], zone: impl FnOnce(&str) -> Result<TimeZone>) -> Result<Schedule> {
    let (cron, rest) = words.split_first().ok_or_else(|| ConfError::usage("schedule", SCHEDULE))?;
    if rest.first().is_some_and(|word| !word.contains('=')) {
        return Err(ConfError::value(
            "schedule",
            &words.join(" "),
            "quote the cron expression: schedule \"0 9 * * *\" min=N",
        ));
    }
    let options = Options::parse(rest, &["before", "for", "tz", "min"])?;
    let span = |name: &str, default: u32| match options.get(name, |text| seconds(text, 0))? {
        Some(s) if s > LONGEST_FLOOR_S => {
            Err(ConfError::value(name, options.text(name).unwrap_or(""), "the longest is 14d"))
        }
        found => Ok(found.unwrap_or(default)),
    };
    let min = options
        .get("min", count)?
        .ok_or_else(|| ConfError::missing("schedule", "min=: how many replicas"))?;
    Ok(Schedule {
        cron: cron.parse()?,
        before_s: span("before", 0)?,
        for_s: span("for", 60)?.max(60),
        zone: options.text("tz").map_or(Ok(TimeZone::UTC), zone)?,
        min,
    })
}

/// What `forecast` says: period, lead, observe.
pub(super) fn forecast(words: &[&str]) -> Result<(u64, u64, bool)> {
    if words.is_empty() {
        return Err(ConfError::usage("forecast", FORECAST));
    }
    let observe = words.contains(&"observe");
    let rest: Vec<&str> = words.iter().copied().filter(|word| *word != "observe").collect();
    let options = Options::parse(&rest, &["period", "lead"])?;
    let needed = |name: &str, needs| {
        options.get(name, duration_ms)?.ok_or_else(|| ConfError::missing("forecast", needs))
    };
    let period_ms = needed("period", "period=: after what time the load returns, such as 1d or 1w")?;
    let lead_ms = needed("lead", "lead=: how far to look ahead, such as the start time of a replica")?;
    let slot_ms = crate::autoscale::policy::forecast::slots(period_ms).1;
    let longest_ms = slot_ms * (crate::autoscale::policy::forecast::LATELY as u64 - 2);
    if slot_ms < 1000 {
        return Err(ConfError::value("period", options.text("period").unwrap_or(""), "write 5m or more"));
    }
    if lead_ms == 0 || lead_ms > longest_ms {
        let right = format!("with this period write up to {} s", longest_ms / 1000);
        return Err(ConfError::value("lead", options.text("lead").unwrap_or(""), right));
    }
    Ok((period_ms, lead_ms, observe))
}

/// `do …`.
pub(super) fn action(words: &[&str]) -> Result<Action> {
    Ok(match words {
        ["shed", class] => Action::Shed(Class::parse(class)),
        ["route", to] => Action::Route { to: (*to).into(), class: None },
        ["route", to, class] => Action::Route { to: (*to).into(), class: Some(Class::parse(class)) },
        ["throttle", key, rate] => {
            let text = rate.strip_suffix("r/s").unwrap_or(rate);
            let rate = quantity(text)?;
            if rate.unit != Unit::Plain || rate.value <= 0.0 {
                return Err(ConfError::value("rate", text, "write requests a second, such as 50"));
            }
            Action::Throttle { key: name("key", key)?, rate: rate.value }
        }
        ["notify", target] => Action::Notify((*target).into()),
        _ => return Err(ConfError::usage("do", DO)),
    })
}
