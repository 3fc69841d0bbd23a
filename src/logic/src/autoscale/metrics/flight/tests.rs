use super::*;
use crate::autoscale::metrics::columns::{Levels, Owner};
use crate::autoscale::metrics::series::{Key, Name, Series, Time, Window};
use crate::autoscale::metrics::word::Word;
use crate::autoscale::metrics::zone::Layout;
use proptest::prelude::*;
use std::slice;

const SIZE: usize = 2 << 20;

fn at(ms: u64) -> Now {
    Now::from_ms(1_000_000_000 + ms)
}

fn owner(pid: u32) -> Owner {
    Owner { pid, stamp: 1 }
}

struct World<'a> {
    zone: Zone<'a>,
    worker: Worker,
    app: Ref<Upstream>,
    peers: [Ref<Peer>; 2],
    key: KeyRef,
}

impl World<'_> {
    fn start(&self, ms: u64) -> Flight<'_> {
        Flight::start(&self.zone, self.worker, self.app, slice::from_ref(&self.key), at(ms))
    }

    fn upstream(&self, ms: u64) -> Window {
        self.zone.series(self.app).unwrap().window(Series::<Upstream>::span(at(ms), 3600).unwrap())
    }

    fn peer(&self, i: usize, ms: u64) -> Window {
        self.zone.series(self.peers[i]).unwrap().window(Series::<Peer>::span(at(ms), 3600).unwrap())
    }

    fn tenant(&self, ms: u64) -> Window {
        self.zone.series(self.key.value).unwrap().window(Series::<Key>::span(at(ms), 3600).unwrap())
    }
}

fn with_world<T>(test: impl FnOnce(World<'_>) -> T) -> T {
    let words: Vec<Word> = (0..SIZE / 8).map(|_| Word::new(0)).collect();
    let layout = Layout::plan(SIZE, 64, 8).unwrap();
    let zone = Zone::create(&words, &layout, 3, at(0));
    let app = zone.upstream(b"app", at(0)).unwrap();
    let peers = [b"10.0.0.1:80", b"10.0.0.2:80"].map(|addr| zone.peer(app, addr, at(0)).unwrap());
    let tenant = zone.key_name(b"tenant", 64, at(0)).unwrap();
    let key = zone.key(tenant, b"acme", at(0)).unwrap();
    let worker = zone.columns().claim(owner(1));
    test(World { zone, worker, app, peers, key })
}

fn levels(active: u32, waiting: u32) -> Levels {
    Levels { active, waiting, queued: 0 }
}

#[test]
fn a_request_is_counted_on_upstream_peer_and_key() {
    with_world(|world| {
        let zone = &world.zone;
        let mut flight = world.start(0);
        assert_eq!(zone.levels(world.app), levels(1, 1));
        flight.attempt(zone, world.peers[0], at(1));
        assert_eq!((zone.levels(world.peers[0]), zone.levels(world.key.value)), (levels(1, 1), levels(1, 1)));
        flight.first_byte(zone, Some(2_000), false, at(30));
        assert_eq!((zone.levels(world.app), zone.levels(world.peers[0])), (levels(1, 0), levels(1, 0)));
        flight.end(zone, Class::Success, at(100));
        flight.end(zone, Class::ServerError, at(200));
        for (window, ttfb, latency) in [
            (world.upstream(100), 30_000.0, 100_000.0),
            (world.peer(0, 100), 29_000.0, 99_000.0),
            (world.tenant(100), 30_000.0, 100_000.0),
        ] {
            assert_eq!((window.arrived, window.finished(), window.class(Class::Success)), (1, 1, 1));
            assert_eq!(
                (window.average(Time::Ttfb), window.average(Time::Latency)),
                (Some(ttfb), Some(latency))
            );
        }
        assert_eq!(world.peer(0, 100).average(Time::Connect), Some(2_000.0));
        assert_eq!((zone.levels(world.app), zone.levels(world.peers[0])), (levels(0, 0), levels(0, 0)));
        assert_eq!((zone.levels(world.key.name), zone.levels(world.key.value)), (levels(0, 0), levels(0, 0)));
    });
}

#[test]
fn a_retry_counts_on_the_peer_that_failed() {
    with_world(|world| {
        let zone = &world.zone;
        let mut flight = world.start(0);
        flight.attempt(zone, world.peers[0], at(0));
        flight.fail(zone, Class::Timeout, at(1000));
        assert_eq!((zone.levels(world.app), zone.levels(world.peers[0])), (levels(1, 1), levels(0, 0)));
        flight.attempt(zone, world.peers[1], at(1000));
        flight.first_byte(zone, None, false, at(1010));
        flight.end(zone, Class::Success, at(1020));
        let (first, second, all) = (world.peer(0, 1020), world.peer(1, 1020), world.upstream(1020));
        assert_eq!((first.errors(), first.class(Class::Timeout)), (1, 1));
        assert_eq!((second.errors(), second.average(Time::Latency)), (0, Some(20_000.0)));
        assert_eq!(
            (all.arrived, all.retries, all.errors(), all.average(Time::Latency)),
            (1, 1, 0, Some(1_020_000.0))
        );
    });
}

#[test]
fn what_follows_a_try_that_was_given_back_is_no_retry() {
    with_world(|world| {
        let zone = &world.zone;
        let mut flight = world.start(0);
        flight.attempt(zone, world.peers[0], at(0));
        flight.fail(zone, Class::ConnectFailure, at(1));
        flight.give_back();
        flight.attempt(zone, world.peers[0], at(1));
        assert_eq!(world.upstream(1).retries, 0);
        flight.fail(zone, Class::ConnectFailure, at(2));
        flight.attempt(zone, world.peers[1], at(2));
        flight.end(zone, Class::Success, at(3));
        assert_eq!((world.upstream(3).retries, world.peer(1, 3).average(Time::Latency)), (1, Some(1_000.0)));
    });
}

#[test]
fn a_retry_after_the_first_byte_waits_again() {
    with_world(|world| {
        let zone = &world.zone;
        let mut flight = world.start(0);
        flight.attempt(zone, world.peers[0], at(0));
        flight.first_byte(zone, None, false, at(5));
        flight.fail(zone, Class::ServerError, at(6));
        flight.attempt(zone, world.peers[1], at(6));
        assert_eq!((zone.levels(world.app), zone.levels(world.peers[1])), (levels(1, 1), levels(1, 1)));
        flight.attempt(zone, world.peers[0], at(9)); // the open try failed
        assert_eq!(world.peer(1, 9).class(Class::ConnectFailure), 1);
        flight.end(zone, Class::ConnectFailure, at(10));
        assert_eq!((zone.levels(world.app), zone.levels(world.peers[0])), (levels(0, 0), levels(0, 0)));
    });
}

#[test]
fn a_stream_teaches_its_first_byte_not_its_length() {
    with_world(|world| {
        let zone = &world.zone;
        let mut flight = world.start(0);
        flight.attempt(zone, world.peers[0], at(10));
        flight.first_byte(zone, None, true, at(50));
        assert_eq!(world.peer(0, 50).average(Time::Latency), Some(40_000.0));
        flight.end(zone, Class::Success, at(600_000));
        assert_eq!(world.peer(0, 600_000).times[0], (40_000, 1));
        assert_eq!(world.upstream(600_000).times[0], (50_000, 1));
        assert_eq!(world.upstream(600_000).class(Class::Success), 1);
    });
}

#[test]
fn a_key_that_is_evicted_in_flight_leaves_nothing() {
    with_world(|world| {
        let zone = &world.zone;
        let mut flight = world.start(0);
        for i in 0..1000u32 {
            let key = zone.key(world.key.name, &i.to_le_bytes(), at(i.into())).unwrap();
            zone.key(world.key.name, &i.to_le_bytes(), at(i.into())).unwrap();
            assert_eq!(zone.levels(key.value), levels(0, 0));
        }
        assert!(zone.series(world.key.value).is_none(), "evicted");
        flight.end(zone, Class::Success, at(2000));
        let all = zone.keys(world.key.name);
        assert!(all.iter().all(|key| zone
            .series(*key)
            .unwrap()
            .window(Series::<Key>::span(at(2000), 60).unwrap())
            .finished()
            == 0));
        assert_eq!(
            zone.series(world.key.name)
                .unwrap()
                .window(Series::<Name>::span(at(2000), 60).unwrap())
                .finished(),
            1
        );
    });
}

#[test]
fn the_queue_and_refusals_are_counted() {
    with_world(|world| {
        let zone = &world.zone;
        let mut queued = Queued::start(zone, world.worker, world.app);
        assert_eq!(zone.levels(world.app).queued, 1);
        queued.end(zone);
        queued.end(zone);
        assert_eq!(zone.levels(world.app).queued, 0);
        reject(zone, world.app, slice::from_ref(&world.key), at(0));
        assert_eq!(
            (world.upstream(0).class(Class::Rejected), world.tenant(0).class(Class::Rejected)),
            (1, 1)
        );
        world.start(0).tokens(zone, 77, at(0));
        assert_eq!((world.upstream(0).tokens, world.tenant(0).tokens), (77, 77));
    });
}

/// What may happen to a request, in any order.
#[derive(Clone, Copy, Debug)]
enum Event {
    Attempt(usize),
    FirstByte(bool),
    Fail,
    End,
}

fn events() -> impl Strategy<Value = Vec<(usize, Event)>> {
    let event = prop_oneof![
        3 => (0usize..2).prop_map(Event::Attempt),
        3 => any::<bool>().prop_map(Event::FirstByte),
        1 => Just(Event::Fail),
        2 => Just(Event::End),
    ];
    prop::collection::vec((0usize..6, event), 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the order of events and wherever a worker is killed, sweeping its column leaves what the others have in flight.
    #[test]
    fn killed_anywhere_leaves_no_phantom(events in events(), dead in 0usize..3) {
        with_world(|world| {
            let zone = &world.zone;
            let workers = [0, 1, 2].map(|i| zone.columns().claim(owner(100 + i)));
            let start = |i: usize| Flight::start(zone, workers[i % 3], world.app, slice::from_ref(&world.key), at(0));
            let mut flights: Vec<Flight> = (0..6).map(start).collect();
            for (ms, (i, event)) in events.into_iter().enumerate() {
                let (flight, now) = (&mut flights[i], at(ms as u64));
                match event {
                    Event::Attempt(peer) => flight.attempt(zone, world.peers[peer], now),
                    Event::FirstByte(stream) => flight.first_byte(zone, None, stream, now),
                    Event::Fail => flight.fail(zone, Class::Timeout, now),
                    Event::End => flight.end(zone, Class::Success, now),
                }
            }
            let open = |flight: &&mut Flight| !flight.is_ended();
            let active = flights.iter_mut().filter(open).count() as u32;
            prop_assert_eq!(zone.levels(world.app).active, active);
            prop_assert_eq!(zone.levels(world.key.value).active, active);
            zone.columns().sweep(owner(1), |worker| worker.pid != 100 + dead as u32);
            let mut alive: Vec<_> = flights.iter_mut().enumerate().filter(|(i, _)| i % 3 != dead).map(|(_, f)| f).collect();
            let left = alive.iter().filter(|flight| !flight.is_ended()).count() as u32;
            prop_assert_eq!(zone.levels(world.app).active, left);
            alive.iter_mut().for_each(|flight| flight.end(zone, Class::Aborted, at(1000)));
            prop_assert_eq!(zone.levels(world.app), levels(0, 0));
            prop_assert_eq!(zone.peers(world.app).iter().map(|peer| zone.levels(*peer)).collect::<Vec<_>>(), vec![levels(0, 0); 2]);
            Ok(())
        })?;
    }
}

#[test]
fn many_workers_at_once_lose_nothing() {
    with_world(|world| {
        std::thread::scope(|scope| {
            for thread in 0..4u32 {
                let world = &world;
                scope.spawn(move || {
                    let worker = world.zone.columns().claim(owner(10 + thread));
                    for i in 0..5_000u64 {
                        let mut flight =
                            Flight::start(&world.zone, worker, world.app, slice::from_ref(&world.key), at(i));
                        flight.attempt(&world.zone, world.peers[(i % 2) as usize], at(i));
                        flight.first_byte(&world.zone, Some(100), false, at(i + 1));
                        flight.end(&world.zone, Class::Success, at(i + 2));
                    }
                });
            }
        });
        let (all, tenant) = (world.upstream(5_002), world.tenant(5_002));
        assert_eq!((all.arrived, all.finished(), all.times[0].1), (20_000, 20_000, 20_000));
        assert_eq!((tenant.arrived, tenant.finished()), (20_000, 20_000));
        assert_eq!(world.peer(0, 5_002).arrived + world.peer(1, 5_002).arrived, 20_000);
        assert_eq!(world.zone.levels(world.app), levels(0, 0));
    });
}

#[test]
fn how_the_last_try_failed_is_known_until_another_one_follows() {
    with_world(|world| {
        let zone = &world.zone;
        let mut flight = world.start(0);
        assert_eq!(flight.failed(), None);
        flight.attempt(zone, world.peers[0], at(0));
        flight.fail(zone, Class::Timeout, at(10));
        assert_eq!(flight.failed(), Some(Class::Timeout));
        flight.attempt(zone, world.peers[1], at(10));
        assert_eq!(flight.failed(), None);
    });
}
