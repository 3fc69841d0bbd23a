//! Whether a request is done sooner when it waits for a faster peer than when it goes to the one that has room.
//!
//! With two servers the best policy is a threshold: the slow one is used only when the queue is long enough (Lin and Kumar, "Optimal
//! control of a queueing system with two heterogeneous servers", 1984). Here the threshold follows from what was learnt of the faster
//! peers: together they free slots at a known rate, so the request's turn comes in a known time.

use super::cost::{service_us, tries};
use super::Candidate;

/// Only full peers are waited for: their answers are what ends the wait.
///
/// Whether waiting behind `ahead` others pays, for the request that would go to `peers[chosen]`.
pub fn pays(peers: &[Candidate], chosen: usize, ahead: u32) -> bool {
    let Some(service_us) = peers.get(chosen).and_then(service) else { return false };
    // slots a microsecond, and their service time
    let (mut rate, mut faster) = (0.0, 0.0);
    for peer in peers.iter().filter(|peer| peer.is_up() && !peer.has_room()) {
        let (Some(us), Some(room)) = (service(peer), peer.room) else { continue };
        if us * f64::from(CLEARLY) < service_us {
            let slots = f64::from(room.slots);
            rate += slots / us;
            faster += slots;
        }
    }
    rate > 0.0 && f64::from(ahead + 1) / rate + faster / rate < service_us
}

/// Who is not clearly faster is not worth waiting for.
pub const CLEARLY: f32 = 1.5;

fn service(peer: &Candidate) -> Option<f64> {
    let known = peer.room.is_some_and(|room| room.service_us > 0.0);
    known.then(|| service_us(peer, f64::from(peer.latency_us.unwrap_or(0.0))) * tries(peer))
}
