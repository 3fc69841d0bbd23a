//! Words beside the series of an upstream or a peer: what the inner loop has learnt of it, and every worker goes by.
//!
//! They are zero when the place has a new owner and are kept over reloads. Who owns which range is said here; what the words mean is
//! said by the owners. Like all of the zone they are written by atomics, and a worker killed between two writes leaves what its owner's
//! code can still read.

use super::Zone;
use crate::autoscale::metrics::series::{Peer, Shape, Upstream};
use crate::autoscale::metrics::table::{Kind, Ref};
use crate::autoscale::metrics::word::{put, Word};
use crate::autoscale::metrics::Now;
use std::ops::Range;

/// An entry with words beside its series.
pub trait Sided: Kind + Shape {
    const SIDE_WORDS: usize;
}

impl Sided for Upstream {
    const SIDE_WORDS: usize = 72;
}

impl Sided for Peer {
    const SIDE_WORDS: usize = 35;
}

/// Ranges of a peer's words.
pub mod of_peer {
    use super::Range;
    pub const BALANCE: Range<usize> = 0..8;
    pub const EJECT: Range<usize> = 8..20;
    pub const LIMIT: Range<usize> = 20..32;
    pub const MEMBER: Range<usize> = 32..35;
}

/// Ranges of an upstream's words.
pub mod of_upstream {
    use super::Range;
    pub const LIMIT: Range<usize> = 0..24;
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

    /// Whether a peer's own answers speak for it.
    pub fn health(&self, _peer: Ref<Peer>, _now: Now) -> Health {
        Health::Well
    }
}
