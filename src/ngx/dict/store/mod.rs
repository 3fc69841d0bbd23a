//! The structure of a shared dictionary, on plain memory that several processes see.
//!
//! A hash table of chains and a queue by last use, both linked by offsets. It knows nothing of nginx: memory comes from
//! an [`Arena`], time comes in, and its callers hold a lock around everything but [`Store::read`].
//!
//! **Killed at any instruction.** Each change of more than one word happens between two increments of `Header::seq`,
//! which is odd in between. Whoever gets the lock and finds it odd knows that the last holder died inside a change, and
//! calls [`Store::recover`], which starts over with an empty dictionary. It leaves `seq` odd until it is done, so it may
//! be killed, too. What is changed without that mark is one aligned word, which the processor writes whole: the
//! number that `incr` leaves, the time that `expire` sets. Only the order of the instructions matters for this, not
//! what other processors see: a killed process has finished all stores in front of the instruction it died at.
//!
//! **Readers without the lock.** The same counter makes it a sequence lock (as in Linux): [`Store::read`] believes what
//! it found only if `seq` was even and did not move meanwhile. Until then it takes every offset for a lie: it
//! checks them against the zone's size and bounds its walk.
//!
//! **Order of use.** Reads and writes put an item in front of the queue, when that matters: not if fewer than a quarter
//! of all items were put there since it was itself, and not twice in one second while an eighth of the memory is
//! free. So when an item is evicted, three quarters of the others were used after it was (to the second, for uses while
//! there was plenty of memory). Reads thus rarely write to memory, which is what makes them scale.
#![allow(unsafe_code)]

use core::ptr::NonNull;
use core::sync::atomic::{compiler_fence, fence, AtomicU32, AtomicU64, Ordering, Ordering::Relaxed};

mod hash;
mod item;
mod list;
mod put;
mod queue;
mod read;
mod sweep;

pub use hash::Key;
pub use item::Value;
use item::{At, NONE};
pub use list::End;
pub use put::{Init, Put, Stored, When};
pub use read::{Found, Read};

/// Says "a dictionary, laid out like this"; to be changed with any change of [`Header`], [`item::Item`] or the lists.
const LAYOUT: u64 = 0x6173_6469_6374_0001;

/// Where the structure's memory comes from. Everything in it is reached by offsets from `base`.
pub trait Arena {
    /// Start of the memory, aligned to 8 and the same for as long as the arena lives.
    fn base(&self) -> NonNull<u8>;
    fn size(&self) -> usize;
    /// Memory for `n` bytes, aligned to 8; after a [`Arena::reset`] the same calls give the same places.
    fn alloc(&self, n: usize) -> Option<NonNull<u8>>;
    /// How many bytes [`Arena::alloc`] really takes for `n`.
    fn room(&self, n: usize) -> usize;
    fn free(&self, p: NonNull<u8>);
    /// Gives all memory back, whatever state the arena's own structure is in.
    fn reset(&self);
    /// Whether memory is so short that items will soon have to go.
    fn scarce(&self) -> bool;
    /// What [`Arena::set_root`] left, which outlives a reset.
    fn root(&self) -> Option<NonNull<u8>>;
    fn set_root(&self, p: NonNull<u8>);
}

/// Now.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// Milliseconds since 1970.
    pub ms: u64,
    /// The low bits of the seconds.
    pub seconds: u32,
}

/// Why an operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoMemory,
    Exists,
    NotFound,
    NotNumber,
    NotList,
    IsList,
    NilValue,
}

#[repr(C)]
struct Header {
    layout: AtomicU64,
    /// Odd while the structure is being changed.
    seq: AtomicU64,
    /// Of the hash function.
    seed: AtomicU64,
    table: AtomicU32,
    /// Number of chains, less one.
    mask: AtomicU32,
    newest: AtomicU32,
    oldest: AtomicU32,
    count: AtomicU32,
    /// How often an item was put in front of the queue.
    moves: AtomicU32,
}

/// A dictionary in an arena, as one process sees it.
pub struct Store<A: Arena> {
    arena: A,
    base: NonNull<u8>,
    head: NonNull<Header>,
    table: NonNull<AtomicU32>,
    mask: u32,
}

/// Why an arena cannot hold a dictionary.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfit {
    TooSmall,
    /// Another version's dictionary is in it.
    OtherLayout,
}

impl<A: Arena> Store<A> {
    /// The dictionary in `arena`, made if there is none. `seed` should be hard to guess.
    pub fn open(arena: A, seed: u64) -> Result<Store<A>, Unfit> {
        let base = arena.base();
        if let Some(root) = arena.root() {
            let head = root.cast::<Header>();
            // SAFETY: the root of an arena that was opened before is a header of some version, which starts alike.
            let (layout, table, mask) = unsafe {
                let h = head.as_ref();
                (h.layout.load(Relaxed), h.table.load(Relaxed), h.mask.load(Relaxed))
            };
            if layout != LAYOUT {
                return Err(Unfit::OtherLayout);
            }
            // SAFETY: `table` and `mask` are written once, and with the same values again by `recover`.
            let table = unsafe { base.add(table as usize * 8) }.cast();
            return Ok(Store { arena, base, head, table, mask });
        }
        let (head, table, mask) = lay_out(&arena, seed).ok_or(Unfit::TooSmall)?;
        let store = Store { arena, base, head, table, mask };
        compiler_fence(Ordering::SeqCst);
        store.head().seq.store(2, Relaxed);
        compiler_fence(Ordering::SeqCst);
        store.arena.set_root(head.cast());
        Ok(store)
    }

    pub fn arena(&self) -> &A {
        &self.arena
    }

    /// Whether the last holder of the lock died while it changed the structure.
    pub fn is_torn(&self) -> bool {
        self.head().seq.load(Relaxed) & 1 != 0
    }

    /// Starts over, empty. For whoever holds the lock and found the structure torn.
    pub fn recover(&self) -> Result<(), Unfit> {
        let (seq, seed) = (self.head().seq.load(Relaxed) | 1, self.head().seed.load(Relaxed));
        // `seq` stays odd meanwhile: resetting the arena does not touch the header
        let (head, table, mask) = lay_out(&self.arena, seed).ok_or(Unfit::TooSmall)?;
        if (head, table, mask) != (self.head, self.table, self.mask) {
            return Err(Unfit::OtherLayout);
        }
        fence(Ordering::Release);
        self.head().seq.store(seq.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    fn head(&self) -> &Header {
        // SAFETY: it lies in the arena, which lives as long as `self`; all its fields are atomics.
        unsafe { self.head.as_ref() }
    }

    /// The head of chain `i`.
    fn chain(&self, hash: u64) -> &AtomicU32 {
        // SAFETY: the table has `mask + 1` heads.
        unsafe { self.table.add((hash as u32 & self.mask) as usize).as_ref() }
    }

    /// Does `change`, marked as being done.
    #[inline(always)]
    fn change<T>(&self, change: impl FnOnce() -> T) -> T {
        let seq = &self.head().seq;
        let before = seq.load(Relaxed);
        seq.store(before.wrapping_add(1), Relaxed);
        fence(Ordering::Release);
        let result = change();
        seq.store(before.wrapping_add(2), Ordering::Release);
        result
    }
}

/// Header and empty table in a reset arena. Leaves `seq` as it is.
fn lay_out<A: Arena>(arena: &A, seed: u64) -> Option<(NonNull<Header>, NonNull<AtomicU32>, u32)> {
    arena.reset();
    let head = arena.alloc(size_of::<Header>())?.cast::<Header>();
    // a chain for every 128 bytes: about one item each when the zone is full
    let chains = (arena.size() / 128).clamp(64, 1 << 30);
    let chains = 1_usize << chains.ilog2();
    let table = arena.alloc(chains * size_of::<AtomicU32>())?.cast::<AtomicU32>();
    // SAFETY: the arena gave this much memory; nobody who believes what is in it reads it while `seq` is odd.
    unsafe {
        core::ptr::write_bytes(table.as_ptr(), 0, chains);
        let h = head.as_ref();
        let place = (table.as_ptr() as usize - arena.base().as_ptr() as usize) / 8;
        h.layout.store(LAYOUT, Relaxed);
        h.seed.store(seed, Relaxed);
        h.table.store(u32::try_from(place).ok()?, Relaxed);
        h.mask.store(chains as u32 - 1, Relaxed);
        for field in [&h.newest, &h.oldest, &h.count, &h.moves] {
            field.store(0, Relaxed);
        }
    }
    Some((head, table, chains as u32 - 1))
}
