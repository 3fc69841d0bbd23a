//! The zone: one slice of words, and who is where in it.

mod control;
mod entry;
mod layout;
mod member;
mod side;
mod tenant;

pub use control::{Control, Duty, State};
pub use entry::{Denied, KeyRef, Reporter};
pub use layout::{Layout, Room, TooSmall};
pub use member::{Member, Source, Terms};
pub use side::{of_peer, of_upstream, Health, Sided};
pub use tenant::Tenant;

use super::columns::{Columns, Levels};
use super::custom::{Dist, Meter, DIST_WORDS, METER_WORDS};
pub use super::custom::{Dists, Meters};
use super::series::{Key, Name, Peer, Series, Shape, Upstream};
use super::table::{is_current, Kind, Ref, Table};
use super::word::{get, put, Word};
use super::Now;
use crate::autoscale::admit::Limits;
use crate::autoscale::board::Board;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use thiserror::Error;

const MARK: usize = 0;
const WORDS: usize = 1;
const KEYS: usize = 2;
const WORKERS: usize = 3;
const SEED: usize = 4;
const BORN: usize = 5;
const TICK: usize = 6;
const COLUMNS_USED: usize = 7;
const KEYS_GIVEN: usize = 8;
const CONTROLS: usize = 9;
const NEWEST: usize = 10;
const CHANGES: usize = 16;
const REFUSED: usize = 24;
const SAVING: usize = 40;

macro_rules! kinds {
    ($($name:ident: $table:expr, $name_words:expr, $probes:expr, $data:expr;)*) => {
        $(impl Kind for $name {
            const TABLE: usize = $table;
            const NAME_WORDS: usize = $name_words;
            const PROBES: usize = $probes;
            const DATA_WORDS: usize = $data;
        })*
    };
}

// Names: upstreams may be host names; an address may be "unix:" and 108 bytes of path.
kinds! {
    Upstream: 0, 32, usize::MAX, <Upstream as Shape>::WORDS + Upstream::SIDE_WORDS;
    Peer: 1, 16, usize::MAX, <Peer as Shape>::WORDS + Peer::SIDE_WORDS;
    Name: 2, 8, usize::MAX, <Name as Shape>::WORDS;
    Key: 3, 8, 32, <Key as Shape>::WORDS;
    Meters: 4, 16, 32, METER_WORDS;
    Dists: 5, 16, 32, DIST_WORDS;
}

/// Why memory is not a zone that this process can use.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    #[error("the zone is not initialised")]
    Blank,
    #[error("the zone was made by another version, or with another size, keys= or number of workers")]
    Foreign,
}

/// The zone over its words. Cheap to clone; every process has its own.
#[derive(Clone)]
pub struct Zone<'a> {
    words: &'a [Word],
    layout: Layout,
    seed: u64,
    columns: Columns<'a>,
    /// By number of the table.
    states: [&'a [Word]; layout::TABLES],
    data: [&'a [Word]; layout::TABLES],
}

impl<'a> Zone<'a> {
    /// Makes a zone in memory that is all zero. The mark is written last: a maker that dies leaves a blank zone.
    pub fn create(words: &'a [Word], layout: &Layout, seed: u64, now: Now) -> Self {
        let words = &words[..layout.words];
        put(&words[WORDS], layout.words as u64);
        put(&words[KEYS], layout.keys as u64);
        put(&words[WORKERS], layout.workers as u64);
        put(&words[SEED], seed);
        put(&words[BORN], now.us);
        words[MARK].store(layout.mark(), Release);
        Self::view(words, layout)
    }

    /// Opens a zone that another process made, of this very layout.
    pub fn open(words: &'a [Word], layout: &Layout) -> Result<Self, OpenError> {
        let words = words.get(..layout.words).ok_or(OpenError::Foreign)?;
        match words[MARK].load(Acquire) {
            0 => Err(OpenError::Blank),
            mark if mark == layout.mark() => Ok(Self::view(words, layout)),
            _ => Err(OpenError::Foreign),
        }
    }

    fn view(words: &'a [Word], layout: &Layout) -> Self {
        let owners = &words[layout.owners..layout.owners + layout.workers];
        let slices = layout.tables.map(|at| (&words[at.states..at.entries], &words[at.data..at.end]));
        Self {
            words,
            layout: layout.clone(),
            seed: get(&words[SEED]),
            columns: Columns::new(&words[COLUMNS_USED], owners, &words[layout.columns..], layout.entities),
            states: slices.map(|(states, _)| states),
            data: slices.map(|(_, data)| data),
        }
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn born_us(&self) -> u64 {
        get(&self.words[BORN])
    }

    /// True for exactly one caller a period of `every_s` seconds: who may do what is done once a tick. The period may change.
    pub fn tick(&self, now: Now, every_s: u64) -> bool {
        let every_s = every_s.max(1);
        let seen = self.words[TICK].load(Acquire);
        let is_due = seen == 0 || now.s() / every_s > (seen - 1) / every_s;
        is_due && self.words[TICK].compare_exchange(seen, now.s() + 1, AcqRel, Acquire).is_ok()
    }

    /// Workers of the configuration that was read at `read_us` begin: from now on those of an earlier one leave to them what is to be
    /// done with what the configuration names.
    pub fn begin(&self, read_us: u64) {
        self.words[NEWEST].fetch_max(read_us, AcqRel);
    }

    /// Whether no worker of a later configuration has begun.
    pub fn is_newest(&self, read_us: u64) -> bool {
        self.words[NEWEST].load(Acquire) <= read_us
    }

    /// The table of one kind.
    #[inline]
    pub fn table<K: Kind>(&self) -> Table<'a, K> {
        let at = &self.layout.tables[K::TABLE];
        let entries = &self.words[at.entries..at.data];
        Table::new(self.states[K::TABLE], entries, &self.words[CHANGES + K::TABLE], self.seed)
    }

    #[inline]
    fn data<K: Kind>(&self, index: usize) -> &'a [Word] {
        &self.data[K::TABLE][index * K::DATA_WORDS..(index + 1) * K::DATA_WORDS]
    }

    /// The series of an entry, `None` when its place has a new owner.
    #[inline]
    pub fn series<K: Kind + Shape>(&self, entry: Ref<K>) -> Option<Series<'a, K>> {
        let state = self.states[K::TABLE].get(entry.index())?;
        is_current(state, entry).then(|| Series::new(self.data::<K>(entry.index())))
    }

    /// Whether an entry still has its place.
    #[inline]
    pub fn is_current<K: Kind>(&self, entry: Ref<K>) -> bool {
        self.states[K::TABLE].get(entry.index()).is_some_and(|state| is_current(state, entry))
    }

    pub fn meter(&self, entry: Ref<Meters>) -> Option<Meter<'a>> {
        self.table::<Meters>().is_current(entry).then(|| Meter::new(self.data::<Meters>(entry.index())))
    }

    pub fn dist(&self, entry: Ref<Dists>) -> Option<Dist<'a>> {
        self.table::<Dists>().is_current(entry).then(|| Dist::new(self.data::<Dists>(entry.index())))
    }

    /// What the workers share about policies.
    pub fn board(&self) -> Board<'a> {
        Board::new(&self.words[self.layout.board..self.layout.decisions])
    }

    /// Room for a ring of decisions: 16 to 128 KB, as the size of the zone has it.
    pub fn decisions(&self) -> &'a [Word] {
        &self.words[self.layout.decisions..self.layout.queues]
    }

    /// Room for the queues of upstreams.
    pub fn queues(&self) -> &'a [Word] {
        &self.words[self.layout.queues..self.layout.limits]
    }

    /// Room for limits by key.
    pub fn limits(&self) -> &'a [Word] {
        &self.words[self.layout.limits..self.layout.tables[0].states]
    }

    /// Limits by key.
    pub fn admission(&self) -> Limits<'a> {
        Limits::new(self.limits(), self.layout.workers, self.seed)
    }

    /// The columns of the workers.
    #[inline]
    pub fn columns(&self) -> Columns<'a> {
        self.columns
    }

    /// The number of an entry in a column.
    #[inline]
    pub fn entity<K: Kind>(&self, entry: Ref<K>) -> Option<usize> {
        self.layout.tables[K::TABLE].entity.map(|first| first + entry.index())
    }

    /// What is in flight for an entry, over all workers.
    pub fn levels<K: Kind>(&self, entry: Ref<K>) -> Levels {
        let levels = self.raw_levels(entry);
        if K::TABLE == Peer::TABLE {
            Levels { queued: 0, ..levels }
        } else {
            levels
        }
    }

    fn raw_levels<K: Kind>(&self, entry: Ref<K>) -> Levels {
        let entity = self.entity(entry).filter(|_| !entry.is_none());
        entity.map_or_else(Levels::default, |entity| self.columns().levels(entity, entry.gen()))
    }

    /// How many places of a peer are taken, over all workers: what it has in flight without the streams that have begun, which may last
    /// for hours while it waits for something to tell.
    pub fn occupied(&self, peer: Ref<Peer>) -> u32 {
        self.raw_levels(peer).occupied()
    }

    /// The streams of a peer that have begun.
    pub fn streams(&self, peer: Ref<Peer>) -> u32 {
        self.raw_levels(peer).queued
    }

    /// How many names found no place, by number of the table.
    pub fn refused(&self) -> [u64; layout::TABLES] {
        std::array::from_fn(|table| get(&self.words[REFUSED + table]))
    }

    /// The word by which workers take turns at writing the state file.
    pub fn saving(&self) -> &'a Word {
        &self.words[SAVING]
    }

    /// A number that changes whenever any entry comes or goes: cached handles are looked up anew then.
    pub fn changes(&self) -> u64 {
        self.words[CHANGES..CHANGES + layout::TABLES].iter().map(get).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
pub(crate) mod tests;
