//! Tracking, brakes, stale signals, explanations.

use super::*;

const RATE: &str = "upstream.app.rate";

#[test]
fn tracking_is_an_hpa_with_its_window() {
    let mut rig = Rig::new(lines("track upstream.app.rate per=100; limit min=1 max=50;"), 5);
    rig.set(RATE, 1000.0);
    assert_eq!(rig.seconds(1), [(1, 10)], "up at once");
    rig.set(RATE, 1090.0);
    assert_eq!(rig.seconds(10), [], "inside the tolerance");
    rig.set(RATE, 300.0);
    // the highest recommendation of the last 300 s was 10, last at second 10; a part of the window is 5 s
    let down = rig.seconds(320);
    assert_eq!(down.len(), 1, "{down:?}");
    assert!((300..=306).contains(&down[0].0) && down[0].1 == 3, "{down:?}");
}

#[test]
fn a_mean_is_tracked_by_its_ratio() {
    let mut rig =
        Rig::new(lines("track upstream.app.latency@1m per=200ms; limit max=50; behavior down window=0;"), 4);
    rig.set("upstream.app.latency@1m", 0.5);
    assert_eq!(rig.seconds(1), [(1, 10)]);
    rig.set("upstream.app.latency@1m", 0.1);
    assert_eq!(rig.seconds(1), [(1, 5)]);
}

#[test]
fn panic_doubles_at_once_and_holds() {
    let mut rig = Rig::new(lines("track upstream.app.rate@1m per=10 panic=200%:6s; limit min=1 max=100;"), 1);
    rig.set("upstream.app.rate@1m", 10.0);
    rig.set("upstream.app.rate@6s", 45.0);
    assert_eq!(rig.seconds(1), [(1, 5)]);
    rig.set("upstream.app.rate@1m", 20.0);
    rig.set("upstream.app.rate@6s", 5.0);
    assert_eq!(rig.seconds(59), []);
    // the stable window asks for 2; a decision at most halves: 5 / 2.0 = 2
    assert_eq!(rig.seconds(10), [(2, 2)]);
}

#[test]
fn a_restart_keeps_what_there_is_until_it_knows_better() {
    let mut rig = Rig::new(lines("track upstream.app.rate per=100; limit max=50;"), 10);
    rig.set(RATE, 100.0);
    assert_eq!(rig.seconds(295), [], "Kubernetes begins the window with the current number");
    let mut rig = Rig::new(lines("track upstream.app.rate@1m per=100 panic=200%:6s; limit max=50;"), 10);
    rig.set("upstream.app.rate@1m", 100.0);
    rig.set("upstream.app.rate@6s", 100.0);
    assert_eq!(rig.seconds(60), [], "Knative begins in panic");
    assert_eq!(rig.seconds(3), [(2, 5), (3, 2)]);
}

#[test]
fn speed_has_limits() {
    let text = "track upstream.app.rate per=10; limit max=1000; behavior up 4/15s 100%/15s select=max; behavior down window=0 1/60s;";
    let mut rig = Rig::new(lines(text), 2);
    rig.set(RATE, 5000.0);
    // Kubernetes' default: the higher of 4 and 100 % in 15 s, from the number at the period's start
    assert_eq!(rig.seconds(46), [(1, 6), (16, 12), (31, 24), (46, 48)]);
    rig.set(RATE, 10.0);
    assert_eq!(rig.seconds(130).len(), 1, "the ups of the last minute count against the period's start");
    let mut rig =
        Rig::new(lines("up upstream.app.rate > 10 by=+3; limit max=100 rate=4; cooldown up=1s;"), 10);
    rig.set(RATE, 50.0);
    assert_eq!(rig.seconds(62), [(1, 13), (2, 14), (61, 17), (62, 18)]);
}

#[test]
fn stale_holds_and_never_takes_away() {
    let text = "track ext.queue per=10; track upstream.app.rate per=100; limit min=1 max=50; behavior down window=0;";
    let text = format!(
        "autoscale_target t pool:app; autoscale_signal queue http://127.0.0.1/q path=/n;
        autoscale_policy p target=t {{ {text} }}"
    );
    let mut rig = Rig::new(policy(&text), 10);
    rig.stale("ext.queue");
    rig.set(RATE, 100.0);
    let evaluation = rig.tick();
    assert_eq!(evaluation.outcome, Outcome::Stay(Why::Stale { slot: 0 }));
    assert_eq!(rig.policy.explain(&evaluation), "stays at 10: ext.queue is stale, so nothing is taken away");
    rig.set(RATE, 2000.0);
    assert_eq!(rig.seconds(1), [(1, 20)], "up is allowed");
    rig.set("ext.queue", 0.0);
    rig.set(RATE, 100.0);
    assert_eq!(rig.seconds(1), [(1, 1)]);
}

#[test]
fn stale_may_ask_for_a_fallback() {
    let text = "autoscale_target t pool:app; autoscale_signal queue http://127.0.0.1/q path=/n;
        autoscale_policy p target=t { track ext.queue per=10; limit min=1 max=50 stale=8; }";
    let mut rig = Rig::new(policy(text), 3);
    rig.stale("ext.queue");
    assert_eq!(rig.seconds(5), [(1, 8)]);
    let mut rig = Rig::new(policy(text), 12);
    rig.stale("ext.queue");
    assert_eq!(rig.seconds(5), [], "never down to it");
}

#[test]
fn an_adaptive_threshold_needs_a_tenth_of_its_window() {
    let mut rig = Rig::new(lines("up upstream.app.latency > 2x baseline@10m by=+1; limit max=9;"), 2);
    rig.set("upstream.app.latency", 0.9);
    for s in 0..60 {
        rig.set("upstream.app.latency", if s == 30 { 5.0 } else { 0.1 });
        let evaluation = rig.tick();
        assert!(matches!(evaluation.verdicts[0], Verdict::Learning { .. }), "second {s}: {evaluation:?}");
    }
    // the mean of 59 x 0.1 and a 5.0 is 0.18
    rig.set("upstream.app.latency", 0.35);
    assert_eq!(rig.seconds(1), []);
    rig.set("upstream.app.latency", 0.38);
    assert_eq!(rig.seconds(1), [(1, 3)]);
}

#[test]
fn a_calendar_alone_goes_up_and_comes_back() {
    let text = "schedule \"0 9 * * *\" before=15m for=1h min=8; limit min=2 max=20;";
    let mut rig = Rig::new(lines(text), 2);
    // 08:44:58 UTC
    rig.unix_ms = 1_795_000_000_000 / 86_400_000 * 86_400_000 + (8 * 3600 + 44 * 60 + 58) * 1000;
    assert_eq!(rig.seconds(5000), [(2, 8), (2 + 4500, 2)]);
}

#[test]
fn a_clock_that_steps_back_an_hour_changes_no_cooldown() {
    let mut rig = Rig::new(lines("up upstream.app.rate > 10 by=+1; limit max=9; cooldown up=60s;"), 2);
    rig.set(RATE, 50.0);
    assert_eq!(rig.seconds(1), [(1, 3)]);
    rig.unix_ms -= 3_600_000;
    assert_eq!(rig.seconds(61), [(60, 4)]);
}

#[test]
fn missing_samples_are_forgiven_for_a_moment() {
    let mut rig = Rig::new(lines("up upstream.app.latency > 500ms for=60s by=+1; limit max=9;"), 2);
    for s in 0..61 {
        if s % 7 == 3 {
            rig.values.clear();
        } else {
            rig.set("upstream.app.latency", 0.9);
        }
        rig.tick();
    }
    assert_eq!(rig.current, 3, "a quiet second here and there");
    let mut rig = Rig::new(lines("up upstream.app.latency > 500ms for=60s by=+1; limit max=9;"), 2);
    rig.set("upstream.app.latency", 0.9);
    rig.seconds(40);
    rig.ms += 35_000;
    assert_eq!(
        rig.seconds(60),
        [],
        "half a minute of which nothing is known is not half a minute of trouble"
    );
    assert_eq!(rig.seconds(1), [(1, 3)]);
}

#[test]
fn scaled_to_zero_by_hand_is_left_alone_and_bounds_are_restored() {
    let mut rig = Rig::new(lines("track upstream.app.rate per=10; limit min=2 max=5;"), 0);
    rig.set(RATE, 100.0);
    assert_eq!(rig.tick().outcome, Outcome::Stay(Why::Paused));
    rig.current = 40;
    assert_eq!(rig.seconds(1), [(1, 5)]);
    rig.current = 1;
    rig.set(RATE, 10.0);
    assert_eq!(rig.seconds(1), [(1, 2)]);
}

#[test]
fn a_script_holds_and_wishes() {
    struct Says(Result<Option<Wish>, String>);
    impl Script for Says {
        fn wish(&mut self, number: usize, _: Replicas) -> Result<Option<Wish>, String> {
            assert_eq!(number, 0);
            self.0.clone()
        }
    }
    let policy = lines("by_lua_block { return 7 -- } \n } limit max=9;");
    let mut state = State::default();
    let view = Board(&policy, &HashMap::new(), &[]);
    let ask = |state: &mut State, says| {
        let input = Input {
            now: Now::from_ms(5000),
            unix_ms: 0,
            event: Event::Tick,
            mode: Mode::On,
            replicas: Some(Replicas { wanted: 3, ready: 3 }),
            view: &view,
            script: Some(&mut Says(says)),
        };
        policy.step(state, input)
    };
    let wish = |replicas| Ok(Some(Wish { replicas, reason: "because".into() }));
    assert_eq!(ask(&mut state, Err("boom".into())).outcome, Outcome::Stay(Why::Enough));
    assert_eq!(ask(&mut state, Ok(None)).outcome, Outcome::Stay(Why::Enough));
    state.hold(5_000_000, 10.0);
    assert_eq!(ask(&mut state, wish(7)).outcome, Outcome::Stay(Why::Held { wish: 7, left_s: 10.0 }));
    state.hold(5_000_000, 0.0);
    let evaluation = ask(&mut state, wish(7));
    assert_eq!(evaluation.outcome, Outcome::Scale { from: 3, to: 7 });
    let right = "from 3 to 7: 7 wanted by \"by_lua_block 1\" (because)";
    assert_eq!(policy.explain(&evaluation), right);
}

#[test]
fn observing_decides_and_writes_nothing() {
    let mut rig =
        Rig::new(lines("up upstream.app.rate > 10 by=+1; limit max=9; cooldown up=60s; mode observe;"), 2);
    rig.set(RATE, 50.0);
    let first = rig.tick();
    assert_eq!((first.outcome, first.scale(), first.id), (Outcome::Would { from: 2, to: 3 }, None, 1));
    let second = rig.tick();
    assert!(matches!(second.outcome, Outcome::Stay(Why::Cooldown { .. })), "not every tick");
}

#[test]
fn every_decision_explains_itself() {
    let text = "up upstream.app.latency > 500ms for=3x by=+2; down upstream.app.latency < 150ms for=10m by=-1; limit max=5;";
    let mut rig = Rig::new(lines(text), 4);
    rig.set("upstream.app.latency", 0.731);
    let quiet = rig.tick();
    assert!(
        rig.policy.explain(&quiet).ends_with("for=3x by=+2\": so for 1 ticks of 3 ticks"),
        "{}",
        rig.policy.explain(&quiet)
    );
    rig.tick();
    let evaluation = rig.tick();
    let decision = rig.policy.decision(&evaluation, 1_795_000_000_123);
    assert_eq!(
        decision.reason,
        "from 4 to 5: 6 wanted by \"up upstream.app.latency > 500ms for=3x by=+2\" (it is 731ms)"
    );
    assert_eq!((decision.wish, decision.after_limits, decision.after_cooldown), (6, 5, 5));
    let json = serde_json::to_value(&decision).unwrap();
    assert_eq!(json["time"], "2026-11-18T11:06:40.123Z");
    assert_eq!(json["signals"][0]["signal"], "upstream.app.latency.avg@5s");
    assert_eq!(json["rules"][1]["says"], "not so");
    let again = rig.tick();
    assert_eq!(again.outcome, Outcome::Stay(Why::AtMax { wish: 7 }));
    assert!(again.news && !rig.tick().news, "the same explanation is news once");
}

#[test]
fn what_falls_fast_has_a_threshold_below_zero() {
    let mut rig = Rig::new(lines("up slope(custom.stock) < -5 by=+2; cooldown up=0s; limit max=9;"), 2);
    rig.set("slope(custom.stock)", -4.0);
    assert_eq!(rig.seconds(3), []);
    rig.set("slope(custom.stock)", -6.0);
    assert_eq!(rig.seconds(1).len(), 1);
}

#[test]
fn a_forecast_says_how_much_it_has_seen() {
    let mut rig =
        Rig::new(lines("track upstream.app.rate per=10; forecast period=1d lead=5m; limit max=99;"), 2);
    rig.set("upstream.app.rate", 20.0);
    // a slot of a day is five minutes, and counts when it is over
    rig.seconds(2 * 300 + 5);
    let Verdict::Learning { seen_s, of_s } = rig.tick().verdicts[1] else { panic!("it does not learn") };
    assert_eq!(of_s, 172_800.0);
    assert!((300.0..=900.0).contains(&seen_s), "{seen_s}");
}

#[test]
fn a_season_stays_with_its_signal() {
    let policy = |track: &str| {
        Rig::new(lines(&format!("track {track}; forecast period=1d lead=5m; limit max=99;")), 2).policy
    };
    let mut state = State::default();
    let before = policy("upstream.app.rate@5s per=10");
    before.adopt(&mut state);
    state.season.learn(86_400_000, 300_000, 86_400_000, 1, 5.0);
    let learnt = state.season;
    // another window, or another division, is the same load
    for same in ["upstream.app.rate@30s per=10", "upstream.app.rate@5s per=7"] {
        policy(same).adopt(&mut state);
        assert!(state.season == learnt, "{same}");
    }
    policy("upstream.app.inflight per=10").adopt(&mut state);
    assert!(state.season != learnt && state.season.seen_s() == 0.0);
}

#[test]
fn a_target_that_does_not_go_where_it_is_told_is_not_told_again_at_once() {
    let mut rig = Rig::new(lines("up upstream.app.rate > 1 by=+1; cooldown up=60s; limit max=9;"), 2);
    rig.writes = false;
    rig.set("upstream.app.rate", 5.0);
    let id = rig.tick().id;
    assert_eq!(id, 1);
    // a receiver at its quota
    rig.policy.settle(&mut rig.state, rig.ms * 1000, id, Some(2));
    for s in 0..59 {
        assert_eq!(rig.tick().id, 0, "second {s}");
    }
    assert_eq!((0..3).map(|_| rig.tick().id).max(), Some(2));
}

#[test]
fn who_only_observes_decides_no_more_often_out_of_bounds() {
    let mut rig = Rig::new(
        lines("up upstream.app.rate > 1 by=+1; limit min=3 max=9; cooldown up=60s; mode observe;"),
        1,
    );
    rig.set("upstream.app.rate", 0.0);
    let decided = (0..50).filter(|_| rig.tick().id != 0).count();
    assert_eq!(decided, 1);
}
