use super::*;
use crate::autoscale::limit::Room;
use crate::autoscale::metrics::series::Class;
use crate::autoscale::metrics::word::Word;
use crate::autoscale::metrics::zone::{Health, State};
use crate::autoscale::metrics::Now;
use proptest::prelude::*;
use std::cell::Cell;

const PEER: Candidate = Candidate { latency_us: Some(20_000.0), ..Candidate::new(1) };
const ROOM: Option<Room> = Some(Room { limit: 2, slots: 2, service_us: 20_000.0 });

fn random(i: u64) -> u64 {
    i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i.rotate_left(40).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn picks_by(settings: &Settings, peers: &[Candidate]) -> Vec<usize> {
    let mut picks: Vec<_> = (0..64).filter_map(|i| pick(peers, settings, random(i))).collect();
    picks.sort_unstable();
    picks.dedup();
    picks
}

fn picks(peers: &[Candidate]) -> Vec<usize> {
    picks_by(&Settings::default(), peers)
}

#[test]
fn the_rule_by_cases() {
    let slow = Candidate { latency_us: Some(60_000.0), ..PEER };
    let busy = |inflight| Candidate { inflight, ..PEER };
    let table: [(&str, &[Candidate], &[usize]); 15] = [
        ("nobody", &[], &[]),
        ("equals share", &[PEER, PEER, PEER], &[0, 1, 2]),
        ("fewer in flight", &[busy(3), busy(2)], &[1]),
        ("a slow peer waits until the others are busier", &[slow, busy(1)], &[1]),
        ("and then gets its share", &[slow, busy(3)], &[0]),
        ("weight", &[Candidate { weight: 3, inflight: 4, ..PEER }, busy(1)], &[0]),
        (
            "down and drain",
            &[Candidate { state: State::Down, ..PEER }, Candidate { state: State::Drain, ..PEER }, busy(99)],
            &[2],
        ),
        ("ejected", &[Candidate { health: Health::Ejected, ..PEER }, busy(99)], &[1]),
        ("on probation", &[Candidate { health: Health::Probation, ..PEER }, busy(9)], &[0]),
        ("one at a time", &[Candidate { health: Health::Probation, ..busy(1) }, busy(9)], &[1]),
        ("excluded", &[Candidate { excluded: true, ..PEER }, busy(99)], &[1]),
        ("full", &[Candidate { limit: 2, ..busy(2) }, busy(99)], &[1]),
        (
            "nobody may",
            &[Candidate { state: State::Down, ..PEER }, Candidate { excluded: true, ..PEER }],
            &[],
        ),
        ("quick and failing", &[Candidate { latency_us: Some(300.0), failing: 0.95, ..PEER }, PEER], &[1]),
        ("unknown is as usual", &[Candidate { latency_us: None, ..PEER }, PEER], &[0, 1]),
    ];
    for (case, peers, right) in table {
        assert_eq!(picks(peers), right, "{case}");
    }
}

#[test]
fn least_request_looks_at_what_is_in_flight_and_at_failures() {
    let settings = Settings { rule: Rule::LeastRequest, ..Settings::default() };
    let slow = Candidate { latency_us: Some(900_000.0), ..PEER };
    let busy = Candidate { inflight: 1, ..PEER };
    assert_eq!(picks_by(&settings, &[slow, busy]), [0]);
    assert_eq!(picks_by(&settings, &[Candidate { failing: 0.9, ..PEER }, busy]), [1]);
}

#[test]
fn what_is_known_fades_in_silence() {
    let slow = Candidate { latency_us: Some(200_000.0), ..PEER };
    let busy = Candidate { inflight: 1, ..PEER };
    assert_eq!(picks(&[slow, busy, busy, busy]), [1, 2, 3]);
    let long_ago = Candidate { silent_us: 300_000_000, ..slow };
    let at_once = "not at once: the average counts the slow one too";
    assert_eq!(picks(&[long_ago, busy, busy, busy]), [1, 2, 3], "{at_once}");
    let busier = Candidate { inflight: 3, ..PEER };
    assert_eq!(picks(&[long_ago, busier, busier, busier]), [0]);
    assert_eq!(picks(&[slow, busier, busier, busier]), [1, 2, 3]);
}

#[test]
fn a_load_that_is_reported_counts_while_it_is_fresh() {
    let loaded = |load, age_us| Candidate { load: Some((load, age_us)), inflight: 1, ..PEER };
    assert_eq!(picks(&[loaded(0.9, 0), loaded(0.3, 0)]), [1]);
    let busier = Candidate { inflight: 2, ..loaded(0.3, 0) };
    assert_eq!(picks(&[loaded(0.9, 0), busier]), [1], "it costs twice as much");
    let busier = Candidate { inflight: 2, ..loaded(0.3, 60_000_000) };
    assert_eq!(picks(&[loaded(0.9, 60_000_000), busier]), [0], "what was reported a minute ago");
    assert_eq!(
        picks(&[loaded(7.0, 0), Candidate { inflight: 5, ..loaded(1.0, 0) }]),
        [1],
        "queues count, too"
    );
}

#[test]
fn a_peer_that_starts_slowly_gets_its_share_of_the_choices() {
    let share = |ramp: f32, n: usize| {
        let mut peers = vec![PEER; n];
        peers[3].ramp = ramp;
        let picked = (0..40_000).filter(|i| pick(&peers[..], &Settings::default(), random(*i)) == Some(3));
        picked.count() as f64 / 40_000.0 * n as f64
    };
    for n in [8, 100] {
        for (ramp, right) in [(0.0, 0.1), (0.25, 0.25), (0.5, 0.5), (1.0, 1.0)] {
            let got = share(ramp, n);
            assert!((got - right).abs() < 0.12 * right + 0.06, "{n} peers, {ramp}: {got}");
        }
    }
    let full = Candidate { limit: 1, inflight: 1, ..PEER };
    let peers = [full, Candidate { ramp: 0.0, ..PEER }];
    assert_eq!(picks(&peers), [1], "and everything when nobody else has room");
}

#[test]
fn a_request_waits_where_that_is_sooner() {
    let settings = Settings::default();
    let fast = Candidate { room: ROOM, ..PEER };
    let full = Candidate { inflight: 2, occupied: 2, ..fast };
    let slow = |us: f32| Candidate {
        latency_us: Some(us),
        room: Some(Room { limit: 2, slots: 2, service_us: us }),
        ..PEER
    };
    let choose = |peers: &[Candidate], ahead| choose(peers, &settings, Some(ahead), 7);
    let table: [(&str, &[Candidate], u32, Choice); 8] = [
        ("room", &[full, fast], 0, Choice::Peer(1)),
        ("no room", &[full, full], 0, Choice::Wait),
        ("a little slower", &[full, slow(25_000.0)], 0, Choice::Peer(1)),
        ("much slower", &[full, full, full, slow(60_000.0)], 0, Choice::Wait),
        ("and many ahead", &[full, full, full, slow(60_000.0)], 14, Choice::Peer(3)),
        ("nobody faster", &[slow(60_000.0), slow(60_000.0)], 0, Choice::Peer(0)),
        ("nobody", &[Candidate { state: State::Down, ..fast }], 0, Choice::Nobody),
        ("faster and failing", &[Candidate { failing: 0.9, ..full }, slow(60_000.0)], 0, Choice::Peer(1)),
    ];
    for (case, peers, ahead, right) in table {
        let got = choose(peers, ahead);
        let same = matches!((got, right), (Choice::Peer(_), Choice::Peer(0)));
        assert!(got == right || same, "{case}: {got:?}");
    }
}

#[test]
fn what_was_learnt_puts_others_first_where_nothing_can_wait() {
    let full = Candidate { inflight: 2, occupied: 2, room: ROOM, ..PEER };
    let slow = Candidate { latency_us: Some(900_000.0), ..PEER };
    assert_eq!(picks(&[full, slow]), [1]);
    assert_eq!(picks(&[full, full]), [0, 1]);
}

#[test]
fn a_peer_that_answers_nobody_gets_slow() {
    let stuck = |ms: u64| Candidate { inflight: 1, waiting: 1, stuck_us: ms * 1000, ..PEER };
    let busy = Candidate { inflight: 2, ..PEER };
    assert_eq!(picks(&[stuck(50), busy]), [0], "two service times are nothing");
    assert_eq!(picks(&[stuck(200), busy]), [1]);
    let new = |inflight, ms| Candidate { latency_us: None, inflight, ..stuck(ms) };
    assert_eq!(picks(&[new(1, 200), new(2, 0)]), [0], "nobody knows what is long");
    let words: Vec<Word> = (0..Memory::WORDS).map(|_| Word::new(0)).collect();
    let (memory, at) = (Memory::over(&words), Now::from_ms);
    assert_eq!(memory.stuck_us(at(99_000)), 0, "nobody has told when anything began");
    memory.begun(at(1000), 1);
    memory.begun(at(1200), 2);
    assert_eq!(memory.stuck_us(at(1300)), 300_000);
    memory.answered(at(1250));
    assert_eq!(memory.stuck_us(at(1300)), 50_000);
}

/// Peers of which the last ones are backup; it counts how often one is asked for.
struct Tiers(Vec<Candidate>, usize, Cell<usize>);

impl Peers for Tiers {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn primaries(&self) -> usize {
        self.1
    }
    fn candidate(&self, i: usize) -> Candidate {
        self.2.set(self.2.get() + 1);
        self.0[i]
    }
}

#[test]
fn backup_peers_are_for_when_no_primary_one_is_left() {
    let settings = Settings::default();
    let down = Candidate { state: State::Down, ..PEER };
    let full = Candidate { limit: 1, inflight: 1, ..PEER };
    let of = |primary| Tiers(vec![primary, PEER], 1, Cell::default());
    assert_eq!(pick(&of(PEER), &settings, 1), Some(0));
    assert_eq!(pick(&of(down), &settings, 1), Some(1));
    assert_eq!(pick(&of(full), &settings, 1), Some(1), "as nginx does with max_conns");
    assert_eq!(choose(&of(full), &settings, Some(0), 1), Choice::Wait, "unless the request can wait");
    assert_eq!(choose(&of(down), &settings, Some(0), 1), Choice::Peer(1));
}

#[test]
fn two_of_many_are_sampled() {
    let mut many = vec![PEER; 100];
    many.iter_mut().for_each(|peer| peer.inflight = 9);
    many[7].inflight = 0;
    many[50].state = State::Down;
    let settings = Settings::default();
    let picked: Vec<_> = (0..20_000).filter_map(|i| pick(&many[..], &settings, random(i))).collect();
    assert_eq!(picked.len(), 20_000);
    assert!(!picked.contains(&50));
    let best = picked.iter().filter(|i| **i == 7).count();
    assert!((200..800).contains(&best), "the idle one is in a sample of two 2 % of the time: {best}");
}

#[test]
fn a_choice_among_many_asks_for_few() {
    let settings = Settings::default();
    let many = Tiers(vec![PEER; 1000], 1000, Cell::default());
    (0..1000).for_each(|i| assert!(pick(&many, &settings, random(i)).is_some()));
    assert!((2000..2020).contains(&many.2.get()), "the same one may be drawn twice: {}", many.2.get());
    let mut half = Tiers(vec![PEER; 1000], 1000, Cell::default());
    half.0[..500].iter_mut().for_each(|peer| peer.state = State::Down);
    (0..1000).for_each(|i| assert!(pick(&half, &settings, random(i)).is_some_and(|i| i >= 500)));
    assert!(half.2.get() < 6000, "{}", half.2.get());
    let mut one = Tiers(vec![Candidate { excluded: true, ..PEER }; 1000], 1000, Cell::default());
    one.0[123].excluded = false;
    (0..100).for_each(|i| assert_eq!(pick(&one, &settings, random(i)), Some(123)));
}

#[test]
fn the_memory_of_a_peer() {
    let words: Vec<Word> = (0..Memory::WORDS).map(|_| Word::new(0)).collect();
    let (memory, settings) = (Memory::over(&words), Settings::default());
    let at = |s: u64| Now::from_ms(1_000_000 + s * 1000);
    let ended = |class, status, us| Ended { class, status, us };
    let known = |now| PEER.recall(&memory, &settings, now);
    assert_eq!((known(at(0)).latency_us, known(at(0)).failing, known(at(0)).ramp), (None, 0.0, 1.0));
    memory.ended(&settings, at(0), ended(Class::Success, 200, 20_000));
    memory.ended(&settings, at(1), ended(Class::ServerError, 500, 100));
    memory.ended(&settings, at(1), ended(Class::ClientError, 429, 100));
    memory.ended(&settings, at(1), ended(Class::Aborted, 0, 100));
    assert_eq!(memory.latency_us(), Some(20_000.0), "what fails quickly does not look fast");
    assert!(memory.failing(at(1)) > 0.05, "and 429 is no success");
    assert_eq!(memory.load(at(1)), None);
    memory.report(at(1), 0.5);
    memory.report(at(2), f32::NAN);
    memory.report(at(2), -1.0);
    let (load, age_us) = memory.load(at(4)).unwrap();
    assert!(load == 0.5 && (2_900_000..3_100_000).contains(&age_us), "{load} {age_us}");
    assert_eq!(known(at(4)).load, None, "nobody has asked for it");
    memory.rise(at(5));
    assert_eq!([5, 20, 35, 99].map(|s| known(at(s)).ramp), [0.0, 0.5, 1.0, 1.0]);
}

proptest! {
    #[test]
    fn only_those_who_may_are_picked(
        peers in prop::collection::vec((any::<bool>(), 0u32..5, 0u32..3, 0usize..3, 0u32..3), 0..80), random: u64,
    ) {
        let states = [State::Up, State::Down, State::Drain];
        let room = |limit| (limit > 0).then_some(Room { limit, slots: 2, service_us: 20_000.0 });
        let peers: Vec<_> = peers.into_iter()
            .map(|(excluded, inflight, limit, state, learnt)| Candidate {
                excluded, inflight, occupied: inflight, limit, state: states[state], room: room(learnt), ..PEER
            })
            .collect();
        let may = |peer: &Candidate| peer.is_up() && peer.has_room();
        let let_go = |peer: &Candidate| peer.is_up() && peer.has_leave();
        match pick(&peers[..], &Settings::default(), random) {
            Some(i) => prop_assert!(let_go(&peers[i])),
            None => prop_assert!(!peers.iter().any(let_go)),
        }
        match choose(&peers[..], &Settings::default(), Some(0), random) {
            Choice::Peer(i) => prop_assert!(may(&peers[i])),
            Choice::Wait => prop_assert!(peers.iter().any(Candidate::is_up)),
            Choice::Nobody => prop_assert!(!peers.iter().any(Candidate::is_up)),
        }
    }
}

/// The cost of one more request in one formula; `usual` is the average latency and load.
fn cost(peer: &Candidate, rule: Rule, usual: (f64, f64)) -> f64 {
    let (silent_us, turn) = (peer.silent_us as f64, f64::from(peer.inflight) + 1.0);
    let faded = silent_us / (silent_us + 30e6);
    let known = |us: f32| f64::from(us) * (1.0 - faded) + usual.0 * faded;
    let latency_us = peer.latency_us.map_or(usual.0, known).max(1.0);
    let learnt = peer.room.filter(|room| room.service_us > 0.0);
    let service = learnt.map_or(latency_us, |room| f64::from(room.service_us).max(latency_us * 0.5));
    let stuck = if learnt.is_some() || peer.latency_us.is_some() {
        peer.stuck_us as f64 - 3.0 * service
    } else {
        0.0
    };
    let busy = learnt.map_or(turn, |room| (0.5 + turn / 2.0).max(turn / f64::from(room.slots.max(1))));
    let time = if rule == Rule::LeastRequest { turn } else { service.max(stuck) * busy };
    let strain = peer.load.map_or(1.0, |(load, age_us)| {
        (0.25 + usual.1 + (f64::from(load) - usual.1) * 5e6 / (5e6 + age_us as f64)) / (0.25 + usual.1)
    });
    let success = (1.0 - f64::from(peer.failing)).max(0.05);
    time * strain / (success * success) / f64::from(peer.weight.max(1))
}

fn average(all: impl Iterator<Item = f32>) -> Option<f64> {
    let all: Vec<_> = all.map(f64::from).collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}

prop_compose! {
    fn any_peer()(
        latency_us in prop::option::of(0f32..1e6), silent_us in 0u64..100_000_000, failing in prop::option::of(0f32..1.0),
        (inflight, stuck_us, weight) in (0u32..6, prop_oneof![Just(0), 0u64..9_000_000], 0u16..4),
        room in prop::option::of((0u32..6, 1u32..4, prop_oneof![Just(0.0), 1f32..1e6])),
        load in prop::option::of((0f32..3.0, 0u64..60_000_000)), up in prop::bool::weighted(0.8),
    ) -> Candidate {
        let room = room.map(|(limit, slots, service_us)| Room { limit, slots, service_us });
        let state = if up { State::Up } else { State::Down };
        let failing = failing.unwrap_or(0.0);
        Candidate { latency_us, silent_us, failing, inflight, occupied: inflight, stuck_us, room, load, state, ..Candidate::new(weight) }
    }
}

proptest! {
    #[test]
    fn who_is_picked_costs_least(
        peers in prop::collection::vec(any_peer(), 1..12), rule in prop::sample::select(vec![Rule::PeakEwma, Rule::LeastRequest]), random: u64,
    ) {
        let settings = Settings { rule, ..Settings::default() };
        let up = || peers.iter().filter(|peer| peer.is_up());
        let latency = average(up().filter_map(|peer| peer.latency_us)).unwrap_or(1.0);
        let load = average(up().filter_map(|peer| peer.load.map(|(load, _)| load))).unwrap_or(0.0);
        let rank = |peer: &Candidate| (!peer.has_room(), cost(peer, rule, (latency, load)));
        let is_less = |a: (bool, f64), b: (bool, f64)| !a.0 & b.0 || a.0 == b.0 && a.1 * (1.0 + 1e-9) < b.1;
        let picked = pick(&peers[..], &settings, random);
        prop_assert_eq!(picked.is_some(), up().next().is_some());
        if let Some(i) = picked {
            prop_assert!(!up().any(|peer| is_less(rank(peer), rank(&peers[i]))), "{i}");
        }
    }
}

proptest! {
    #[test]
    fn a_standing_costs_what_the_whole_peer_costs(
        peer in any_peer(), rule in prop::sample::select(vec![Rule::PeakEwma, Rule::LeastRequest]), usual in 1f64..1e6,
    ) {
        let peer = Candidate { failing: 0.0, load: None, ..peer };
        let standing = Standing::of(&peer, rule, &Usual { latency_us: usual, load: 0.0 }, (1, 2), 3);
        prop_assert_eq!(standing.is_some(), peer.latency_us.is_some());
        if let Some(standing) = standing {
            let whole = |stuck_us| cost(&Candidate { stuck_us, ..peer }, rule, (usual, 0.0));
            prop_assert!((standing.cost(peer.inflight) / whole(0) - 1.0).abs() < 1e-9);
            // who loses patience is looked at as a whole, and only then
            prop_assert_eq!(standing.is_patient(peer.stuck_us), whole(peer.stuck_us) <= whole(0));
            prop_assert_eq!((standing.is_of((1, 2)), standing.is_of((1, 3)), standing.has_room(2), standing.has_room(3)), (true, false, true, false));
        }
        prop_assert!(!Standing::default().is_of((0, 0)));
    }
}

/// Peers that keep what is usual, as a team does.
struct Keeping(Vec<Candidate>, Cell<Option<Usual>>);

impl Peers for Keeping {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn primaries(&self) -> usize {
        2
    }
    fn candidate(&self, i: usize) -> Candidate {
        self.0[i]
    }
    fn usual(&self) -> Option<Usual> {
        self.1.get()
    }
    fn keep(&self, usual: Usual) {
        self.1.set(Some(usual));
    }
}

#[test]
fn a_peer_that_nobody_knows_costs_what_is_usual_now() {
    let known = |us, state| Candidate { latency_us: Some(us), state, ..Candidate::new(1) };
    let all = vec![known(5e3, State::Down), known(20e3, State::Up), known(9e3, State::Up)];
    let mut peers = Keeping(all, None.into());
    let settings = Settings::default();
    let usual = |peers: &Keeping| peers.usual().map(|usual| usual.latency_us);
    assert_eq!((pick(&peers, &settings, 0), usual(&peers)), (Some(1), Some(20e3)));
    // whatever was usual before: both cost the same, and neither is left out
    peers.0[0] = Candidate::new(1);
    for before in [1e3, 20e3, 400e3] {
        peers.1.set(Some(Usual { latency_us: before, load: 0.0 }));
        let picked: Vec<_> = (0..8).map(|n| pick(&peers, &settings, n << 61)).collect();
        assert!(picked.contains(&Some(0)) && picked.contains(&Some(1)), "{before}: {picked:?}");
        assert_eq!(usual(&peers), Some(20e3));
    }
    // with one in flight it costs twice that
    peers.0[0].inflight = 1;
    assert!((0..8).all(|n| pick(&peers, &settings, n << 61) == Some(1)));
    // where only a backup peer is up, what is kept of the primary ones stays
    (peers.0[0].state, peers.0[1].state) = (State::Down, State::Down);
    assert_eq!((pick(&peers, &settings, 0), usual(&peers)), (Some(2), Some(20e3)));
}
