//! The election of one gateway by a Kubernetes Lease (`coordination.k8s.io/v1`).
//!
//! The rules are those of client-go's `leaderelection`:
//! - Nobody compares clocks. What counts is for how long *this* gateway has seen an object that does not change; a lease is over when that
//!   is as long as the record says (`leaseDurationSeconds`). Where client-go compares the record, the version is compared here: a holder
//!   whose wall clock stands still is alive.
//! - Every change names the `resourceVersion` that it was made from: of those who try at once, one succeeds.
//! - The holder gives up before others may take over: it writes only for two thirds of the lease after it *asked* for the renewal that
//!   succeeded (client-go's 10 s of 15 s). The last third is for what is under way, and for clocks that run at different speeds.
//!
//! The fence grows with each leader, and is of the scale that all kinds of leaders have, milliseconds since 1970 ([`super::fence`]): so it
//! grows, too, when gateways come here from a lock in Redis, or go there. It lies in an annotation, which a new holder writes along with
//! its name. It is never less than what the API server itself tells: when the object was made, and how often the holder has changed; so
//! it grows when somebody deletes the Lease, or takes the annotation away.
//!
//! A gateway has many workers, one of which competes. The next one of the same gateway takes over at once: that the one before is gone is
//! known from shared memory.

use super::fence;
use super::message::micro_time;
use jiff::Timestamp;
use serde_json::{json, Map, Value};

/// The annotation with the fence.
const FENCE: &str = "autoscale-lua/fence";

/// A Lease as the API server has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    holder: String,
    duration_ms: Option<u64>,
    version: String,
    transitions: u64,
    created_s: i64,
    noted: u64,
    /// What else is in it is somebody's, and stays.
    object: Map<String, Value>,
}

impl Record {
    pub fn parse(body: &[u8]) -> Option<Record> {
        let object: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let metadata = object.get("metadata")?.as_object()?;
        let version = metadata.get("resourceVersion")?.as_str()?.to_string();
        let created = metadata.get("creationTimestamp").and_then(Value::as_str);
        let created_s =
            created.and_then(|text| text.parse::<Timestamp>().ok()).map_or(0, Timestamp::as_second);
        let noted =
            metadata.get("annotations").and_then(|all| all.get(FENCE)?.as_str()?.parse().ok()).unwrap_or(0);
        let spec = object.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
        let text = |name: &str| spec.get(name).and_then(Value::as_str).map(str::to_string);
        let number = |name: &str| spec.get(name).and_then(Value::as_u64);
        Some(Record {
            holder: text("holderIdentity").unwrap_or_default(),
            duration_ms: number("leaseDurationSeconds").filter(|s| *s > 0).map(|s| s.saturating_mul(1000)),
            version,
            transitions: number("leaseTransitions").unwrap_or(0),
            created_s,
            noted,
            object,
        })
    }

    /// Grows with each holder, unless somebody takes away what is noted; whoever has seen more goes on from that.
    fn fence(&self) -> u64 {
        // holders do not change a thousand times a second: who makes the object anew is above those before
        let told = (self.created_s.max(0) as u64)
            .saturating_mul(1000)
            .saturating_add(self.transitions)
            .saturating_add(1);
        self.noted.max(told)
    }

    /// The object with another spec, and with this fence.
    fn with(&self, spec: Map<String, Value>, fence: u64) -> String {
        let mut object = self.object.clone();
        merge(&mut object, "spec", spec);
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            merge(metadata, "annotations", noted(fence));
        }
        Value::Object(object).to_string()
    }
}

fn noted(fence: u64) -> Map<String, Value> {
    Map::from_iter([(FENCE.into(), json!(fence.to_string()))])
}

/// Puts these members into the object `name` of `object`.
fn merge(object: &mut Map<String, Value>, name: &str, members: Map<String, Value>) {
    match object.entry(name).or_insert_with(|| json!({})) {
        Value::Object(old) => old.extend(members),
        slot => *slot = Value::Object(members),
    }
}

/// Who competes, and for what.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub namespace: String,
    pub lease: String,
    /// What all workers of this gateway, and nobody else, begin their names with.
    pub gateway: String,
    /// This worker's name.
    pub me: String,
    pub ttl_ms: u64,
}

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `POST` this: there is no Lease.
    Create(String),
    /// `PUT` this.
    Update(String),
    /// Somebody else holds it.
    Wait,
}

/// One worker's view of an election. Times are milliseconds of a clock that nobody sets.
#[derive(Debug)]
pub struct Election {
    who: Candidate,
    seen: Option<(Record, u64)>,
    held: Option<Held>,
    /// When this look at the Lease was begun, and the one before.
    looks: (u64, u64),
    others: u64,
    /// The greatest fence seen.
    highest: u64,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    until: u64,
    fence: u64,
}

impl Election {
    pub fn new(who: Candidate) -> Election {
        Election { who, seen: None, held: None, looks: (0, 0), others: 0, highest: 0 }
    }

    /// The path of the Lease; without its last part that of all leases.
    pub fn path(&self) -> (String, String) {
        let all = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.who.namespace);
        (format!("{all}/{}", self.who.lease), all)
    }

    /// The leader's token, as long as this worker may act.
    pub fn may_write(&self, now: u64) -> Option<u64> {
        self.held.filter(|held| now < held.until).map(|held| held.fence)
    }

    /// Another gateway held the Lease, and was alive, at this time or later; 0 while nothing is known of others. A holder that is seen
    /// for the first time may be dead already: it must change what it holds.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// The Lease is about to be looked at.
    pub fn look(&mut self, now: u64) {
        self.looks = (now, self.looks.0);
    }

    /// How long until the next look: client-go's 2 s of 15 s; those who wait spread out, and look when what they wait for is over.
    pub fn pause(&self, now: u64, random: u64) -> u64 {
        let period = (self.who.ttl_ms * 2 / 15).max(1);
        if self.may_write(now).is_some() {
            return period;
        }
        let over = self.seen.as_ref().map(|(seen, at)| at + self.lasts(seen));
        let left = over.and_then(|over| over.checked_sub(now)).filter(|left| *left > 0);
        (period + random % (period * 2 / 5 + 1)).min(left.unwrap_or(u64::MAX))
    }

    fn lasts(&self, found: &Record) -> u64 {
        found.duration_ms.unwrap_or(self.who.ttl_ms)
    }

    /// How long one call may take: a holder's no longer than it holds, so that it learns in time that it does not any more.
    pub fn patience(&self, now: u64) -> u64 {
        let left = self.held.map(|held| held.until.saturating_sub(now)).filter(|left| *left > 0);
        (self.who.ttl_ms / 3).min(left.unwrap_or(u64::MAX))
    }

    /// What to do about the Lease that was found, `None` when there is none; `unix_us` is the wall clock, for people to read.
    pub fn step(&mut self, found: Option<Record>, now: u64, unix_us: u64) -> Step {
        let Some(found) = found else {
            // whoever creates it first has it
            (self.seen, self.held) = (None, None);
            return Step::Create(self.new_object(unix_us));
        };
        let seen_at = match self.seen.take() {
            Some((seen, at)) if found.version == seen.version => at,
            Some((seen, _)) => {
                // who gives it back has lived until then
                let holder = if found.holder.is_empty() { &seen.holder } else { &found.holder };
                if !holder.is_empty() && !holder.starts_with(&self.who.gateway) {
                    self.others = self.looks.1;
                }
                now
            }
            None => now,
        };
        let lasts = self.lasts(&found);
        let mine = found.holder == self.who.me;
        let free = found.holder.is_empty()
            || found.holder.starts_with(&self.who.gateway)
            || now.saturating_sub(seen_at) >= lasts;
        let fence = self.fence_of(&found);
        let step = match (mine, free) {
            (true, _) => Step::Update(found.with(self.spec(None, unix_us), fence)),
            (false, true) => {
                let fence = fence::next(fence, unix_us / 1000);
                Step::Update(found.with(self.spec(Some(found.transitions + 1), unix_us), fence))
            }
            (false, false) => Step::Wait,
        };
        if !mine {
            self.held = None;
        }
        self.seen = Some((found, seen_at));
        step
    }

    /// The fence of the Lease as it was found, and no less than the greatest one seen: who takes the annotation away, or the Lease, does not
    /// turn it back.
    fn fence_of(&mut self, found: &Record) -> u64 {
        self.highest = self.highest.max(found.fence());
        self.highest
    }

    /// The API server has taken a change that was asked for at `asked`; this is its answer.
    pub fn taken(&mut self, answer: Record, asked: u64) {
        if answer.holder == self.who.me {
            let fence = self.fence_of(&answer);
            self.held = Some(Held { until: asked + self.who.ttl_ms * 2 / 3, fence });
        } else {
            self.held = None;
        }
        self.seen = Some((answer, asked));
    }

    /// Gives the lead up: from now on nothing may be written. True when there may be something to [`release`](Election::release).
    pub fn give_up(&mut self) -> bool {
        self.held = None;
        self.seen.take().is_some_and(|(record, _)| record.holder == self.who.me)
    }

    /// What to `PUT` so that others need not wait for the end of a lease that was given up; `None` when it is somebody else's now.
    pub fn release(&self, found: &Record, unix_us: u64) -> Option<String> {
        let now = micro_time(unix_us);
        let spec = json!({
            "holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": now, "renewTime": now,
        });
        let spec = spec.as_object().cloned().unwrap_or_default();
        (found.holder == self.who.me).then(|| found.with(spec, found.fence()))
    }

    /// The spec of a holder; one that is new has a number of transitions, and says when it began.
    fn spec(&self, transitions: Option<u64>, unix_us: u64) -> Map<String, Value> {
        let now = micro_time(unix_us);
        let mut spec = Map::new();
        spec.insert("holderIdentity".into(), json!(self.who.me));
        spec.insert("leaseDurationSeconds".into(), json!(self.who.ttl_ms.div_ceil(1000)));
        if let Some(transitions) = transitions {
            spec.insert("acquireTime".into(), json!(now));
            spec.insert("leaseTransitions".into(), json!(transitions));
        }
        spec.insert("renewTime".into(), json!(now));
        spec
    }

    fn new_object(&self, unix_us: u64) -> String {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.who.lease,
                "namespace": self.who.namespace,
                "annotations": noted(fence::next(self.highest, unix_us / 1000)),
            },
            "spec": self.spec(Some(0), unix_us),
        })
        .to_string()
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
