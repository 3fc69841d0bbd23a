//! `autoscale_eject`: nothing is sent to a peer that fails, for a while, by any worker.
//!
//! Where a peer stands is one word of the zone ([`Standing`]), changed by compare and swap, so that all workers know it at once, a
//! reload keeps it and a worker killed at any instant leaves it whole:
//!
//! ```text
//!            failures in a row, error rate,
//!            slow, failed checks                 its time is over, or a check
//!   Well ──────(Claimed)──────────────> Ejected ──────────────────────────> Probation ──> Well
//!                                          ▲        has reached a dead one      │   so many answers
//!                                          └────────────── one failure ─────────┘
//! ```
//!
//! - *Failures in a row*, an *error rate* with a least number of answers, an ejection time that grows with each that follows and shrinks
//!   while the peer is well, and a *largest share* that is ejected at a time, of which one is always allowed: Envoy's outlier detection
//!   (`consecutive_5xx`, `failure_percentage_*`, `base_ejection_time`, `max_ejection_percent`). Its time grows by addition, ours doubles.
//! - *Probation* is the half-open state of a circuit breaker (Nygard, "Release It!", 2007): a peer that was ejected gets one request at a
//!   time until enough in a row went well, and one failure sends it back for longer.
//! - *Slow* is more than so many times the median over the peers, in its average and in its own median both: one very slow answer
//!   moves only the average, and an upstream of quick hits and slow misses only the median. With fewer than three peers nobody can say
//!   who is unusual; where all are slow, nobody is.
//! - When too few are left, ejections are ignored: Envoy's panic threshold. That comes to pass when others go, drained or removed, since
//!   by itself nothing here ejects more than the share; and when nginx's balancer has nobody left.
//!
//! A *failure* is: no connection, a timeout, a broken answer, and 500, 502, 503 and 504. A client that leaves says nothing, nor does an
//! idle connection that the peer had closed. 429 is an answer: it costs in [`super::balance`], and ejects nobody.
//!
//! An answer of a peer that is well costs one load and one comparison. What it cannot see: why a peer fails. A fault that all have in
//! common ejects the largest share, and they take turns; and a request that makes any peer fail ejects those that it is tried at.

mod change;
mod judge;
mod latency;
mod settings;
mod standing;
mod verdict;

pub use change::{Change, Why};
pub use judge::{Failure, Judge, Rotation};
pub use settings::{Check, Settings};
pub use standing::{Phase, Standing};
pub use verdict::{Ended, Verdict};

/// Words of a peer, from where its range begins.
pub(super) mod of_peer {
    pub const STANDING: usize = 0;
    /// Failures since birth.
    pub const FAILURES: usize = 1;
    /// What was counted at two moments, and when the later one was: answers in the upper half, failures in the lower half.
    pub const LATER: usize = 2;
    pub const LATER_MS: usize = 3;
    pub const EARLIER: usize = 4;
    /// Failed checks in a row.
    pub const CHECKS: usize = 5;
    /// Ejections since birth.
    pub const EJECTIONS: usize = 6;
}

/// Words of an upstream.
pub(super) mod of_upstream {
    /// Until when ejections are ignored, for ever is [`u64::MAX`].
    pub const IGNORED: usize = 0;
    /// Until when nobody need be tried to be ejected, because too many are.
    pub const FULL: usize = 1;
    /// That somebody was spared has been said.
    pub const SAID: usize = 2;
    /// When peers were last compared.
    pub const COMPARED: usize = 3;
    /// Who checks; see [`crate::autoscale::poll::claim`].
    pub const CHECKING: usize = 4;
}

#[cfg(test)]
mod tests;
