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
use super::series::{Class, Peer, Series, Shape, Upstream};
use super::table::{Kind, Ref};
use super::zone::{KeyRef, Zone};
use super::Now;

/// The most keys that one request is labelled with.
pub const MOST_KEYS: usize = 4;

const ACTIVE: u64 = one(Level::Active);
const WAITING: u64 = one(Level::Waiting);
/// Of a peer, for which nobody queues: see [`Zone::occupied`].
const STREAMING: u64 = one(Level::Queued);

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
    /// The last try was none: the one that follows is no retry.
    given_back: bool,
    /// How the last try failed, when no other one has followed.
    failed: Option<Class>,
}

/// What happens to a request, on the series of its upstream and of its keys.
#[derive(Clone, Copy)]
enum Moment {
    Start,
    FirstByte { us: u32, connect_us: Option<u32>, stream: bool },
    End { class: Class, us: u32, streamed: bool },
    Tokens(u64),
}

impl Moment {
    #[inline(always)]
    fn count<S: Shape>(self, series: &Series<'_, S>, now: Now) {
        match self {
            Self::Start => series.arrive(now),
            Self::FirstByte { us, connect_us, stream } => series.first_byte(now, us, connect_us, stream),
            Self::End { class, us, streamed } => series.finish(now, class, us, streamed),
            Self::Tokens(n) => series.tokens(now, n),
        }
    }
}

/// What a moment changes of what is in flight.
#[derive(Clone, Copy)]
enum Change {
    Enter(u64),
    Leave(u64),
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
            given_back: false,
            failed: None,
        };
        flight.count(zone, Moment::Start, Change::Enter(ACTIVE + WAITING), now);
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
        if self.tries > 0 && !self.given_back {
            self.retry(zone, now);
        }
        self.given_back = false;
        if self.stage == Stage::Answering {
            self.stage = Stage::Waiting;
            self.change_all(zone, Change::Enter(WAITING));
        }
        self.tries = self.tries.saturating_add(1);
        self.tried_us = now.us;
        self.failed = None;
        self.peer = peer;
        if let Some(series) = zone.series(peer) {
            series.arrive(now);
        }
        self.change(zone, peer, Change::Enter(ACTIVE + WAITING));
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
        let moment = Moment::FirstByte { us: self.ttfb_us, connect_us, stream };
        self.count(zone, moment, Change::Leave(WAITING), now);
        if self.peer.is_none() {
            return;
        }
        self.peer_ttfb_us = now.since(self.tried_us);
        if let Some(series) = zone.series(self.peer) {
            series.first_byte(now, self.peer_ttfb_us, connect_us, stream);
        }
        self.change(zone, self.peer, Change::Leave(WAITING));
        if stream {
            self.change(zone, self.peer, Change::Enter(STREAMING));
        }
    }

    /// The open try ends without ending the request.
    pub fn fail(&mut self, zone: &Zone<'_>, class: Class, now: Now) {
        if self.peer.is_none() {
            return;
        }
        let streamed = self.stream && self.stage == Stage::Answering;
        let us = self.lasted(now);
        if let Some(series) = zone.series(self.peer) {
            series.finish(now, class, us, streamed);
        }
        self.change(zone, self.peer, self.rest());
        if streamed {
            self.change(zone, self.peer, Change::Leave(STREAMING));
        }
        self.peer = Ref::NONE;
        self.failed = Some(class);
    }

    /// The try that has just failed was none: its connection had been closed while nobody used it.
    pub fn give_back(&mut self) {
        self.given_back = true;
    }

    /// How long the open try has taken; the time to the first byte of a stream.
    #[inline]
    fn lasted(&self, now: Now) -> u32 {
        let streamed = self.stream && self.stage == Stage::Answering;
        if streamed {
            self.peer_ttfb_us
        } else {
            now.since(self.tried_us)
        }
    }

    /// The peer of the open try, and how long that has taken.
    #[inline]
    pub fn tried(&self, now: Now) -> Option<(Ref<Peer>, u32)> {
        (!self.peer.is_none()).then(|| (self.peer, self.lasted(now)))
    }

    /// How the last try failed, if nothing came of the request after it.
    pub fn failed(&self) -> Option<Class> {
        self.failed
    }

    /// What is left to take away when something ends.
    #[inline]
    fn rest(&self) -> Change {
        Change::Leave(if self.stage == Stage::Waiting { ACTIVE + WAITING } else { ACTIVE })
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
        self.count(zone, Moment::End { class, us, streamed }, self.rest(), now);
        self.stage = Stage::Ended;
    }

    /// Tokens that the request has cost, on its upstream and its keys.
    pub fn tokens(&self, zone: &Zone<'_>, n: u64, now: Now) {
        self.count(zone, Moment::Tokens(n), Change::Enter(0), now);
    }

    pub fn upstream(&self) -> Ref<Upstream> {
        self.upstream
    }

    /// The peer of the open try.
    pub fn peer(&self) -> Option<Ref<Peer>> {
        (!self.peer.is_none()).then_some(self.peer)
    }

    /// When the last try began.
    #[inline]
    pub fn tried_us(&self) -> u64 {
        self.tried_us
    }

    /// When the request began, if it has not been tried at a peer yet: the first try begins then, too.
    #[inline]
    pub fn untried_since(&self) -> Option<Now> {
        (self.tries == 0).then(|| Now::from_us(self.began_us))
    }

    /// The first byte of a stream has come: what there is to learn of it is learnt.
    pub fn is_streaming(&self) -> bool {
        self.stream && self.stage == Stage::Answering
    }

    pub fn is_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    #[inline(always)]
    fn count(&self, zone: &Zone<'_>, moment: Moment, change: Change, now: Now) {
        if let Some(series) = zone.series(self.upstream) {
            moment.count(&series, now);
        }
        self.change(zone, self.upstream, change);
        if !self.keys.is_empty() {
            self.count_keys(zone, moment, change, now);
        }
    }

    /// Apart, so that a request without labels does not pay for them.
    #[inline(never)]
    fn count_keys(&self, zone: &Zone<'_>, moment: Moment, change: Change, now: Now) {
        for key in self.keys {
            if let Some(series) = zone.series(key.name) {
                moment.count(&series, now);
            }
            if let Some(series) = zone.series(key.value) {
                moment.count(&series, now);
            }
        }
        self.change_keys(zone, change);
    }

    #[inline(never)]
    fn change_keys(&self, zone: &Zone<'_>, change: Change) {
        for key in self.keys {
            self.change(zone, key.name, change);
            self.change(zone, key.value, change);
        }
    }

    #[cold]
    fn change_all(&self, zone: &Zone<'_>, change: Change) {
        self.change(zone, self.upstream, change);
        self.change_keys(zone, change);
    }

    #[inline(always)]
    fn change<K: Kind>(&self, zone: &Zone<'_>, entry: Ref<K>, change: Change) {
        if let (Some(entity), false) = (zone.entity(entry), entry.is_none()) {
            match change {
                Change::Enter(levels) => zone.columns().enter(self.worker, entity, entry.gen(), levels),
                Change::Leave(levels) => zone.columns().leave(self.worker, entity, entry.gen(), levels),
            }
        }
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
