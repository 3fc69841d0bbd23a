//! The hot path: one proxied request, from its start to its end.
//!
//! A [`Flight`] is plain data that the caller keeps with its request; the handles in it were found once. A request counts on its
//! upstream and its keys, each try on the peer that it went to:
//!
//! ```text
//! start ── attempt ─┬─ first_byte ── end          upstream, keys: one request
//!             ▲     │                             peer: one try each
//!             └── fail (retry)
//! ```
//!
//! Nothing is counted twice when an event comes twice, and `end` closes what is open, so a cleanup may always call it.

use super::columns::{one, Level, Worker};
use super::series::{Class, Name, Peer, Shape, Upstream};
use super::table::{Kind, Ref};
use super::zone::{KeyRef, Zone};
use super::Now;

/// The most keys that one request is labelled with.
pub const MOST_KEYS: usize = 4;

const ACTIVE: u64 = one(Level::Active);
const WAITING: u64 = one(Level::Waiting);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Sent, or about to be sent.
    Waiting,
    /// The first byte of the answer is here.
    Answering,
    Ended,
}

/// One request on its way. Small, because each proxied request keeps one: its labels are kept by the caller, who has none most times.
#[derive(Clone, Copy, Debug)]
pub struct Flight<'k> {
    keys: &'k [KeyRef],
    began_us: u64,
    tried_us: u64,
    upstream: Ref<Upstream>,
    /// The open try, if any.
    peer: Ref<Peer>,
    ttfb_us: u32,
    peer_ttfb_us: u32,
    worker: Worker,
    tries: u16,
    stage: Stage,
    /// The answer is a stream: it ends when somebody stops listening.
    stream: bool,
}

/// Runs the body for the series of the upstream, the key names and the key values.
macro_rules! on_request {
    ($flight:expr, $zone:expr, $series:ident => $body:expr) => {
        if let Some($series) = $zone.series($flight.upstream) {
            $body;
        }
        for key in $flight.keys {
            if let Some($series) = $zone.series::<Name>(key.name) {
                $body;
            }
            if let Some($series) = $zone.series(key.value) {
                $body;
            }
        }
    };
}

impl<'k> Flight<'k> {
    /// A request goes to an upstream. `keys` beyond [`MOST_KEYS`] are not counted.
    #[inline]
    pub fn start(
        zone: &Zone<'_>,
        worker: Worker,
        upstream: Ref<Upstream>,
        keys: &'k [KeyRef],
        now: Now,
    ) -> Self {
        let flight = Self {
            keys: &keys[..keys.len().min(MOST_KEYS)],
            began_us: now.us,
            tried_us: now.us,
            upstream,
            peer: Ref::NONE,
            ttfb_us: 0,
            peer_ttfb_us: 0,
            worker,
            tries: 0,
            stage: Stage::Waiting,
            stream: false,
        };
        on_request!(flight, zone, series => series.arrive(now));
        flight.enter_all(zone, ACTIVE + WAITING);
        flight
    }

    /// The request, or its next try, goes to a peer. A try that is still open failed to connect.
    #[inline]
    pub fn attempt(&mut self, zone: &Zone<'_>, peer: Ref<Peer>, now: Now) {
        if self.stage == Stage::Ended {
            return;
        }
        if !self.peer.is_none() {
            self.fail(zone, Class::ConnectFailure, now);
        }
        if self.tries > 0 {
            self.retry(zone, now);
        }
        if self.stage == Stage::Answering {
            self.stage = Stage::Waiting;
            self.enter_all(zone, WAITING);
        }
        self.tries = self.tries.saturating_add(1);
        self.tried_us = now.us;
        self.peer = peer;
        if let Some(series) = zone.series(peer) {
            series.arrive(now);
        }
        self.enter(zone, peer, ACTIVE + WAITING);
    }

    #[cold]
    fn retry(&self, zone: &Zone<'_>, now: Now) {
        if let Some(series) = zone.series(self.upstream) {
            series.retry(now);
        }
    }

    /// The first byte of the answer. `connect_us` is what connecting took, `None` on a kept connection. `stream` says that the answer
    /// has no natural end (server-sent events, an upgraded connection): its latency is its time to first byte.
    #[inline]
    pub fn first_byte(&mut self, zone: &Zone<'_>, connect_us: Option<u32>, stream: bool, now: Now) {
        if self.stage != Stage::Waiting {
            return;
        }
        self.stage = Stage::Answering;
        self.stream = stream;
        self.ttfb_us = now.since(self.began_us);
        on_request!(self, zone, series => series.first_byte(now, self.ttfb_us, connect_us, stream));
        self.leave_all(zone, WAITING);
        if self.peer.is_none() {
            return;
        }
        self.peer_ttfb_us = now.since(self.tried_us);
        if let Some(series) = zone.series(self.peer) {
            series.first_byte(now, self.peer_ttfb_us, connect_us, stream);
        }
        self.leave(zone, self.peer, WAITING);
    }

    /// The open try ends without ending the request.
    pub fn fail(&mut self, zone: &Zone<'_>, class: Class, now: Now) {
        if self.peer.is_none() {
            return;
        }
        let streamed = self.stream && self.stage == Stage::Answering;
        let us = if streamed { self.peer_ttfb_us } else { now.since(self.tried_us) };
        if let Some(series) = zone.series(self.peer) {
            series.finish(now, class, us, streamed);
        }
        self.leave(zone, self.peer, if self.stage == Stage::Waiting { ACTIVE + WAITING } else { ACTIVE });
        self.peer = Ref::NONE;
    }

    /// The request ends, and with it the open try.
    #[inline]
    pub fn end(&mut self, zone: &Zone<'_>, class: Class, now: Now) {
        if self.stage == Stage::Ended {
            return;
        }
        self.fail(zone, class, now);
        let streamed = self.stream && self.stage == Stage::Answering;
        let us = if streamed { self.ttfb_us } else { now.since(self.began_us) };
        on_request!(self, zone, series => series.finish(now, class, us, streamed));
        self.leave_all(zone, if self.stage == Stage::Waiting { ACTIVE + WAITING } else { ACTIVE });
        self.stage = Stage::Ended;
    }

    /// Tokens that the request has cost, on its upstream and its keys.
    pub fn tokens(&self, zone: &Zone<'_>, n: u64, now: Now) {
        on_request!(self, zone, series => series.tokens(now, n));
    }

    pub fn upstream(&self) -> Ref<Upstream> {
        self.upstream
    }

    /// The peer of the open try.
    pub fn peer(&self) -> Option<Ref<Peer>> {
        (!self.peer.is_none()).then_some(self.peer)
    }

    /// When the request began, if it has not been tried at a peer yet: the first try begins then, too.
    #[inline]
    pub fn untried_since(&self) -> Option<Now> {
        (self.tries == 0).then(|| Now::from_us(self.began_us))
    }

    pub fn is_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    #[inline]
    fn enter<K: Kind + Shape>(&self, zone: &Zone<'_>, entry: Ref<K>, levels: u64) {
        if let (Some(entity), false) = (zone.entity(entry), entry.is_none()) {
            zone.columns().enter(self.worker, entity, entry.gen(), levels);
        }
    }

    #[inline]
    fn leave<K: Kind + Shape>(&self, zone: &Zone<'_>, entry: Ref<K>, levels: u64) {
        if let (Some(entity), false) = (zone.entity(entry), entry.is_none()) {
            zone.columns().leave(self.worker, entity, entry.gen(), levels);
        }
    }

    /// The words of the upstream, the key names and the key values in a column.
    #[inline(always)]
    fn each(&self, zone: &Zone<'_>, mut count: impl FnMut(usize, u16)) {
        let mut one = |entity: Option<usize>, gen| entity.into_iter().for_each(|entity| count(entity, gen));
        one(zone.entity(self.upstream), self.upstream.gen());
        for key in self.keys {
            one(zone.entity(key.name), key.name.gen());
            one(zone.entity(key.value), key.value.gen());
        }
    }

    #[inline(always)]
    fn enter_all(&self, zone: &Zone<'_>, levels: u64) {
        self.each(zone, |entity, gen| zone.columns().enter(self.worker, entity, gen, levels));
    }

    #[inline(always)]
    fn leave_all(&self, zone: &Zone<'_>, levels: u64) {
        self.each(zone, |entity, gen| zone.columns().leave(self.worker, entity, gen, levels));
    }
}

/// A request that is held before it is proxied.
#[derive(Clone, Copy, Debug)]
pub struct Queued {
    worker: Worker,
    upstream: Ref<Upstream>,
    open: bool,
}

impl Queued {
    pub fn start(zone: &Zone<'_>, worker: Worker, upstream: Ref<Upstream>) -> Self {
        if let Some(entity) = zone.entity(upstream) {
            zone.columns().enter(worker, entity, upstream.gen(), one(Level::Queued));
        }
        Self { worker, upstream, open: true }
    }

    /// It is let go, whatever becomes of it.
    pub fn end(&mut self, zone: &Zone<'_>) {
        if let (true, Some(entity)) = (std::mem::take(&mut self.open), zone.entity(self.upstream)) {
            zone.columns().leave(self.worker, entity, self.upstream.gen(), one(Level::Queued));
        }
    }
}

/// A request that the gateway refuses: counted on its upstream and its keys.
pub fn reject(zone: &Zone<'_>, upstream: Ref<Upstream>, keys: &[KeyRef], now: Now) {
    if let Some(series) = zone.series(upstream) {
        series.reject(now);
    }
    for key in keys {
        if let Some(series) = zone.series(key.name) {
            series.reject(now);
        }
        if let Some(series) = zone.series(key.value) {
            series.reject(now);
        }
    }
}

#[cfg(test)]
mod tests;
