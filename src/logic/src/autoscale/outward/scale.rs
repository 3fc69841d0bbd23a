//! The scale subresource of Kubernetes (`autoscaling/v1`): where it is, what it says, and how it is changed.
//!
//! A change is a merge patch (RFC 7386) that names the `resourceVersion` it was computed from, so that the API server refuses it with
//! 409 when somebody else was faster (Kubernetes API conventions, "Concurrency Control and Consistency").

use serde::Deserialize;
use serde_json::{json, Value};

/// Where the objects of a kind are, below the API's address: `/apis/apps/v1` and `deployments`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub base: String,
    pub plural: String,
}

impl Resource {
    /// Of the kinds that every cluster has.
    pub fn known(kind: &str) -> Option<Resource> {
        let plural = match kind {
            "deployment" => "deployments",
            "statefulset" => "statefulsets",
            "replicaset" => "replicasets",
            _ => return None,
        };
        Some(Resource { base: "/apis/apps/v1".into(), plural: plural.into() })
    }

    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/namespaces/{namespace}/{}/{name}", self.base, self.plural)
    }

    pub fn scale(&self, namespace: &str, name: &str) -> String {
        self.object(namespace, name) + "/scale"
    }
}

/// `GROUP.KIND` in its parts: the kind has no dot.
pub fn group_and_kind(kind: &str) -> Option<(&str, &str)> {
    kind.rsplit_once('.').filter(|(group, kind)| !group.is_empty() && !kind.is_empty())
}

/// The version that a group prefers, from `GET /apis/GROUP`: `argoproj.io/v1alpha1`.
pub fn preferred_version(body: &[u8]) -> Option<String> {
    let group: Value = serde_json::from_slice(body).ok()?;
    let version = group.pointer("/preferredVersion/groupVersion")?.as_str()?;
    version.bytes().all(|b| b.is_ascii_alphanumeric() || b"./-".contains(&b)).then(|| version.to_string())
}

/// The plural of a kind that can be scaled, from `GET /apis/GROUP/VERSION`.
pub fn plural_of(body: &[u8], kind: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct List {
        resources: Vec<Entry>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        name: String,
        #[serde(default)]
        singular_name: String,
        kind: String,
    }
    let list: List = serde_json::from_slice(body).ok()?;
    let is_it = |entry: &&Entry| {
        !entry.name.contains('/')
            && (entry.kind.eq_ignore_ascii_case(kind) || entry.singular_name == kind || entry.name == kind)
    };
    let plural = &list.resources.iter().find(is_it)?.name;
    let scales = list.resources.iter().any(|entry| entry.name.strip_suffix("/scale") == Some(plural));
    scales.then(|| plural.clone())
}

/// A `Scale`, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    pub wanted: u32,
    /// Pods that exist; whether they are ready it does not say.
    pub present: u32,
    pub version: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    metadata: Metadata,
    spec: Option<Counted>,
    status: Counted,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    resource_version: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Counted {
    replicas: Option<u32>,
    ready_replicas: Option<u32>,
}

impl Scale {
    pub fn parse(body: &[u8]) -> Option<Scale> {
        let object: Object = serde_json::from_slice(body).ok()?;
        let version = object.metadata.resource_version;
        // a number of zero may be left out, as the API's Go types do; without a version it is something else
        let wanted = object.spec?.replicas.unwrap_or(0);
        (!version.is_empty()).then(|| Scale { wanted, present: object.status.replicas.unwrap_or(0), version })
    }

    /// The patch that sets the number, if nobody has changed the object since.
    pub fn patch(&self, to: u32) -> String {
        json!({"metadata": {"resourceVersion": self.version}, "spec": {"replicas": to}}).to_string()
    }

    /// What is left to do of an order, now that the object says this.
    pub fn still(&self, from: u32, to: u32) -> Still {
        let wanted = self.wanted;
        if wanted == 0 && from != 0 && to != 0 {
            // as the Kubernetes HPA has it: zero is a person's word, and only an order that knows of it goes against it
            return Still::Paused;
        }
        let moot = if to >= from { wanted >= to } else { wanted <= to };
        if moot {
            Still::Done
        } else {
            Still::Needed
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Still {
    Needed,
    /// The number is there, or somebody went further in the same direction.
    Done,
    /// Somebody scaled it to zero meanwhile.
    Paused,
}

/// How many pods are ready, from the object itself; a workload without any leaves the number out.
pub fn ready_of(body: &[u8]) -> Option<(u32, u32)> {
    let object: Object = serde_json::from_slice(body).ok()?;
    // the API server has filled in the default of one
    let wanted = object.spec?.replicas.unwrap_or(1);
    (!object.metadata.resource_version.is_empty())
        .then_some((wanted, object.status.ready_replicas.unwrap_or(0)))
}

/// Why the API server refused, from the `Status` it answers with: bounded, and fit for a log.
pub fn refusal(body: &[u8]) -> Option<String> {
    let status: Value = serde_json::from_slice(body).ok()?;
    let message = status.get("message")?.as_str()?;
    let clean = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    Some(clean.take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: &[u8] = br#"{"kind":"Scale","apiVersion":"autoscaling/v1",
        "metadata":{"name":"web","namespace":"shop","resourceVersion":"812"},
        "spec":{"replicas":3},"status":{"replicas":2,"selector":"app=web"}}"#;

    #[test]
    fn a_scale_says_what_is_wanted_and_there() {
        let scale = Scale::parse(SCALE).unwrap();
        assert_eq!(scale, Scale { wanted: 3, present: 2, version: "812".into() });
        assert_eq!(scale.patch(5), r#"{"metadata":{"resourceVersion":"812"},"spec":{"replicas":5}}"#);
        let empty =
            Scale::parse(br#"{"metadata":{"resourceVersion":"9"},"spec":{},"status":{"replicas":0}}"#);
        assert_eq!(empty.unwrap().wanted, 0);
    }

    #[test]
    fn what_is_no_scale_is_refused() {
        for body in [
            r#"{"kind":"Status","code":200}"#,
            r#"{"metadata":{"resourceVersion":"1"}}"#,
            r#"{"metadata":{},"spec":{"replicas":3}}"#,
            r#"{"metadata":{"resourceVersion":"1"},"spec":{"replicas":-3}}"#,
            "[]",
            "",
        ] {
            assert_eq!(Scale::parse(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn an_order_is_not_needed_when_others_went_as_far() {
        let at = |wanted| Scale { wanted, present: 0, version: "1".into() };
        for (from, to, wanted, still) in [
            (3, 5, 3, Still::Needed),
            (3, 5, 5, Still::Done),
            // upwards only further, downwards only further
            (3, 5, 8, Still::Done),
            (3, 5, 1, Still::Needed),
            (5, 3, 5, Still::Needed),
            (5, 3, 2, Still::Done),
            (5, 3, 8, Still::Needed),
            // a person's zero; to zero and from zero are orders like others
            (3, 5, 0, Still::Paused),
            (5, 3, 0, Still::Paused),
            (3, 0, 0, Still::Done),
            (0, 1, 0, Still::Needed),
        ] {
            assert_eq!(at(wanted).still(from, to), still, "{from} to {to} at {wanted}");
        }
    }

    #[test]
    fn kinds_of_other_groups_are_looked_up() {
        assert_eq!(group_and_kind("argoproj.io.rollout"), Some(("argoproj.io", "rollout")));
        assert_eq!(group_and_kind("rollout"), None);
        let group = br#"{"kind":"APIGroup","preferredVersion":{"groupVersion":"argoproj.io/v1alpha1","version":"v1alpha1"}}"#;
        assert_eq!(preferred_version(group).as_deref(), Some("argoproj.io/v1alpha1"));
        assert_eq!(preferred_version(br#"{"preferredVersion":{"groupVersion":"a/../../x?"}}"#), None);
        let list = br#"{"resources":[
            {"name":"rollouts","singularName":"rollout","kind":"Rollout"},
            {"name":"rollouts/scale","singularName":"","kind":"Scale"},
            {"name":"analysisruns","singularName":"analysisrun","kind":"AnalysisRun"}]}"#;
        assert_eq!(plural_of(list, "rollout").as_deref(), Some("rollouts"));
        assert_eq!(plural_of(list, "rollouts").as_deref(), Some("rollouts"));
        assert_eq!(plural_of(list, "analysisrun"), None);
        let known = Resource::known("statefulset").unwrap();
        assert_eq!(known.scale("db", "pg"), "/apis/apps/v1/namespaces/db/statefulsets/pg/scale");
    }

    #[test]
    fn readiness_comes_from_the_object() {
        let body = br#"{"metadata":{"resourceVersion":"1"},"spec":{"replicas":4},"status":{"replicas":4,"readyReplicas":1}}"#;
        assert_eq!(ready_of(body), Some((4, 1)));
        let none = br#"{"metadata":{"resourceVersion":"1"},"spec":{"replicas":4},"status":{}}"#;
        assert_eq!(ready_of(none), Some((4, 0)));
    }

    #[test]
    fn refusals_are_short() {
        let long = format!(r#"{{"kind":"Status","message":"no\nway {}"}}"#, "x".repeat(500));
        let shown = refusal(long.as_bytes()).unwrap();
        assert!(shown.starts_with("no way") && shown.len() == 200);
        assert_eq!(refusal(b"<html>"), None);
    }
}
