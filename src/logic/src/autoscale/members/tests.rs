use super::*;
use crate::autoscale::metrics::zone::tests::{memory, SIZE};
use crate::autoscale::metrics::zone::{Layout, State};

fn at(s: u64) -> Now {
    Now::from_ms((1_000_000 + s) * 1000)
}

fn with_app(test: impl FnOnce(&Zone<'_>, Ref<Upstream>, Source)) {
    let words = memory(SIZE);
    let zone = Zone::create(&words, &Layout::plan(SIZE, 0, 4).unwrap(), 7, at(0));
    let app = zone.upstream(b"app", at(0)).unwrap();
    let source = zone.source(app, 5).unwrap();
    test(&zone, app, source);
}

fn wanted(ports: impl IntoIterator<Item = usize>) -> Vec<Wanted> {
    ports.into_iter().map(|port| Wanted { addr: format!("10.0.0.1:{port}"), weight: 1 }).collect()
}

#[test]
fn what_a_source_names_is_there() {
    with_app(|zone, app, source| {
        let applied = apply(zone, app, source, &wanted(1..=3), 30, at(1));
        assert_eq!(applied, Applied { added: 3, ..Applied::default() });
        assert_eq!(apply(zone, app, source, &wanted(1..=3), 30, at(2)), Applied::default());
        let applied = apply(zone, app, source, &wanted(3..=4), 30, at(3));
        assert_eq!(applied, Applied { added: 1, removed: 2, ..Applied::default() });
        let draining = zone.members(app).into_iter().filter(|(_, member)| member.draining).count();
        assert_eq!((zone.members(app).len(), draining), (4, 2));
        zone.tend_members(at(4));
        assert_eq!(zone.members(app).len(), 2);
    });
}

#[test]
fn a_source_that_names_nobody_takes_nobody_away() {
    with_app(|zone, app, source| {
        apply(zone, app, source, &wanted(1..=3), 0, at(1));
        let applied = apply(zone, app, source, &[], 0, at(2));
        assert_eq!((applied.kept, zone.members(app).len()), (3, 3));
        // who drains already is not among them
        apply(zone, app, source, &wanted([1]), 30, at(3));
        assert_eq!(apply(zone, app, source, &[], 0, at(4)).kept, 1);
    });
}

#[test]
fn a_source_takes_away_only_what_it_gave() {
    with_app(|zone, app, source| {
        zone.add_peer(app, b"10.0.0.1:9", Source::SCRIPT, Terms::default(), at(1)).unwrap();
        apply(zone, app, source, &wanted([8, 9]), 0, at(1));
        assert_eq!(apply(zone, app, source, &wanted([7]), 0, at(2)).removed, 2);
        let peers: Vec<_> = zone.members(app).iter().filter_map(|(peer, _)| zone.name(*peer)).collect();
        assert_eq!(peers, [b"10.0.0.1:9".to_vec(), b"10.0.0.1:7".to_vec()]);
    });
}

#[test]
fn a_full_zone_keeps_who_is_there() {
    with_app(|zone, app, source| {
        let room = zone.layout().room().peers;
        apply(zone, app, source, &wanted(1..=room), 0, at(1));
        // all are others, and none finds a place
        let applied = apply(zone, app, source, &wanted(room + 1..=2 * room), 0, at(2));
        assert!(applied.denied.unwrap().to_string().starts_with("no room for peer"));
        assert_eq!((applied.kept, zone.members(app).len()), (room, room));
        // half of them are
        let applied = apply(zone, app, source, &wanted(1 + room / 2..=room + room / 2), 0, at(3));
        assert!(applied.denied.is_some() && applied.removed == room / 2);
        // the next turn finds the places that those who went have left
        let applied = apply(zone, app, source, &wanted(1 + room / 2..=room + room / 2), 0, at(4));
        assert_eq!((applied.denied, applied.added, zone.members(app).len()), (None, room / 2, room));
        let up = zone.members(app).iter().filter(|(peer, _)| zone.control(*peer).says() == State::Up).count();
        assert_eq!(up, room);
    });
}
