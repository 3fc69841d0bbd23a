//! The lead among gateways changes hands while something is decided.

use super::*;
use crate::autoscale::outward::lease::{Candidate, Election, Record, Step};
use proptest::prelude::*;
use serde_json::{json, Value};

const RATE: &str = "upstream.app.rate";

fn follower() -> Rig {
    let mut rig = Rig::new(lines("up upstream.app.rate > 100 by=+2; limit max=9; cooldown up=60s;"), 3);
    rig.mode = Mode::Follow;
    rig.set(RATE, 500.0);
    rig
}

#[test]
fn what_is_decided_while_nobody_leads_is_pending_and_starts_no_cooldown() {
    let mut rig = follower();
    let first = rig.tick();
    assert_eq!((first.outcome, first.id), (Outcome::Would { from: 3, to: 5 }, 1));
    assert_eq!((rig.state.pending.id, rig.state.pending.to, rig.state.up_us), (1, 5, 0));
    // decided once, however long it takes
    (0..60).for_each(|_| assert!(matches!(rig.tick().outcome, Outcome::Stay(Why::Pending { to: 5, .. }))));
    // another worker of the gateway goes on, and gets the lead: the order is there
    rig.state = State::from_words(&rig.state.to_words()[..]).unwrap();
    rig.mode = Mode::On;
    assert!(matches!(rig.tick().outcome, Outcome::Stay(Why::Pending { .. })));
    let policy = rig.policy.clone();
    policy.settle(&mut rig.state, rig.ms * 1000, 1, Some(5));
    rig.current = 5;
    assert!(matches!(rig.tick().outcome, Outcome::Stay(Why::Cooldown { .. })));
}

#[test]
fn what_another_gateway_had_time_to_decide_is_left_to_it() {
    let mut rig = follower();
    rig.tick();
    let (policy, at_us) = (rig.policy.clone(), rig.ms * 1000);
    for seen_us in [0, at_us - 1, at_us + 1_999_999] {
        assert_eq!(policy.leave(&mut rig.state, seen_us, 1_000_000), None);
    }
    assert_eq!(policy.leave(&mut rig.state, at_us + 2_000_000, 1_000_000).map(|p| p.to), Some(5));
    // as if it had been written when it was decided
    assert_eq!((rig.state.pending.id, rig.state.up_us), (0, at_us));
    rig.current = 5;
    assert!(matches!(rig.tick().outcome, Outcome::Stay(Why::Cooldown { .. })));
    assert_eq!(policy.leave(&mut rig.state, u64::MAX, 1_000_000), None);
}

#[test]
fn what_somebody_has_done_is_done() {
    let mut rig = follower();
    let policy = rig.policy.clone();
    rig.tick();
    // not as far as it was wanted
    policy.moved(&mut rig.state, rig.ms * 1000, 3, 4);
    assert_eq!((rig.state.pending.to, rig.state.up_us), (5, rig.ms * 1000));
    policy.moved(&mut rig.state, rig.ms * 1000 + 5, 4, 5);
    assert_eq!((rig.state.pending.id, rig.state.up_us), (0, rig.ms * 1000 + 5));
    // nothing on top of it, nor of what was done before anything was decided here
    rig.current = 5;
    assert!(matches!(rig.tick().outcome, Outcome::Stay(Why::Cooldown { .. })));
    let mut rig = follower();
    policy.moved(&mut rig.state, rig.ms * 1000, 3, 5);
    rig.current = 5;
    assert!(matches!(rig.tick().outcome, Outcome::Stay(Why::Cooldown { .. })));
}

#[test]
fn who_only_observes_has_no_orders() {
    let mut rig = follower();
    rig.policy.observe = true;
    assert!(matches!(rig.tick().outcome, Outcome::Would { .. }));
    assert_eq!((rig.state.pending.id, rig.state.up_us), (0, rig.ms * 1000));
}

/// A gateway that competes for a Lease, and carries out what is pending when it leads, as the engine does: the target is asked first.
struct Gateway {
    rig: Rig,
    election: Election,
    looks_at: u64,
}

impl Gateway {
    fn new(name: &str) -> Gateway {
        let candidate = Candidate {
            namespace: "shop".into(),
            lease: "lead".into(),
            gateway: format!("{name}_"),
            me: format!("{name}_1"),
            ttl_ms: 15_000,
        };
        Gateway { rig: follower(), election: Election::new(candidate), looks_at: 0 }
    }

    fn look(&mut self, lease: &mut Option<(Value, u64)>, random: u64) {
        let now = self.rig.ms;
        if now < self.looks_at {
            return;
        }
        self.election.look(now);
        let found = lease.as_ref().and_then(|(object, _)| Record::parse(object.to_string().as_bytes()));
        let body = match self.election.step(found, now, now * 1000) {
            Step::Wait => None,
            Step::Create(body) | Step::Update(body) => Some(body),
        };
        if let Some(body) = body {
            let version = lease.as_ref().map_or(1, |(_, version)| version + 1);
            let mut object: Value = serde_json::from_str(&body).unwrap();
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            self.election.taken(Record::parse(object.to_string().as_bytes()).unwrap(), now);
            *lease = Some((object, version));
        }
        self.looks_at = now + self.election.pause(now, random);
    }

    /// A tick at `ms`; what it writes, if anything.
    fn tick(&mut self, ms: u64, target: u32, loaded: bool) -> Option<u32> {
        let leads = self.election.may_write(ms).is_some();
        let before = self.rig.current;
        (self.rig.ms, self.rig.current, self.rig.writes) = (ms, target, false);
        self.rig.mode = if leads { Mode::On } else { Mode::Follow };
        self.rig.set(RATE, if loaded { 500.0 } else { 50.0 });
        let policy = self.rig.policy.clone();
        if !leads {
            policy.moved(&mut self.rig.state, ms * 1000, before, target);
            policy.leave(&mut self.rig.state, self.election.others() * 1000, 1_000_000);
        }
        self.rig.run(Event::Tick);
        let pending = self.rig.state.pending;
        if !leads || pending.id == 0 {
            return None;
        }
        let reached = target >= pending.to;
        policy.settle(&mut self.rig.state, ms * 1000, pending.id, Some(pending.to));
        (!reached).then_some(pending.to)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Two gateways see one burst. Whoever leads dies, or hears no API server any more, at any moment around it: there is one write, and
    /// no later than the Lease lasts.
    #[test]
    fn a_burst_around_a_handover_is_answered_once(
        lost in 30_000u64..60_000, dies: bool, phases in (0u64..1000, 0u64..1000),
        randoms in proptest::collection::vec(any::<u64>(), 64),
    ) {
        let mut gateways = [Gateway::new("a"), Gateway::new("b")];
        let (mut lease, mut target, mut writes) = (None, 3, Vec::new());
        let burst = 40_000..43_000;
        for ms in (0..120_000).step_by(50) {
            for (n, gateway) in gateways.iter_mut().enumerate() {
                let gone = n == 0 && ms >= lost;
                gateway.rig.ms = ms;
                // b comes a little later: a leads
                if !gone && (n == 0 || ms > 1000) {
                    gateway.look(&mut lease, randoms[(ms / 50) as usize % 64]);
                }
                let phase = [phases.0, phases.1][n] / 50 * 50;
                if ms % 1000 == phase && !(gone && dies) && ms > 2000 {
                    if let Some(to) = gateway.tick(ms, target, burst.contains(&ms)) {
                        writes.push((ms, to));
                        target = to;
                    }
                }
            }
        }
        prop_assert_eq!(writes.len(), 1, "{:?}", writes);
        let (at, to) = writes[0];
        prop_assert!(to == 5 && (40_000..60_000).contains(&at), "{:?}", writes);
        prop_assert!(gateways[1].election.may_write(120_000 - 50).is_some());
    }
}
