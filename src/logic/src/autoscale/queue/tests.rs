use super::*;
use crate::autoscale::metrics::columns::Owner;
use crate::autoscale::metrics::word::Word;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

const T: u64 = 1_000_000_000;
const ME: (Owner, u16) = (Owner { pid: 1, stamp: 7 }, 0);
const BOUNDS: (u32, u64) = (1024, 1 << 30);

struct Memory {
    words: Vec<Word>,
    lanes: Vec<Word>,
}

impl Memory {
    fn new(words: usize) -> Self {
        let words_of = |n| (0..n).map(|_| Word::new(0)).collect();
        Self { words: words_of(words), lanes: words_of(4 * LANE_WORDS) }
    }

    fn queues(&self) -> Queues<'_> {
        Queues::over(&self.words).unwrap()
    }

    fn lane(&self, number: usize) -> Lane<'_> {
        Lane::new(number, &self.lanes[number * LANE_WORDS..]).unwrap()
    }
}

fn entry(urgency: &[u8], tenant: u64) -> Entry {
    Entry { urgency: Urgency::of(urgency), key: flow(&tenant.to_be_bytes(), 5, 0), bytes: 100 }
}

fn pace() -> Pace {
    Pace { service_us: 20_000.0, inflight: 16 }
}

/// Everybody in the order in which they are let go, one at a time.
fn drain(queues: &Queues<'_>, lane: &Lane<'_>, now_us: u64) -> Vec<Slot> {
    let mut order = Vec::new();
    while let Some(grant) = queues.grant(lane, now_us, &pace(), |_| 1) {
        queues.leave(grant.slot);
        order.push(grant.slot);
    }
    assert!(lane.is_idle(), "whoever finds nobody says so");
    order
}

#[test]
fn urgencies_are_digits_names_or_headers() {
    let table: [(&[u8], usize); 14] = [
        (b"0", 0),
        (b"7", 7),
        (b" 5 ", 5),
        (b"critical", 0),
        (b"high", 1),
        (b"low", 5),
        (b"batch", 7),
        (b"u=1", 1),
        (b"i, u=6", 6),
        (b"", 3),
        (b"8", 3),
        (b"u=9", 3),
        (b"urgent", 3),
        (b"-1", 3),
    ];
    for (text, level) in table {
        assert_eq!(Urgency::of(text).level(), level, "{}", text.escape_ascii());
    }
}

#[test]
fn those_of_one_flow_go_in_the_order_in_which_they_came() {
    let memory = Memory::new(4096);
    let (queues, lane) = (memory.queues(), memory.lane(1));
    let came: Vec<Slot> =
        (0..20).map(|i| queues.enter(&lane, ME, &entry(b"", 1), BOUNDS, T + i * 1000).unwrap().0).collect();
    assert_eq!(queues.pressure(&lane), Pressure { waiting: 20, granted: 0 });
    assert_eq!(drain(&queues, &lane, T + 30_000), came);
}

#[test]
fn what_an_upstream_with_the_same_number_left_behind_is_no_debt() {
    let memory = Memory::new(4096);
    let (queues, lane) = (memory.queues(), memory.lane(1));
    for i in 0..200 {
        queues.enter(&lane, ME, &entry(b"", 1), BOUNDS, T + i).unwrap();
        drain(&queues, &lane, T + i);
    }
    memory.lanes[LANE_WORDS..2 * LANE_WORDS].iter().for_each(|word| word.store(0, SeqCst));
    let (one, _) = queues.enter(&lane, ME, &entry(b"", 1), BOUNDS, 2 * T).unwrap();
    for i in 1..10 {
        queues.enter(&lane, ME, &entry(b"", 2), BOUNDS, 2 * T + i).unwrap();
    }
    assert_eq!(drain(&queues, &lane, 2 * T + 10)[0], one);
}

#[test]
fn one_that_stands_is_served_from_its_end_until_it_is_empty() {
    let memory = Memory::new(4096);
    let (queues, lane) = (memory.queues(), memory.lane(1));
    let late: Vec<Slot> =
        (0..3).map(|i| queues.enter(&lane, ME, &entry(b"", 1), BOUNDS, T + i * 10_000).unwrap().0).collect();
    // the oldest has waited for 100 ms
    let mut reversed = late.clone();
    reversed.reverse();
    let is_overdue =
        |slot: Slot, now| queues.is_overdue((&lane, &mut Crowd::default()), slot, 1_000_000, now, &pace());
    assert!(!is_overdue(late[0], T + 99_000), "it does not stand yet");
    assert!(is_overdue(late[0], T + 101_000));
    assert!(is_overdue(late[2], T + 101_000), "and then 50 ms are too long");
    assert_eq!(drain(&queues, &lane, T + 101_000), reversed);
    let (alone, _) = queues.enter(&lane, ME, &entry(b"", 1), BOUNDS, T).unwrap();
    assert!(!is_overdue(alone, T + 500_000), "one that is alone stands in nobody's way");
    queues.leave(alone);
    let (slot, _) = queues.enter(&lane, ME, &entry(b"", 1), BOUNDS, T + 200_000).unwrap();
    assert!(!is_overdue(slot, T + 270_000), "it was empty in between");
    assert!(
        queues.is_overdue((&lane, &mut Crowd::default()), slot, 60_000, T + 270_000, &pace()),
        "but no longer than the timeout"
    );
}

/// 8 are served every 10 ms.
struct Flood<'a> {
    queues: Queues<'a>,
    lane: Lane<'a>,
    now: u64,
    held: Vec<(Slot, u64)>,
}

impl Flood<'_> {
    /// So many come every 10 ms until `until`. When the first of them was refused, and for how long the oldest had waited then.
    fn come(&mut self, n: usize, until: u64) -> Option<(u64, u64)> {
        while self.now < until {
            self.now += 10_000;
            for _ in 0..n {
                let (slot, _) = self.queues.enter(&self.lane, ME, &entry(b"", 1), BOUNDS, self.now).unwrap();
                self.held.push((slot, self.now));
            }
            let oldest = self.held.iter().map(|(_, at)| self.now - at).max().unwrap_or(0);
            for room in (0..8).rev() {
                let Some(grant) = self.queues.grant(&self.lane, self.now, &pace(), |_| room + 1) else {
                    break;
                };
                self.queues.leave(grant.slot);
                self.held.retain(|(slot, _)| *slot != grant.slot);
            }
            let (mut crowd, mut late) = (Crowd::default(), Vec::new());
            for (slot, _) in &self.held {
                if self.queues.is_overdue((&self.lane, &mut crowd), *slot, 1_000_000, self.now, &pace()) {
                    assert!(self.queues.withdraw(*slot));
                    late.push(*slot);
                }
            }
            self.held.retain(|(slot, _)| !late.contains(slot));
            if !late.is_empty() {
                return Some((self.now, oldest));
            }
        }
        None
    }
}

fn flooded(memory: &Memory) -> Flood<'_> {
    Flood { queues: memory.queues(), lane: memory.lane(1), now: T, held: Vec::new() }
}

#[test]
fn a_burst_is_worked_off_and_nobody_is_refused() {
    let memory = Memory::new(4096);
    let mut flood = flooded(&memory);
    flood.come(28, T + 10_000);
    assert_eq!(flood.come(8, T + 500_000), None);
    // 110 wait then: the last of them for 140 ms
    assert_eq!(flood.come(98, T + 510_000), None);
    assert_eq!(flood.come(7, T + 3_000_000), None);
    assert!(flood.held.len() < 8, "{} wait", flood.held.len());
}

#[test]
fn overload_is_known_as_soon_as_somebody_has_waited_for_long() {
    let memory = Memory::new(4096);
    let mut flood = flooded(&memory);
    // at the capacity for a while: a few wait
    flood.come(20, T + 10_000);
    assert_eq!(flood.come(8, T + 1_000_000), None);
    let (at, oldest) = flood.come(16, T + 2_000_000).unwrap();
    assert!(at <= T + 1_000_000 + 200_000 && oldest <= 110_000, "after {} us: {oldest}", at - T - 1_000_000);
}

#[test]
fn a_little_more_than_there_is_is_overload_in_the_end_and_then_at_once() {
    let memory = Memory::new(8192);
    let mut flood = flooded(&memory);
    let (at, oldest) = flood.come(10, T + 5_000_000).unwrap();
    assert!(oldest == 300_000 && at <= T + 1_600_000, "after {} us: {oldest}", at - T);
    while flood.come(0, flood.now + 50_000).is_some() {}
    assert!(flood.held.is_empty());
    let (_, oldest) = flood.come(10, flood.now + 2_000_000).unwrap();
    assert_eq!(oldest, 100_000, "it has stood a moment ago");
    while flood.come(0, flood.now + 50_000).is_some() {}
    flood.now += 3_500_000;
    let (_, oldest) = flood.come(10, flood.now + 5_000_000).unwrap();
    assert_eq!(oldest, 300_000, "that was long ago");
}

#[test]
fn the_most_urgent_go_first_and_each_sixteenth_grant_goes_round() {
    let memory = Memory::new(4096);
    let (queues, lane) = (memory.queues(), memory.lane(0));
    let mut level = std::collections::HashMap::new();
    for urgency in [b"7", b"0"] {
        for _ in 0..40 {
            let (slot, _) = queues.enter(&lane, ME, &entry(urgency, 1), BOUNDS, T).unwrap();
            level.insert(slot, urgency[0]);
        }
    }
    let order: Vec<u8> = drain(&queues, &lane, T + 1000).iter().map(|slot| level[slot]).collect();
    let early = order[..32].iter().filter(|l| **l == b'7').count();
    assert_eq!((order.len(), early), (80, 1), "{}", String::from_utf8_lossy(&order));
}

#[test]
fn flows_take_turns_and_a_new_one_is_served_at_once() {
    let memory = Memory::new(4096);
    let (queues, lane) = (memory.queues(), memory.lane(2));
    let mut whose = std::collections::HashMap::new();
    let mut come = |tenant: u64, n: usize| {
        for _ in 0..n {
            let (slot, _) = queues.enter(&lane, ME, &entry(b"", tenant), BOUNDS, T).unwrap();
            whose.insert(slot, tenant);
        }
    };
    come(1, 30);
    let mut first = Vec::new();
    for _ in 0..10 {
        let grant = queues.grant(&lane, T + 100, &pace(), |_| 1).unwrap();
        queues.leave(grant.slot);
        first.push(grant.slot);
    }
    come(2, 5);
    come(3, 5);
    let order: Vec<u64> = drain(&queues, &lane, T + 200).iter().map(|slot| whose[slot]).collect();
    let mut first_two = order[..2].to_vec();
    first_two.sort_unstable();
    assert_eq!(first_two, [2, 3], "the first has had something already: {order:?}");
    let of_first = order[..14].iter().filter(|tenant| **tenant == 1).count();
    assert_eq!(of_first, 4, "and then they take turns: {order:?}");
    assert!(order[14..].iter().all(|tenant| *tenant == 1), "who is left has everything: {order:?}");
}

/// Whose are let go in which order, where the first of two came a little earlier with 30 and the second with five.
fn order_of_two(memory: &Memory, now_us: u64) -> Vec<u64> {
    let (queues, lane) = (memory.queues(), memory.lane(2));
    let mut whose = std::collections::HashMap::new();
    for (tenant, n) in [(1, 30), (2, 5)] {
        for _ in 0..n {
            let came = now_us + tenant * 1000;
            let (slot, _) = queues.enter(&lane, ME, &entry(b"", tenant), BOUNDS, came).unwrap();
            whose.insert(slot, tenant);
        }
    }
    drain(&queues, &lane, now_us + 10_000).iter().map(|slot| whose[slot]).collect()
}

#[test]
fn whoever_waits_longest_goes_first_unless_others_have_had_much_less() {
    let order = order_of_two(&Memory::new(4096), T);
    // 12 ahead, and then one each
    assert_eq!(order[..13], [1; 13]);
    assert_eq!(order[13..23], [2, 1, 2, 1, 2, 1, 2, 1, 2, 1]);
    assert_eq!(order[23..], [1; 12]);
}

#[test]
fn after_an_overload_they_take_turns_from_the_first_on() {
    let memory = Memory::new(4096);
    let (queues, lane) = (memory.queues(), memory.lane(2));
    queues.enter(&lane, ME, &entry(b"", 3), BOUNDS, T - 200_000).unwrap();
    assert_eq!(drain(&queues, &lane, T).len(), 1, "it stood");
    assert_eq!(order_of_two(&memory, T)[..10], [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]);
    // three seconds later nobody speaks of it
    assert_eq!(order_of_two(&memory, T + 3_100_000)[..12], [1; 12]);
}

#[test]
fn queues_of_different_upstreams_do_not_see_each_other() {
    let memory = Memory::new(4096);
    let (queues, a, b) = (memory.queues(), memory.lane(0), memory.lane(1));
    queues.enter(&a, ME, &entry(b"", 1), BOUNDS, T).unwrap();
    assert!(b.is_idle() && !a.is_idle());
    assert_eq!(queues.grant(&b, T, &pace(), |_| 9), None);
    assert_eq!(queues.pressure(&b), Pressure::default());
    assert!(queues.grant(&a, T, &pace(), |_| 1).is_some());
    assert!(queues.grant(&a, T, &pace(), |_| 1).is_none());
}

#[test]
fn who_was_let_go_has_its_room_until_it_has_gone() {
    let memory = Memory::new(4096);
    let (queues, lane) = (memory.queues(), memory.lane(0));
    for _ in 0..3 {
        queues.enter(&lane, ME, &entry(b"", 1), BOUNDS, T).unwrap();
    }
    let first = queues.grant(&lane, T, &pace(), |_| 1).unwrap();
    assert_eq!(queues.grant(&lane, T, &pace(), |_| 1), None);
    assert_eq!(queues.phase(first.slot), Phase::Granted);
    assert!(!queues.withdraw(first.slot), "its turn has come");
    queues.leave(first.slot);
    let second = queues.grant(&lane, T, &pace(), |_| 1).unwrap();
    queues.leave(second.slot);
    assert_eq!(queues.pressure(&lane), Pressure { waiting: 1, granted: 0 });
}

#[test]
fn bounds_hold_and_the_longest_flow_makes_way() {
    let memory = Memory::new(4096);
    let (queues, lane) = (memory.queues(), memory.lane(0));
    let noisy: Vec<Slot> = (0..4)
        .map(|i| queues.enter(&lane, ME, &entry(b"", 1), (4, 1 << 20), T + i * 1000).unwrap().0)
        .collect();
    let now = T + 10_000;
    assert_eq!(queues.enter(&lane, ME, &entry(b"", 1), (4, 1 << 20), now), Err(Full::Count(4)));
    assert_eq!(queues.enter(&lane, ME, &entry(b"7", 2), (4, 1 << 20), now), Err(Full::Count(4)));
    let (_, dropped) = queues.enter(&lane, ME, &entry(b"", 2), (4, 1 << 20), now).unwrap();
    assert_eq!(dropped.unwrap().slot, noisy[0], "its oldest");
    assert_eq!(queues.phase(noisy[0]), Phase::Dropped);
    let (_, dropped) = queues.enter(&lane, ME, &entry(b"0", 1), (4, 1 << 20), now).unwrap();
    assert_eq!(dropped.unwrap().slot, noisy[1], "urgency goes before fairness");
    assert_eq!(queues.pressure(&lane).waiting, 4);
    let large = Entry { bytes: 900, ..entry(b"0", 3) };
    assert_eq!(queues.enter(&lane, ME, &large, (9, 1000), now), Err(Full::Bytes(400)));
    let fits = Entry { bytes: 700, ..large };
    assert!(queues.enter(&lane, ME, &fits, (9, 1000), now).unwrap().1.is_some());
    assert_eq!(queues.enter(&lane, ME, &entry(b"0", 1), (0, 1000), now).map(|_| ()), Err(Full::Count(4)));
}

#[test]
fn a_zone_without_room_takes_nobody() {
    assert!(Queues::over(&Memory::new(32).words).is_none());
    let memory = Memory::new(100);
    let (queues, lane) = (memory.queues(), memory.lane(0));
    for _ in 0..queues.slots() {
        queues.enter(&lane, ME, &entry(b"", 1), BOUNDS, T).unwrap();
    }
    assert_eq!(queues.enter(&lane, ME, &entry(b"", 1), BOUNDS, T), Err(Full::Zone));
}

#[test]
fn what_the_dead_had_is_given_back() {
    let memory = Memory::new(4096);
    let (queues, lane) = (memory.queues(), memory.lane(0));
    let dead = (Owner { pid: 2, stamp: 9 }, 1);
    for i in 0..6 {
        let who = if i % 2 == 0 { ME } else { dead };
        queues.enter(&lane, who, &entry(b"", 1), BOUNDS, T + i).unwrap();
    }
    let granted: Vec<_> = (0..2).map(|_| queues.grant(&lane, T + 9, &pace(), |_| 2).unwrap()).collect();
    assert!(granted.iter().any(|grant| grant.owner == dead.0 && grant.seat == 1));
    assert_eq!(queues.sweep(ME.0, |owner| owner.pid != 2), 3);
    assert_eq!(queues.sweep(ME.0, |owner| owner.pid != 2), 0);
    assert_eq!(queues.pressure(&lane), Pressure { waiting: 2, granted: 1 });
    queues.release(ME.0);
    assert_eq!(queues.pressure(&lane), Pressure::default());
    // a sweeper that was killed when it had marked a slot
    queues.enter(&lane, dead, &entry(b"", 1), BOUNDS, T).unwrap();
    let owners: Vec<_> = memory.words.iter().filter(|w| w.load(SeqCst) == dead.0.word()).collect();
    owners[0].store(1 << 63 | Owner { pid: 3, stamp: 3 }.word(), SeqCst);
    assert_eq!(queues.sweep(ME.0, |owner| owner.pid == 3), 0, "one at work is left alone");
    assert_eq!(queues.sweep(ME.0, |_| false), 1);
    assert_eq!(queues.pressure(&lane), Pressure::default());
}

#[test]
fn ages_survive_the_turn_of_their_clock() {
    let memory = Memory::new(4096);
    let (queues, lane) = (memory.queues(), memory.lane(0));
    let turn = (1u64 << 38) - 1000;
    let (slot, _) = queues.enter(&lane, ME, &entry(b"", 1), BOUNDS, turn).unwrap();
    assert!(!queues.is_overdue(
        (&lane, &mut Crowd::default()),
        slot,
        50_000,
        turn + 40_000,
        &Pace::default()
    ));
    assert!(queues.is_overdue((&lane, &mut Crowd::default()), slot, 50_000, turn + 60_000, &Pace::default()));
    assert!(
        !queues.is_overdue((&lane, &mut Crowd::default()), slot, 50_000, turn - 5_000, &Pace::default()),
        "a clock that is behind"
    );
}

proptest! {
    /// Whatever happens: nobody is in two places, bounds hold, and at the end nothing is left.
    #[test]
    fn nothing_is_lost_or_doubled(steps in prop::collection::vec((0u8..6, any::<u8>(), 0u64..5), 1..200)) {
        let memory = Memory::new(2048);
        let (queues, lane) = (memory.queues(), memory.lane(1));
        let (mut held, mut running, mut now) = (Vec::<Slot>::new(), 0u32, T);
        for (step, pick, tenant) in steps {
            now += 3_000;
            match step {
                0..=2 => {
                    if let Ok((slot, _)) = queues.enter(&lane, ME, &entry(&[b'0' + pick % 8], tenant), (20, 5_000), now) {
                        prop_assert!(!held.contains(&slot));
                        held.push(slot);
                    }
                }
                3 => running = running.saturating_sub(1),
                4 if !held.is_empty() => {
                    let i = usize::from(pick) % held.len();
                    if queues.withdraw(held[i]) {
                        held.swap_remove(i);
                    }
                }
                _ => while let Some(grant) = queues.grant(&lane, now, &pace(), |_| 4 - running) {
                    prop_assert!(held.contains(&grant.slot));
                    prop_assert_eq!(queues.phase(grant.slot), Phase::Granted);
                    held.retain(|slot| *slot != grant.slot);
                    queues.leave(grant.slot);
                    running += 1;
                },
            }
            held.retain(|slot| {
                let dropped = queues.phase(*slot) == Phase::Dropped;
                if dropped {
                    queues.leave(*slot);
                }
                !dropped
            });
            prop_assert_eq!(queues.pressure(&lane).waiting as usize, held.len());
            prop_assert!(held.len() <= 20 && running <= 4);
            prop_assert!(!lane.is_idle() || held.is_empty());
        }
        drain(&queues, &lane, now);
        prop_assert_eq!(queues.pressure(&lane), Pressure::default());
    }
}

/// Workers of one queue with 4 places: each puts requests in, lets go whoever is next, serves its own, and now and then gives one up.
#[test]
fn four_workers_hammer_one_queue() {
    const PLACES: u32 = 4;
    const EACH: u64 = 3_000;
    let memory = Memory::new(4096);
    let (inflight, most, served, over) =
        (AtomicU32::new(0), AtomicU32::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4u32)
            .map(|number| {
                let (memory, inflight, most, served) = (&memory, &inflight, &most, &served);
                scope.spawn(move || {
                    let (queues, lane) = (memory.queues(), memory.lane(0));
                    let me = (Owner { pid: number + 1, stamp: 1 }, number as u16);
                    let mut held: Vec<Slot> = Vec::new();
                    let mut asked = 0;
                    while asked < EACH || !held.is_empty() {
                        let now = T + asked * 10;
                        if asked < EACH && held.len() < 20 {
                            asked += 1;
                            held.push(
                                queues.enter(&lane, me, &entry(b"", asked % 3), BOUNDS, now).unwrap().0,
                            );
                        }
                        while queues
                            .grant(&lane, now, &pace(), |_| PLACES.saturating_sub(inflight.load(SeqCst)))
                            .is_some()
                        {}
                        if asked % 7 == 0 && held.len() > 3 && queues.withdraw(held[2]) {
                            held.remove(2);
                        }
                        held.retain(|slot| {
                            let go = queues.phase(*slot) == Phase::Granted;
                            if go {
                                let n = inflight.fetch_add(1, SeqCst) + 1;
                                queues.leave(*slot);
                                most.fetch_max(n, SeqCst);
                                served.fetch_add(1, SeqCst);
                                inflight.fetch_sub(1, SeqCst);
                            }
                            !go
                        });
                    }
                })
            })
            .collect();
        for thread in threads {
            if thread.join().is_err() {
                over.store(true, SeqCst);
            }
        }
    });
    assert!(!over.load(SeqCst), "a worker failed");
    assert!(
        most.load(SeqCst) <= PLACES + 3,
        "one more for each of the others at most: {}",
        most.load(SeqCst)
    );
    assert!(served.load(SeqCst) > EACH * 4 * 3 / 4);
    assert_eq!(memory.queues().pressure(&memory.lane(0)), Pressure::default());
}
