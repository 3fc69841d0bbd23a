//! What the workers of a gateway share about scaling: one leader, a place for each policy, and a queue of what scripts ask for.
//!
//! ```text
//! head: leader, fence, beat, bits | place of a policy × N: name, replicas, order, state | queue
//! ```
//!
//! Policies are found by *name* in a fixed number of places, so a reload that adds or drops one keeps the memory and what the others
//! remember. Only the leader ([`lead`]) writes a place; any worker may read it. Scripts of all workers put into the queue ([`queue`]).
//!
//! There is no lock. A worker may be killed at any instruction: a state is believed when its checksum holds ([`policy::store`]), a
//! name or a command when the word that says so was written, which is the last one; what the dead have claimed is given back.
//!
//! [`policy::store`]: crate::autoscale::policy::store

mod kept;
pub mod lead;
pub mod place;
pub mod queue;

pub use place::{Known, OrderNote, Place, Source, MOST_NAME, MOST_REASON};
pub use queue::{Asked, Command, Denied, Queue, MOST_TEXT};

use crate::autoscale::metrics::columns::Owner;
use crate::autoscale::metrics::word::{get, put, Word};
use place::PLACE_WORDS;
use queue::QUEUE_WORDS;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

const HEAD: usize = 32;
const LEADER: usize = 0;
const FENCE: usize = 1;
const BEAT: usize = 2;
const SEAT: usize = 3;
const DUE: usize = 4;
const IN_FORCE: usize = 5;
const TICKETS: usize = 6;
const EPOCH: usize = 7;
const BEGAN: usize = 8;
const TURNS: usize = 9;
const WAITS: usize = 10;
const WRITES: usize = 11;

/// The most places of policies: their numbers are bits of a word.
pub const MOST_PLACES: usize = 32;

/// How many words a board with so many places takes.
pub const fn words(places: usize) -> usize {
    HEAD + places * PLACE_WORDS + QUEUE_WORDS
}

/// How many places a share of so many words has: a few in any zone.
pub fn places(share: usize) -> usize {
    (share / PLACE_WORDS).clamp(4, MOST_PLACES)
}

/// The board over its words. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Board<'a> {
    head: &'a [Word],
    places: &'a [Word],
    queue: &'a [Word],
}

impl<'a> Board<'a> {
    /// Over [`words`] of as many places as fit.
    pub fn new(words: &'a [Word]) -> Self {
        let (head, rest) = words.split_at(HEAD);
        let (places, queue) = rest.split_at(rest.len() - QUEUE_WORDS);
        Self { head, places: &places[..places.len() / PLACE_WORDS * PLACE_WORDS], queue }
    }

    /// What tells this board's decisions from those of any other; `random` becomes it if there is none yet.
    pub fn epoch(&self, random: u64) -> u64 {
        match self.head[EPOCH].compare_exchange(0, random.max(1), AcqRel, Acquire) {
            Ok(_) => random.max(1),
            Err(before) => before,
        }
    }

    /// The same, 0 if there is none.
    pub fn known_epoch(&self) -> u64 {
        self.head[EPOCH].load(Acquire)
    }

    /// When this memory began, in milliseconds since 1970: after the one that it goes on from, by whatever clock. For a memory that is new.
    pub fn begin(&self, unix_ms: u64, before_ms: u64) {
        put(&self.head[BEGAN], unix_ms.max(before_ms.saturating_add(1)));
    }

    /// The fence of the last leader.
    pub fn fence(&self) -> u64 {
        self.head[FENCE].load(Acquire)
    }

    /// Leaders from now on have greater fences than this, whatever the clock says.
    pub fn after_fence(&self, fence: u64) {
        self.head[FENCE].fetch_max(fence, AcqRel);
    }

    pub fn began_ms(&self) -> u64 {
        get(&self.head[BEGAN])
    }

    /// The leader says whether its gateway is the one that writes.
    pub fn say_writes(&self, writes: bool) {
        put(&self.head[WRITES], writes.into());
    }

    pub fn writes(&self) -> bool {
        get(&self.head[WRITES]) != 0
    }

    /// Nobody leads until then: another gateway with a memory of its own is to stop first. 0 for nobody to wait.
    pub fn wait(&self, until_us: u64) {
        self.head[WAITS].store(until_us, Release);
    }

    pub fn waits_until_us(&self) -> u64 {
        self.head[WAITS].load(Acquire)
    }

    pub fn queue(&self) -> Queue<'a> {
        Queue::new(self.queue, &self.head[TICKETS], &self.head[TURNS])
    }

    fn each(&self) -> impl Iterator<Item = (usize, &'a [Word])> + 'a {
        let places: &'a [Word] = self.places;
        places.chunks_exact(PLACE_WORDS).enumerate()
    }

    /// Gives each of `names` a place; one process at a time does this. Who has a place keeps it; the others get free ones, and then
    /// those of names that are not in the list. The names that found none are returned.
    pub fn register<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        let mut refused = Vec::new();
        for name in names {
            if self.find(name).is_some() {
                continue;
            }
            let free = self.each().find(|(_, words)| !place::is_taken(words));
            let dropped = || {
                self.each().find(|(_, words)| place::name(words).is_none_or(|n| !names.contains(&n.as_str())))
            };
            match free.or_else(dropped) {
                Some((index, words)) if place::claim(words, name) => {
                    // what it said was in force is not
                    self.set_in_force(1 << index, false);
                    self.head[DUE].fetch_and(!(1 << index), AcqRel);
                }
                _ => refused.push(*name),
            }
        }
        refused
    }

    /// The place of the policy with this name.
    pub fn find(&self, name: &str) -> Option<Place<'a>> {
        let (index, words) = self.each().find(|(_, words)| place::is_called(words, name))?;
        Some(Place::new(index, words))
    }

    /// Notes that requests may make the policies of these bits act. True when at least one of them was not noted yet.
    #[inline]
    pub fn mark_due(&self, bits: u64) -> bool {
        // most times they are noted already: no write to a line that all share
        get(&self.head[DUE]) & bits != bits && self.head[DUE].fetch_or(bits, AcqRel) & bits != bits
    }

    pub fn take_due(&self) -> u64 {
        match get(&self.head[DUE]) {
            0 => 0,
            _ => self.head[DUE].swap(0, AcqRel),
        }
    }

    /// Says of the policies of these bits that their `do` lines are in force, or not.
    pub fn set_in_force(&self, bits: u64, in_force: bool) {
        if in_force {
            self.head[IN_FORCE].fetch_or(bits, AcqRel);
        } else if get(&self.head[IN_FORCE]) & bits != 0 {
            self.head[IN_FORCE].fetch_and(!bits, AcqRel);
        }
    }

    /// The policies whose `do` lines are in force.
    #[inline]
    pub fn in_force(&self) -> u64 {
        self.head[IN_FORCE].load(Relaxed)
    }

    /// When the leader last was at work.
    #[inline]
    pub fn beat_us(&self) -> u64 {
        get(&self.head[BEAT])
    }

    fn beat(&self, now_us: u64) {
        put(&self.head[BEAT], now_us);
    }

    /// The leader, if there is one.
    pub fn leader(&self) -> Option<Owner> {
        Some(self.head[LEADER].load(Acquire)).filter(|word| *word != 0).map(Owner::of)
    }

    /// Where the leader is woken.
    #[inline]
    pub fn seat(&self) -> Option<usize> {
        (get(&self.head[SEAT]) as usize).checked_sub(1)
    }
}

#[cfg(test)]
mod tests;
