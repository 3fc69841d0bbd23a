//! What is where in the zone, for a given size.
//!
//! ```text
//! header | owners of columns | board of policies | decisions | queues | limits | per table: states, entries, data | columns
//! ```
//!
//! The size and two parameters decide everything, so every process and every reload computes the same layout. What is left after the
//! key values goes to upstreams and peers, four peers an upstream, with a small share for custom metrics.

use super::{Dists, Meters};
use crate::autoscale::board;
use crate::autoscale::metrics::series::{Key, Name, Peer, Shape, Upstream};
use crate::autoscale::metrics::table::Kind;
use thiserror::Error;

/// Changes whenever the meaning of a word changes in a way that the sizes below do not show.
const VERSION: u64 = 4;
pub(super) const HEADER: usize = 64;
pub(super) const TABLES: usize = 6;
const KEY_NAMES: usize = 16;
const WORD: usize = 8;
/// Words of the ring of decisions.
const MIN_DECISIONS: usize = 2048;
const MAX_DECISIONS: usize = 16 * 1024;
/// Words of all queues, and of all limits by key.
const MAX_QUEUES: usize = 64 * 1024;
const MAX_LIMITS: usize = 1024 * 1024;

/// Why there is no layout. `Display` names the size that would do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("zone of {} is too small for keys={keys} and {workers} workers: it needs at least {}", kib(.have), kib(.need))]
pub struct TooSmall {
    /// Bytes.
    pub have: usize,
    /// Bytes that would do.
    pub need: usize,
    pub keys: usize,
    pub workers: usize,
}

fn kib(bytes: &usize) -> String {
    match bytes.div_ceil(1024) {
        k if k.is_multiple_of(1024) => format!("{}m", k / 1024),
        k => format!("{k}k"),
    }
}

/// One table: how many places, and where its words begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub places: usize,
    pub(super) states: usize,
    pub(super) entries: usize,
    pub(super) data: usize,
    pub(super) end: usize,
    /// The number of its first entity in a column; tables that nothing is in flight for have none.
    pub(super) entity: Option<usize>,
}

/// What is where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub words: usize,
    pub keys: usize,
    pub workers: usize,
    pub(super) tables: [Place; TABLES],
    pub(super) owners: usize,
    pub(super) board: usize,
    pub(super) decisions: usize,
    pub(super) queues: usize,
    pub(super) limits: usize,
    pub(super) columns: usize,
    pub(super) entities: usize,
}

/// What is neither header nor table: places of policies, and words for a ring of decisions, for queues and for limits by key.
struct Shares {
    places: usize,
    decisions: usize,
    queues: usize,
    limits: usize,
}

impl Shares {
    /// Each has its part of the zone: a twenty-fourth, a sixty-fourth, a sixty-fourth, a thirty-second.
    fn of(words: usize) -> Self {
        Self {
            places: board::places(words / 24),
            decisions: (words / 64).clamp(MIN_DECISIONS, MAX_DECISIONS),
            queues: (words / 64).min(MAX_QUEUES),
            limits: (words / 32).min(MAX_LIMITS),
        }
    }

    fn words(&self) -> usize {
        board::words(self.places) + self.decisions + self.queues + self.limits
    }
}

/// Words that one place costs: state, entry, data, and a word in each column.
const fn unit<K: Kind>(workers: usize, counted: bool) -> usize {
    1 + K::ENTRY_WORDS + K::DATA_WORDS + if counted { workers } else { 0 }
}

struct Units {
    upstream: usize,
    peer: usize,
    name: usize,
    key: usize,
    meter: usize,
    dist: usize,
}

impl Layout {
    /// The layout of a zone of `bytes` with room for `keys` key values and `workers` processes at once (old workers that still drain
    /// after a reload included).
    pub fn plan(bytes: usize, keys: usize, workers: usize) -> Result<Self, TooSmall> {
        let units = Units {
            upstream: unit::<Upstream>(workers, true),
            peer: unit::<Peer>(workers, true),
            name: unit::<Name>(workers, true),
            key: unit::<Key>(workers, true),
            meter: unit::<Meters>(workers, false),
            dist: unit::<Dists>(workers, false),
        };
        let (mut upstreams, mut peers, mut meters, mut dists) = (2, 8, 16, 4);
        let names = if keys == 0 { 0 } else { KEY_NAMES };
        let words = bytes / WORD;
        let shares = Shares::of(words);
        let least = HEADER
            + workers
            + shares.words()
            + upstreams * units.upstream
            + peers * units.peer
            + names * units.name
            + keys * units.key
            + meters * units.meter
            + dists * units.dist;
        let Some(rest) = words.checked_sub(least) else {
            // a larger zone has larger shares
            let mut need = (least * WORD).next_multiple_of(4096);
            while (least - shares.words() + Shares::of(need / WORD).words()) * WORD > need {
                need += 4096;
            }
            return Err(TooSmall { have: bytes, need, keys, workers });
        };
        meters += rest / 32 / units.meter;
        dists += rest / 32 / units.dist;
        let rest = rest - rest / 32 / units.meter * units.meter - rest / 32 / units.dist * units.dist;
        let groups = rest / (units.upstream + 4 * units.peer);
        upstreams += groups;
        peers += 4 * groups + (rest - groups * (units.upstream + 4 * units.peer)) / units.peer;
        Ok(Self::place(words, workers, keys, [upstreams, peers, names, keys, meters, dists]))
    }

    fn place(words: usize, workers: usize, keys: usize, places: [usize; TABLES]) -> Self {
        let shares = Shares::of(words);
        let board = HEADER + workers;
        let decisions = board + board::words(shares.places);
        let queues = decisions + shares.decisions;
        let limits = queues + shares.queues;
        let mut at = limits + shares.limits;
        let mut entities = 0;
        let mut tables = [Place::default(); TABLES];
        let sizes = [
            (Upstream::ENTRY_WORDS, Upstream::DATA_WORDS, true),
            (Peer::ENTRY_WORDS, Peer::DATA_WORDS, true),
            (Name::ENTRY_WORDS, Name::DATA_WORDS, true),
            (Key::ENTRY_WORDS, Key::DATA_WORDS, true),
            (Meters::ENTRY_WORDS, Meters::DATA_WORDS, false),
            (Dists::ENTRY_WORDS, Dists::DATA_WORDS, false),
        ];
        for ((table, (entry, data, counted)), places) in tables.iter_mut().zip(sizes).zip(places) {
            *table = Place {
                places,
                states: at,
                entries: at + places,
                data: at + places * (1 + entry),
                end: at + places * (1 + entry + data),
                entity: counted.then_some(entities),
            };
            at += places * (1 + entry + data);
            entities += if counted { places } else { 0 };
        }
        Self {
            words,
            keys,
            workers,
            tables,
            owners: HEADER,
            board,
            decisions,
            queues,
            limits,
            columns: at,
            entities,
        }
    }

    /// How many upstreams, peers, key values, meters and distributions there is room for.
    pub fn room(&self) -> Room {
        let places = |table: usize| self.tables[table].places;
        Room {
            upstreams: places(Upstream::TABLE),
            peers: places(Peer::TABLE),
            keys: places(Key::TABLE),
            meters: places(Meters::TABLE),
            dists: places(Dists::TABLE),
        }
    }

    /// What tells a zone of this layout from any other: size, parameters, and every size the code was built with.
    pub fn mark(&self) -> u64 {
        let parts = [
            self.words,
            self.keys,
            self.workers,
            HEADER,
            TABLES,
            KEY_NAMES,
            self.decisions - self.board,
            self.limits - self.queues,
            self.tables[0].states - self.limits,
        ];
        let shapes = [shape::<Upstream>(), shape::<Peer>(), shape::<Name>(), shape::<Key>()].concat();
        let custom = [Meters::DATA_WORDS, Meters::ENTRY_WORDS, Dists::DATA_WORDS, Dists::ENTRY_WORDS];
        let all = parts.iter().chain(&shapes).chain(&custom);
        // FNV-1a over the numbers (Fowler, Noll, Vo)
        all.fold(0xcbf2_9ce4_8422_2325 ^ VERSION, |hash, n| (hash ^ *n as u64).wrapping_mul(0x0100_0000_01b3))
            | 1
    }
}

fn shape<S: Shape + Kind>() -> [usize; 9] {
    let widths = S::WIDTHS.iter().fold(0, |hash, width| hash * 31 + *width as usize);
    [
        S::WORDS,
        S::ENTRY_WORDS,
        S::SLOTS,
        S::SLOT_WORDS,
        S::RING_AT,
        S::RECENT,
        S::BITS as usize,
        widths,
        S::DATA_WORDS,
    ]
}

/// What a zone has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub upstreams: usize,
    pub peers: usize,
    pub keys: usize,
    pub meters: usize,
    pub dists: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MB: usize = 1 << 20;

    #[test]
    fn the_default_zone_has_room() {
        let room = Layout::plan(8 * MB, 1024, 32).unwrap().room();
        assert_eq!(room.keys, 1024);
        assert!(room.upstreams >= 10 && room.peers >= 40 && room.meters >= 64 && room.dists >= 8, "{room:?}");
    }

    #[test]
    fn a_zone_that_is_too_small_names_the_size_that_would_do() {
        let error = Layout::plan(MB, 1024, 32).unwrap_err();
        assert_eq!(Layout::plan(error.need, 1024, 32).unwrap().room().keys, 1024);
        assert!(Layout::plan(error.need - 4096, 1024, 32).is_err());
        let message = format!(
            "zone of 1m is too small for keys=1024 and 32 workers: it needs at least {}k",
            error.need / 1024
        );
        assert_eq!(error.to_string(), message);
        assert!(Layout::plan(MB, 0, 32).is_ok());
    }

    #[test]
    fn other_parameters_are_another_mark() {
        let mark = |bytes, keys, workers| Layout::plan(bytes, keys, workers).unwrap().mark();
        assert_ne!(mark(8 * MB, 1024, 32), mark(8 * MB, 1023, 32));
        assert_ne!(mark(8 * MB, 1024, 32), mark(8 * MB, 1024, 64));
        assert_ne!(mark(8 * MB, 1024, 32), mark(9 * MB, 1024, 32));
    }

    proptest! {
        #[test]
        fn everything_fits_and_nothing_overlaps(bytes in MB..64 * MB, keys in 0usize..5000, workers in 1usize..300) {
            if let Ok(layout) = Layout::plan(bytes, keys, workers) {
                prop_assert_eq!(layout.board, layout.owners + workers);
                prop_assert!(layout.decisions >= layout.board + board::words(4));
                let mut end = layout.tables[0].states;
                prop_assert!(layout.queues >= layout.decisions + MIN_DECISIONS);
                prop_assert!(layout.limits >= layout.queues && end >= layout.limits);
                for (i, table) in layout.tables.iter().enumerate() {
                    prop_assert_eq!(table.states, end, "table {}", i);
                    prop_assert!(table.states <= table.entries && table.entries <= table.data);
                    end = layout.tables.get(i + 1).map_or(layout.columns, |next| next.states);
                }
                prop_assert!(layout.columns + workers * layout.entities <= layout.words);
                prop_assert!(layout.words * 8 <= bytes);
            }
        }
    }
}
