//! Peers that work and fail on demand, and a client that does not wait for answers: the two ends of `ci/bench traffic`,
//! with any gateway between them.
//!
//! Both are one thread around epoll, because they share two processors with the gateway: what they cost they take from
//! it, and when they are late they measure themselves. The client says how late it was.

pub mod clock;
pub mod events;
pub mod http;
pub mod load;
pub mod peers;
pub mod random;
pub mod report;
pub mod scenario;
pub mod slots;
pub mod stats;
pub mod trace;

/// Peers, and how many requests each works on at once.
pub const PEERS: usize = 8;
pub const SLOTS: usize = 2;
/// The mean of the exponential service time, in microseconds.
pub const WORK_US: f64 = 20_000.0;
/// Requests a second that all peers can do together.
pub const CAPACITY: f64 = (PEERS * SLOTS) as f64 * 1e6 / WORK_US;
/// An answer later than this after the intended send time is worth nothing.
pub const DEADLINE_NS: u64 = 500_000_000;
/// So long after the intended send time a client hangs up.
pub const PATIENCE_NS: u64 = 1_000_000_000;
