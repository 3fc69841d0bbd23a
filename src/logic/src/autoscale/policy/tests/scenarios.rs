//! The scenarios of the design, by their ids. T3 is beside the schedule, T13 beside the forecast.

use super::*;

const LATENCY: &str = "upstream.app.latency";

#[test]
fn t1_the_eleventh_slow_request_and_only_it() {
    let mut rig = Rig::new(lines("up upstream.app.latency > 500ms for=11r by=+2;"), 2);
    for n in 0..30 {
        assert!(!rig.request(if n % 11 == 10 { 0.1 } else { 0.9 }), "ten slow ones and a fast one");
    }
    assert!(!rig.request(0.1));
    for n in 1..=10 {
        assert!(!rig.request(0.9), "slow request {n}");
    }
    assert!(rig.request(0.501), "the eleventh");
    assert_eq!((rig.current, rig.state.decisions), (4, 1));
    for _ in 0..100 {
        assert!(!rig.request(0.9), "one write, one decision");
    }
    // after the cooldown of 60 s: what came since counts, while it is fresh; what was acted on does not
    rig.ms += 120_000;
    assert_eq!(rig.run(Event::Tick).scale(), Some(6), "the hundred since were slow too");
    rig.ms += 120_000;
    assert_eq!(rig.run(Event::Tick).scale(), None, "nobody came since");
}

#[test]
fn t2_three_measurements_in_a_row() {
    // three ticks of 5 s, each over the last 5 s
    let mut rig = Rig::new(lines("up upstream.app.latency@5s > 200ms for=3x by=+5; limit max=20;"), 3);
    let mut measure = |ms: f64| {
        rig.set(LATENCY, ms / 1000.0);
        rig.ms += 5000;
        rig.run(Event::Tick).scale()
    };
    let got: Vec<_> = [250.0, 300.0, 150.0, 250.0, 250.0].map(&mut measure).into();
    assert_eq!(got, [None; 5], "two in a row, twice");
    assert_eq!(measure(210.0), Some(8));
}

#[test]
fn t5_fast_down_after_the_sale_but_never_in_the_cooldown() {
    let text = "up upstream.app.rate > 1000 by=+100%; down upstream.app.rate < 200 for=30s by=-50%;
                cooldown up=10s down=60s; limit min=2 max=64;";
    let mut rig = Rig::new(lines(text), 4);
    rig.set("upstream.app.rate", 5000.0);
    assert_eq!(rig.seconds(35), [(1, 8), (11, 16), (21, 32), (31, 64)]);
    rig.set("upstream.app.rate", 50.0);
    // the condition holds from second 1 on, the last change was 4 s before it
    assert_eq!(rig.seconds(400), [(56, 32), (116, 16), (176, 8), (236, 4), (296, 2)]);
}

#[test]
fn t6_idle_for_five_minutes_is_zero_and_the_first_request_wakes() {
    let text = "up upstream.app.queue > 0 for=1r by=+1; down upstream.app.inflight < 1 for=5m by=-100%;
                limit min=0 max=10; cooldown up=1s down=60s;";
    let mut rig = Rig::new(lines(text), 6);
    rig.set("upstream.app.inflight", 0.0);
    rig.set("upstream.app.queue", 0.0);
    assert_eq!(rig.seconds(600), [(301, 0)]);
    rig.set("upstream.app.queue", 1.0);
    assert!(rig.request(0.0), "in milliseconds, not with the next tick");
    assert_eq!(rig.current, 1);
}

#[test]
fn t7_hysteresis_ignores_a_sawtooth() {
    let text = "up self.cpu > 80% for=5m by=+1; down self.cpu < 20% for=10m by=-1; limit max=9;";
    let mut rig = Rig::new(lines(text), 4);
    for s in 0..7200u32 {
        rig.set("self.cpu", 0.75 + 0.1 * f64::from(s % 240) / 240.0);
        assert_eq!(rig.tick().scale(), None, "second {s}");
    }
    rig.set("self.cpu", 0.85);
    // true since the middle of the last tooth, 118 s ago
    assert_eq!(rig.seconds(200), [(182, 5)]);
    rig.set("self.cpu", 0.15);
    assert_eq!(rig.seconds(700), [(601, 4)]);
}

#[test]
fn t8_t9_t10_cpu_and_memory_of_the_gateway() {
    let mut rig = Rig::new(lines("up self.cpu > 70% by=+1; down self.cpu < 30% by=-1; limit max=9;"), 3);
    rig.set("self.cpu", 0.70);
    assert_eq!(rig.seconds(10), []);
    rig.set("self.cpu", 0.71);
    assert_eq!(rig.seconds(1), [(1, 4)]);

    let mut rig = Rig::new(lines("up self.cpu@5m > 70% by=+1; limit max=9;"), 3);
    rig.set("self.cpu", 0.99);
    assert_eq!(rig.seconds(10), [], "the level alone says nothing about five minutes");
    rig.set("self.cpu@5m", 0.72);
    assert_eq!(rig.seconds(1), [(1, 4)]);

    let mut rig =
        Rig::new(lines("up self.cpu > 80% for=5m by=+1; down self.mem < 50% by=-1; limit max=9;"), 3);
    rig.set("self.cpu", 0.81);
    rig.set("self.mem", 0.60);
    assert_eq!(rig.seconds(301), [(301, 4)]);
    rig.set("self.cpu", 0.40);
    rig.set("self.mem", 0.49);
    assert_eq!(rig.seconds(320), [(300, 3)]);
}

#[test]
fn t11_up_on_any_down_on_all() {
    let text = "up upstream.app.latency > 500ms by=+2; up upstream.app.inflight > 100 by=+3;
                down upstream.app.latency < 300ms by=-1; down upstream.app.inflight < 50 by=-2;
                cooldown up=60s down=300s; limit min=1 max=50;";
    let mut rig = Rig::new(lines(text), 10);
    let mut settle = |latency: f64, inflight: f64| {
        rig.ms += 301_000;
        rig.set(LATENCY, latency);
        rig.set("upstream.app.inflight", inflight);
        rig.run(Event::Tick).scale()
    };
    assert_eq!(settle(0.6, 10.0), Some(12), "any");
    assert_eq!(settle(0.1, 101.0), Some(15), "the other");
    assert_eq!(settle(0.6, 101.0), Some(18), "both: the higher");
    assert_eq!(settle(0.4, 10.0), None, "not all below");
    assert_eq!(settle(0.1, 60.0), None, "not all below");
    assert_eq!(settle(0.1, 10.0), Some(17), "all: the smaller step");
}

#[test]
fn t15_the_slope_is_earlier_than_the_level() {
    let text = "up slope(upstream.app.latency@30s) > 10ms for=3x by=+2; up upstream.app.latency > 500ms by=+1; limit max=9;";
    let mut rig = Rig::new(lines(text), 2);
    let mut acted = None;
    for s in 0..60u32 {
        // 100 ms, and 20 ms more each second from second 10 on
        let latency = 0.1 + 0.02 * f64::from(s.saturating_sub(10));
        rig.set(LATENCY, latency);
        rig.set("slope(upstream.app.latency@30s)", if s < 10 { 0.0 } else { 0.02 });
        if rig.tick().scale().is_some() {
            acted = Some((s, latency));
            break;
        }
    }
    assert_eq!(acted.map(|(s, _)| s), Some(12));
    assert!(acted.unwrap().1 < 0.2);
}

#[test]
fn t16_a_queue_is_acted_on_when_a_request_ends() {
    let mut rig = Rig::new(lines("up upstream.app.queue > 100 for=1r by=+4; limit max=20;"), 4);
    rig.set("upstream.app.queue", 100.0);
    assert!(!rig.request(0.1));
    rig.set("upstream.app.queue", 101.0);
    assert!(rig.request(0.1));
    assert_eq!(rig.current, 8);
    assert!(!rig.request(0.1), "the cooldown");
}

#[test]
fn t4_at_the_maximum_the_gateway_helps_itself() {
    let text = "autoscale_target t pool:app; autoscale_target pager webhook:http://127.0.0.1/; upstream app {}
        autoscale_policy p target=t { up upstream.app.latency > 500ms for=3x by=+2; limit max=4; cooldown up=5s;
                                      do shed batch; do notify pager; }";
    let mut rig = Rig::new(policy(text), 3);
    rig.set(LATENCY, 0.9);
    let acts: Vec<Actions> = (0..4).map(|_| rig.tick().actions).collect();
    assert_eq!(acts[2], Actions { in_force: false, turned: false, notify: true }, "scaled to 4: told");
    assert_eq!(acts[3], Actions { in_force: true, turned: true, notify: true }, "and still struggling");
    rig.set(LATENCY, 0.1);
    let acts: Vec<bool> = (0..12).map(|_| rig.tick().actions.in_force).collect();
    assert_eq!(acts.iter().filter(|on| **on).count(), 9, "ten seconds of relief");
    assert!(!acts[11]);
}

#[test]
fn t14_a_policy_without_a_target_throttles() {
    let text = "autoscale_policy p { up key.tenant/acme.rate > 100 for=3x by=+1; do throttle tenant 50; }";
    let mut rig = Rig::new(policy(text), 0);
    rig.set("key.tenant/acme.rate", 150.0);
    let acts: Vec<bool> = (0..4).map(|_| rig.tick().actions.in_force).collect();
    assert_eq!(acts, [false, false, true, true]);
    assert!(rig.log.is_empty());
}

#[test]
fn t22_a_write_that_fails_changes_nothing_and_one_that_hangs_is_not_doubled() {
    let mut rig = Rig::new(lines("up upstream.app.rate > 100 by=+2; limit max=9; cooldown up=60s;"), 3);
    rig.writes = false;
    rig.set("upstream.app.rate", 500.0);
    let first = rig.tick();
    assert_eq!((first.scale(), first.id), (Some(5), 1));
    // it hangs: the same wish is not decided again
    let second = rig.tick();
    assert_eq!(second.outcome, Outcome::Stay(Why::Pending { wish: 5, to: 5 }));
    // another worker takes over from the words in the zone
    rig.state = State::from_words(&rig.state.to_words()[..]).unwrap();
    assert_eq!((rig.state.pending.id, rig.state.pending.to), (1, 5));
    let policy = rig.policy.clone();
    // it failed: no cooldown, decided anew
    policy.settle(&mut rig.state, rig.ms * 1000, 1, None);
    assert_eq!(rig.tick().id, 2);
    // it succeeded; a late second answer is ignored
    policy.settle(&mut rig.state, rig.ms * 1000, 2, Some(5));
    policy.settle(&mut rig.state, rig.ms * 1000, 2, Some(7));
    rig.current = 5;
    assert_eq!(rig.state.events.change(60, rig.ms * 1000), 2);
    assert!(matches!(rig.tick().outcome, Outcome::Stay(Why::Cooldown { wish: 7, .. })));
}

#[test]
fn a_decision_whose_writer_died_is_made_again() {
    let mut rig = Rig::new(lines("up upstream.app.rate > 100 by=+2; limit max=9;"), 3);
    rig.writes = false;
    rig.set("upstream.app.rate", 500.0);
    assert_eq!(rig.tick().id, 1);
    let ids: Vec<u64> = (0..125).map(|_| rig.tick().id).filter(|id| *id != 0).collect();
    assert_eq!(ids, [2], "once a write cannot be under way any more");
}

#[test]
fn a_window_of_requests_is_acted_on_once() {
    let mut rig =
        Rig::new(lines("up upstream.app.latency@10r > 500ms by=+2; limit max=20; cooldown up=1s;"), 2);
    rig.set("upstream.app.latency@10r", 0.9);
    assert!(rig.request(0.9));
    rig.ms += 5000;
    assert_eq!(rig.run(Event::Tick).scale(), None, "the same ten requests");
    (0..8).for_each(|_| assert!(!rig.request(0.9)));
    assert!(!rig.request(0.9), "nine new ones");
    assert!(rig.request(0.9), "ten");
}

#[test]
fn what_scripts_ask_for_adds_up_while_it_is_written() {
    for (delta, expected) in [(1, 7), (-1, 3)] {
        let mut rig = Rig::new(lines("up upstream.app.rate > 100 by=+2; limit max=9; cooldown up=60s;"), 5);
        for n in 1..=2 {
            let pending = rig.state.pending;
            let wish = if pending.id != 0 { pending.to } else { rig.current }.saturating_add_signed(delta);
            assert!(
                matches!(rig.ask(wish).outcome, Outcome::Scale { from: 5, .. }),
                "{delta} for the {n}. time"
            );
        }
        assert_eq!(rig.state.pending.to, expected);
        // what no script asks for is not decided again
        rig.set("upstream.app.rate", 50.0);
        assert_eq!(rig.tick().scale(), None);
    }
}

#[test]
fn a_rule_on_requests_is_not_deaf_after_a_restart() {
    let mut rig =
        Rig::new(lines("up upstream.app.latency > 500ms for=3r by=+2; limit max=20; cooldown up=1s;"), 2);
    (0..50).for_each(|_| assert!(!rig.request(0.1)));
    assert!(!rig.request(0.9) && !rig.request(0.9) && rig.request(0.9));
    // another memory counts from zero, with the state of the one before, or with what a file has of it
    for recounted in [false, true] {
        let mut next = Rig::new(rig.policy.clone(), 4);
        (next.state, next.ms) = (rig.state, rig.ms + 60_000);
        if recounted {
            next.state.recount();
        }
        assert!(!next.request(0.9) && !next.request(0.9));
        assert!(next.request(0.9), "{recounted}");
        assert!(!next.request(0.9) && !next.request(0.9), "those are spent");
    }
}
