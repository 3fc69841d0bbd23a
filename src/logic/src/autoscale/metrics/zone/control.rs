//! What is said about peers and pools: one word each, changed by compare and swap, so that two who speak at once are both heard.

use super::member::is_configured;
use super::{Zone, CONTROLS};
use crate::autoscale::metrics::series::{Peer, Upstream};
use crate::autoscale::metrics::table::Ref;
use crate::autoscale::metrics::word::{get, Word};
use crate::autoscale::metrics::Now;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// Marks beside the override of a peer, and alone in the same word of an upstream: the configuration names it,
pub(super) const CONFIGURED: u64 = 1 << 8;
/// or did so once and does no more. It is not listed, and keeps its history until it comes back or all windows are empty.
pub(super) const GONE: u64 = 1 << 9;
/// Of an upstream: it is a pool, and the upper half says of how many peers.
const POOL: u64 = 1 << 10;

/// Whether a peer takes requests, and if not, why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Up,
    Down,
    /// Nothing new is sent; what is in flight ends.
    Drain,
    /// Its pool does not need it now. Only pools say so.
    Standby,
}

/// What a peer does in its pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duty {
    /// It is in none, or new there.
    #[default]
    None,
    Active,
    /// `since` counts seconds and turns after [`Duty::TURN_S`].
    Drain {
        since: u16,
    },
    Standby,
}

/// What is said about a peer, by whoever sets it and by its pool. Zero means what the configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    pub state: State,
    /// The state was asked for: it holds even where the configuration says `down`.
    pub forced: bool,
    pub weight: u16,
    pub limit: u32,
    pub duty: Duty,
    /// It was added while nginx runs, and nobody names it any more.
    pub leaving: bool,
}

impl Duty {
    /// A drain must be seen to end within this time.
    pub const TURN_S: u64 = 512;
    /// Three bits and six: what the override and the marks leave.
    const BITS: u64 = 0b1111_1000 | 0b1111_1100 << 8;

    /// A drain that begins.
    pub fn drain(now: Now) -> Self {
        Self::Drain { since: (now.s() % Self::TURN_S) as u16 }
    }

    /// How many seconds ago a drain began.
    pub fn age_s(since: u16, now: Now) -> u64 {
        (now.s() % Self::TURN_S + Self::TURN_S - u64::from(since)) % Self::TURN_S
    }

    /// The pool has nothing sent to it.
    pub fn is_out(self) -> bool {
        matches!(self, Self::Drain { .. } | Self::Standby)
    }

    fn to_bits(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Active => 1 << 3,
            Self::Standby => 2 << 3,
            Self::Drain { since } => 3 << 3 | u64::from(since & 7) << 5 | u64::from(since >> 3 & 63) << 10,
        }
    }

    fn of(bits: u64) -> Self {
        match bits >> 3 & 3 {
            0 => Self::None,
            1 => Self::Active,
            2 => Self::Standby,
            _ => Self::Drain { since: (bits >> 5 & 7 | (bits >> 10 & 63) << 3) as u16 },
        }
    }
}

impl Control {
    /// What somebody has said; the pool has no say then.
    pub fn set(&self) -> Option<State> {
        (self.forced || self.state != State::Up).then_some(self.state)
    }

    /// What holds.
    pub fn says(&self) -> State {
        if self.leaving {
            return State::Drain;
        }
        self.set().unwrap_or(match self.duty {
            Duty::None | Duty::Active => State::Up,
            Duty::Drain { .. } => State::Drain,
            Duty::Standby => State::Standby,
        })
    }

    /// The override alone.
    fn to_bits(self) -> u64 {
        let state = self.state as u64 & 3 | u64::from(self.forced) << 2;
        state | u64::from(self.weight) << 16 | u64::from(self.limit) << 32
    }

    fn of(bits: u64) -> Self {
        let state = match bits & 3 {
            1 => State::Down,
            2 => State::Drain,
            _ => State::Up,
        };
        let (weight, limit) = ((bits >> 16) as u16, (bits >> 32) as u32);
        Self { state, forced: bits >> 2 & 1 == 1, weight, limit, duty: Duty::of(bits), leaving: false }
    }
}

impl Zone<'_> {
    /// The override of a peer.
    pub fn control(&self, peer: Ref<Peer>) -> Control {
        let table = self.table::<Peer>();
        if table.is_current(peer) {
            let bits = get(table.control(peer.index()));
            let leaving = self.member(peer).is_some_and(|member| member.draining) && !is_configured(bits);
            Control { leaving, ..Control::of(bits) }
        } else {
            Control::default()
        }
    }

    /// Sets the override of a peer; false when the peer is gone. What its pool says stays.
    pub fn set_control(&self, peer: Ref<Peer>, control: Control) -> bool {
        const KEPT: u64 = CONFIGURED | GONE | Duty::BITS;
        let table = self.table::<Peer>();
        let is_current = table.is_current(peer);
        if is_current {
            self.change(table.control(peer.index()), |seen| Some(control.to_bits() | seen & KEPT));
        }
        is_current
    }

    /// Has a peer do `after` in its pool; false when it does not do `before` any more.
    pub fn set_duty(&self, peer: Ref<Peer>, before: Duty, after: Duty) -> bool {
        let table = self.table::<Peer>();
        let change = |seen| (Duty::of(seen) == before).then_some(seen & !Duty::BITS | after.to_bits());
        table.is_current(peer) && self.change(table.control(peer.index()), change)
    }

    /// How many peers of a pool take requests; `None` for an upstream that is none.
    pub fn pool(&self, upstream: Ref<Upstream>) -> Option<u32> {
        let table = self.table::<Upstream>();
        let bits = get(table.control(upstream.index()));
        (table.is_current(upstream) && bits & POOL != 0).then_some((bits >> 32) as u32)
    }

    /// Makes an upstream a pool of so many, or no pool, if it still is what it was `before`; false when it is not.
    pub fn set_pool(&self, upstream: Ref<Upstream>, before: Option<u32>, wanted: Option<u32>) -> bool {
        const OURS: u64 = POOL | 0xffff_ffff << 32;
        let bits = |wanted: Option<u32>| wanted.map_or(0, |n| POOL | u64::from(n) << 32);
        let change = |seen| (seen & OURS == bits(before)).then_some(seen & !OURS | bits(wanted));
        let table = self.table::<Upstream>();
        table.is_current(upstream) && self.change(table.control(upstream.index()), change)
    }

    /// Changes a control word to what `f` makes of it and lets everybody know; false when that is nothing.
    fn change(&self, word: &Word, f: impl Fn(u64) -> Option<u64>) -> bool {
        let changed = word.fetch_update(AcqRel, Acquire, f).is_ok();
        if changed {
            self.changed_controls();
        }
        changed
    }

    /// Every override, by upstream and address, as a word that [`Zone::restore_control`] takes.
    pub fn overrides(&self) -> Vec<(Vec<u8>, Vec<u8>, u64)> {
        let mut all = Vec::new();
        for upstream in self.upstreams() {
            let peers = self.peers(upstream).into_iter();
            for (peer, control) in
                peers.map(|peer| (peer, self.control(peer))).filter(|(_, c)| c.to_bits() != 0)
            {
                if let (Some(name), Some(addr)) = (self.name(upstream), self.name(peer)) {
                    all.push((name, addr, control.to_bits()));
                }
            }
        }
        all
    }

    /// Sets an override to what it was.
    pub fn restore_control(&self, peer: Ref<Peer>, bits: u64) -> bool {
        self.set_control(peer, Control::of(bits))
    }

    /// A number that changes whenever something is said about a peer, by whomever.
    #[inline]
    pub fn controls(&self) -> u64 {
        self.words[CONTROLS].load(Acquire)
    }

    /// Lets every worker know that something about peers has changed that is not in their control words.
    pub fn changed_controls(&self) {
        self.words[CONTROLS].fetch_add(1, AcqRel);
    }
}
