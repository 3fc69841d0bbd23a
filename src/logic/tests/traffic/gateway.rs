//! One gateway: what it has in flight, whom it holds, and the method that chooses.

use crate::queue::Line;
use crate::sim::{Random, Request};
use std::collections::VecDeque;

pub enum Choice {
    Peer(usize),
    Wait,
    Nobody,
}

/// How a gateway chooses. `inflight` is what it has in flight at each peer.
pub trait Method {
    fn choose(&mut self, inflight: &[u32], ahead: u32, tried: Option<usize>, random: u64, now: u64)
        -> Choice;
    fn begin(&mut self, _peer: usize, _number: u32, _now: u64) {}
    /// 200 served, 499 the client left, 0 no connection.
    fn end(&mut self, _request: &Request, _status: u16, _now: u64) {}
    /// How long a request may be held.
    fn patience_us(&self) -> u64 {
        50_000
    }
    /// Whether it holds requests in the queue that `autoscale_protect` has, rather than in the simplest.
    fn has_queue(&self) -> bool {
        false
    }
}

pub enum Verdict {
    Send(usize),
    Hold(u64),
    /// Its turn comes, or one that looks finds it too late.
    Queue,
    Refuse,
}

pub struct Gateway<'m> {
    method: Box<dyn Method + 'm>,
    inflight: Vec<u32>,
    held: VecDeque<usize>,
    line: Option<Line>,
    random: Random,
}

impl<'m> Gateway<'m> {
    pub fn new(peers: usize, method: Box<dyn Method + 'm>, seed: u64) -> Self {
        let random = Random(seed.wrapping_mul(0x1234_5678_9abc_def1));
        let line = method.has_queue().then(Line::new);
        Self { method, inflight: vec![0; peers], held: VecDeque::new(), line, random }
    }

    /// How many it holds.
    pub fn holds(&self) -> usize {
        self.line.as_ref().map_or(self.held.len(), Line::len)
    }

    pub fn place(&mut self, id: usize, request: &Request, now: u64) -> Verdict {
        let (ahead, tried) = (self.holds() as u32, request.tried);
        // nobody overtakes those who wait, except one that has been there before
        let choice = if ahead == 0 || tried.is_some() {
            self.method.choose(&self.inflight, 0, tried, self.random.next(), now)
        } else {
            Choice::Wait
        };
        match choice {
            Choice::Peer(peer) => Verdict::Send(peer),
            Choice::Wait => match &mut self.line {
                Some(line) => {
                    if line.enter(id, request, now) {
                        Verdict::Queue
                    } else {
                        Verdict::Refuse
                    }
                }
                None => {
                    self.held.push_back(id);
                    Verdict::Hold(now + self.method.patience_us())
                }
            },
            Choice::Nobody => Verdict::Refuse,
        }
    }

    /// The first that is held, when a peer has room for it.
    pub fn next(&mut self, tried: impl Fn(usize) -> Option<usize>, now: u64) -> Option<(usize, usize)> {
        if let Some(line) = &mut self.line {
            return line.next(&mut *self.method, &self.inflight, self.random.next(), now);
        }
        let first = *self.held.front()?;
        let random = self.random.next();
        // those behind it may use a slower peer sooner, but they are not asked: the order is kept
        let behind = self.held.len() as u32 - 1;
        match self.method.choose(&self.inflight, behind, tried(first), random, now) {
            Choice::Peer(peer) => {
                self.held.pop_front();
                Some((first, peer))
            }
            _ => None,
        }
    }

    /// Those that have waited for too long.
    pub fn look(&mut self, now: u64) -> Vec<usize> {
        self.line.as_mut().map_or(Vec::new(), |line| line.look(&self.inflight, now))
    }

    pub fn drop_held(&mut self, id: usize) -> bool {
        if let Some(line) = &mut self.line {
            return line.forget(id);
        }
        let place = self.held.iter().position(|held| *held == id);
        place.map(|place| self.held.remove(place)).is_some()
    }

    pub fn begin(&mut self, peer: usize, now: u64) -> u32 {
        self.inflight[peer] += 1;
        self.method.begin(peer, self.inflight[peer], now);
        self.inflight[peer]
    }

    pub fn end(&mut self, request: &Request, status: u16, now: u64) {
        self.inflight[request.peer] -= 1;
        if let Some(line) = self.line.as_mut().filter(|_| status == 200) {
            line.ended(now - request.sent, now);
        }
        self.method.end(request, status, now);
    }
}
