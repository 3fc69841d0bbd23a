use super::*;
use crate::autoscale::metrics::word::Word;
use crate::autoscale::metrics::Now;

fn with_learnt(test: impl FnOnce(Learnt<'_>)) {
    let words: Vec<Word> = (0..Learnt::WORDS).map(|_| Word::new(0)).collect();
    test(Learnt::over(&words));
}

/// A server of `slots`, asked with as many in flight as it allows plus `over` at most.
fn ask(learnt: Learnt<'_>, slots: u32, service_us: u32, from_ms: u64, requests: u64) {
    ask_beside(learnt, None, slots, service_us, from_ms, requests);
}

fn ask_beside(
    learnt: Learnt<'_>,
    alike: Option<Alike<'_>>,
    slots: u32,
    service_us: u32,
    from_ms: u64,
    requests: u64,
) {
    for i in 0..requests {
        let now = Now::from_ms(from_ms + i * 5);
        let limit = learnt.limit(now);
        let n = if i % 2 == 0 { limit } else { 1 + (i / 2 % u64::from(limit)) as u32 };
        let us = service_us * n.max(slots) / slots;
        learnt.sample(now, us, n, Outcome::Answered, || alike);
    }
}

fn near(got: u32, right: u32) -> bool {
    levels::level_of(got).abs_diff(levels::level_of(right)) <= usize::from(right > 3)
}

#[test]
fn slots_and_service_time_are_found_and_found_again() {
    for slots in [1, 2, 3, 4, 8, 16, 32, 64] {
        with_learnt(|learnt| {
            ask(learnt, slots, 20_000, 1_000_000, 4000);
            let room = learnt.room(Now::from_ms(1_020_000));
            assert!(near(room.slots, slots), "{slots}: {room:?}");
            assert!((room.service_us - 20_000.0).abs() < 3_000.0, "{room:?}");
            ask(learnt, slots, 60_000, 1_020_000, 4000);
            let room = learnt.room(Now::from_ms(1_040_000));
            assert!(near(room.slots, slots), "{slots}, thrice as slow: {room:?}");
            assert!((room.service_us - 60_000.0).abs() < 9_000.0, "{room:?}");
        });
    }
}

#[test]
fn what_fails_or_is_given_up_early_says_nothing() {
    with_learnt(|learnt| {
        ask(learnt, 2, 20_000, 1_000_000, 1000);
        let room = learnt.room(Now::from_ms(1_005_000));
        (0..1000)
            .for_each(|i| learnt.sample(Now::from_ms(1_005_000), 100, 1 + i % 4, Outcome::Failed, || None));
        (0..1000)
            .for_each(|i| learnt.sample(Now::from_ms(1_005_000), 100, 1 + i % 4, Outcome::GivenUp, || None));
        assert_eq!(learnt.room(Now::from_ms(1_005_000)), room);
    });
}

#[test]
fn there_is_room_for_so_many_in_every_window() {
    for (slots, requests) in [1, 2, 3, 5, 8, 64].into_iter().flat_map(|slots| [(slots, 100), (slots, 4000)]) {
        with_learnt(|learnt| {
            ask(learnt, slots, 20_000, 1_000_000, requests);
            let limits = (0..6_000_000).step_by(500).map(|us| learnt.limit(Now::from_us(1_100_000_000 + us)));
            assert_eq!(
                limits.min(),
                Some(learnt.sure()),
                "{slots} after {requests}: {:?}",
                learnt.room(Now::from_us(0))
            );
        });
    }
}

#[test]
fn a_peer_of_which_little_is_known_is_like_the_others() {
    let word = Word::new(0);
    let alike = Alike::over(&word);
    let slots_of = |learnt: Learnt<'_>| learnt.room(Now::from_ms(1_030_000)).slots;
    // one at a time says nothing about slots
    let idle = |learnt: Learnt<'_>| {
        let answer = |i: u64| {
            learnt.sample(Now::from_ms(1_000_000 + i * 50), 20_000, 1, Outcome::Answered, || Some(alike))
        };
        (0..200).for_each(answer);
        slots_of(learnt)
    };
    with_learnt(|learnt| assert_eq!(idle(learnt), 4, "nobody knows"));
    for _ in 0..3 {
        with_learnt(|learnt| {
            ask_beside(learnt, Some(alike), 2, 20_000, 1_000_000, 1000);
            assert_eq!(slots_of(learnt), 2);
        });
    }
    with_learnt(|learnt| assert_eq!(idle(learnt), 2));
    // evidence is stronger
    for slots in [1, 4, 8, 32] {
        with_learnt(|learnt| {
            ask_beside(learnt, Some(alike), slots, 20_000, 1_000_000, 6000);
            assert!(near(slots_of(learnt), slots), "{slots}: {:?}", learnt.room(Now::from_ms(1_030_000)));
        });
    }
}

#[test]
fn what_all_were_like_does_not_hold_them() {
    let word = Word::new(0);
    let alike = Some(Alike::over(&word));
    with_learnt(|learnt| {
        let mut at_ms = 1_000_000;
        for slots in [2, 8, 1, 4, 2] {
            ask_beside(learnt, alike, slots, 20_000, at_ms, 6000);
            at_ms += 30_000;
            let room = learnt.room(Now::from_ms(at_ms));
            assert!(near(room.slots, slots), "{slots}: {room:?}");
        }
    });
}

#[test]
fn who_becomes_slower_is_known_as_slow_at_once() {
    with_learnt(|learnt| {
        ask(learnt, 2, 20_000, 1_000_000, 4000);
        for (i, us) in (0..20).zip([60_000, 90_000, 20_000, 70_000].into_iter().cycle()) {
            learnt.sample(Now::from_ms(1_020_000 + i * 20), us, 1, Outcome::Answered, || None);
        }
        let service_us = learnt.room(Now::from_ms(1_021_000)).service_us;
        assert!((45_000.0..75_000.0).contains(&service_us), "{service_us}");
    });
}
