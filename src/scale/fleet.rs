//! The peers of one upstream: what nginx's balancer has, beside what the zone knows of them.

use core::cell::{Cell, RefCell};
use std::collections::HashMap;

use logic::autoscale::balance::{pick, Candidate, Settings};
use logic::autoscale::metrics::series::{Peer, Series, Time, Upstream as Group};
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{Control, State, Zone};
use logic::autoscale::metrics::Now;
use logic::autoscale::pool::Plan;
use logic::autoscale::signal::hint;

use super::pool::Pool;
use crate::ngx::{PeerId, Upstream};

/// Over how many seconds the error rate of a listed peer is: what a signal means without a window.
const WINDOW_S: u64 = 5;

/// An observed upstream.
pub struct Fleet {
    pub name: Box<str>,
    upstream: Option<Upstream>,
    entry: Ref<Group>,
    members: RefCell<Vec<Member>>,
    /// Changes when the addresses do.
    generation: Cell<i32>,
    candidates: RefCell<Vec<Candidate>>,
    rules: Settings,
    roster: RefCell<Vec<Listed>>,
    replaced: RefCell<HashMap<Whose, Replaced>>,
    pub pool: Option<Pool>,
    /// Its pool could take requests, and nobody of it does.
    asleep: Cell<bool>,
}

/// A peer of the configuration: the primary ones first, then the backup ones.
struct Member {
    addr: Box<[u8]>,
    entry: Cell<Ref<Peer>>,
    backup: bool,
    /// As nginx's balancer has them.
    weight: Cell<u16>,
    down: Cell<bool>,
}

struct Listed {
    addr: Box<[u8]>,
    entry: Ref<Peer>,
    /// `None` when only the zone knows the peer.
    member: Option<(u16, bool, bool)>,
}

/// What `as.peers` says of a peer.
pub struct Row {
    pub addr: Box<[u8]>,
    pub active: u32,
    pub waiting: u32,
    /// Seconds.
    pub latency: Option<f64>,
    pub error_rate: Option<f64>,
    pub weight: u16,
    pub control: Control,
    pub backup: bool,
    pub down: bool,
}

/// What becomes of a choice.
pub enum Choice {
    /// The number of a member.
    Member(usize),
    Nobody,
    /// The caller's list of addresses is not the one that holds.
    Stale,
}

impl Fleet {
    pub fn new(
        name: &str,
        upstream: Option<Upstream>,
        entry: Ref<Group>,
        (plan, read_us): (Option<Plan>, u64),
        zone: &Zone<'_>,
        now: Now,
    ) -> Fleet {
        let mut fleet = Fleet {
            name: name.into(),
            upstream,
            entry,
            members: RefCell::default(),
            generation: Cell::new(0),
            candidates: RefCell::default(),
            rules: Settings::default(),
            roster: RefCell::default(),
            replaced: RefCell::default(),
            pool: None,
            asleep: Cell::new(false),
        };
        fleet.refresh(zone, now);
        match plan.zip(upstream) {
            Some((plan, upstream)) => {
                fleet.pool = Some(Pool::begin((name, upstream, entry), (plan, read_us), zone, now));
            }
            None => Pool::release(zone, entry, fleet.members.borrow().iter().map(|m| m.entry.get())),
        }
        fleet
    }

    /// Reads the peers that the balancer has. The zone knows them from then on, whether something is sent to them or not.
    fn refresh(&self, zone: &Zone<'_>, now: Now) {
        let mut members = Vec::new();
        for backup in [false, true] {
            self.each(backup, |_, addr, weight, down| {
                members.push(Member {
                    addr: addr.into(),
                    entry: Cell::new(Ref::NONE),
                    backup,
                    weight: Cell::new(weight),
                    down: Cell::new(down),
                });
            });
        }
        for member in &members {
            member.entry.set(zone.configured_peer(self.entry, &member.addr, now).unwrap_or(Ref::NONE));
        }
        // those that were there before this configuration, or before the names were resolved again
        let named: Vec<_> = members.iter().map(|m| m.entry.get()).collect();
        zone.keep_peers(self.entry, &named);
        self.generation.set(self.generation.get().wrapping_add(1) & i32::MAX);
        self.members.replace(members);
    }

    fn each(&self, backup: bool, mut f: impl FnMut(PeerId, &[u8], u16, bool)) {
        let Some(upstream) = self.upstream else { return };
        // an upstream without peers of that kind, or of a balancer that keeps its own, has none here
        let _ = upstream.peers(backup, |p| {
            let weight = u16::try_from(p.weight.max(1)).unwrap_or(u16::MAX);
            f(p.id, p.name, weight, p.down);
        });
    }

    /// Brings weights and `down` up to date; false when the addresses are not those of the members.
    fn is_current(&self) -> bool {
        let members = self.members.borrow();
        let mut next = members.iter();
        let mut same = true;
        for backup in [false, true] {
            self.each(backup, |_, addr, weight, down| match next.next() {
                Some(m) if m.backup == backup && *m.addr == *addr => {
                    m.weight.set(weight);
                    m.down.set(down);
                }
                _ => same = false,
            });
        }
        same && next.next().is_none()
    }

    /// The members' addresses in their order, and the generation of that order.
    pub fn addresses(&self, zone: &Zone<'_>, now: Now, mut f: impl FnMut(&[u8])) -> i32 {
        if !self.is_current() {
            self.refresh(zone, now);
        }
        self.members.borrow().iter().for_each(|m| f(&m.addr));
        self.generation.get()
    }

    /// The best member for the next request, of those whose numbers are not excluded.
    pub fn choose(
        &self,
        zone: &Zone<'_>,
        generation: i32,
        excluded: &[i32],
        random: u64,
        now: Now,
    ) -> Choice {
        if generation != self.generation.get() || !self.is_current() {
            return Choice::Stale;
        }
        let members = self.members.borrow();
        let primaries = members.iter().take_while(|m| !m.backup).count();
        let chosen = self.best(&members, 0..primaries, zone, excluded, random, now);
        let chosen =
            chosen.or_else(|| self.best(&members, primaries..members.len(), zone, excluded, random, now));
        chosen.map_or(Choice::Nobody, Choice::Member)
    }

    fn best(
        &self,
        members: &[Member],
        range: core::ops::Range<usize>,
        zone: &Zone<'_>,
        excluded: &[i32],
        random: u64,
        now: Now,
    ) -> Option<usize> {
        let is_excluded = |m: &Member| {
            let mut named = excluded.iter().filter_map(|e| members.get(usize::try_from(*e).ok()?));
            // a server may be listed twice
            named.any(|e| e.addr == m.addr)
        };
        let start = range.start;
        let mut candidates = self.candidates.borrow_mut();
        candidates.clear();
        candidates.extend(members[range].iter().map(|m| {
            let known = self.candidate(m, zone, now);
            Candidate { excluded: m.down.get() || is_excluded(m), ..known }
        }));
        pick(&candidates[..], &self.rules, random).map(|i| start + i)
    }

    fn candidate(&self, member: &Member, zone: &Zone<'_>, now: Now) -> Candidate {
        let weight = member.weight.get();
        Candidate::of(zone, member.entry.get(), weight, now)
            .or_else(|| {
                // it lost its place in the zone while nobody used it
                member.entry.set(zone.configured_peer(self.entry, &member.addr, now).ok()?);
                Candidate::of(zone, member.entry.get(), weight, now)
            })
            .unwrap_or(Candidate::new(weight))
    }

    /// Makes the list for [`Fleet::row`] and says how long it is.
    pub fn list(&self, zone: &Zone<'_>, now: Now) -> usize {
        if !self.is_current() {
            self.refresh(zone, now);
        }
        let members = self.members.borrow();
        let mut roster: Vec<Listed> = Vec::with_capacity(members.len());
        for m in members.iter() {
            if !roster.iter().any(|r| r.addr == m.addr) {
                let known = zone.find_peer(self.entry, &m.addr);
                let entry = known.or_else(|| zone.configured_peer(self.entry, &m.addr, now).ok());
                let entry = entry.unwrap_or(Ref::NONE);
                let member = Some((m.weight.get(), m.backup, m.down.get()));
                roster.push(Listed { addr: m.addr.clone(), entry, member });
            }
        }
        for entry in zone.peers(self.entry) {
            let Some(addr) = zone.name(entry) else { continue };
            if !roster.iter().any(|r| *r.addr == *addr) {
                roster.push(Listed { addr: addr.into(), entry, member: None });
            }
        }
        let count = roster.len();
        self.roster.replace(roster);
        count
    }

    /// What there is to say of peer `i` of the list.
    pub fn row(&self, zone: &Zone<'_>, i: usize, now: Now) -> Option<Row> {
        let roster = self.roster.borrow();
        let listed = roster.get(i)?;
        let (weight, backup, down) = listed.member.unwrap_or((1, false, false));
        let (levels, control) = (zone.levels(listed.entry), zone.control(listed.entry));
        let series = zone.series(listed.entry);
        let recent = series.zip(Series::<Peer>::span(now, WINDOW_S)).map(|(s, span)| s.window(span));
        Some(Row {
            addr: listed.addr.clone(),
            active: levels.active,
            waiting: levels.waiting,
            latency: series.and_then(|s| s.ewma(Time::Latency)).map(|us| f64::from(us) / 1e6),
            error_rate: recent.and_then(|window| window.error_rate()),
            weight: if control.weight > 0 { control.weight } else { weight },
            control,
            backup,
            down,
        })
    }

    /// Sets the override of the peer at `addr`.
    pub fn set(
        &self,
        zone: &Zone<'_>,
        addr: &[u8],
        now: Now,
        change: impl FnOnce(Control) -> Control,
    ) -> Result<(), String> {
        if !self.is_current() {
            self.refresh(zone, now);
        }
        let known = self.members.borrow().iter().any(|m| *m.addr == *addr);
        let entry = match zone.find_peer(self.entry, addr) {
            Some(entry) => entry,
            None if known => zone.configured_peer(self.entry, addr, now).map_err(|e| e.to_string())?,
            None => return Err(self.unknown(addr)),
        };
        let control = change(zone.control(entry));
        if zone.set_control(entry, control) {
            Ok(())
        } else {
            Err(self.unknown(addr))
        }
    }

    fn unknown(&self, addr: &[u8]) -> String {
        let members = self.members.borrow();
        let known: Vec<_> = members.iter().map(|m| String::from_utf8_lossy(&m.addr)).collect();
        let addr = String::from_utf8_lossy(addr);
        let hint = hint(&addr, known.iter().map(|k| &**k));
        format!("upstream \"{}\" has no peer \"{addr}\"{hint}", self.name)
    }

    /// Tells nginx's balancer what has been said about its peers, and what the configuration says where that was taken back.
    pub fn apply(&self, zone: &Zone<'_>, now: Now) {
        let Some(upstream) = self.upstream else { return };
        let mut replaced = self.replaced.borrow_mut();
        let mut leave = Vec::new();
        for backup in [false, true] {
            let mut peers = Vec::new();
            self.each(backup, |id, addr, weight, down| peers.push((id, addr.to_vec(), weight, down)));
            for (id, addr, weight, down) in peers {
                let Some(entry) = zone.find_peer(self.entry, &addr) else { continue };
                let control = zone.control(entry);
                let own = || configured(upstream, backup, &addr).unwrap_or((weight, down));
                let before = replaced.entry((backup, addr.as_slice().into())).or_default();
                // a pool says nothing of backup peers, even if one of them has the address of a member
                let is_out =
                    !backup && self.pool.is_some() && control.set().is_none() && control.duty.is_out();
                let is_set = control.forced || is_out;
                let wants_down = before.down.next(is_set, control.says() != State::Up, || own().1);
                let wants_weight = before.weight.next(control.weight > 0, control.weight, || own().0);
                // a peer that is gone meanwhile needs nothing
                match wants_down.filter(|wanted| *wanted != down) {
                    Some(true) => leave.push(id),
                    Some(false) => drop(upstream.set_down(id, false)),
                    None => {}
                }
                if let Some(wanted) = wants_weight.filter(|wanted| *wanted != weight) {
                    let _ = upstream.set_weight(id, wanted);
                }
            }
        }
        // last, because other workers may be choosing of the same peers: those who take over are there first
        for id in leave {
            let _ = upstream.set_down(id, true);
        }
        self.asleep.set(self.pool.as_ref().is_some_and(|pool| pool.is_asleep(zone, now)));
    }

    /// Whether nobody takes requests, as far as this worker's balancers know, although somebody could.
    #[inline]
    pub fn is_asleep(&self) -> bool {
        self.asleep.get()
    }

    /// Whether the balancer has peers for when no primary one is left.
    pub fn has_backup(&self) -> bool {
        self.members.borrow().iter().any(|m| m.backup)
    }
}

/// Backup or not, and the address.
type Whose = (bool, Box<[u8]>);

/// What the balancer had of its own before something else was set.
#[derive(Default)]
struct Replaced {
    weight: Own<u16>,
    down: Own<bool>,
}

#[derive(Default)]
struct Own<T>(Option<T>);

impl<T: Copy> Own<T> {
    /// The value that the balancer should have: what is set, else its own when it has lost that.
    fn next(&mut self, is_set: bool, set: T, own: impl FnOnce() -> T) -> Option<T> {
        if is_set {
            self.0.get_or_insert_with(own);
            return Some(set);
        }
        self.0.take()
    }
}

/// Weight and `down` of the `server` line that an address comes from. A name that is resolved while nginx runs has none.
pub(super) fn configured(upstream: Upstream, backup: bool, addr: &[u8]) -> Option<(u16, bool)> {
    let server = upstream.servers().find(|s| s.is_backup() == backup && s.addresses().any(|a| a == addr))?;
    Some((u16::try_from(server.weight().max(1)).unwrap_or(u16::MAX), server.is_down()))
}
