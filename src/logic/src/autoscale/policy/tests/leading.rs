//! What whoever runs a policy relies on: a state taken over, a script that asks, another gateway that writes.

use super::*;

const SLOW: &str = "up upstream.app.latency > 500ms for=10s by=+2;";
const IDLE: &str = "down upstream.app.rate < 5 for=10s by=-1;";

fn tick(rig: &mut Rig, mode: Mode) -> Evaluation {
    rig.ms += 1000;
    evaluate(rig, mode, None)
}

fn evaluate(rig: &mut Rig, mode: Mode, ask: Option<u32>) -> Evaluation {
    let Rig { policy, state, values, requests, current, ms, .. } = rig;
    let replicas = Some(Replicas { wanted: *current, ready: *current });
    let (now, view) = (Now::from_ms(*ms), Board(policy, values, requests));
    let input = Input { now, unix_ms: 0, event: Event::Tick, mode, replicas, view: &view, script: None };
    match ask {
        None => policy.step(state, input),
        Some(replicas) => policy.ask(state, input, replicas, "a sale"),
    }
}

#[test]
fn lines_that_stay_remember_and_new_ones_do_not() {
    let mut rig = Rig::new(lines(&format!("{SLOW} {IDLE}")), 2);
    rig.policy.adopt(&mut rig.state);
    rig.set("upstream.app.latency", 0.9);
    rig.set("upstream.app.rate", 50.0);
    (0..9).for_each(|_| drop(rig.tick()));
    // the lines change places, another one comes between
    let mut state = rig.state;
    let mut moved = Rig::new(lines(&format!("{IDLE} up upstream.app.rate > 10 for=10s by=+1; {SLOW}")), 2);
    (moved.ms, moved.state) = (rig.ms, state);
    moved.set("upstream.app.latency", 0.9);
    moved.set("upstream.app.rate", 50.0);
    moved.policy.adopt(&mut moved.state);
    let held = |rig: &Rig| rig.state.rules.iter().map(|rule| rule.since_us > 0).collect::<Vec<_>>();
    assert_eq!(held(&moved)[..4], [false, false, true, false]);
    assert_eq!(moved.seconds(4), [(2, 4)], "ten seconds since the line began to hold");
    // without marks there is nothing to tell lines by
    state.rules.iter_mut().for_each(|rule| rule.mark = 0);
    let since = state.rules[0].since_us;
    rig.policy.adopt(&mut state);
    assert_eq!(state.rules[0].since_us, since);
}

#[test]
fn a_script_is_bounded_and_cooled_down_as_any_wish() {
    let mut rig = Rig::new(lines(&format!("{SLOW} limit min=1 max=6; cooldown up=60s down=300s;")), 2);
    let evaluation = evaluate(&mut rig, Mode::On, Some(4));
    assert_eq!((evaluation.scale(), evaluation.id), (Some(4), 1));
    assert_eq!(rig.policy.explain(&evaluation), "from 2 to 4: 4 wanted by a script: a sale");
    rig.policy.settle(&mut rig.state, rig.ms * 1000, 1, Some(4));
    rig.current = 4;
    rig.ms += 59_000;
    let outcome = |rig: &mut Rig, wish| evaluate(rig, Mode::On, Some(wish)).outcome;
    assert!(matches!(outcome(&mut rig, 5), Outcome::Stay(Why::Cooldown { .. })));
    rig.ms += 2000;
    assert_eq!(outcome(&mut rig, 50), Outcome::Scale { from: 4, to: 6 });
    rig.policy.settle(&mut rig.state, rig.ms * 1000, 2, Some(6));
    rig.current = 6;
    rig.ms += 301_000;
    assert_eq!(outcome(&mut rig, 6), Outcome::Stay(Why::Enough));
    rig.state.hold(rig.ms * 1000, 5.0);
    assert!(matches!(outcome(&mut rig, 1), Outcome::Stay(Why::Held { .. })));
}

#[test]
fn who_follows_decides_writes_nothing_and_obeys_inside() {
    let mut rig = Rig::new(lines("up upstream.app.latency > 500ms by=+2; limit max=3; do shed batch;"), 2);
    rig.set("upstream.app.latency", 0.9);
    let evaluation = tick(&mut rig, Mode::Follow);
    assert_eq!((evaluation.outcome, rig.state.pending.id), (Outcome::Would { from: 2, to: 3 }, 1));
    rig.current = 3;
    let evaluation = tick(&mut rig, Mode::Follow);
    assert!(evaluation.actions.in_force, "the gateway sheds, whoever scales");
    assert!(!tick(&mut rig, Mode::Observe).actions.in_force);
}
