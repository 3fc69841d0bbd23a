//! `autoscale_eject [failures=5] [error_rate=50%] [latency=3x] [time=10s] [max=50%] [check=/uri] [every=5s]`.

use crate::autoscale::conf::unit::{count, duration_ms, quantity, Unit};
use crate::autoscale::conf::{ConfError, Options};

const KNOWN: &[&str] = &["failures", "error_rate", "latency", "time", "max", "check", "every"];
const FAILURES: u32 = 5;
const TIME_MS: u64 = 10_000;
const EVERY_MS: u64 = 5_000;
const HOUR_MS: u64 = 3_600_000;
/// An ejection grows up to this, unless `time=` is longer (Envoy's `max_ejection_time` is 300 s, too).
const MOST_TIME_MS: u64 = 300_000;
/// A check takes no longer than this, nor than half the time to the next one.
const MOST_CHECK_MS: u64 = 2_000;

/// What ejects a peer of an upstream, and for how long. A rule that is `off` is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// So many failures in a row.
    pub failures: Option<u32>,
    /// A share of its answers, 0 to 1.
    pub error_rate: Option<f64>,
    /// So many times the upstream's median.
    pub latency: Option<f64>,
    /// How long the first ejection takes, and over how long failures are counted.
    pub time_ms: u64,
    /// The largest share of the peers that is ejected at a time, 0 to 1.
    pub max: f64,
    pub check: Option<Check>,
}

/// What peers are asked without being sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub tls: bool,
    /// Path and query.
    pub uri: String,
    pub every_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: Some(FAILURES),
            error_rate: Some(0.5),
            latency: Some(3.0),
            time_ms: TIME_MS,
            max: 0.5,
            check: None,
        }
    }
}

impl Settings {
    /// From the words after `autoscale_eject`; `None` for `off`.
    pub fn parse(words: &[&str]) -> Result<Option<Self>, ConfError> {
        if words.first() == Some(&"off") {
            return match words.get(1) {
                None => Ok(None),
                Some(word) => Err(ConfError::value("parameter", word, "\"off\" stands alone")),
            };
        }
        let options = Options::parse(words, KNOWN)?;
        let usual = Self::default();
        Ok(Some(Self {
            failures: rule(&options, "failures", usual.failures, "write 1 to 1000, or off", failures)?,
            error_rate: rule(&options, "error_rate", usual.error_rate, "write 1% to 100%, or off", share)?,
            latency: rule(
                &options,
                "latency",
                usual.latency,
                "write how many times, 1.5x to 1000x, or off",
                times,
            )?,
            time_ms: time(&options, "time", 10)?.unwrap_or(usual.time_ms),
            max: options.text("max").map_or(Some(usual.max), share).ok_or_else(|| {
                ConfError::value("max", options.text("max").unwrap_or_default(), "write 1% to 100%")
            })?,
            check: check(&options)?,
        }))
    }

    /// How many failed checks in a row eject, and how many answers in a row end a probation.
    pub fn proof(&self) -> u32 {
        self.failures.unwrap_or(FAILURES)
    }

    /// How long an ejection takes that follows on `level` others.
    pub fn ejection_ms(&self, level: u32) -> u64 {
        let most = MOST_TIME_MS.max(self.time_ms);
        self.time_ms.saturating_mul(1 << level.min(32)).min(most)
    }

    /// How many of `n` peers may be ejected at a time. One may if there are others, whatever `max=` says, and the only one never.
    pub fn cap(&self, n: usize, has_spare: bool) -> usize {
        if n == 0 || (n == 1 && !has_spare) {
            return 0;
        }
        // 29 % of a hundred are 29, although 0.29 * 100.0 is a little less
        ((n as f64 * self.max + 1e-9) as usize).clamp(1, n)
    }
}

impl Check {
    /// How long one check may take.
    pub fn timeout_ms(&self) -> u64 {
        MOST_CHECK_MS.min(self.every_ms / 2)
    }

    /// How long a failed check keeps an ejected peer out: until the one after the next is over.
    pub fn hold_ms(&self) -> u64 {
        2 * self.every_ms + self.timeout_ms()
    }

    /// How many of `n` peers are asked at a time, so that a round ends before the next one even if nobody answers.
    pub fn at_once(&self, n: usize) -> usize {
        const FEWEST: usize = 8;
        let (timeout, room) = (self.timeout_ms() as usize, (self.every_ms * 4 / 5) as usize);
        (n * timeout).div_ceil(room.max(1)).max(FEWEST)
    }

    /// By when a round of `n` peers is over for sure, so that one who dies in the middle of it is replaced then.
    pub fn most_ms(&self, n: usize) -> u64 {
        const SLACK_MS: u64 = 500;
        (n.div_ceil(self.at_once(n)) as u64 + 1) * self.timeout_ms() + SLACK_MS
    }
}

/// A rule that can be switched off.
fn rule<T>(
    options: &Options<'_>,
    name: &'static str,
    usual: Option<T>,
    right: &str,
    read: fn(&str) -> Option<T>,
) -> Result<Option<T>, ConfError> {
    match options.text(name) {
        None => Ok(usual),
        Some("off") => Ok(None),
        Some(text) => read(text).map(Some).ok_or_else(|| ConfError::value(name, text, right)),
    }
}

fn failures(text: &str) -> Option<u32> {
    count(text).ok().filter(|n| (1..=1000).contains(n))
}

fn share(text: &str) -> Option<f64> {
    let share = quantity(text).ok().filter(|share| share.unit == Unit::Ratio)?.value;
    (0.01 - 1e-9..=1.0).contains(&share).then_some(share)
}

fn times(text: &str) -> Option<f64> {
    let times = quantity(text.strip_suffix('x')?).ok().filter(|times| times.unit == Unit::Plain)?.value;
    (1.5..=1000.0).contains(&times).then_some(times)
}

fn time(options: &Options<'_>, name: &'static str, least_ms: u64) -> Result<Option<u64>, ConfError> {
    let Some(ms) = options.get(name, duration_ms)? else { return Ok(None) };
    if (least_ms..=HOUR_MS).contains(&ms) {
        return Ok(Some(ms));
    }
    let right = format!("write {least_ms}ms to 1h");
    Err(ConfError::value(name, options.text(name).unwrap_or_default(), right))
}

fn check(options: &Options<'_>) -> Result<Option<Check>, ConfError> {
    let every = time(options, "every", 100)?;
    let Some(text) = options.text("check") else {
        return match every {
            None => Ok(None),
            Some(_) => Err(ConfError::missing("every=", "check=/uri: it says how often that is asked for")),
        };
    };
    let bare = text.strip_prefix("https:").or_else(|| text.strip_prefix("http:")).unwrap_or(text);
    let is_path = bare.starts_with('/') && !bare.starts_with("//");
    if !is_path || !bare.bytes().all(|c| c.is_ascii_graphic() && c != b'#') {
        let right = "write a path such as /health, or https:/health for peers that speak TLS";
        return Err(ConfError::value("check", text, right));
    }
    let tls = text.starts_with("https:");
    Ok(Some(Check { tls, uri: bare.into(), every_ms: every.unwrap_or(EVERY_MS) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_values_and_all_others() {
        assert_eq!(Settings::parse(&[]), Ok(Some(Settings::default())));
        assert_eq!(Settings::parse(&["off"]), Ok(None));
        let words = [
            "failures=3",
            "error_rate=20%",
            "latency=2.5x",
            "time=100ms",
            "max=30%",
            "check=https:/h?a=b",
            "every=1s",
        ];
        let check = Check { tls: true, uri: "/h?a=b".into(), every_ms: 1000 };
        let all = Settings {
            failures: Some(3),
            error_rate: Some(0.2),
            latency: Some(2.5),
            time_ms: 100,
            max: 0.3,
            check: Some(check),
        };
        assert_eq!(Settings::parse(&words), Ok(Some(all)));
        let few =
            Settings::parse(&["failures=off", "error_rate=off", "latency=off", "check=/"]).unwrap().unwrap();
        assert_eq!((few.failures, few.error_rate, few.latency), (None, None, None));
        assert_eq!(few.check.unwrap().every_ms, 5000);
    }

    #[test]
    fn bad_words_say_what_to_write() {
        let table: [(&[&str], &str); 15] = [
            (&["failure=3"], "unknown parameter \"failure=\" (did you mean \"failures\"?)"),
            (&["5"], "invalid parameter \"5\": write name=value; known are failures=, "),
            (&["failures=0"], "invalid failures \"0\": write 1 to 1000, or off"),
            (&["failures=2.5"], "write 1 to 1000"),
            (&["error_rate=0.5"], "invalid error_rate \"0.5\": write 1% to 100%, or off"),
            (&["error_rate=120%"], "write 1% to 100%"),
            (&["latency=3"], "invalid latency \"3\": write how many times, 1.5x to 1000x, or off"),
            (&["latency=1x"], "write how many times"),
            (&["time=5"], "write 5ms, 5s, 5m or 5h"),
            (&["time=1ms"], "invalid time \"1ms\": write 10ms to 1h"),
            (&["max=0%"], "invalid max \"0%\": write 1% to 100%"),
            (&["check=health"], "write a path such as /health, or https:/health"),
            (&["check=http://a/b"], "write a path such as"),
            (&["every=5s"], "\"every=\" needs check=/uri"),
            (&["off", "time=1s"], "\"off\" stands alone"),
        ];
        for (words, part) in table {
            let error = Settings::parse(words).unwrap_err().to_string();
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }

    #[test]
    fn times_grow_and_are_bounded() {
        let usual = Settings::default();
        let grown: Vec<u64> = (0..7).map(|level| usual.ejection_ms(level) / 1000).collect();
        assert_eq!(grown, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(Settings { time_ms: 900_000, ..usual.clone() }.ejection_ms(40), 900_000);
        let check = Check { tls: false, uri: "/".into(), every_ms: 5000 };
        assert_eq!((check.timeout_ms(), check.at_once(8), check.at_once(1000)), (2000, 8, 500));
        let seldom = Check { every_ms: HOUR_MS, ..check };
        assert_eq!((seldom.most_ms(8), seldom.most_ms(1000)), (4500, 252_500));
    }

    #[test]
    fn one_of_several_may_be_ejected_and_the_only_one_never() {
        let with = |max| Settings { max, ..Settings::default() };
        let caps = |max: f64| [0, 1, 2, 3, 4, 8].map(|n| with(max).cap(n, false));
        assert_eq!(caps(0.5), [0, 0, 1, 1, 2, 4]);
        assert_eq!(caps(0.1), [0, 0, 1, 1, 1, 1]);
        assert_eq!(caps(1.0), [0, 0, 2, 3, 4, 8]);
        assert_eq!(with(0.29).cap(100, false), 29);
        assert_eq!(with(0.5).cap(1, true), 1);
    }
}
