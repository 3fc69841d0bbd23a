//! Numbers kept in etcd (v3, through its JSON gateway) and in Consul's key-value store.
//!
//! The value is a [`Message`]. It is replaced only if it still is the one that was read, and only if it does not carry a greater
//! `fence`: so a leader that has lost the lead and does not know it yet cannot undo what its successor wrote (Kleppmann, "How to do
//! distributed locking", 2016).

use super::message::Message;
use crate::text::base64;
use serde::Deserialize;
use serde_json::{json, Value};

/// What a key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// None when there is nothing, or something that is not ours.
    pub message: Option<Message>,
    /// The store's number of the last change; 0 when there is nothing.
    pub version: u64,
}

/// What an order comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Write,
    /// It is there already.
    Done,
    /// A later leader has written.
    Overtaken(u64),
}

impl Stored {
    fn new(value: &str, version: u64) -> Stored {
        let mut text = Vec::new();
        let decoded = base64::decode(value.as_bytes(), &mut text);
        let message = if decoded { serde_json::from_slice(&text).ok() } else { None };
        Stored { message, version }
    }

    pub fn next(&self, order: &Message) -> Next {
        match &self.message {
            Some(there) if there.id == order.id => Next::Done,
            Some(there) if there.fence > order.fence => Next::Overtaken(there.fence),
            _ => Next::Write,
        }
    }
}

fn base64_of(text: &str) -> String {
    let mut out = Vec::new();
    base64::encode(text.as_bytes(), true, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// etcd's `POST /v3/kv/range`, `/v3/kv/txn`. 64-bit numbers are texts there, and what is zero or false is left out (protobuf's JSON).
pub mod etcd {
    use super::*;

    pub fn range(key: &str) -> String {
        json!({"key": base64_of(key)}).to_string()
    }

    pub fn stored(body: &[u8]) -> Option<Stored> {
        #[derive(Deserialize)]
        struct Range {
            header: Value,
            #[serde(default)]
            kvs: Vec<Pair>,
        }
        #[derive(Deserialize)]
        struct Pair {
            mod_revision: String,
            #[serde(default)]
            value: String,
        }
        let range: Range = serde_json::from_slice(body).ok()?;
        range.header.is_object().then_some(())?;
        match range.kvs.first() {
            Some(pair) => Some(Stored::new(&pair.value, pair.mod_revision.parse().ok()?)),
            None => Some(Stored::default()),
        }
    }

    /// Puts `value` if the key's last change still is that of `version`.
    pub fn put(key: &str, version: u64, value: &str) -> String {
        let key = base64_of(key);
        // of a key that is not there the revision is 0
        let same =
            json!({"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": version.to_string()});
        let put = json!({"request_put": {"key": key, "value": base64_of(value)}});
        json!({"compare": [same], "success": [put]}).to_string()
    }

    /// Whether it was put; `None` when the answer is none.
    pub fn was_put(body: &[u8]) -> Option<bool> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        answer.get("header")?.as_object()?;
        Some(answer.get("succeeded").and_then(Value::as_bool).unwrap_or(false))
    }
}

/// Consul's `GET /v1/kv/KEY` and `PUT /v1/kv/KEY?cas=VERSION`, which answers `true` or `false`.
pub mod consul {
    use super::*;

    pub fn stored(body: &[u8]) -> Option<Stored> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Pair {
            modify_index: u64,
            value: Option<String>,
        }
        let pairs: Vec<Pair> = serde_json::from_slice(body).ok()?;
        let pair = pairs.first()?;
        Some(Stored::new(pair.value.as_deref().unwrap_or(""), pair.modify_index))
    }

    pub fn was_put(body: &[u8]) -> Option<bool> {
        serde_json::from_slice(body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, fence: u64) -> Message {
        Message {
            id: id.into(),
            policy: "p".into(),
            target: "t".into(),
            from: 2,
            to: 5,
            reason: "r".into(),
            time: "2026-01-01T00:00:00.000Z".into(),
            fence,
        }
    }

    #[test]
    fn an_older_leader_does_not_overwrite_a_newer_one() {
        let stored = Stored { message: Some(message("a", 4)), version: 7 };
        assert_eq!(stored.next(&message("b", 4)), Next::Write);
        assert_eq!(stored.next(&message("b", 5)), Next::Write);
        assert_eq!(stored.next(&message("b", 3)), Next::Overtaken(4));
        assert_eq!(stored.next(&message("a", 4)), Next::Done);
        assert_eq!(Stored::default().next(&message("b", 1)), Next::Write);
    }

    #[test]
    fn etcd_leaves_out_what_is_zero() {
        let header = r#""header":{"revision":"9"}"#;
        assert_eq!(etcd::stored(format!("{{{header}}}").as_bytes()), Some(Stored::default()));
        let value = base64_of(&message("a", 4).json());
        let there = format!(
            r#"{{{header},"kvs":[{{"key":"aw==","mod_revision":"7","value":"{value}"}}],"count":"1"}}"#
        );
        let want = Stored { message: Some(message("a", 4)), version: 7 };
        assert_eq!(etcd::stored(there.as_bytes()), Some(want));
        let others = format!(r#"{{{header},"kvs":[{{"key":"aw==","mod_revision":"7"}}]}}"#);
        assert_eq!(etcd::stored(others.as_bytes()), Some(Stored { message: None, version: 7 }));
        assert_eq!(etcd::stored(br#"{"error":"etcdserver: no leader","code":14}"#), None);
        assert_eq!(etcd::was_put(format!(r#"{{{header},"succeeded":true}}"#).as_bytes()), Some(true));
        assert_eq!(etcd::was_put(format!("{{{header}}}").as_bytes()), Some(false));
        assert_eq!(etcd::was_put(b"{}"), None);
        assert_eq!(etcd::range("k"), r#"{"key":"aw=="}"#);
        let put: Value = serde_json::from_str(&etcd::put("k", 7, "v")).unwrap();
        assert_eq!(put.pointer("/compare/0/mod_revision").unwrap(), "7");
        assert_eq!(put.pointer("/success/0/request_put/value").unwrap(), "dg==");
    }

    #[test]
    fn consul_answers_a_list() {
        let value = base64_of(&message("a", 4).json());
        let body = format!(
            r#"[{{"LockIndex":0,"Key":"k","Flags":0,"Value":"{value}","CreateIndex":3,"ModifyIndex":7}}]"#
        );
        let want = Stored { message: Some(message("a", 4)), version: 7 };
        assert_eq!(consul::stored(body.as_bytes()), Some(want));
        let empty = br#"[{"Key":"k","Value":null,"ModifyIndex":7}]"#;
        assert_eq!(consul::stored(empty), Some(Stored { message: None, version: 7 }));
        assert_eq!(consul::stored(b"[]"), None);
        assert_eq!(consul::was_put(b"true\n"), Some(true));
        assert_eq!(consul::was_put(b"false"), Some(false));
        assert_eq!(consul::was_put(b"maybe"), None);
    }
}
