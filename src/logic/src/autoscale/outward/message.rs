//! The JSON that says what a target is to become.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One absolute number for a target. Whoever gets the same `id` twice has got it once, and whoever has seen a greater `fence` ignores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub id: String,
    pub policy: String,
    pub target: String,
    pub from: u32,
    pub to: u32,
    pub reason: String,
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    pub fence: u64,
}

impl Message {
    pub fn json(&self) -> String {
        // texts and numbers always become JSON
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The number that whoever was told answers with: `{"replicas":N}`.
pub fn replicas_of(answer: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Answer {
        replicas: u32,
    }
    serde_json::from_slice::<Answer>(answer).ok().map(|answer| answer.replicas)
}

/// A time of the wall clock as messages have it.
pub fn rfc3339(unix_ms: u64) -> String {
    let time = Timestamp::from_millisecond(unix_ms as i64).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The same to the microsecond, as the `MicroTime` of Kubernetes has it.
pub fn micro_time(unix_us: u64) -> String {
    let time = Timestamp::from_microsecond(unix_us as i64).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_flat_object() {
        let message = Message {
            id: "g1-7".into(),
            policy: "p".into(),
            target: "t".into(),
            from: 2,
            to: 5,
            reason: "latency \"high\"".into(),
            time: rfc3339(1_700_000_000_123),
            fence: 3,
        };
        let json = r#"{"id":"g1-7","policy":"p","target":"t","from":2,"to":5,"reason":"latency \"high\"","time":"2023-11-14T22:13:20.123Z","fence":3}"#;
        assert_eq!(message.json(), json);
        assert_eq!(serde_json::from_str::<Message>(json).unwrap(), message);
        assert_eq!(replicas_of(br#"{"ok":true,"replicas":4}"#), Some(4));
        for other in
            ["", "{}", "4", r#"{"replicas":-1}"#, r#"{"replicas":"4"}"#, r#"{"replicas":5000000000}"#]
        {
            assert_eq!(replicas_of(other.as_bytes()), None, "{other}");
        }
        assert_eq!(micro_time(1_700_000_000_000_000), "2023-11-14T22:13:20.000000Z");
    }
}
