//! The signals of a policy out of the zone.
//!
//! Names are looked up once ([`Handles`]) and again when any name of the zone comes or goes; what cannot be found has no value, so a
//! policy treats it as stale.

use super::{Policy, View};
use crate::autoscale::metrics::zone::Zone;
use crate::autoscale::metrics::Now;
use crate::autoscale::read::{Reading, Resolved};

/// Handles of a policy's signals, by slot.
#[derive(Clone, Debug, Default)]
pub struct Handles {
    slots: Vec<Option<Resolved>>,
    /// [`Zone::changes`] when they were looked up.
    changes: u64,
}

impl Handles {
    /// Looks everything up again if a name of the zone came or went since. `tick_s` is the tick of the zone.
    pub fn refresh(&mut self, policy: &Policy, zone: &Zone<'_>, tick_s: u32) {
        let changes = zone.changes();
        if self.slots.len() == policy.signals.len() && changes == self.changes {
            return;
        }
        self.changes = changes;
        self.slots = policy.signals.iter().map(|watched| watched.signal.resolve(zone, tick_s).ok()).collect();
    }
}

/// A view of the zone at an instant.
pub struct Live<'a> {
    pub zone: &'a Zone<'a>,
    pub handles: &'a Handles,
    pub now: Now,
}

impl View for Live<'_> {
    fn read(&self, slot: usize) -> Reading {
        let resolved = self.handles.slots.get(slot).copied().flatten();
        let reading = resolved.and_then(|resolved| resolved.read(self.zone, self.now).ok());
        reading.unwrap_or(Reading { value: None, age: f64::INFINITY, samples: 0 })
    }

    fn last(&self, slot: usize, into: &mut [f64]) -> (usize, u64) {
        let resolved = self.handles.slots.get(slot).copied().flatten();
        resolved.and_then(|resolved| resolved.newest(self.zone, into).ok()).unwrap_or((0, 0))
    }
}
