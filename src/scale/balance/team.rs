//! Who can be chosen.

use core::cell::Cell;
use std::collections::HashMap;

use logic::autoscale::balance::{Memory, Usual};
use logic::autoscale::metrics::series::{Peer, Upstream as Group};
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{Health, State, Tenant, Terms, Zone};
use logic::autoscale::metrics::Now;

use super::seat::{Place, Said, Seat, Seated, SAID_US};
use super::tried::Tried;
use crate::ngx::{clock, Listed, OwnAddress, Roster, Upstream};

/// Who can be chosen, in a fixed order: primary peers of nginx, added ones, backup ones. Made anew when that changes; whoever has begun
/// with one team goes on with it.
pub struct Team {
    roster: Option<Roster>,
    seats: Vec<Seat>,
    pub(super) primaries: usize,
    /// How many attempts a request may make.
    tries: usize,
    /// Some address is there twice.
    has_twins: bool,
    group: Ref<Group>,
    /// The number of its membership.
    membership: u64,
    /// When it was seen last who is out.
    looked_us: Cell<u64>,
    /// Until when it keeps nobody out that a peer has failed, in milliseconds of [`clock::msec`]; see [`Team::forgive`].
    forgiven_ms: Cell<u64>,
    /// The number of what was said so far, until when that holds, and whether it makes all of them plain.
    plain: Cell<(u64, u64, bool)>,
    /// What was usual among the primary ones at the last choice.
    pub(super) usual: Cell<Option<Usual>>,
}

impl Team {
    /// Those of `upstream` now, whose name in the zone is `group`.
    pub fn of(upstream: Option<Upstream>, group: Ref<Group>, zone: &Zone<'static>, now: Now) -> Team {
        let membership = zone.membership(group);
        let roster = upstream.map(Roster::of);
        let mut seats = Vec::new();
        let listed = |range: core::ops::Range<usize>, backup| {
            let roster = roster.as_ref();
            range.filter_map(move |i| {
                let addr: Box<[u8]> = roster?.peer(i)?.name().into();
                let entry = zone.configured_peer(group, &addr, now).unwrap_or(Ref::NONE);
                Some(Seat::new(addr, entry, Place::Listed(i), backup, zone))
            })
        };
        let (all, first) = roster.as_ref().map_or((0, 0), |roster| (roster.len(), roster.primaries()));
        seats.extend(listed(0..first, false));
        for (entry, member) in zone.members(group) {
            let Some(addr) = zone.name(entry) else { continue };
            // an address that is none was refused when it was added
            let Some(address) = OwnAddress::parse(&addr) else { continue };
            let terms = Terms { weight: member.weight, slow_start_ms: member.slow_start_ms };
            let place = Place::Added(address, terms);
            seats.push(Seat::new(addr.into(), entry, place, false, zone));
        }
        let primaries = seats.len();
        seats.extend(listed(first..all, true));
        let mut team = Team {
            roster,
            seats,
            primaries,
            tries: 0,
            has_twins: false,
            group,
            membership,
            looked_us: Cell::new(now.us),
            forgiven_ms: Cell::default(),
            plain: Cell::default(),
            usual: Cell::default(),
        };
        let is_up = |i: &usize| !matches!(team.seated(*i), Some(Seated::Listed(peer)) if peer.is_down());
        team.tries = (0..team.seats.len()).filter(is_up).count();
        let mut addrs: Vec<_> = team.seats.iter().map(|seat| &seat.addr).collect();
        addrs.sort_unstable();
        team.has_twins = addrs.windows(2).any(|two| two[0] == two[1]);
        team
    }

    /// Whether nobody has come or gone since.
    #[inline]
    pub fn is_current(&self, zone: &Zone<'static>) -> bool {
        self.is_listed() && self.membership == zone.membership(self.group)
    }

    /// Whether nginx's list is still the one it was made from.
    #[inline]
    pub fn is_listed(&self) -> bool {
        self.roster.as_ref().is_none_or(Roster::is_current)
    }

    /// Another team is in its place.
    pub fn replace(&self) {
        if let Some(roster) = &self.roster {
            roster.replace();
        }
    }

    /// Those of nginx's list, and their numbers.
    pub fn listed(&self) -> impl Iterator<Item = (Ref<Peer>, usize)> + '_ {
        let listed = |seat: &Seat| matches!(seat.place, Place::Listed(_));
        let seats = self.seats.iter().enumerate().filter(move |(_, seat)| listed(seat));
        seats.map(|(i, seat)| (seat.entry(), i))
    }

    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    pub fn tries(&self) -> usize {
        self.tries
    }

    /// There is nobody who could take over.
    #[inline]
    pub fn is_single(&self) -> bool {
        self.seats.len() == 1
    }

    pub fn has_backup(&self) -> bool {
        self.primaries < self.seats.len()
    }

    #[inline]
    pub fn seated(&self, i: usize) -> Option<Seated<'_>> {
        let seat = self.seats.get(i)?;
        match &seat.place {
            Place::Listed(_) => self.listed_as(seat).map(Seated::Listed),
            Place::Added(address, _) => Some(Seated::Added(address)),
        }
    }

    /// Who it is on nginx's list.
    #[inline]
    pub(super) fn listed_as(&self, seat: &Seat) -> Option<Listed<'_>> {
        match seat.place {
            Place::Listed(n) => self.roster.as_ref()?.peer(n),
            Place::Added(..) => None,
        }
    }

    /// Peer `i` was tried, under whatever number it has.
    #[cold]
    pub fn mark(&self, i: usize, tried: &mut Tried) {
        tried.add(i);
        let Some(seat) = self.seats.get(i).filter(|_| self.has_twins) else { return };
        let twins = self.seats.iter().enumerate().filter(|(_, other)| other.addr == seat.addr);
        twins.for_each(|(twin, _)| tried.add(twin));
    }

    /// Weight and `down` of peer `i` as nginx, or who added it, has them.
    pub fn own(&self, i: usize) -> (u16, bool) {
        let Some(seat) = self.seats.get(i) else { return (1, true) };
        let own = |peer: Listed<'_>| (peer.weight(), peer.is_down());
        self.listed_as(seat).map_or_else(|| (seat.place.terms().weight, false), own)
    }

    /// The entry of peer `i` in the zone.
    pub fn entry(&self, i: usize, zone: &Zone<'static>) -> Ref<Peer> {
        let tenant = self.seats.get(i).and_then(|seat| self.tenant(seat, zone));
        tenant.map_or(Ref::NONE, |tenant| tenant.entry())
    }

    /// Peer `i`, and its words as they were found last.
    #[inline]
    pub(super) fn known(&self, i: usize) -> Option<(&Seat, Tenant<'static>)> {
        let seat = self.seats.get(i)?;
        Some((seat, seat.tenant.get()?))
    }

    /// The words of a seat in the zone.
    #[inline]
    pub(super) fn tenant(&self, seat: &Seat, zone: &Zone<'static>) -> Option<Tenant<'static>> {
        if seat.tenant.get().is_some_and(|tenant| !tenant.is_current()) {
            self.find(seat, zone);
        }
        seat.tenant.get()
    }

    /// It lost its place in the zone while nobody used it.
    #[cold]
    fn find(&self, seat: &Seat, zone: &Zone<'static>) {
        let found = match seat.place {
            Place::Listed(_) => zone.configured_peer(self.group, &seat.addr, clock::monotonic()).ok(),
            Place::Added(..) => zone.find_peer(self.group, &seat.addr),
        };
        seat.tenant.set(found.and_then(|entry| zone.tenant(entry)));
        seat.said.take();
        self.plain.take();
    }

    /// What is said of a seat, when `controls` is what [`Zone::controls`] says.
    #[inline]
    pub(super) fn said(&self, seat: &Seat, zone: &Zone<'static>, controls: u64, now: Now) -> Said {
        let said = seat.said.get();
        if said.controls != controls || now.us >= said.until_us {
            self.hear(seat, zone, controls, now);
        }
        seat.said.get()
    }

    /// Whether there is nothing special to say of anybody, when `controls` is what [`Zone::controls`] says.
    #[inline]
    pub(super) fn all_plain(&self, zone: &Zone<'static>, controls: u64, now: Now) -> bool {
        let (seen, until_us, all) = self.plain.get();
        if seen == controls && now.us < until_us {
            return all;
        }
        self.hear_all(zone, controls, now)
    }

    #[cold]
    fn hear_all(&self, zone: &Zone<'static>, controls: u64, now: Now) -> bool {
        let mut until_us = now.us + SAID_US;
        let all = self.seats.iter().fold(true, |all, seat| {
            let said = self.said(seat, zone, controls, now);
            if said.is_plain {
                until_us = until_us.min(said.until_us);
            }
            all && said.is_plain
        });
        self.plain.set((controls, until_us, all));
        all
    }

    #[cold]
    fn hear(&self, seat: &Seat, zone: &Zone<'static>, controls: u64, now: Now) {
        let entry = seat.entry();
        let (control, listed) = (zone.control(entry), self.listed_as(seat));
        let weight = listed.map_or_else(|| seat.place.terms().weight, Listed::weight);
        let most = listed.map_or(0, |peer| u32::try_from(peer.max_conns()).unwrap_or(u32::MAX));
        let limits = [control.limit, most].into_iter().filter(|limit| *limit > 0);
        let is_well = zone.standing(entry, now) == Health::Well;
        let said = Said {
            controls,
            until_us: if is_well { now.us + SAID_US } else { 0 },
            weight: if control.weight > 0 { control.weight } else { weight },
            limit: limits.min().unwrap_or(0),
            state: control.says(),
            health: zone.health(entry, now),
            is_plain: false,
        };
        let is_free = said.limit == 0 && seat.place.terms().slow_start_ms.is_none();
        seat.said.set(Said { is_plain: is_well && said.takes() && is_free, ..said });
        // its weight may be another one, and silence has gone on
        seat.standing.take();
    }

    /// What the rule keeps of peer `i`.
    #[inline]
    pub fn memory(&self, i: usize, zone: &Zone<'static>) -> Option<Memory<'static>> {
        self.tenant(self.seats.get(i)?, zone).map(|tenant| tenant.memory())
    }

    /// Peer `i` if it takes requests: its words, and how many it may have in flight whatever is learnt (0: any number). `controls` is what
    /// [`Zone::controls`] says.
    #[inline]
    fn eligible(
        &self,
        i: usize,
        zone: &Zone<'static>,
        (controls, now): (u64, Now),
    ) -> Option<(Option<Tenant<'static>>, u32)> {
        let seat = self.seats.get(i)?;
        let tenant = self.tenant(seat, zone);
        let said = self.said(seat, zone, controls, now);
        if !said.takes() || self.is_out(seat) {
            return None;
        }
        let proving = u32::from(said.health == Health::Probation);
        let own = self.listed_as(seat).map_or(0, |peer| peer.max_conns() as u32);
        Some((tenant, least(least(said.limit, own), proving)))
    }

    /// The same of a primary peer.
    #[inline]
    pub fn primary(
        &self,
        i: usize,
        zone: &Zone<'static>,
        now: Now,
    ) -> Option<(Option<Tenant<'static>>, u32)> {
        (i < self.primaries).then(|| self.eligible(i, zone, (zone.controls(), now)))?
    }

    /// Calls `f` with each one that takes requests, as long as that wants more: the primary ones, or the backup ones where no primary one
    /// is left. Begins with number `from`, and says where it ended.
    pub fn each_eligible(
        &self,
        zone: &Zone<'static>,
        now: Now,
        from: usize,
        mut f: impl FnMut(Option<Tenant<'static>>, u32) -> bool,
    ) -> usize {
        let controls = zone.controls();
        for range in [0..self.primaries, self.primaries..self.seats.len()] {
            let (start, mut any) = (if range.contains(&from) { from } else { range.start }, false);
            for i in (start..range.end).chain(range.start..start) {
                let Some((tenant, most)) = self.eligible(i, zone, (controls, now)) else { continue };
                any = true;
                if !f(tenant, most) {
                    return i;
                }
            }
            if any {
                break;
            }
        }
        from
    }

    /// Calls `f` with each peer.
    pub fn each(&self, zone: &Zone<'static>, mut f: impl FnMut(Ref<Peer>)) {
        (0..self.seats.len()).for_each(|i| f(self.entry(i, zone)));
    }

    /// Whether nginx keeps it out.
    #[inline]
    pub(super) fn is_out(&self, seat: &Seat) -> bool {
        let has_failed = |peer: Listed<'_>| peer.has_failed() && !self.is_single() && !self.forgives();
        self.listed_as(seat).is_some_and(|peer| peer.is_down() || has_failed(peer))
    }

    /// Whether `max_fails` keeps nobody out for now.
    pub fn forgives(&self) -> bool {
        clock::msec() < self.forgiven_ms.get()
    }

    /// Somebody has failed `max_fails` times, or nobody is left. Where nginx keeps out so many that they are, with those that are ejected,
    /// more than `most` of so many peers, none of them is kept out: a fault that all have in common must not leave a single peer, or
    /// nobody. Says then how many are out, of how many.
    #[cold]
    pub fn forgive(
        &self,
        zone: &Zone<'static>,
        now: Now,
        most: impl Fn(usize) -> usize,
    ) -> Option<(usize, usize)> {
        let controls = zone.controls();
        let (mut of, mut out, mut failed_ms) = (0, 0, 0);
        for (i, seat) in self.seats.iter().enumerate() {
            let (listed, said) = (self.listed_as(seat), self.said(seat, zone, controls, now));
            if said.state != State::Up || listed.is_some_and(Listed::is_down) {
                continue;
            }
            let failed = listed.filter(|peer| peer.has_failed());
            let is_out = failed.is_some() || !said.takes();
            if i >= self.primaries && !is_out {
                return None;
            }
            if i < self.primaries {
                (of, out) = (of + 1, out + usize::from(is_out));
            }
            failed_ms = failed_ms.max(failed.map_or(0, Listed::fail_timeout_ms));
        }
        if failed_ms == 0 || out < of && out <= most(of) {
            return None;
        }
        self.forgiven_ms.set(clock::msec() + failed_ms);
        Some((out, of))
    }

    /// Peer `i` is well again: it gets its share little by little.
    #[cold]
    pub fn rise(&self, i: usize, zone: &Zone<'static>) {
        if let Some(memory) = self.memory(i, zone) {
            memory.rise(clock::monotonic());
        }
    }

    /// Takes over what the team before this one has seen. Who was not of it was out until now.
    pub fn remember(&self, before: &Team) {
        let seen: HashMap<_, _> = before.seats.iter().map(|seat| (&seat.addr, seat.out_us.get())).collect();
        let looked_us = before.looked_us.get();
        let out_us = |seat: &Seat| seen.get(&seat.addr).copied().unwrap_or(looked_us);
        self.seats.iter().for_each(|seat| seat.out_us.set(out_us(seat)));
        self.looked_us.set(looked_us);
        self.forgiven_ms.set(before.forgiven_ms.get());
    }

    /// Sees who takes requests again: they begin slowly, whoever has taken them out.
    pub fn tend(&self, zone: &Zone<'static>, now: Now) {
        self.looked_us.set(now.us);
        for (i, seat) in self.seats.iter().enumerate() {
            let entry = self.entry(i, zone);
            let said = zone.control(entry).says() != State::Up || zone.health(entry, now) != Health::Well;
            if said || self.own(i).1 {
                seat.out_us.set(now.us);
                continue;
            }
            let out_us = seat.out_us.replace(0);
            if let (1.., Some(memory)) = (out_us, self.memory(i, zone)) {
                memory.rise_after(out_us, now);
            }
        }
    }

    /// Those who have come to others that are known already begin slowly.
    pub fn welcome(&self, zone: &Zone<'static>, now: Now) {
        let memories = || (0..self.seats.len()).filter_map(|i| self.memory(i, zone));
        let has_history = memories().any(|memory| memory.latency_us().is_some());
        for memory in memories().filter(Memory::is_new) {
            if has_history {
                memory.rise(now);
            } else {
                memory.settle();
            }
        }
    }
}

/// The lesser of two limits, of which 0 is none.
#[inline]
fn least(a: u32, b: u32) -> u32 {
    if a == 0 || b != 0 && b < a {
        b
    } else {
        a
    }
}
