//! The queue of `autoscale_protect` as a gateway has it: in memory of its own, looked after every five milliseconds.

use crate::gateway::{Choice, Method};
use crate::sim::Request;
use logic::autoscale::metrics::columns::Owner;
use logic::autoscale::metrics::ewma;
use logic::autoscale::metrics::word::Word;
use logic::autoscale::queue::{flow, Crowd, Entry, Lane, Pace, Queues, Slot, Urgency, LANE_WORDS};
use std::collections::BTreeMap;

pub const LOOK_US: u64 = 5_000;
const PACE_US: u64 = 100_000;
const TIMEOUT_US: u64 = 1_000_000;
const BOUNDS: (u32, u64) = (1024, 64 << 20);
const ME: (Owner, u16) = (Owner { pid: 1, stamp: 1 }, 0);

pub struct Line {
    words: Vec<Word>,
    lane: Vec<Word>,
    latency: Word,
    pace: (u64, Pace),
    parked: BTreeMap<u32, usize>,
}

impl Line {
    pub fn new() -> Self {
        let words = |n| (0..n).map(|_| Word::new(0)).collect();
        Self {
            words: words(16_384),
            lane: words(LANE_WORDS),
            latency: Word::new(0),
            pace: (0, Pace::default()),
            parked: BTreeMap::new(),
        }
    }

    fn over(&self) -> (Queues<'_>, Lane<'_>) {
        (Queues::over(&self.words).unwrap(), Lane::new(1, &self.lane).unwrap())
    }

    pub fn ended(&mut self, us: u64, now: u64) {
        ewma::feed(&self.latency, us as f32, now);
    }

    pub fn len(&self) -> usize {
        self.parked.len()
    }

    fn pace(&mut self, inflight: &[u32], now: u64) -> Pace {
        if now - self.pace.0 >= PACE_US {
            let service_us = ewma::value(&self.latency).map_or(0.0, f64::from);
            self.pace = (now, Pace { service_us, inflight: inflight.iter().sum() });
        }
        self.pace.1
    }

    /// A request that must wait; false when there is no place.
    pub fn enter(&mut self, id: usize, request: &Request, now: u64) -> bool {
        let entry = Entry {
            urgency: Urgency::of(&[b'0' + request.urgency]),
            key: flow(&request.tenant.to_be_bytes(), 1, 0),
            bytes: 1000,
        };
        let (queues, lane) = self.over();
        let entered = queues.enter(&lane, ME, &entry, BOUNDS, now);
        let Ok((slot, None)) = entered else { return false };
        self.parked.insert(slot.0, id);
        true
    }

    /// Who may go now, and where to.
    pub fn next(
        &mut self,
        method: &mut dyn Method,
        inflight: &[u32],
        random: u64,
        now: u64,
    ) -> Option<(usize, usize)> {
        let pace = self.pace(inflight, now);
        let mut to = None;
        let (queues, lane) = self.over();
        let grant = queues.grant(&lane, now, &pace, |behind| {
            to = match method.choose(inflight, behind, None, random, now) {
                Choice::Peer(peer) => Some(peer),
                _ => None,
            };
            u32::from(to.is_some())
        })?;
        queues.leave(grant.slot);
        self.parked.remove(&grant.slot.0).zip(to)
    }

    /// Those that have waited for too long.
    pub fn look(&mut self, inflight: &[u32], now: u64) -> Vec<usize> {
        let pace = self.pace(inflight, now);
        let (queues, lane) = self.over();
        let mut crowd = Crowd::default();
        let late: Vec<u32> = self
            .parked
            .keys()
            .copied()
            .filter(|slot| {
                queues.is_overdue((&lane, &mut crowd), Slot(*slot), TIMEOUT_US, now, &pace)
                    && queues.withdraw(Slot(*slot))
            })
            .collect();
        late.iter().filter_map(|slot| self.parked.remove(slot)).collect()
    }

    pub fn forget(&mut self, id: usize) -> bool {
        let Some(slot) = self.parked.iter().find(|(_, held)| **held == id).map(|(slot, _)| *slot) else {
            return false;
        };
        self.parked.remove(&slot);
        self.over().0.withdraw(Slot(slot))
    }
}
