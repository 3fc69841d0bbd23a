//! One signal as JSON for KEDA's `metrics-api` scaler, `valueLocation: value`.
//!
//! The scaler takes the number at that place of an answer with status 200 and treats every other status as a failure: the replicas stay,
//! and after `fallback.failureThreshold` of them KEDA's `fallback` takes over. So a signal without a value, or a stale one, must not be
//! answered with 200, and there is no `value` in an error.

use crate::autoscale::read::Reading;
use crate::autoscale::signal::Signal;
use serde_json::{json, Value};

/// `age` is in seconds.
pub fn value(signal: &Signal, reading: &Reading, value: f64) -> Value {
    json!({ "signal": signal.to_string(), "value": value, "age": reading.age, "samples": reading.samples })
}

pub fn error(why: &str) -> Value {
    json!({ "error": why })
}
