//! For how long one may wait, and when to come again.

/// A queue may make its first one wait for this long, or for so many services, or for as long as so many take that follow each other.
const STANDS_US: f64 = 100_000.0;
const SERVICES: f64 = 2.0;
const AHEAD: f64 = 16.0;
/// A burst may make it wait for so many times as long; once it has stood, it may not for so many times as long.
const BURST: u64 = 3;
const ONCE: u64 = 30;
/// A client is never sent away for longer.
const LONGEST_S: u64 = 120;
const UNKNOWN_S: u64 = 10;

/// How fast an upstream serves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// How long a service takes; zero when nobody knows.
    pub service_us: f64,
    /// How many are served at a time.
    pub inflight: u32,
}

impl Pace {
    /// A flow whose first one has waited for so long has a standing queue: it asks for more than it gets. By Little's law something
    /// is served every `service / in flight`.
    pub fn stands_us(&self) -> u64 {
        if self.service_us <= 0.0 {
            // until one is done, nobody knows what is long
            return u64::MAX;
        }
        let each = self.service_us / f64::from(self.inflight.max(1));
        STANDS_US.max(SERVICES * self.service_us).max(AHEAD * each) as u64
    }

    /// For how long the first one of a queue may wait while what comes is served.
    pub fn burst_us(&self) -> u64 {
        self.stands_us().saturating_mul(BURST)
    }

    /// For how long an upstream is taken for overloaded after it was.
    pub fn once_us(&self) -> u64 {
        self.stands_us().saturating_mul(ONCE)
    }

    /// How long one may wait in a standing queue.
    pub fn target_us(&self) -> u64 {
        self.stands_us() / 2
    }
}

/// After how many seconds a client may come again, when `ahead` wait and so many are served a second.
pub fn retry_after_s(ahead: u32, served_per_s: f64) -> u64 {
    if served_per_s <= 0.0 {
        return UNKNOWN_S;
    }
    ((f64::from(ahead) / served_per_s).ceil() as u64).clamp(1, LONGEST_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_the_service() {
        let table = [
            ((0.0, 0), u64::MAX),
            ((1_000.0, 16), 100_000),
            ((20_000.0, 16), 100_000),
            ((200_000.0, 16), 400_000),
            ((20_000.0, 1), 320_000),
            ((5_000_000.0, 8), 10_000_000),
        ];
        for ((service_us, inflight), us) in table {
            let pace = Pace { service_us, inflight };
            assert_eq!((pace.stands_us(), pace.target_us()), (us, us / 2), "{pace:?}");
        }
    }

    #[test]
    fn clients_come_again_when_the_queue_is_drained() {
        let table =
            [((0, 800.0), 1), ((800, 800.0), 1), ((801, 800.0), 2), ((50, 0.0), 10), ((9_999, 1.0), 120)];
        for ((ahead, rate), seconds) in table {
            assert_eq!(retry_after_s(ahead, rate), seconds, "{ahead} at {rate}/s");
        }
    }
}
