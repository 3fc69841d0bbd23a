//! The scale of fences.
//!
//! An order carries the fence of the leader that sends it, and who keeps orders refuses one that is less than what it has seen
//! (M. Kleppmann, "How to do distributed locking", 2016). Leaders of all kinds (local, Lease, Redis) count alike: one more than the one
//! before, and not less than the time at which it began to lead, in milliseconds since 1970. So a leader of one kind has a greater
//! fence than one of another kind that led earlier, as far as the clocks agree on what is earlier.

/// The fence of a leader that begins at `unix_ms`, after one with the fence `before`; small enough for a double.
pub fn next(before: u64, unix_ms: u64) -> u64 {
    before.saturating_add(1).max(unix_ms)
}
