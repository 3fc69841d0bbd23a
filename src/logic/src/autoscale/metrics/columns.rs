//! What is in flight: one column a worker, one word an entity.
//!
//! Only its worker writes a column, with plain loads and stores, so counting costs no locked instruction and no shared cache line.
//! When a worker dies, its column is zeroed by whoever sweeps; nothing phantom stays in flight.
//!
//! A word carries the generation of the entity it counts for. When a key value is evicted and its place is given away, the old counts
//! do not match the new generation: they count as nothing, and their owner's own `leave` still finds them.

use super::word::{get, put, Word};
use std::sync::atomic::Ordering::{AcqRel, Acquire};

const BITS: u32 = 18;
const FIELD: u64 = (1 << BITS) - 1;
const TAG: u32 = 3 * BITS;

/// What a request does while it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// In flight.
    Active = 0,
    /// Sent, without a first byte yet.
    Waiting = 1,
    /// Held before it is proxied. Nobody is held for a peer: there it is an answer that is a stream, which holds no place any more.
    Queued = 2,
}

/// The levels of one entity, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    pub active: u32,
    pub waiting: u32,
    pub queued: u32,
}

impl Levels {
    /// Those of one column; nothing where they are another generation's.
    #[inline]
    fn of(word: u64, gen: u16) -> Self {
        if word >> TAG != tag(gen) {
            return Self::default();
        }
        let level = |at: u32| (word >> at & FIELD) as u32;
        Self { active: level(0), waiting: level(BITS), queued: level(2 * BITS) }
    }

    /// What is left of these without `other`.
    pub fn without(self, other: Self) -> Self {
        Self {
            active: self.active.saturating_sub(other.active),
            waiting: self.waiting.saturating_sub(other.waiting),
            queued: self.queued.saturating_sub(other.queued),
        }
    }

    /// Of a peer: how many of its places are taken (see `Zone::occupied`).
    #[inline]
    pub fn occupied(self) -> u32 {
        self.active.saturating_sub(self.queued)
    }
}

impl core::ops::AddAssign for Levels {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.active += other.active;
        self.waiting += other.waiting;
        self.queued += other.queued;
    }
}

/// A process that owns a column: its pid and what tells it from a later process of the same pid (its start time, say).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    /// 31 bits are kept.
    pub stamp: u32,
}

/// A claimed column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker(u16);

impl Worker {
    /// A worker without a column: what it has in flight is not counted.
    pub const NONE: Self = Self(u16::MAX);

    pub fn to_bits(self) -> u16 {
        self.0
    }

    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

const SWEEPING: u64 = 1 << 63;

impl Owner {
    /// As 63 bits.
    pub fn word(self) -> u64 {
        u64::from(self.stamp & 0x7fff_ffff) << 32 | u64::from(self.pid)
    }

    pub fn of(word: u64) -> Self {
        Self { pid: word as u32, stamp: (word >> 32) as u32 & 0x7fff_ffff }
    }
}

/// All columns, over their words.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    /// One past the highest column ever claimed, so that sums look no further.
    used: &'a Word,
    owners: &'a [Word],
    counts: &'a [Word],
    entities: usize,
}

impl<'a> Columns<'a> {
    /// `counts` holds `entities` words for each of the `owners`.
    pub fn new(used: &'a Word, owners: &'a [Word], counts: &'a [Word], entities: usize) -> Self {
        Self { used, owners, counts: &counts[..owners.len() * entities], entities }
    }

    /// Takes a free column; [`Worker::NONE`] when all are taken.
    pub fn claim(&self, me: Owner) -> Worker {
        let free = self
            .owners
            .iter()
            .position(|owner| owner.compare_exchange(0, me.word(), AcqRel, Acquire).is_ok());
        let Some(column) = free else { return Worker::NONE };
        self.used.fetch_max(column as u64 + 1, AcqRel);
        Worker(column as u16)
    }

    /// Gives a column back, on a clean exit.
    pub fn release(&self, worker: Worker, me: Owner) {
        self.release_with(worker, me, |_| ());
    }

    /// The same; `also` clears what else is counted by columns, before anybody can claim this one.
    pub fn release_with(&self, worker: Worker, me: Owner, also: impl Fn(Worker)) {
        self.drop_column(worker.0.into(), me.word(), me, &also);
    }

    /// Drops the columns of the dead and says how many there were. A sweeper that dies midway is swept itself.
    pub fn sweep(&self, me: Owner, alive: impl Fn(Owner) -> bool) -> usize {
        self.sweep_with(me, alive, |_| ())
    }

    /// The same; `also` clears what else is counted by columns, before anybody can claim those.
    pub fn sweep_with(&self, me: Owner, alive: impl Fn(Owner) -> bool, also: impl Fn(Worker)) -> usize {
        let dead = |word: &u64| *word != 0 && !alive(Owner::of(*word));
        let columns = self.owners.iter().enumerate().map(|(i, owner)| (i, owner.load(Acquire)));
        columns
            .filter(|(_, word)| dead(word))
            .filter(|(i, word)| self.drop_column(*i, *word, me, &also))
            .count()
    }

    /// Marks the column as being swept by me, zeroes it, frees it. Only the one whose mark is on it may zero.
    fn drop_column(&self, column: usize, owner: u64, me: Owner, also: &dyn Fn(Worker)) -> bool {
        let Some(word) = self.owners.get(column) else { return false };
        let mark = SWEEPING | me.word();
        if word.compare_exchange(owner, mark, AcqRel, Acquire).is_err() {
            return false;
        }
        let at = column * self.entities;
        self.counts[at..at + self.entities]
            .iter()
            .filter(|count| get(count) != 0)
            .for_each(|count| put(count, 0));
        also(Worker(column as u16));
        word.compare_exchange(mark, 0, AcqRel, Acquire).is_ok()
    }

    /// Who owns which column.
    pub fn owners(&self) -> impl Iterator<Item = (Worker, Owner)> + 'a {
        let owned = self.owners.iter().enumerate().map(|(i, word)| (Worker(i as u16), get(word)));
        owned.filter(|(_, word)| *word != 0).map(|(worker, word)| (worker, Owner::of(word)))
    }

    #[inline]
    fn word(&self, worker: Worker, entity: usize) -> Option<&'a Word> {
        self.counts.get(usize::from(worker.0) * self.entities + entity)
    }

    /// One more in each of `levels` (a sum of [`one`]).
    #[inline]
    pub fn enter(&self, worker: Worker, entity: usize, gen: u16, levels: u64) {
        let Some(word) = self.word(worker, entity) else { return };
        let seen = get(word);
        let counts = if seen >> TAG == tag(gen) { seen } else { tag(gen) << TAG };
        // A field that is full would spill; 131,072 in flight in one worker is more than it has connections.
        if counts & (levels << (BITS - 1)) == 0 {
            put(word, counts + levels);
        }
    }

    /// One less in each of `levels`, never below zero.
    #[inline]
    pub fn leave(&self, worker: Worker, entity: usize, gen: u16, levels: u64) {
        let Some(word) = self.word(worker, entity) else { return };
        let seen = get(word);
        if seen >> TAG == tag(gen) {
            put(
                word,
                seen - (present(seen, levels, 0)
                    | present(seen, levels, BITS)
                    | present(seen, levels, 2 * BITS)),
            );
        }
    }

    /// How many columns a sum looks at.
    #[inline]
    pub fn used(&self) -> usize {
        get(self.used) as usize
    }

    /// The levels of one entity in one worker.
    #[inline]
    pub fn own(&self, worker: Worker, entity: usize, gen: u16) -> Levels {
        self.word(worker, entity).map_or(Levels::default(), |word| Levels::of(get(word), gen))
    }

    /// The levels of one entity, over all workers.
    #[inline]
    pub fn levels(&self, entity: usize, gen: u16) -> Levels {
        self.sum(self.used(), entity, gen)
    }

    /// The same where [`Columns::used`] is known to be `used`.
    #[inline]
    pub fn sum(&self, used: usize, entity: usize, gen: u16) -> Levels {
        // two fields at a time: what lies between them has room for what a sum is more than its parts
        let (mut outer, mut inner, mut at) = (0, 0, entity);
        for _ in 0..used {
            let Some(word) = self.counts.get(at) else { break };
            let counts = get(word) ^ tag(gen) << TAG;
            if counts >> TAG == 0 {
                inner += counts & FIELD << BITS;
                outer += counts & !(FIELD << BITS);
            }
            at += self.entities;
        }
        let active = outer & ((1 << (2 * BITS)) - 1);
        Levels {
            active: active as u32,
            waiting: (inner >> BITS) as u32,
            queued: (outer >> (2 * BITS)) as u32,
        }
    }
}

/// One of a level, to add up for [`Columns::enter`] and [`Columns::leave`].
pub const fn one(level: Level) -> u64 {
    1 << (level as u32 * BITS)
}

/// The one of `levels` at bit `at`, if there is one to take away.
#[inline]
const fn present(seen: u64, levels: u64, at: u32) -> u64 {
    if seen >> at & FIELD == 0 {
        0
    } else {
        levels & (1 << at)
    }
}

#[inline]
const fn tag(gen: u16) -> u64 {
    (gen & 0x3ff) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Memory {
        used: Word,
        owners: Vec<Word>,
        counts: Vec<Word>,
    }

    impl Memory {
        fn new(workers: usize, entities: usize) -> Self {
            let words = |n| (0..n).map(|_| Word::new(0)).collect();
            Self { used: Word::new(0), owners: words(workers), counts: words(workers * entities) }
        }

        fn columns(&self) -> Columns<'_> {
            Columns::new(&self.used, &self.owners, &self.counts, self.counts.len() / self.owners.len())
        }
    }

    const BOTH: u64 = one(Level::Active) + one(Level::Waiting);

    fn owner(pid: u32) -> Owner {
        Owner { pid, stamp: 7 }
    }

    fn levels(active: u32, waiting: u32, queued: u32) -> Levels {
        Levels { active, waiting, queued }
    }

    #[test]
    fn sums_are_over_workers_and_never_below_zero() {
        let memory = Memory::new(4, 3);
        let columns = memory.columns();
        let (a, b) = (columns.claim(owner(1)), columns.claim(owner(2)));
        columns.enter(a, 1, 5, BOTH);
        columns.enter(b, 1, 5, BOTH);
        columns.enter(b, 1, 5, one(Level::Queued));
        columns.leave(b, 1, 5, one(Level::Waiting));
        assert_eq!(columns.levels(1, 5), levels(2, 1, 1));
        assert_eq!([a, b].map(|worker| columns.own(worker, 1, 5)), [levels(1, 1, 0), levels(1, 0, 1)]);
        assert_eq!(columns.levels(1, 5).without(columns.own(a, 1, 5)), columns.own(b, 1, 5));
        let nothing = levels(0, 0, 0);
        assert_eq!([columns.own(a, 1, 6), columns.own(Worker::NONE, 1, 5)], [nothing; 2]);
        assert_eq!((columns.levels(1, 5).occupied(), columns.used()), (1, 2));
        assert_eq!(columns.levels(0, 5), levels(0, 0, 0));
        (0..9).for_each(|_| columns.leave(b, 1, 5, BOTH));
        assert_eq!(columns.levels(1, 5), levels(1, 1, 1));
    }

    #[test]
    fn a_field_that_is_full_does_not_spill() {
        let memory = Memory::new(1, 1);
        let columns = memory.columns();
        let a = columns.claim(owner(1));
        (0..300_000).for_each(|_| columns.enter(a, 0, 1, BOTH));
        assert_eq!(columns.levels(0, 1), levels(131_072, 131_072, 0));
        let memory = Memory::new(4, 1);
        let columns = memory.columns();
        for n in 0..4 {
            let worker = columns.claim(owner(n + 1));
            let full = columns.word(worker, 0).unwrap();
            (0..3).for_each(|at| put(full, get(full) | tag(1) << TAG | 131_072 << (at * BITS)));
        }
        assert_eq!(columns.levels(0, 1), levels(524_288, 524_288, 524_288), "nor does their sum");
    }

    #[test]
    fn counts_of_an_evicted_generation_count_for_nobody() {
        let memory = Memory::new(1, 1);
        let columns = memory.columns();
        let a = columns.claim(owner(1));
        columns.enter(a, 0, 1, BOTH);
        assert_eq!(columns.levels(0, 2), levels(0, 0, 0));
        columns.leave(a, 0, 2, BOTH);
        assert_eq!(columns.levels(0, 1), levels(1, 1, 0));
        columns.leave(a, 0, 1, BOTH);
        assert_eq!(columns.levels(0, 1), levels(0, 0, 0));
        columns.enter(a, 0, 2, BOTH);
        assert_eq!(columns.levels(0, 2), levels(1, 1, 0));
    }

    #[test]
    fn the_columns_of_the_dead_are_dropped_and_reused() {
        let memory = Memory::new(2, 2);
        let columns = memory.columns();
        let (a, b) = (columns.claim(owner(1)), columns.claim(owner(2)));
        assert_eq!(columns.claim(owner(3)), Worker::NONE);
        columns.enter(Worker::NONE, 0, 1, BOTH);
        columns.enter(a, 0, 1, BOTH);
        columns.enter(b, 0, 1, BOTH);
        assert_eq!(columns.sweep(owner(9), |worker| worker.pid != 1), 1);
        assert_eq!(columns.levels(0, 1), levels(1, 1, 0));
        assert_eq!(columns.claim(owner(3)), a);
        columns.release(b, owner(2));
        assert_eq!(columns.levels(0, 1), levels(0, 0, 0));
        assert_eq!(columns.owners().collect::<Vec<_>>(), [(a, owner(3))]);
    }

    #[test]
    fn the_same_pid_again_is_another_worker() {
        let memory = Memory::new(2, 1);
        let columns = memory.columns();
        columns.claim(Owner { pid: 1, stamp: 1 });
        assert_eq!(columns.sweep(owner(9), |worker| worker.stamp == 2), 1);
    }

    #[test]
    fn a_sweeper_that_died_midway_is_swept() {
        let memory = Memory::new(2, 1);
        let columns = memory.columns();
        let a = columns.claim(owner(1));
        columns.enter(a, 0, 1, BOTH);
        put(&memory.owners[0], SWEEPING | owner(8).word()); // killed before it zeroed
        assert_eq!(columns.sweep(owner(9), |worker| worker.pid == 8), 0, "a sweeper at work is left alone");
        assert_eq!(columns.sweep(owner(9), |_| false), 1);
        assert_eq!(columns.levels(0, 1), levels(0, 0, 0));
    }

    #[test]
    fn racing_claims_never_share_a_column() {
        let memory = Memory::new(64, 1);
        let columns = memory.columns();
        let mut all: Vec<u16> = std::thread::scope(|scope| {
            let claim = |pid| {
                scope.spawn(move || (0..16u32).map(|i| columns.claim(owner(pid + i)).0).collect::<Vec<_>>())
            };
            let threads: Vec<_> = (0..4).map(|t| claim(1 + t * 100)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        all.sort_unstable();
        assert_eq!(all, (0..64).collect::<Vec<_>>());
    }
}
