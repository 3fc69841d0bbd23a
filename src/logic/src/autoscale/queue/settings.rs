//! `autoscale_protect [limit=auto|N] [queue=N] [timeout=1s] [priority=$var] [fair=$var] [bytes=SIZE] [retry_budget=20%]`.

use crate::autoscale::conf::unit::{count, duration_ms, quantity, Unit};
use crate::autoscale::conf::{ConfError, Options};

const KNOWN: [&str; 7] = ["limit", "queue", "timeout", "priority", "fair", "bytes", "retry_budget"];
const MOST_LIMIT: u32 = 1_000_000;
const MOST_QUEUE: u32 = 16_384;
const LONGEST_MS: u64 = 10 * 60_000;

/// How an upstream is protected.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// At most so many in flight over all peers and workers; `None` is what is learnt of each peer.
    pub limit: Option<u32>,
    /// At most so many wait.
    pub queue: u32,
    /// None waits longer.
    pub timeout_us: u64,
    /// Variables, with their `$`.
    pub priority: Option<String>,
    pub fair: Option<String>,
    /// Memory of those that wait.
    pub bytes: u64,
    /// Retries are at most this share of the requests; `None` without a budget.
    pub retry_budget: Option<f64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limit: None,
            queue: 1024,
            timeout_us: 1_000_000,
            priority: None,
            fair: None,
            bytes: 64 << 20,
            retry_budget: Some(0.2),
        }
    }
}

impl Settings {
    /// From the words after `autoscale_protect`; `None` for `off`.
    pub fn parse(words: &[&str]) -> Result<Option<Self>, ConfError> {
        match words {
            ["off"] => return Ok(None),
            ["off", more, ..] => return Err(ConfError::value("parameter", more, "\"off\" stands alone")),
            _ => {}
        }
        let (options, default) = (Options::parse(words, &KNOWN)?, Self::default());
        Ok(Some(Self {
            limit: options.text("limit").map_or(Ok(default.limit), limit)?,
            queue: options.text("queue").map_or(Ok(default.queue), queue)?,
            timeout_us: options.text("timeout").map_or(Ok(default.timeout_us), timeout)?,
            priority: variable(&options, "priority")?,
            fair: variable(&options, "fair")?,
            bytes: options.text("bytes").map_or(Ok(default.bytes), bytes)?,
            retry_budget: options.text("retry_budget").map_or(Ok(default.retry_budget), budget)?,
        }))
    }
}

fn limit(text: &str) -> Result<Option<u32>, ConfError> {
    match count(text) {
        _ if text == "auto" => Ok(None),
        Ok(n) if (1..=MOST_LIMIT).contains(&n) => Ok(Some(n)),
        _ => {
            let right = "write auto, or how many requests the upstream gets at a time";
            Err(ConfError::value("limit", text, right))
        }
    }
}

fn queue(text: &str) -> Result<u32, ConfError> {
    match count(text) {
        Ok(n) if n <= MOST_QUEUE => Ok(n),
        _ => Err(ConfError::value("queue", text, "write how many requests may wait, from 0 to 16384")),
    }
}

fn timeout(text: &str) -> Result<u64, ConfError> {
    match duration_ms(text)? {
        ms @ 1..=LONGEST_MS => Ok(ms * 1000),
        _ => Err(ConfError::value("timeout", text, "write a time from 1ms to 10m")),
    }
}

/// `1m` as nginx has it, which is no minute.
fn bytes(text: &str) -> Result<u64, ConfError> {
    let bad =
        || ConfError::value("bytes", text, "write how much memory those that wait may hold, such as 64m");
    let (number, shift) = match text.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G']) {
        Some(number) => (number, 10 * (1 + "kmg".find(&text[number.len()..].to_lowercase()).unwrap_or(0))),
        None => (text, 0),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    if number.leading_zeros() as usize <= shift + 24 {
        return Err(bad());
    }
    Ok(number << shift)
}

fn budget(text: &str) -> Result<Option<f64>, ConfError> {
    match quantity(text) {
        _ if text == "off" => Ok(None),
        Ok(share) if share.unit == Unit::Ratio && share.value <= 1.0 => Ok(Some(share.value)),
        _ => Err(ConfError::value(
            "retry_budget",
            text,
            "write off, or a share of the requests from 0% to 100%",
        )),
    }
}

fn variable(options: &Options<'_>, name: &'static str) -> Result<Option<String>, ConfError> {
    match options.text(name) {
        Some(text) if !text.contains('$') => {
            Err(ConfError::value(name, text, format!("write a variable, such as {name}=$http_x_{name}")))
        }
        found => Ok(found.map(str::to_string)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Settings>, ConfError> {
        Settings::parse(&text.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn everything_has_a_default() {
        assert_eq!(parse(""), Ok(Some(Settings::default())));
        assert_eq!(parse("off"), Ok(None));
        assert_eq!(parse("limit=auto retry_budget=20%"), Ok(Some(Settings::default())));
    }

    #[test]
    fn every_parameter_reads() {
        let all =
            "limit=16 queue=2k timeout=250ms priority=$arg_p fair=$http_tenant bytes=8m retry_budget=off";
        let right = Settings {
            limit: Some(16),
            queue: 2000,
            timeout_us: 250_000,
            priority: Some("$arg_p".into()),
            fair: Some("$http_tenant".into()),
            bytes: 8 << 20,
            retry_budget: None,
        };
        assert_eq!(parse(all), Ok(Some(right)));
        for (text, right) in [("512", 512), ("1k", 1024), ("2G", 2 << 30)] {
            assert_eq!(bytes(text), Ok(right), "{text}");
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        let table = [
            ("16", "write name=value"),
            ("limits=16", "did you mean"),
            ("limit=0", "write auto, or how many"),
            ("limit=many", "write auto, or how many"),
            ("queue=-1", "how many requests may wait"),
            ("queue=20k", "from 0 to 16384"),
            ("timeout=5", "write 5ms"),
            ("timeout=0s", "from 1ms to 10m"),
            ("timeout=1h", "from 1ms to 10m"),
            ("priority=3", "such as priority=$http_x_priority"),
            ("fair=tenant", "such as fair=$http_x_fair"),
            ("bytes=lots", "such as 64m"),
            ("bytes=99999999999g", "such as 64m"),
            ("retry_budget=2", "share of the requests"),
            ("retry_budget=120%", "share of the requests"),
            ("off queue=1", "stands alone"),
            ("queue=1 queue=2", "duplicate"),
        ];
        for (text, part) in table {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
