//! The methods that are compared: ours, and what others do or could at best do.

use crate::gateway::{Choice, Method};
use crate::sim::{Mode, Request, Scenario};
use logic::autoscale::balance::{self, Candidate, Ended, Memory, Settings};
use logic::autoscale::limit::{Alike, Learnt, Outcome, Room};
use logic::autoscale::metrics::series::Class;
use logic::autoscale::metrics::word::Word;
use logic::autoscale::metrics::Now;

/// Ours: `autoscale_balance`, and with `protect` its queue and learnt concurrency.
pub struct Ours {
    pub settings: Settings,
    pub protect: bool,
    queue: bool,
    words: Vec<Vec<Word>>,
    learnt: Vec<Vec<Word>>,
    alike: Word,
}

fn words(n: usize) -> Vec<Word> {
    (0..n).map(|_| Word::new(0)).collect()
}

impl Ours {
    pub fn new(peers: usize, protect: bool) -> Self {
        let all = |n| (0..peers).map(|_| words(n)).collect();
        Self {
            settings: Settings::default(),
            protect,
            queue: false,
            words: all(Memory::WORDS),
            learnt: all(Learnt::WORDS),
            alike: Word::new(0),
        }
    }

    pub fn balance(scenario: &Scenario) -> Box<dyn Method> {
        Box::new(Self::new(scenario.peers, false))
    }

    pub fn protect(scenario: &Scenario) -> Box<dyn Method> {
        Box::new(Self::new(scenario.peers, true))
    }

    /// With the queue as it is.
    pub fn queue(scenario: &Scenario) -> Box<dyn Method> {
        Box::new(Self { queue: true, ..Self::new(scenario.peers, true) })
    }

    fn candidates(&self, inflight: &[u32], tried: Option<usize>, now: Now) -> Vec<Candidate> {
        let peers = inflight.iter().enumerate();
        peers
            .map(|(i, inflight)| {
                let room = self.protect.then(|| Learnt::over(&self.learnt[i]).room(now));
                let known = Candidate {
                    inflight: *inflight,
                    waiting: *inflight,
                    occupied: *inflight,
                    room,
                    excluded: tried == Some(i),
                    ..Candidate::new(1)
                };
                known.recall(&Memory::over(&self.words[i]), &self.settings, now)
            })
            .collect()
    }
}

impl Method for Ours {
    fn choose(
        &mut self,
        inflight: &[u32],
        ahead: u32,
        tried: Option<usize>,
        random: u64,
        now: u64,
    ) -> Choice {
        let peers = self.candidates(inflight, tried, Now::from_us(now));
        if !self.protect {
            return balance::pick(&peers[..], &self.settings, random).map_or(Choice::Nobody, Choice::Peer);
        }
        match balance::choose(&peers[..], &self.settings, Some(ahead), random) {
            balance::Choice::Peer(i) => Choice::Peer(i),
            balance::Choice::Wait => Choice::Wait,
            balance::Choice::Nobody => Choice::Nobody,
        }
    }

    fn has_queue(&self) -> bool {
        self.queue
    }

    fn begin(&mut self, peer: usize, number: u32, now: u64) {
        Memory::over(&self.words[peer]).begun(Now::from_us(now), number);
    }

    fn end(&mut self, request: &Request, status: u16, now: u64) {
        let (us, class) = ((now - request.sent) as u32, class(status));
        let now = Now::from_us(now);
        let memory = Memory::over(&self.words[request.peer]);
        memory.ended(&self.settings, now, Ended { class, status, us });
        let outcome = match class {
            Class::Success => Outcome::Answered,
            Class::Aborted => Outcome::GivenUp,
            _ => Outcome::Failed,
        };
        Learnt::over(&self.learnt[request.peer])
            .sample(now, us, request.number, outcome, || Some(Alike::over(&self.alike)));
    }
}

fn class(status: u16) -> Class {
    match status {
        0 => Class::ConnectFailure,
        499 => Class::Aborted,
        _ => Class::of_status(status),
    }
}

/// nginx: the fewest in flight; a failure takes the peer out for ten seconds (`max_fails=1`). It holds nobody.
pub struct LeastConn(Vec<u64>);

impl LeastConn {
    pub fn of(scenario: &Scenario) -> Box<dyn Method> {
        Box::new(Self(vec![0; scenario.peers]))
    }
}

impl Method for LeastConn {
    fn choose(&mut self, inflight: &[u32], _: u32, tried: Option<usize>, random: u64, now: u64) -> Choice {
        let n = inflight.len();
        let order = (0..n).map(|i| (i + random as usize % n) % n).filter(|i| tried != Some(*i));
        let best = order.clone().filter(|i| self.0[*i] <= now).min_by_key(|i| inflight[*i]);
        best.or_else(|| order.min_by_key(|i| inflight[*i])).map_or(Choice::Nobody, Choice::Peer)
    }

    fn end(&mut self, request: &Request, status: u16, now: u64) {
        if status == 0 || status == 500 {
            self.0[request.peer] = now + 10_000_000;
        }
    }
}

/// The least latency, whatever is in flight: what not to do.
pub struct Blind(Vec<f64>);

impl Blind {
    pub fn of(scenario: &Scenario) -> Box<dyn Method> {
        Box::new(Self(vec![0.0; scenario.peers]))
    }
}

impl Method for Blind {
    fn choose(&mut self, _: &[u32], _: u32, tried: Option<usize>, _: u64, _: u64) -> Choice {
        let open = (0..self.0.len()).filter(|i| tried != Some(*i));
        open.min_by(|a, b| self.0[*a].total_cmp(&self.0[*b])).map_or(Choice::Nobody, Choice::Peer)
    }

    fn end(&mut self, request: &Request, _: u16, now: u64) {
        let average = &mut self.0[request.peer];
        *average += ((now - request.sent) as f64 - *average) * 0.1;
    }
}

/// The perfect gateway: it is told slots, service times and who is broken, and hands one central queue to the first free slot.
pub struct Oracle(Scenario);

impl Oracle {
    pub fn of(scenario: &Scenario) -> Box<dyn Method> {
        Box::new(Self(scenario.clone()))
    }
}

impl Method for Oracle {
    fn choose(
        &mut self,
        inflight: &[u32],
        ahead: u32,
        tried: Option<usize>,
        random: u64,
        now: u64,
    ) -> Choice {
        let second = crate::sim::Run::since_start(now);
        let slots = self.0.slots as u32;
        let peers: Vec<_> = (0..self.0.peers)
            .map(|i| {
                let slow = match (self.0.behaviour)(i, second) {
                    Mode::Serve(slow) => Some(slow * self.0.work_us),
                    _ => None,
                };
                let service_us = slow.unwrap_or(0.0) as f32;
                Candidate {
                    inflight: inflight[i],
                    waiting: inflight[i],
                    occupied: inflight[i],
                    latency_us: Some(service_us),
                    room: Some(Room { limit: slots, slots, service_us }),
                    excluded: tried == Some(i) || slow.is_none(),
                    ..Candidate::new(1)
                }
            })
            .collect();
        match balance::choose(&peers[..], &Settings::default(), Some(ahead), random) {
            balance::Choice::Peer(i) => Choice::Peer(i),
            balance::Choice::Wait => Choice::Wait,
            balance::Choice::Nobody => Choice::Nobody,
        }
    }
}
