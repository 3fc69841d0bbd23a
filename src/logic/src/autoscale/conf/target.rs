//! `autoscale_target NAME KIND:… [min= max= api= ca_file= token_file= secret_file= timeout=]`.

use super::external::http_url;
use super::options::{name, Options};
use super::unit::{count, duration_ms};
use super::{ConfError, Result};
use crate::autoscale::signal::hint;

const USAGE: &str = "autoscale_target NAME KIND:ADDRESS [min=N] [max=N] [options], where KIND:ADDRESS is pool:UPSTREAM, \
                     kubernetes:NS/KIND/NAME, webhook:URL, redis:HOST/publish/CHANNEL, redis:HOST/xadd/STREAM, etcd:HOST/KEY, \
                     consul:HOST/KEY, amqp:HOST/EXCHANGE/ROUTING_KEY or kafka:HOST/TOPIC";
const KINDS: &[&str] = &["pool", "kubernetes", "webhook", "redis", "etcd", "consul", "amqp", "kafka"];
/// How long a write may take.
const TIMEOUT_MS: u64 = 5000;
/// How long a peer of a pool may take to end what it has in flight.
const DRAIN_MS: u64 = 60_000;

/// What a policy may change outside a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub kind: Kind,
    pub min: Option<u32>,
    pub max: Option<u32>,
    /// `https://HOST:PORT` of the Kubernetes API; the service of the cluster when absent.
    pub api: Option<String>,
    pub ca_file: Option<String>,
    /// Read again when it changes.
    pub token_file: Option<String>,
    pub secret_file: Option<String>,
    /// Of a write; of a pool, how long a peer drains until it counts as standing by.
    pub timeout_ms: u64,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Pool {
        upstream: String,
    },
    /// The `scale` subresource of a `deployment`, `statefulset` or `replicaset`, or of another kind written `GROUP.KIND`.
    Kubernetes {
        namespace: String,
        kind: String,
        name: String,
    },
    Webhook {
        url: String,
    },
    RedisPublish {
        at: Endpoint,
        channel: String,
    },
    RedisStream {
        at: Endpoint,
        key: String,
    },
    Etcd {
        at: Endpoint,
        key: String,
    },
    Consul {
        at: Endpoint,
        key: String,
    },
    Amqp {
        at: Endpoint,
        exchange: String,
        routing_key: String,
    },
    Kafka {
        at: Endpoint,
        topic: String,
    },
}

/// `HOST[:PORT]`, `[IPv6][:PORT]`, with `https://` or `tls://` before it for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl Target {
    /// From the words after `autoscale_target`.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let [first, place, rest @ ..] = words else {
            return Err(ConfError::usage("autoscale_target", USAGE));
        };
        let (word, address) = place.split_once(':').unwrap_or((place, ""));
        if !KINDS.contains(&word) {
            let hint = hint(word, KINDS.iter().copied());
            return Err(ConfError::Unknown {
                what: "target",
                word: word.into(),
                hint,
                known: KINDS.join(", "),
            });
        }
        let kind =
            Kind::parse(word, address).ok_or_else(|| ConfError::value("target", place, shape(word)))?;
        if let Kind::Webhook { url } = &kind {
            http_url("target", url)?;
        }
        let options = Options::parse(rest, allowed(&kind))?;
        let file = |name| options.file(name);
        let api = options.text("api").map(|api| http_url("api", api)).transpose()?;
        let usual = if matches!(kind, Kind::Pool { .. }) { DRAIN_MS } else { TIMEOUT_MS };
        let timeout_ms = options.get("timeout", duration_ms)?.unwrap_or(usual);
        if !(1..=60_000).contains(&timeout_ms) {
            return Err(ConfError::value(
                "timeout",
                options.text("timeout").unwrap_or(""),
                "write 1ms to 60s",
            ));
        }
        let (min, max) = (options.get("min", count)?, options.get("max", count)?);
        if min.zip(max).is_some_and(|(min, max)| min > max) || max == Some(0) {
            let text = format!("min={} max={}", min.unwrap_or(0), max.unwrap_or(0));
            return Err(ConfError::value("bounds", &text, "write min <= max, and max of 1 or more"));
        }
        Ok(Self {
            name: name("target", first)?,
            kind,
            min,
            max,
            api,
            ca_file: file("ca_file")?,
            token_file: file("token_file")?,
            secret_file: file("secret_file")?,
            timeout_ms,
        })
    }
}

/// The parameters that mean something for a kind.
fn allowed(kind: &Kind) -> &'static [&'static str] {
    match kind {
        Kind::Pool { .. } => &["min", "max", "timeout"],
        Kind::Kubernetes { .. } => &["min", "max", "api", "ca_file", "token_file", "timeout"],
        Kind::Consul { .. } | Kind::Etcd { .. } | Kind::Kafka { .. } => {
            &["min", "max", "ca_file", "token_file", "timeout"]
        }
        _ => &["min", "max", "ca_file", "secret_file", "timeout"],
    }
}

/// A name in Kubernetes, as far as it stands in a path: small letters, digits, `-` and `.`.
pub(super) fn is_object_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    !text.is_empty() && !text.starts_with('.') && text.chars().all(legal)
}

fn shape(word: &str) -> &'static str {
    match word {
        "pool" => "write pool:UPSTREAM",
        "kubernetes" => "write kubernetes:NAMESPACE/deployment/NAME; the kind may be statefulset or replicaset, or GROUP.KIND",
        "webhook" => "write webhook:https://HOST/PATH",
        "redis" => "write redis:HOST[:PORT]/publish/CHANNEL or redis:HOST[:PORT]/xadd/STREAM, with tls:// before HOST for TLS",
        "etcd" => "write etcd:HOST[:PORT]/KEY, or etcd:https://HOST[:PORT]/KEY",
        "consul" => "write consul:HOST[:PORT]/KEY, or consul:https://HOST[:PORT]/KEY",
        "amqp" => "write amqp:HOST[:PORT]/EXCHANGE/ROUTING_KEY, with tls:// before HOST for TLS; the default exchange is an empty word",
        _ => "write kafka:HOST[:PORT]/TOPIC, the address of a REST proxy",
    }
}

impl Kind {
    fn parse(word: &str, address: &str) -> Option<Self> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_string());
        let at = |port: u16| -> Option<(Endpoint, String)> {
            let (endpoint, rest) = Endpoint::parse(address, port)?;
            Some((endpoint, some(rest)?))
        };
        Some(match word {
            "pool" => Self::Pool { upstream: some(address).filter(|name| !name.contains('/'))? },
            "kubernetes" => {
                let parts: Vec<&str> = address.split('/').collect();
                let [namespace, kind, name] = parts[..] else { return None };
                parts.iter().all(|part| is_object_name(part)).then_some(())?;
                let known = ["deployment", "statefulset", "replicaset"].contains(&kind) || kind.contains('.');
                known.then_some(())?;
                Self::Kubernetes { namespace: namespace.into(), kind: kind.into(), name: name.into() }
            }
            "webhook" => Self::Webhook { url: some(address)? },
            "redis" => {
                let (at, rest) = at(6379)?;
                match rest.split_once('/')? {
                    ("publish", channel) => Self::RedisPublish { at, channel: some(channel)? },
                    ("xadd", key) => Self::RedisStream { at, key: some(key)? },
                    _ => return None,
                }
            }
            "etcd" => at(2379).map(|(at, key)| Self::Etcd { at, key })?,
            "consul" => at(8500).map(|(at, key)| Self::Consul { at, key })?,
            "amqp" => {
                let (at, rest) = at(if Endpoint::secure(address).is_some() { 5671 } else { 5672 })?;
                let (exchange, key) = rest.split_once('/')?;
                Self::Amqp { at, exchange: exchange.into(), routing_key: some(key)? }
            }
            _ => at(8082).map(|(at, topic)| Self::Kafka { at, topic })?,
        })
    }
}

impl Endpoint {
    /// What follows the word for TLS, if that is there.
    fn secure(text: &str) -> Option<&str> {
        text.strip_prefix("https://").or_else(|| text.strip_prefix("tls://"))
    }

    /// `[http://|https://|tls://]HOST[:PORT]/REST`: the endpoint and the rest.
    pub(super) fn parse(text: &str, default_port: u16) -> Option<(Self, &str)> {
        let (tls, text) = match Self::secure(text) {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("http://").unwrap_or(text)),
        };
        let (authority, rest) = text.split_once('/')?;
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if host.is_empty() || !host.chars().all(legal) {
            return None;
        }
        let port = port.map_or(Some(default_port), |port| port.parse().ok().filter(|port| *port != 0))?;
        Some((Self { host: host.into(), port, tls }, rest))
    }
}
