use super::super::tests::{memory, SIZE};
use super::super::{Layout, State as Says};
use super::*;
use crate::autoscale::metrics::columns::Owner;

fn at(s: u64) -> Now {
    Now::from_ms((1_000_000 + s) * 1000)
}

fn with_app(test: impl FnOnce(&Zone<'_>, Ref<Upstream>)) {
    let words = memory(SIZE);
    let zone = Zone::create(&words, &Layout::plan(SIZE, 0, 4).unwrap(), 7, at(0));
    let app = zone.upstream(b"app", at(0)).unwrap();
    test(&zone, app);
}

fn weighs(weight: u16) -> Terms {
    Terms { weight, ..Terms::default() }
}

fn add(zone: &Zone<'_>, app: Ref<Upstream>, addr: &str, source: Source) -> Ref<Peer> {
    assert_eq!(zone.add_peer(app, addr.as_bytes(), source, Terms::default(), at(1)), Ok(true));
    zone.find_peer(app, addr.as_bytes()).unwrap()
}

fn addrs(zone: &Zone<'_>, app: Ref<Upstream>) -> Vec<String> {
    let members = zone.members(app).into_iter();
    members.map(|(peer, _)| String::from_utf8(zone.name(peer).unwrap()).unwrap()).collect()
}

#[test]
fn a_peer_is_added_and_told_once() {
    with_app(|zone, app| {
        let (controls, membership) = (zone.controls(), zone.membership(app));
        let terms = Terms { weight: 5, slow_start_ms: Some(0) };
        assert_eq!(zone.add_peer(app, b"10.0.0.1:80", Source::SCRIPT, terms, at(1)), Ok(true));
        assert_eq!((zone.controls(), zone.membership(app)), (controls + 1, membership + 1));
        assert_eq!(zone.add_peer(app, b"10.0.0.1:80", Source::SCRIPT, terms, at(2)), Ok(false));
        assert_eq!((zone.controls(), zone.membership(app)), (controls + 1, membership + 1));
        let [(peer, member)] = zone.members(app)[..] else { panic!("one member") };
        assert_eq!((member.weight, member.draining, member.since_us), (5, false, at(1).us));
        assert_eq!(member.slow_start_ms, Some(0));
        assert!(member.is_named_by(Source::SCRIPT) && !member.has_others(Source::SCRIPT));
        assert_eq!((zone.peers(app), zone.control(peer).says()), (vec![peer], Says::Up));
        assert_eq!(zone.add_peer(app, b"10.0.0.1:80", Source::SCRIPT, weighs(7), at(3)), Ok(true));
        assert_eq!(zone.member(peer).unwrap().weight, 7);
        assert_eq!(zone.member(peer).unwrap().slow_start_ms, None);
        assert!(zone.add_peer(Ref::NONE, b"10.0.0.1:80", Source::SCRIPT, terms, at(1)).is_err());
    });
}

#[test]
fn who_is_taken_back_drains_until_nothing_is_in_flight() {
    with_app(|zone, app| {
        let peer = add(zone, app, "10.0.0.1:80", Source::SCRIPT);
        let other = add(zone, app, "10.0.0.2:80", Source::SCRIPT);
        let columns = zone.columns();
        let worker = columns.claim(Owner { pid: 1, stamp: 1 });
        columns.enter(worker, zone.entity(peer).unwrap(), peer.gen(), 1);
        assert!(zone.withdraw_peer(peer, Source::SCRIPT, 30, at(10)));
        assert!(!zone.withdraw_peer(peer, Source::SCRIPT, 30, at(10)), "it is taken back already");
        assert_eq!((zone.control(peer).says(), zone.control(other).says()), (Says::Drain, Says::Up));
        zone.tend_members(at(39));
        assert_eq!(addrs(zone, app).len(), 2, "something is in flight");
        columns.leave(worker, zone.entity(peer).unwrap(), peer.gen(), 1);
        let before = zone.membership(app);
        zone.tend_members(at(39));
        assert_ne!(zone.membership(app), before);
        assert_eq!((addrs(zone, app), zone.peers(app)), (vec!["10.0.0.2:80".to_owned()], vec![other]));
        assert!(zone.is_current(peer), "it keeps its history");
    });
}

#[test]
fn a_drain_ends_in_time() {
    with_app(|zone, app| {
        // between two ticks
        let peer = add(zone, app, "10.0.0.1:80", Source::SCRIPT);
        assert!(zone.withdraw_peer(peer, Source::SCRIPT, 30, at(1)));
        let before = zone.membership(app);
        zone.tend_members(at(2));
        assert!(zone.membership(app) > before && zone.peers(app).is_empty());
        let peer = add(zone, app, "10.0.0.1:80", Source::SCRIPT);
        let worker = zone.columns().claim(Owner { pid: 1, stamp: 1 });
        zone.columns().enter(worker, zone.entity(peer).unwrap(), peer.gen(), 1);
        assert!(zone.withdraw_peer(peer, Source::SCRIPT, 30, at(10)));
        zone.tend_members(at(39));
        assert!(zone.member(peer).unwrap().draining);
        zone.tend_members(at(40));
        assert_eq!((zone.member(peer), zone.peers(app)), (None, vec![]));
        // ... or at once, and it is not cut off
        let peer = add(zone, app, "10.0.0.1:80", Source::SCRIPT);
        assert!(zone.withdraw_peer(peer, Source::SCRIPT, 0, at(50)));
        assert_eq!((zone.member(peer), zone.peers(app)), (None, vec![]));
        assert_eq!(zone.levels(peer).active, 1);
    });
}

#[test]
fn who_is_named_again_while_it_drains_stays() {
    with_app(|zone, app| {
        let peer = add(zone, app, "10.0.0.1:80", Source::SCRIPT);
        assert!(zone.withdraw_peer(peer, Source::SCRIPT, 30, at(10)));
        assert_eq!(zone.add_peer(app, b"10.0.0.1:80", Source::SCRIPT, weighs(3), at(11)), Ok(true));
        zone.tend_members(at(100));
        let member = zone.member(peer).unwrap();
        assert_eq!((member.draining, member.weight, member.since_us), (false, 3, at(1).us));
    });
}

#[test]
fn a_peer_stays_as_long_as_anybody_names_it() {
    with_app(|zone, app| {
        let (dns, file) = (zone.source(app, 11).unwrap(), zone.source(app, 12).unwrap());
        assert_eq!((zone.source(app, 11), zone.source(app, 12)), (Some(dns), Some(file)));
        assert_ne!(dns, file);
        for (source, weight) in [(file, 3), (dns, 2), (Source::SCRIPT, 9), (file, 3), (dns, 2)] {
            zone.add_peer(app, b"10.0.0.1:80", source, weighs(weight), at(1)).unwrap();
        }
        let peer = zone.find_peer(app, b"10.0.0.1:80").unwrap();
        assert_eq!(zone.member(peer).unwrap().weight, 9, "the first one says what weight it has");
        assert!(zone.withdraw_peer(peer, Source::SCRIPT, 0, at(2)));
        assert!(!zone.withdraw_peer(peer, Source::SCRIPT, 0, at(2)), "others name it, not this one");
        assert_eq!(zone.add_peer(app, b"10.0.0.1:80", dns, weighs(2), at(3)), Ok(true));
        assert_eq!(zone.member(peer).unwrap().weight, 2);
        assert!(zone.withdraw_peer(peer, dns, 30, at(4)) && zone.withdraw_peer(peer, file, 30, at(4)));
        assert!(zone.member(peer).unwrap().draining);
    });
}

#[test]
fn a_server_line_and_a_source_name_the_same_address() {
    with_app(|zone, app| {
        let peer = zone.configured_peer(app, b"10.0.0.1:80", at(0)).unwrap();
        assert_eq!(add(zone, app, "10.0.0.1:80", Source::SCRIPT), peer);
        assert!(zone.members(app).is_empty() && zone.is_configured(peer), "nginx has it");
        // the line goes with a reload
        zone.keep_peers(app, &[]);
        assert_eq!((addrs(zone, app).len(), zone.peers(app)), (1, vec![peer]));
        // and comes again
        zone.configured_peer(app, b"10.0.0.1:80", at(5)).unwrap();
        assert!(zone.withdraw_peer(peer, Source::SCRIPT, 30, at(6)));
        assert_eq!(zone.control(peer).says(), Says::Up, "the line holds");
        zone.tend_members(at(50));
        assert_eq!((zone.member(peer), zone.peers(app)), (None, vec![peer]));
    });
}

#[test]
fn who_was_configured_once_and_is_added_goes_with_its_source() {
    with_app(|zone, app| {
        let peer = zone.configured_peer(app, b"10.0.0.1:80", at(0)).unwrap();
        zone.keep_peers(app, &[]);
        assert_eq!(add(zone, app, "10.0.0.1:80", Source::SCRIPT), peer);
        // something is sent to it
        zone.peer(app, b"10.0.0.1:80", at(2)).unwrap();
        assert!(zone.withdraw_peer(peer, Source::SCRIPT, 0, at(3)));
        assert_eq!(zone.peers(app), vec![]);
    });
}

#[test]
fn members_keep_their_place_in_a_full_zone() {
    with_app(|zone, app| {
        let room = zone.layout().room().peers;
        let name = |i: usize| format!("10.0.0.1:{i}");
        for i in 0..room {
            add(zone, app, &name(i), Source::SCRIPT);
        }
        let error = zone.add_peer(app, b"10.0.0.2:1", Source::SCRIPT, weighs(1), at(9000)).unwrap_err();
        assert_eq!(error.to_string(), "no room for peer \"10.0.0.2:1\" in the zone: make it larger");
        zone.drop_silent_peers(at(9000));
        assert_eq!(addrs(zone, app).len(), room);
        let first = zone.find_peer(app, b"10.0.0.1:0").unwrap();
        assert!(zone.withdraw_peer(first, Source::SCRIPT, 0, at(9000)));
        assert_eq!(zone.add_peer(app, b"10.0.0.2:1", Source::SCRIPT, weighs(1), at(9000)), Ok(true));
        assert_eq!((zone.member(first), zone.members(app).len()), (None, room));
    });
}

#[test]
fn what_was_said_of_a_former_owner_of_the_place_means_nothing() {
    with_app(|zone, app| {
        let peer = add(zone, app, "10.0.0.1:80", Source::SCRIPT);
        let state = zone.member_words(peer).unwrap()[STATE].load(Acquire);
        assert!(zone.remove_peer(peer));
        let next = zone.peer(app, b"10.0.0.1:80", at(2)).unwrap();
        assert_eq!((next.index(), zone.member(peer), zone.member(next)), (peer.index(), None, None));
        // a worker that stood still writes what it had in mind
        zone.member_words(next).unwrap()[STATE].store(state, Release);
        assert_eq!((zone.member(next), zone.members(app).len()), (None, 0));
    });
}

#[test]
fn what_the_configuration_does_not_have_is_forgotten() {
    with_app(|zone, app| {
        let (dns, file) = (zone.source(app, 11).unwrap(), zone.source(app, 12).unwrap());
        add(zone, app, "10.0.0.1:80", dns);
        add(zone, app, "10.0.0.2:80", file);
        add(zone, app, "10.0.0.3:80", Source::SCRIPT);
        zone.keep_sources(app, &[12, 13], true, at(2));
        assert_eq!(addrs(zone, app), ["10.0.0.2:80", "10.0.0.3:80"]);
        assert_eq!(
            (zone.source(app, 12), zone.source(app, 13)),
            (Some(file), Some(dns)),
            "the place is free"
        );
        zone.keep_sources(app, &[12, 13], false, at(3));
        assert_eq!(addrs(zone, app), ["10.0.0.2:80"], "scripts may add no more");
        zone.keep_members_of(&[app], at(4));
        assert_eq!(addrs(zone, app).len(), 1);
        zone.keep_members_of(&[], at(5));
        assert_eq!(zone.members(app).len(), 0);
    });
}

#[test]
fn who_leaves_takes_nothing_of_the_line_that_has_its_place_now() {
    with_app(|zone, app| {
        let line = zone.source(app, 11).unwrap();
        add(zone, app, "10.0.0.1:80", line);
        zone.leave(app, line, at(2));
        assert_eq!(
            (addrs(zone, app).len(), zone.source(app, 11)),
            (1, Some(line)),
            "another worker was first"
        );
        let word = &zone.side(app).unwrap()[of_upstream::MEMBERS][line.place().unwrap()];
        word.store(LEAVING, Release);
        zone.leave(app, line, at(3));
        assert_eq!((addrs(zone, app).len(), word.load(Acquire)), (0, 0));
    });
}

#[test]
fn who_is_named_while_its_place_is_taken_away_has_another_one() {
    with_app(|zone, app| {
        let file = zone.source(app, 12).unwrap();
        zone.configured_peer(app, b"10.0.0.1:80", at(0)).unwrap();
        zone.keep_peers(app, &[]);
        let peer = zone.find_peer(app, b"10.0.0.1:80").unwrap();
        let terms = Terms { weight: 5, slow_start_ms: Some(7) };
        zone.add_peer(app, b"10.0.0.1:80", Source::SCRIPT, terms, at(9000)).unwrap();
        zone.add_peer(app, b"10.0.0.1:80", file, terms, at(9000)).unwrap();
        // a worker that has looked before goes on
        zone.drop_peer(peer, at(9000));
        let [(again, member)] = zone.members(app)[..] else { panic!("one member") };
        assert!(again != peer && member.is_named_by(Source::SCRIPT) && member.is_named_by(file));
        assert_eq!((member.weight, member.slow_start_ms), (5, Some(7)));
    });
}

#[test]
fn an_upstream_has_room_for_seven_lines() {
    with_app(|zone, app| {
        let sources: Vec<_> = (1..=7).filter_map(|line| zone.source(app, line)).collect();
        assert_eq!((sources.len(), zone.source(app, 8), zone.source(app, 3)), (7, None, Some(sources[2])));
        let turns: Vec<_> =
            sources.iter().map(|s| std::ptr::from_ref(zone.source_turns(app, *s).unwrap())).collect();
        assert!(turns.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(zone.source_turns(app, Source::SCRIPT).is_none());
    });
}

#[test]
fn what_a_killed_worker_did_not_tell_is_told_by_the_next_tick() {
    with_app(|zone, app| {
        let peer = add(zone, app, "10.0.0.1:80", Source::SCRIPT);
        zone.tend_members(at(2));
        let told = zone.controls();
        zone.tend_members(at(3));
        assert_eq!(zone.controls(), told, "nothing new");
        let state = State { gen: peer.gen(), weight: 9, sources: 1, until: 0 };
        zone.member_words(peer).unwrap()[STATE].store(state.bits(), Release);
        zone.tend_members(at(4));
        assert_ne!(zone.controls(), told);
    });
}

#[test]
fn many_processes_add_and_take_back_at_once() {
    let words = memory(SIZE);
    let layout = Layout::plan(SIZE, 0, 4).unwrap();
    let zone = Zone::create(&words, &layout, 7, at(0));
    let app = zone.upstream(b"app", at(0)).unwrap();
    let sources: Vec<_> = (1..=4).filter_map(|line| zone.source(app, line)).collect();
    std::thread::scope(|scope| {
        for (n, source) in sources.iter().enumerate() {
            let zone = Zone::open(&words, &layout).unwrap();
            scope.spawn(move || {
                for round in 0..300u64 {
                    let addr = format!("10.0.0.{}:80", (round + n as u64) % 5);
                    let added = zone.add_peer(app, addr.as_bytes(), *source, weighs(n as u16 + 1), at(round));
                    let peer = zone.find_peer(app, addr.as_bytes());
                    if added == Ok(true) && round % 3 > 0 {
                        assert!(zone.withdraw_peer(peer.unwrap(), *source, round % 2, at(round)));
                    }
                    zone.tend_members(at(round));
                }
                for peer in zone.all_peers(app) {
                    zone.withdraw_peer(peer, *source, 0, at(1000));
                }
            });
        }
    });
    zone.tend_members(at(2000));
    assert_eq!((zone.members(app).len(), zone.peers(app).len()), (0, 0));
}

#[test]
fn the_end_of_a_drain_is_told_across_the_turn_of_the_seconds() {
    for now in [0, 1, UNTIL - 5, UNTIL, UNTIL + 1, 3 * UNTIL + 7] {
        let [begin, before, then, after] = [0, 29, 30, 600].map(|s| Now::from_ms((now + s) * 1000));
        let until = until(begin, 30);
        assert!(!is_over(until, begin) && !is_over(until, before), "{now}");
        // zero stands for no drain, and is a second late
        let late = if until == 1 { 1 } else { 0 };
        assert!(is_over(until, Now::from_us(then.us + late * 1_000_000)) && is_over(until, after), "{now}");
    }
}
