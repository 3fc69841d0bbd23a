//! What a request that is refused is told, and what is logged of it: a line a second at most.

use core::cell::Cell;

use logic::autoscale::metrics::flight::{reject, MOST_KEYS};
use logic::autoscale::metrics::zone::KeyRef;
use logic::autoscale::metrics::Now;
use logic::autoscale::queue::{pace, Full};

use super::{Guard, Protect, Shell};
use crate::ngx::{clock, log_cycle, Level, Released};
use crate::scale::collect;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// It found the queue full.
    Full(Full),
    /// It has waited for too long.
    Late,
    /// Another one took its place in a queue that is full.
    Displaced,
    /// Its place is gone.
    Lost,
}

/// What has happened since the last line about it.
#[derive(Default)]
pub struct Refusals {
    full: Cell<u64>,
    late: Cell<u64>,
    displaced: Cell<u64>,
    said_s: Cell<u64>,
    observed: Cell<u64>,
    observed_s: Cell<u64>,
    spent: Cell<u64>,
    spent_s: Cell<u64>,
}

fn one_more(count: &Cell<u64>) -> u64 {
    count.set(count.get() + 1);
    count.get()
}

/// Whether a line may be written in this second.
fn is_due(said_s: &Cell<u64>, now: Now) -> bool {
    said_s.replace(now.s()) != now.s()
}

impl Refusals {
    fn count(&self, guard: &Guard, why: Why, waiting: u32, now: Now) {
        one_more(match why {
            Why::Full(_) => &self.full,
            Why::Late => &self.late,
            Why::Displaced | Why::Lost => &self.displaced,
        });
        if is_due(&self.said_s, now) {
            let (full, late, displaced) = (self.full.take(), self.late.take(), self.displaced.take());
            let text = match why {
                Why::Full(full) => format!(": {full}"),
                _ => String::new(),
            };
            let all = full + late + displaced;
            log_cycle(
                Level::Warn,
                &format!(
                    "upstream \"{}\" has no room: {all} refused ({late} waited for too long, {full} found the queue full{text}, {displaced} made way for others), {waiting} wait",
                    guard.name
                ),
            );
        }
    }

    /// Somebody would have had to wait, and goes because nothing is to be changed.
    pub fn observe(&self, name: &str, now: Now) {
        one_more(&self.observed);
        if is_due(&self.observed_s, now) {
            let count = self.observed.take();
            log_cycle(
                Level::Warn,
                &format!("upstream \"{name}\" has no room: {count} would have had to wait (observe)"),
            );
        }
    }

    /// A retry was not made.
    pub fn spent(&self, name: &str, now: Now) {
        one_more(&self.spent);
        if is_due(&self.spent_s, now) {
            let count = self.spent.take();
            log_cycle(
                Level::Warn,
                &format!("upstream \"{name}\" has spent its retry budget: {count} not tried again"),
            );
        }
    }
}

impl Protect {
    /// A request is refused: counts it, and says when to come again. Its answer is the caller's.
    pub fn refused(&self, shell: &Shell, released: &Released, why: Why) {
        let (Some(guard), Some(queues)) = (self.guard(released.upstream), &self.queues) else { return };
        if let Some(slot) = released.slot {
            queues.leave(slot);
        }
        let (request, now) = (released.request, clock::monotonic());
        let waiting = queues.pressure(&guard.lane).waiting;
        let seconds = pace::retry_after_s(waiting + 1, guard.served_per_s(shell, now));
        request.say_retry_after(seconds);
        let mut labels = [KeyRef::NONE; MOST_KEYS];
        let count = collect::label(shell, request, &mut labels);
        reject(&shell.zone, guard.entry, &labels[..count], now);
        guard.refusals.count(guard, why, waiting, now);
    }
}
