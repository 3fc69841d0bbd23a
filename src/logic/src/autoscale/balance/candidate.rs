//! A peer as the rule sees it.

use super::{Memory, Rule, Settings};
use crate::autoscale::limit::Room;
use crate::autoscale::metrics::ewma::TAU_US;
use crate::autoscale::metrics::series::{Peer, Time};
use crate::autoscale::metrics::table::Ref;
use crate::autoscale::metrics::zone::{Health, State, Zone};
use crate::autoscale::metrics::Now;

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
/// Envoy's slow start begins with a tenth of the weight, too.
const LEAST_RAMP: f32 = 0.1;
/// What a load of zero still costs, so that a peer which calls itself idle does not get everything.
const IDLE: f64 = 0.25;

/// What the rule looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Moving average; `None` before the first answer.
    pub latency_us: Option<f32>,
    /// Since the latency was last fed.
    pub silent_us: u64,
    /// Share of failing tries, 0 to 1, of late.
    pub failing: f32,
    pub inflight: u32,
    /// Of those in flight, how many wait for the first byte of their answer,
    pub waiting: u32,
    /// and for how long they have seen nobody get one.
    pub stuck_us: u64,
    pub weight: u16,
    /// At most so many in flight, as somebody has said; zero is no limit.
    pub limit: u32,
    /// What was learnt about how many it takes at a time; `None` where that is not to hold.
    pub room: Option<Room>,
    /// How many of those places are taken: what is in flight without streams that have begun.
    pub occupied: u32,
    /// The load that it reports, and how many microseconds ago.
    pub load: Option<(f32, u64)>,
    /// The share of its weight that it has while it starts slowly, 0 to 1.
    pub ramp: f32,
    pub state: State,
    pub health: Health,
    /// The caller does not want it (it was tried already).
    pub excluded: bool,
}

/// What is usual among the candidates, for those of which nothing is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual {
    pub latency_us: f64,
    pub load: f64,
}

impl Usual {
    /// The averages over those that are up; zero in flight and loads of zero where nobody knows.
    pub fn of(all: &[Candidate]) -> Self {
        let (mut latency, mut loads) = (Mean::default(), Mean::default());
        for peer in all.iter().filter(|peer| peer.is_up()) {
            peer.latency_us.into_iter().for_each(|us| latency.add(us));
            peer.load.into_iter().for_each(|(load, _)| loads.add(load));
        }
        Self { latency_us: latency.get().unwrap_or(1.0), load: loads.get().unwrap_or(0.0) }
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

    fn get(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / f64::from(self.n))
    }
}

impl Candidate {
    /// A peer of which nothing is known.
    pub const fn new(weight: u16) -> Self {
        Self {
            latency_us: None,
            silent_us: 0,
            failing: 0.0,
            inflight: 0,
            waiting: 0,
            stuck_us: 0,
            weight,
            limit: 0,
            room: None,
            occupied: 0,
            load: None,
            ramp: 1.0,
            state: State::Up,
            health: Health::Well,
            excluded: false,
        }
    }

    /// A peer as the zone knows it; `weight` is the configured one, which an override replaces. `None` when the peer is gone.
    pub fn of(zone: &Zone<'_>, peer: Ref<Peer>, weight: u16, now: Now) -> Option<Self> {
        let series = zone.series(peer)?;
        let control = zone.control(peer);
        let levels = zone.levels(peer);
        Some(Self {
            latency_us: series.ewma(Time::Latency),
            silent_us: now.us.saturating_sub(series.last_us()),
            failing: series.failing(now),
            inflight: levels.active,
            waiting: levels.waiting,
            limit: control.limit,
            state: control.says(),
            health: zone.health(peer, now),
            ..Self::new(if control.weight > 0 { control.weight } else { weight })
        })
    }

    /// The same with what the method keeps of the peer.
    #[inline]
    pub fn recall(mut self, memory: &Memory<'_>, settings: &Settings, now: Now) -> Self {
        self.latency_us = memory.latency_us();
        self.silent_us = memory.silent_us(now);
        self.failing = memory.failing(now);
        self.stuck_us = if self.waiting > 0 { memory.stuck_us(now) } else { 0 };
        self.ramp = memory.ramp(settings, now);
        if settings.feedback.is_some() {
            self.load = memory.load(now);
        }
        self
    }

    /// It could take requests, now or when it has room again.
    #[inline]
    pub(super) fn is_up(&self) -> bool {
        self.state == State::Up && self.health != Health::Ejected && !self.excluded
    }

    /// One more request is within the limits that were said.
    #[inline]
    pub(super) fn has_leave(&self) -> bool {
        let said = if self.limit == 0 { u32::MAX } else { self.limit };
        let proving = if self.health == Health::Probation { 1 } else { u32::MAX };
        self.inflight < said.min(proving)
    }

    /// It is within what was learnt, too.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.has_leave() && self.room.is_none_or(|room| self.occupied < room.limit)
    }

    /// It can be chosen now.
    pub fn is_eligible(&self) -> bool {
        self.is_up() && self.has_leave()
    }

    /// A peer that starts slowly takes part in as many choices as its share of the weight says.
    #[inline]
    pub(super) fn is_its_turn(&self, random: u64) -> bool {
        self.ramp >= 1.0 || ((random >> 40) as f32) < self.ramp.max(LEAST_RAMP) * (1 << 24) as f32
    }

    #[inline]
    pub(super) fn latency(&self, usual: &Usual) -> f64 {
        let faded = self.silent_us as f64 / (self.silent_us as f64 + FADE_US);
        let known = |us: f32| f64::from(us) + (usual.latency_us - f64::from(us)) * faded;
        self.latency_us.map_or(usual.latency_us, known).max(1.0)
    }

    /// By how much failing multiplies the cost: once for the tries that are burnt and once for the time they take.
    #[inline]
    pub(super) fn tries(&self) -> f64 {
        if self.failing == 0.0 {
            return 1.0;
        }
        let success = (1.0 - f64::from(self.failing)).max(LEAST_SUCCESS);
        1.0 / (success * success)
    }

    /// How long a request takes here while there is room, and longer when those that wait have seen no answer for a long time.
    #[inline]
    pub(super) fn service(&self, latency_us: f64) -> f64 {
        let learnt = self.room.map_or(0.0, |room| f64::from(room.service_us));
        // the average counts time in the peer's queue, too
        let usual = if learnt > 0.0 { learnt.max(latency_us * PEAK) } else { latency_us };
        // where nobody knows what is usual, no time is long
        if learnt > 0.0 || self.latency_us.is_some() {
            usual.max(self.stuck_us as f64 - STUCK * usual)
        } else {
            usual
        }
    }

    /// What the next request would cost here: about the microseconds until it is answered, were all weights 1.
    #[inline]
    pub(super) fn cost(&self, rule: Rule, usual: &Usual) -> f64 {
        let turn = f64::from(self.inflight) + 1.0;
        let time = match (rule, self.room) {
            (Rule::LeastRequest, _) => turn,
            (Rule::PeakEwma, Some(room)) if room.service_us > 0.0 => {
                let busy = (1.0 + CROWD * (turn - 1.0)).max(turn / f64::from(room.slots.max(1)));
                self.service(self.latency(usual)) * busy
            }
            (Rule::PeakEwma, _) => self.service(self.latency(usual)) * turn,
        };
        time * self.strain(usual) * self.tries() / f64::from(self.weight.max(1))
    }

    /// By how much the load that it reports multiplies its cost.
    #[inline]
    fn strain(&self, usual: &Usual) -> f64 {
        self.load.map_or(1.0, |(load, age_us)| {
            let fresh = LOAD_FADE_US / (LOAD_FADE_US + age_us as f64);
            (IDLE + usual.load + (f64::from(load) - usual.load) * fresh) / (IDLE + usual.load)
        })
    }
}
