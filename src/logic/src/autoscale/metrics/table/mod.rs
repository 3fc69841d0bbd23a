//! Names to places: a bounded hash table that several processes fill at once.
//!
//! Open addressing from a home given by the hash, claimed by compare-and-swap on a state word. A claimer writes the name and then
//! says that it is ready; one that dies in between leaves a claim with a stamp, which is taken over after [`CLAIM_S`] seconds. A
//! ready entry is given away (evicted) only where its kind allows it: the coldest within the probe window goes, so at ten times the
//! limit the memory stays what it was. Heat is a count of uses that halves every sixteen seconds, as in LFU with aging (and, unlike plain
//! LRU, a flood of names seen once evicts itself, not the names in use).
//!
//! Two processes that give the same name a place at once may choose different ones, because holes come and go. Each claims first and
//! then looks for the other's claim; both steps are in one order for all, so at least one of two sees the other and gives up. A name is
//! never listed twice, not even for a moment.
//!
//! A handle ([`Ref`]) carries the generation of its place, so a holder finds out that the place has a new owner.

mod hash;

use super::word::{get, put, Word};
use super::Now;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::{AcqRel, Acquire, SeqCst};

/// After how many seconds a claim that was never finished may be taken over.
pub const CLAIM_S: u64 = 2;

/// What one kind of entry looks like.
pub trait Kind: Copy + 'static {
    /// Which table of the zone.
    const TABLE: usize;
    /// Words of a name that are kept. A longer one is told apart by length and hash.
    const NAME_WORDS: usize;
    /// How many places from its home a name may be.
    const PROBES: usize;
    /// Words of what belongs to the entry.
    const DATA_WORDS: usize;

    const ENTRY_WORDS: usize = NAME + Self::NAME_WORDS;
}

const HASH: usize = 0;
const META: usize = 1;
const HEAT: usize = 2;
const CONTROL: usize = 3;
const NAME: usize = 4;

/// A handle to an entry of a table.
pub struct Ref<K> {
    index: u32,
    gen: u16,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Ref<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Ref<K> {}
impl<K> PartialEq for Ref<K> {
    fn eq(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}
impl<K> Eq for Ref<K> {}
impl<K> std::hash::Hash for Ref<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.to_bits().hash(state);
    }
}
impl<K> std::fmt::Debug for Ref<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}.{}", self.index, self.gen)
    }
}

impl<K> Ref<K> {
    /// Refers to nothing.
    pub const NONE: Self = Self::new(0, 0);

    pub(super) const fn new(index: u32, gen: u16) -> Self {
        Self { index, gen, kind: PhantomData }
    }

    pub const fn index(self) -> usize {
        self.index as usize
    }

    #[inline]
    pub const fn gen(self) -> u16 {
        self.gen
    }

    /// To keep in memory that is not Rust's; zero is [`Ref::NONE`].
    pub const fn to_bits(self) -> u64 {
        (self.gen as u64) << 32 | self.index as u64
    }

    pub const fn from_bits(bits: u64) -> Self {
        Self::new(bits as u32, (bits >> 32) as u16)
    }

    pub const fn is_none(self) -> bool {
        self.gen == 0
    }
}

/// Why a name got no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the table is full")]
    Full,
    /// Another process writes this very name at this moment; it will be there next time.
    #[error("the name is being written by another process")]
    Busy,
}

/// A state word: hash (32 bits), stamp of a claim (14 bits of seconds), generation (16), phase (2).
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Never used: the end of a chain of probes.
    Empty,
    Claimed,
    Ready,
    /// Given back.
    Free,
}

const STAMP: u64 = 0x3fff;

impl State {
    fn make(phase: Phase, gen: u16, now_s: u64, hash: u64) -> Self {
        Self(hash >> 32 << 32 | (now_s & STAMP) << 18 | u64::from(gen) << 2 | phase as u64)
    }

    #[inline]
    fn phase(self) -> Phase {
        match self.0 & 3 {
            0 => Phase::Empty,
            1 => Phase::Claimed,
            2 => Phase::Ready,
            _ => Phase::Free,
        }
    }

    #[inline]
    fn gen(self) -> u16 {
        (self.0 >> 2) as u16
    }

    #[inline]
    fn is_of(self, hash: u64) -> bool {
        self.0 >> 32 == hash >> 32
    }

    fn is_abandoned(self, now_s: u64) -> bool {
        self.phase() == Phase::Claimed && (now_s.wrapping_sub(self.0 >> 18) & STAMP) > CLAIM_S
    }

    /// The generation after this one; zero is nobody's.
    fn next_gen(self) -> u16 {
        self.gen().wrapping_add(1).max(1)
    }
}

/// A range of places, for tables that several owners share in fixed parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub start: usize,
    pub len: usize,
}

/// A table over its words.
pub struct Table<'a, K> {
    states: &'a [Word],
    entries: &'a [Word],
    /// Counts every change of what is in the table.
    changes: &'a Word,
    seed: u64,
    kind: PhantomData<K>,
}

/// What to do for a new entry.
pub trait Tenancy {
    /// How cold the entry of this generation is; `None` when it may not be evicted. It is ready, or was until this process claimed it.
    fn coldness(&self, index: usize, gen: u16) -> Option<u64>;
    /// Makes a place ready for its new owner, before anyone can find it.
    fn move_in(&self, index: usize);
}

impl<'a, K: Kind> Table<'a, K> {
    pub fn new(states: &'a [Word], entries: &'a [Word], changes: &'a Word, seed: u64) -> Self {
        Self { states, entries: &entries[..states.len() * K::ENTRY_WORDS], changes, seed, kind: PhantomData }
    }

    /// All places.
    pub fn whole(&self) -> Part {
        Part { start: 0, len: self.states.len() }
    }

    #[inline]
    fn state(&self, index: usize) -> State {
        State(self.states[index].load(Acquire))
    }

    fn swap(&self, index: usize, from: State, to: State) -> bool {
        self.states[index].compare_exchange(from.0, to.0, SeqCst, Acquire).is_ok()
    }

    #[inline]
    fn entry(&self, index: usize) -> &'a [Word] {
        &self.entries[index * K::ENTRY_WORDS..(index + 1) * K::ENTRY_WORDS]
    }

    #[inline]
    fn probes(part: Part, hash: u64) -> impl Iterator<Item = usize> {
        let mut place = (((hash & 0xffff_ffff) * part.len as u64) >> 32) as usize;
        (0..part.len.min(K::PROBES)).map(move |_| {
            let index = part.start + place;
            place = if place + 1 == part.len { 0 } else { place + 1 };
            index
        })
    }

    /// Where `name` is.
    #[inline]
    pub fn find(&self, part: Part, owner: u32, name: &[u8]) -> Option<Ref<K>> {
        self.lookup(part, owner, name, hash::of(self.seed, owner, name))
    }

    #[inline]
    fn lookup(&self, part: Part, owner: u32, name: &[u8], hash: u64) -> Option<Ref<K>> {
        for index in Self::probes(part, hash) {
            let state = self.state(index);
            match state.phase() {
                Phase::Empty => return None,
                Phase::Ready if state.is_of(hash) && self.is_named(index, owner, name, hash) => {
                    return Some(Ref::new(index as u32, state.gen()));
                }
                _ => {}
            }
        }
        None
    }

    #[inline]
    fn is_named(&self, index: usize, owner: u32, name: &[u8], hash: u64) -> bool {
        let entry = self.entry(index);
        get(&entry[HASH]) == hash
            && get(&entry[META]) == meta(owner, name)
            && hash::chunks(name).zip(&entry[NAME..]).all(|(chunk, word)| get(word) == chunk)
    }

    /// Finds `name` or gives it a place.
    pub fn insert(
        &self,
        part: Part,
        owner: u32,
        name: &[u8],
        now: Now,
        tenancy: &dyn Tenancy,
    ) -> Result<Ref<K>, Refused> {
        let hash = hash::of(self.seed, owner, name);
        // Each lost race means that another process got on; a few rounds are plenty.
        for _ in 0..8 {
            if let Some(found) = self.lookup(part, owner, name, hash) {
                return Ok(found);
            }
            let (index, seen) = self.place(part, hash, now.s(), tenancy)?;
            let claim = State::make(Phase::Claimed, seen.next_gen(), now.s(), hash);
            if self.swap(index, seen, claim) {
                // somebody may have begun to use it after it was chosen to go
                if seen.phase() == Phase::Ready && tenancy.coldness(index, seen.gen()).is_none() {
                    self.swap(index, claim, seen);
                    continue;
                }
                return self.move_in(part, index, claim, owner, name, hash, now.s(), tenancy);
            }
        }
        Err(Refused::Busy)
    }

    /// The first free place in the window, else the coldest that may go.
    fn place(
        &self,
        part: Part,
        hash: u64,
        now_s: u64,
        tenancy: &dyn Tenancy,
    ) -> Result<(usize, State), Refused> {
        let (mut free, mut coldest) = (None, None);
        for index in Self::probes(part, hash) {
            let state = self.state(index);
            match state.phase() {
                Phase::Empty => {
                    free = free.or(Some((index, state)));
                    break;
                }
                Phase::Free => free = free.or(Some((index, state))),
                Phase::Claimed if state.is_abandoned(now_s) => free = free.or(Some((index, state))),
                Phase::Claimed if state.is_of(hash) => return Err(Refused::Busy),
                Phase::Claimed => {}
                Phase::Ready if free.is_some() => {}
                Phase::Ready => {
                    let cold = tenancy.coldness(index, state.gen()).map(|cold| (cold, (index, state)));
                    coldest = match (coldest, cold) {
                        (Some((a, _)), Some((b, place))) if b > a => Some((b, place)),
                        (None, cold) => cold,
                        (coldest, _) => coldest,
                    };
                }
            }
        }
        free.or(coldest.map(|(_, place)| place)).ok_or(Refused::Full)
    }

    #[allow(clippy::too_many_arguments)]
    fn move_in(
        &self,
        part: Part,
        index: usize,
        claim: State,
        owner: u32,
        name: &[u8],
        hash: u64,
        now_s: u64,
        tenancy: &dyn Tenancy,
    ) -> Result<Ref<K>, Refused> {
        let free = State(claim.0 | Phase::Free as u64);
        if self.is_claimed_elsewhere(part, index, hash, now_s) {
            self.swap(index, claim, free);
            return Err(Refused::Busy);
        }
        // after the claims: one that was there before is ready by now, or was given up
        if let Some(found) = self.lookup(part, owner, name, hash) {
            self.swap(index, claim, free);
            return Ok(found);
        }
        self.write(index, owner, name, hash);
        tenancy.move_in(index);
        let ready = State(claim.0 & !3 & !(STAMP << 18) | Phase::Ready as u64);
        // A claim older than CLAIM_S may have been taken over while this process stood still.
        if !self.swap(index, claim, ready) {
            return Err(Refused::Busy);
        }
        self.changes.fetch_add(1, AcqRel);
        // ... and where it was not, the name may have got another place meanwhile: the one nearer to home stays.
        let entry = Ref::new(index as u32, ready.gen());
        let first = self.lookup(part, owner, name, hash).unwrap_or(entry);
        for index in Self::probes(part, hash).filter(|index| *index != first.index()) {
            let state = self.state(index);
            if state.phase() == Phase::Ready && state.is_of(hash) && self.is_named(index, owner, name, hash) {
                self.swap(index, state, State(state.0 | Phase::Free as u64));
            }
        }
        Ok(first)
    }

    /// Whether a process gives a name of this hash another place at this moment.
    fn is_claimed_elsewhere(&self, part: Part, mine: usize, hash: u64, now_s: u64) -> bool {
        let states = Self::probes(part, hash).map(|index| (index, State(self.states[index].load(SeqCst))));
        let mut chain = states.take_while(|(_, state)| state.phase() != Phase::Empty);
        chain.any(|(index, state)| {
            let claimed = state.phase() == Phase::Claimed && !state.is_abandoned(now_s);
            index != mine && claimed && state.is_of(hash)
        })
    }

    fn write(&self, index: usize, owner: u32, name: &[u8], hash: u64) {
        let entry = self.entry(index);
        put(&entry[HASH], hash);
        put(&entry[META], meta(owner, name));
        put(&entry[HEAT], 0);
        put(&entry[CONTROL], 0);
        hash::chunks(name).zip(&entry[NAME..]).for_each(|(chunk, word)| put(word, chunk));
    }

    /// Whether the place still belongs to the one that the handle was given for.
    #[inline]
    pub fn is_current(&self, entry: Ref<K>) -> bool {
        self.states.get(entry.index()).is_some_and(|word| is_current(word, entry))
    }

    /// Gives a place back.
    pub fn remove(&self, entry: Ref<K>) -> bool {
        let Some(word) = self.states.get(entry.index()) else { return false };
        let state = State(word.load(Acquire));
        let is_mine = state.phase() == Phase::Ready && state.gen() == entry.gen;
        let removed = is_mine && self.swap(entry.index(), state, State(state.0 | Phase::Free as u64));
        if removed {
            self.changes.fetch_add(1, AcqRel);
        }
        removed
    }

    /// Every entry of a part.
    pub fn entries(&self, part: Part) -> impl Iterator<Item = Ref<K>> + '_ {
        (part.start..part.start + part.len).filter_map(|index| {
            let state = self.state(index);
            (state.phase() == Phase::Ready).then(|| Ref::new(index as u32, state.gen()))
        })
    }

    /// Changes whenever an entry comes or goes.
    pub fn changes(&self) -> u64 {
        self.changes.load(Acquire)
    }

    pub fn owner(&self, entry: Ref<K>) -> u32 {
        (get(&self.entry(entry.index())[META]) >> 32) as u32
    }

    /// The name, as much of it as is kept; `None` when the place has a new owner.
    pub fn name(&self, entry: Ref<K>) -> Option<Vec<u8>> {
        let words = self.entry(entry.index());
        let len = (get(&words[META]) & 0xffff_ffff) as usize;
        let mut name: Vec<u8> = words[NAME..].iter().flat_map(|word| get(word).to_le_bytes()).collect();
        name.truncate(len);
        // A claimer that stood still for seconds may have written over the name of the one who took its claim.
        let whole = name.len() < len || hash::of(self.seed, self.owner(entry), &name) == get(&words[HASH]);
        (whole && self.is_current(entry)).then_some(name)
    }

    /// The name as text. What was cut or is not UTF-8 carries the hash of the name, so that no two names print alike.
    pub fn text(&self, entry: Ref<K>) -> Option<String> {
        let name = self.name(entry)?;
        let words = self.entry(entry.index());
        let is_cut = (name.len() as u64) < (get(&words[META]) & 0xffff_ffff);
        match String::from_utf8(name) {
            Ok(name) if !is_cut => Some(name),
            Ok(name) => Some(format!("{name}~{:016x}", get(&words[HASH]))),
            Err(error) => {
                let name = String::from_utf8_lossy(error.as_bytes()).into_owned();
                Some(format!("{name}~{:016x}", get(&words[HASH])))
            }
        }
    }

    /// A word for the use of the kind.
    #[inline]
    pub fn control(&self, index: usize) -> &'a Word {
        &self.entry(index)[CONTROL]
    }

    /// Notes a use.
    #[inline]
    pub fn touch(&self, index: usize, now: Now) {
        let word = &self.entry(index)[HEAT];
        let warm = warmth(get(word), now.s());
        put(word, (now.s() & 0xffff_ffff) << 32 | (warm + 64).min(1 << 30));
    }

    /// How warm an entry is, and how many seconds ago it was used.
    pub fn heat(&self, index: usize, now: Now) -> (u64, u64) {
        let heat = get(&self.entry(index)[HEAT]);
        (warmth(heat, now.s()), idle_s(heat, now.s()))
    }
}

/// Whether a state word says that its place belongs to `entry`.
#[inline]
pub(super) fn is_current<K>(state: &Word, entry: Ref<K>) -> bool {
    state.load(Acquire) & 0x3_ffff == u64::from(entry.gen) << 2 | Phase::Ready as u64
}

fn meta(owner: u32, name: &[u8]) -> u64 {
    u64::from(owner) << 32 | name.len() as u64 & 0xffff_ffff
}

fn idle_s(heat: u64, now_s: u64) -> u64 {
    now_s.saturating_sub(heat >> 32)
}

/// The count of uses, halved every sixteen seconds.
fn warmth(heat: u64, now_s: u64) -> u64 {
    (heat & 0xffff_ffff) >> (idle_s(heat, now_s) / 16).min(63)
}

#[cfg(test)]
mod tests;
