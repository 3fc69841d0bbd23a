//! The peers that this process has sent something to: their handles, without a search in the zone.
//!
//! A request is sent to one of a few addresses that the process has met before. One place by a cheap hash of the address, compared in
//! full; two addresses that share a place cost each other a search, nothing else.

use super::series::{Peer, Upstream};
use super::table::Ref;
use super::zone::Zone;
use super::Now;
use std::cell::RefCell;

const PLACES: usize = 256;
/// A longer address (a socket's path) is searched for each time.
const LONGEST: usize = 47;

#[derive(Clone, Copy)]
struct Met {
    entry: Ref<Peer>,
    upstream: Ref<Upstream>,
    /// The second in which its heat was last noted.
    warmed_s: u32,
    len: u8,
    addr: [u8; LONGEST],
}

const NOBODY: Met = Met { entry: Ref::NONE, upstream: Ref::NONE, warmed_s: 0, len: 0, addr: [0; LONGEST] };

impl Met {
    #[cold]
    fn meet(&mut self, zone: &Zone<'_>, upstream: Ref<Upstream>, addr: &[u8], now: Now) {
        let entry = zone.peer(upstream, addr, now).unwrap_or(Ref::NONE);
        *self = Self { entry, upstream, warmed_s: now.s() as u32, ..NOBODY };
        if let (Some(to), true) = (self.addr.get_mut(..addr.len()), !entry.is_none()) {
            to.copy_from_slice(addr);
            self.len = addr.len() as u8;
        } else {
            self.upstream = Ref::NONE;
        }
    }

    /// Once a second, so that nobody takes the peer for forgotten.
    #[cold]
    fn warm(&mut self, zone: &Zone<'_>, now: Now) {
        zone.table::<Peer>().touch(self.entry.index(), now);
        self.warmed_s = now.s() as u32;
    }
}

/// What one process remembers.
pub struct Recall(RefCell<Box<[Met]>>);

impl Default for Recall {
    fn default() -> Self {
        Self(RefCell::new(vec![NOBODY; PLACES].into()))
    }
}

impl Recall {
    /// What [`Zone::peer`] answers; nothing where it finds no place.
    #[inline]
    pub fn peer(&self, zone: &Zone<'_>, upstream: Ref<Upstream>, addr: &[u8], now: Now) -> Ref<Peer> {
        let mut all = self.0.borrow_mut();
        let Some(met) = all.get_mut(place(upstream, addr)) else { return Ref::NONE };
        let same = met.upstream == upstream && met.addr.get(..met.len.into()) == Some(addr);
        if !(same && zone.is_current(met.entry)) {
            met.meet(zone, upstream, addr, now);
        } else if met.warmed_s != now.s() as u32 {
            met.warm(zone, now);
        }
        met.entry
    }
}

/// Addresses differ at either end: the host's first bytes, and its last ones with the port.
#[inline]
fn place(upstream: Ref<Upstream>, addr: &[u8]) -> usize {
    let word = |chunk: Option<&[u8; 8]>| chunk.map_or(addr.len() as u64, |chunk| u64::from_le_bytes(*chunk));
    let ends = word(addr.first_chunk()) ^ word(addr.last_chunk()).rotate_left(29) ^ upstream.index() as u64;
    (ends.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize & (PLACES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscale::metrics::word::Word;
    use crate::autoscale::metrics::zone::Layout;

    const SIZE: usize = 4 << 20;

    fn at(s: u64) -> Now {
        Now::from_ms(1_000_000 + s * 1000)
    }

    fn with_zone(test: impl FnOnce(&Zone<'_>)) {
        let words: Vec<Word> = (0..SIZE / 8).map(|_| Word::new(0)).collect();
        test(&Zone::create(&words, &Layout::plan(SIZE, 0, 4).unwrap(), 1, at(0)));
    }

    #[test]
    fn it_answers_what_the_zone_answers() {
        with_zone(|zone| {
            let recall = Recall::default();
            let upstreams = [&b"a"[..], b"b"].map(|name| zone.upstream(name, at(0)).unwrap());
            let long = format!("unix:/run/{}.sock", "x".repeat(60));
            let addrs = ["10.0.0.1:80", "10.0.0.2:80", "[::1]:1", "unix:", "", &long];
            for s in [0, 0, 1] {
                for (upstream, addr) in upstreams.iter().flat_map(|u| addrs.iter().map(move |a| (*u, *a))) {
                    let entry = recall.peer(zone, upstream, addr.as_bytes(), at(s));
                    assert_eq!(zone.find_peer(upstream, addr.as_bytes()), Some(entry), "{addr}");
                }
            }
        });
    }

    #[test]
    fn addresses_that_share_a_place_are_told_apart() {
        with_zone(|zone| {
            let (recall, app) = (Recall::default(), zone.upstream(b"app", at(0)).unwrap());
            let (a, b) = (b"10.0.0.1-a-10.0.0.1:80", b"10.0.0.1-b-10.0.0.1:80");
            assert_eq!(place(app, a), place(app, b));
            for _ in 0..3 {
                assert_ne!(recall.peer(zone, app, a, at(0)), recall.peer(zone, app, b, at(0)));
            }
        });
    }

    #[test]
    fn a_peer_that_was_removed_gets_a_new_entry() {
        with_zone(|zone| {
            let (recall, app) = (Recall::default(), zone.upstream(b"app", at(0)).unwrap());
            let before = recall.peer(zone, app, b"10.0.0.1:80", at(0));
            assert!(zone.remove_peer(before));
            let after = recall.peer(zone, app, b"10.0.0.1:80", at(0));
            assert_ne!(before, after);
            assert!(zone.is_current(after));
        });
    }

    /// The zone evicts a peer only after ten minutes without use: what is answered from memory counts as a use.
    #[test]
    fn a_peer_in_use_stays_warm() {
        with_zone(|zone| {
            let (recall, app) = (Recall::default(), zone.upstream(b"app", at(0)).unwrap());
            let busy = recall.peer(zone, app, b"busy", at(0));
            (0..2000).for_each(|s| assert_eq!(recall.peer(zone, app, b"busy", at(s)), busy));
            let room = zone.layout().room().peers;
            for i in 0..2 * room {
                let s = 2000 + (i / room) as u64 * 700;
                recall.peer(zone, app, b"busy", at(s));
                zone.peer(app, format!("new{i}").as_bytes(), at(s)).ok();
            }
            assert!(zone.is_current(busy));
        });
    }
}
