//! The peers of an upstream as its balancing sees them: nginx's own, and those that were added while it runs.

use core::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use logic::autoscale::balance::{Candidate, Ended, Memory, Peers, Settings};
use logic::autoscale::limit::Learnt;
use logic::autoscale::metrics::columns::{Levels, Worker};
use logic::autoscale::metrics::flight::Flight;
use logic::autoscale::metrics::series::{Peer, Upstream as Group};
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::word::Word;
use logic::autoscale::metrics::zone::{of_peer, Health, State, Terms, Zone};
use logic::autoscale::metrics::Now;

use super::fleet::Fleet;
use super::Shell;
use crate::ngx::{clock, Listed, OwnAddress, Request, Roster, Upstream};

/// Who can be chosen, in a fixed order: primary peers of nginx, added ones, backup ones. Made anew when that changes; whoever has begun
/// with one team goes on with it.
pub struct Team {
    roster: Option<Roster>,
    seats: Vec<Seat>,
    primaries: usize,
    /// How many attempts a request may make.
    tries: usize,
    /// Some address is there twice.
    has_twins: bool,
    group: Ref<Group>,
    /// The number of its membership.
    membership: u64,
    /// When it was seen last who is out.
    looked_us: Cell<u64>,
}

/// One of a team.
pub struct Seat {
    pub addr: Box<[u8]>,
    entry: Cell<Ref<Peer>>,
    pub backup: bool,
    place: Place,
    /// What other workers had in flight here, and in which millisecond.
    elsewhere: Cell<(u32, Levels)>,
    /// What was said of it when somebody last looked.
    said: Cell<Said>,
    /// When it was seen last that nothing is to be sent to it; 0 when it takes requests.
    out_us: Cell<u64>,
}

/// What is said of a peer, and changes rarely.
#[derive(Clone, Copy, Default)]
pub struct Said {
    /// The zone's number of what was said so far, and the time, until which this holds. Where only time changes something, it does not
    /// hold at all.
    controls: u64,
    until_us: u64,
    pub weight: u16,
    /// 0 is no limit.
    pub limit: u32,
    pub state: State,
    pub health: Health,
}

/// Whoever dies between a change and telling that there is one is found out after this time.
const SAID_US: u64 = 1 << 14;

impl Said {
    #[inline]
    fn takes(&self) -> bool {
        self.state == State::Up && self.health != Health::Ejected
    }
}

enum Place {
    /// Its number in the roster.
    Listed(usize),
    Added(OwnAddress, Terms),
}

impl Place {
    /// What was said where it was added.
    #[inline]
    fn terms(&self) -> Terms {
        match self {
            Self::Listed(_) => Terms::default(),
            Self::Added(_, terms) => *terms,
        }
    }
}

/// Where nginx has to connect.
pub enum Seated<'a> {
    Listed(Listed<'a>),
    Added(&'a OwnAddress),
}

/// Who was tried already, by number.
#[derive(Default)]
pub struct Tried {
    few: u64,
    /// Those from the 64th on; empty until one of them was tried.
    more: Vec<u64>,
}

impl Tried {
    #[inline]
    fn has(&self, i: usize) -> bool {
        match i.checked_sub(64) {
            None => self.few >> i & 1 == 1,
            Some(i) => self.more.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1),
        }
    }

    pub fn add(&mut self, i: usize) {
        let Some(i) = i.checked_sub(64) else {
            self.few |= 1 << i;
            return;
        };
        if self.more.len() <= i / 64 {
            self.more.resize(i / 64 + 1, 0);
        }
        self.more[i / 64] |= 1 << (i % 64);
    }
}

impl Team {
    /// Those of `upstream` now, whose name in the zone is `group`.
    pub fn of(upstream: Option<Upstream>, group: Ref<Group>, zone: &Zone<'_>, now: Now) -> Team {
        let membership = zone.membership(group);
        let roster = upstream.map(Roster::of);
        let mut seats = Vec::new();
        let listed = |range: core::ops::Range<usize>, backup| {
            let roster = roster.as_ref();
            range.filter_map(move |i| {
                let addr: Box<[u8]> = roster?.peer(i)?.name().into();
                let entry = Cell::new(zone.configured_peer(group, &addr, now).unwrap_or(Ref::NONE));
                Some(Seat {
                    addr,
                    entry,
                    backup,
                    place: Place::Listed(i),
                    elsewhere: Cell::default(),
                    said: Cell::default(),
                    out_us: Cell::default(),
                })
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
            seats.push(Seat {
                addr: addr.into(),
                entry: Cell::new(entry),
                backup: false,
                place,
                elsewhere: Cell::default(),
                said: Cell::default(),
                out_us: Cell::default(),
            });
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
    pub fn is_current(&self, zone: &Zone<'_>) -> bool {
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
        seats.map(|(i, seat)| (seat.entry.get(), i))
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
    fn listed_as(&self, seat: &Seat) -> Option<Listed<'_>> {
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
    pub fn entry(&self, i: usize, zone: &Zone<'_>) -> Ref<Peer> {
        self.seats.get(i).map_or(Ref::NONE, |seat| self.current(seat, zone))
    }

    #[inline]
    fn current(&self, seat: &Seat, zone: &Zone<'_>) -> Ref<Peer> {
        let entry = seat.entry.get();
        if zone.is_current(entry) || entry.is_none() {
            return entry;
        }
        self.find(seat, zone)
    }

    /// It lost its place in the zone while nobody used it.
    #[cold]
    fn find(&self, seat: &Seat, zone: &Zone<'_>) -> Ref<Peer> {
        let found = match seat.place {
            Place::Listed(_) => zone.configured_peer(self.group, &seat.addr, clock::monotonic()).ok(),
            Place::Added(..) => zone.find_peer(self.group, &seat.addr),
        };
        seat.entry.set(found.unwrap_or(Ref::NONE));
        seat.said.take();
        seat.entry.get()
    }

    /// What is said of a seat whose entry is `entry`, when `controls` is what [`Zone::controls`] says.
    #[inline]
    fn said(&self, seat: &Seat, entry: Ref<Peer>, zone: &Zone<'_>, controls: u64, now: Now) -> Said {
        let said = seat.said.get();
        if said.controls == controls && now.us < said.until_us {
            said
        } else {
            self.hear(seat, entry, zone, controls, now)
        }
    }

    #[cold]
    fn hear(&self, seat: &Seat, entry: Ref<Peer>, zone: &Zone<'_>, controls: u64, now: Now) -> Said {
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
        };
        seat.said.set(said);
        said
    }

    /// What the rule keeps of peer `i`.
    #[inline]
    pub fn memory<'z>(&self, i: usize, zone: &Zone<'z>) -> Option<Memory<'z>> {
        memory(zone, self.entry(i, zone))
    }

    /// Calls `f` with each peer that takes requests, and how many it may have in flight whatever is learnt (0: any number), as long as that
    /// wants more: the primary ones, or the backup ones where no primary one is left. Begins with number `from`, and says where it ended.
    #[inline]
    pub fn each_eligible(
        &self,
        zone: &Zone<'_>,
        now: Now,
        from: usize,
        mut f: impl FnMut(Ref<Peer>, u32) -> bool,
    ) -> usize {
        let controls = zone.controls();
        for range in [0..self.primaries, self.primaries..self.seats.len()] {
            let (start, mut any) = (if range.contains(&from) { from } else { range.start }, false);
            for i in (start..range.end).chain(range.start..start) {
                let Some(seat) = self.seats.get(i) else { continue };
                let entry = self.current(seat, zone);
                let said = self.said(seat, entry, zone, controls, now);
                if !said.takes() || self.is_out(seat) {
                    continue;
                }
                any = true;
                let proving = u32::from(said.health == Health::Probation);
                let own = self.listed_as(seat).map_or(0, |peer| peer.max_conns() as u32);
                // the least of those that say something
                let most = [said.limit, own, proving].into_iter().filter(|most| *most > 0).min();
                if !f(entry, most.unwrap_or(0)) {
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
    pub fn each(&self, zone: &Zone<'_>, mut f: impl FnMut(Ref<Peer>)) {
        (0..self.seats.len()).for_each(|i| f(self.entry(i, zone)));
    }

    /// Whether nginx keeps it out.
    #[inline]
    fn is_out(&self, seat: &Seat) -> bool {
        let out = |peer: Listed<'_>| peer.is_down() || !self.is_single() && peer.has_failed();
        self.listed_as(seat).is_some_and(out)
    }

    /// Peer `i` is well again: it gets its share little by little.
    #[cold]
    pub fn rise(&self, i: usize, zone: &Zone<'_>) {
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
    }

    /// Sees who takes requests again: they begin slowly, whoever has taken them out.
    pub fn tend(&self, zone: &Zone<'_>, now: Now) {
        self.looked_us.set(now.us);
        for (i, seat) in self.seats.iter().enumerate() {
            let entry = self.entry(i, zone);
            let said = zone.control(entry).says() != State::Up || zone.health(entry, now) != Health::Well;
            if said || self.own(i).1 {
                seat.out_us.set(now.us);
                continue;
            }
            let out_us = seat.out_us.replace(0);
            if let (1.., Some(memory)) = (out_us, memory(zone, entry)) {
                memory.rise_after(out_us, now);
            }
        }
    }

    /// Those who have come to others that are known already begin slowly.
    pub fn welcome(&self, zone: &Zone<'_>, now: Now) {
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

/// What the rule keeps of a peer.
#[inline]
pub fn memory<'z>(zone: &Zone<'z>, entry: Ref<Peer>) -> Option<Memory<'z>> {
    Some(Memory::over(&zone.side(entry)?[of_peer::BALANCE]))
}

/// A load as a peer reports it: `0.7`, or `70%`.
pub fn load(text: &[u8]) -> Option<f32> {
    let text = core::str::from_utf8(text).ok()?.trim();
    match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse::<f32>().ok().map(|load| load / 100.0),
        None => text.parse().ok(),
    }
}

/// A team as the rule sees it, for one choice.
pub struct View<'a> {
    pub team: &'a Team,
    pub zone: &'a Zone<'a>,
    pub tried: &'a Tried,
    /// Who asks.
    pub worker: Worker,
    /// `None` where the upstream is balanced by others, and nothing was kept for the rule.
    pub settings: Option<&'a Settings>,
    /// What was learnt of how many requests a peer takes at a time holds.
    pub heeds_limits: bool,
    /// What [`Zone::controls`] says.
    pub controls: u64,
    pub now: Now,
}

/// With more columns than this, those of other workers are summed up once a millisecond: a line of memory each, and all of them change.
const FEW_COLUMNS: usize = 4;

impl View<'_> {
    /// What a peer has in flight, and how many of them wait where that is known. Of this worker it is exact, of others as of this
    /// millisecond.
    #[inline]
    fn levels(&self, seat: &Seat, entry: Ref<Peer>) -> Levels {
        let (columns, gen) = (self.zone.columns(), entry.gen());
        let Some(entity) = self.zone.entity(entry).filter(|_| !entry.is_none()) else {
            return Levels::default();
        };
        if columns.used() <= FEW_COLUMNS || self.worker == Worker::NONE {
            return columns.levels(entity, gen);
        }
        let (mut own, ms) = (columns.own(self.worker, entity, gen), (self.now.us >> 10) as u32);
        let (then, elsewhere) = seat.elsewhere.get();
        if then == ms {
            own += elsewhere;
        } else {
            let all = columns.levels(entity, gen);
            seat.elsewhere.set((ms, all.without(own)));
            own = all;
        }
        own
    }

    /// What was learnt of a peer whose words are `side`.
    #[inline]
    fn recall(&self, seat: &Seat, side: &[Word], settings: &Settings, candidate: Candidate) -> Candidate {
        let memory = Memory::over(&side[of_peer::BALANCE]);
        let mut candidate = candidate.recall(&memory, settings, self.now);
        if let Place::Added(_, Terms { slow_start_ms: Some(ms), .. }) = seat.place {
            candidate.ramp = memory.ramp_within(u64::from(ms) * 1000, self.now);
        }
        if self.heeds_limits {
            candidate.room = Some(Learnt::over(&side[of_peer::LIMIT]).room(self.now));
        }
        candidate
    }

    /// The same where nothing was kept for the rule.
    #[cold]
    fn observed(&self, entry: Ref<Peer>, candidate: Candidate) -> Candidate {
        let known = Candidate::of(self.zone, entry, candidate.weight, self.now);
        let room = |side: &[Word]| Learnt::over(&side[of_peer::LIMIT]).room(self.now);
        let room = self.zone.side(entry).filter(|_| self.heeds_limits).map(room);
        known.map_or(candidate, |known| Candidate {
            latency_us: known.latency_us,
            silent_us: known.silent_us,
            failing: known.failing,
            room,
            ..candidate
        })
    }
}

#[cfg(upstream_sid)]
impl View<'_> {
    /// Whether a client that was with peer `i` before may go there again.
    pub fn suits(&self, i: usize) -> bool {
        let mut candidate = self.candidate(i);
        if let Some(Seated::Listed(peer)) = self.team.seated(i) {
            if peer.drains() {
                candidate.excluded = self.tried.has(i) || peer.has_failed();
            }
        }
        candidate.is_eligible()
    }
}

impl Peers for View<'_> {
    fn len(&self) -> usize {
        self.team.seats.len()
    }

    fn primaries(&self) -> usize {
        self.team.primaries
    }

    #[inline]
    fn candidate(&self, i: usize) -> Candidate {
        let (team, zone) = (self.team, self.zone);
        let Some(seat) = team.seats.get(i) else { return Candidate { excluded: true, ..Candidate::new(1) } };
        let entry = team.current(seat, zone);
        let said = team.said(seat, entry, zone, self.controls, self.now);
        let levels = self.levels(seat, entry);
        let candidate = Candidate {
            inflight: levels.active,
            waiting: levels.waiting,
            occupied: levels.occupied(),
            limit: said.limit,
            state: said.state,
            health: said.health,
            excluded: self.tried.has(i) || team.is_out(seat),
            ..Candidate::new(said.weight)
        };
        match (zone.side(entry), self.settings) {
            (Some(side), Some(settings)) => self.recall(seat, side, settings, candidate),
            (Some(_), None) => self.observed(entry, candidate),
            (None, _) => self.unknown(seat, candidate),
        }
    }
}

impl View<'_> {
    /// The zone has no place for it.
    #[cold]
    fn unknown(&self, seat: &Seat, candidate: Candidate) -> Candidate {
        let inflight = self.team.listed_as(seat).map_or(0, |peer| peer.conns() as u32);
        Candidate { inflight, occupied: inflight, ..candidate }
    }
}

/// What the method asks a worker.
impl Shell {
    /// Who can be chosen of upstream `number`.
    #[inline]
    pub fn team(&self, number: usize) -> Option<Rc<Team>> {
        Some(self.fleet(number)?.team(&self.zone, clock::monotonic))
    }

    /// The number, in its team, of the best peer for the next attempt at upstream `number`.
    #[inline]
    pub fn choose(&self, number: usize, team: &Team, tried: &Tried) -> Option<usize> {
        let asks = (self.worker, self.random(), clock::monotonic());
        self.fleet(number)?.pick(team, &self.zone, tried, asks)
    }

    /// Whether peer `i` of that team may be had for it.
    #[cfg(upstream_sid)]
    pub fn suits(&self, number: usize, team: &Team, tried: &Tried, i: usize) -> bool {
        let asks = (self.worker, clock::monotonic());
        self.fleet(number).is_some_and(|fleet| fleet.view(team, &self.zone, tried, asks).suits(i))
    }

    /// An attempt at a peer of upstream `number` has begun.
    #[inline]
    pub fn begun(&self, number: usize, flight: &Flight<'_>) {
        let peer = flight.peer().filter(|_| self.fleet(number).and_then(Fleet::balance).is_some());
        if let Some((peer, memory)) = peer.and_then(|peer| Some((peer, memory(&self.zone, peer)?))) {
            let now = Now::from_us(flight.tried_us());
            // with many columns the sum is dear: who has just answered is not asked
            if self.zone.columns().used() <= FEW_COLUMNS || !memory.has_just_answered(now) {
                memory.begun(now, self.zone.levels(peer).waiting);
            }
        }
    }

    /// An attempt at a peer of upstream `number` is over.
    #[inline]
    pub fn learn(&self, number: usize, peer: Ref<Peer>, ended: Ended, now: Now) {
        let Some(balance) = self.fleet(number).and_then(Fleet::balance) else { return };
        if let Some(memory) = memory(&self.zone, peer) {
            memory.ended(&balance.settings, now, ended);
        }
    }

    /// A peer of upstream `number` has answered; where the answer says how busy it is, that is kept.
    #[inline]
    pub fn heed(&self, number: usize, peer: Ref<Peer>, request: Request) {
        let Some(balance) = self.fleet(number).and_then(Fleet::balance) else { return };
        let Some(memory) = memory(&self.zone, peer) else { return };
        let now = clock::monotonic();
        memory.answered(now);
        if let Some(load) = balance.feedback.as_ref().and_then(|feedback| load(feedback.eval(&request)?)) {
            memory.report(now, load);
        }
    }
}
