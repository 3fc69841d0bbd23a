use super::*;
use crate::autoscale::metrics::columns::{Owner, Worker};
use crate::autoscale::metrics::flight::Flight;
use crate::autoscale::metrics::series::{Class, Peer, Upstream};
use crate::autoscale::metrics::table::Ref;
use crate::autoscale::metrics::zone::tests::{memory, SIZE};
use crate::autoscale::metrics::zone::{of_peer as range, Health, Layout, Zone};
use crate::autoscale::metrics::Now;
use proptest::prelude::*;
use std::cell::Cell;

const DEAD: bool = true;

/// An upstream with peers, and a clock.
struct Bench<'z> {
    zone: &'z Zone<'z>,
    worker: Worker,
    upstream: Ref<Upstream>,
    peers: Vec<Ref<Peer>>,
    backup: Vec<Ref<Peer>>,
    settings: Settings,
    ms: Cell<u64>,
}

fn bench(words: &str, count: usize, test: impl FnOnce(&Bench<'_>)) {
    let memory = memory(SIZE);
    let layout = Layout::plan(SIZE, 10, 4).unwrap();
    let zone = Zone::create(&memory, &layout, 7, Now::from_ms(1_000_000));
    let now = Now::from_ms(1_000_000);
    let upstream = zone.upstream(b"app", now).unwrap();
    let peers =
        (0..count).map(|i| zone.peer(upstream, format!("127.0.0.1:{i}").as_bytes(), now).unwrap()).collect();
    let settings = Settings::parse(&words.split_whitespace().collect::<Vec<_>>()).unwrap().unwrap();
    let worker = zone.columns().claim(Owner { pid: 1, stamp: 1 });
    test(&Bench {
        zone: &zone,
        worker,
        upstream,
        peers,
        backup: Vec::new(),
        settings,
        ms: Cell::new(2_000_000),
    });
}

impl Bench<'_> {
    fn now(&self) -> Now {
        Now::from_ms(self.ms.get())
    }

    fn pass_ms(&self, ms: u64) {
        self.ms.set(self.ms.get() + ms);
    }

    fn rotation(&self) -> Rotation {
        Rotation { primary: self.peers.clone(), backup: self.backup.clone() }
    }

    /// What a judge of this moment says, as the log has it.
    fn judge(&self, f: impl FnOnce(&mut Judge<'_, '_>)) -> Vec<String> {
        let mut judge = Judge::new(self.zone, &self.settings, self.upstream, self.now()).unwrap();
        f(&mut judge);
        let number = |peer: Option<Ref<Peer>>| {
            peer.and_then(|peer| self.peers.iter().position(|p| *p == peer))
                .map_or("-".into(), |i| i.to_string())
        };
        judge.told.iter().map(|(peer, change)| format!("{} {change}", number(*peer))).collect()
    }

    fn fail(&self, i: usize) -> Vec<String> {
        let failure = Failure { dead: false, began_us: self.now().us };
        let told = self.judge(|judge| judge.failed(self.peers[i], failure, || self.rotation()));
        self.count(i, Class::ServerError, 1000);
        told
    }

    fn pass(&self, i: usize) -> Vec<String> {
        let told = self.judge(|judge| judge.passed(self.peers[i], self.now().us));
        self.count(i, Class::Success, 1000);
        told
    }

    /// Counts an attempt in the series of the peer.
    fn count(&self, i: usize, class: Class, us: u64) {
        let end = self.now();
        let start = Now::from_us(end.us - us);
        let mut flight = Flight::start(self.zone, self.worker, self.upstream, &[], start);
        flight.attempt(self.zone, self.peers[i], start);
        flight.first_byte(self.zone, None, false, end);
        flight.end(self.zone, class, end);
    }

    fn check(&self, i: usize, well: bool) -> Vec<String> {
        self.judge(|judge| judge.checked(self.peers[i], well, || self.rotation()))
    }

    fn compare(&self) -> Vec<String> {
        self.judge(|judge| judge.compare(&self.rotation()))
    }

    fn count_out(&self) -> Vec<String> {
        self.judge(|judge| judge.count(&self.rotation()))
    }

    fn health(&self, i: usize) -> Health {
        self.zone.health(self.peers[i], self.now())
    }

    fn standing(&self, i: usize) -> Health {
        self.zone.standing(self.peers[i], self.now())
    }

    fn out(&self) -> usize {
        (0..self.peers.len()).filter(|i| self.standing(*i) == Health::Ejected).count()
    }
}

#[test]
fn failures_in_a_row_eject_and_an_answer_between_them_does_not() {
    bench("failures=3 error_rate=off", 4, |b| {
        let none: Vec<String> = Vec::new();
        for _ in 0..20 {
            assert_eq!([b.fail(1), b.fail(1), b.pass(1)], [none.clone(), none.clone(), none.clone()]);
        }
        b.pass_ms(60_000);
        assert_eq!([b.fail(1), b.fail(1), b.fail(1)].concat(), ["1 is ejected for 10s: 3 failures in a row"]);
        assert_eq!(
            [0, 1, 2, 3].map(|i| b.health(i)),
            [Health::Well, Health::Ejected, Health::Well, Health::Well]
        );
        assert_eq!(b.fail(1), none, "what was on its way changes nothing");
        assert_eq!(b.pass(1), none);
        assert_eq!((b.health(1), b.zone.ejections(b.peers[1])), (Health::Ejected, 1));
    });
}

#[test]
fn who_comes_back_is_on_probation_and_one_failure_sends_it_back_for_longer() {
    bench("failures=3 time=10s", 4, |b| {
        for _ in 0..3 {
            b.fail(0);
        }
        for (before, after) in [(10, 20), (20, 40), (40, 80), (80, 160), (160, 300), (300, 300)] {
            b.pass_ms(before * 1000 - 1);
            assert_eq!(b.health(0), Health::Ejected);
            b.pass_ms(1);
            assert_eq!(b.health(0), Health::Probation);
            assert_eq!(b.pass(0), ["0 is on probation: one request at a time"]);
            let again = format!("0 is ejected for {after}s: it failed on probation");
            assert_eq!(b.fail(0), [again]);
        }
        b.pass_ms(300_000);
        let told: Vec<String> = (0..3).flat_map(|_| b.pass(0)).collect();
        assert_eq!(told, ["0 is on probation: one request at a time", "0 is well again"]);
        assert_eq!(b.health(0), Health::Well);
        // it remembers for a while how often it was out, and then forgets
        b.pass_ms(600_000);
        let told: Vec<String> = (0..3).flat_map(|_| b.fail(0)).collect();
        assert_eq!(told, ["0 is ejected for 160s: 3 failures in a row"]);
    });
}

#[test]
fn what_began_before_it_came_back_says_nothing() {
    bench("failures=1 time=10s", 4, |b| {
        let began_us = b.now().us;
        b.fail(0);
        b.pass_ms(10_000);
        let late = Failure { dead: false, began_us };
        let told = b.judge(|judge| judge.failed(b.peers[0], late, || b.rotation()));
        assert_eq!(told, ["0 is on probation: one request at a time"]);
        assert!(b.judge(|judge| judge.passed(b.peers[0], began_us)).is_empty());
        assert_eq!(b.health(0), Health::Probation);
        assert_eq!(b.pass(0), ["0 is well again"]);
        b.pass_ms(5);
        assert!(b.judge(|judge| judge.failed(b.peers[0], late, || b.rotation())).is_empty());
        assert_eq!(b.health(0), Health::Well);
    });
}

#[test]
fn an_error_rate_is_of_enough_answers_and_of_late() {
    bench("failures=off error_rate=50%", 4, |b| {
        // 10 of 20, but 100 went well before, in another window
        (0..100).for_each(|_| drop(b.pass(0)));
        b.pass_ms(20_000);
        let mut told = Vec::new();
        for i in 0..20 {
            assert!(told.is_empty(), "{i}: {told:?}");
            b.pass_ms(10);
            told = if i % 2 == 1 { b.fail(0) } else { b.pass(0) };
            told.extend(if i == 18 { b.fail(0) } else { Vec::new() });
        }
        assert_eq!(told, ["0 is ejected for 10s: 11 of 20 answers failed"]);
        // one in three is less than half, for ever
        for i in 0..3000 {
            b.pass_ms(10);
            let told = if i % 3 == 0 { b.fail(1) } else { b.pass(1) };
            assert!(told.is_empty(), "{i}: {told:?}");
        }
    });
}

#[test]
fn who_is_slow_is_found_among_three_and_not_among_two() {
    let each = |b: &Bench<'_>, us: &[u64]| {
        for _ in 0..12 {
            us.iter().enumerate().for_each(|(i, us)| b.count(i, Class::Success, *us));
        }
    };
    bench("latency=3x", 3, |b| {
        each(b, &[20_000, 20_000, 50_000]);
        assert!(b.compare().is_empty(), "less than three times");
        each(b, &[20_000, 20_000, 500_000]);
        each(b, &[20_000, 20_000, 500_000]);
        let told = b.compare().concat();
        assert!(
            told.starts_with("2 is ejected for 10s: it takes ") && told.ends_with(" ms are usual"),
            "{told}"
        );
        // back again, it is not judged by what was before
        b.pass_ms(10_000);
        (0..6).for_each(|_| drop(b.pass(2)));
        each(b, &[20_000, 20_000, 500_000]);
        assert!(b.compare().is_empty());
        b.pass_ms(6000);
        each(b, &[20_000, 20_000, 500_000]);
        assert_eq!(b.compare().len(), 1);
    });
    bench("latency=3x", 2, |b| {
        each(b, &[20_000, 500_000]);
        assert!(b.compare().is_empty(), "of two nobody is usual");
    });
    bench("latency=3x", 4, |b| {
        each(b, &[500_000, 500_000, 500_000, 500_000]);
        assert!(b.compare().is_empty(), "all are slow");
    });
    bench("latency=3x", 4, |b| {
        each(b, &[200, 200, 200, 4000]);
        assert!(b.compare().is_empty(), "a few milliseconds are noise");
    });
    bench("latency=3x", 4, |b| {
        each(b, &[20_000, 20_000, 20_000, 20_000]);
        b.count(3, Class::Success, 60_000_000);
        assert!(b.compare().is_empty(), "one very slow answer is not the peer");
    });
    bench("latency=3x", 4, |b| {
        for i in 0..40 {
            // quick hits and slow misses, which the last peer has a few more of
            (0..4).for_each(|p| {
                b.count(p, Class::Success, if i % 20 < 9 + 2 * u64::from(p == 3) { 50_000 } else { 1000 })
            });
        }
        assert!(b.compare().is_empty(), "its median is another, its average is not");
    });
}

#[test]
fn failed_checks_eject_keep_out_and_bring_back() {
    bench("failures=3 time=1s check=/ every=2s", 4, |b| {
        assert_eq!([b.check(0, false), b.check(0, false)].concat(), [""; 0]);
        assert!(b.check(0, true).is_empty());
        assert_eq!([b.check(0, false), b.check(0, false)].concat(), [""; 0]);
        assert_eq!(b.check(0, false), ["0 is ejected for 5s: 3 failed checks in a row"]);
        for _ in 0..10 {
            // its time is long over, and every check fails
            b.pass_ms(900);
            assert!(b.check(0, false).is_empty());
            b.pass_ms(1100);
            assert_eq!(b.health(0), Health::Ejected);
        }
        assert_eq!(
            b.check(0, true),
            ["0 is on probation, because a check has reached it: one request at a time"]
        );
        assert_eq!(b.check(0, false), ["0 is ejected for 5s: a failed check"]);
        // nobody checks any more: time alone brings it back
        b.pass_ms(60_000);
        assert_eq!(b.health(0), Health::Probation);
        let told: Vec<String> = (0..3).flat_map(|_| b.check(0, true)).collect();
        assert_eq!(told, ["0 is on probation: one request at a time", "0 is well again"]);
    });
}

#[test]
fn a_check_that_passes_does_not_contradict_failing_answers() {
    bench("failures=3 time=10s check=/", 4, |b| {
        (0..3).for_each(|_| drop(b.fail(0)));
        assert!(b.check(0, true).is_empty());
        assert_eq!(b.health(0), Health::Ejected);
        let dead = Failure { dead: DEAD, began_us: b.now().us };
        (0..3).for_each(|_| drop(b.judge(|judge| judge.failed(b.peers[1], dead, || b.rotation()))));
        assert_eq!(b.health(1), Health::Ejected);
        assert_eq!(b.check(1, true).len(), 1);
        assert_eq!(b.health(1), Health::Probation);
    });
}

#[test]
fn the_share_is_kept_and_who_is_spared_is_said_once() {
    bench("failures=1 time=10s max=50%", 4, |b| {
        assert_eq!((b.fail(0).len(), b.fail(1).len()), (1, 1));
        assert_eq!(b.fail(2), ["2 is not ejected, as 2 of 4 are and more may not be: a failure"]);
        b.pass_ms(5000);
        assert!(b.fail(2).is_empty() && b.fail(3).is_empty());
        assert_eq!(b.out(), 2);
        // their time is over, and another one may go
        b.pass_ms(5000);
        let told = b.fail(2);
        assert_eq!(told.last().unwrap(), "2 is ejected for 10s: 3 failures in a row");
    });
    bench("failures=1", 1, |b| {
        assert_eq!(b.fail(0), ["0 is not ejected, as it is the only one: a failure"]);
        assert!(b.fail(0).is_empty());
    });
}

#[test]
fn who_is_in_no_rotation_is_not_ejected_and_holds_up_nobody() {
    bench("failures=1 time=10s", 4, |b| {
        let failure = Failure { dead: false, began_us: b.now().us };
        let others = Rotation { primary: b.peers[1..].to_vec(), ..Rotation::default() };
        assert!(b.judge(|judge| judge.failed(b.peers[0], failure, || others)).is_empty());
        assert_eq!(b.health(0), Health::Well);
        assert_eq!(b.fail(1), ["1 is ejected for 10s: a failure"]);
    });
}

#[test]
fn ejections_are_ignored_when_too_few_are_left() {
    bench("failures=1 time=10s", 4, |b| {
        (0..2).for_each(|i| drop(b.fail(i)));
        assert!(b.count_out().is_empty());
        // the two that are well are drained
        let left = Rotation { primary: b.peers[..2].to_vec(), ..Rotation::default() };
        let told = b.judge(|judge| judge.count(&left));
        assert_eq!(told, ["- 2 of 2 peers are ejected, which leaves too few: ejections are ignored"]);
        assert!(b.judge(|judge| judge.count(&left)).is_empty(), "said once");
        assert_eq!((b.health(0), b.standing(0)), (Health::Well, Health::Ejected));
        let with_backup = Rotation { backup: b.peers[3..].to_vec(), ..left };
        assert_eq!(
            b.judge(|judge| judge.count(&with_backup)),
            ["- enough peers are left: ejections hold again"]
        );
        assert_eq!(b.health(0), Health::Ejected);
    });
    bench("failures=1 time=10s max=100%", 3, |b| {
        (0..3).for_each(|i| drop(b.fail(i)));
        assert_eq!(b.out(), 3);
        assert_eq!(b.count_out().len(), 1);
        assert_eq!(b.health(2), Health::Well);
        b.pass_ms(10_000);
        b.count_out();
        assert_eq!(b.health(2), Health::Probation);
    });
}

#[test]
fn a_balancer_that_has_nobody_left_is_relieved_for_a_while() {
    bench("failures=1 time=10s", 4, |b| {
        assert!(b.judge(|judge| assert!(!judge.relieve(&b.rotation()))).is_empty());
        (0..2).for_each(|i| drop(b.fail(i)));
        let told = b.judge(|judge| assert!(judge.relieve(&b.rotation())));
        assert_eq!(told, ["- 2 of 4 peers are ejected, which leaves too few: ejections are ignored"]);
        b.judge(|judge| assert!(!judge.relieve(&b.rotation()), "it did not help"));
        assert_eq!(b.health(0), Health::Well);
        b.pass_ms(10_000);
        assert_eq!(b.health(0), Health::Probation);
    });
}

#[test]
fn what_a_killed_worker_leaves_is_usable() {
    bench("failures=1 time=10s max=25%", 4, |b| {
        // it had claimed a peer and not counted yet
        let word = &b.zone.side(b.peers[0]).unwrap()[range::EJECT.start + of_peer::STANDING];
        let claim = Standing { phase: Phase::Claimed, level: 2, at_ms: b.ms.get(), ..Standing::default() };
        word.store(claim.to_bits(), std::sync::atomic::Ordering::SeqCst);
        assert_eq!(b.health(0), Health::Well);
        assert_eq!(b.fail(1), ["1 is not ejected, as 1 of 4 are and more may not be: a failure"]);
        b.pass_ms(1001);
        assert_eq!(b.fail(1).last().unwrap(), "1 is ejected for 10s: 2 failures in a row");
        b.pass_ms(60_000);
        assert_eq!(b.fail(0).last().unwrap(), "0 is ejected for 10s: a failure");
    });
}

#[test]
fn who_is_said_to_be_up_is_and_without_the_directive_all_are() {
    bench("failures=1 time=10s", 4, |b| {
        (0..2).for_each(|i| drop(b.fail(i)));
        assert_eq!(b.judge(|judge| judge.pardon(b.peers[0])), ["0 is well again"]);
        assert_eq!((b.health(0), b.health(1)), (Health::Well, Health::Ejected));
        assert!(b.zone.forget_ejections(b.upstream) && !b.zone.forget_ejections(b.upstream));
        assert_eq!(b.health(1), Health::Well);
    });
}

/// Workers that eject at the same moment: threads on one zone.
#[test]
fn many_at_once_never_eject_more_than_may_be() {
    for round in 0..20 {
        bench("failures=1 time=1h max=50%", 8, |b| {
            let (zone, settings, upstream) = (b.zone, &b.settings, b.upstream);
            let (peers, now) = (&b.peers, b.now());
            std::thread::scope(|scope| {
                for t in 0..4usize {
                    scope.spawn(move || {
                        for i in 0..64usize {
                            let mut judge =
                                Judge::new(zone, settings, upstream, Now::from_ms(now.us / 1000 + i as u64))
                                    .unwrap();
                            let failure = Failure { dead: false, began_us: now.us };
                            let peer = peers[(i * (2 * t + 1) + round) % 8];
                            judge.failed(peer, failure, || Rotation {
                                primary: peers.clone(),
                                ..Rotation::default()
                            });
                            let out =
                                peers.iter().filter(|p| zone.standing(**p, now) == Health::Ejected).count();
                            assert!(out <= 4, "{out} are ejected");
                        }
                    });
                }
            });
            // two who claim at once may both give up; the next failure is in time
            b.pass_ms(2000);
            (0..8).for_each(|i| drop(b.fail(i)));
            assert_eq!(b.out(), 4);
        });
    }
}

#[derive(Clone, Debug)]
enum Event {
    Pass(usize),
    Fail(usize),
    Check(usize, bool),
    Wait(u64),
    Compare,
    Count,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0usize..6).prop_map(Event::Pass),
        6 => (0usize..6).prop_map(Event::Fail),
        2 => (0usize..6, any::<bool>()).prop_map(|(i, well)| Event::Check(i, well)),
        3 => prop_oneof![0u64..50, 0u64..5000].prop_map(Event::Wait),
        1 => Just(Event::Compare),
        1 => Just(Event::Count),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn never_too_many_and_all_come_back(
        events in prop::collection::vec(event(), 1..300), count in 1usize..6, max in 1u32..=100,
    ) {
        bench(&format!("failures=2 time=100ms max={max}% check=/ every=1s"), count, |b| {
            let cap = b.settings.cap(count, false);
            for event in &events {
                match event {
                    Event::Pass(i) => drop(b.pass(i % count)),
                    Event::Fail(i) => drop(b.fail(i % count)),
                    Event::Check(i, well) => drop(b.check(i % count, *well)),
                    Event::Wait(ms) => b.pass_ms(*ms),
                    Event::Compare => drop(b.compare()),
                    Event::Count => drop(b.count_out()),
                }
                assert!(b.out() <= cap, "{event:?}: {} of {count} are out", b.out());
                let nobody = (0..count).all(|i| b.health(i) == Health::Ejected);
                assert!(!nobody || matches!(event, Event::Count) || b.out() == count, "nobody is left");
                b.count_out();
                assert!((0..count).any(|i| b.health(i) != Health::Ejected), "nobody is left");
            }
            // whatever has happened, the longest time later all may show themselves, and then are well
            b.pass_ms(300_000);
            assert_eq!(b.out(), 0);
            (0..count).for_each(|i| (0..3).for_each(|_| drop(b.pass(i))));
            assert!((0..count).all(|i| b.standing(i) == Health::Well && b.health(i) == Health::Well));
        });
    }

    #[test]
    fn answers_alone_eject_nobody(
        events in prop::collection::vec((0usize..4, 0u64..3000, 1u64..30_000), 1..200),
    ) {
        bench("latency=off check=/", 4, |b| {
            for (i, wait, us) in events {
                b.pass_ms(wait);
                b.count(i, Class::Success, us);
                assert!(b.pass(i).is_empty() && b.check(i, true).is_empty() && b.count_out().is_empty());
            }
            assert_eq!(b.out(), 0);
        });
    }
}
