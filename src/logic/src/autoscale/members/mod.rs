//! Membership at run time: what sources of peers say, and what follows.
//!
//! A source (DNS, Kubernetes, Consul, a file) names all the peers that it knows; [`apply`] brings the zone to it. What comes from
//! elsewhere is bounded and may be wrong: a source that says nothing, or no more than that there is nobody, takes no peer away, because
//! to send requests to those who were there is better than to send them nowhere. Who is really gone, their failures tell.

pub mod address;
pub mod consul;
pub mod feed;
pub mod lease;
pub mod lines;
pub mod slices;

use super::metrics::series::Upstream;
use super::metrics::table::Ref;
use super::metrics::zone::{Denied, Source, Terms, Zone};
use super::metrics::Now;
use std::collections::HashSet;

/// More than this no source may name: a mistake elsewhere must not fill the zone.
pub const MOST: usize = 10_000;

/// A peer that a source names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As nginx prints it.
    pub addr: String,
    pub weight: u16,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub added: usize,
    pub removed: usize,
    /// The source named nobody: those that it had named stay.
    pub kept: usize,
    /// Why the first of those that found no place did not.
    pub denied: Option<Denied>,
}

/// Makes the peers of a source those that it names. Newcomers are added before others are taken back, so that at no moment there are
/// fewer than before and after.
pub fn apply(
    zone: &Zone<'_>,
    upstream: Ref<Upstream>,
    source: Source,
    wanted: &[Wanted],
    drain_s: u64,
    now: Now,
) -> Applied {
    let mut applied = Applied::default();
    let mine = || zone.members_of(upstream, source);
    if wanted.is_empty() {
        applied.kept = mine().len();
        return applied;
    }
    for peer in wanted.iter().take(MOST) {
        let terms = Terms { weight: peer.weight, slow_start_ms: None };
        match zone.add_peer(upstream, peer.addr.as_bytes(), source, terms, now) {
            Ok(changed) => applied.added += usize::from(changed),
            Err(denied) => applied.denied = applied.denied.or(Some(denied)),
        }
    }
    let named: HashSet<&[u8]> = wanted.iter().map(|peer| peer.addr.as_bytes()).collect();
    let is_left = |name: &Vec<u8>| !named.contains(name.as_slice());
    let left: Vec<_> =
        mine().into_iter().filter(|peer| zone.name(*peer).as_ref().is_some_and(is_left)).collect();
    // nobody of the new ones found a place: the former ones are all there is
    if applied.denied.is_some() && mine().len() == left.len() {
        applied.kept = left.len();
        return applied;
    }
    for peer in left {
        applied.removed += usize::from(zone.withdraw_peer(peer, source, drain_s, now));
    }
    applied
}

#[cfg(test)]
mod tests;
