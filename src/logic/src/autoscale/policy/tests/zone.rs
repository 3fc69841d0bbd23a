//! The engine on a real zone: requests go in, decisions come out.

use super::lines;
use crate::autoscale::metrics::columns::Owner;
use crate::autoscale::metrics::flight::Flight;
use crate::autoscale::metrics::series::Class;
use crate::autoscale::metrics::word::Word;
use crate::autoscale::metrics::zone::{Layout, Zone};
use crate::autoscale::metrics::Now;
use crate::autoscale::policy::live::{Handles, Live};
use crate::autoscale::policy::{Event, Input, Mode, Outcome, Policy, Replicas, State};

const SIZE: usize = 2 << 20;

struct Gateway<'a> {
    zone: &'a Zone<'a>,
    policy: Policy,
    state: State,
    handles: Handles,
    ms: u64,
    current: u32,
    writes: Vec<u32>,
    told: Vec<String>,
}

impl Gateway<'_> {
    fn now(&self) -> Now {
        Now::from_ms(1_000_000_000 + self.ms)
    }

    fn run(&mut self, event: Event) -> Outcome {
        let now = self.now();
        self.handles.refresh(&self.policy, self.zone, 1);
        let view = Live { zone: self.zone, handles: &self.handles, now };
        if event == Event::Request && !self.policy.due(&self.state, &view, now.us) {
            return Outcome::Stay(crate::autoscale::policy::Why::Enough);
        }
        let replicas = Some(Replicas { wanted: self.current, ready: self.current });
        let input = Input { now, unix_ms: 0, event, mode: Mode::On, replicas, view: &view, script: None };
        let evaluation = self.policy.step(&mut self.state, input);
        if let Some(to) = evaluation.scale() {
            self.policy.settle(&mut self.state, now.us, evaluation.id, Some(to));
            self.current = to;
            self.writes.push(to);
            self.told.push(self.policy.explain(&evaluation));
        }
        evaluation.outcome
    }

    /// A request that takes so many milliseconds.
    fn request(&mut self, took: u64) {
        let app = self.zone.upstream(b"app", self.now()).unwrap();
        let worker = self.zone.columns().claim(Owner { pid: 1, stamp: 1 });
        let mut flight = Flight::start(self.zone, worker, app, &[], self.now());
        self.ms += took;
        flight.end(self.zone, Class::Success, self.now());
        self.zone.columns().release(worker, Owner { pid: 1, stamp: 1 });
        self.run(Event::Request);
    }
}

fn gateway(text: &str, test: impl FnOnce(&mut Gateway<'_>)) {
    let words: Vec<Word> = (0..SIZE / 8).map(|_| Word::new(0)).collect();
    let zone = Zone::create(&words, &Layout::plan(SIZE, 64, 8).unwrap(), 3, Now::from_ms(1_000_000_000));
    let (policy, state, handles) = (lines(text), State::default(), Handles::default());
    test(&mut Gateway {
        zone: &zone,
        policy,
        state,
        handles,
        ms: 0,
        current: 2,
        writes: Vec::new(),
        told: Vec::new(),
    });
}

#[test]
fn t1_on_the_zone_the_eleventh_slow_request_writes_once() {
    gateway("up upstream.app.latency > 500ms for=11r by=+2; limit max=20;", |gateway| {
        gateway.run(Event::Tick);
        (0..20).for_each(|_| gateway.request(20));
        (0..10).for_each(|_| gateway.request(600));
        assert!(gateway.writes.is_empty());
        gateway.request(600);
        assert_eq!(gateway.writes, [4], "with the request, not with a tick");
        (0..50).for_each(|_| gateway.request(600));
        assert_eq!((gateway.writes.len(), gateway.state.decisions), (1, 1));
        assert!(
            gateway.told[0].ends_with("for=11r by=+2\" (so for the last 11 requests)"),
            "{}",
            gateway.told[0]
        );
    });
}

#[test]
fn a_rate_is_tracked_and_silence_holds_latency() {
    let text = "track upstream.app.rate@10s per=5; up upstream.app.latency > 1s by=+9; limit max=20;
                behavior down window=0; cooldown down=30s;";
    gateway(text, |gateway| {
        assert!(
            matches!(gateway.run(Event::Tick), Outcome::Stay(_)),
            "nothing is known of an upstream nobody has used"
        );
        (0..400).for_each(|_| gateway.request(50));
        // 20 a second
        assert_eq!(gateway.run(Event::Tick), Outcome::Scale { from: 2, to: 4 });
        gateway.ms += 60_000;
        // no requests: the latency has no value, the rate is a known zero
        assert_eq!(gateway.run(Event::Tick), Outcome::Scale { from: 4, to: 1 });
    });
}
