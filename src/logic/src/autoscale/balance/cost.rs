//! What the next request costs at a peer.

use super::{Candidate, Rule};
use crate::autoscale::metrics::ewma::TAU_US;

/// How long silence takes to halve what is known about a latency.
const FADE_US: f64 = 3.0 * TAU_US as f64;
/// How long it takes to halve what a reported load says.
const LOAD_FADE_US: f64 = 5e6;
/// A peer that always fails costs 400 times as much.
const LEAST_SUCCESS: f64 = 0.05;
/// A latency that is so much higher than the learnt service time replaces it, which follows more slowly.
const PEAK: f64 = 0.5;
/// After so many service times without an answer, waiting begins to count as latency.
pub(super) const STUCK: f64 = 3.0;
/// By how much each request in flight delays the next one while there is room: less than a slot's worth, and more than the error of a
/// learnt service time.
pub(super) const CROWD: f64 = 0.5;
/// What a load of zero still costs, so that a peer which calls itself idle does not get everything.
const IDLE: f64 = 0.25;

/// What is usual among the candidates, for those of which nothing is known.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    pub(super) latency_us: f64,
    pub(super) load: f64,
}

/// Finds it, from those that are up.
#[derive(Default)]
pub(super) struct Means {
    latency: Mean,
    load: Mean,
}

impl Means {
    #[inline]
    pub fn add(&mut self, peer: &Candidate) {
        peer.latency_us.into_iter().for_each(|us| self.latency.add(us.into()));
        peer.load.into_iter().for_each(|(load, _)| self.load.add(load.into()));
    }

    /// The same of a peer that reports no load.
    #[inline]
    pub fn add_latency(&mut self, us: f64) {
        self.latency.add(us);
    }

    /// Somebody knows how long it takes.
    #[inline]
    pub fn tell(&self) -> bool {
        self.latency.n > 0
    }

    /// Zero in flight and loads of zero where nobody knows.
    #[inline]
    pub fn usual(&self) -> Usual {
        Usual { latency_us: self.latency.get().unwrap_or(1.0), load: self.load.get().unwrap_or(0.0) }
    }
}

#[derive(Default)]
struct Mean {
    sum: f64,
    n: u32,
}

impl Mean {
    #[inline]
    fn add(&mut self, x: f64) {
        self.sum += x;
        self.n += 1;
    }

    #[inline]
    fn get(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / f64::from(self.n))
    }
}

/// Neither is NaN, so that this is one instruction.
#[inline]
pub(super) fn larger(a: f64, b: f64) -> f64 {
    if a > b {
        a
    } else {
        b
    }
}

/// About the microseconds until one more request is answered, were all weights 1.
#[inline(always)]
pub(super) fn cost(peer: &Candidate, rule: Rule, usual: &Usual) -> f64 {
    let times = tries(peer) * strain(peer, usual) * share(peer);
    if rule == Rule::LeastRequest {
        return busy(peer.inflight, 0.0) * times;
    }
    service_us(peer, weighed_latency_us(peer, usual)) * busy(peer.inflight, per_slot(peer)) * times
}

/// By how much its weight divides the cost.
#[inline(always)]
pub(super) fn share(peer: &Candidate) -> f64 {
    // most peers weigh as much as all others, and a division is dear
    if peer.weight > 1 {
        1.0 / f64::from(peer.weight)
    } else {
        1.0
    }
}

/// How much of it one request takes; zero where nobody knows.
#[inline(always)]
pub(super) fn per_slot(peer: &Candidate) -> f64 {
    match peer.room {
        Some(room) if room.service_us > 0.0 => 1.0 / f64::from(room.slots),
        _ => 0.0,
    }
}

/// By how much those in flight multiply the time of one more.
#[inline(always)]
pub(super) fn busy(inflight: u32, per_slot: f64) -> f64 {
    let inflight = f64::from(inflight);
    if per_slot > 0.0 {
        larger(1.0 + CROWD * inflight, (inflight + 1.0) * per_slot)
    } else {
        inflight + 1.0
    }
}

/// How long a request takes there while there is room, by the latency it has; longer when those that wait have seen no answer for a long
/// time.
#[inline(always)]
pub(super) fn service_us(peer: &Candidate, latency_us: f64) -> f64 {
    let service_us = match peer.room {
        // the average counts time in the peer's queue, too
        Some(room) if room.service_us > 0.0 => larger(f64::from(room.service_us), latency_us * PEAK),
        // where nobody knows what is usual, no time is long
        _ if peer.latency_us.is_none() => return latency_us,
        _ => latency_us,
    };
    if peer.stuck_us == 0 {
        return service_us;
    }
    larger(service_us, peer.stuck_us as f64 - STUCK * service_us)
}

/// What is known of its latency gives way to what is usual, the longer nothing is heard of it.
#[inline(always)]
pub(super) fn weighed_latency_us(peer: &Candidate, usual: &Usual) -> f64 {
    let Some(us) = peer.latency_us else { return larger(usual.latency_us, 1.0) };
    let (us, silent_us) = (f64::from(us), peer.silent_us as f64);
    larger(us + (usual.latency_us - us) * (silent_us / (silent_us + FADE_US)), 1.0)
}

/// By how much failing multiplies the cost: once for the tries that are burnt and once for the time they take.
#[inline]
pub(super) fn tries(peer: &Candidate) -> f64 {
    if peer.failing == 0.0 {
        return 1.0;
    }
    let success = larger(1.0 - f64::from(peer.failing), LEAST_SUCCESS);
    1.0 / (success * success)
}

/// By how much the load that it reports multiplies its cost.
#[inline]
fn strain(peer: &Candidate, usual: &Usual) -> f64 {
    let Some((load, age_us)) = peer.load else { return 1.0 };
    let fresh = LOAD_FADE_US / (LOAD_FADE_US + age_us as f64);
    (IDLE + usual.load + (f64::from(load) - usual.load) * fresh) / (IDLE + usual.load)
}
