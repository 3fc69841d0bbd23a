//! Probation for stock balancers: a peer that is on it has `max_conns=1`, which all of them keep to. With `zone` in the upstream that is
//! one request of all workers at a time, without it one of each.

use core::cell::RefCell;
use std::collections::HashMap;

use logic::autoscale::metrics::series::Upstream as Group;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{Health, Zone};
use logic::autoscale::metrics::Now;

use crate::ngx::Upstream;

/// Backup or not, and the address.
type Whose = (bool, Box<[u8]>);

/// What the peers had of their own.
#[derive(Default)]
pub struct Trickle(RefCell<HashMap<Whose, usize>>);

impl Trickle {
    /// Brings the balancer's peers in line with who is on probation.
    pub fn obey(&self, upstream: Upstream, entry: Ref<Group>, zone: &Zone<'_>, now: Now) {
        let mut own = self.0.borrow_mut();
        for backup in [false, true] {
            let mut peers = Vec::new();
            // an upstream without peers of that kind, or of a balancer that keeps its own, has none here
            let _ = upstream.peers(backup, |p| {
                let peer = zone.find_peer(entry, p.name);
                let proves = peer.is_some_and(|peer| zone.health(peer, now) == Health::Probation);
                let key = (backup, Box::from(p.name));
                if proves || own.contains_key(&key) {
                    peers.push((p.id, key, p.max_conns, proves));
                }
            });
            for (id, key, has, proves) in peers {
                let wanted = if proves {
                    // another worker may have changed what they share
                    own.entry(key.clone()).or_insert_with(|| configured(upstream, &key).unwrap_or(has));
                    1
                } else {
                    own.remove(&key).unwrap_or(has)
                };
                if wanted != has {
                    // a peer that is gone meanwhile needs nothing
                    let _ = upstream.set_max_conns(id, wanted);
                }
            }
        }
    }
}

/// `max_conns` of the `server` line that an address comes from. A name that is resolved while nginx runs has none.
fn configured(upstream: Upstream, (backup, addr): &Whose) -> Option<usize> {
    let mut servers = upstream.servers();
    let server = servers.find(|s| s.is_backup() == *backup && s.addresses().any(|a| *a == **addr))?;
    Some(server.max_conns())
}
