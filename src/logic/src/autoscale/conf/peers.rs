//! `autoscale_peers SOURCE [options]`: where an upstream's peers come from while nginx runs.

use super::external::http_url;
use super::options::Options;
use super::target::is_object_name;
use super::unit::{duration_ms, seconds};
use super::{ConfError, Result};
use crate::autoscale::signal::hint;

const USAGE: &str =
    "autoscale_peers SOURCE [options], where SOURCE is dns:NAME:PORT, dns-srv:_SERVICE._tcp.NAME, \
                     kubernetes:NAMESPACE/SERVICE[:PORT], consul:SERVICE[@http://HOST:PORT] or file:PATH";
const KINDS: &[&str] = &["dns", "dns-srv", "kubernetes", "consul", "file"];
/// Where an agent of Consul is on every node.
const AGENT: &str = "http://127.0.0.1:8500";
/// How long a peer that left may take to end what it has in flight.
const DRAIN_S: u32 = 30;
/// How long a watch or a blocking query lasts before it is made anew.
const WAIT_MS: u64 = 60_000;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSource {
    /// As it is written: what it is called in logs.
    pub text: String,
    pub kind: PeerKind,
    /// How often it is looked at; DNS goes by the time to live of its answers otherwise.
    pub every_ms: Option<u64>,
    pub drain_s: u64,
    /// Of a watch or a blocking query.
    pub wait_ms: u64,
    /// `https://HOST:PORT` of the Kubernetes API; the service of the cluster when absent.
    pub api: Option<String>,
    pub ca_file: Option<String>,
    /// Read for each call.
    pub token_file: Option<String>,
    /// Only instances with this tag.
    pub tag: Option<String>,
}

/// Where the peers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// The addresses of a name.
    Dns { name: String, port: u16 },
    /// The SRV records of a service: `_http._tcp` of a name.
    Srv { service: String, name: String },
    /// The EndpointSlices of a service.
    Kubernetes { namespace: String, service: String, port: Port },
    /// The instances of a service that pass their checks.
    Consul { service: String, url: String },
    /// A file with an address a line.
    File { path: String },
}

/// Which port of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// It has one.
    Only,
    Named(String),
    /// The number that the pods listen on.
    Number(u16),
}

impl PeerSource {
    /// From the words after `autoscale_peers`.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let [place, rest @ ..] = words else {
            return Err(ConfError::usage("autoscale_peers", USAGE));
        };
        let (word, address) = place.split_once(':').unwrap_or((place, ""));
        if !KINDS.contains(&word) {
            let hint = hint(word, KINDS.iter().copied());
            return Err(ConfError::Unknown {
                what: "source of peers",
                word: word.into(),
                hint,
                known: KINDS.join(", "),
            });
        }
        let kind = PeerKind::parse(word, address)
            .ok_or_else(|| ConfError::value("source of peers", place, shape(word)))?;
        let options = Options::parse(rest, allowed(&kind))?;
        let kind = match kind {
            PeerKind::Consul { service, url } => PeerKind::Consul { service, url: origin(&url)? },
            other => other,
        };
        let bounded = |name: &'static str, range: core::ops::RangeInclusive<u64>, right| {
            let ms = options.get(name, duration_ms)?;
            match ms.filter(|ms| !range.contains(ms)) {
                Some(_) => Err(ConfError::value(name, options.text(name).unwrap_or(""), right)),
                None => Ok(ms),
            }
        };
        let every_ms = bounded("every", 100..=3_600_000, "write 100ms to 1h")?;
        let wait_ms = bounded("wait", 1000..=600_000, "write 1s to 10m")?.unwrap_or(WAIT_MS);
        let drain_s = options.get("drain", |text| seconds(text, 0))?.unwrap_or(DRAIN_S);
        if drain_s > 86_400 {
            return Err(ConfError::value("drain", options.text("drain").unwrap_or(""), "write 0 to 1d"));
        }
        let tag = options.text("tag").map(str::to_string);
        if tag.as_deref() == Some("") {
            return Err(ConfError::value("tag", "", "write the tag of a service"));
        }
        Ok(Self {
            text: (*place).into(),
            kind,
            every_ms,
            drain_s: drain_s.into(),
            wait_ms,
            api: options.text("api").map(|api| http_url("api", api)).transpose()?,
            ca_file: options.file("ca_file")?,
            token_file: options.file("token_file")?,
            tag,
        })
    }

    /// A number that stands for what it names: the same after a reload, whatever its options.
    pub fn id(&self) -> u64 {
        // FNV-1a (Fowler, Noll, Vo)
        let words = [self.text.as_bytes(), b"\0", self.tag.as_deref().unwrap_or("").as_bytes()];
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        words.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, hash)
    }
}

/// `http://HOST:PORT` without a path behind it.
fn origin(url: &str) -> Result<String> {
    let url = http_url("source of peers", url)?;
    let url = url.trim_end_matches('/');
    match url.split_once("://").is_some_and(|(_, rest)| !rest.contains(['/', '?', '#'])) {
        true => Ok(url.into()),
        false => Err(ConfError::value("source of peers", url, shape("consul"))),
    }
}

/// The parameters that mean something for a kind.
fn allowed(kind: &PeerKind) -> &'static [&'static str] {
    match kind {
        PeerKind::Dns { .. } | PeerKind::Srv { .. } | PeerKind::File { .. } => &["every", "drain"],
        PeerKind::Kubernetes { .. } => &["drain", "wait", "api", "ca_file", "token_file"],
        PeerKind::Consul { .. } => &["drain", "wait", "tag", "ca_file", "token_file"],
    }
}

fn shape(word: &str) -> &'static str {
    match word {
        "dns" => "write dns:NAME:PORT; an address that never changes belongs into a \"server\" line",
        "dns-srv" => "write dns-srv:_SERVICE._tcp.NAME, such as dns-srv:_http._tcp.app.example.com",
        "kubernetes" => "write kubernetes:NAMESPACE/SERVICE, and :NAME or :NUMBER of a port behind it if there are several",
        "consul" => "write consul:SERVICE, and @http://HOST:PORT behind it for an agent elsewhere",
        _ => "write file:PATH, of a file with an address a line",
    }
}

fn is_host(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_address = name.parse::<std::net::Ipv4Addr>().is_ok();
    !name.is_empty() && name.len() <= 253 && !name.starts_with('.') && name.chars().all(legal) && !is_address
}

fn number(port: &str) -> Option<u16> {
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    port.parse().ok().filter(|port| digits && *port != 0)
}

impl PeerKind {
    fn parse(word: &str, address: &str) -> Option<Self> {
        Some(match word {
            "dns" => {
                let (name, port) = address.rsplit_once(':').filter(|(name, _)| is_host(name))?;
                Self::Dns { name: name.into(), port: number(port)? }
            }
            "dns-srv" => {
                let mut labels = address.splitn(3, '.');
                let (service, protocol, name) = (labels.next()?, labels.next()?, labels.next()?);
                let legal = |label: &str| label.len() > 1 && label.starts_with('_');
                (legal(service) && legal(protocol) && is_host(name) && is_host(service)).then_some(())?;
                Self::Srv { service: format!("{service}.{protocol}"), name: name.into() }
            }
            "kubernetes" => {
                let (namespace, service) = address.split_once('/')?;
                let (service, port) = match service.split_once(':') {
                    None => (service, Port::Only),
                    Some((service, port)) => (
                        service,
                        match number(port) {
                            Some(number) => Port::Number(number),
                            None => Port::Named(Some(port).filter(|port| is_object_name(port))?.into()),
                        },
                    ),
                };
                (is_object_name(namespace) && is_object_name(service)).then_some(())?;
                Self::Kubernetes { namespace: namespace.into(), service: service.into(), port }
            }
            "consul" => {
                let (service, url) = address.split_once('@').unwrap_or((address, AGENT));
                let legal = |c: char| c.is_ascii_graphic() && !"/?#%\"\\".contains(c);
                (!service.is_empty() && service.chars().all(legal)).then_some(())?;
                Self::Consul { service: service.into(), url: url.into() }
            }
            _ => Self::File { path: Some(address).filter(|path| !path.is_empty())?.into() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<PeerSource> {
        PeerSource::parse(&line.split_whitespace().collect::<Vec<_>>())
    }

    #[test]
    fn every_kind_reads() {
        let kubernetes =
            |port| PeerKind::Kubernetes { namespace: "shop".into(), service: "app".into(), port };
        let table = [
            ("dns:app.example.com:80", PeerKind::Dns { name: "app.example.com".into(), port: 80 }),
            (
                "dns-srv:_http._tcp.app.shop.svc",
                PeerKind::Srv { service: "_http._tcp".into(), name: "app.shop.svc".into() },
            ),
            ("kubernetes:shop/app", kubernetes(Port::Only)),
            ("kubernetes:shop/app:http", kubernetes(Port::Named("http".into()))),
            ("kubernetes:shop/app:8080", kubernetes(Port::Number(8080))),
            ("consul:app", PeerKind::Consul { service: "app".into(), url: AGENT.into() }),
            (
                "consul:app@https://consul.local:8501/",
                PeerKind::Consul { service: "app".into(), url: "https://consul.local:8501".into() },
            ),
            ("file:/run/peers", PeerKind::File { path: "/run/peers".into() }),
        ];
        for (text, kind) in table {
            let source = parse(text).unwrap();
            assert_eq!((source.kind, source.drain_s, source.every_ms), (kind, 30, None), "{text}");
        }
        let full = parse("consul:app tag=blue wait=5s drain=0 token_file=t ca_file=c").unwrap();
        assert_eq!((full.wait_ms, full.drain_s, full.tag.as_deref()), (5000, 0, Some("blue")));
        assert_eq!(parse("file:p every=200ms drain=1m").unwrap().every_ms, Some(200));
        assert_eq!(parse("file:p every=1s").unwrap().id(), parse("file:p drain=5s").unwrap().id());
        assert_ne!(parse("consul:a tag=x").unwrap().id(), parse("consul:a").unwrap().id());
    }

    #[test]
    fn errors_say_what_to_write() {
        let table = [
            ("", "\"autoscale_peers\" is written autoscale_peers SOURCE"),
            ("dsn:app:80", "unknown source of peers \"dsn\"; known are dns, dns-srv"),
            ("dns:app", "write dns:NAME:PORT"),
            ("dns:127.0.0.1:80", "belongs into a \"server\" line"),
            ("dns:app:0", "write dns:NAME:PORT"),
            ("dns:app:http", "write dns:NAME:PORT"),
            ("dns-srv:app", "write dns-srv:_SERVICE._tcp.NAME"),
            ("dns-srv:http.tcp.app", "write dns-srv:_SERVICE._tcp.NAME"),
            ("kubernetes:app", "write kubernetes:NAMESPACE/SERVICE"),
            ("kubernetes:shop/App", "write kubernetes:NAMESPACE/SERVICE"),
            ("kubernetes:shop/app:", "write kubernetes:NAMESPACE/SERVICE"),
            ("consul:", "write consul:SERVICE"),
            ("consul:app@ftp://x", "http"),
            ("consul:app@http://x/path", "write consul:SERVICE"),
            ("file:", "write file:PATH"),
            ("file:p every=1ms", "write 100ms to 1h"),
            ("file:p every=5", "has no unit"),
            ("file:p drain=1500ms", "outside whole seconds"),
            ("file:p drain=2d", "write 0 to 1d"),
            ("file:p tag=x", "unknown parameter \"tag=\""),
            ("consul:a tag=", "write the tag of a service"),
            ("consul:a wait=20m", "write 1s to 10m"),
            ("kubernetes:a/b every=5s", "unknown parameter \"every=\""),
            ("kubernetes:a/b api=example.com", "http"),
            ("dns:app:80 drain=1s drain=2s", "\"drain=\" is duplicate"),
        ];
        for (line, part) in table {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
