//! Orders in a Redis stream: each of them once, and none of a leader that has been followed by another.

use crate::autoscale::outward::message::Message;

/// For how long an order, and the last leader, are remembered: far longer than bytes are under way, or a process is stopped.
const REMEMBERED_MS: u32 = 3_600_000;

/// Appends to the stream `KEYS[1]` unless `KEYS[2]` says that it was, or `KEYS[3]` that a leader with a greater fence than `ARGV[2]` has
/// appended; both are said for `ARGV[1]` milliseconds. The rest are fields and values. The entry's name, or the greater fence.
const ADD_ONCE: &str = "\
local was = redis.call('get', KEYS[2])
if was then return was end
local fence = tonumber(ARGV[2])
local last = fence and tonumber(redis.call('get', KEYS[3]) or '')
if last and last > fence then return last end
local id = redis.call('xadd', KEYS[1], '*', unpack(ARGV, 3))
redis.call('set', KEYS[2], id, 'PX', ARGV[1])
if fence then redis.call('set', KEYS[3], ARGV[2], 'PX', ARGV[1]) end
return id";

/// An entry to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of the leader, if it matters who that is.
    fence: Option<u64>,
    /// The first is `id`.
    fields: Vec<(&'static str, String)>,
}

impl Entry {
    pub fn order(message: &Message) -> Entry {
        let fields = vec![
            ("id", message.id.clone()),
            ("policy", message.policy.clone()),
            ("target", message.target.clone()),
            ("from", message.from.to_string()),
            ("to", message.to.to_string()),
            ("reason", message.reason.clone()),
            ("time", message.time.clone()),
            ("fence", message.fence.to_string()),
        ];
        Entry { fence: Some(message.fence), fields }
    }

    /// A message that is no order.
    pub fn note(id: &str, json: &str) -> Entry {
        Entry { fence: None, fields: vec![("id", id.to_string()), ("json", json.to_string())] }
    }

    /// The words of the command that appends it. What says that it is there outlives it: a consumer may delete it before it is tried
    /// again.
    pub fn add_once(&self, stream: &str) -> Vec<String> {
        let id = self.fields.first().map_or("", |(_, id)| id);
        let fence = self.fence.map(|fence| fence.to_string()).unwrap_or_default();
        let keys = [stream.to_string(), format!("{stream}:seen:{id}"), format!("{stream}:fence")];
        let mut words = vec!["EVAL".to_string(), ADD_ONCE.to_string(), keys.len().to_string()];
        words.extend(keys);
        words.extend([REMEMBERED_MS.to_string(), fence]);
        for (name, value) in &self.fields {
            words.extend([(*name).to_string(), value.clone()]);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_its_keys_and_all_its_fields() {
        let message = Message {
            id: "g-7".into(),
            policy: "p".into(),
            target: "t".into(),
            from: 2,
            to: 5,
            reason: "why".into(),
            time: "now".into(),
            fence: 3,
        };
        let words = Entry::order(&message).add_once("orders");
        let rest = "3 orders orders:seen:g-7 orders:fence 3600000 3 \
                    id g-7 policy p target t from 2 to 5 reason why time now fence 3";
        assert_eq!(words[2..].join(" "), rest);
        let words = Entry::note("n-1", "{}").add_once("s");
        assert_eq!(words[2..].join(" "), "3 s s:seen:n-1 s:fence 3600000  id n-1 json {}");
    }
}
