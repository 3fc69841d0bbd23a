//! `autoscale_eject` at work: what attempts and checks say goes to the judge, what the judge says to the log and to the balancers.
//!
//! What [`logic::autoscale::eject`] knows lies in the zone. A worker keeps timers: one for the next moment at which somebody's time is
//! over, because stock balancers do not look at the clock, one for comparing latencies, and those of the [`check`]s.

mod check;
mod trickle;

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::collections::HashMap;

use logic::autoscale::eject::{Change, Failure, Judge, Rotation, Settings, Verdict, Why};
use logic::autoscale::metrics::flight::Flight;
use logic::autoscale::metrics::series::{Peer, Upstream as Group};
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{Health, State, Zone};
use logic::autoscale::metrics::Now;
use logic::autoscale::policy::Mode;

use super::balance::Team;
use super::collect::Outcome;
use super::Shell;
use crate::conf::MainConf;
use crate::ngx::{clock, cycle_main_conf, log_cycle, process, Level, Timer, Upstream};
use check::Checker;
use trickle::Trickle;

/// Bounds of the time from one comparison of latencies to the next.
const LEAST_COMPARE_MS: u64 = 100;
const MOST_COMPARE_MS: u64 = 1000;
/// The event loop's clock may be behind by as much.
const SLACK_MS: u64 = 1;
const MOST_WAIT_MS: u64 = 3_600_000;

/// The upstreams that eject.
pub struct Ejects {
    /// By number of the observed upstream; empty when none ejects.
    all: Box<[Option<Eject>]>,
    observes: bool,
    /// When the configuration was read: workers of an earlier one leave it to those of this one.
    read_us: u64,
    due: RefCell<Option<Timer>>,
    comparing: RefCell<Option<Timer>>,
    checker: RefCell<Option<Checker>>,
}

/// One of them.
struct Eject {
    name: Box<str>,
    upstream: Upstream,
    entry: Ref<Group>,
    settings: Settings,
    trickle: Trickle,
    /// Somebody was ejected or on probation when this worker last looked.
    holds_back: Cell<bool>,
}

impl Ejects {
    pub fn new(main: &MainConf, zone: &Zone<'static>, entries: &[Ref<Group>]) -> Ejects {
        let mode = main.autoscale.settings().map(|settings| settings.mode).unwrap_or_default();
        let eject = |(number, entry): (usize, &Ref<Group>)| {
            let observed = main.observed().get(number)?;
            let upstream = observed.upstream()?;
            let settings = upstream.conf()?.upstream.eject.as_ref()?.0.clone();
            let (name, trickle, holds_back) = (observed.name.clone(), Trickle::default(), Cell::default());
            Some(Eject { name, upstream, entry: *entry, settings, trickle, holds_back })
        };
        let mut all: Box<[Option<Eject>]> = match mode {
            Mode::Off => entries.iter().map(|_| None).collect(),
            _ => entries.iter().enumerate().map(eject).collect(),
        };
        let read_us = main.read_us.get();
        if zone.is_newest(read_us) {
            for (eject, entry) in all.iter().zip(entries) {
                if eject.is_none() && zone.forget_ejections(*entry) {
                    zone.changed_controls();
                }
                if eject.is_some() && mode == Mode::Observe {
                    zone.ignore_ejections(*entry);
                }
            }
        }
        if all.iter().all(Option::is_none) {
            all = Box::default();
        }
        let (due, comparing, checker) = Default::default();
        Ejects { all, observes: mode == Mode::Observe, read_us, due, comparing, checker }
    }

    /// Begins what goes on without requests.
    pub fn start(&self) {
        if self.all.is_empty() {
            return;
        }
        self.arm_comparison();
        self.checker.replace(Checker::start(self));
    }

    pub fn end(&self, zone: &Zone<'_>) {
        let _ = (self.due.take(), self.comparing.take());
        if let Some(checker) = self.checker.take() {
            checker.end(zone);
        }
    }

    fn each(&self) -> impl Iterator<Item = &Eject> {
        self.all.iter().flatten()
    }

    fn get(&self, number: usize) -> Option<&Eject> {
        self.all.get(number)?.as_ref()
    }

    /// Has the judge look at an upstream, and passes on what is new.
    fn ask<T>(
        &self,
        zone: &Zone<'static>,
        eject: &Eject,
        now: Now,
        said: Option<&str>,
        f: impl FnOnce(&mut Judge<'_, 'static>) -> T,
    ) -> Option<T> {
        if !zone.is_newest(self.read_us) {
            return None;
        }
        let mut judge = Judge::new(zone, &eject.settings, eject.entry, now)?;
        let answer = f(&mut judge);
        let mut is_new = false;
        for (peer, change) in &judge.told {
            is_new |= !matches!(change, Change::Spared { .. });
            self.log(zone, eject, *peer, change, said);
        }
        if is_new {
            zone.changed_controls();
        }
        Some(answer)
    }

    fn log(
        &self,
        zone: &Zone<'_>,
        eject: &Eject,
        peer: Option<Ref<Peer>>,
        change: &Change,
        said: Option<&str>,
    ) {
        let level = match change {
            Change::Ejected { .. } | Change::Spared { .. } | Change::Ignored { .. } => Level::Warn,
            Change::Probation { .. } | Change::Well | Change::Obeyed => Level::Notice,
        };
        let said = match (change, said) {
            (Change::Ejected { why: Why::Checks(_), .. }, Some(said)) => format!(", {said}"),
            _ => String::new(),
        };
        let observed = match change {
            Change::Ejected { .. } if self.observes => " (it is not: autoscale observe)",
            _ => "",
        };
        let name = &eject.name;
        let line = match peer.and_then(|peer| zone.name(peer)) {
            Some(addr) => {
                let addr = String::from_utf8_lossy(&addr);
                format!("peer {addr} of upstream \"{name}\" {change}{said}{observed}")
            }
            None => format!("upstream \"{name}\": {change}"),
        };
        log_cycle(level, &line);
    }

    /// An attempt at a peer of upstream `number` is over; it is not counted yet.
    #[cold]
    fn judge(
        &self,
        zone: &Zone<'static>,
        number: usize,
        (peer, began_us): (Ref<Peer>, u64),
        verdict: Verdict,
        now: Now,
    ) {
        let Some(eject) = self.get(number) else { return };
        self.ask(zone, eject, now, None, |judge| match verdict {
            Verdict::Nothing => {}
            Verdict::Passed => judge.passed(peer, began_us),
            Verdict::Failed { dead } => {
                judge.failed(peer, Failure { dead, began_us }, || eject.rotation(zone, now));
            }
        });
    }

    /// Finds out whom time has changed and whether too few are left, and when to look again. True when something is new.
    pub fn count(&self, zone: &Zone<'static>, now: Now) -> bool {
        if self.all.is_empty() {
            return false;
        }
        let before = zone.controls();
        for eject in self.each() {
            let rotation = eject.rotation(zone, now);
            let peers = zone.peers(eject.entry);
            eject.holds_back.set(peers.iter().any(|peer| zone.standing(*peer, now) != Health::Well));
            self.ask(zone, eject, now, None, |judge| {
                peers.into_iter().for_each(|peer| judge.look(peer));
                if !self.observes {
                    judge.count(&rotation);
                }
            });
        }
        let due_ms = self.each().filter_map(|eject| eject.due_ms(zone, now)).min();
        let wait =
            due_ms.map(|ms| ms.saturating_sub(now.us / 1000).saturating_add(SLACK_MS).min(MOST_WAIT_MS));
        self.due.replace(
            wait.map(|ms| {
                Timer::background(Duration::from_millis(ms), || with_shell(|shell| shell.resync()))
            }),
        );
        zone.controls() != before
    }

    /// Tells stock balancers who is on probation.
    pub fn obey(&self, zone: &Zone<'_>, now: Now) {
        self.each().for_each(|eject| eject.trickle.obey(eject.upstream, eject.entry, zone, now));
    }

    /// The balancer of an upstream has nobody left. True when there may be somebody now.
    #[cold]
    pub fn relieve(&self, zone: &Zone<'static>, number: usize) -> bool {
        let Some(eject) = self.get(number).filter(|eject| eject.holds_back.get()) else { return false };
        let now = clock::monotonic();
        let rotation = eject.rotation(zone, now);
        self.ask(zone, eject, now, None, |judge| judge.relieve(&rotation)).unwrap_or(false)
    }

    /// Somebody has said that a peer is up.
    pub fn pardon(&self, zone: &Zone<'static>, number: usize, addr: &[u8]) {
        if let Some((eject, peer)) = self.get(number).and_then(|e| Some((e, zone.find_peer(e.entry, addr)?)))
        {
            self.ask(zone, eject, clock::monotonic(), None, |judge| judge.pardon(peer));
        }
    }

    fn arm_comparison(&self) {
        let every_ms =
            self.each().filter(|eject| eject.settings.latency.is_some()).map(Eject::compare_ms).min();
        self.comparing.replace(every_ms.map(|ms| {
            Timer::background(Duration::from_millis(ms), || {
                with_shell(|shell| {
                    // first, so that a fault is not the end of it
                    shell.ejects.arm_comparison();
                    shell.ejects.compare(&shell.zone);
                    shell.sync();
                });
            })
        }));
    }

    /// One worker of all compares the peers of an upstream.
    fn compare(&self, zone: &Zone<'static>) {
        if process::exiting() {
            return;
        }
        let now = clock::monotonic();
        for eject in self.each().filter(|eject| eject.settings.latency.is_some()) {
            self.ask(zone, eject, now, None, |judge| {
                if judge.takes_turn(eject.compare_ms()) {
                    judge.compare(&eject.rotation(zone, now));
                }
            });
        }
    }
}

impl Eject {
    fn compare_ms(&self) -> u64 {
        (self.settings.time_ms / 4).clamp(LEAST_COMPARE_MS, MOST_COMPARE_MS)
    }

    /// The peers that requests may be sent to but for their ejection: those that nginx's balancer has, and those that only the zone
    /// knows, because a script chooses them.
    fn rotation(&self, zone: &Zone<'_>, now: Now) -> Rotation {
        let mut known: HashMap<usize, (bool, bool)> = HashMap::new();
        for backup in [true, false] {
            for peer in self.upstream.known(backup) {
                if let Some(entry) = zone.find_peer(self.entry, &peer.whose.name) {
                    // of several with its address, one that is up is enough
                    let others = known.get(&entry.index()).filter(|(kind, _)| *kind == backup);
                    let down = peer.down && others.is_none_or(|(_, down)| *down);
                    known.insert(entry.index(), (backup, down));
                }
            }
        }
        let mut rotation = Rotation::default();
        for entry in zone.peers(self.entry) {
            let (backup, down) = known.get(&entry.index()).copied().unwrap_or_default();
            // what is down because it is ejected is only that
            let is_down = down && zone.standing(entry, now) == Health::Well;
            if !is_down && zone.control(entry).says() == State::Up {
                if backup { &mut rotation.backup } else { &mut rotation.primary }.push(entry);
            }
        }
        rotation
    }

    /// When time changes something next.
    fn due_ms(&self, zone: &Zone<'_>, now: Now) -> Option<u64> {
        let ends = zone.peers(self.entry).into_iter().filter_map(|peer| zone.ejected_until_ms(peer));
        // what is over is for the workers of a newer configuration to say
        let is_to_come = |ms: &u64| *ms > now.us / 1000 && *ms != u64::MAX;
        ends.chain([zone.ignored_until_ms(self.entry)]).filter(is_to_come).min()
    }
}

impl Shell {
    /// An attempt at a peer of upstream `number` is over. One branch where nobody is ejected, and a load and a comparison more for an
    /// answer of a peer that is well.
    #[inline]
    pub fn judge(&self, number: usize, flight: &Flight<'_>, outcome: &Outcome, now: Now) {
        if self.ejects.all.is_empty() {
            return;
        }
        let Some(peer) = flight.peer() else { return };
        let verdict = outcome.verdict();
        let is_nothing = match verdict {
            Verdict::Passed => self.zone.is_untroubled(peer),
            verdict => verdict == Verdict::Nothing,
        };
        if !is_nothing {
            self.ejects.judge(&self.zone, number, (peer, flight.tried_us()), verdict, now);
        }
    }

    /// An answer without a natural end has begun: it need not end to be one.
    #[cold]
    pub fn stream_began(&self, number: usize, flight: &Flight<'_>) {
        if let Some(peer) = flight.peer().filter(|peer| !self.zone.is_untroubled(*peer)) {
            self.ejects.judge(
                &self.zone,
                number,
                (peer, flight.tried_us()),
                Verdict::Passed,
                clock::monotonic(),
            );
        }
    }

    /// A peer of upstream `number` has failed `max_fails` times, or nobody is left. Where peers are ejected, their largest share holds for
    /// those that nginx keeps out, too. True when those may be had again.
    #[cold]
    pub fn forgive(&self, number: usize, team: &Team) -> bool {
        let Some(eject) = self.ejects.get(number).filter(|_| !self.ejects.observes) else { return false };
        if team.forgives() {
            return false;
        }
        let most = |of| eject.settings.cap(of, false);
        let Some((out, of)) = team.forgive(&self.zone, clock::monotonic(), most) else { return false };
        let name = &eject.name;
        log_cycle(
            Level::Warn,
            &format!("upstream \"{name}\": {out} of {of} peers are out, which leaves too few: max_fails is ignored"),
        );
        true
    }

    /// Somebody has said that a peer of upstream `number` is up, whatever it was ejected for.
    pub fn pardon(&self, number: usize, addr: &[u8]) {
        self.ejects.pardon(&self.zone, number, addr);
    }
}

/// Calls `f` with what this worker holds of the zone, from a timer.
fn with_shell(f: impl FnOnce(&Shell)) {
    if let Some(shell) = cycle_main_conf().and_then(MainConf::shell) {
        f(shell);
    }
}
