//! What the next request costs at a peer: first what the peer says by itself, then what that comes to beside the others.

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
const STUCK: f64 = 3.0;
/// By how much each request in flight delays the next one while there is room: less than a slot's worth, and more than the error of a
/// learnt service time.
const CROWD: f64 = 0.5;
/// What a load of zero still costs, so that a peer which calls itself idle does not get everything.
const IDLE: f64 = 0.25;

/// What is usual among the candidates, for those of which nothing is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual {
    pub latency_us: f64,
    pub load: f64,
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
        peer.latency_us.into_iter().for_each(|us| self.latency.add(us));
        peer.load.into_iter().for_each(|(load, _)| self.load.add(load));
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
    fn add(&mut self, x: f32) {
        self.sum += f64::from(x);
        self.n += 1;
    }

    #[inline]
    fn get(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / f64::from(self.n))
    }
}

/// Neither is NaN, so that this is one instruction.
#[inline]
fn larger(a: f64, b: f64) -> f64 {
    if a > b {
        a
    } else {
        b
    }
}

/// How long a request takes at a peer while there is room, by the latency that the peer has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// Zero where it is not known.
    learnt_us: f64,
    /// How much of the latency counts beside it.
    part: f64,
    /// For how long nobody has got an answer.
    stuck_us: f64,
}

impl Service {
    #[inline(always)]
    pub fn of(peer: &Candidate) -> Self {
        let learnt_us = peer.room.map_or(0.0, |room| f64::from(room.service_us));
        // where nobody knows what is usual, no time is long
        let tells = learnt_us > 0.0 || peer.latency_us.is_some();
        Self {
            learnt_us,
            // the average counts time in the peer's queue, too
            part: if learnt_us > 0.0 { PEAK } else { 1.0 },
            stuck_us: if tells { peer.stuck_us as f64 } else { 0.0 },
        }
    }

    /// Longer when those that wait have seen no answer for a long time.
    #[inline]
    pub fn us(&self, latency_us: f64) -> f64 {
        let usual = larger(self.learnt_us, latency_us * self.part);
        larger(usual, self.stuck_us - STUCK * usual)
    }
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

/// What a peer says by itself of the cost of one more request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    latency_us: f64,
    /// How much of what is usual has taken its place, 0 to 1.
    faded: f64,
    service: Service,
    /// What multiplies the service.
    factor: f64,
    load: f64,
    /// How much the load counts, 0 to 1.
    fresh: f64,
}

impl Offer {
    /// Takes a microsecond, whatever is usual.
    pub const NONE: Self = Self {
        latency_us: 1.0,
        faded: 0.0,
        service: Service { learnt_us: 0.0, part: 1.0, stuck_us: 0.0 },
        factor: 1.0,
        load: 0.0,
        fresh: 0.0,
    };

    #[inline(always)]
    pub fn of(peer: &Candidate, rule: Rule) -> Self {
        let turn = f64::from(peer.inflight) + 1.0;
        let times = tries(peer) / f64::from(peer.weight.max(1));
        let (load, fresh) = peer.load.map_or((0.0, 0.0), |(load, age_us)| {
            (f64::from(load), LOAD_FADE_US / (LOAD_FADE_US + age_us as f64))
        });
        if rule == Rule::LeastRequest {
            return Self { factor: turn * times, load, fresh, ..Self::NONE };
        }
        let (latency_us, faded) = peer.latency_us.map_or((0.0, 1.0), |us| {
            let silent_us = peer.silent_us as f64;
            (f64::from(us), silent_us / (silent_us + FADE_US))
        });
        let busy = match peer.room {
            Some(room) if room.service_us > 0.0 => {
                larger(1.0 + CROWD * (turn - 1.0), turn / f64::from(room.slots.max(1)))
            }
            _ => turn,
        };
        Self { latency_us, faded, service: Service::of(peer), factor: busy * times, load, fresh }
    }

    /// About the microseconds until it is answered, were all weights 1.
    #[inline]
    pub fn cost(&self, usual: &Usual) -> f64 {
        let latency_us = larger(self.latency_us + (usual.latency_us - self.latency_us) * self.faded, 1.0);
        self.service.us(latency_us) * self.factor * self.strain(usual)
    }

    /// By how much the load that it reports multiplies its cost.
    #[inline]
    fn strain(&self, usual: &Usual) -> f64 {
        if self.fresh == 0.0 {
            return 1.0;
        }
        (IDLE + usual.load + (self.load - usual.load) * self.fresh) / (IDLE + usual.load)
    }
}
