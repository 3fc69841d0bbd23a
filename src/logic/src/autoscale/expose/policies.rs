//! The outer loop on the status page: what each policy is at, and who leads.
//!
//! Why a policy does what it does is text, so only JSON and HTML have it.

use super::prometheus::Text;
use serde::Serialize;

/// Policies and leader, as this gateway knows them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scaling {
    pub leader: Option<Leader>,
    pub policies: Vec<Standing>,
}

/// The worker that leads this gateway.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leader {
    pub pid: u32,
    /// Seconds since it was last at work.
    pub age: f64,
    /// Whether this gateway is the one that writes, when it last looked.
    pub writes: bool,
}

/// A policy. Times are seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Standing {
    pub name: String,
    pub target: Option<String>,
    /// `on`, `observe`, `off`.
    pub mode: &'static str,
    /// As last known: wanted, and taking requests.
    pub current: Option<u32>,
    pub ready: Option<u32>,
    pub min: u32,
    pub max: Option<u32>,
    /// The highest wish of the last evaluation, and why there is what there is.
    pub wish: Option<u32>,
    pub reason: Option<String>,
    /// How long ago that was.
    pub age: Option<f64>,
    /// How many decisions it made, and the number of the last one that was carried out.
    pub decisions: u64,
    pub in_force: Option<u64>,
    /// The number of replicas that is being written.
    pub pending: Option<u32>,
    /// How long a script holds it, and how long its cooldowns last.
    pub holding: Option<f64>,
    pub cooldown_up: Option<f64>,
    pub cooldown_down: Option<f64>,
    /// Its `do` lines are in force.
    pub acting: bool,
}

type Family = (&'static str, &'static str, &'static str, fn(&Standing) -> Option<f64>);

const FAMILIES: [Family; 9] = [
    ("replicas", "gauge", "Replicas that the target is known to be told.", |p| p.current.map(f64::from)),
    ("ready_replicas", "gauge", "Replicas that take requests.", |p| p.ready.map(f64::from)),
    ("wish_replicas", "gauge", "The highest wish of the last evaluation.", |p| p.wish.map(f64::from)),
    ("decisions_total", "counter", "Decisions that the policy made.", |p| Some(p.decisions as f64)),
    ("in_force_number", "gauge", "The last decision that was carried out.", |p| p.in_force.map(|n| n as f64)),
    ("pending_replicas", "gauge", "The number that is being written; absent when there is none.", |p| {
        p.pending.map(f64::from)
    }),
    ("held_seconds", "gauge", "How long a script still holds the policy.", |p| {
        Some(p.holding.unwrap_or(0.0))
    }),
    ("acting", "gauge", "Whether its \"do\" lines are in force.", |p| Some(f64::from(u8::from(p.acting)))),
    ("evaluation_age_seconds", "gauge", "How long ago the policy was evaluated.", |p| p.age),
];

pub(super) fn prometheus(scaling: &Scaling, text: &mut Text<'_>) {
    if let Some(leader) = &scaling.leader {
        text.family("autoscale_leader_writes", "gauge", "Whether this gateway is the one that writes.");
        text.sample("autoscale_leader_writes", &[], &[], f64::from(u8::from(leader.writes)));
        text.family("autoscale_leader_age_seconds", "gauge", "How long ago the leader was at work.");
        text.sample("autoscale_leader_age_seconds", &[], &[], leader.age);
    }
    if scaling.policies.is_empty() {
        return;
    }
    text.family("autoscale_policy_info", "gauge", "A policy, its target and its mode.");
    for policy in &scaling.policies {
        let target = policy.target.clone().unwrap_or_default();
        let labels = [("policy", policy.name.clone()), ("target", target), ("mode", policy.mode.into())];
        text.sample("autoscale_policy_info", &labels, &[], 1.0);
    }
    for (suffix, kind, help, value) in FAMILIES {
        let name = format!("autoscale_policy_{suffix}");
        text.family(&name, kind, help);
        for policy in &scaling.policies {
            let labels = [("policy", policy.name.clone())];
            value(policy).into_iter().for_each(|value| text.sample(&name, &labels, &[], value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said() {
        let known = Standing {
            name: "a \"b\"".into(),
            target: Some("web".into()),
            mode: "on",
            current: Some(3),
            wish: Some(5),
            decisions: 7,
            ..Standing::default()
        };
        let leader = Some(Leader { pid: 9, age: 0.5, writes: true });
        let scaling =
            Scaling { leader, policies: vec![known, Standing { name: "c".into(), ..Standing::default() }] };
        let mut out = Vec::new();
        prometheus(&scaling, &mut Text { out: &mut out });
        let text = String::from_utf8(out).unwrap();
        for line in [
            "autoscale_leader_writes 1\n",
            "autoscale_policy_info{policy=\"a \\\"b\\\"\",target=\"web\",mode=\"on\"} 1\n",
            "autoscale_policy_replicas{policy=\"a \\\"b\\\"\"} 3\n",
            "autoscale_policy_wish_replicas{policy=\"a \\\"b\\\"\"} 5\n",
            "autoscale_policy_decisions_total{policy=\"a \\\"b\\\"\"} 7\n",
            "autoscale_policy_held_seconds{policy=\"c\"} 0\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("autoscale_policy_replicas{policy=\"c\"}"));
        assert!(!text.contains("autoscale_policy_pending_replicas{"));
        let mut out = Vec::new();
        prometheus(&Scaling::default(), &mut Text { out: &mut out });
        assert!(out.is_empty(), "nothing without an outer loop");
    }
}
