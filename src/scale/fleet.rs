//! The peers of one upstream: what nginx's balancer has, beside what the zone knows of them.

use core::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use logic::autoscale::balance::{choose, pick, Choice as Verdict, Settings};
use logic::autoscale::metrics::columns::Worker;
use logic::autoscale::metrics::series::{Peer, Series, Time, Upstream as Group};
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{Control, Health, State, Zone};
use logic::autoscale::metrics::Now;
use logic::autoscale::pool::Plan;
use logic::autoscale::signal::hint;

use super::balance::{Team, Tried, View};
use super::pool::Pool;
use crate::conf::Balance;
use crate::ngx::{clock, Known, Upstream, Whose};

/// Over how many seconds the error rate of a listed peer is: what a signal means without a window.
const WINDOW_S: u64 = 5;

/// An observed upstream.
pub struct Fleet {
    pub name: Box<str>,
    upstream: Option<Upstream>,
    entry: Ref<Group>,
    team: RefCell<Rc<Team>>,
    /// Changes when the addresses do.
    generation: Cell<i32>,
    /// By which rule scripts choose where `autoscale_balance` does not say.
    rule: Settings,
    roster: RefCell<Vec<Listed>>,
    replaced: RefCell<HashMap<Whose, Replaced>>,
    pub pool: Option<Pool>,
    /// Its pool could take requests, and nobody of it does.
    asleep: Cell<bool>,
    /// What was learnt of how many requests a peer takes is to hold.
    heeds_limits: bool,
    /// Whom [`Fleet::foresee`] has found for a request that need not, and in which turn of the event loop.
    found: Cell<Option<(usize, u64)>>,
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
    pub health: Health,
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
        zone: &Zone<'static>,
        now: Now,
    ) -> Fleet {
        let mut fleet = Fleet {
            name: name.into(),
            upstream,
            entry,
            team: RefCell::new(Rc::new(Team::of(upstream, entry, zone, now))),
            generation: Cell::new(0),
            rule: Settings::default(),
            roster: RefCell::default(),
            replaced: RefCell::default(),
            pool: None,
            asleep: Cell::new(false),
            heeds_limits: upstream.is_some_and(|u| super::protect::learns(&u)),
            found: Cell::default(),
        };
        fleet.meet(zone, now);
        match plan.zip(upstream) {
            Some((plan, upstream)) => {
                fleet.pool = Some(Pool::begin((name, upstream, entry), (plan, read_us), zone, now));
            }
            None => Pool::release(zone, entry, fleet.team.borrow().listed().map(|(entry, _)| entry)),
        }
        fleet
    }

    /// Reads who can be chosen, when that has changed.
    fn refresh(&self, zone: &Zone<'static>, now: Now) {
        if self.team.borrow().is_current(zone) {
            return;
        }
        let team = Rc::new(Team::of(self.upstream, self.entry, zone, now));
        let before = self.team.replace(team);
        self.found.take();
        before.replace();
        self.team.borrow().remember(&before);
        self.meet(zone, now);
    }

    /// The zone knows those of the team from now on, whether something is sent to them or not.
    fn meet(&self, zone: &Zone<'static>, now: Now) {
        let team = self.team.borrow();
        // those that were there before this configuration, or before the names were resolved again
        let named: Vec<_> = team.listed().map(|(entry, _)| entry).collect();
        zone.keep_peers(self.entry, &named);
        self.generation.set(self.generation.get().wrapping_add(1) & i32::MAX);
        if self.balance().is_some() {
            team.welcome(zone, now);
        }
    }

    /// What `autoscale_balance` says, where it is the method in force.
    #[inline]
    pub fn balance(&self) -> Option<&Balance> {
        let conf = &self.upstream.as_ref()?.conf()?.upstream;
        conf.balance.as_ref().filter(|_| conf.is_balanced.get())
    }

    /// Who can be chosen now.
    #[inline]
    pub fn team(&self, zone: &Zone<'static>, now: impl FnOnce() -> Now) -> Rc<Team> {
        if !self.team.borrow().is_listed() {
            self.refresh(zone, now());
        }
        Rc::clone(&self.team.borrow())
    }

    /// The addresses of the team in their order, and the generation of that order.
    pub fn addresses(&self, zone: &Zone<'static>, now: Now, mut f: impl FnMut(&[u8])) -> i32 {
        self.refresh(zone, now);
        self.team.borrow().seats().iter().for_each(|seat| f(&seat.addr));
        self.generation.get()
    }

    /// The best peer for the next request, of those whose numbers are not excluded.
    pub fn choose(
        &self,
        zone: &Zone<'static>,
        generation: i32,
        excluded: &[i32],
        random: u64,
        now: Now,
    ) -> Choice {
        let team = self.team.borrow();
        if generation != self.generation.get() || !team.is_current(zone) {
            return Choice::Stale;
        }
        let mut tried = Tried::default();
        excluded.iter().filter_map(|i| usize::try_from(*i).ok()).for_each(|i| team.mark(i, &mut tried));
        self.pick(&team, zone, &tried, (Worker::NONE, random, now)).map_or(Choice::Nobody, Choice::Member)
    }

    /// The number, in its team, of the best peer for the next request. Said of it: which worker asks, a random number, the time.
    #[inline]
    pub fn pick(
        &self,
        team: &Team,
        zone: &Zone<'static>,
        tried: &Tried,
        (worker, random, now): (Worker, u64, Now),
    ) -> Option<usize> {
        let mut view = self.view(team, zone, tried, (worker, now));
        view.heeds_limits = self.heeds_limits;
        let chosen = pick(&view, view.rule, random);
        if chosen.is_some() || !view.heeds_limits {
            return chosen;
        }
        // whoever comes here has waited, or is not to: what was learnt keeps nobody away
        view.heeds_limits = false;
        pick(&view, view.rule, random)
    }

    /// A team as the rule sees it.
    #[inline]
    pub fn view<'a>(
        &'a self,
        team: &'a Team,
        zone: &'a Zone<'static>,
        tried: &'a Tried,
        (worker, now): (Worker, Now),
    ) -> View<'a> {
        let method = self.balance().map(|balance| &balance.settings);
        View::new(team, zone, tried, (method.unwrap_or(&self.rule), method.is_some()), (worker, now))
    }

    /// Makes the list for [`Fleet::row`] and says how long it is.
    pub fn list(&self, zone: &Zone<'static>, now: Now) -> usize {
        self.refresh(zone, now);
        let team = self.team.borrow();
        let mut roster: Vec<Listed> = Vec::with_capacity(team.seats().len());
        let mut seen = HashSet::new();
        for (i, seat) in team.seats().iter().enumerate() {
            if seen.insert(&*seat.addr) {
                let (weight, down) = team.own(i);
                let member = Some((weight, seat.backup, down));
                roster.push(Listed { addr: seat.addr.clone(), entry: team.entry(i, zone), member });
            }
        }
        for entry in zone.peers(self.entry) {
            let Some(addr) = zone.name(entry) else { continue };
            if !seen.contains(&*addr) {
                roster.push(Listed { addr: addr.into(), entry, member: None });
            }
        }
        let count = roster.len();
        self.roster.replace(roster);
        count
    }

    /// What there is to say of peer `i` of the list.
    pub fn row(&self, zone: &Zone<'static>, i: usize, now: Now) -> Option<Row> {
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
            health: zone.standing(listed.entry, now),
            backup,
            down,
        })
    }

    /// Sets the override of the peer at `addr`.
    pub fn set(
        &self,
        zone: &Zone<'static>,
        addr: &[u8],
        now: Now,
        change: impl FnOnce(Control) -> Control,
    ) -> Result<(), String> {
        self.refresh(zone, now);
        let known = self.team.borrow().seats().iter().any(|seat| *seat.addr == *addr);
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
        let team = self.team.borrow();
        let known: Vec<_> = team.seats().iter().map(|seat| String::from_utf8_lossy(&seat.addr)).collect();
        let addr = String::from_utf8_lossy(addr);
        let hint = hint(&addr, known.iter().map(|k| &**k));
        format!("upstream \"{}\" has no peer \"{addr}\"{hint}", self.name)
    }

    /// Brings the team up to date with what has been said about peers. Those that have been out of the game begin slowly.
    pub fn tend(&self, zone: &Zone<'static>, now: Now) {
        if self.balance().is_some() {
            self.refresh(zone, now);
            self.team.borrow().tend(zone, now);
        }
    }

    /// Tells nginx's balancer what has been said about its peers, and what the configuration says where that was taken back.
    pub fn apply(&self, zone: &Zone<'static>, now: Now) {
        self.tend(zone, now);
        let Some(upstream) = self.upstream else { return };
        let mut replaced = self.replaced.borrow_mut();
        let mut leave = Vec::new();
        for backup in [false, true] {
            for peer in upstream.known(backup) {
                let Some(entry) = zone.find_peer(self.entry, &peer.whose.name) else { continue };
                let (weight, down) = (peer.weight, peer.down);
                let control = zone.control(entry);
                let own = || configured(upstream, &peer).unwrap_or((weight, down));
                let before = replaced.entry(peer.whose.clone()).or_default();
                // a pool says nothing of backup peers, even if one of them has the address of a member
                let is_out =
                    !backup && self.pool.is_some() && control.set().is_none() && control.duty.is_out();
                // the method sees for itself who is ejected, and stock balancers do not
                let is_ejected = self.balance().is_none() && zone.health(entry, now) == Health::Ejected;
                let is_set = control.forced || is_out || is_ejected;
                let is_down = is_ejected || control.says() != State::Up;
                let wants_down = before.down.next(is_set, is_down, || own().1);
                let wants_weight = before.weight.next(control.weight > 0, control.weight, || own().0);
                // a peer that is gone meanwhile needs nothing
                if let Some(wanted) = wants_weight.filter(|wanted| *wanted != weight) {
                    let _ = upstream.set_weight(&peer.whose, wanted);
                }
                match wants_down.filter(|wanted| *wanted != down) {
                    Some(true) => leave.push(peer.whose),
                    Some(false) => drop(upstream.set_down(&peer.whose, false)),
                    None => {}
                }
            }
        }
        // last, because other workers may be choosing of the same peers: those who take over are there first
        for whose in leave {
            let _ = upstream.set_down(&whose, true);
        }
        self.asleep.set(self.pool.as_ref().is_some_and(|pool| pool.is_asleep(zone, now)));
    }

    /// Whether the next request must wait for a peer with room or, behind the `ahead` of it, had better wait for a faster one. Whom it goes
    /// to otherwise is kept for it.
    #[inline]
    pub fn should_wait(&self, zone: &Zone<'static>, ahead: Option<u32>, random: u64, now: Now) -> bool {
        self.foresee(&self.team(zone, || now), zone, ahead, (random, now)) == Verdict::Wait
    }

    /// What becomes of the next request, behind the `ahead` of it: the number of a peer, in its team, is kept for it.
    pub fn foresee(
        &self,
        team: &Team,
        zone: &Zone<'static>,
        ahead: Option<u32>,
        (random, now): (u64, Now),
    ) -> Verdict {
        let tried = Tried::default();
        let mut view = self.view(team, zone, &tried, (Worker::NONE, now));
        view.heeds_limits = true;
        let verdict = choose(&view, view.rule, ahead, random);
        if let Verdict::Peer(i) = verdict {
            self.found.set(Some((i, clock::msec())));
        }
        verdict
    }

    /// Whom [`Fleet::foresee`] has just found, once.
    #[inline]
    pub fn found(&self, team: &Team) -> Option<usize> {
        let (i, turn) = self.found.take()?;
        (turn == clock::msec() && core::ptr::eq(team, &raw const **self.team.borrow())).then_some(i)
    }

    /// Whether nobody takes requests, as far as this worker's balancers know, although somebody could.
    #[inline]
    pub fn is_asleep(&self) -> bool {
        self.asleep.get()
    }

    /// Whether the balancer has peers for when no primary one is left.
    pub fn has_backup(&self) -> bool {
        self.team.borrow().has_backup()
    }
}

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

/// Weight and `down` of the `server` line that a peer comes from.
pub(super) fn configured(upstream: Upstream, peer: &Known) -> Option<(u16, bool)> {
    let server = upstream.server_of(peer)?;
    Some((u16::try_from(server.weight().max(1)).unwrap_or(u16::MAX), server.is_down()))
}
