use super::*;
use crate::autoscale::conf::SplitBuilder;
use crate::autoscale::metrics::word::Word;
use crate::autoscale::metrics::Now;
use crate::autoscale::read::Reading;
use proptest::prelude::*;
use std::collections::HashMap;

fn read(lines: &str) -> Result<Split, String> {
    let mut builder = SplitBuilder::new(&["$backend"]).unwrap();
    for line in lines.split(';').map(str::trim).filter(|line| !line.is_empty()) {
        builder.line(&line.split_whitespace().collect::<Vec<_>>()).map_err(|e| e.to_string())?;
    }
    builder.finish().map_err(|e| e.to_string())
}

const CANARY: &str = "stable 95%; canary 5%; guard canary.error_rate <= stable.error_rate + 1% min=200r; \
                      step +10% every=5m; key $cookie_user;";

#[test]
fn the_line_of_the_design_reads() {
    let split = read(CANARY).unwrap();
    assert_eq!(
        split.arms,
        [Arm { upstream: "stable".into(), share: 9500 }, Arm { upstream: "canary".into(), share: 500 }]
    );
    assert_eq!((split.moving, split.key.as_deref()), (1, Some("$cookie_user")));
    assert_eq!(split.step, Some(Step { by: 1000, every_us: 300_000_000, max: WHOLE }));
    let guard = &split.guards[0];
    assert_eq!((guard.min, guard.signal.to_string()), (200, "upstream.canary.error_rate.avg@5m".into()));
    let Than::Signal { signal, times, plus } = &guard.than else { panic!("{guard:?}") };
    assert_eq!((signal.to_string(), *times, *plus), ("upstream.stable.error_rate.avg@5m".into(), 1.0, 0.01));
}

#[test]
fn other_guards_read() {
    let than = |guard: &str| read(&format!("a 90%; b 10%; guard {guard};")).unwrap().guards.remove(0);
    assert_eq!(than("b.latency.p99 < 500ms").than, Than::Value(0.5));
    assert_eq!(than("b.latency < 500ms").min, 100);
    assert_eq!(than("b.error_rate@30s <= 2%").signal.to_string(), "upstream.b.error_rate.avg@30s");
    match than("b.latency.p99 <= a.latency.p99 * 1.2 min=50r").than {
        Than::Signal { times, plus, .. } => assert_eq!((times, plus), (1.2, 0.0)),
        than => panic!("{than:?}"),
    }
}

#[test]
fn what_is_wrong_says_what_would_be_right() {
    let table = [
        ("a 100%;", "two upstreams at least"),
        ("a 90%; b 5%;", "invalid sum of the shares \"95%\": it must be 100%"),
        ("a 90%; a 10%;", "upstream \"a\" is duplicate"),
        ("a 90; b 10;", "write a part from 0% to 100%"),
        ("a 99.999%; b 0.001%;", "two digits after the point"),
        ("a 90%; b 10%; guard c.error_rate < 1%;", "there is no upstream in this split called \"c\""),
        ("a 90%; b 10%; guard a.error_rate < 1%;", "the one that may grow stands on the left"),
        (
            "a 90%; b 5%; c 5%; guard b.error_rate < 1%; guard c.error_rate < 1%;",
            "all guards of a split are about one",
        ),
        ("a 90%; b 10%; guard b.error_rate = 1%;", "write >, >=, < or <="),
        ("a 90%; b 10%; guard b.error_rate < 5ms;", "is a ratio: write for example 80%"),
        ("a 90%; b 10%; guard b.errrate < 5%;", "unknown metric \"errrate\""),
        ("a 90%; b 10%; guard b.error_rate < 5% min=x;", "write a number of requests"),
        ("a 90%; b 10%; guard b.error_rate;", "\"guard\" is written"),
        ("a 90%; b 10%; step 10% every=5m;", "\"step\" is written"),
        ("a 90%; b 10%; step +10%;", "every=: how long between two steps"),
        ("a 90%; b 10%; step +10% every=5ms;", "write 1s or more"),
        ("a 90%; b 10%; step +10% every=5m max=5%;", "begins with 10% and can have 100% at most"),
        ("a 80%; b 10%; c 10%; step +10% every=5m max=95%;", "can have 90% at most"),
        ("a 90%; b 10%; step +1% every=5m; step +1% every=5m;", "line \"step\" is duplicate"),
        ("a 90%; b 10%; key user;", "\"key\" is written"),
        ("a 90%; b 10%; stop it now;", "\"stop it now\" is written"),
    ];
    for (lines, part) in table {
        let error = read(lines).expect_err(lines);
        assert!(error.contains(part), "{lines}\n{error}");
    }
    assert!(SplitBuilder::new(&["backend"]).is_err_and(|e| e.to_string().contains("write a dollar")));
}

struct Rig {
    split: Split,
    words: Vec<Word>,
    seen: HashMap<String, (f64, u64)>,
    now_s: u64,
}

impl Rig {
    fn new(lines: &str) -> Self {
        let words = (0..WORDS).map(|_| Word::new(0)).collect();
        Self { split: read(lines).unwrap(), words, seen: HashMap::new(), now_s: 1000 }
    }

    fn see(&mut self, upstream: &str, value: f64, samples: u64) {
        self.seen.insert(upstream.into(), (value, samples));
    }

    fn share(&self) -> (u32, Phase) {
        Progress::new(&self.words, self.split.mark()).share(&self.split)
    }

    fn tick(&mut self, seconds: u64, observe: bool) -> Option<Change> {
        self.now_s += seconds;
        let read = |signal: &Signal| {
            let crate::autoscale::signal::Scope::Upstream(name) = &signal.scope else { return None };
            let (value, samples) = self.seen.get(name)?;
            Some(Reading { value: (*samples > 0).then_some(*value), age: 0.0, samples: *samples })
        };
        let now = Now::from_us(self.now_s * 1_000_000);
        Progress::new(&self.words, self.split.mark()).tick(&self.split, observe, &read, now)
    }
}

#[test]
fn it_grows_while_the_guard_holds_and_is_done_at_the_end() {
    let mut rig = Rig::new(CANARY);
    assert_eq!(rig.share(), (500, Phase::Running));
    assert_eq!(rig.tick(0, false), None);
    rig.see("stable", 0.02, 1000);
    rig.see("canary", 0.029, 199);
    assert_eq!(rig.tick(400, false), None, "too few requests to judge");
    rig.see("canary", 0.029, 200);
    assert_eq!(rig.tick(1, false), Some(Change::Stepped { from: 500, to: 1500 }));
    assert_eq!(rig.tick(299, false), None, "not before its time");
    let mut steps = 0;
    while let Some(Change::Stepped { .. }) = rig.tick(300, false) {
        steps += 1;
    }
    assert_eq!((steps, rig.share()), (9, (WHOLE, Phase::Done)));
}

#[test]
fn a_guard_that_does_not_hold_takes_everything_at_once_and_for_good() {
    let mut rig = Rig::new(CANARY);
    rig.see("stable", 0.0, 1000);
    rig.see("canary", 0.011, 200);
    rig.tick(0, false);
    let Some(Change::RolledBack { from: 500, why }) = rig.tick(1, false) else { panic!() };
    assert!(
        why.contains("canary.error_rate <= stable.error_rate + 1%") && why.contains("0.0110 against 0.0100"),
        "{why}"
    );
    rig.see("canary", 0.0, 200);
    assert_eq!((rig.tick(10_000, false), rig.share()), (None, (0, Phase::RolledBack)));
    Progress::new(&rig.words, rig.split.mark()).restart(&rig.split, Now::from_us(1));
    assert_eq!(rig.share(), (500, Phase::Running));
}

#[test]
fn what_was_before_a_new_beginning_is_not_looked_at() {
    let mut rig = Rig::new(CANARY);
    rig.see("stable", 0.0, 1000);
    rig.see("canary", 0.5, 500);
    assert_eq!(rig.tick(0, false), None, "it has only just begun");
    let read = |signal: &Signal| {
        assert_eq!(signal.window, crate::autoscale::signal::Window::Seconds(7), "{signal}");
        None
    };
    let progress = Progress::new(&rig.words, rig.split.mark());
    assert_eq!(progress.tick(&rig.split, false, &read, Now::from_us((rig.now_s + 7) * 1_000_000)), None);
}

#[test]
fn who_has_nothing_cannot_be_judged_and_gets_a_step() {
    let mut rig = Rig::new("stable 100%; canary 0%; guard canary.error_rate < 1%; step +10% every=5m;");
    assert_eq!(rig.tick(0, false), None);
    assert_eq!(rig.tick(300, false), Some(Change::Stepped { from: 0, to: 1000 }));
    assert_eq!(rig.tick(300, false), None, "from here on it must be seen first");
}

#[test]
fn without_traffic_on_the_other_side_it_waits() {
    let mut rig = Rig::new(CANARY);
    rig.see("canary", 0.5, 500);
    assert_eq!(rig.tick(1000, false), None, "nothing to compare with");
    rig.see("stable", 0.0, 0);
    assert_eq!(rig.tick(1000, false), None);
}

#[test]
fn observing_says_what_it_would_do_once_a_minute() {
    let mut rig = Rig::new(CANARY);
    rig.see("stable", 0.0, 1000);
    rig.see("canary", 0.5, 500);
    rig.tick(0, true);
    assert!(matches!(rig.tick(1, true), Some(Change::Would(what)) if what.starts_with("roll back")));
    assert_eq!((rig.tick(59, true), rig.share()), (None, (500, Phase::Running)));
    assert!(rig.tick(1, true).is_some());
}

#[test]
fn another_text_begins_anew() {
    let mut rig = Rig::new(CANARY);
    rig.see("stable", 0.0, 1000);
    rig.see("canary", 0.5, 500);
    rig.tick(0, false);
    assert!(rig.tick(1, false).is_some());
    rig.split = read(&CANARY.replace("5%; guard", "4%; guard").replace("95%", "96%")).unwrap();
    assert_eq!(rig.share(), (400, Phase::Running));
}

#[test]
fn keys_are_spread_evenly_and_stay_for_good() {
    let split = read(CANARY).unwrap();
    // counted names, as cookies and tenants often are: 500 of 10,000 are expected, with a deviation of 22
    let canary = (0..10_000)
        .filter(|i| split.arm(500, split.place_of(format!("user{i}").as_bytes())).upstream == "canary");
    let count = canary.count();
    assert!((410..590).contains(&count), "{count}");
    let places: Vec<u32> =
        ["", "a", "user1", "user2"].iter().map(|key| split.place_of(key.as_bytes())).collect();
    assert_eq!(places, [5412, 8913, 5466, 1704], "a build that moves them moves users");
}

#[test]
fn three_arms_share_as_configured() {
    let split = read("a 70%; b 20%; c 10%;").unwrap();
    let count = |name: &str| (0..WHOLE).filter(|place| split.arm(1000, *place).upstream == name).count();
    assert_eq!((count("a"), count("b"), count("c")), (7000, 2000, 1000));
}

proptest! {
    #[test]
    fn an_arm_that_grows_keeps_its_keys_and_the_fixed_ones_move_nobody(hash: u64, share in 0u32..8000, more in 0u32..1000) {
        let split = read("a 70%; b 20%; c 10%; guard c.error_rate < 1%;").unwrap();
        let place = Split::place(hash);
        prop_assert!(place < WHOLE);
        let (before, after) = (split.arm(share, place), split.arm(share + more, place));
        prop_assert!(before == after || before.upstream == "a" && after.upstream == "c");
    }
}
