//! Words beside the series of an upstream or a peer: what the inner loop has learnt of it, and every worker goes by.
//!
//! They are zero when the place has a new owner and are kept over reloads. Who owns which range is said here; what the words mean is
//! said by the owners. Like all of the zone they are written by atomics, and a worker killed between two writes leaves what its owner's
//! code can still read.

use super::Zone;
use crate::autoscale::eject::{self, Phase, Standing};
use crate::autoscale::metrics::series::{Peer, Shape, Upstream};
use crate::autoscale::metrics::table::{Kind, Ref};
use crate::autoscale::metrics::word::{get, put, Word};
use crate::autoscale::metrics::Now;
use std::ops::Range;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// An entry with words beside its series.
pub trait Sided: Kind + Shape {
    const SIDE_WORDS: usize;
}

impl Sided for Upstream {
    const SIDE_WORDS: usize = 72;
}

impl Sided for Peer {
    const SIDE_WORDS: usize = 36;
}

/// Ranges of a peer's words.
pub mod of_peer {
    use super::Range;
    pub const BALANCE: Range<usize> = 0..8;
    pub const EJECT: Range<usize> = 8..20;
    pub const LIMIT: Range<usize> = 20..33;
    pub const MEMBER: Range<usize> = 33..36;
}

/// Ranges of an upstream's words.
pub mod of_upstream {
    use super::Range;
    /// What its peers have in common.
    pub const ALIKE: usize = 0;
    pub const QUEUE: Range<usize> = 12..24;
    pub const EJECT: Range<usize> = 24..40;
    pub const BALANCE: Range<usize> = 40..48;
    pub const MEMBERS: Range<usize> = 48..64;
    /// How far the split is that moves the upstream.
    pub const SPLIT: Range<usize> = 64..72;
}

/// Whether a peer's own answers speak for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Well,
    /// Nothing is sent to it for a while.
    Ejected,
    /// It gets a little, to show whether it is well again.
    Probation,
}

pub(super) fn clear<S: Sided>(words: &[Word]) {
    words[S::WORDS..].iter().for_each(|word| put(word, 0));
}

impl<'a> Zone<'a> {
    /// The words beside an entry, `None` when its place has a new owner.
    #[inline]
    pub fn side<S: Sided>(&self, entry: Ref<S>) -> Option<&'a [Word]> {
        self.is_current(entry).then(|| &self.data::<S>(entry.index())[S::WORDS..])
    }

    /// Whether a peer's own answers speak for it, as far as that is to be obeyed.
    #[inline]
    pub fn health(&self, peer: Ref<Peer>, now: Now) -> Health {
        match self.side(peer).map(|side| side[of_peer::EJECT.start].load(Acquire)) {
            Some(word) if !Standing::is_well(word) => self.troubled(peer, word, now),
            _ => Health::Well,
        }
    }

    #[cold]
    fn troubled(&self, peer: Ref<Peer>, word: u64, now: Now) -> Health {
        let owner = self.table::<Peer>().owner(peer) as usize;
        let upstream = &self.data::<Upstream>(owner)[Upstream::WORDS + of_upstream::EJECT.start..];
        if upstream[eject::of_upstream::IGNORED].load(Acquire) > now.us / 1000 {
            return Health::Well;
        }
        Health::of(word, now)
    }

    /// Whether an answer of the peer changes nothing about its health.
    #[inline]
    pub fn is_untroubled(&self, peer: Ref<Peer>) -> bool {
        let word = self.side(peer).map_or(0, |side| side[of_peer::EJECT.start].load(Acquire));
        Standing::is_untroubled(word)
    }

    /// Whether a peer's own answers speak for it, be that obeyed or not.
    pub fn standing(&self, peer: Ref<Peer>, now: Now) -> Health {
        self.side(peer).map_or(Health::Well, |side| {
            Health::of(side[of_peer::EJECT.start + eject::of_peer::STANDING].load(Acquire), now)
        })
    }

    /// Has the ejections of an upstream ignored, for as long as nobody counts who is left.
    pub fn ignore_ejections(&self, upstream: Ref<Upstream>) {
        if let Some(side) = self.side(upstream) {
            side[of_upstream::EJECT.start + eject::of_upstream::IGNORED].store(u64::MAX, Release);
        }
    }

    /// How often a peer was ejected.
    pub fn ejections(&self, peer: Ref<Peer>) -> u64 {
        self.side(peer).map_or(0, |side| get(&side[of_peer::EJECT.start + eject::of_peer::EJECTIONS]))
    }

    /// Until when the ejections of an upstream are ignored, in milliseconds; zero is not at all, the largest number until others say so.
    pub fn ignored_until_ms(&self, upstream: Ref<Upstream>) -> u64 {
        let word = eject::of_upstream::IGNORED + of_upstream::EJECT.start;
        self.side(upstream).map_or(0, |side| side[word].load(Acquire))
    }

    /// The word by which workers take turns at checking an upstream's peers.
    pub fn checking(&self, upstream: Ref<Upstream>) -> Option<&'a Word> {
        Some(&self.side(upstream)?[of_upstream::EJECT.start + eject::of_upstream::CHECKING])
    }

    /// When the time of an ejected peer is over, in milliseconds.
    pub fn ejected_until_ms(&self, peer: Ref<Peer>) -> Option<u64> {
        let standing = Standing::of(self.side(peer)?[of_peer::EJECT.start].load(Acquire));
        (standing.phase == Phase::Ejected).then_some(standing.at_ms)
    }

    /// An upstream ejects nobody any more: who was ejected is well.
    pub fn forget_ejections(&self, upstream: Ref<Upstream>) -> bool {
        let mut changed = false;
        for peer in self.all_peers(upstream) {
            if let Some(side) = self.side(peer) {
                changed |= side[of_peer::EJECT.start].swap(0, AcqRel) & 3 != 0;
            }
        }
        changed
    }
}

impl Health {
    fn of(word: u64, now: Now) -> Self {
        match Standing::of(word).at(now.us / 1000).phase {
            Phase::Well | Phase::Claimed => Self::Well,
            Phase::Ejected => Self::Ejected,
            Phase::Probation => Self::Probation,
        }
    }
}
