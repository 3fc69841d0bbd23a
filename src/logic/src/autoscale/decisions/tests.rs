use super::ring::{writes, PLACE};
use super::*;
use crate::autoscale::metrics::word::put;
use crate::autoscale::policy::decision::{rfc3339, Input, Said};
use proptest::prelude::*;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// Places for decisions, and for explanations.
const ACTED: usize = 12;
const HELD: usize = 4;
const WORDS: usize = Ring::words(ACTED) + Ring::words(HELD);
const UNIX_MS: u64 = 1_795_000_000_000;

fn words(n: usize) -> Vec<Word> {
    (0..n).map(|_| Word::new(0)).collect()
}

fn decision(policy: &str, id: u64) -> Decision {
    Decision {
        time: rfc3339(UNIX_MS),
        policy: policy.into(),
        target: Some("orders".into()),
        id: Some(id).filter(|id| *id > 0),
        action: if id > 0 { "scale" } else { "stay" },
        reason: format!("number {id}"),
        rule: None,
        current: Some(id as u32),
        ready: None,
        wish: id as u32 + 1,
        after_limits: id as u32 + 2,
        after_cooldown: id as u32 + 3,
        signals: vec![Input {
            signal: "upstream.app.latency.avg@5s".into(),
            value: Some(0.25),
            age: 0.5,
            samples: 12,
            stale: false,
        }],
        rules: vec![Said { rule: "upstream.app.latency > 500ms by=+2".into(), says: "not so".into() }],
        result: None,
        latency_ms: None,
    }
}

fn ids(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.decision.id.unwrap_or(0)).collect()
}

#[test]
fn the_newest_come_first_and_the_oldest_go() {
    let words = words(WORDS);
    let ring = Decisions::new(&words);
    assert_eq!(ring.newest(None, false, 10), []);
    (1..=20).for_each(|id| ring.push(&decision(if id % 2 == 0 { "even" } else { "odd" }, id), UNIX_MS, id));
    assert_eq!(ids(&ring.newest(None, false, 3)), [20, 19, 18]);
    assert_eq!(ids(&ring.newest(Some("odd"), false, 3)), [19, 17, 15]);
    assert_eq!(ring.newest(None, false, 99).len(), ACTED);
    assert_eq!(ring.newest(Some("od"), false, 3), []);
}

#[test]
fn explanations_do_not_push_out_what_was_done() {
    let words = words(WORDS);
    let ring = Decisions::new(&words);
    ring.push(&decision("p", 1), UNIX_MS, 1);
    (2..100).for_each(|at_us| ring.push(&decision("p", 0), UNIX_MS, at_us));
    ring.push(&decision("p", 2), UNIX_MS, 99);
    assert_eq!(ids(&ring.newest(None, false, 3)), [2, 0, 0]);
    assert_eq!(ids(&ring.newest(None, true, 3)), [2, 1]);
    assert_eq!(ring.newest(None, false, 99).len(), 2 + HELD);
}

#[test]
fn a_result_is_added_to_its_decision() {
    let words = words(WORDS);
    let ring = Decisions::new(&words);
    (1..=3).for_each(|id| ring.push(&decision("p", id), UNIX_MS, id));
    ring.push(&decision("q", 2), UNIX_MS, 4);
    assert!(ring.settle("p", 2, "written: 4", 12.5));
    assert!(!ring.settle("p", 9, "written: 4", 12.5));
    let found: Vec<_> =
        ring.newest(None, false, 9).into_iter().map(|e| (e.decision.result, e.decision.latency_ms)).collect();
    assert_eq!(found, [(None, None), (None, None), (Some("written: 4".into()), Some(12.5)), (None, None)]);
    // the next owner of the place has no result
    (4..=20).for_each(|id| ring.push(&decision("p", id), UNIX_MS, id));
    assert!(ring.newest(None, false, 99).iter().all(|e| e.decision.result.is_none()));
    // a long one is cut
    assert!(ring.settle("p", 20, &"x".repeat(1000), 1.0));
    let result = ring.newest(None, false, 1)[0].decision.result.clone().unwrap();
    assert!(result.len() > 120 && result.ends_with("xx..."), "{result}");
}

#[test]
fn the_last_evaluation_of_a_policy() {
    let words = words(Last::WORDS);
    let last = Last::new(&words);
    assert_eq!((last.get(), last.in_force()), (None, 0));
    (1..5).for_each(|id| last.set(&decision("p", id), UNIX_MS, id));
    assert_eq!(last.get().map(|e| e.decision), Some(decision("p", 4)));
    last.carried_out(4);
    last.carried_out(3);
    assert_eq!(last.in_force(), 4);
    last.forget();
    assert_eq!((last.get(), last.in_force()), (None, 0));
    last.set(&decision("q", 1), UNIX_MS, 9);
    assert_eq!(last.get().map(|e| e.decision), Some(decision("q", 1)));
}

#[test]
fn a_writer_killed_anywhere_leaves_the_rest_readable() {
    let body = record::encode(&decision("p", 7), UNIX_MS, 7);
    let all = writes(7, &body).count();
    for killed in 0..=all {
        // six records in four places, and the seventh ends after so many words
        let words = words(Ring::words(4));
        let ring = Ring::new(&words);
        (1..=6).for_each(|id| ring.push(&record::encode(&decision("p", id), UNIX_MS, id)));
        put(&words[0], 7);
        let place = &words[1 + 3 * PLACE..];
        writes(7, &body).take(killed).for_each(|(word, value)| put(&place[word], value));
        let found: Vec<u64> = ring.newest(|_| true, 9).iter().map(|(body, _)| record::id(body)).collect();
        let right: &[u64] = match killed {
            0 => &[6, 5, 4, 3],
            n if n == all => &[7, 6, 5, 4],
            _ => &[6, 5, 4],
        };
        assert_eq!(found, right, "killed after {killed} words");
        // those who come later go on
        ring.push(&record::encode(&decision("p", 8), UNIX_MS, 8));
        assert_eq!(ring.newest(|_| true, 1).len(), 1);
    }
}

#[test]
fn writers_and_readers_need_not_wait_for_each_other() {
    let words = words(WORDS);
    let (ring, over) = (Decisions::new(&words), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut read = 0;
            while !over.load(Relaxed) {
                for entry in ring.newest(None, false, 99) {
                    // every field is of the same writing
                    let id = entry.decision.id.unwrap();
                    let mut right = decision(&entry.decision.policy, id);
                    right.result = entry.decision.result.clone();
                    right.latency_ms = entry.decision.latency_ms;
                    assert_eq!(entry.decision, right);
                    assert!(right.latency_ms.is_none_or(|ms| ms == id as f64));
                    read += 1;
                }
            }
            read
        });
        let writers: Vec<_> = ["a", "b", "c"]
            .map(|policy| {
                scope.spawn(move || {
                    for id in 1..3000 {
                        ring.push(&decision(policy, id), UNIX_MS, id);
                        ring.settle(policy, id, "done", id as f64);
                    }
                })
            })
            .into();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        over.store(true, Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    assert_eq!(ring.newest(None, false, 99).len(), ACTED);
}

/// What [`Entry`] keeps of a number of samples and an age.
fn kept(mut decision: Decision) -> Decision {
    for input in &mut decision.signals {
        input.value = input.value.filter(|value| value.is_finite());
        input.age = f64::from(input.age as f32);
        input.samples = input.samples.min(0x7fff_ffff);
    }
    decision
}

fn some_input() -> impl Strategy<Value = Input> {
    (".{0,40}", any::<Option<f64>>(), any::<f32>(), any::<u64>(), any::<bool>()).prop_map(
        |(signal, value, age, samples, stale)| {
            let age = if age.is_nan() { f64::INFINITY } else { f64::from(age) };
            Input { signal, value, age, samples, stale }
        },
    )
}

fn some_decision() -> impl Strategy<Value = Decision> {
    let names = (".{0,30}", any::<Option<bool>>(), 0..3usize, ".{0,600}", any::<Option<u8>>());
    let numbers = (any::<Option<u32>>(), any::<Option<u32>>(), any::<[u32; 3]>(), any::<u64>());
    let lists = (
        prop::collection::vec(some_input(), 0..12),
        prop::collection::vec((".{0,80}", ".{0,30}").prop_map(|(rule, says)| Said { rule, says }), 0..24),
    );
    (names, numbers, lists).prop_map(|(names, numbers, (signals, rules))| {
        let (policy, target, action, reason, rule) = names;
        let (current, ready, [wish, after_limits, after_cooldown], id) = numbers;
        Decision {
            time: rfc3339(UNIX_MS),
            policy,
            target: target.map(|long| if long { "t".repeat(100) } else { "t".into() }),
            id: Some(id).filter(|id| *id > 0),
            action: ["scale", "would", "stay"][action],
            reason,
            rule: rule.map(|n| "r".repeat(n.into())),
            current,
            ready,
            wish,
            after_limits,
            after_cooldown,
            signals,
            rules,
            result: None,
            latency_ms: None,
        }
    })
}

/// `a` as it is, or its beginning and dots.
fn begins(cut: &str, a: &str) -> bool {
    cut == a || cut.strip_suffix("...").is_some_and(|cut| a.starts_with(cut)) || cut.is_empty()
}

proptest! {
    #[test]
    fn a_record_says_the_same_or_that_it_was_cut(decision in some_decision(), at_us: u64) {
        let decision = kept(decision);
        let entry = record::decode(&record::encode(&decision, UNIX_MS, at_us), None).unwrap();
        prop_assert_eq!((entry.unix_ms, entry.at_us), (UNIX_MS, at_us));
        let found = entry.decision;
        prop_assert_eq!(entry.cut, found != decision);
        prop_assert!(begins(&found.policy, &decision.policy) && begins(&found.reason, &decision.reason));
        prop_assert!(decision.signals.starts_with(&found.signals) && decision.rules.starts_with(&found.rules));
        // numbers are never cut, and a short text never either
        prop_assert_eq!(found.policy.len() <= 64 && found.policy == decision.policy, decision.policy.len() <= 64);
        let same = Decision {
            policy: found.policy.clone(), target: found.target.clone(), reason: found.reason.clone(),
            rule: found.rule.clone(), signals: found.signals.clone(), rules: found.rules.clone(), ..decision
        };
        prop_assert_eq!(same, found);
    }

    #[test]
    fn words_that_nobody_wrote_are_refused_or_read(body in prop::collection::vec(any::<u64>(), BODY)) {
        // whatever is there, reading it ends
        let body: [u64; BODY] = body.try_into().unwrap();
        let _ = record::decode(&body, None);
    }
}
