//! `autoscale_policy NAME [target=T] { … }`, line by line.

use super::options::{name, Options};
use super::{behavior, rules, ConfError, Result};
use crate::autoscale::policy::behavior::Behavior;
use crate::autoscale::policy::state::RULES;
use crate::autoscale::policy::{
    Ahead, Condition, Cooldown, Does, Limits, Line, Policy, Rule, Threshold, Track, Watched,
};
use crate::autoscale::signal::{hint, Signal};
use jiff::tz::TimeZone;

const LINES: &[&str] = &[
    "up",
    "down",
    "track",
    "limit",
    "cooldown",
    "behavior",
    "schedule",
    "forecast",
    "do",
    "mode",
    "by_lua_block",
];
/// Of step lines, when nothing is said: what AWS and KEDA call cooldown, long enough to see what the last step did.
const STEPPING: Cooldown = Cooldown { up_us: 60_000_000, down_us: 300_000_000 };
/// Of tracking without panic, when nothing is said: Kubernetes' downscale stabilisation.
const STABILISE_S: u32 = 300;

/// Where time zones come from: the bytes of the zoneinfo file of a name, or why there is none.
pub type Zones<'a> = &'a dyn Fn(&str) -> core::result::Result<Vec<u8>, String>;

/// A policy being read: words in, a [`Policy`] out.
pub struct PolicyBuilder {
    policy: Policy,
    cooldown: Option<Cooldown>,
    behaviors: [Option<Behavior>; 2],
    forecast: Option<(String, u64, u64, bool)>,
    limited: bool,
    scripts: usize,
}

impl PolicyBuilder {
    /// From the words after `autoscale_policy`.
    pub fn new(words: &[&str]) -> Result<Self> {
        let usage = "autoscale_policy NAME [target=TARGET] { lines }";
        let (first, rest) = words.split_first().ok_or_else(|| ConfError::usage("autoscale_policy", usage))?;
        let options = Options::parse(rest, &["target"])?;
        let target = options.text("target").map(|target| name("target", target)).transpose()?;
        let limits = Limits { min: None, max: u32::MAX, rate: None, stale: 0 };
        Ok(Self {
            policy: Policy {
                name: name("policy", first)?,
                target,
                signals: Vec::new(),
                rules: Vec::new(),
                limits,
                cooldown: Cooldown::default(),
                up: Behavior::default(),
                down: Behavior::default(),
                actions: Vec::new(),
                observe: false,
            },
            cooldown: None,
            behaviors: [None, None],
            forecast: None,
            limited: false,
            scripts: 0,
        })
    }

    /// One line of the block, by its words. Of `by_lua_block` only the word counts: keep the code in the order of the blocks.
    pub fn line(&mut self, words: &[&str], zones: Zones<'_>) -> Result<()> {
        let (first, rest) = words.split_first().ok_or_else(|| ConfError::usage("", "a line of a policy"))?;
        let policy = &mut self.policy;
        let signals = &mut policy.signals;
        let mut slots = |signal: Signal| slot(signals, signal);
        match *first {
            "up" => {
                let (line, text) = rules::line(rest, true, &mut slots)?;
                self.rule(text, Does::Up(line))
            }
            "down" => {
                let (line, text) = rules::line(rest, false, &mut slots)?;
                self.rule(text, Does::Down(line))
            }
            "track" => {
                let track = rules::track(rest, &mut slots)?;
                self.rule(words.join(" "), Does::Track(track))
            }
            "schedule" => {
                let schedule = rules::schedule(rest, |tz| zone(tz, zones))?;
                self.rule(
                    format!("schedule \"{}\" {}", rest[0], rest[1..].join(" ")),
                    Does::Schedule(schedule),
                )
            }
            "forecast" => {
                let (period_ms, lead_ms, observe) = rules::forecast(rest)?;
                let found = (words.join(" "), period_ms, lead_ms, observe);
                once(self.forecast.replace(found).is_some(), "line", "forecast")
            }
            "limit" => {
                once(core::mem::replace(&mut self.limited, true), "line", "limit")?;
                behavior::limit(rest, &mut policy.limits)
            }
            "cooldown" => {
                once(self.cooldown.is_some(), "line", "cooldown")?;
                behavior::cooldown(rest, &mut self.cooldown, STEPPING)
            }
            "behavior" => {
                let (up, found) = behavior::behavior(rest)?;
                let which = if up { "behavior up" } else { "behavior down" };
                once(self.behaviors[usize::from(up)].replace(found).is_some(), "line", which)
            }
            "do" => {
                policy.actions.push(rules::action(rest)?);
                Ok(())
            }
            "mode" if rest == ["observe"] => {
                policy.observe = true;
                Ok(())
            }
            "mode" => Err(ConfError::usage("mode", "\"mode observe\": decide and log, write nothing")),
            "by_lua_block" => {
                self.scripts += 1;
                self.rule(format!("by_lua_block {}", self.scripts), Does::Script(self.scripts - 1))
            }
            other => {
                let hint = hint(other, LINES.iter().copied());
                let known = LINES.join(", ");
                Err(ConfError::Unknown { what: "line of a policy", word: other.into(), hint, known })
            }
        }
    }

    fn rule(&mut self, text: String, does: Does) -> Result<()> {
        if self.policy.rules.len() >= RULES {
            return Err(self.wrong(format!("more than {RULES} lines that wish; split it into two policies")));
        }
        self.policy.rules.push(Rule { text, does });
        Ok(())
    }

    fn wrong(&self, why: impl Into<String>) -> ConfError {
        ConfError::Policy { policy: self.policy.name.clone(), why: why.into() }
    }

    /// The whole policy, checked.
    pub fn finish(mut self) -> Result<Policy> {
        self.add_forecast()?;
        let policy = &self.policy;
        if policy.rules.is_empty() {
            return Err(
                self.wrong("no line wishes anything; write up, down, track, schedule or by_lua_block")
            );
        }
        if policy.target.is_none() && policy.actions.is_empty() {
            return Err(self.wrong(
                "it has neither a target nor a do line, so it could do nothing; write target=TARGET",
            ));
        }
        if policy.limits.max == 0 {
            return Err(self.wrong("limit max=0 leaves nothing; leave the policy out, or write mode observe"));
        }
        if policy.limits.least() > policy.limits.max {
            let (min, max) = (policy.limits.least(), policy.limits.max);
            return Err(self.wrong(format!("limit min={min} is more than max={max}")));
        }
        if let Some(why) = self.contradiction() {
            return Err(self.wrong(why));
        }
        self.defaults();
        Ok(self.policy)
    }

    fn add_forecast(&mut self) -> Result<()> {
        let Some((text, period_ms, lead_ms, observe)) = self.forecast.take() else { return Ok(()) };
        let tracks = self.policy.rules.iter().filter_map(|rule| match &rule.does {
            Does::Track(track) if track.share == crate::autoscale::policy::hpa::Share::Total => Some(*track),
            _ => None,
        });
        let [Track { slot, per, .. }] = tracks.collect::<Vec<_>>()[..] else {
            return Err(self.wrong("forecast foresees the signal that is tracked: write one track line, of a total such as a rate"));
        };
        self.rule(text, Does::Forecast(Ahead { slot, per, period_ms, lead_ms, observe }))
    }

    /// An `up` and a `down` line of one signal that can both hold would swing for ever.
    fn contradiction(&self) -> Option<String> {
        let rules = &self.policy.rules;
        let ups = rules.iter().filter_map(|rule| match &rule.does {
            Does::Up(line) => Some((line, &rule.text)),
            _ => None,
        });
        let downs = || {
            rules.iter().filter_map(|rule| match &rule.does {
                Does::Down(line) => Some((line, &rule.text)),
                _ => None,
            })
        };
        let pairs = ups.flat_map(|up| downs().map(move |down| (up, down)));
        let mut bad = pairs.filter(|((up, _), (down, _))| overlap(up, down)).map(|((_, up), (_, down))| {
            format!("\"{up}\" and \"{down}\" can both be true; leave a gap between them")
        });
        bad.next()
    }

    fn defaults(&mut self) {
        let policy = &mut self.policy;
        let any = |which: fn(&Does) -> bool| policy.rules.iter().any(|rule| which(&rule.does));
        let steps = any(|does| matches!(does, Does::Up(_) | Does::Down(_)));
        let tracks = any(|does| matches!(does, Does::Track(track) if track.panic.is_none()));
        policy.cooldown = self.cooldown.unwrap_or(if steps { STEPPING } else { Cooldown::default() });
        let window_s = if tracks { STABILISE_S } else { 0 };
        let [down, up] = core::mem::take(&mut self.behaviors);
        policy.up = up.unwrap_or_default();
        policy.down = down.unwrap_or(Behavior { window_s, ..Behavior::default() });
    }
}

fn once(again: bool, what: &'static str, name: &str) -> Result<()> {
    if again {
        return Err(ConfError::Duplicate { what, name: name.into() });
    }
    Ok(())
}

fn slot(signals: &mut Vec<Watched>, signal: Signal) -> usize {
    signals.iter().position(|watched| watched.signal == signal).unwrap_or_else(|| {
        signals.push(Watched::new(signal));
        signals.len() - 1
    })
}

/// Both of one signal, against fixed values, "up above" and "down below" with the upper line not above the lower one; or of the same
/// direction.
fn overlap(up: &Line, down: &Line) -> bool {
    let (
        Condition { threshold: Threshold::Fixed(high), op: above, .. },
        Condition { threshold: Threshold::Fixed(low), op: below, .. },
    ) = (up.condition, down.condition)
    else {
        return false;
    };
    up.condition.slot == down.condition.slot
        && match (above.is_upper(), below.is_upper()) {
            (true, false) => low > high || low == high && above.holds(high, high) && below.holds(high, high),
            (false, true) => high > low || low == high && above.holds(high, high) && below.holds(high, high),
            _ => true,
        }
}

/// A zone by name from the caller, or a POSIX TZ string such as `CET-1CEST,M3.5.0,M10.5.0/3`.
fn zone(text: &str, zones: Zones<'_>) -> Result<TimeZone> {
    if text == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let bad = |why: String| {
        ConfError::value("tz", text, format!("{why}; write a name such as Europe/Berlin, or a POSIX rule such as CET-1CEST,M3.5.0,M10.5.0/3"))
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
    let is_name =
        text.chars().all(legal) && !text.starts_with('/') && text.split('/').all(|part| !part.is_empty());
    match if is_name { zones(text) } else { Err("not the name of a zone".into()) } {
        Ok(bytes) => TimeZone::tzif(text, &bytes).map_err(|e| bad(e.to_string())),
        Err(why) => match text.contains(|c: char| c.is_ascii_digit()).then(|| TimeZone::posix(text)) {
            Some(Ok(zone)) => Ok(zone),
            _ => Err(bad(why)),
        },
    }
}
