//! `autoscale`, `autoscale_leader`, `autoscale_log`.

use super::external::http_url;
use super::options::Options;
use super::target::{is_object_name, Endpoint};
use super::unit::duration_ms;
use super::{ConfError, Result};
use crate::autoscale::policy::Mode;

const LEADER: &str = "autoscale_leader local | kubernetes:NAMESPACE/LEASE | redis:HOST[:PORT]/KEY [ttl=15s] \
                      [api=https://HOST:PORT] [ca_file=FILE] [token_file=FILE] [secret_file=FILE]";
const LOG: &str = "autoscale_log FILE|syslog:SETTINGS [level=acted|held|all]";
const TTL_MS: u64 = 15_000;

/// `autoscale on | observe | off`.
pub fn mode(words: &[&str]) -> Result<Mode> {
    match words {
        ["on"] => Ok(Mode::On),
        ["observe"] => Ok(Mode::Observe),
        ["off"] => Ok(Mode::Off),
        _ => Err(ConfError::usage("autoscale", "autoscale on | observe | off")),
    }
}

/// Which worker of which gateway acts outward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    pub lock: Lock,
    /// How long a leader may be silent before another takes over.
    pub ttl_ms: u64,
    /// Of the server that keeps the lock.
    pub ca_file: Option<String>,
    /// Read again when it changes.
    pub secret_file: Option<String>,
    /// `https://HOST:PORT` of the Kubernetes API; the service of the cluster when absent.
    pub api: Option<String>,
    /// Read again when it changes.
    pub token_file: Option<String>,
}

/// What the gateways agree by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// One worker of this gateway.
    Local,
    Kubernetes {
        namespace: String,
        lease: String,
    },
    Redis {
        at: Endpoint,
        key: String,
    },
}

impl Default for Leader {
    fn default() -> Self {
        let (ca_file, secret_file, api, token_file) = Default::default();
        Self { lock: Lock::Local, ttl_ms: TTL_MS, ca_file, secret_file, api, token_file }
    }
}

impl Leader {
    /// From the words after `autoscale_leader`.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let usage = || ConfError::usage("autoscale_leader", LEADER);
        let (place, rest) = words.split_first().ok_or_else(usage)?;
        let lock = match place.split_once(':') {
            None if *place == "local" => Lock::Local,
            Some(("kubernetes", address)) => match address.split_once('/') {
                Some((ns, lease)) if is_object_name(ns) && is_object_name(lease) => {
                    Lock::Kubernetes { namespace: ns.into(), lease: lease.into() }
                }
                _ => return Err(ConfError::value("leader", place, "write kubernetes:NAMESPACE/LEASE")),
            },
            Some(("redis", address)) => match Endpoint::parse(address, 6379) {
                Some((at, key)) if !key.is_empty() => Lock::Redis { at, key: key.into() },
                _ => return Err(ConfError::value("leader", place, "write redis:HOST[:PORT]/KEY")),
            },
            _ => return Err(usage()),
        };
        let allowed: &[&str] = match lock {
            Lock::Redis { .. } => &["ttl", "ca_file", "secret_file"],
            Lock::Kubernetes { .. } => &["ttl", "api", "ca_file", "token_file"],
            Lock::Local => &["ttl"],
        };
        let options = Options::parse(rest, allowed)?;
        let ttl_ms = options.get("ttl", duration_ms)?.unwrap_or(TTL_MS);
        if !(2000..=600_000).contains(&ttl_ms) {
            return Err(ConfError::value("ttl", options.text("ttl").unwrap_or(""), "write 2s to 10m"));
        }
        let file = |name| options.file(name);
        let (ca_file, secret_file, token_file) =
            (file("ca_file")?, file("secret_file")?, file("token_file")?);
        let api = options.text("api").map(|api| http_url("api", api)).transpose()?;
        Ok(Self { lock, ttl_ms, ca_file, secret_file, api, token_file })
    }
}

/// The decision log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub sink: Sink,
    pub level: Level,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    File(String),
    /// What follows `syslog:`, in nginx's own grammar.
    Syslog(String),
}

/// Which evaluations are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Those that changed something, or would have.
    Acted,
    /// Also those whose explanation is a new one: why a wish is held back.
    #[default]
    Held,
    /// Every one, every tick.
    All,
}

impl Log {
    /// From the words after `autoscale_log`.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let (place, rest) = words.split_first().ok_or_else(|| ConfError::usage("autoscale_log", LOG))?;
        let options = Options::parse(rest, &["level"])?;
        let level = match options.text("level") {
            None | Some("held") => Level::Held,
            Some("acted") => Level::Acted,
            Some("all") => Level::All,
            Some(other) => {
                return Err(ConfError::value(
                    "level",
                    other,
                    "write acted, held (also new reasons to hold back) or all",
                ));
            }
        };
        let sink = match place.strip_prefix("syslog:") {
            Some(settings) if settings.contains("server=") => Sink::Syslog(settings.into()),
            Some(_) => return Err(ConfError::value("log", place, "write syslog:server=ADDRESS[,…]")),
            None if place.is_empty() => return Err(ConfError::usage("autoscale_log", LOG)),
            None => Sink::File((*place).into()),
        };
        Ok(Self { sink, level })
    }

    /// Whether an evaluation is to be logged.
    pub fn takes(&self, evaluation: &crate::autoscale::policy::Evaluation) -> bool {
        match self.level {
            Level::Acted => evaluation.id != 0,
            Level::Held => evaluation.news,
            Level::All => true,
        }
    }
}
