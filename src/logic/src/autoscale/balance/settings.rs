//! `autoscale_balance peak_ewma | least_request | llm | off [decay=10s] [slow_start=30s] [feedback=$var]`.

use crate::autoscale::conf::unit::duration_ms;
use crate::autoscale::conf::{ConfError, Options};

const USAGE: &str =
    "autoscale_balance peak_ewma [decay=10s] | least_request | off [slow_start=30s] [feedback=$variable]";
const RULES: [&str; 4] = ["peak_ewma", "least_request", "llm", "off"];
const DECAY_MS: u64 = 10_000;
const SLOW_START_MS: u64 = 30_000;

/// What a peer costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// Its latency times what it has in flight.
    #[default]
    PeakEwma,
    /// What it has in flight.
    LeastRequest,
}

/// How an upstream balances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub rule: Rule,
    /// How long a latency is remembered.
    pub decay_us: u64,
    /// How long a new or recovered peer takes to get its full share; zero is at once.
    pub slow_start_us: u64,
    /// The variable, with its `$`, that holds the load which a peer reports.
    pub feedback: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rule: Rule::PeakEwma,
            decay_us: DECAY_MS * 1000,
            slow_start_us: SLOW_START_MS * 1000,
            feedback: None,
        }
    }
}

impl Settings {
    /// From the words after `autoscale_balance`; `None` for `off`.
    pub fn parse(words: &[&str]) -> Result<Option<Self>, ConfError> {
        let [word, rest @ ..] = words else { return Err(ConfError::usage("autoscale_balance", USAGE)) };
        let rule = match *word {
            "peak_ewma" => Rule::PeakEwma,
            "least_request" => Rule::LeastRequest,
            "llm" => {
                let right = "this build cannot balance by tokens yet; write peak_ewma";
                return Err(ConfError::value("rule", word, right));
            }
            "off" if rest.is_empty() => return Ok(None),
            "off" => return Err(ConfError::value("parameter", rest[0], "\"off\" stands alone")),
            _ => return Err(ConfError::unknown("rule", word, &RULES)),
        };
        let known: &[&str] = match rule {
            Rule::PeakEwma => &["decay", "slow_start", "feedback"],
            Rule::LeastRequest => &["slow_start", "feedback"],
        };
        let options = Options::parse(rest, known)?;
        let time = |name: &str, usual: u64, least: u64, right: &str| {
            let ms = options.get(name, duration_ms)?.unwrap_or(usual);
            let bad = (ms < least && ms != 0) || ms > 3_600_000 || (ms == 0 && name == "decay");
            let text = options.text(name).unwrap_or_default();
            if bad {
                Err(ConfError::value(name, text, right))
            } else {
                Ok(ms * 1000)
            }
        };
        let feedback = options.text("feedback").map(variable).transpose()?;
        Ok(Some(Self {
            rule,
            decay_us: time("decay", DECAY_MS, 100, "write 100ms to 1h")?,
            slow_start_us: time("slow_start", SLOW_START_MS, 100, "write 100ms to 1h, or 0 for none")?,
            feedback,
        }))
    }
}

/// One variable, `$name` or `${name}`.
fn variable(text: &str) -> Result<String, ConfError> {
    let bare = text
        .strip_prefix('$')
        .map(|name| name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name));
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match bare {
        Some(name) if !name.is_empty() && name.chars().all(legal) => Ok(format!("${name}")),
        _ => Err(ConfError::value("feedback", text, "write one variable, such as $upstream_http_x_load")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_holds_and_the_rest_is_usual() {
        let usual = Settings::default();
        let table = [
            ("peak_ewma", usual.clone()),
            ("least_request", Settings { rule: Rule::LeastRequest, ..usual.clone() }),
            ("peak_ewma decay=2s", Settings { decay_us: 2_000_000, ..usual.clone() }),
            ("peak_ewma slow_start=0", Settings { slow_start_us: 0, ..usual.clone() }),
            (
                "peak_ewma slow_start=1m feedback=${upstream_http_x_load}",
                Settings {
                    slow_start_us: 60_000_000,
                    feedback: Some("$upstream_http_x_load".into()),
                    ..usual
                },
            ),
        ];
        for (text, right) in table {
            let words: Vec<_> = text.split(' ').collect();
            assert_eq!(Settings::parse(&words), Ok(Some(right)), "{text}");
        }
        assert_eq!(Settings::parse(&["off"]), Ok(None));
    }

    #[test]
    fn errors_say_what_to_write() {
        let table = [
            ("", "is written autoscale_balance peak_ewma"),
            ("peek_ewma", "unknown rule \"peek_ewma\" (did you mean \"peak_ewma\"?)"),
            ("llm", "cannot balance by tokens yet; write peak_ewma"),
            ("off decay=1s", "\"off\" stands alone"),
            ("least_request decay=1s", "unknown parameter \"decay=\"; known are slow_start=, feedback="),
            ("peak_ewma decay=0", "invalid decay \"0\": write 100ms to 1h"),
            ("peak_ewma decay=5", "has no unit"),
            ("peak_ewma slow_start=2h", "write 100ms to 1h, or 0 for none"),
            ("peak_ewma feedback=load", "write one variable, such as $upstream_http_x_load"),
            ("peak_ewma feedback=$a$b", "write one variable"),
            ("peak_ewma feedback=$", "write one variable"),
            ("peak_ewma decay=1s decay=2s", "duplicate"),
        ];
        for (text, part) in table {
            let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
            let error = Settings::parse(&words).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
