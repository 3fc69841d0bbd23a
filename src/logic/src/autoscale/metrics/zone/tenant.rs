//! A peer's words, found once.

use super::{is_current, of_peer, Sided, Zone};
use crate::autoscale::balance::Memory;
use crate::autoscale::limit::Learnt;
use crate::autoscale::metrics::columns::{Columns, Levels, Worker};
use crate::autoscale::metrics::series::Peer;
use crate::autoscale::metrics::table::{Kind, Ref};
use crate::autoscale::metrics::word::Word;

/// A peer for those who look at it again and again: where its words are need not be worked out each time.
#[derive(Clone, Copy)]
pub struct Tenant<'a> {
    entry: Ref<Peer>,
    /// Says whether it still has its place.
    state: &'a Word,
    side: &'a [Word; Peer::SIDE_WORDS],
    /// Its number in a column.
    entity: usize,
}

impl<'a> Zone<'a> {
    /// `None` when the peer's place has a new owner.
    #[inline]
    pub fn tenant(&self, entry: Ref<Peer>) -> Option<Tenant<'a>> {
        let side = self.side(entry)?.try_into().ok()?;
        let state = self.states[Peer::TABLE].get(entry.index())?;
        Some(Tenant { entry, state, side, entity: self.entity(entry)? })
    }
}

impl<'a> Tenant<'a> {
    #[inline]
    pub fn entry(&self) -> Ref<Peer> {
        self.entry
    }

    /// Whether it still has its place.
    #[inline]
    pub fn is_current(&self) -> bool {
        is_current(self.state, self.entry)
    }

    /// What the rule of balancing keeps of it.
    #[inline]
    pub fn memory(&self) -> Memory<'a> {
        Memory::over(&self.side[of_peer::BALANCE])
    }

    /// How many requests it takes, as far as that was learnt.
    #[inline]
    pub fn learnt(&self) -> Learnt<'a> {
        Learnt::over(&self.side[of_peer::LIMIT])
    }

    /// What it has in flight in the first `used` columns.
    #[inline]
    pub fn levels(&self, columns: &Columns<'_>, used: usize) -> Levels {
        columns.sum(used, self.entity, self.entry.gen())
    }

    /// What it has in flight in one worker.
    #[inline]
    pub fn own_levels(&self, columns: &Columns<'_>, worker: Worker) -> Levels {
        columns.own(worker, self.entity, self.entry.gen())
    }
}
