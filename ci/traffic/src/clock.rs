//! The one clock, the same for every process of a machine: peers say when a request arrived, and the client knows how
//! long the gateway had kept it.

use rustix::time::{clock_gettime, ClockId};

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Lets this thread be woken on time: the kernel rounds sleeps by 50 us otherwise.
pub fn sharpen() {
    // refused by no kernel; a client that is late would say so
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}
