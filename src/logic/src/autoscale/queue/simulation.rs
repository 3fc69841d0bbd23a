//! The queue in front of 8 peers of 2 slots with exponential 20 ms of service: 800 requests a second, told to nobody.
//!
//! Arrivals are Poisson and open-loop. A request that is not answered in half a second is late, one not answered in a second is given up.
//! The limit is right from the start: how it is learnt is [`super::super::limit`]'s to show.

use super::*;
use crate::autoscale::metrics::columns::Owner;
use crate::autoscale::metrics::word::Word;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

const SLOTS: u32 = 16;
const SERVICE_US: f64 = 20_000.0;
const CAPACITY: f64 = SLOTS as f64 * 1e6 / SERVICE_US;
const LOOK_US: u64 = 5_000;
const DEADLINE_US: u64 = 500_000;
const SECONDS: u64 = 6;
const START_US: u64 = 1_000_000_000;

/// Who asks, and how often.
struct Source {
    rate: f64,
    urgency: &'static [u8],
    tenant: u64,
}

fn source(part_of_capacity: f64, urgency: &'static [u8], tenant: u64) -> Source {
    Source { rate: part_of_capacity * CAPACITY, urgency, tenant }
}

#[derive(Default)]
struct Result {
    asked: u64,
    good: u64,
    /// Of those that were answered, in microseconds.
    latencies: Vec<u64>,
    /// How long those waited before they were served.
    waits: Vec<u64>,
    /// How long those waited that were refused.
    refusals: Vec<u64>,
}

impl Result {
    fn served(&self) -> f64 {
        self.good as f64 / self.asked as f64
    }
}

fn p99(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() * 99 / 100).copied().unwrap_or(0) / 1000
}

struct Random(u64);

impl Random {
    fn exponential(&mut self, mean: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64;
        -mean * (1.0 - unit).ln()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Look,
    End,
    Arrive(usize),
}

struct World<'a> {
    queues: Queues<'a>,
    lane: Lane<'a>,
    inflight: u32,
    random: Random,
    events: BinaryHeap<Reverse<(u64, Event, u64)>>,
    /// Source and arrival of those that wait.
    parked: HashMap<u32, (usize, u64)>,
    results: Vec<Result>,
}

impl World<'_> {
    fn pace(&self) -> Pace {
        Pace { service_us: SERVICE_US, inflight: self.inflight }
    }

    fn serve(&mut self, who: usize, arrived: u64, now: u64) {
        let ends = now + self.random.exponential(SERVICE_US) as u64;
        self.inflight += 1;
        self.events.push(Reverse((ends, Event::End, 0)));
        let result = &mut self.results[who];
        let latency = ends - arrived;
        result.good += u64::from(latency <= DEADLINE_US);
        result.latencies.push(latency);
        result.waits.push(now - arrived);
    }

    fn let_go(&mut self, now: u64) {
        let pace = self.pace();
        while let Some(grant) = self.queues.grant(&self.lane, now, &pace, |_| SLOTS - self.inflight) {
            let (who, arrived) = self.parked.remove(&grant.slot.0).unwrap();
            self.queues.leave(grant.slot);
            self.serve(who, arrived, now);
        }
    }

    fn refuse(&mut self, slot: u32, now: u64) {
        let (who, arrived) = self.parked.remove(&slot).unwrap();
        self.results[who].refusals.push(now - arrived);
    }

    fn arrive(&mut self, who: usize, source: &Source, now: u64) {
        self.results[who].asked += 1;
        if self.lane.is_idle() && self.inflight < SLOTS {
            return self.serve(who, now, now);
        }
        let entry = Entry {
            urgency: Urgency::of(source.urgency),
            key: flow(&source.tenant.to_be_bytes(), 1, 0),
            bytes: 1000,
        };
        let me = (Owner { pid: 1, stamp: 1 }, 0);
        match self.queues.enter(&self.lane, me, &entry, (1024, 64 << 20), now) {
            Ok((slot, dropped)) => {
                self.parked.insert(slot.0, (who, now));
                if let Some(dropped) = dropped {
                    self.queues.leave(dropped.slot);
                    self.refuse(dropped.slot.0, now);
                }
            }
            Err(_) => self.results[who].refusals.push(0),
        }
        self.let_go(now);
    }

    fn look(&mut self, now: u64) {
        let (mut slots, pace) = (self.parked.keys().copied().collect::<Vec<_>>(), self.pace());
        slots.sort_unstable();
        let mut crowd = Crowd::default();
        for slot in slots {
            let overdue = self.queues.is_overdue((&self.lane, &mut crowd), Slot(slot), 1_000_000, now, &pace);
            if overdue && self.queues.withdraw(Slot(slot)) {
                self.refuse(slot, now);
            }
        }
    }
}

/// What becomes of everybody in so many seconds.
fn run(sources: &[Source], seconds: u64) -> Vec<Result> {
    let words: Vec<Word> = (0..16_384).map(|_| Word::new(0)).collect();
    let lane: Vec<Word> = (0..LANE_WORDS).map(|_| Word::new(0)).collect();
    let mut world = World {
        queues: Queues::over(&words).unwrap(),
        lane: Lane::new(3, &lane).unwrap(),
        inflight: 0,
        random: Random(7),
        events: BinaryHeap::new(),
        parked: HashMap::new(),
        results: sources.iter().map(|_| Result::default()).collect(),
    };
    let end = START_US + seconds * 1_000_000;
    world.events.push(Reverse((START_US, Event::Look, 0)));
    for (i, source) in sources.iter().enumerate() {
        let first = world.random.exponential(1e6 / source.rate) as u64;
        world.events.push(Reverse((START_US + first, Event::Arrive(i), 0)));
    }
    while let Some(Reverse((now, event, _))) = world.events.pop() {
        match event {
            Event::Look => {
                world.look(now);
                if now < end || !world.parked.is_empty() {
                    world.events.push(Reverse((now + LOOK_US, Event::Look, 0)));
                }
            }
            Event::End => {
                world.inflight -= 1;
                if !world.lane.is_idle_now() {
                    world.let_go(now);
                }
            }
            Event::Arrive(i) if now < end => {
                let next = now + world.random.exponential(1e6 / sources[i].rate) as u64;
                world.events.push(Reverse((next, Event::Arrive(i), 0)));
                world.arrive(i, &sources[i], now);
            }
            Event::Arrive(_) => {}
        }
    }
    assert_eq!(world.queues.pressure(&world.lane), Pressure::default(), "nobody is left");
    world.results
}

fn goodput(results: &[Result], seconds: u64) -> f64 {
    results.iter().map(|r| r.good).sum::<u64>() as f64 / (CAPACITY * seconds as f64)
}

fn everybody(results: &[Result], of: fn(&Result) -> &[u64]) -> Vec<u64> {
    results.iter().flat_map(|r| of(r).iter().copied()).collect()
}

#[test]
fn at_twice_the_capacity_all_of_it_is_used_and_nobody_waits_long() {
    let results = run(&[source(2.0, b"", 0)], SECONDS);
    let (goodput, p99_ms) = (goodput(&results, SECONDS), p99(&results[0].latencies));
    assert!(goodput >= 0.985, "{goodput}");
    assert!(p99_ms <= 120, "{p99_ms} ms");
    assert!(p99(&results[0].refusals) <= 80, "{} ms", p99(&results[0].refusals));
}

#[test]
fn below_the_capacity_nobody_is_refused() {
    for load in [0.7, 0.9] {
        let results = run(&[source(load, b"", 0)], SECONDS);
        assert_eq!(results[0].refusals.len(), 0, "at {load}");
    }
}

/// Below the capacity they take turns only by chance; turns that are taken strictly cost half as much again, and no one tenant has a gain.
#[test]
fn tenants_that_are_alike_wait_hardly_longer_than_in_one_line() {
    let at_nine_tenths = |tenant: fn(u64) -> u64| {
        let sources: Vec<_> = (0..8).map(|i| source(0.9 / 8.0, b"", tenant(i))).collect();
        p99(&everybody(&run(&sources, 60), |r| &r.waits))
    };
    let (line, fair) = (at_nine_tenths(|_| 0), at_nine_tenths(|i| i));
    assert!(fair as f64 <= 1.15 * line as f64, "{fair} ms beside {line}");
}

#[test]
fn checkout_is_served_at_twice_the_capacity() {
    let results = run(&[source(0.4, b"0", 0), source(1.6, b"5", 0)], SECONDS);
    assert!(results[0].served() >= 0.999, "{}", results[0].served());
    assert!(p99(&results[0].latencies) <= 105, "{} ms", p99(&results[0].latencies));
    assert!(goodput(&results, SECONDS) >= 0.985, "{}", goodput(&results, SECONDS));
}

#[test]
fn even_the_least_urgent_get_something() {
    let results = run(&[source(1.5, b"0", 0), source(0.5, b"7", 0)], SECONDS);
    assert!(results[1].good as f64 >= 0.05 * CAPACITY * SECONDS as f64, "{}", results[1].good);
}

#[test]
fn a_noisy_tenant_hurts_only_itself_and_wastes_nothing() {
    let mut sources = vec![source(1.5, b"", 0)];
    sources.extend((1..8).map(|tenant| source(0.5 / 7.0, b"", tenant)));
    let results = run(&sources, SECONDS);
    let (noisy, others) = results.split_first().unwrap();
    let (asked, good) = others.iter().fold((0, 0), |(a, g), r| (a + r.asked, g + r.good));
    let served = good as f64 / asked as f64;
    assert!(served >= 0.999, "{served}");
    let p99_ms = p99(&everybody(others, |r| &r.latencies));
    assert!(p99_ms <= 100, "{p99_ms} ms");
    assert!(goodput(&results, SECONDS) >= 0.985, "{}", goodput(&results, SECONDS));
    assert!(
        noisy.good as f64 >= 0.45 * CAPACITY * SECONDS as f64,
        "what the others leave is the noisy one's: {}",
        noisy.good
    );
}

#[test]
fn two_who_both_want_everything_get_half_each_however_much_they_ask_for() {
    let results = run(&[source(1.0, b"", 1), source(4.0, b"", 2)], SECONDS);
    let share = results[0].good as f64 / (results[0].good + results[1].good) as f64;
    assert!((0.47..0.53).contains(&share), "{share}");
}

#[test]
fn a_tenant_that_is_alone_has_everything() {
    let results = run(&[source(2.0, b"", 9)], SECONDS);
    assert!(goodput(&results, SECONDS) >= 0.98, "{}", goodput(&results, SECONDS));
}

#[test]
fn a_burst_waits_and_is_served() {
    // half of what a second serves, at once, and then nothing
    let words: Vec<Word> = (0..16_384).map(|_| Word::new(0)).collect();
    let queues = Queues::over(&words).unwrap();
    let lane_words: Vec<Word> = (0..LANE_WORDS).map(|_| Word::new(0)).collect();
    let lane = Lane::new(0, &lane_words).unwrap();
    let pace = Pace { service_us: SERVICE_US, inflight: SLOTS };
    let me = (Owner { pid: 1, stamp: 1 }, 0);
    let slots: Vec<Slot> = (0..60)
        .map(|_| queues.enter(&lane, me, &Entry::default(), (1024, 1 << 20), START_US).unwrap().0)
        .collect();
    let late = |slot: &&Slot| {
        queues.is_overdue((&lane, &mut Crowd::default()), **slot, 1_000_000, START_US + 75_000, &pace)
    };
    assert_eq!(slots.iter().filter(late).count(), 0, "60 requests are served within 75 ms");
}
