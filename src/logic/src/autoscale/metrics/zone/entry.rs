//! Upstreams, peers, keys and custom metrics by name: who gets a place, and who has to go.

use super::control::{CONFIGURED, GONE};
use super::side::{clear, Sided};
use super::{Dists, Meters, Zone, KEYS_GIVEN, REFUSED};
use crate::autoscale::metrics::columns::Levels;
use crate::autoscale::metrics::custom::{Dist, Meter};
use crate::autoscale::metrics::series::{Key, Name, Peer, Series, Shape, Upstream};
use crate::autoscale::metrics::table::{Kind, Part, Ref, Refused, Tenancy};
use crate::autoscale::metrics::word::{add, get, Word};
use crate::autoscale::metrics::Now;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::Duration;
use thiserror::Error;

/// Who reports a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// A script, by `as.incr`.
    Script = 0,
    /// An external signal.
    External = 1,
    /// The gateway about itself.
    Gateway = 2,
}

/// A peer that nothing was sent to for this long may lose its place when the table is full.
const PEER_IDLE_S: u64 = 600;

/// Nothing was sent to it for so long that every window is empty.
const SILENT_S: u64 = 4800;

/// How often a name that another process is writing at this moment is looked for again. Writing one takes microseconds, so the other
/// one is off its processor: after a few times, wait in earnest. In all about ten milliseconds, for what is met once in a process's life
/// (names of the configuration are written by the master alone, before there are workers).
const PATIENCE: u32 = 300;
const SPINS: u32 = 200;
const PAUSE: Duration = Duration::from_micros(100);

/// Why an entry was not made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Denied {
    #[error("no room for {what} \"{name}\" in the zone: make it larger")]
    Full { what: &'static str, name: String },
    #[error("{what} \"{name}\" is being written by another process")]
    Busy { what: &'static str, name: String },
    #[error("peer \"{name}\" is of an upstream that has no place in the zone")]
    Homeless { name: String },
}

/// A key value together with its name: both are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRef {
    pub name: Ref<Name>,
    pub value: Ref<Key>,
}

impl KeyRef {
    /// Refers to nothing.
    pub const NONE: Self = Self { name: Ref::NONE, value: Ref::NONE };
}

/// How cold an entry is; `None` when it may not be evicted.
type Coldness<K> = fn(&Zone<'_>, Now, Ref<K>) -> Option<u64>;

/// Moves new owners of places in, and says who may be evicted for them.
struct Landlord<'z, 'a, K> {
    zone: &'z Zone<'a>,
    now: Now,
    coldness: Coldness<K>,
    reset: fn(&[Word], Now),
    kind: PhantomData<K>,
}

impl<K: Kind> Tenancy for Landlord<'_, '_, K> {
    fn coldness(&self, index: usize, gen: u16) -> Option<u64> {
        (self.coldness)(self.zone, self.now, Ref::new(index as u32, gen))
    }

    fn move_in(&self, index: usize) {
        (self.reset)(self.zone.data::<K>(index), self.now);
    }
}

fn never<K>(_: &Zone<'_>, _: Now, _: Ref<K>) -> Option<u64> {
    None
}

/// The least used goes, of equals the one that was idle longest.
fn coldest<K: Kind>(zone: &Zone<'_>, now: Now, entry: Ref<K>) -> Option<u64> {
    let (warm, idle_s) = zone.table::<K>().heat(entry.index(), now);
    Some((u64::from(u32::MAX) - warm) << 32 | idle_s.min(u64::from(u32::MAX)))
}

/// A peer that is forgotten by its upstream goes, not one that somebody has said something about.
fn forgotten(zone: &Zone<'_>, now: Now, entry: Ref<Peer>) -> Option<u64> {
    let table = zone.table::<Peer>();
    let idle_s = table.heat(entry.index(), now).1;
    let bits = get(table.control(entry.index()));
    let idle = zone.levels(entry) == Levels::default() && !zone.has_been_added(entry);
    let unused = bits & !(CONFIGURED | GONE) == 0 && idle_s > PEER_IDLE_S;
    (idle && (unused || bits & GONE != 0)).then_some(idle_s)
}

/// Counters of scripts go; what the configuration has named stays.
fn counters(zone: &Zone<'_>, now: Now, entry: Ref<Meters>) -> Option<u64> {
    let owner = zone.table::<Meters>().owner(entry);
    (owner == Reporter::Script as u32).then(|| coldest(zone, now, entry))?
}

fn reset<S: Shape>(words: &[Word], now: Now) {
    Series::<S>::new(words).reset(now);
}

fn reset_sided<S: Shape + Sided>(words: &[Word], now: Now) {
    clear::<S>(words);
    reset::<S>(words, now);
}

impl<'a> Zone<'a> {
    fn insert<K: Kind>(
        &self,
        part: Part,
        what: &'static str,
        (owner, name): (u32, &[u8]),
        landlord: &Landlord<'_, 'a, K>,
    ) -> Result<Ref<K>, Denied> {
        let table = self.table::<K>();
        let found = || {
            let found = table.find(part, owner, name);
            found.map_or_else(|| table.insert(part, owner, name, landlord.now, landlord), Ok)
        };
        let mut entry = found();
        for i in 0..PATIENCE {
            if !matches!(entry, Err(Refused::Busy)) {
                break;
            }
            if i < SPINS {
                std::thread::yield_now();
            } else {
                std::thread::sleep(PAUSE);
            }
            entry = found();
        }
        let entry = entry.map_err(|refused| {
            let name = String::from_utf8_lossy(name).into_owned();
            match refused {
                Refused::Full => Denied::Full { what, name },
                Refused::Busy => Denied::Busy { what, name },
            }
        });
        match &entry {
            Ok(entry) => table.touch(entry.index(), landlord.now),
            Err(Denied::Full { .. }) => add(&self.words[REFUSED + K::TABLE], 1),
            Err(_) => {}
        }
        entry
    }

    fn landlord<K>(&self, now: Now, coldness: Coldness<K>, reset: fn(&[Word], Now)) -> Landlord<'_, 'a, K> {
        Landlord { zone: self, now, coldness, reset, kind: PhantomData }
    }
}

/// Finding and making entries by name.
impl<'a> Zone<'a> {
    pub fn upstream(&self, name: &[u8], now: Now) -> Result<Ref<Upstream>, Denied> {
        let landlord = self.landlord(now, never, reset_sided::<Upstream>);
        let entry = self.insert(self.table::<Upstream>().whole(), "upstream", (0, name), &landlord)?;
        self.unmark(entry, GONE);
        Ok(entry)
    }

    /// The upstreams, of all that the zone knows, that the configuration has now; the others are no longer listed.
    pub fn keep_upstreams(&self, named: &[Ref<Upstream>]) {
        let table = self.table::<Upstream>();
        let others = table.entries(table.whole()).filter(|entry| !named.contains(entry));
        others.for_each(|entry| self.mark(entry, GONE));
    }

    fn mark<K: Kind>(&self, entry: Ref<K>, marks: u64) {
        let word = self.table::<K>().control(entry.index());
        if get(word) & marks != marks {
            word.fetch_or(marks, AcqRel);
        }
    }

    fn unmark<K: Kind>(&self, entry: Ref<K>, marks: u64) {
        let word = self.table::<K>().control(entry.index());
        if get(word) & marks != 0 {
            word.fetch_and(!marks, AcqRel);
        }
    }

    fn is_marked<K: Kind>(&self, entry: Ref<K>, mark: u64) -> bool {
        get(self.table::<K>().control(entry.index())) & mark != 0
    }

    pub fn find_upstream(&self, name: &[u8]) -> Option<Ref<Upstream>> {
        let table = self.table::<Upstream>();
        table.find(table.whole(), 0, name)
    }

    /// Those that a configuration has given a place to, be it the one that runs or the one to come.
    pub fn all_upstreams(&self) -> Vec<Ref<Upstream>> {
        let table = self.table::<Upstream>();
        table.entries(table.whole()).collect()
    }

    /// The same of an upstream's peers.
    pub fn all_peers(&self, upstream: Ref<Upstream>) -> Vec<Ref<Peer>> {
        let table = self.table::<Peer>();
        let of = |peer: &Ref<Peer>| table.owner(*peer) == upstream.index() as u32;
        table.entries(table.whole()).filter(|peer| !upstream.is_none() && of(peer)).collect()
    }

    /// Those that the configuration has.
    pub fn upstreams(&self) -> Vec<Ref<Upstream>> {
        let table = self.table::<Upstream>();
        table.entries(table.whole()).filter(|entry| !self.is_marked(*entry, GONE)).collect()
    }

    /// A peer of an upstream, by its address as nginx prints it. Something is sent to it, so it is not gone.
    pub fn peer(&self, upstream: Ref<Upstream>, addr: &[u8], now: Now) -> Result<Ref<Peer>, Denied> {
        if upstream.is_none() {
            // its number is that of the first upstream, which must not get strangers
            return Err(Denied::Homeless { name: String::from_utf8_lossy(addr).into_owned() });
        }
        let landlord = self.landlord(now, forgotten, reset_sided::<Peer>);
        let owner = upstream.index() as u32;
        let entry = self.insert(self.table::<Peer>().whole(), "peer", (owner, addr), &landlord)?;
        self.unmark(entry, GONE);
        Ok(entry)
    }

    /// A peer that the configuration, or what it resolves to, names.
    pub fn configured_peer(
        &self,
        upstream: Ref<Upstream>,
        addr: &[u8],
        now: Now,
    ) -> Result<Ref<Peer>, Denied> {
        let entry = self.peer(upstream, addr, now)?;
        self.mark(entry, CONFIGURED);
        Ok(entry)
    }

    /// Gives a place to a peer of a configuration that does not run yet: until it does, the peer is not listed.
    pub fn reserve_peer(&self, upstream: Ref<Upstream>, addr: &[u8], now: Now) -> Result<Ref<Peer>, Denied> {
        if let Some(entry) = self.find_peer(upstream, addr) {
            return Ok(entry);
        }
        let entry = self.peer(upstream, addr, now)?;
        self.mark(entry, GONE);
        Ok(entry)
    }

    /// The same for an upstream.
    pub fn reserve_upstream(&self, name: &[u8], now: Now) -> Result<Ref<Upstream>, Denied> {
        if let Some(entry) = self.find_upstream(name) {
            return Ok(entry);
        }
        let entry = self.upstream(name, now)?;
        self.mark(entry, GONE);
        Ok(entry)
    }

    /// The peers of an upstream that the configuration has now. Others that it had once are gone; those that it never had, because
    /// scripts choose them, stay.
    pub fn keep_peers(&self, upstream: Ref<Upstream>, named: &[Ref<Peer>]) {
        let others = self.peers(upstream).into_iter().filter(|peer| !named.contains(peer));
        others.filter(|peer| self.is_marked(*peer, CONFIGURED)).for_each(|peer| self.mark(peer, GONE));
    }

    /// Removes the peers that the configuration does not name once all their windows are empty: to be called now and then.
    pub fn drop_silent_peers(&self, now: Now) {
        let table = self.table::<Peer>();
        for peer in table.entries(table.whole()) {
            let named = self.is_marked(peer, CONFIGURED) && !self.is_marked(peer, GONE);
            let named = named || self.member(peer).is_some();
            let silent = !named && table.heat(peer.index(), now).1 > SILENT_S;
            if silent && self.levels(peer) == Levels::default() {
                self.drop_peer(peer, now);
            }
        }
    }

    pub fn find_peer(&self, upstream: Ref<Upstream>, addr: &[u8]) -> Option<Ref<Peer>> {
        let table = self.table::<Peer>();
        let found = || table.find(table.whole(), upstream.index() as u32, addr);
        (!upstream.is_none()).then(found)?
    }

    /// The peers of an upstream, without those that are gone. Looks through all peers: to be cached while [`Zone::changes`] stays the
    /// same.
    pub fn peers(&self, upstream: Ref<Upstream>) -> Vec<Ref<Peer>> {
        let table = self.table::<Peer>();
        let of = |peer: &Ref<Peer>| table.owner(*peer) == upstream.index() as u32 && !self.is_gone(*peer);
        table.entries(table.whole()).filter(|peer| !upstream.is_none() && of(peer)).collect()
    }

    pub fn remove_peer(&self, peer: Ref<Peer>) -> bool {
        self.table::<Peer>().remove(peer)
    }

    /// A label of `autoscale_key` with room for `top` values. Asked again with another `top`, it keeps the room that it has.
    pub fn key_name(&self, name: &[u8], top: usize, now: Now) -> Result<Ref<Name>, Denied> {
        let table = self.table::<Name>();
        let landlord = self.landlord(now, never, reset::<Name>);
        let entry = self.insert(table.whole(), "key", (0, name), &landlord)?;
        let part = table.control(entry.index());
        if get(part) == 0 && !self.give_part(part, top.max(1)) {
            add(&self.words[REFUSED + Name::TABLE], 1);
            return Err(Denied::Full { what: "key", name: String::from_utf8_lossy(name).into_owned() });
        }
        Ok(entry)
    }

    /// Cuts a part off the key values. Who loses the race gives back what it cut.
    fn give_part(&self, part: &Word, top: usize) -> bool {
        let room = self.layout.room().keys;
        let given = &self.words[KEYS_GIVEN];
        let start = given.load(Acquire) as usize;
        let len = top.min(room.saturating_sub(start));
        let end = (start + len) as u64;
        let cut = len > 0 && given.compare_exchange(start as u64, end, AcqRel, Acquire).is_ok();
        if cut && part.compare_exchange(0, (len as u64) << 32 | start as u64, AcqRel, Acquire).is_err() {
            let _ = given.compare_exchange(end, start as u64, AcqRel, Acquire);
        }
        get(part) != 0
    }

    pub fn find_key_name(&self, name: &[u8]) -> Option<Ref<Name>> {
        let table = self.table::<Name>();
        table.find(table.whole(), 0, name)
    }

    pub fn key_names(&self) -> Vec<Ref<Name>> {
        let table = self.table::<Name>();
        table.entries(table.whole()).collect()
    }

    fn part(&self, name: Ref<Name>) -> Part {
        let table = self.table::<Name>();
        let bits = if table.is_current(name) { get(table.control(name.index())) } else { 0 };
        Part { start: (bits & 0xffff_ffff) as usize, len: (bits >> 32) as usize }
    }

    /// The value of a label that a request carries. When the label has as many values as it may, the coldest near it goes.
    #[inline]
    pub fn key(&self, name: Ref<Name>, value: &[u8], now: Now) -> Result<KeyRef, Denied> {
        let (part, owner, table) = (self.part(name), name.index() as u32, self.table::<Key>());
        match table.find(part, owner, value) {
            Some(value) => {
                table.touch(value.index(), now);
                Ok(KeyRef { name, value })
            }
            None => self.new_key(name, value, now),
        }
    }

    #[cold]
    fn new_key(&self, name: Ref<Name>, value: &[u8], now: Now) -> Result<KeyRef, Denied> {
        let landlord = self.landlord(now, coldest::<Key>, reset::<Key>);
        let value = self.insert(self.part(name), "key value", (name.index() as u32, value), &landlord)?;
        Ok(KeyRef { name, value })
    }

    pub fn find_key(&self, name: Ref<Name>, value: &[u8]) -> Option<Ref<Key>> {
        self.table::<Key>().find(self.part(name), name.index() as u32, value)
    }

    pub fn keys(&self, name: Ref<Name>) -> Vec<Ref<Key>> {
        self.table::<Key>().entries(self.part(name)).collect()
    }

    /// The counter of `as.incr(name, n, key)`.
    pub fn counter(&self, name: &[u8], key: Option<&[u8]>, now: Now) -> Result<Ref<Meters>, Denied> {
        joined(name, b'/', key, |name| self.new_meter(Reporter::Script, "counter", name, now))
    }

    /// The counter, if it is there already: what nearly every report finds, without allocating.
    pub fn known_counter(&self, name: &[u8], key: Option<&[u8]>, now: Now) -> Option<Ref<Meters>> {
        let found = self.find_meter(Reporter::Script, name, key)?;
        self.table::<Meters>().touch(found.index(), now);
        Some(found)
    }

    /// The distribution, if it is there already.
    pub fn known_distribution(&self, name: &[u8], key: Option<&[u8]>, now: Now) -> Option<Ref<Dists>> {
        let found = self.find_distribution(name, key)?;
        self.table::<Dists>().touch(found.index(), now);
        Some(found)
    }

    /// The level of an external signal.
    pub fn external(&self, name: &[u8], field: Option<&[u8]>, now: Now) -> Result<Ref<Meters>, Denied> {
        joined(name, b'.', field, |name| self.new_meter(Reporter::External, "external signal", name, now))
    }

    /// A level of the gateway itself: `cpu`, `mem`.
    pub fn gateway(&self, metric: &[u8], now: Now) -> Result<Ref<Meters>, Denied> {
        self.new_meter(Reporter::Gateway, "level", metric, now)
    }

    fn new_meter(
        &self,
        reporter: Reporter,
        what: &'static str,
        name: &[u8],
        now: Now,
    ) -> Result<Ref<Meters>, Denied> {
        let landlord = self.landlord(now, counters, |words, now| Meter::new(words).reset(now));
        self.insert(self.table::<Meters>().whole(), what, (reporter as u32, name), &landlord)
    }

    pub fn find_meter(&self, reporter: Reporter, name: &[u8], part: Option<&[u8]>) -> Option<Ref<Meters>> {
        let table = self.table::<Meters>();
        let separator = if reporter == Reporter::Script { b'/' } else { b'.' };
        joined(name, separator, part, |name| table.find(table.whole(), reporter as u32, name))
    }

    /// The word by which workers take turns at reporting a level, `None` when it is gone.
    pub fn turns(&self, entry: Ref<Meters>) -> Option<&'a Word> {
        let table = self.table::<Meters>();
        table.is_current(entry).then(|| table.control(entry.index()))
    }

    /// Drops the external signals that the configuration does not name any more.
    pub fn keep_externals(&self, names: &[&str]) {
        let table = self.table::<Meters>();
        for entry in self.meters(Reporter::External) {
            let Some(name) = table.name(entry) else { continue };
            let signal = name.split(|b| *b == b'.').next().unwrap_or_default();
            if !names.iter().any(|kept| kept.as_bytes() == signal) {
                table.remove(entry);
            }
        }
    }

    /// All that one reporter reports.
    pub fn meters(&self, reporter: Reporter) -> Vec<Ref<Meters>> {
        let table = self.table::<Meters>();
        table.entries(table.whole()).filter(|entry| table.owner(*entry) == reporter as u32).collect()
    }

    /// The distribution of `as.observe(name, value, key)`.
    pub fn distribution(&self, name: &[u8], key: Option<&[u8]>, now: Now) -> Result<Ref<Dists>, Denied> {
        let landlord = self.landlord(now, coldest::<Dists>, |words, now| Dist::new(words).reset(now));
        let whole = self.table::<Dists>().whole();
        joined(name, b'/', key, |name| self.insert(whole, "distribution", (0, name), &landlord))
    }

    pub fn find_distribution(&self, name: &[u8], key: Option<&[u8]>) -> Option<Ref<Dists>> {
        let table = self.table::<Dists>();
        joined(name, b'/', key, |name| table.find(table.whole(), 0, name))
    }

    pub fn distributions(&self) -> Vec<Ref<Dists>> {
        let table = self.table::<Dists>();
        table.entries(table.whole()).collect()
    }

    /// The name of an entry, as much of it as is kept.
    pub fn name<K: Kind>(&self, entry: Ref<K>) -> Option<Vec<u8>> {
        self.table::<K>().name(entry)
    }

    /// Samples the levels of every upstream and peer: to be called once a second by whoever gets [`Zone::tick`].
    pub fn sample_levels(&self, now: Now) {
        self.sample::<Upstream>(now);
        self.sample::<Peer>(now);
    }

    /// Makes every upstream and peer ready for the second to come: to be called once a second, as [`Zone::sample_levels`].
    pub fn prepare(&self, now: Now) {
        self.prepare_all::<Upstream>(now);
        self.prepare_all::<Peer>(now);
    }

    fn prepare_all<K: Kind + Shape>(&self, now: Now) {
        let table = self.table::<K>();
        table.entries(table.whole()).filter_map(|entry| self.series(entry)).for_each(|s| s.prepare(now));
    }

    fn sample<K: Kind + Shape>(&self, now: Now) {
        let table = self.table::<K>();
        for entry in table.entries(table.whole()) {
            let levels = self.levels(entry);
            if let Some(series) = self.series(entry) {
                series.levels(now, levels.active, levels.waiting, levels.queued);
            }
        }
    }
}

/// Calls `f` with a name and its part as one; allocates only for one of more than [`ROOM`] bytes.
fn joined<T>(name: &[u8], separator: u8, part: Option<&[u8]>, f: impl FnOnce(&[u8]) -> T) -> T {
    let Some(part) = part else { return f(name) };
    let mut room = [0; ROOM];
    let Some(whole) = room.get_mut(..name.len() + 1 + part.len()) else {
        return f(&[name, &[separator], part].concat());
    };
    whole[..name.len()].copy_from_slice(name);
    whole[name.len()] = separator;
    whole[name.len() + 1..].copy_from_slice(part);
    f(whole)
}

const ROOM: usize = 256;
