//! `autoscale_limit`, and the same in the words of a script.

use super::options::{name, Options};
use super::target::Endpoint;
use super::unit::{count, duration_ms, quantity, Unit};
use super::{ConfError, Result};
use crate::autoscale::admit::rate::Rate;
use crate::autoscale::admit::window::{self, Window};
use crate::autoscale::admit::{Declared, Failure, Kind, Shared};

const USAGE: &str = "autoscale_limit NAME rate=N/s|N/m|N/h [burst=N] | window=TIME limit=N \
                     [global=redis:HOST[:PORT]/PREFIX [on_failure=local|allow|deny] [ca_file=FILE] [secret_file=FILE]] | concurrency=N";
const OPTIONS: &[&str] =
    &["rate", "burst", "window", "limit", "concurrency", "global", "on_failure", "ca_file", "secret_file"];
/// Places of a worker are counted in sixteen bits.
const MOST_AT_ONCE: u32 = 65_535;

/// Units a second of `100`, `100/s`, `100r/s` (nginx writes it so), `6k/m`, `1M/h`, `10/d`.
pub fn rate(text: &str) -> Result<f64> {
    let wrong = || ConfError::value("rate", text, "write for example 100/s, 100r/s or 6k/m");
    let (number, per) = text.split_once('/').unwrap_or((text, "s"));
    let seconds = match per {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let number = quantity(number.strip_suffix('r').unwrap_or(number)).map_err(|_| wrong())?;
    let fits = number.unit == Unit::Plain && number.value > 0.0 && number.value / seconds <= 1e9;
    fits.then_some(number.value / seconds).ok_or_else(wrong)
}

/// A window, its length in seconds or with a unit.
pub fn window(length: &str, limit: u32) -> Result<Window> {
    let wrong = || ConfError::value("window", length, "write a time from 1s to 31d");
    let plain = length.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let ms = duration_ms(&if plain { format!("{length}s") } else { length.into() }).map_err(|_| wrong())?;
    if !(1000..=31 * 86_400_000).contains(&ms) {
        return Err(wrong());
    }
    if !(1..=window::MOST).contains(&limit) {
        let right = format!("write a number from 1 to {}", window::MOST);
        return Err(ConfError::value("limit", &limit.to_string(), right));
    }
    Ok(Window { limit, length_us: ms * 1000 })
}

/// So many at once.
pub fn concurrency(most: u32) -> Result<Kind> {
    if !(1..=MOST_AT_ONCE).contains(&most) {
        let right = format!("write a number from 1 to {MOST_AT_ONCE}");
        return Err(ConfError::value("concurrency", &most.to_string(), right));
    }
    Ok(Kind::Flight(most))
}

impl Declared {
    /// From the words after `autoscale_limit`.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let usage = || ConfError::usage("autoscale_limit", USAGE);
        let (first, rest) = words.split_first().ok_or_else(usage)?;
        let options = Options::parse(rest, OPTIONS)?;
        let number = |name| options.get(name, count);
        let (burst, limit) = (number("burst")?, number("limit")?);
        let kind = match (options.text("rate"), options.text("window"), number("concurrency")?) {
            (Some(text), None, None) if limit.is_none() => {
                Kind::Rate(Rate::new(rate(text)?, burst.unwrap_or(0)))
            }
            (None, Some(length), None) if burst.is_none() => {
                Kind::Window(window(length, limit.ok_or_else(|| ConfError::missing("window=", "limit="))?)?)
            }
            (None, None, Some(most)) if burst.is_none() && limit.is_none() => concurrency(most)?,
            _ => return Err(usage()),
        };
        let shared = options.text("global").map(|place| shared(place, &options)).transpose()?;
        if shared.is_none()
            && ["on_failure", "ca_file", "secret_file"].iter().any(|o| options.text(o).is_some())
        {
            return Err(ConfError::missing("on_failure=, ca_file= and secret_file=", "global="));
        }
        if shared.is_some() && matches!(kind, Kind::Flight(_)) {
            let right =
                "what is in flight is known to one nginx alone: write rate= or window=, or leave global= out";
            return Err(ConfError::value("global limit", first, right));
        }
        Ok(Self { name: name("limit", first)?, kind, shared })
    }
}

fn shared(place: &str, options: &Options) -> Result<Shared> {
    let wrong = || ConfError::value("global", place, "write redis:HOST[:PORT]/PREFIX");
    let address = place.strip_prefix("redis:").ok_or_else(wrong)?;
    let (at, prefix) =
        Endpoint::parse(address, 6379).filter(|(_, prefix)| !prefix.is_empty()).ok_or_else(wrong)?;
    let failure = match options.text("on_failure") {
        None | Some("local") => Failure::Local,
        Some("allow") => Failure::Allow,
        Some("deny") => Failure::Deny,
        Some(word) => return Err(ConfError::value("on_failure", word, "write local, allow or deny")),
    };
    Ok(Shared {
        at,
        prefix: prefix.into(),
        failure,
        ca_file: options.file("ca_file")?,
        secret_file: options.file("secret_file")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Declared> {
        Declared::parse(&line.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn every_kind_reads() {
        let kind = |line| parse(line).unwrap().kind;
        assert_eq!(kind("a rate=100r/s burst=20"), Kind::Rate(Rate::new(100.0, 20)));
        assert_eq!(kind("a rate=6k/m"), Kind::Rate(Rate::new(100.0, 0)));
        assert_eq!(
            kind("a window=1m limit=1000"),
            Kind::Window(Window { limit: 1000, length_us: 60_000_000 })
        );
        assert_eq!(kind("a concurrency=20"), Kind::Flight(20));
        assert_eq!(window("60", 5), window("1m", 5));
        let shared =
            parse("a rate=1/s global=redis:h:1/p on_failure=deny secret_file=s").unwrap().shared.unwrap();
        assert_eq!((shared.at.host.as_str(), shared.at.port, shared.prefix.as_str()), ("h", 1, "p"));
        assert_eq!((shared.failure, shared.secret_file.as_deref()), (Failure::Deny, Some("s")));
    }

    #[test]
    fn what_is_wrong_says_what_is_right() {
        for (line, says) in [
            ("a", "is written autoscale_limit NAME rate="),
            ("a rate=1/s window=1m limit=3", "is written"),
            ("a rate=1/s limit=3", "is written"),
            ("a rate=0/s", "write for example 100/s"),
            ("a rate=1/x", "write for example 100/s"),
            ("a rate=10ms", "write for example 100/s"),
            ("a rate=2000M/s", "write for example 100/s"),
            ("a window=1m", "needs limit="),
            ("a window=1ms limit=1", "write a time from 1s to 31d"),
            ("a window=1m limit=0", "write a number from 1 to"),
            ("a concurrency=0", "write a number from 1 to 65535"),
            ("a/b rate=1/s", "letters, digits"),
            ("a rate=1/s on_failure=deny", "needs global="),
            ("a rate=1/s global=redis:h", "write redis:HOST[:PORT]/PREFIX"),
            ("a rate=1/s global=etcd:h/x", "write redis:HOST[:PORT]/PREFIX"),
            ("a rate=1/s global=redis:h/x on_failure=no", "write local, allow or deny"),
            ("a concurrency=1 global=redis:h/x", "one nginx alone"),
        ] {
            let said = parse(line).unwrap_err().to_string();
            assert!(said.contains(says), "{line}: {said}");
        }
    }
}
