use super::*;
use crate::autoscale::metrics::columns::Worker;
use crate::autoscale::metrics::word::Word;
use crate::autoscale::metrics::Now;
use proptest::prelude::*;
use rate::Rate;
use window::Window;

fn memory(words: usize) -> Vec<Word> {
    (0..words).map(|_| Word::new(0)).collect()
}

fn at(us: u64) -> Now {
    Now::from_us(1_000_000_000 + us)
}

fn ask(cost: u32) -> Ask {
    Ask { cost, ..Ask::ONE }
}

#[test]
fn a_burst_and_then_the_rate() {
    let memory = memory(4096);
    let limits = Limits::new(&memory, 32, 7);
    let rate = Rate::new(10.0, 2);
    let pass = |us| limits.throttle(1, b"a", &rate, at(us));
    assert_eq!([pass(0), pass(0), pass(0), pass(0)], [None, None, None, Some(100_000)]);
    assert_eq!(limits.throttle(1, b"b", &rate, at(0)), None, "another key");
    assert_eq!(limits.throttle(2, b"a", &rate, at(0)), None, "another limit");
    assert_eq!(pass(99_999), Some(1));
    assert_eq!([pass(100_000), pass(100_000)], [None, Some(100_000)]);
    assert_eq!([pass(900_000), pass(900_000), pass(900_000)], [None; 3]);
}

/// Words for so many buckets of one word; a quarter as many keys may be in flight.
fn for_keys(keys: usize) -> Vec<Word> {
    memory(64 + keys * 7 * 7 / 5 * 8 / 7 + 32)
}

#[test]
fn a_cost_is_units_and_what_never_fits_is_said() {
    let memory = memory(4096);
    let limits = Limits::new(&memory, 32, 7);
    let rate = Rate::new(100.0, 49);
    let take = |cost, us| limits.take_rate(1, b"a", &rate, &ask(cost), at(us)).map(|(_, wait)| wait);
    assert_eq!(take(51, 0), Err(Refusal::TooLarge));
    assert_eq!(take(50, 0), Ok(0));
    assert_eq!(take(20, 0), Err(Refusal::Later { us: 200_000 }));
    assert_eq!(take(20, 199_999), Err(Refusal::Later { us: 1 }));
    assert_eq!(take(20, 200_000), Ok(0));
}

#[test]
fn who_waits_has_a_time_of_its_own_in_the_order_of_arrival() {
    let memory = memory(4096);
    let limits = Limits::new(&memory, 32, 7);
    let rate = Rate::new(10.0, 0);
    let patient = Ask { max_wait_us: 250_000, ..Ask::ONE };
    let take = |us| limits.take_rate(1, b"a", &rate, &patient, at(us)).map(|(_, wait)| wait);
    assert_eq!([take(0), take(0), take(10_000)], [Ok(0), Ok(100_000), Ok(190_000)]);
    assert_eq!(take(10_000), Err(Refusal::Later { us: 290_000 }), "later than it would wait");
    // one that goes away leaves its time to those who come
    let (ticket, _) = limits.take_rate(1, b"a", &rate, &patient, at(60_000)).unwrap();
    limits.settle(&ticket, 0, Worker::from_bits(0), at(60_000));
    assert_eq!(take(60_000), Ok(240_000));
}

#[test]
fn the_less_important_leave_a_part_of_the_bucket_to_others() {
    let memory = memory(4096);
    let limits = Limits::new(&memory, 32, 7);
    let rate = Rate::new(1.0, 9);
    let take = |priority| {
        let ask = Ask { priority, ..Ask::ONE };
        limits.take_rate(1, b"a", &rate, &ask, at(0)).is_ok()
    };
    assert_eq!((0..10).filter(|_| take(5)).count(), 5);
    assert!(!take(9), "less than what is taken already");
    assert_eq!((0..10).filter(|_| take(2)).count(), 3);
    assert_eq!((0..10).filter(|_| take(0)).count(), 2);
    // alone it always gets one
    let ask = Ask { priority: 9, ..Ask::ONE };
    assert!(limits.take_rate(1, b"b", &Rate::new(1.0, 0), &ask, at(0)).is_ok());
    let window = Window { limit: 10, length_us: 1_000_000 };
    let windows = (0..10)
        .filter(|_| limits.take_window(1, b"w", &window, &Ask { priority: 7, ..Ask::ONE }, at(0)).is_ok());
    assert_eq!(windows.count(), 3);
    let worker = Worker::from_bits(0);
    let places = (0..10)
        .filter(|_| limits.take_flight(1, b"w", 10, &Ask { priority: 9, ..Ask::ONE }, worker, at(0)).is_ok());
    assert_eq!(places.count(), 1);
}

#[test]
fn an_estimate_is_settled_up_and_down() {
    let memory = memory(4096);
    let limits = Limits::new(&memory, 32, 7);
    let (worker, rate) = (Worker::from_bits(0), Rate::new(100.0, 99));
    let take = |cost, us| limits.take_rate(1, b"a", &rate, &ask(cost), at(us));
    let (ticket, _) = take(100, 0).unwrap();
    limits.settle(&ticket, 40, worker, at(0));
    let (ticket, _) = take(60, 0).unwrap();
    assert_eq!(take(1, 0), Err(Refusal::Later { us: 10_000 }));
    limits.settle(&ticket, 160, worker, at(0));
    assert_eq!(take(1, 0), Err(Refusal::Later { us: 1_010_000 }), "a debt of a second");
    // what has run out meanwhile is not given back
    let (ticket, _) = take(100, 3_000_000).unwrap();
    limits.settle(&ticket, 0, worker, at(3_900_000));
    assert_eq!(take(100, 3_900_000).map(|(_, wait)| wait), Ok(0));
    assert_eq!(take(1, 3_900_000), Err(Refusal::Later { us: 10_000 }), "no more than all of it");
}

#[test]
fn a_window_slides() {
    let memory = memory(4096);
    let limits = Limits::new(&memory, 32, 7);
    let window = Window { limit: 100, length_us: 10_000_000 };
    let take = |cost, us| limits.take_window(1, b"a", &window, &ask(cost), Now::from_us(us));
    const BEGIN: u64 = 500_000_000;
    assert!(take(101, BEGIN) == Err(Refusal::TooLarge));
    let ticket = take(100, BEGIN + 5_000_000).unwrap();
    assert_eq!(take(1, BEGIN + 9_000_000), Err(Refusal::Later { us: 1_100_000 }));
    assert_eq!(take(1, BEGIN + 10_000_000), Err(Refusal::Later { us: 100_000 }));
    assert!(take(1, BEGIN + 10_100_000).is_ok());
    // half of the hundred still counts
    assert!(take(50, BEGIN + 15_000_001).is_err() && take(49, BEGIN + 15_000_001).is_ok());
    // the last window's are fewer than was thought
    limits.settle(&ticket, 20, Worker::from_bits(0), Now::from_us(BEGIN + 15_000_001));
    assert!(take(41, BEGIN + 15_000_001).is_err() && take(40, BEGIN + 15_000_001).is_ok());
    let ticket = take(1, BEGIN + 17_000_000).unwrap();
    limits.settle(&ticket, 151, Worker::from_bits(0), Now::from_us(BEGIN + 17_000_000));
    assert_eq!(take(1, BEGIN + 20_000_000), Err(Refusal::Later { us: 5_892_117 }), "a debt");
    // and after a while nothing counts, however the windows are numbered
    for round in 1..3000 {
        let us = BEGIN + 30_000_000 + round * 30_000_000;
        assert!(take(100, us).is_ok() && take(1, us).is_err(), "{round}");
    }
}

#[test]
fn places_are_given_back_and_those_of_the_dead_too() {
    let memory = memory(4096);
    let limits = Limits::new(&memory, 32, 7);
    let (a, b) = (Worker::from_bits(3), Worker::from_bits(17));
    let take = |worker, us| limits.take_flight(1, b"a", 3, &Ask::ONE, worker, at(us));
    let ticket = take(a, 0).unwrap();
    take(a, 0).unwrap();
    take(b, 0).unwrap();
    assert_eq!(take(b, 0), Err(Refusal::Later { us: 1_000_000 }), "nobody knows how long they take");
    assert_eq!(limits.in_flight(1, b"a"), 3);
    limits.settle(&ticket, 1, a, at(300_000));
    take(b, 300_000).unwrap();
    assert_eq!(take(b, 0), Err(Refusal::Later { us: 100_000 }), "three that take 300 ms");
    limits.clear_column(b);
    assert_eq!(limits.in_flight(1, b"a"), 1);
    // a ticket of a column that was swept gives nothing back
    (0..3).for_each(|_| limits.settle(&ticket, 1, b, at(0)));
    assert_eq!(limits.in_flight(1, b"a"), 1);
    // a worker without a column is let through
    assert!(take(Worker::NONE, 0).is_ok() && take(Worker::from_bits(32), 0).is_ok());
    assert!(limits.take_flight(1, b"a", 3, &ask(4), a, at(0)) == Err(Refusal::TooLarge));
}

#[test]
fn ten_thousand_tenants_have_a_thousand_buckets() {
    let memory = for_keys(1000);
    let limits = Limits::new(&memory, 32, 7);
    let (buckets, _) = limits.room();
    assert!((1000..1100).contains(&buckets), "{buckets}");
    let rate = Rate::new(1.0, 9);
    // one that is always over its limit stays known among all that come and go
    let mut noisy = 0;
    for tenant in 0..10_000u32 {
        let us = u64::from(tenant) * 1000;
        assert_eq!(limits.throttle(1, &tenant.to_le_bytes(), &rate, at(us)), None);
        noisy += usize::from(limits.throttle(1, b"noisy", &rate, at(us)).is_none());
    }
    assert!(limits.used().0 <= buckets);
    assert!(noisy <= 20, "{noisy} in ten seconds at one a second and ten at once");
    assert_eq!(limits.full(), 0);
}

#[test]
fn what_is_in_flight_keeps_its_bucket() {
    let memory = for_keys(500);
    let limits = Limits::new(&memory, 32, 7);
    let (worker, room) = (Worker::from_bits(0), limits.room().1);
    let take = |key: u32, us| limits.take_flight(1, &key.to_le_bytes(), 1, &Ask::ONE, worker, at(us));
    let held: Vec<Ticket> = (0..room as u32 / 2).map(|key| take(key, 0).unwrap()).collect();
    for key in 1000..4000 {
        if let Ok(ticket) = take(key, 1) {
            limits.settle(&ticket, 1, worker, at(2));
        }
    }
    for key in 0..room as u32 / 2 {
        assert!(take(key, 3).is_err(), "{key} is in flight");
    }
    held.iter().for_each(|ticket| limits.settle(ticket, 1, worker, at(3)));
    assert!(take(0, 4).is_ok());
    // all in flight: the next is refused, and counted
    let taken = (10_000..20_000).filter(|key| take(*key, 5).is_ok()).count();
    assert!(taken <= room && limits.full() > 0, "{taken} of {room}");
}

#[test]
fn keys_that_begin_alike_are_told_apart() {
    let memory = memory(4096);
    let limits = Limits::new(&memory, 32, 7);
    let rate = Rate::new(1.0, 0);
    for key in [&b"12345678"[..], b"123456789", b"12345678\0", b"123456780", b"", b"\0"] {
        assert_eq!(limits.throttle(1, key, &rate, at(0)), None);
        assert!(limits.throttle(1, key, &rate, at(0)).is_some());
    }
}

#[test]
fn limits_have_owners_of_their_own() {
    let (rate, window) =
        (Kind::Rate(Rate::new(1.0, 0)), Kind::Window(Window { limit: 1, length_us: 1_000_000 }));
    let other = Kind::Window(Window { limit: 1, length_us: 2_000_000 });
    let more = Kind::Window(Window { limit: 2, length_us: 1_000_000 });
    let faster = Kind::Rate(Rate::new(2.0, 0));
    let mut owners =
        vec![rate.owner(None), window.owner(None), other.owner(None), more.owner(None), faster.owner(None)];
    owners.extend([rate, window, other].map(|kind| kind.owner(Some("a"))));
    owners.extend([rate, window, other].map(|kind| kind.owner(Some("b"))));
    let count = owners.len();
    owners.sort_unstable();
    owners.dedup();
    assert_eq!(owners.len(), count);
    assert_eq!(rate.owner(Some("a")), faster.owner(Some("a")), "a limit that is changed goes on");
    assert_eq!(window.owner(Some("a")), more.owner(Some("a")));
}

/// The most units that went within any time of `length`, given when how many went.
fn most_within(length: u64, went: &[(u64, u32)]) -> u64 {
    let mut most = 0;
    for (i, (from, _)) in went.iter().enumerate() {
        let within = went[i..].iter().take_while(|(at, _)| *at < from + length);
        most = most.max(within.map(|(_, n)| u64::from(*n)).sum());
    }
    most
}

proptest! {
    #[test]
    fn never_more_than_rate_times_time_and_burst(
        steps in prop::collection::vec((0u64..200_000, 1u32..6, 0u8..10, 0u64..400_000, 0u32..8), 1..200),
        per_s in 0.5f64..300.0,
        burst in 0u32..20,
        patient: bool,
    ) {
        let memory = memory(4096);
        let limits = Limits::new(&memory, 32, 7);
        let rate = Rate::new(per_s, burst);
        let (mut us, mut went, mut open, mut back) = (0, Vec::new(), Vec::new(), 0);
        for (pause, cost, priority, max_wait_us, what) in steps {
            us += pause;
            let ask = Ask { cost, priority, max_wait_us: if patient { max_wait_us } else { 0 } };
            match limits.take_rate(1, b"a", &rate, &ask, at(us)) {
                Ok((ticket, wait)) => {
                    prop_assert!(wait <= ask.max_wait_us);
                    went.push((us + wait, cost));
                    open.push((ticket, went.len() - 1, cost, us));
                }
                Err(Refusal::Later { us: later }) => {
                    prop_assert!(later > ask.max_wait_us);
                    // it is no promise, but it is no less than that either
                    let patient = Ask { max_wait_us: later, ..ask };
                    let (ticket, wait) = limits.take_rate(1, b"a", &rate, &patient, at(us)).unwrap();
                    prop_assert_eq!(wait, later);
                    limits.settle(&ticket, 0, Worker::from_bits(0), at(us));
                }
                Err(refusal) => prop_assert!(refusal == Refusal::TooLarge && cost > burst + 1),
            }
            // some cost less than was thought, which is known at once or later
            if what < 3 && !open.is_empty() {
                let (ticket, i, cost, _) = open.remove(what as usize % open.len());
                let actual = cost.saturating_sub(what);
                limits.settle(&ticket, actual, Worker::from_bits(0), at(us));
                went[i].1 = actual;
                back += if patient { cost - actual } else { 0 };
            }
        }
        went.sort_unstable();
        for length in [1, 10_000, 100_000, 1_000_000, 5_000_000] {
            let most = per_s * length as f64 / 1e6 + f64::from(burst + 1 + back);
            let found = most_within(length, &went);
            prop_assert!(found as f64 <= most + 1e-6, "{} of {} in {} us", found, most, length);
        }
    }

    #[test]
    fn never_more_than_the_limit_a_window(
        steps in prop::collection::vec((0u64..3_000_000, 1u32..40), 1..300),
        limit in 40u32..200,
    ) {
        let memory = memory(4096);
        let limits = Limits::new(&memory, 32, 7);
        let window = Window { limit, length_us: 10_000_000 };
        let (mut us, mut went) = (0u64, Vec::new());
        for (pause, cost) in steps {
            us += pause;
            match limits.take_window(1, b"a", &window, &ask(cost), Now::from_us(us)) {
                Ok(_) => went.push((us, cost)),
                Err(Refusal::Later { us: later }) => {
                    // it is the time that it says, and not a microsecond and a bit earlier
                    let ticket = limits.take_window(1, b"a", &window, &ask(cost), Now::from_us(us + later));
                    prop_assert!(ticket.is_ok(), "{} {}", us, later);
                    limits.settle(&ticket.unwrap(), 0, Worker::from_bits(0), Now::from_us(us + later));
                    us += later;
                }
                Err(refusal) => prop_assert!(false, "{:?}", refusal),
            }
        }
        let mut windows = std::collections::HashMap::<u64, u64>::new();
        went.iter().for_each(|(us, n)| *windows.entry(us / 10_000_000).or_default() += u64::from(*n));
        prop_assert!(windows.values().all(|n| *n <= limit.into()));
        prop_assert!(most_within(10_000_000, &went) < 2 * u64::from(limit));
    }
}

/// What `threads` workers together are admitted of a lot that they ask for at once.
fn hammer(threads: u16, each: usize, take: impl Fn(u16, usize) -> bool + Sync) -> usize {
    let take = &take;
    std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..threads).map(|t| scope.spawn(move || (0..each).filter(|i| take(t, *i)).count())).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

#[test]
fn together_they_are_admitted_exactly_what_there_is() {
    for _ in 0..20 {
        let memory = memory(4096);
        let limits = Limits::new(&memory, 32, 7);
        let rate = Rate::new(1.0, 999);
        assert_eq!(hammer(4, 1000, |_, _| limits.throttle(1, b"a", &rate, at(0)).is_none()), 1000);
        let window = Window { limit: 1000, length_us: 1_000_000 };
        let take = |_, _| limits.take_window(1, b"w", &window, &Ask::ONE, at(0)).is_ok();
        assert_eq!(hammer(4, 1000, take), 1000);
        // over an old word of the same window's number
        let later = at(1024 * 1_000_000);
        let take = |_, _| limits.take_window(1, b"w", &window, &Ask::ONE, later).is_ok();
        assert_eq!(hammer(4, 1000, take), 1000);
        // nothing is given back: all places are taken in the end, and not one more
        let take = |t, _| limits.take_flight(1, b"f", 1000, &Ask::ONE, Worker::from_bits(t), at(0)).is_ok();
        let admitted = hammer(4, 1000, take);
        assert!(admitted <= 1000 && admitted as u64 == limits.in_flight(1, b"f"), "{admitted}");
        assert!(admitted >= 990, "{admitted}");
    }
}

#[test]
fn there_are_never_more_in_flight_than_the_limit() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let memory = memory(4096);
    let limits = Limits::new(&memory, 32, 7);
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let admitted = hammer(4, 20_000, |t, _| {
        let worker = Worker::from_bits(t);
        let Ok(ticket) = limits.take_flight(1, b"f", 2, &Ask::ONE, worker, at(0)) else { return false };
        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        std::thread::yield_now();
        now.fetch_sub(1, SeqCst);
        limits.settle(&ticket, 1, worker, at(1));
        true
    });
    assert!(admitted > 0 && most.load(SeqCst) <= 2, "{}", most.load(SeqCst));
    assert_eq!(limits.in_flight(1, b"f"), 0);
}

#[test]
fn buckets_that_come_and_go_stay_whole() {
    let memory = for_keys(100);
    let limits = Limits::new(&memory, 32, 7);
    let rate = Rate::new(1.0, 4);
    // of each key no more than its bucket holds, and what its evictions let through
    let admitted = hammer(4, 5000, |t, i| {
        let worker = Worker::from_bits(t);
        let key = (i as u32 * 7919 % 1000).to_le_bytes();
        if let Ok(ticket) = limits.take_flight(1, &key, 1, &Ask::ONE, worker, at(0)) {
            limits.settle(&ticket, 1, worker, at(0));
        }
        limits.throttle(1, &key, &rate, at(0)).is_none()
    });
    assert!(admitted > 0);
    for key in 0..1000u32 {
        assert_eq!(limits.in_flight(1, &key.to_le_bytes()), 0, "{key}");
    }
    assert!(limits.used().0 <= limits.room().0);
}

mod leases {
    use super::super::lease::{Grant, Terms};
    use super::super::Kind;
    use super::*;

    /// What the script does for a window, in one place and without a network.
    struct Server {
        limit: i64,
        count: i64,
    }

    impl Server {
        fn ask(&mut self, limits: &Limits<'_>, terms: &Terms, us: u64, length_us: u64) {
            for bucket in limits.shared(1) {
                let (budget, _) = limits.shared_key(bucket).unwrap();
                let Some(wish) = budget.wish(terms, us) else { continue };
                let units = (self.limit - self.count - wish.owed).clamp(0, wish.ask);
                self.count += units + wish.owed;
                let left = (length_us - us % length_us) / 1000;
                budget.granted(&wish, &Grant { units, good_ms: left, again_ms: left }, us);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn gateways_are_off_by_a_chunk_each_at_most(
            limit in 1u32..2000,
            steps in prop::collection::vec((0usize..3, 1u32..100, 0u64..1000), 1..60),
        ) {
            let kind = Kind::Window(Window { limit, length_us: 1_000_000_000 });
            let terms = Terms::of(&kind).unwrap();
            let memories: Vec<_> = (0..3).map(|_| memory(2048)).collect();
            let gateways: Vec<_> = memories.iter().map(|memory| Limits::new(memory, 32, 7)).collect();
            let (mut server, mut admitted, mut us) = (Server { limit: limit.into(), count: 0 }, 0i64, 1_000_000_000);
            for (gateway, requests, pause) in steps {
                for _ in 0..requests {
                    admitted += i64::from(gateways[gateway].take_shared(1, b"a", &terms, &Ask::ONE, at(us - 1_000_000_000)).is_ok());
                }
                us += pause;
                // leases come late, and from time to time not at all
                if pause % 3 != 0 {
                    server.ask(&gateways[gateway], &terms, us, 1_000_000_000);
                }
            }
            let error = 3 * terms.chunk();
            prop_assert!(admitted <= i64::from(limit) + error, "{} of {}", admitted, limit);
            // with the one that asks on and on
            for _ in 0..2 * limit + 100 {
                us += 1;
                admitted += i64::from(gateways[0].take_shared(1, b"a", &terms, &Ask::ONE, at(us - 1_000_000_000)).is_ok());
                server.ask(&gateways[0], &terms, us, 1_000_000_000);
            }
            prop_assert!(admitted >= i64::from(limit) - error, "{} of {}", admitted, limit);
            prop_assert!(admitted <= i64::from(limit) + error, "{} of {}", admitted, limit);
        }
    }

    #[test]
    fn a_lease_ends_and_what_is_owed_is_charged() {
        let memory = memory(8192);
        let limits = Limits::new(&memory, 32, 7);
        let terms = Terms::of(&Kind::Window(Window { limit: 100, length_us: 60_000_000 })).unwrap();
        let take = |cost, us| limits.take_shared(1, b"a", &terms, &ask(cost), at(us)).is_ok();
        // ten on credit
        assert_eq!((0..20).filter(|_| take(1, 0)).count(), 10);
        let (budget, key) = limits.shared_key(limits.shared(1).next().unwrap()).unwrap();
        assert_eq!(key, b"a");
        let wish = budget.wish(&terms, at(0).us).unwrap();
        assert_eq!((wish.owed, wish.ask), (10, 10));
        assert_eq!(budget.wish(&terms, at(0).us), None, "once");
        budget.granted(&wish, &Grant { units: 10, good_ms: 1000, again_ms: 1000 }, at(0).us);
        assert!(take(4, 0));
        // the rest of the lease is over: a new one, and credit meanwhile
        assert_eq!((0..20).filter(|_| take(1, 1_000_001)).count(), 10);
        let wish = budget.wish(&terms, at(1_000_001).us).unwrap();
        assert_eq!(wish.owed, 10);
        budget.granted(&wish, &Grant { units: 3, good_ms: 1000, again_ms: 500 }, at(1_000_001).us);
        // there is little left: no credit, and no question before it is time
        assert_eq!((0..20).filter(|_| take(1, 1_000_002)).count(), 3);
        assert_eq!(budget.wish(&terms, at(1_400_000).us), None);
        assert!(budget.wish(&terms, at(1_600_000).us).is_some());
        // one that costs more than a chunk is let in when nothing is owed
        assert!(limits.take_shared(1, b"b", &terms, &ask(60), at(0)).is_ok());
        assert!(limits.take_shared(1, b"b", &terms, &ask(60), at(0)).is_err());
        assert_eq!(limits.take_shared(1, b"b", &terms, &ask(101), at(0)), Err(Refusal::TooLarge));
    }

    /// The leaser looks at budgets when a number has changed, and when one of them is due.
    #[test]
    fn whoever_wants_something_later_is_heard_after_a_pause() {
        let memory = memory(8192);
        let limits = Limits::new(&memory, 32, 7);
        let terms = Terms::of(&Kind::Window(Window { limit: 200, length_us: 10_000_000 })).unwrap();
        let take = |us| limits.take_shared(1, b"a", &terms, &Ask::ONE, at(us));
        assert_eq!(limits.due_us(1, &terms, at(0)), None);
        while take(0).is_ok() {}
        let (budget, _) = limits.shared_key(limits.shared(1).next().unwrap()).unwrap();
        assert!(limits.due_us(1, &terms, at(0)).is_some_and(|due| due <= at(0).us));
        let (seen, wish) = (limits.wanted(), budget.wish(&terms, at(0).us).unwrap());
        // somebody wants more while the server is asked, and it has none: nothing to do before it is time
        assert!(take(1000).is_err());
        assert_eq!(limits.wanted(), seen + 1);
        budget.granted(&wish, &Grant { units: 0, good_ms: 10_000, again_ms: 10_000 }, at(0).us);
        for us in (10_000..9_990_000).step_by(10_000) {
            assert_eq!(budget.wish(&terms, at(us).us), None);
            assert!(take(us).is_err());
        }
        // nobody is told again, but it is known when to ask
        assert_eq!(limits.wanted(), seen + 1);
        assert_eq!(limits.due_us(1, &terms, at(9_990_000)), Some(at(10_000_000).us));
        let wish = budget.wish(&terms, at(10_000_000).us).unwrap();
        assert_eq!(limits.due_us(1, &terms, at(10_000_000)), None);
        budget.granted(&wish, &Grant { units: wish.ask, good_ms: 9999, again_ms: 9999 }, at(10_000_000).us);
        // what a settled ticket owes is heard, too
        let (ticket, seen) = (take(10_000_003).unwrap(), limits.wanted());
        limits.settle(&ticket, 60, Worker::from_bits(0), at(10_000_004));
        assert_eq!(limits.wanted(), seen + 1);
        assert!(budget.wish(&terms, at(10_000_006).us).is_some_and(|wish| wish.owed > 0));
    }

    #[test]
    fn what_is_given_back_is_for_its_own_window_and_a_chunk_of_it() {
        let memory = memory(8192);
        let limits = Limits::new(&memory, 32, 7);
        let terms = Terms::of(&Kind::Window(Window { limit: 200, length_us: 10_000_000 })).unwrap();
        let take = |cost, us| limits.take_shared(1, b"a", &terms, &ask(cost), at(us));
        let settle = |ticket, us| limits.settle(&ticket, 0, Worker::from_bits(0), at(us));
        let tickets: Vec<_> = (0..2).map(|_| take(90, 0)).collect();
        assert!(tickets[1].is_err(), "the first is owed");
        let (budget, _) = limits.shared_key(limits.shared(1).next().unwrap()).unwrap();
        let lease = |units: i64, us: u64, left| {
            let wish = budget.wish(&terms, at(us).us)?;
            budget.granted(
                &wish,
                &Grant { units: units.min(wish.ask), good_ms: left, again_ms: left },
                at(us).us,
            );
            Some(wish)
        };
        // the window ends at 8 s
        assert_eq!(lease(20, 0, 8000).map(|wish| wish.owed), Some(90));
        let later = take(5, 1000).unwrap();
        settle(tickets[0].unwrap(), 1_000_000);
        // of what is here now a chunk stays
        assert_eq!(lease(0, 1_000_001, 6999).map(|wish| (wish.owed, wish.ask)), Some((-85, 0)));
        assert_eq!((0..90).filter(|_| take(1, 1_000_002).is_ok()).count(), 20 + 20, "with credit");
        assert_eq!(lease(20, 1_000_003, 6999).map(|wish| wish.owed), Some(20));
        // in the next window
        assert!(take(1, 8_500_000).is_ok());
        assert!(lease(3, 8_500_001, 9500).is_some());
        settle(later, 9_000_000);
        assert_eq!((0..90).filter(|_| take(1, 9_000_001).is_ok()).count(), 3);
    }

    #[test]
    fn a_server_grants_what_it_was_asked_for_at_most() {
        use super::super::lease::Wish;
        use crate::wire::resp::Reply;
        let wish = Wish { owed: 5, ask: 10 };
        let read = |parts: &[i64]| {
            let parts = parts.iter().map(|n| Reply::Int(*n)).collect();
            Grant::read(&Reply::Array(Some(parts)), &wish)
        };
        assert_eq!(read(&[10, 1, 2]), Some(Grant { units: 10, good_ms: 1, again_ms: 2 }));
        for wrong in [&[11, 1, 2][..], &[-1, 1, 2], &[i64::MAX, 1, 2], &[1, 1, -1], &[1, 1]] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn one_worker_leases_until_it_stops() {
        let memory = memory(8192);
        let limits = Limits::new(&memory, 32, 7);
        let (a, b) = (Worker::from_bits(0), Worker::from_bits(1));
        assert!(limits.leases(a, at(0)) && !limits.leases(b, at(0)));
        assert!(limits.leases(a, at(400_000)) && !limits.leases(b, at(800_000)));
        assert!(limits.leases(b, at(1_000_000)) && !limits.leases(a, at(1_000_000)));
    }
}
