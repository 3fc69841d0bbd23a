//! The external metrics API of Kubernetes, `external.metrics.k8s.io/v1beta1`: what the HorizontalPodAutoscaler asks for metrics of
//! type `External`.
//!
//! Facts from the types in k8s.io/metrics (`ExternalMetricValueList`) and k8s.io/apimachinery (`APIResourceList`, `Status`), and from
//! what the callers do with them: the HPA adds up the values of all items; an empty list and any status but 200 make the metric
//! unavailable, and a metric that is unavailable never scales down. So a signal that is stale, unknown or without a sample is an error
//! here, never a zero. The aggregation layer asks for the list of resources to find out whether the API is available.

pub mod name;
pub mod quantity;
pub mod selector;
#[cfg(test)]
mod tests;

use crate::autoscale::metrics::zone::{Reporter, Zone};
use crate::autoscale::read::Reading;
use crate::autoscale::signal::{Scope, Signal, Stat, Window};
use jiff::Timestamp;
use selector::{Labels, Selector};
use serde_json::json;

pub use serde_json::Value;

const GROUP: &str = "external.metrics.k8s.io";
const GROUP_VERSION: &str = "external.metrics.k8s.io/v1beta1";
/// Metrics that the discovery names at most; those that it leaves out can be asked for all the same.
const MOST_LISTED: usize = 1000;

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// `/apis`
    Groups,
    /// `/apis/external.metrics.k8s.io`
    Group,
    /// `/apis/external.metrics.k8s.io/v1beta1`
    Resources,
    /// `/apis/external.metrics.k8s.io/v1beta1/namespaces/NAMESPACE/METRIC`, as written there
    Metric { namespace: &'a str, name: &'a str },
}

impl<'a> Asked<'a> {
    /// Of an unescaped path. `None` is something that is not there.
    pub fn of(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix("/apis")?.trim_end_matches('/');
        if rest.is_empty() {
            return Some(Self::Groups);
        }
        let rest = rest.strip_prefix('/')?.strip_prefix(GROUP)?;
        if rest.is_empty() {
            return Some(Self::Group);
        }
        let rest = rest.strip_prefix("/v1beta1")?;
        if rest.is_empty() {
            return Some(Self::Resources);
        }
        // a name that was not escaped may bring slashes
        let (namespace, name) = rest.strip_prefix("/namespaces/")?.split_once('/')?;
        (!namespace.is_empty() && !name.is_empty()).then_some(Self::Metric { namespace, name })
    }
}

/// An error of the API. The names are those of `metav1.StatusReason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    InternalError,
    ServiceUnavailable,
}

impl Reason {
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::InternalError => 500,
            Self::ServiceUnavailable => 503,
        }
    }
}

/// Whether a header `Accept` takes an object as it is. The aggregation layer asks for another one first
/// (`as=APIGroupDiscoveryList`), takes what it gets for that, and asks for the lists below when it is refused.
pub fn is_acceptable(accept: &str) -> bool {
    let is_other =
        |range: &str| range.split(';').skip(1).any(|parameter| parameter.trim().starts_with("as="));
    accept.split(',').any(|range| !is_other(range))
}

/// `metav1.Status`
pub fn status(reason: Reason, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": format!("{reason:?}"), "code": reason.code(),
    })
}

/// `metav1.APIGroupList`
pub fn groups() -> Value {
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [described()] })
}

/// `metav1.APIGroup`
pub fn group() -> Value {
    let mut group = described();
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    group
}

fn described() -> Value {
    let version = json!({ "groupVersion": GROUP_VERSION, "version": "v1beta1" });
    json!({ "name": GROUP, "versions": [version], "preferredVersion": version })
}

/// `metav1.APIResourceList` with signals of everything that the zone knows: of each thing those that are scaled on most.
pub fn resources(zone: &Zone<'_>) -> Value {
    let mut signals = known(zone);
    signals.truncate(MOST_LISTED);
    let resource = |signal: &String| {
        json!({
            "name": name::of_signal(signal), "singularName": "", "namespaced": true,
            "kind": "ExternalMetricValueList", "verbs": ["get"],
        })
    };
    let resources: Vec<Value> = signals.iter().map(resource).collect();
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": resources })
}

/// Signals that can be read now or soon, those of upstreams first.
fn known(zone: &Zone<'_>) -> Vec<String> {
    let mut signals = Vec::new();
    let text = |name: Vec<u8>| String::from_utf8(name).ok();
    for entry in super::snapshot::sorted(zone, zone.upstreams()) {
        let Some(name) = zone.name(entry).and_then(text) else { continue };
        let metrics = ["rate@1m", "inflight", "queue", "latency.avg@1m", "latency.p99@1m", "error_rate@1m"];
        signals.extend(metrics.map(|metric| format!("upstream.{name}.{metric}")));
    }
    let reported = [
        (Reporter::External, "ext.", ""),
        (Reporter::Gateway, "self.", "@1m"),
        (Reporter::Script, "custom.", ".rate@1m"),
    ];
    for (reporter, scope, end) in reported {
        for entry in super::snapshot::sorted(zone, zone.meters(reporter)) {
            signals.extend(zone.name(entry).and_then(text).map(|name| format!("{scope}{name}{end}")));
        }
    }
    for entry in super::snapshot::sorted(zone, zone.distributions()) {
        signals.extend(zone.name(entry).and_then(text).map(|name| format!("custom.{name}.avg@1m")));
    }
    for entry in super::snapshot::sorted(zone, zone.key_names()) {
        let Some(name) = zone.name(entry).and_then(text) else { continue };
        let values = super::snapshot::sorted(zone, zone.keys(entry));
        let values = values.into_iter().filter_map(|value| zone.name(value).and_then(text));
        signals.push(format!("key.{name}.rate@1m"));
        signals.extend(values.map(|value| format!("key.{name}/{value}.rate@1m")));
    }
    // a name that the grammar cannot say cannot be asked for either
    signals.retain(|signal| signal.parse::<Signal>().is_ok());
    signals
}

/// `ExternalMetricValueList` with the one value, or with none if the selector does not match its labels. `name` is as it was asked for.
pub fn values(
    name: &str,
    signal: &Signal,
    reading: &Reading,
    value: f64,
    selector: &Selector,
    unix_s: i64,
) -> Value {
    let labels = labels(signal);
    let mut items = Vec::new();
    if selector.matches(&labels) {
        let age_s = reading.age.max(0.0) as i64;
        let mut item = json!({
            "metricName": name, "metricLabels": labels,
            "timestamp": timestamp(unix_s.saturating_sub(age_s)), "value": quantity::of(value),
        });
        if let Window::Seconds(s) = signal.window {
            item["windowSeconds"] = json!(s);
        }
        items.push(item);
    }
    json!({ "kind": "ExternalMetricValueList", "apiVersion": GROUP_VERSION, "metadata": {}, "items": items })
}

/// RFC 3339 in whole seconds, as `metav1.Time` is.
fn timestamp(unix_s: i64) -> String {
    Timestamp::from_second(unix_s).unwrap_or_default().to_string()
}

/// What a selector can choose by: the parts of the signal.
pub fn labels(signal: &Signal) -> Labels {
    let mut labels = Labels::new();
    let mut set = |key, value: &str| labels.insert(key, value.to_string());
    match &signal.scope {
        Scope::Upstream(name) => {
            set("scope", "upstream");
            set("upstream", name);
        }
        Scope::Peer { upstream, addr } => {
            set("scope", "peer");
            set("upstream", upstream);
            set("peer", addr);
        }
        Scope::Key { name, value } => {
            set("scope", "key");
            set("key", name);
            value.as_ref().map(|value| set("value", value));
        }
        Scope::Ext { name, field } => {
            set("scope", "ext");
            set("name", name);
            field.as_ref().map(|field| set("field", field));
        }
        Scope::Custom { name, key } => {
            set("scope", "custom");
            set("name", name);
            key.as_ref().map(|key| set("key", key));
        }
        Scope::Gateway => drop(set("scope", "self")),
    }
    if !signal.metric.word().is_empty() {
        set("metric", signal.metric.word());
    }
    if signal.window != Window::Now || signal.stat == Stat::Ewma {
        set("stat", signal.stat.word());
    }
    if signal.window != Window::Now {
        set("window", &signal.window.to_string());
    }
    if signal.slope {
        set("slope", "true");
    }
    labels
}
