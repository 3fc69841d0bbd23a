use super::*;
use crate::autoscale::metrics::columns::Owner;

pub(crate) const SIZE: usize = 2 << 20;

pub(crate) fn memory(bytes: usize) -> Vec<Word> {
    (0..bytes / 8).map(|_| Word::new(0)).collect()
}

fn at(s: u64) -> Now {
    Now::from_ms((1_000_000 + s) * 1000)
}

fn with_zone(keys: usize, test: impl FnOnce(&Zone<'_>)) {
    let words = memory(SIZE);
    let layout = Layout::plan(SIZE, keys, 4).unwrap();
    test(&Zone::create(&words, &layout, 7, at(0)));
}

#[test]
fn a_zone_is_opened_by_the_layout_that_made_it() {
    let words = memory(SIZE);
    let layout = Layout::plan(SIZE, 100, 4).unwrap();
    assert_eq!(Zone::open(&words, &layout).err(), Some(OpenError::Blank));
    let made = Zone::create(&words, &layout, 7, at(0));
    let app = made.upstream(b"app", at(0)).unwrap();
    let opened = Zone::open(&words, &layout).unwrap();
    assert_eq!(opened.find_upstream(b"app"), Some(app));
    assert_eq!(opened.born_us(), at(0).us);
    let other = Layout::plan(SIZE, 101, 4).unwrap();
    assert_eq!(Zone::open(&words, &other).err(), Some(OpenError::Foreign));
    assert_eq!(Zone::open(&words[1..], &layout).err(), Some(OpenError::Foreign));
}

#[test]
fn the_newest_configuration_is_known() {
    with_zone(10, |zone| {
        zone.begin(5);
        assert!(zone.is_newest(5) && zone.is_newest(6));
        zone.begin(7);
        zone.begin(5);
        assert!(!zone.is_newest(5) && zone.is_newest(7));
    });
}

#[test]
fn peers_belong_to_their_upstream() {
    with_zone(10, |zone| {
        let (a, b) = (zone.upstream(b"a", at(0)).unwrap(), zone.upstream(b"b", at(0)).unwrap());
        let changes = zone.changes();
        let one = zone.peer(a, b"10.0.0.1:80", at(0)).unwrap();
        let two = zone.peer(b, b"10.0.0.1:80", at(0)).unwrap();
        assert_ne!(one, two);
        assert_ne!(zone.changes(), changes);
        assert_eq!((zone.peers(a), zone.peers(b)), (vec![one], vec![two]));
        assert_eq!(zone.find_peer(b, b"10.0.0.1:80"), Some(two));
        assert_eq!(zone.find_peer(b, b"10.0.0.2:80"), None);
        assert_eq!(zone.name(one).as_deref(), Some(&b"10.0.0.1:80"[..]));
        let control =
            Control { state: State::Drain, forced: true, weight: 5, limit: 70_000, ..Control::default() };
        assert_eq!(zone.control(one), Control::default());
        assert!(zone.set_control(one, control));
        assert_eq!((zone.control(one), zone.control(two)), (control, Control::default()));
        assert!(zone.remove_peer(one));
        assert!(!zone.set_control(one, control) && zone.series(one).is_none());
    });
}

#[test]
fn peers_that_are_forgotten_make_room() {
    with_zone(0, |zone| {
        let app = zone.upstream(b"app", at(0)).unwrap();
        let room = zone.layout().room().peers;
        let peers: Vec<_> =
            (0..room).map(|i| zone.peer(app, format!("10.0.0.1:{i}").as_bytes(), at(0)).unwrap()).collect();
        let error = zone.peer(app, b"10.0.0.2:1", at(1)).unwrap_err();
        assert_eq!(error.to_string(), "no room for peer \"10.0.0.2:1\" in the zone: make it larger");
        assert_eq!(zone.refused()[Peer::TABLE], 1);
        assert!(zone.set_control(peers[3], Control { state: State::Down, ..Control::default() }));
        assert!(zone.peer(app, b"10.0.0.2:1", at(601)).is_ok());
        let moved_in =
            (0..room).filter(|i| zone.peer(app, format!("10.0.0.3:{i}").as_bytes(), at(601)).is_ok());
        assert_eq!(moved_in.count(), room - 2);
        assert!(zone.series(peers[3]).is_some(), "somebody has said something about this peer");
        assert_eq!(peers.iter().filter(|peer| zone.series(**peer).is_some()).count(), 1);
    });
}

#[test]
fn peers_of_a_former_configuration_are_hidden_keep_their_history_and_go() {
    with_zone(0, |zone| {
        let app = zone.upstream(b"app", at(0)).unwrap();
        let [a, b] = [b"10.0.0.1:1", b"10.0.0.1:2"].map(|x| zone.configured_peer(app, x, at(0)).unwrap());
        let dynamic = zone.peer(app, b"10.0.0.9:9", at(0)).unwrap();
        zone.series(b).unwrap().arrive(at(0));
        zone.set_control(b, Control { weight: 7, ..Control::default() });
        // a new configuration without b, with c; c is not listed before it runs
        let c = zone.reserve_peer(app, b"10.0.0.1:3", at(1)).unwrap();
        let listed = || zone.peers(app).into_iter().collect::<std::collections::HashSet<_>>();
        let set = |peers: &[Ref<Peer>]| peers.iter().copied().collect::<std::collections::HashSet<_>>();
        assert_eq!(listed(), set(&[a, b, dynamic]));
        assert_eq!(zone.configured_peer(app, b"10.0.0.1:3", at(1)), Ok(c));
        zone.keep_peers(app, &[a, c]);
        assert_eq!(listed(), set(&[a, c, dynamic]));
        // b comes back with what was known of it
        zone.drop_silent_peers(at(3600));
        assert_eq!(zone.configured_peer(app, b"10.0.0.1:2", at(3600)), Ok(b));
        assert_eq!((listed(), zone.control(b).weight), (set(&[a, b, c, dynamic]), 7));
        assert_eq!(zone.series(b).unwrap().window(Series::<Peer>::span(at(3600), 3600).unwrap()).arrived, 1);
        // it goes again, and then it is silent for good
        zone.keep_peers(app, &[a, c]);
        zone.drop_silent_peers(at(9000));
        assert_eq!((zone.is_current(b), zone.is_current(dynamic), listed()), (false, false, set(&[a, c])));
    });
}

#[test]
fn a_peer_that_is_gone_goes_first_but_not_while_something_is_in_flight() {
    with_zone(0, |zone| {
        let app = zone.upstream(b"app", at(0)).unwrap();
        let room = zone.layout().room().peers;
        let addr = |i: usize| format!("10.0.0.1:{i}").into_bytes();
        let peers: Vec<_> = (0..room).map(|i| zone.configured_peer(app, &addr(i), at(0)).unwrap()).collect();
        zone.keep_peers(app, &peers[2..]);
        let worker = zone.columns().claim(Owner { pid: 1, stamp: 1 });
        let busy = zone.entity(peers[0]).unwrap();
        zone.columns().enter(worker, busy, peers[0].gen(), 1);
        assert!(zone.peer(app, b"10.0.0.2:1", at(1)).is_ok());
        assert_eq!((zone.is_current(peers[0]), zone.is_current(peers[1])), (true, false));
        assert!(zone.peer(app, b"10.0.0.2:2", at(1)).is_err());
        zone.drop_silent_peers(at(9000));
        assert!(zone.is_current(peers[0]));
    });
}

#[test]
fn an_upstream_without_a_place_has_nobody_elses_peers() {
    with_zone(0, |zone| {
        let first = zone.upstream(b"first", at(0)).unwrap();
        // the number of nothing is that of some place
        let first = std::iter::once(first)
            .find(|f| f.index() == 0)
            .or_else(|| (0..100u8).filter_map(|i| zone.upstream(&[i], at(0)).ok()).find(|f| f.index() == 0));
        let first = first.unwrap();
        let peer = zone.peer(first, b"10.0.0.1:80", at(0)).unwrap();
        let error = zone.peer(Ref::NONE, b"10.0.0.1:81", at(0)).unwrap_err();
        assert_eq!(error.to_string(), "peer \"10.0.0.1:81\" is of an upstream that has no place in the zone");
        assert_eq!((zone.peers(Ref::NONE), zone.find_peer(Ref::NONE, b"10.0.0.1:80")), (vec![], None));
        assert_eq!(zone.peers(first), [peer]);
    });
}

#[test]
fn upstreams_of_a_former_configuration_are_hidden_until_they_come_back() {
    with_zone(0, |zone| {
        let [a, b] = [b"a", b"b"].map(|name| zone.upstream(name, at(0)).unwrap());
        zone.keep_upstreams(&[a]);
        assert_eq!(zone.upstreams(), [a]);
        assert_eq!(zone.reserve_upstream(b"b", at(1)), Ok(b));
        assert_eq!(zone.upstreams(), [a]);
        assert_eq!(zone.upstream(b"b", at(1)), Ok(b));
        assert_eq!(zone.upstreams().len(), 2);
    });
}

#[test]
fn ten_times_as_many_keys_take_no_more_room() {
    with_zone(128, |zone| {
        let tenant = zone.key_name(b"tenant", 100, at(0)).unwrap();
        let route = zone.key_name(b"route", 100, at(0)).unwrap();
        assert!(matches!(zone.key_name(b"model", 1, at(0)), Err(Denied::Full { .. })));
        let mut hot = Vec::new();
        for i in 0..1000u32 {
            let key = zone.key(tenant, format!("tenant {i}").as_bytes(), at(0)).unwrap();
            zone.series(key.value).unwrap().arrive(at(0));
            hot = (0..8).map(|i| zone.key(tenant, &[i], at(0)).unwrap()).collect();
            zone.series(hot[0].value).unwrap().arrive(at(0));
        }
        assert_eq!(zone.keys(tenant).len(), 100);
        assert_eq!((zone.keys(route).len(), zone.find_key(route, &[0])), (0, None));
        assert!((0..8).all(|i| zone.find_key(tenant, &[i]) == Some(hot[i as usize].value)));
        let series = zone.series(hot[0].value).unwrap();
        assert!(series.window(Series::<Key>::span(at(0), 5).unwrap()).arrived > 900);
        assert!((0..100u8).all(|i| zone.key(route, &[i], at(0)).is_ok()));
        assert_eq!(zone.keys(route).len(), 28, "what was left");
        assert_eq!(zone.key_name(b"tenant", 7, at(0)), Ok(tenant));
        assert_eq!(zone.refused()[..4], [0, 0, 1, 0]);
    });
}

#[test]
fn counters_make_room_but_levels_stay() {
    with_zone(0, |zone| {
        let cpu = zone.gateway(b"cpu", at(0)).unwrap();
        let depth = zone.external(b"queue", Some(b"depth"), at(0)).unwrap();
        for i in 0..2000u32 {
            let counter = zone.counter(b"orders", Some(i.to_string().as_bytes()), at(0)).unwrap();
            zone.meter(counter).unwrap().incr(at(0), 1.0);
            let dist = zone.distribution(b"size", Some(i.to_string().as_bytes()), at(0)).unwrap();
            zone.dist(dist).unwrap().observe(at(0), 1.0);
        }
        assert!(zone.meter(cpu).is_some() && zone.meter(depth).is_some());
        assert_eq!(zone.name(depth).as_deref(), Some(&b"queue.depth"[..]));
        let room = zone.layout().room();
        assert_eq!(zone.distributions().len(), room.dists);
    });
}

#[test]
fn one_caller_gets_each_tick() {
    with_zone(0, |zone| {
        let callers = |s| {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(move || zone.tick(at(s), 5))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).filter(|got| *got).count()
            })
        };
        let got: Vec<usize> = (0..20).map(callers).collect();
        assert_eq!(got.iter().sum::<usize>(), 4);
        assert!(got.iter().step_by(5).all(|n| *n == 1), "{got:?}");
        assert!(!zone.tick(at(3), 5), "time does not go back");
        assert!(!zone.tick(at(15), 1) && zone.tick(at(16), 1) && !zone.tick(at(16), 1), "another period");
    });
}

#[test]
fn levels_are_sampled() {
    with_zone(0, |zone| {
        let app = zone.upstream(b"app", at(0)).unwrap();
        let worker = zone.columns().claim(Owner { pid: 1, stamp: 1 });
        zone.columns().enter(worker, zone.entity(app).unwrap(), app.gen(), 1);
        (0..10).for_each(|s| zone.sample_levels(at(s)));
        let window = zone.series(app).unwrap().window(Series::<Upstream>::span(at(9), 60).unwrap());
        assert_eq!((window.samples, window.sums[0], window.maxima[0]), (10, 10, 1));
    });
}

#[test]
fn external_signals_of_another_configuration_are_dropped() {
    with_zone(0, |zone| {
        for (name, field) in
            [("queue", None), ("queue", Some("depth")), ("queue2", None), ("gone", Some("a"))]
        {
            zone.external(name.as_bytes(), field.map(str::as_bytes), at(0)).unwrap();
        }
        zone.counter(b"gone", None, at(0)).unwrap();
        let kept = zone.external(b"queue", None, at(0)).unwrap();
        zone.keep_externals(&["queue", "new"]);
        assert_eq!(zone.meters(Reporter::External).len(), 2);
        assert!(zone.find_meter(Reporter::External, b"queue", Some(b"depth")).is_some());
        assert!(zone.find_meter(Reporter::Script, b"gone", None).is_some());
        // who has a place has a word to take turns by, and nobody else
        zone.turns(kept).unwrap().store(7, std::sync::atomic::Ordering::Relaxed);
        zone.keep_externals(&[]);
        assert!(zone.turns(kept).is_none());
        let anew = zone.external(b"queue", None, at(1)).unwrap();
        assert_eq!(zone.turns(anew).unwrap().load(std::sync::atomic::Ordering::Relaxed), 0);
    });
}

#[test]
fn what_was_said_about_a_peer_can_be_written_down() {
    with_zone(0, |zone| {
        let app = zone.upstream(b"app", at(0)).unwrap();
        let peers = [&b"a:1"[..], b"b:1"].map(|addr| zone.configured_peer(app, addr, at(0)).unwrap());
        assert!(zone.overrides().is_empty());
        let control = Control { state: State::Down, forced: true, weight: 7, limit: 3, ..Control::default() };
        zone.set_control(peers[1], control);
        let [(upstream, addr, bits)] = zone.overrides().try_into().unwrap();
        assert_eq!((&upstream[..], &addr[..]), (&b"app"[..], &b"b:1"[..]));
        assert!(zone.restore_control(peers[0], bits));
        assert_eq!(zone.control(peers[0]), control);
    });
}
