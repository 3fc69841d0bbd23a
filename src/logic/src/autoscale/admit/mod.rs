//! Limits by key: who is admitted now, who waits, who is refused and for how long.
//!
//! - [`rate`] is a leaky bucket, [`window`] a sliding window, [`flight`] a number of requests at once. Each is exact over all workers that share
//!   the memory; what that means is said there.
//! - [`Limits`] finds the bucket of a key in shared memory, which is bounded: in the place of the bucket that is worth least comes the new one.
//!   That is one that is as good as new, as long as there is one; a key whose bucket went begins anew. A bucket with
//!   requests in flight never goes.
//! - [`lease`] shares a rate or a window between gateways.
//! - [`Declared`] is what a configuration says.
//!
//! A process may be killed at any instruction: buckets are single words that are changed by compare-and-swap, counts of requests in
//! flight are in the column of their worker.

mod declared;
pub mod flight;
pub mod lease;
mod limits;
pub mod rate;
pub mod window;

pub use declared::{Declared, Failure, Kind, Shared};
pub use limits::{Limits, Shareable, Ticket, LONGEST_KEY, MOST_SHARED};

/// The least important of requests; 0 is the most important, and what is meant when nothing is said.
pub const LAST_PRIORITY: u8 = 9;

/// The first half of the SHA-256 of a key, in hexadecimal: the same in all gateways.
pub fn digest(key: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(key).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Units: requests, tokens. At least 1.
    pub cost: u32,
    /// 0 may have all of a bucket, 9 a tenth of it; but a bucket that is empty is never too full for it.
    pub priority: u8,
    pub max_wait_us: u64,
}

impl Ask {
    /// One unit, at once or not at all.
    pub const ONE: Self = Self { cost: 1, priority: 0, max_wait_us: 0 };

    /// How much of a bucket such a request may fill.
    #[inline]
    fn share_of(&self, whole: u64) -> u64 {
        match self.priority.min(LAST_PRIORITY) {
            0 => whole,
            priority => whole - whole / 10 * u64::from(priority),
        }
    }
}

/// Why a request is not admitted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There may be room in so many microseconds.
    Later { us: u64 },
    /// It costs more than there ever is at once.
    TooLarge,
    /// All buckets near its place are in use.
    Full,
}

#[cfg(test)]
mod tests;
