//! Probation for stock balancers: a peer that is on it has `max_conns=1`, which all of them keep to. With `zone` in the upstream that is
//! one request of all workers at a time, without it one of each.

use core::cell::RefCell;
use std::collections::HashSet;

use logic::autoscale::metrics::series::Upstream as Group;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{Health, Zone};
use logic::autoscale::metrics::Now;

use crate::ngx::{Upstream, Whose};

/// Those of this worker's balancers that are on probation.
#[derive(Default)]
pub struct Trickle(RefCell<HashSet<Whose>>);

impl Trickle {
    /// Brings the balancer's peers in line with who is on probation.
    pub fn obey(&self, upstream: Upstream, entry: Ref<Group>, zone: &Zone<'_>, now: Now) {
        let before = self.0.take();
        let mut proving = HashSet::new();
        for peer in [false, true].into_iter().flat_map(|backup| upstream.known(backup)) {
            let found = zone.find_peer(entry, &peer.whose.name);
            let proves = found.is_some_and(|found| zone.health(found, now) == Health::Probation);
            if !proves && !before.contains(&peer.whose) {
                continue;
            }
            // not what it has now: that may be what another worker has given it
            let own = || upstream.server_of(&peer).map_or(0, |server| server.max_conns());
            let wanted = if proves { 1 } else { own() };
            if wanted != peer.max_conns {
                // a peer that is gone meanwhile needs nothing
                let _ = upstream.set_max_conns(&peer.whose, wanted);
            }
            if proves {
                proving.insert(peer.whose);
            }
        }
        self.0.replace(proving);
    }
}
