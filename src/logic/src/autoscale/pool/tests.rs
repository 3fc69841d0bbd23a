use super::*;
use crate::autoscale::metrics::series::Class;
use crate::autoscale::metrics::zone::tests::{memory, SIZE};
use crate::autoscale::metrics::zone::{Control, Layout};
use crate::autoscale::nginx_conf::{parse, settings, Files};
use proptest::prelude::*;

const BOUND_S: u64 = 60;

fn at(s: u64) -> Now {
    Now::from_ms(s * 1000)
}

fn step(members: &mut [Member], wanted: u32, s: u64) {
    let duties = arrange(members, wanted, at(s), BOUND_S);
    members.iter_mut().zip(duties).for_each(|(member, duty)| member.duty = duty);
}

/// A letter for each: active, draining, standing by; in capitals when it is bad.
fn shown(members: &[Member]) -> String {
    let letter = |member: &Member| match member.duty {
        Duty::None => '?',
        Duty::Active => 'a',
        Duty::Drain { .. } => 'd',
        Duty::Standby => 's',
    };
    members.iter().map(|m| if m.bad { letter(m).to_ascii_uppercase() } else { letter(m) }).collect()
}

fn pool(n: usize, wanted: u32) -> Vec<Member> {
    let mut members = vec![Member::default(); n];
    step(&mut members, wanted, 0);
    members
}

#[test]
fn it_grows_in_order_and_shrinks_in_the_reverse_order() {
    let mut members = pool(4, 1);
    let mut seen = vec![shown(&members)];
    for wanted in [2, 4, 9, 3, 1, 0, 1] {
        step(&mut members, wanted, 0);
        seen.push(shown(&members));
    }
    assert_eq!(seen, ["asss", "aass", "aaaa", "aaaa", "aaas", "asss", "ssss", "asss"]);
}

#[test]
fn a_drain_ends_with_the_last_request_or_at_its_bound() {
    let mut members = pool(3, 3);
    (members[1].inflight, members[2].inflight) = (1, 1);
    step(&mut members, 1, 600);
    assert_eq!(shown(&members), "add");
    members[1].inflight = 0;
    step(&mut members, 1, 600 + BOUND_S - 1);
    assert_eq!(shown(&members), "asd");
    step(&mut members, 1, 600 + BOUND_S);
    assert_eq!(shown(&members), "ass");
    members[2].inflight = 0;
    step(&mut members, 3, 700);
    assert_eq!(shown(&members), "aaa");
}

#[test]
fn what_drains_can_be_called_back() {
    let mut members = pool(2, 2);
    members[1].inflight = 5;
    step(&mut members, 1, 10);
    assert_eq!(shown(&members), "ad");
    step(&mut members, 2, 11);
    assert_eq!(shown(&members), "aa");
}

#[test]
fn a_bad_one_changes_places_with_one_that_is_well() {
    let mut members = pool(4, 2);
    members[0].bad = true;
    step(&mut members, 2, 1);
    assert_eq!(shown(&members), "Saas");
    step(&mut members, 2, 2);
    assert_eq!(shown(&members), "Saas", "and that is all");
    // one change at a time, and none to something that is no better
    (members[1].bad, members[2].bad) = (true, true);
    step(&mut members, 2, 3);
    assert_eq!(shown(&members), "SASa");
    step(&mut members, 2, 4);
    assert_eq!(shown(&members), "SASa");
    // growing takes them last, shrinking takes them first
    members[2].bad = false;
    step(&mut members, 3, 5);
    assert_eq!(shown(&members), "SAaa");
    step(&mut members, 2, 6);
    assert_eq!(shown(&members), "SSaa");
}

#[test]
fn what_somebody_has_set_holds() {
    let mut members = pool(4, 2);
    members[0].set = Some(State::Down);
    step(&mut members, 2, 1);
    assert_eq!(shown(&members), "saas", "another one takes its place");
    members[3].set = Some(State::Up);
    step(&mut members, 2, 2);
    assert_eq!(shown(&members), "sasa", "it is one of two");
    (members[0].set, members[3].set) = (None, None);
    step(&mut members, 2, 3);
    assert_eq!(shown(&members), "sasa", "and nobody moves when that is taken back");
    members.iter_mut().for_each(|m| m.set = Some(State::Up));
    step(&mut members, 1, 4);
    assert_eq!(shown(&members), "aaaa");
}

/// The plan of upstream `app` under a configuration.
fn plan(lines: &str) -> Option<Plan> {
    struct NoFiles;
    impl Files for NoFiles {
        fn open(&self, _: &str) -> Result<Vec<(String, String)>, String> {
            Err("no files".into())
        }
    }
    let statements = parse("nginx.conf", lines, &NoFiles).expect(lines);
    let zone = |_: &str| Err("no zones".to_string());
    let found = settings(&statements, &zone).unwrap_or_else(|e| panic!("{lines}: {e}"));
    Plan::of(&found.settings, "app")
}

#[test]
fn a_pool_begins_with_the_fewest_unless_nothing_may_change() {
    let policy = |lines: &str| {
        format!("autoscale_target t pool:app min=2; autoscale_policy p target=t {{ up upstream.app.latency > 1s by=+1; {lines} }}")
    };
    let begins = |lines: &str| plan(lines).map(|plan| (plan.first, plan.may_be_zero));
    let table = [
        ("", None),
        ("autoscale_target t pool:other min=2;", None),
        ("autoscale_target t pool:app;", Some((None, false))),
        ("autoscale_target t pool:app min=2;", Some((Some(2), false))),
        ("autoscale_target t pool:app min=0;", Some((Some(0), true))),
        ("autoscale observe; autoscale_target t pool:app min=2;", Some((None, false))),
        ("autoscale off; autoscale_target t pool:app min=2;", None),
        (&policy(""), Some((Some(2), false))),
        (&policy("limit min=3;"), Some((Some(3), false))),
        (&policy("mode observe;"), Some((None, false))),
    ];
    for (lines, right) in table {
        assert_eq!(begins(lines), right, "{lines}");
    }
    let plain =
        "autoscale_target t pool:app; autoscale_policy p target=t { up upstream.app.latency > 1s by=+1; }";
    assert_eq!(begins(plain), Some((Some(1), false)), "a policy without a minimum has one");
    assert_eq!(plan("autoscale_target t pool:app timeout=1500ms;").map(|plan| plan.drain_s), Some(2));
}

#[test]
fn none_only_when_that_was_asked_for() {
    let table = [(0, 3, false, 1), (0, 3, true, 0), (2, 3, false, 2), (9, 3, true, 3), (1, 0, false, 0)];
    for (wanted, members, may_be_zero, right) in table {
        assert_eq!(clamp(wanted, members, may_be_zero), right, "{wanted} of {members}");
    }
}

#[test]
fn a_peer_is_bad_that_failed_ten_times_in_a_row_of_late() {
    let words = memory(SIZE);
    let zone = Zone::create(&words, &Layout::plan(SIZE, 10, 4).unwrap(), 7, at(1000));
    let app = zone.upstream(b"app", at(1000)).unwrap();
    let peer = zone.peer(app, b"10.0.0.1:80", at(1000)).unwrap();
    let finish = |class, s| zone.series(peer).unwrap().finish(at(s), class, 1000, false);
    let bad = |s| Member::of(&zone, peer, at(s)).bad;
    finish(Class::Success, 1000);
    (0..9).for_each(|_| finish(Class::ConnectFailure, 1001));
    assert!(!bad(1001));
    finish(Class::ServerError, 1001);
    assert!(bad(1001) && bad(1055));
    assert!(!bad(1100), "that was a minute ago: it may be tried again");
    finish(Class::Timeout, 1070);
    assert!(bad(1070));
    finish(Class::ClientError, 1071);
    assert!(!bad(1071), "it answers");
}

#[test]
fn the_zone_keeps_what_a_pool_says_apart_from_what_is_set() {
    let words = memory(SIZE);
    let zone = Zone::create(&words, &Layout::plan(SIZE, 10, 4).unwrap(), 7, at(0));
    let app = zone.upstream(b"app", at(0)).unwrap();
    let peer = zone.configured_peer(app, b"10.0.0.1:80", at(0)).unwrap();
    for since in [0, 1, 7, 8, 300, 511] {
        let drain = Duty::Drain { since };
        assert!(zone.set_duty(peer, Duty::None, drain));
        assert_eq!((zone.control(peer).duty, zone.control(peer).says()), (drain, State::Drain));
        assert!(!zone.set_duty(peer, Duty::Active, Duty::Standby));
        assert!(zone.set_duty(peer, drain, Duty::None));
    }
    assert!(zone.set_duty(peer, Duty::None, Duty::Standby));
    let control = Control { state: State::Up, forced: true, weight: 9, limit: 3, ..Control::default() };
    assert!(zone.set_control(peer, control));
    assert_eq!(zone.control(peer), Control { duty: Duty::Standby, ..control });
    assert_eq!(zone.control(peer).says(), State::Up);
    assert!(zone.set_control(peer, Control::default()));
    assert_eq!(zone.control(peer).says(), State::Standby);

    let controls = zone.controls();
    assert_eq!(zone.pool(app), None);
    assert!(zone.set_pool(app, None, Some(0)) && !zone.set_pool(app, None, Some(3)));
    assert_eq!(zone.pool(app), Some(0));
    assert!(zone.set_pool(app, Some(0), Some(7)));
    zone.keep_upstreams(&[]);
    assert_eq!(zone.pool(app), Some(7), "a mark does not disturb it");
    assert!(zone.set_pool(app, Some(7), None) && zone.pool(app).is_none());
    assert_eq!(zone.controls(), controls + 3);
}

#[test]
fn the_age_of_a_drain_survives_the_turn_of_its_clock() {
    for s in [0, 500, 511, 512, 100_000] {
        let Duty::Drain { since } = Duty::drain(at(s)) else { panic!("a drain") };
        for age in [0, 1, 60, 511] {
            assert_eq!(Duty::age_s(since, at(s + age)), age);
        }
    }
}

fn drains(member: &Member) -> bool {
    matches!(member.duty, Duty::Drain { .. })
}

fn any_member() -> impl Strategy<Value = Member> {
    let duty = prop_oneof![
        Just(Duty::None),
        Just(Duty::Active),
        Just(Duty::Standby),
        (0u16..512).prop_map(|since| Duty::Drain { since })
    ];
    let set = prop_oneof![
        4 => Just(None),
        1 => prop_oneof![Just(State::Up), Just(State::Down), Just(State::Drain)].prop_map(Some)
    ];
    (duty, set, any::<bool>(), 0u32..3).prop_map(|(duty, set, bad, inflight)| Member {
        duty,
        set,
        bad,
        inflight,
    })
}

proptest! {
    #[test]
    fn as_many_take_requests_as_are_wanted_and_there(
        mut members in prop::collection::vec(any_member(), 0..20), wanted in 0u32..25, s in 0u64..2000,
    ) {
        let before = members.clone();
        step(&mut members, wanted, s);
        let set_up = members.iter().filter(|m| m.set == Some(State::Up)).count();
        let free = members.iter().filter(|m| m.is_free()).count();
        let taking = members.iter().filter(|m| m.takes_requests()).count();
        prop_assert_eq!(taking, set_up.max((wanted as usize).min(set_up + free)));
        for (before, after) in before.iter().zip(&members) {
            // what is in flight is drained first, and nobody drains for nothing
            let left = before.duty == Duty::Active && before.is_free() && after.duty.is_out();
            prop_assert!(!left || drains(after) == (before.inflight > 0));
            let ends = before.inflight == 0 || !after.is_free();
            prop_assert!(!ends || !drains(after));
            prop_assert!(after.duty != Duty::None);
        }
    }

    #[test]
    fn it_comes_to_rest_and_the_well_are_in_front(
        mut members in prop::collection::vec(any_member(), 0..20), wanted in 0u32..25,
    ) {
        for _ in 0..=members.len() {
            step(&mut members, wanted, 5);
        }
        let rest = members.clone();
        step(&mut members, wanted, 5);
        prop_assert_eq!(&rest, &members);
        let free = || rest.iter().filter(|m| m.is_free());
        let bad_active = free().any(|m| m.bad && m.duty == Duty::Active);
        let well_idle = free().any(|m| !m.bad && m.duty != Duty::Active);
        prop_assert!(!(bad_active && well_idle));
    }

    #[test]
    fn without_faults_the_first_ones_are_active(n in 1usize..20, wishes in prop::collection::vec(0u32..25, 1..20)) {
        let mut members = vec![Member::default(); n];
        for wanted in wishes {
            step(&mut members, wanted, 0);
            let active: Vec<bool> = members.iter().map(Member::takes_requests).collect();
            let right: Vec<bool> = (0..n).map(|i| i < wanted as usize).collect();
            prop_assert_eq!(active, right);
        }
    }

    #[test]
    fn two_that_arrange_at_once_agree(members in prop::collection::vec(any_member(), 0..20), wanted in 0u32..25) {
        // one reads while the other has written some of its changes
        let (now, changes) = (at(5), arrange(&members, wanted, at(5), BOUND_S));
        for written in 0..=members.len() {
            let mut half = members.clone();
            // those who join are written first
            let order = (0..members.len()).filter(|i| !changes[*i].is_out()).chain((0..members.len()).filter(|i| changes[*i].is_out()));
            order.take(written).for_each(|i| half[i].duty = changes[i]);
            let taking = half.iter().filter(|m| m.is_free() && m.duty == Duty::Active).count();
            let least = members.iter().filter(|m| m.is_free() && m.duty == Duty::Active).count()
                .min(changes.iter().zip(&members).filter(|(d, m)| m.is_free() && **d == Duty::Active).count());
            prop_assert!(taking >= least, "at no moment are there fewer than before or after");
            let then = arrange(&half, wanted, now, BOUND_S);
            let active = |duties: &[Duty]| duties.iter().zip(&half).filter(|(d, m)| m.is_free() && **d == Duty::Active).count();
            prop_assert_eq!(active(&then), active(&changes));
        }
    }
}
