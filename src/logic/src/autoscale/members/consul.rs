//! Consul's health endpoint: the instances of a service that pass their checks, and blocking queries
//! (Consul documentation, "Blocking Queries").

use super::{address, Wanted};
use crate::text::uri::{escape_uri, Escape};
use crate::text::url::bracketed;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default)]
    node: Option<Node>,
    service: Service,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Node {
    address: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Service {
    address: String,
    port: u16,
    weights: Option<Weights>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Weights {
    passing: u16,
}

/// The peers in an answer, and how many instances have no address that can be used. The error is the end of a log line.
pub fn parse(body: &[u8]) -> Result<(Vec<Wanted>, usize), String> {
    let entries: Vec<Entry> =
        serde_json::from_slice(body).map_err(|e| format!("the answer is no list of instances: {e}"))?;
    let (mut found, mut unusable) = (Vec::new(), 0);
    let mut seen = std::collections::HashSet::new();
    for entry in entries {
        let node = entry.node.unwrap_or_default();
        let host = if entry.service.address.is_empty() { node.address } else { entry.service.address };
        // a socket of the system has its own field, which no version sends here
        let Ok(addr) = address::parse(&format!("{}:{}", bracketed(&host), entry.service.port)) else {
            unusable += 1;
            continue;
        };
        let weight = entry.service.weights.map_or(1, |weights| weights.passing).max(1);
        if seen.insert(addr.clone()) {
            found.push(Wanted { addr, weight });
        }
    }
    Ok((found, unusable))
}

/// What is asked for: what has changed after `index`, within so many milliseconds; at once without one.
pub fn path(service: &str, tag: Option<&str>, index: u64, wait_ms: u64) -> String {
    let escaped = |text: &str| {
        let mut out = Vec::new();
        escape_uri(text.as_bytes(), Escape::Component, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    let mut path = format!("/v1/health/service/{}?passing", escaped(service));
    if let Some(tag) = tag {
        path.push_str(&format!("&tag={}", escaped(tag)));
    }
    if index > 0 {
        path.push_str(&format!("&index={index}&wait={wait_ms}ms"));
    }
    path
}

/// The index for the next query: one that goes backwards, or none, begins anew.
pub fn next_index(before: u64, header: Option<&[u8]>) -> u64 {
    let index = header.and_then(|text| core::str::from_utf8(text).ok()?.trim().parse::<u64>().ok());
    index.filter(|index| *index >= before).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_that_pass_are_peers() {
        let body = br#"[
            {"Node": {"Address": "10.0.0.9"}, "Service": {"Address": "10.0.0.1", "Port": 80, "Weights": {"Passing": 5, "Warning": 1}}},
            {"Node": {"Address": "10.0.0.2"}, "Service": {"Address": "", "Port": 81}, "Checks": []},
            {"Node": {"Address": "fd00::1"}, "Service": {"Port": 82}},
            {"Node": {"Address": "10.0.0.9"}, "Service": {"Address": "10.0.0.1", "Port": 80}},
            {"Node": {"Address": "10.0.0.9"}, "Service": {"Address": "app.local", "Port": 80}},
            {"Service": {"Port": 0}}
        ]"#;
        let (peers, unusable) = parse(body).unwrap();
        let shown: Vec<_> = peers.iter().map(|peer| (peer.addr.as_str(), peer.weight)).collect();
        assert_eq!((shown, unusable), (vec![("10.0.0.1:80", 5), ("10.0.0.2:81", 1), ("[fd00::1]:82", 1)], 2));
        assert_eq!(parse(b"[]"), Ok((vec![], 0)));
        assert!(parse(b"{}").unwrap_err().contains("no list of instances"));
        assert!(parse(br#"[{"Service": {"Port": 80}"#).is_err());
    }

    #[test]
    fn queries_block_and_begin_anew() {
        assert_eq!(path("my app", None, 0, 5000), "/v1/health/service/my%20app?passing");
        assert_eq!(
            path("a", Some("b&c"), 7, 5000),
            "/v1/health/service/a?passing&tag=b%26c&index=7&wait=5000ms"
        );
        assert_eq!(next_index(0, Some(b"12")), 12);
        assert_eq!((next_index(12, Some(b"12")), next_index(12, Some(b"11"))), (12, 0));
        assert_eq!((next_index(12, None), next_index(12, Some(b"x"))), (0, 0));
    }
}
