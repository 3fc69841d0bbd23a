//! `autoscale_signal NAME URL [every=5s] [stale=30s] [metric=a,b | path=/json/pointer]`.

use super::options::{name, Options};
use super::unit::duration_ms;
use super::{ConfError, Result};
use crate::autoscale::policy::Watched;
use crate::text::url::Url;

const USAGE: &str = "autoscale_signal NAME URL [every=5s] [stale=30s] [metric=a,b | path=/json/pointer]";
const EVERY_MS: u64 = 5000;

/// A signal that is polled.
#[derive(Clone, Debug, PartialEq)]
pub struct External {
    pub name: String,
    pub url: String,
    pub every_ms: u64,
    /// From this age on it is stale, in seconds.
    pub stale_s: f64,
    pub payload: Payload,
}

/// What the answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Prometheus text: the named metrics (`ext.NAME.METRIC`), or all of them.
    Prometheus(Vec<String>),
    /// JSON: one number (or a text that is one) at a pointer (RFC 6901). A PromQL instant query is `/data/result/0/value/1`.
    Json(String),
}

impl External {
    /// From the words after `autoscale_signal`.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let [first, url, rest @ ..] = words else { return Err(ConfError::usage("autoscale_signal", USAGE)) };
        let url = http_url("url", url)?;
        if let Err(error) = Url::parse(url.as_bytes()) {
            return Err(ConfError::value("url", &url, error.why()));
        }
        let options = Options::parse(rest, &["every", "stale", "metric", "path"])?;
        let every_ms = options.get("every", duration_ms)?.unwrap_or(EVERY_MS);
        if !(100..=3_600_000).contains(&every_ms) {
            return Err(ConfError::value("every", options.text("every").unwrap_or(""), "write 100ms to 1h"));
        }
        let stale_ms = options.get("stale", duration_ms)?;
        let stale_ms = stale_ms.unwrap_or(((Watched::STALE_S * 1000.0) as u64).max(2 * every_ms));
        if stale_ms <= every_ms {
            let right =
                format!("it must outlast every={every_ms}ms, or the signal is stale between two polls");
            return Err(ConfError::value("stale", options.text("stale").unwrap_or(""), right));
        }
        let payload = match (options.text("metric"), options.text("path")) {
            (Some(_), Some(path)) => {
                return Err(ConfError::value("path", path, "write metric= or path=, not both"))
            }
            (None, Some(path)) if path.is_empty() || path.starts_with('/') => Payload::Json(path.into()),
            (None, Some(path)) => {
                return Err(ConfError::value("path", path, "write a JSON pointer, such as /queue/depth"));
            }
            (None, None) => Payload::Prometheus(Vec::new()),
            (Some(list), None) => {
                let metrics: Vec<String> = list.split(',').map(str::to_string).collect();
                let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
                if let Some(bad) = metrics.iter().find(|m| m.is_empty() || !m.chars().all(legal)) {
                    return Err(ConfError::value(
                        "metric",
                        bad,
                        "write names of Prometheus metrics, separated by commas",
                    ));
                }
                Payload::Prometheus(metrics)
            }
        };
        Ok(Self { name: name("signal", first)?, url, every_ms, stale_s: stale_ms as f64 / 1000.0, payload })
    }
}

/// An `http://` or `https://` URL with a host, and without credentials in it.
pub(super) fn http_url(what: &str, text: &str) -> Result<String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let right = "write http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH";
    let rest = rest.ok_or_else(|| ConfError::value(what, text, right))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        let hidden = text.replace(authority.rsplit_once('@').map_or("", |(user, _)| user), "…");
        return Err(ConfError::value(
            what,
            &hidden,
            "credentials belong into a file (secret_file=, token_file=), not into the URL",
        ));
    }
    if authority.is_empty() || authority.starts_with(':') || text.contains(char::is_whitespace) {
        return Err(ConfError::value(what, text, right));
    }
    Ok(text.into())
}
