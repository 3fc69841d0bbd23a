use super::*;
use crate::autoscale::metrics::word::Word;
use crate::autoscale::metrics::Now;

fn with_learnt(test: impl FnOnce(Learnt<'_>)) {
    let words: Vec<Word> = (0..Learnt::WORDS).map(|_| Word::new(0)).collect();
    test(Learnt::over(&words));
}

/// A server of `slots`, asked with as many in flight as it allows plus `over` at most.
fn ask(learnt: Learnt<'_>, slots: u32, service_us: u32, from_ms: u64, requests: u64) {
    for i in 0..requests {
        let now = Now::from_ms(from_ms + i * 5);
        let limit = learnt.limit(now);
        let n = if i % 2 == 0 { limit } else { 1 + (i / 2 % u64::from(limit)) as u32 };
        let us = service_us * n.max(slots) / slots;
        learnt.sample(now, us, n, Outcome::Answered);
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
        (0..1000).for_each(|i| learnt.sample(Now::from_ms(1_005_000), 100, 1 + i % 4, Outcome::Failed));
        (0..1000).for_each(|i| learnt.sample(Now::from_ms(1_005_000), 100, 1 + i % 4, Outcome::GivenUp));
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
