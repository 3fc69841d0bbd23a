//! A peer as the rule sees it.

use super::{Memory, Settings};
use crate::autoscale::limit::Room;
use crate::autoscale::metrics::series::{Peer, Time};
use crate::autoscale::metrics::table::Ref;
use crate::autoscale::metrics::zone::{Health, State, Zone};
use crate::autoscale::metrics::Now;

/// Envoy's slow start begins with a tenth of the weight, too.
const LEAST_RAMP: f32 = 0.1;
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

impl Candidate {
    /// A peer of which nothing is known.
    #[inline(always)]
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
    #[inline(always)]
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

    /// Nothing is known of how long it takes.
    #[inline]
    pub(super) fn is_unknown(&self) -> bool {
        self.latency_us.is_none() && self.room.is_none_or(|room| room.service_us <= 0.0)
    }

    /// One more request is within the limits that were said.
    #[inline]
    pub(super) fn has_leave(&self) -> bool {
        let is_within_said = self.limit == 0 || self.inflight < self.limit;
        is_within_said && (self.health != Health::Probation || self.inflight == 0)
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
}
