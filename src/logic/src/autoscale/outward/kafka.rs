//! Kafka's REST proxy (Confluent, API v2): records as JSON, and what became of them.

use serde::Deserialize;
use serde_json::{json, Value};

/// The body that adds one record; records of one key stay in order.
pub fn record(key: &str, json: &str) -> Option<String> {
    let value: Value = serde_json::from_str(json).ok()?;
    Some(json!({"records": [{"key": key, "value": value}]}).to_string())
}

/// Why a record was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub why: String,
    pub again: bool,
}

/// Reads the answer to [`record`]. The proxy answers 200 also for a record that it could not write: 1 is for good, 2 is worth a retry.
pub fn answer(body: &[u8]) -> Result<(), Refused> {
    #[derive(Deserialize)]
    struct Answer {
        offsets: Vec<Offset>,
    }
    #[derive(Deserialize)]
    struct Offset {
        error_code: Option<i64>,
        error: Option<String>,
    }
    let refused = |why: String, again| Err(Refused { why, again });
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        return refused("the answer is none of a Kafka REST proxy".into(), false);
    };
    match answer.offsets.as_slice() {
        [Offset { error_code: None, .. }] => Ok(()),
        [Offset { error_code: Some(code), error }] => {
            let text: String = error.as_deref().unwrap_or("no reason given").chars().take(200).collect();
            refused(format!("error {code}: {}", text.escape_debug()), *code == 2)
        }
        _ => refused("the answer is not about one record".into(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_a_key_and_a_value() {
        let body = record("orders", r#"{"to":5}"#).unwrap();
        assert_eq!(body, r#"{"records":[{"key":"orders","value":{"to":5}}]}"#);
        assert_eq!(record("orders", "{"), None);
    }

    #[test]
    fn errors_hide_in_good_answers() {
        let of = |text: &str| answer(text.as_bytes());
        assert_eq!(of(r#"{"offsets":[{"partition":0,"offset":4,"error_code":null,"error":null}]}"#), Ok(()));
        assert_eq!(of(r#"{"offsets":[{"partition":0,"offset":4}]}"#), Ok(()));
        let again = of(r#"{"offsets":[{"error_code":2,"error":"leader gone"}]}"#).unwrap_err();
        assert_eq!(again, Refused { why: "error 2: leader gone".into(), again: true });
        assert!(!of(r#"{"offsets":[{"error_code":1,"error":"too large"}]}"#).unwrap_err().again);
        assert!(of(r#"{"offsets":[]}"#).is_err());
        assert!(of("").is_err());
    }
}
