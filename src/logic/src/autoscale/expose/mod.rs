//! Everything the zone knows, for people and machines: Prometheus text, JSON, HTML; and single signals for the autoscalers of others.
//!
//! A snapshot is taken first, then written, so all formats say the same. Taking it reads the whole zone once: some milliseconds when
//! it is full, for a status page, not for a request path.

pub mod html;
mod json;
pub mod keda;
pub mod kubernetes;
pub mod policies;
mod prometheus;
mod snapshot;

use super::metrics::zone::Zone;
use super::metrics::Now;
use policies::Scaling;

/// Writes everything as one JSON object. Times are seconds, ratios 0 to 1; what was not sampled is `null`.
pub fn json(
    zone: &Zone<'_>,
    now: Now,
    scaling: &Scaling,
    out: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    serde_json::to_writer(out, &json::status(zone, now, scaling))
}

/// Writes everything in the text format of Prometheus, version 0.0.4.
pub fn prometheus(zone: &Zone<'_>, now: Now, scaling: &Scaling, out: &mut Vec<u8>) {
    prometheus::write(zone, now, out);
    policies::prometheus(scaling, &mut prometheus::Text { out });
}

/// The media type of [`prometheus()`].
pub const PROMETHEUS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
pub(super) mod tests;
