//! What a peer costs but for what is in flight there, kept from one choice to the next.
//!
//! Between two choices little changes: one peer has answered, and the others have what they had. Whoever keeps a [`Standing`] for each
//! compares eight peers in half the instructions.

use super::cost::{larger, per_slot, service_us, share, weighed_latency_us, Usual, CROWD, STUCK};
use super::{Candidate, Rule};

/// Of a peer that is up and within what was said of it, has its whole share, reports no load, and fails nobody.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    made_of: (u64, u64),
    /// What it adds to what is usual.
    pub(super) latency_us: f64,
    /// What the first request costs, by how much each one in flight makes the next one dearer, and what each costs at least once there are
    /// more than slots: the straight lines of [`super::cost::busy`].
    first: f64,
    each: f64,
    beyond: f64,
    /// When those that wait have seen no answer for longer, it costs more.
    patience_us: u64,
    /// There is room for so many at any time.
    sure: u32,
}

impl Default for Standing {
    /// Made of what no words are.
    fn default() -> Self {
        let made_of = (u64::MAX, u64::MAX);
        Standing { made_of, latency_us: 0.0, first: 0.0, each: 0.0, beyond: 0.0, patience_us: 0, sure: 0 }
    }
}

impl Standing {
    /// `None` for a peer of which nothing is known. `made_of` are the words from which latency and room were read, and `sure` is the least
    /// of all limits that the room can have as long as those are the same.
    pub fn of(
        peer: &Candidate,
        rule: Rule,
        usual: &Usual,
        made_of: (u64, u64),
        sure: u32,
    ) -> Option<Standing> {
        let latency_us = f64::from(peer.latency_us?);
        let (first, per_slot, patience_us) = match rule {
            Rule::LeastRequest => (share(peer), 0.0, u64::MAX),
            Rule::PeakEwma => {
                let us = service_us(&Candidate { stuck_us: 0, ..*peer }, weighed_latency_us(peer, usual));
                (us * share(peer), per_slot(peer), ((STUCK + 1.0) * us) as u64)
            }
        };
        let (each, beyond) = if per_slot > 0.0 { (first * CROWD, first * per_slot) } else { (first, 0.0) };
        Some(Standing { made_of, latency_us, first, each, beyond, patience_us, sure })
    }

    /// It was made of these.
    #[inline]
    pub fn is_of(&self, made_of: (u64, u64)) -> bool {
        self.made_of == made_of
    }

    /// There is room beyond so many whatever the time is.
    #[inline]
    pub fn has_room(&self, occupied: u32) -> bool {
        occupied < self.sure
    }

    /// Those that wait have not waited for so long that it costs more.
    #[inline]
    pub fn is_patient(&self, stuck_us: u64) -> bool {
        stuck_us <= self.patience_us
    }

    /// What one more costs.
    #[inline(always)]
    pub fn cost(&self, inflight: u32) -> f64 {
        let inflight = f64::from(inflight);
        larger(self.first + self.each * inflight, self.beyond + self.beyond * inflight)
    }
}
