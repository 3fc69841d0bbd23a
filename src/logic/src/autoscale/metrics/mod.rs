//! The zone: what all workers know, in shared memory, without a lock.
//!
//! The shell hands in the shared memory as a slice of 64-bit atomics ([`word::Word`]) that is zero to begin with; everything here is
//! arithmetic on that slice through `&self`, so several processes may write at once and none of them owns anything. Only the cast
//! from raw memory to the slice is unsafe, and it is not here.
//!
//! - [`zone`] lays the memory out and hands out what is below by name or by handle.
//! - [`table`] finds upstreams, peers, key values and custom metrics by name; bounded, the coldest key goes.
//! - [`series`] is everything counted about one of them, in the time slots of [`ring`], with histograms ([`hist`]), moving averages
//!   ([`ewma`]) and the last requests one by one ([`recent`]).
//! - [`columns`] is what is in flight, one column a worker, so that a dead worker's column can be dropped.
//! - [`recall`] spares a process the search for the peers it knows.
//! - [`flight`] is the hot path: one proxied request from its start to its end.
//!
//! A process may be killed at any instruction. What it was counting may be lost; nothing stays locked, and nothing half-written is
//! believed for longer than the slot it was in.

pub mod columns;
pub mod custom;
pub mod ewma;
pub mod flight;
pub mod hist;
pub mod recall;
pub mod recent;
pub mod ring;
pub mod series;
pub mod table;
pub mod word;
pub mod zone;

/// An instant of a clock that all processes share (`CLOCK_MONOTONIC`), in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    pub us: u64,
    s: u64,
}

impl Now {
    pub const fn from_us(us: u64) -> Self {
        Self { us, s: us / 1_000_000 }
    }

    /// Seconds, and the microseconds that have passed since.
    #[inline]
    pub const fn new(s: u64, us: u64) -> Self {
        Self { us: s * 1_000_000 + us, s }
    }

    pub const fn from_ms(ms: u64) -> Self {
        Self::from_us(ms * 1000)
    }

    #[inline]
    pub const fn s(self) -> u64 {
        self.s
    }

    /// Microseconds since `then`, zero when the clock of another worker is ahead; at most 71 minutes.
    #[inline]
    pub fn since(self, then_us: u64) -> u32 {
        u32::try_from(self.us.saturating_sub(then_us)).unwrap_or(u32::MAX)
    }
}
