//! So many at once.
//!
//! A bucket has a count for each worker's column, a quarter of a word each, which that worker alone changes: a worker that dies takes nothing
//! with it, whoever sweeps its column clears its counts. To be admitted a worker first adds to its own count and then sums up all of them;
//! beyond the limit it takes back what it added. Of those who are over the limit together the last to add sees the others, so
//! that *there are never more than the limit*. Two who ask for the last place at the same instant may see each other and both step back;
//! they try again, and only if that goes on is one refused whom there was just room for.

use super::{Ask, Refusal};
use crate::autoscale::metrics::word::Word;
use std::sync::atomic::Ordering::SeqCst;

/// Columns a word.
pub const LANES: usize = 4;
const BITS: u32 = 16;
const LANE: u64 = (1 << BITS) - 1;
const TRIES: u32 = 16;

/// Words of a bucket of so many columns.
pub const fn words(columns: usize) -> usize {
    columns.div_ceil(LANES)
}

const fn shift(column: usize) -> u32 {
    (column % LANES) as u32 * BITS
}

/// How many are in flight, over all columns.
#[inline]
pub fn sum(counts: &[Word]) -> u64 {
    // two lanes a half, added up side by side; a half has room for 65,536 words
    const HALVES: u64 = LANE | LANE << 32;
    let both = counts.iter().map(|word| word.load(SeqCst));
    let both = both.fold(0u64, |sum, word| sum + (word & HALVES) + (word >> BITS & HALVES));
    (both & 0xffff_ffff) + (both >> 32)
}

/// How many this column has in flight.
pub fn mine(counts: &[Word], column: usize) -> u64 {
    counts[column / LANES].load(SeqCst) >> shift(column) & LANE
}

/// Takes `ask.cost` places.
pub fn take(counts: &[Word], limit: u32, ask: &Ask, column: usize) -> Result<(), Refusal> {
    if ask.cost > limit {
        return Err(Refusal::TooLarge);
    }
    let (cost, room) = (u64::from(ask.cost), ask.share_of(u64::from(limit)).max(u64::from(ask.cost)));
    for turn in 0..TRIES {
        if mine(counts, column) + cost > LANE || sum(counts) + cost > room {
            return Err(Refusal::Later { us: 0 });
        }
        counts[column / LANES].fetch_add(cost << shift(column), SeqCst);
        if sum(counts) <= room {
            return Ok(());
        }
        give_back(counts, ask.cost, column);
        // not in step with the other
        (0..turn * (3 + column as u32 % 5)).for_each(|_| std::hint::spin_loop());
    }
    Err(Refusal::Later { us: 0 })
}

/// Gives places back; never more than the column has.
pub fn give_back(counts: &[Word], places: u32, column: usize) {
    let less = mine(counts, column).min(places.into());
    counts[column / LANES].fetch_sub(less << shift(column), SeqCst);
}

/// Forgets what a column had in flight. Only for who owns it, or sweeps it.
pub fn clear(counts: &[Word], column: usize) {
    counts[column / LANES].fetch_and(!(LANE << shift(column)), SeqCst);
}
