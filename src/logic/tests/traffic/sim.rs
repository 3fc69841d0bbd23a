//! A small discrete-event simulator of gateways in front of peers.
//!
//! Arrivals are open-loop (Poisson) and bring their work along, so every method gets identical work. A peer has slots and a queue of its
//! own. A client waits a second, then it is gone. Time is in microseconds.

use crate::gateway::{Gateway, Method, Verdict};
use crate::queue::LOOK_US;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// SplitMix64 (Steele, Lea, Flood).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub fn exponential(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }
}

/// The machine stands still: nothing that is due happens before it goes on, then all of it does. Poisson, so many a second, each so long.
#[derive(Clone, Copy, Debug)]
pub struct Stalls {
    pub per_s: f64,
    pub least_us: f64,
    pub most_us: f64,
}

/// The stall that comes, or lasts.
struct Stall {
    random: Random,
    from: u64,
    to: u64,
}

impl Stall {
    fn next(&mut self, stalls: &Stalls) {
        self.from = self.to + self.random.exponential(1e6 / stalls.per_s) as u64;
        let us = stalls.least_us + self.random.unit() * (stalls.most_us - stalls.least_us);
        self.to = self.from + us as u64;
    }

    /// When that happens which is due at `time`.
    fn happens(&mut self, stalls: &Stalls, time: u64) -> u64 {
        while time >= self.to {
            self.next(stalls);
        }
        if time >= self.from {
            self.to
        } else {
            time
        }
    }
}

/// Urgency and tenant of a request, by a random number and the time in seconds.
pub type Whose = fn(f64, f64) -> (u8, u64);

/// What a peer does with a request that reaches it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// It works on it; so many times slower than it should.
    Serve(f64),
    /// It answers with that status in a millisecond, without work.
    Answer(u16),
    /// It says nothing for ever.
    Hang,
    /// It refuses the connection.
    Dead,
}

/// What peer `i` does at a time since the start, in seconds.
pub type Behaviour = fn(usize, f64) -> Mode;

#[derive(Clone)]
pub struct Scenario {
    pub peers: usize,
    pub slots: usize,
    /// Mean work of a request.
    pub work_us: f64,
    /// The spread of work: 1 is exponential, 0 is none.
    pub spread: f64,
    /// Requests a second, by the time in seconds.
    pub rate: fn(f64) -> f64,
    pub behaviour: Behaviour,
    pub seconds: f64,
    /// What comes before is not measured.
    pub warm: f64,
    pub gateways: usize,
    /// From gateway to peer, one way.
    pub hop_us: u64,
    pub stalls: Option<Stalls>,
    pub whose: Whose,
    /// What comes from there on is not measured; the capacity is that of the time until then.
    pub until: f64,
}

impl Scenario {
    pub const HEALTHY: Self = Self {
        peers: 8,
        slots: 2,
        work_us: 20_000.0,
        spread: 1.0,
        rate: |_| 560.0,
        behaviour: |_, _| Mode::Serve(1.0),
        seconds: 12.0,
        warm: 2.0,
        gateways: 1,
        hop_us: 50,
        stalls: None,
        whose: |_, _| (3, 0),
        until: f64::MAX,
    };

    /// Requests a second that the peers can do when they are well.
    pub fn capacity(&self) -> f64 {
        (self.peers * self.slots) as f64 * 1e6 / self.work_us
    }
}

pub const PATIENCE_US: u64 = 1_000_000;
pub const DEADLINE_US: u64 = 500_000;
const POSTS: f64 = 0.2;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    Open,
    Served,
    /// The gateway said 503.
    Refused,
    Error,
    /// The client left.
    Gone,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub gateway: usize,
    pub urgency: u8,
    pub tenant: u64,
    /// When it was due.
    pub at: u64,
    pub work_us: u64,
    pub post: bool,
    pub tried: Option<usize>,
    pub peer: usize,
    /// When the open try began, and how many were in flight there then, with it.
    pub sent: u64,
    pub number: u32,
    pub fate: Fate,
    pub ended: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    /// The try gets to its peer.
    Reach(usize),
    /// A slot of a peer is done with it.
    Done(usize),
    /// The answer gets back, with its status; 0 when there was no connection.
    Back(usize, u16),
    Patience(usize),
    /// A request has waited long enough in the gateway.
    Overdue(usize),
    /// A gateway looks after those that it holds.
    Look(usize),
}

#[derive(Default)]
struct Peer {
    busy: usize,
    queue: VecDeque<usize>,
}

/// One run.
pub struct Run<'m> {
    scenario: Scenario,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    random: Random,
    who: Random,
    stall: Stall,
    pub requests: Vec<Request>,
    peers: Vec<Peer>,
    gateways: Vec<Gateway<'m>>,
    looks: Vec<bool>,
}

/// Where the clock starts: not at zero, which is no time in the zone.
const START: u64 = 1_000_000_000;

impl<'m> Run<'m> {
    pub fn of(scenario: &Scenario, seed: u64, method: &'m dyn Fn(&Scenario) -> Box<dyn Method>) -> Self {
        let mut run = Self {
            scenario: scenario.clone(),
            now: START,
            events: BinaryHeap::new(),
            order: 0,
            random: Random(seed),
            who: Random(!seed),
            stall: Stall { random: Random(!seed >> 1), from: 0, to: START },
            requests: Vec::new(),
            peers: (0..scenario.peers).map(|_| Peer::default()).collect(),
            gateways: (0..scenario.gateways)
                .map(|i| Gateway::new(scenario.peers, method(scenario), i as u64 ^ seed))
                .collect(),
            looks: vec![false; scenario.gateways],
        };
        run.at(START, Event::Arrive);
        run.go();
        run
    }

    fn at(&mut self, time: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((time, self.order, event)));
    }

    fn second(&self) -> f64 {
        (self.now - START) as f64 / 1e6
    }

    fn go(&mut self) {
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            let stalls = self.scenario.stalls;
            self.now = stalls.map_or(time, |stalls| self.stall.happens(&stalls, time));
            match event {
                Event::Arrive => self.arrive(time),
                Event::Reach(id) => self.reach(id),
                Event::Done(id) => self.done(id),
                Event::Back(id, status) => self.back(id, status),
                Event::Patience(id) => self.patience(id),
                Event::Overdue(id) => self.overdue(id),
                Event::Look(gateway) => self.look(gateway),
            }
        }
    }

    fn arrive(&mut self, due: u64) {
        if Self::since_start(due) >= self.scenario.seconds {
            return;
        }
        let gap = self.random.exponential(1e6 / (self.scenario.rate)(Self::since_start(due)));
        let (mean, spread) = (self.scenario.work_us, self.scenario.spread);
        let work = mean * (1.0 - spread) + self.random.exponential(mean) * spread;
        let post = self.random.unit() < POSTS;
        let gateway = (self.random.next() >> 32) as usize % self.gateways.len();
        let (urgency, tenant) = (self.scenario.whose)(self.who.unit(), Self::since_start(due));
        let id = self.requests.len();
        self.requests.push(Request {
            gateway,
            urgency,
            tenant,
            at: due,
            work_us: work as u64 + 1,
            post,
            tried: None,
            peer: 0,
            sent: 0,
            number: 0,
            fate: Fate::Open,
            ended: 0,
        });
        self.at(due + gap as u64 + 1, Event::Arrive);
        self.at(due + PATIENCE_US, Event::Patience(id));
        self.place(id);
    }

    /// The gateway decides on a request that has just come.
    fn place(&mut self, id: usize) {
        let number = self.requests[id].gateway;
        match self.gateways[number].place(id, &self.requests[id], self.now) {
            Verdict::Send(peer) => self.send(id, peer),
            Verdict::Hold(until) => {
                self.at(until, Event::Overdue(id));
                self.hand_out(number);
            }
            Verdict::Queue => {
                self.hand_out(number);
                self.keep_looking(number);
            }
            Verdict::Refuse => self.end(id, Fate::Refused),
        }
    }

    fn send(&mut self, id: usize, peer: usize) {
        let (now, request) = (self.now, &mut self.requests[id]);
        request.peer = peer;
        request.sent = now;
        request.number = self.gateways[request.gateway].begin(peer, now);
        self.at(now + self.scenario.hop_us, Event::Reach(id));
    }

    fn reach(&mut self, id: usize) {
        let peer = self.requests[id].peer;
        let back = self.now + self.scenario.hop_us;
        match (self.scenario.behaviour)(peer, self.second()) {
            Mode::Serve(_) if self.peers[peer].busy < self.scenario.slots => self.serve(id),
            Mode::Serve(_) => self.peers[peer].queue.push_back(id),
            Mode::Answer(status) => self.at(back + 1000, Event::Back(id, status)),
            Mode::Hang => {}
            Mode::Dead => self.at(back, Event::Back(id, 0)),
        }
    }

    fn serve(&mut self, id: usize) {
        let request = &self.requests[id];
        let slow = match (self.scenario.behaviour)(request.peer, self.second()) {
            Mode::Serve(slow) => slow,
            _ => 1.0,
        };
        let end = self.now + (request.work_us as f64 * slow) as u64;
        self.peers[request.peer].busy += 1;
        self.at(end, Event::Done(id));
    }

    fn done(&mut self, id: usize) {
        let peer = self.requests[id].peer;
        self.peers[peer].busy -= 1;
        self.at(self.now + self.scenario.hop_us, Event::Back(id, 200));
        // a peer notices that a client is gone when it takes the request out of its queue
        while let Some(next) = self.peers[peer].queue.pop_front() {
            if self.requests[next].fate == Fate::Open {
                self.serve(next);
                break;
            }
        }
    }

    fn back(&mut self, id: usize, status: u16) {
        if self.requests[id].fate != Fate::Open {
            return;
        }
        let request = self.requests[id].clone();
        let gateway = &mut self.gateways[request.gateway];
        gateway.end(&request, status, self.now);
        let retried = status != 200 && request.tried.is_none() && (status == 0 || !request.post);
        if retried {
            self.requests[id].tried = Some(request.peer);
            self.place(id);
        } else {
            self.end(id, if status == 200 { Fate::Served } else { Fate::Error });
        }
        self.hand_out(request.gateway);
    }

    /// Whoever waits in a gateway gets what has become free.
    fn hand_out(&mut self, gateway: usize) {
        while let Some((id, peer)) = {
            let requests = &self.requests;
            self.gateways[gateway].next(|id| requests[id].tried, self.now)
        } {
            if self.requests[id].fate == Fate::Open {
                self.send(id, peer);
            }
        }
    }

    fn keep_looking(&mut self, gateway: usize) {
        if !self.looks[gateway] && self.gateways[gateway].holds() > 0 {
            self.looks[gateway] = true;
            self.at(self.now + LOOK_US, Event::Look(gateway));
        }
    }

    fn look(&mut self, gateway: usize) {
        self.looks[gateway] = false;
        for id in self.gateways[gateway].look(self.now) {
            self.end(id, Fate::Refused);
        }
        self.hand_out(gateway);
        self.keep_looking(gateway);
    }

    fn overdue(&mut self, id: usize) {
        let gateway = self.requests[id].gateway;
        if self.requests[id].fate == Fate::Open && self.gateways[gateway].drop_held(id) {
            self.end(id, Fate::Refused);
        }
    }

    fn patience(&mut self, id: usize) {
        let request = self.requests[id].clone();
        if request.fate != Fate::Open {
            return;
        }
        self.end(id, Fate::Gone);
        if !self.gateways[request.gateway].drop_held(id) {
            self.gateways[request.gateway].end(&request, 499, self.now);
            self.hand_out(request.gateway);
        }
    }

    fn end(&mut self, id: usize, fate: Fate) {
        self.requests[id].fate = fate;
        self.requests[id].ended = self.now;
    }

    /// Those that are measured.
    pub fn measured(&self) -> impl Iterator<Item = &Request> {
        let from = START + (self.scenario.warm * 1e6) as u64;
        let until = START + (self.scenario.until.min(self.scenario.seconds) * 1e6) as u64;
        self.requests.iter().filter(move |request| (from..until).contains(&request.at))
    }

    pub fn since_start(us: u64) -> f64 {
        (us - START) as f64 / 1e6
    }
}
