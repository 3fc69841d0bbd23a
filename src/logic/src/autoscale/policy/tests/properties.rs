//! What must hold whatever happens.

use super::*;
use proptest::prelude::*;

const POLICIES: [&str; 6] = [
    "up upstream.app.rate > 500 by=+2; up upstream.app.inflight > 50 for=3x by=+30%; down upstream.app.rate < 200 for=5s by=-1;
     down upstream.app.inflight < 20 by=-20%; limit min=2 max=12; cooldown up=10s down=30s;",
    "track upstream.app.rate per=60; limit min=2 max=12; cooldown up=5s down=20s;",
    "track upstream.app.rate@1m per=60 panic=200%:6s; limit min=2 max=12; cooldown up=10s down=30s;",
    "track upstream.app.rate per=60; up upstream.app.inflight > 50 for=10s by=+2; limit min=2 max=12 rate=3; cooldown up=10s down=30s;",
    "track upstream.app.rate per=60; behavior up 2/15s select=min 50%/30s; behavior down window=30s 1/10s; limit min=2 max=12; cooldown up=1s down=1s;",
    "up upstream.app.rate > 1.5x baseline@1m by=+1; down upstream.app.rate < 100 by=-1; limit min=2 max=12; cooldown up=10s down=30s;",
];

/// A second of a run: the load, and whether its signal is stale.
fn load() -> impl Strategy<Value = (u32, bool)> {
    prop_oneof![6 => (0u32..1500).prop_map(|n| (n, false)), 1 => (0u32..1500).prop_map(|n| (n, true))]
}

fn feed(rig: &mut Rig, load: u32, stale: bool) {
    for signal in
        ["upstream.app.rate", "upstream.app.rate@1m", "upstream.app.rate@6s", "upstream.app.inflight"]
    {
        let value = f64::from(load) * if signal.ends_with("inflight") { 0.1 } else { 1.0 };
        rig.set(signal, value);
        if stale {
            rig.stale(signal);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn bounds_cooldowns_and_stale_signals_hold(
        which in 0..POLICIES.len(),
        start in 2u32..=12,
        seconds in proptest::collection::vec(load(), 1..150),
        fails in 0u32..5,
    ) {
        let mut rig = Rig::new(lines(POLICIES[which]), start);
        rig.writes = false;
        let cooldown = rig.policy.cooldown;
        let (mut up, mut any) = (0, 0);
        for (n, (load, stale)) in seconds.into_iter().enumerate() {
            feed(&mut rig, load, stale);
            let evaluation = rig.tick();
            let now_us = rig.ms * 1000;
            let Some(to) = evaluation.scale() else { continue };
            prop_assert!((2..=12).contains(&to), "{to}");
            prop_assert!(to != rig.current);
            if to > rig.current {
                prop_assert!(up == 0 || now_us - up >= cooldown.up_us);
            } else {
                prop_assert!(any == 0 || now_us - any >= cooldown.down_us);
                prop_assert!(!stale, "down on a stale signal");
            }
            // some writes fail
            let failed = fails > 0 && n as u32 % 5 == fails;
            let policy = rig.policy.clone();
            policy.settle(&mut rig.state, now_us, evaluation.id, (!failed).then_some(to));
            if !failed {
                any = now_us;
                up = if to > rig.current { now_us } else { up };
                rig.current = to;
            }
        }
    }

    /// T11's rule in general: from the same state, more load never leads to fewer replicas.
    #[test]
    fn more_load_never_leads_to_fewer(
        which in 0..POLICIES.len(),
        start in 2u32..=12,
        before in proptest::collection::vec(load(), 0..80),
        less in 0u32..1500,
        more in 0u32..500,
    ) {
        let mut rig = Rig::new(lines(POLICIES[which]), start);
        for (load, stale) in before {
            feed(&mut rig, load, stale);
            rig.tick();
        }
        let (state, current, ms) = (rig.state, rig.current, rig.ms);
        let ends = [less, less + more].map(|load| {
            (rig.state, rig.current, rig.ms) = (state, current, ms);
            feed(&mut rig, load, false);
            rig.tick().after_cooldown
        });
        prop_assert!(ends[0] <= ends[1], "{less} leads to {}, {} to {}", ends[0], less + more, ends[1]);
    }

    /// Another worker that goes on from the words decides the same.
    #[test]
    fn a_takeover_changes_nothing(
        which in 0..POLICIES.len(),
        seconds in proptest::collection::vec(load(), 1..100),
        cut in 0usize..100,
    ) {
        let run = |cut: Option<usize>| {
            let mut rig = Rig::new(lines(POLICIES[which]), 4);
            for (n, (load, stale)) in seconds.iter().enumerate() {
                if Some(n) == cut {
                    rig.state = State::from_words(&rig.state.to_words()[..]).unwrap();
                }
                feed(&mut rig, *load, *stale);
                rig.tick();
            }
            (rig.log, rig.state)
        };
        let (one, other) = (run(None), run(Some(cut)));
        prop_assert_eq!(one.0, other.0);
        prop_assert!(one.1 == other.1);
    }
}
