//! EndpointSlices of Kubernetes (`discovery.k8s.io/v1`): what a list and a watch say about the endpoints of a service.
//!
//! A list comes in pages and replaces what was known when its last page is here. A watch goes on from the version of the list: each
//! line is one change; bookmarks say a newer version; 410 says that the version is too old, and everything begins with a list
//! (Kubernetes API concepts, "Efficient detection of changes").
//!
//! *Who takes requests.* An endpoint that is ready. While there is none, those that still serve although they terminate (KEP-1669).
//! Who terminates is not named any more, and drains. Hints about zones are not looked at.

use super::{address, Wanted};
use crate::autoscale::conf::Port;
use crate::text::url::bracketed;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How many slices a page may have: a slice has up to a thousand endpoints, usually a hundred.
const PAGE: usize = 50;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    resource_version: String,
    #[serde(rename = "continue")]
    rest: String,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: Metadata,
    items: Option<Vec<Slice>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Slice {
    metadata: Metadata,
    address_type: String,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<PortOf>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Endpoint {
    addresses: Vec<String>,
    conditions: Conditions,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PortOf {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
}

#[derive(Deserialize)]
struct Change {
    #[serde(rename = "type")]
    kind: String,
    object: serde_json::Value,
}

/// What a line of a watch comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Changed,
    /// A newer version, and nothing else.
    Bookmark,
    /// The version is too old: everything begins with a list.
    Gone,
    Failed(String),
}

/// The slices of one service.
#[derive(Default)]
pub struct Slices {
    slices: BTreeMap<String, Slice>,
    version: String,
    /// Pages of a list that is not whole yet.
    coming: Option<BTreeMap<String, Slice>>,
}

/// The path of a list, or of one of its further pages.
pub fn list_path(namespace: &str, service: &str, rest: Option<&str>) -> String {
    let base = base(namespace, service);
    match rest {
        Some(rest) => format!("{base}&limit={PAGE}&continue={}", escaped(rest)),
        None => format!("{base}&limit={PAGE}"),
    }
}

/// The path of a watch that goes on from a version, and lasts so many seconds.
pub fn watch_path(namespace: &str, service: &str, version: &str, lasts_s: u64) -> String {
    let (base, version) = (base(namespace, service), escaped(version));
    format!("{base}&watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={lasts_s}")
}

fn base(namespace: &str, service: &str) -> String {
    let label = "kubernetes.io%2Fservice-name%3D";
    format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={label}{service}")
}

fn escaped(text: &str) -> String {
    let mut out = Vec::new();
    crate::text::uri::escape_uri(text.as_bytes(), crate::text::uri::Escape::Component, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

impl Slices {
    /// Where a watch goes on.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A list begins.
    pub fn begin(&mut self) {
        self.coming = Some(BTreeMap::new());
    }

    /// A page of it; the answer is what names the next one. The error is the end of a log line.
    pub fn page(&mut self, body: &[u8]) -> Result<Option<String>, String> {
        let list: List =
            serde_json::from_slice(body).map_err(|e| format!("the answer is no list of slices: {e}"))?;
        if list.metadata.resource_version.is_empty() {
            return Err("the answer is no list of slices: it has no version".into());
        }
        let mut coming = self.coming.take().unwrap_or_default();
        coming.extend(
            list.items.unwrap_or_default().into_iter().map(|slice| (slice.metadata.name.clone(), slice)),
        );
        if !list.metadata.rest.is_empty() {
            self.coming = Some(coming);
            return Ok(Some(list.metadata.rest));
        }
        (self.slices, self.version) = (coming, list.metadata.resource_version);
        Ok(None)
    }

    /// A line of a watch.
    pub fn event(&mut self, line: &[u8]) -> Event {
        let failed = |e: serde_json::Error| Event::Failed(format!("a line of the watch is no change: {e}"));
        let change: Change = match serde_json::from_slice(line) {
            Ok(change) => change,
            Err(e) => return failed(e),
        };
        if change.kind == "ERROR" {
            let code = change.object.get("code").and_then(serde_json::Value::as_u64);
            let said =
                change.object.get("message").and_then(serde_json::Value::as_str).unwrap_or("no reason");
            let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
            return match code {
                Some(410) => Event::Gone,
                _ => Event::Failed(format!("the watch ended: {said}")),
            };
        }
        let slice: Slice = match serde_json::from_value(change.object) {
            Ok(slice) => slice,
            Err(e) => return failed(e),
        };
        if !slice.metadata.resource_version.is_empty() {
            self.version.clone_from(&slice.metadata.resource_version);
        }
        match change.kind.as_str() {
            "ADDED" | "MODIFIED" => {
                self.slices.insert(slice.metadata.name.clone(), slice);
                Event::Changed
            }
            "DELETED" => {
                self.slices.remove(&slice.metadata.name);
                Event::Changed
            }
            // bookmarks, and what later versions may say
            _ => Event::Bookmark,
        }
    }

    /// The endpoints that take requests, each address once. The error says that the port is not known.
    pub fn peers(&self, port: &Port) -> Result<Vec<Wanted>, String> {
        let (mut ready, mut serving) = (BTreeMap::new(), BTreeMap::new());
        for slice in self.slices.values().filter(|slice| slice.address_type != "FQDN") {
            let endpoints = slice.endpoints.as_deref().unwrap_or_default();
            if endpoints.is_empty() {
                continue;
            }
            let number = slice.port(port)?;
            for endpoint in endpoints {
                // all addresses of an endpoint are the same one's
                let Some(host) = endpoint.addresses.first() else { continue };
                let Ok(addr) = address::parse(&format!("{}:{number}", bracketed(host))) else { continue };
                let of = &endpoint.conditions;
                let terminates = of.terminating.unwrap_or(false);
                // null is "unknown", which is to be read as true
                if of.ready.unwrap_or(true) && !terminates {
                    ready.insert(addr, ());
                } else if terminates && of.serving.or(of.ready).unwrap_or(false) {
                    serving.insert(addr, ());
                }
            }
        }
        let chosen = if ready.is_empty() { serving } else { ready };
        Ok(chosen.into_keys().map(|addr| Wanted { addr, weight: 1 }).collect())
    }
}

impl Slice {
    fn port(&self, wanted: &Port) -> Result<u16, String> {
        let ports = self.ports.as_deref().unwrap_or_default();
        let is_tcp =
            |port: &&PortOf| port.protocol.as_deref().unwrap_or("TCP") == "TCP" && port.port.is_some();
        let all: Vec<&PortOf> = ports.iter().filter(is_tcp).collect();
        let found = match wanted {
            Port::Only => match all[..] {
                [port] => Some(port),
                _ => None,
            },
            Port::Named(name) => all.iter().find(|port| port.name.as_ref() == Some(name)).copied(),
            Port::Number(number) => all.iter().find(|port| port.port == Some(*number)).copied(),
        };
        let name = |port: &&PortOf| {
            let number = port.port.unwrap_or_default().to_string();
            port.name.clone().filter(|name| !name.is_empty()).unwrap_or(number)
        };
        found.and_then(|port| port.port).ok_or_else(|| match all.len() {
            0 => "its endpoints have no TCP port".to_owned(),
            _ => {
                format!("write which port: there are {}", all.iter().map(name).collect::<Vec<_>>().join(", "))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn slice(name: &str, version: u32, endpoints: Value) -> Value {
        json!({"metadata": {"name": name, "resourceVersion": version.to_string()}, "addressType": "IPv4",
               "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
    }

    fn ready(addr: &str) -> Value {
        json!({"addresses": [addr], "conditions": {"ready": true, "serving": true, "terminating": false}})
    }

    fn terminating(addr: &str, serving: bool) -> Value {
        json!({"addresses": [addr], "conditions": {"ready": false, "serving": serving, "terminating": true}})
    }

    fn list(items: Value, rest: &str) -> Vec<u8> {
        json!({"metadata": {"resourceVersion": "10", "continue": rest}, "items": items}).to_string().into()
    }

    fn event(slices: &mut Slices, kind: &str, object: Value) -> Event {
        slices.event(json!({"type": kind, "object": object}).to_string().as_bytes())
    }

    fn addrs(slices: &Slices) -> Vec<String> {
        slices.peers(&Port::Only).unwrap().into_iter().map(|peer| peer.addr).collect()
    }

    #[test]
    fn a_list_replaces_what_was_known_when_it_is_whole() {
        let mut slices = Slices::default();
        slices.begin();
        assert_eq!(slices.page(&list(json!([slice("a", 1, json!([ready("10.0.0.1")]))]), "")), Ok(None));
        slices.begin();
        let page = list(json!([slice("b", 2, json!([ready("10.0.0.2")]))]), "more/1");
        assert_eq!(slices.page(&page), Ok(Some("more/1".into())));
        assert_eq!(addrs(&slices), ["10.0.0.1:8080"]);
        let page = list(json!([slice("c", 2, json!([ready("10.0.0.3")]))]), "");
        assert_eq!(slices.page(&page), Ok(None));
        assert_eq!(
            (addrs(&slices), slices.version()),
            (vec!["10.0.0.2:8080".into(), "10.0.0.3:8080".into()], "10")
        );
        slices.begin();
        assert_eq!(slices.page(&list(Value::Null, "")), Ok(None));
        assert!(addrs(&slices).is_empty());
        assert!(slices.page(b"{}").unwrap_err().contains("no list of slices"));
        assert!(slices.page(br#"{"kind": "Status", "items": []}"#).unwrap_err().contains("no version"));
    }

    #[test]
    fn a_watch_changes_what_the_list_said() {
        let mut slices = Slices::default();
        slices.page(&list(json!([slice("a", 1, json!([ready("10.0.0.1")]))]), "")).unwrap();
        let both = json!([ready("10.0.0.1"), ready("10.0.0.2")]);
        assert_eq!(event(&mut slices, "MODIFIED", slice("a", 11, both)), Event::Changed);
        assert_eq!(event(&mut slices, "ADDED", slice("b", 12, json!([ready("10.0.0.2")]))), Event::Changed);
        assert_eq!((addrs(&slices).len(), slices.version()), (2, "12"));
        assert_eq!(
            event(&mut slices, "BOOKMARK", json!({"metadata": {"resourceVersion": "20"}})),
            Event::Bookmark
        );
        assert_eq!(slices.version(), "20");
        assert_eq!(event(&mut slices, "DELETED", slice("a", 21, json!([]))), Event::Changed);
        assert_eq!(addrs(&slices), ["10.0.0.2:8080"]);
        assert_eq!(event(&mut slices, "ERROR", json!({"code": 410, "message": "too old"})), Event::Gone);
        let failed = event(&mut slices, "ERROR", json!({"code": 500, "message": "etcd\nis away"}));
        assert_eq!(failed, Event::Failed("the watch ended: etcdis away".into()));
        assert!(matches!(slices.event(br#"{"type": "ADDED", "obj"#), Event::Failed(_)), "a half line");
        assert_eq!(addrs(&slices), ["10.0.0.2:8080"]);
    }

    #[test]
    fn who_terminates_is_not_named_unless_nobody_else_serves() {
        let mut slices = Slices::default();
        let put = |slices: &mut Slices, endpoints| {
            event(slices, "MODIFIED", slice("a", 1, endpoints));
            addrs(slices)
        };
        let unknown = json!({"addresses": ["10.0.0.3"]});
        let not_ready = json!({"addresses": ["10.0.0.4"], "conditions": {"ready": false}});
        let all = json!([ready("10.0.0.1"), terminating("10.0.0.2", true), unknown, not_ready]);
        assert_eq!(put(&mut slices, all), ["10.0.0.1:8080", "10.0.0.3:8080"]);
        let last = json!([terminating("10.0.0.1", true), terminating("10.0.0.2", false), not_ready]);
        assert_eq!(put(&mut slices, last), ["10.0.0.1:8080"]);
        assert!(put(&mut slices, json!([not_ready])).is_empty());
    }

    #[test]
    fn ports_are_found_by_name_and_number() {
        let mut slices = Slices::default();
        let mut two = slice("a", 1, json!([ready("10.0.0.1")]));
        two["ports"] = json!([{"name": "http", "port": 80}, {"name": "admin", "port": 81},
                              {"name": "dns", "port": 53, "protocol": "UDP"}]);
        event(&mut slices, "ADDED", two);
        let peers = |port| slices.peers(&port).map(|peers| peers[0].addr.clone());
        assert_eq!(peers(Port::Named("admin".into())), Ok("10.0.0.1:81".into()));
        assert_eq!(peers(Port::Number(80)), Ok("10.0.0.1:80".into()));
        assert_eq!(peers(Port::Only), Err("write which port: there are http, admin".into()));
        assert!(peers(Port::Number(53)).is_err() && peers(Port::Named("x".into())).is_err());
        // a slice without endpoints may have no ports either
        let mut slices = Slices::default();
        event(&mut slices, "ADDED", json!({"metadata": {"name": "a"}, "endpoints": null, "ports": null}));
        assert_eq!(slices.peers(&Port::Only), Ok(vec![]));
        let mut six = slice("a", 1, json!([ready("fd00::1")]));
        six["addressType"] = json!("IPv6");
        event(&mut slices, "ADDED", six);
        assert_eq!(addrs(&slices), ["[fd00::1]:8080"]);
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let base = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dapp";
        assert_eq!(list_path("shop", "app", None), format!("{base}&limit=50"));
        assert_eq!(list_path("shop", "app", Some("a+b")), format!("{base}&limit=50&continue=a%2Bb"));
        assert_eq!(
            watch_path("shop", "app", "12", 60),
            format!("{base}&watch=true&allowWatchBookmarks=true&resourceVersion=12&timeoutSeconds=60")
        );
    }
}
