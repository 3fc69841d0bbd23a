//! Elections on a simulated API server and clock.

use super::*;
use proptest::prelude::*;

/// An API server with one Lease.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    version: u64,
    made: u64,
}

impl Server {
    fn get(&self) -> Option<Record> {
        Record::parse(self.lease.as_ref()?.to_string().as_bytes())
    }

    fn store(&mut self, mut object: Value) -> Option<Record> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(object);
        self.get()
    }

    /// The object as changed, or `None` for 409.
    fn apply(&mut self, step: &Step) -> Option<Record> {
        match step {
            Step::Wait => None,
            Step::Create(_) if self.lease.is_some() => None,
            Step::Create(body) => {
                self.made += 1;
                let mut object: Value = serde_json::from_str(body).unwrap();
                object["metadata"]["creationTimestamp"] =
                    json!(format!("2026-01-01T00:00:{:02}Z", self.made));
                self.store(object)
            }
            Step::Update(body) => {
                let object: Value = serde_json::from_str(body).unwrap();
                let fits = object["metadata"]["resourceVersion"] == json!(self.version.to_string());
                (fits && self.lease.is_some()).then(|| self.store(object))?
            }
        }
    }
}

fn election(gateway: &str, worker: &str) -> Election {
    Election::new(Candidate {
        namespace: "shop".into(),
        lease: "autoscale".into(),
        gateway: format!("{gateway}_"),
        me: format!("{gateway}_{worker}"),
        ttl_ms: 15_000,
    })
}

/// One look at the server, at `now`.
fn round(election: &mut Election, server: &mut Server, now: u64) -> Option<u64> {
    election.look(now);
    let step = election.step(server.get(), now, 1_700_000_000_000_000 + now * 1000);
    if let Some(answer) = server.apply(&step) {
        election.taken(answer, now);
    }
    election.may_write(now)
}

#[test]
fn others_are_known_to_be_alive_by_what_they_change() {
    let (mut server, mut a, mut b) = (Server::default(), election("a", "1"), election("b", "1"));
    round(&mut a, &mut server, 0);
    round(&mut b, &mut server, 1000);
    round(&mut b, &mut server, 3000);
    assert_eq!((a.others(), b.others()), (0, 0), "who is seen for the first time may be dead");
    round(&mut a, &mut server, 4000);
    round(&mut b, &mut server, 5000);
    assert_eq!(b.others(), 3000, "it was changed after that look was begun");
    round(&mut b, &mut server, 7000);
    assert_eq!(b.others(), 3000);
    // who gives it back is alive until then
    let freed = a.release(&server.get().unwrap(), 0).map(Step::Update).unwrap();
    server.apply(&freed).unwrap();
    round(&mut b, &mut server, 9000);
    assert_eq!((b.others(), b.may_write(9001).is_some()), (7000, true));
    round(&mut a, &mut server, 9500);
    round(&mut b, &mut server, 11_000);
    assert_eq!((a.others(), b.others()), (4000, 7000), "the gateway itself is no other");
}

#[test]
fn the_first_one_creates_it_and_others_wait_for_a_whole_lease() {
    let (mut server, mut a, mut b) = (Server::default(), election("a", "1"), election("b", "1"));
    let first = round(&mut a, &mut server, 0).unwrap();
    assert_eq!(round(&mut b, &mut server, 1000), None);
    // a is silent; it stops at two thirds of its lease, and b begins a whole lease after it first saw the record
    assert!(a.may_write(9999).is_some());
    assert_eq!(a.may_write(10_000), None);
    // nor does it wait longer for an answer
    assert_eq!([a.patience(0), a.patience(9000), a.patience(10_000)], [5000, 1000, 5000]);
    assert_eq!(round(&mut b, &mut server, 15_999), None);
    let second = round(&mut b, &mut server, 16_000).unwrap();
    assert!(second > first);
    assert_eq!(round(&mut a, &mut server, 16_001), None);
}

#[test]
fn a_renewal_keeps_the_fence_and_prolongs_the_lead() {
    let (mut server, mut a, mut b) = (Server::default(), election("a", "1"), election("b", "1"));
    let fence = round(&mut a, &mut server, 0);
    for now in (2000..60_000).step_by(2000) {
        assert_eq!(round(&mut a, &mut server, now), fence);
        assert_eq!(round(&mut b, &mut server, now + 500), None);
    }
    let spec = &server.lease.as_ref().unwrap()["spec"];
    assert_eq!(spec["leaseTransitions"], 0);
    assert_eq!(spec["leaseDurationSeconds"], 15);
    assert_eq!(spec["acquireTime"], "2023-11-14T22:13:20.000000Z");
    assert_eq!(spec["renewTime"], "2023-11-14T22:14:18.000000Z");
}

#[test]
fn who_waits_looks_when_the_lease_is_over() {
    let (mut server, mut a, mut b) = (Server::default(), election("a", "1"), election("b", "1"));
    round(&mut a, &mut server, 0);
    assert_eq!((a.pause(100, 7), a.pause(100, u64::MAX)), (2000, 2000), "a holder spreads nothing");
    assert_eq!(round(&mut b, &mut server, 1000), None);
    assert_eq!([0, 800, 801].map(|random| b.pause(1000, random)), [2000, 2800, 2000]);
    assert_eq!(b.pause(15_500, 800), 500);
    assert!(round(&mut b, &mut server, 16_000).is_some());
}

#[test]
fn another_worker_of_the_same_gateway_need_not_wait() {
    let (mut server, mut a, mut b) = (Server::default(), election("a", "1"), election("a", "2"));
    let first = round(&mut a, &mut server, 0).unwrap();
    let second = round(&mut b, &mut server, 100).unwrap();
    assert!(second > first);
    // the one before learns of it at its next look, and does not take it back while it is told not to compete
    assert_eq!(server.get().unwrap().holder, "a_2");
}

#[test]
fn what_is_given_up_is_free_at_once() {
    let (mut server, mut a, mut b) = (Server::default(), election("a", "1"), election("b", "1"));
    let first = round(&mut a, &mut server, 0).unwrap();
    assert_eq!(round(&mut b, &mut server, 100), None);
    assert!(a.give_up());
    assert_eq!(a.may_write(200), None);
    let release = a.release(&server.get().unwrap(), 1).unwrap();
    assert!(server.apply(&Step::Update(release)).is_some());
    assert!(round(&mut b, &mut server, 300).unwrap() > first);
    assert!(!a.give_up());
    assert_eq!(a.release(&server.get().unwrap(), 1), None);
}

#[test]
fn a_deleted_lease_does_not_turn_the_fence_back() {
    let (mut server, mut a) = (Server::default(), election("a", "1"));
    let mut last = round(&mut a, &mut server, 0).unwrap();
    for n in 1..20 {
        let mut other = election(&format!("b{n}"), "1");
        round(&mut other, &mut server, 0);
        last = round(&mut other, &mut server, 15_000).unwrap();
    }
    server.lease = None;
    let mut c = election("c", "1");
    assert!(round(&mut c, &mut server, 0).unwrap() > last);
}

#[test]
fn the_fence_is_of_the_scale_of_the_clock() {
    // of the object alone: seconds of its making, which is later than the clock of these tests
    let made_ms = 1_767_225_600_000;
    let (mut server, mut a, mut b) = (Server::default(), election("a", "1"), election("b", "1"));
    assert_eq!(round(&mut a, &mut server, 0), Some(made_ms + 1001));
    // another kind of leader has led meanwhile, for a year: who takes the Lease then is later than that
    let year = 365 * 86_400_000 * 3;
    let fence = (0..2).filter_map(|n| round(&mut b, &mut server, year + n * 15_000)).last();
    assert_eq!(fence, Some(1_700_000_000_000 + year + 15_000));
    // its clock steps back, and the next one's is slow
    assert_eq!(round(&mut b, &mut server, year + 20_000), fence);
    server.lease.as_mut().unwrap()["spec"]["holderIdentity"] = json!("");
    assert_eq!(round(&mut a, &mut server, 30_000), fence.map(|fence| fence + 1));
    // whoever strips it of what is noted does not make it begin at nothing
    server.lease.as_mut().unwrap()["metadata"].as_object_mut().unwrap().remove("annotations");
    assert_eq!(server.get().map(|record| record.fence()), Some(made_ms + 1003));
}

#[test]
fn who_takes_the_annotation_or_the_lease_away_does_not_turn_the_fence_back() {
    // later than the object was made
    let year = 365 * 86_400_000 * 3;
    let (mut server, mut a, mut b) = (Server::default(), election("a", "1"), election("b", "1"));
    let fence = round(&mut a, &mut server, year);
    round(&mut b, &mut server, year);
    for now in [2000, 4000] {
        server.lease.as_mut().unwrap()["metadata"].as_object_mut().unwrap().remove("annotations");
        assert_eq!(round(&mut a, &mut server, year + now), fence, "while it is held");
        assert_eq!(server.get().map(|record| record.fence()), fence, "and it is noted again");
    }
    // whoever is the next one has a slow clock
    server.lease = None;
    assert!(round(&mut b, &mut server, 5000) > fence);
}

#[test]
fn a_lease_that_others_made_keeps_what_is_in_it() {
    let mut server = Server::default();
    server.store(json!({
        "metadata": {"name": "autoscale", "labels": {"team": "shop"}, "annotations": {"note": "ours"},
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"strategy": "OldestEmulationVersion"},
    }));
    let mut a = election("a", "1");
    assert!(round(&mut a, &mut server, 0).is_some());
    let lease = server.lease.unwrap();
    assert_eq!(lease["metadata"]["labels"]["team"], "shop");
    assert_eq!(lease["metadata"]["annotations"]["note"], "ours");
    assert_eq!(lease["spec"]["strategy"], "OldestEmulationVersion");
    assert_eq!(lease["spec"]["holderIdentity"], "a_1");
}

#[test]
fn what_is_no_lease_is_refused() {
    for body in ["", "[]", "{}", r#"{"metadata":{}}"#, r#"{"kind":"Status","metadata":{}}"#] {
        assert_eq!(Record::parse(body.as_bytes()), None, "{body}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever looks when, sees how late an answer, or fails to reach the server: never do two gateways believe at the same time that
    /// they may write, and fences grow from one leader to the next.
    #[test]
    fn there_is_one_leader_at_most(
        looks in prop::collection::vec((0usize..3, 0u64..4000, 0u8..10), 1..300),
    ) {
        let mut server = Server::default();
        let mut all: Vec<Election> = ["a", "b", "c"].iter().map(|name| election(name, "1")).collect();
        let (mut now, mut last) = (0, (0, None));
        for (who, pause, luck) in looks {
            now += pause;
            let step = match luck {
                // the server is not reached
                0..=2 => Step::Wait,
                _ => all[who].step(server.get(), now, 0),
            };
            match luck {
                // the change arrives, its answer does not
                3 => drop(server.apply(&step)),
                // somebody deletes it: that is no safer than with client-go, and only tried while nobody holds it
                4 if all.iter().all(|e| e.may_write(now).is_none()) => server.lease = None,
                _ => if let Some(answer) = server.apply(&step) {
                    // the answer takes its time
                    all[who].taken(answer, now);
                    now += pause / 4;
                }
            }
            let leaders: Vec<(usize, u64)> =
                (0..3).filter_map(|i| Some((i, all[i].may_write(now)?))).collect();
            prop_assert!(leaders.len() <= 1, "{leaders:?}");
            if let Some((leader, fence)) = leaders.first() {
                let (fence_before, leader_before) = last;
                if leader_before == Some(*leader) {
                    prop_assert!(*fence >= fence_before);
                } else {
                    prop_assert!(*fence > fence_before);
                }
                last = (*fence, Some(*leader));
            }
        }
    }
}
