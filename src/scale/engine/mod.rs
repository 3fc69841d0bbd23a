//! The engine: it runs the policies, and carries out what they decide.
//!
//! ```text
//! tick, or a request that ends ──> Policy::step ──> board (state, order) ──> errand: read, write ──> Policy::settle
//!                          │                                                          │
//!       any worker: due?, wake the leader                              outward (one order in flight per target)
//! ```
//!
//! Every worker has an engine; the one that leads ([`super::leader`]) evaluates. What it decides is in shared memory before anything is
//! written ([`logic::autoscale::board`]): whoever leads after it finds the order pending, asks the target, and settles or repeats it
//! under the same key. What a request makes due is seen by the worker that served it, which wakes the leader in the same millisecond.
//!
//! It decides nothing itself: that is [`logic::autoscale::policy`]. Requests never wait for it.

mod commands;
mod errand;
mod evaluate;
mod report;
mod seat;
mod told;

pub use told::PolicyState;

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::hash::{BuildHasher, Hasher};
use std::rc::{Rc, Weak};

use logic::autoscale::board::{Board, Command};
use logic::autoscale::conf::{Kind, Settings, Target};
use logic::autoscale::decisions::Decisions;
use logic::autoscale::metrics::columns::Owner;
use logic::autoscale::metrics::zone::Zone;
use logic::autoscale::policy::{Event, Mode, Policy};
use logic::autoscale::signal::Scope;

use super::journal::Journal;
use super::leader::{local, upgrade, Leadership, Local};
use super::pool;
use super::shell::alive;
use super::StateFile;
use crate::conf::MainConf;
use crate::ngx::{clock, log_cycle, process, wake, ExitWatch, Level, Posted, Timer};
use seat::Seat;

/// A leader that is to stop lets its writes end, but no longer than this: then the next one repeats them.
const GRACE: Duration = Duration::from_secs(2);
/// What a leader says is in force is believed for so long after it last was at work.
const FORCE_US: u64 = 30_000_000;

/// A worker's part in the outer loop.
pub struct Engine {
    weak: Weak<Engine>,
    zone: Zone<'static>,
    board: Board<'static>,
    tick_s: u32,
    mode: Mode,
    /// Those of the configuration, in its order, and then one for each target that no policy scales.
    seats: Vec<Seat>,
    targets: Vec<Rc<Target>>,
    /// By number of the observed upstream: the places of the policies whose rules look at its requests.
    watched: Box<[u64]>,
    /// By the same number: the policies that scale it.
    deciders: Box<[Box<[usize]>]>,
    journal: Journal,
    leadership: Leadership,
    /// What tells the keys of this zone's orders from those of another.
    epoch: u64,
    /// Messages under way.
    messages: RefCell<slab::Slab<errand::Message>>,
    stopping: Cell<bool>,
    /// Since when a newer nginx is there that leads in place of this one; 0 while there is none.
    retired_us: Cell<u64>,
    state: Option<StateFile>,
    listener: RefCell<Option<wake::Listener>>,
    exit: RefCell<Option<ExitWatch>>,
    soon: RefCell<Option<Posted>>,
    grace: RefCell<Option<Timer>>,
}

/// Names of places: those of policies, and of targets that only scripts scale. A policy's name has no colon.
fn names(settings: &Settings) -> Vec<String> {
    let policies = settings.policies.iter().map(|p| p.policy.name.clone());
    policies.chain(bare(settings).map(seat::bare_name)).collect()
}

/// The targets that no policy scales.
fn bare(settings: &Settings) -> impl Iterator<Item = &Target> {
    let scaled = |t: &Target| settings.policies.iter().any(|p| p.policy.target.as_ref() == Some(&t.name));
    settings.targets.iter().filter(move |target| !scaled(target))
}

/// Gives every policy of a configuration its place, and every worker to come its descriptor. The master does it.
pub fn register(main: &MainConf, zone: &Zone<'_>, workers: usize) {
    let Some(settings) = main.autoscale.settings().filter(|s| is_needed(s)) else { return };
    let (names, board) = (names(settings), zone.board());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    board.epoch(random());
    board.queue().after(clock::unix_ms());
    if main.zone.as_deref().is_some_and(|conf| conf.is_new.get()) {
        // until the first worker knows whether there is an older nginx
        board.wait(u64::MAX);
    }
    for name in board.register(&names) {
        log_cycle(
            Level::Error,
            &format!("\"{name}\" finds no place in the zone and is not run: make the zone larger"),
        );
    }
    wake::prepare(workers);
}

/// A pool never has more than its members: a wish for more would be wished again for ever.
fn narrow(mut policy: Policy, target: Option<&Target>, main: &MainConf) -> Policy {
    if let Some(Kind::Pool { upstream }) = target.map(|target| &target.kind) {
        let found = main.observed().iter().find(|o| *o.name == **upstream).and_then(|o| o.upstream());
        let most = found.and_then(pool::members).map(|members| members.max(policy.limits.least()).max(1));
        policy.within(None, most);
    }
    policy
}

fn is_needed(settings: &Settings) -> bool {
    !(settings.policies.is_empty() && settings.targets.is_empty())
}

/// A number that no other gateway has.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

fn tell(engine: &Weak<Engine>, what: fn(&Engine)) {
    if let Some(engine) = engine.upgrade() {
        what(&engine);
    }
}

impl Engine {
    /// The engine of this worker; `None` without policies and targets.
    pub fn join(main: &MainConf, zone: &Zone<'static>, me: Owner, tick_s: u64) -> Option<Rc<Engine>> {
        let settings = main.autoscale.settings().filter(|s| is_needed(s))?;
        let (zone, board) = (zone.clone(), zone.board());
        let journal = Journal::new(main, Decisions::new(zone.decisions()));
        let targets: Vec<Rc<Target>> = settings.targets.iter().cloned().map(Rc::new).collect();
        let target = |name: &str| targets.iter().find(|t| t.name == name).map(Rc::clone);
        let policies = settings.policies.iter().map(|p| (p.policy.clone(), false));
        let bare = bare(settings).map(|t| (seat::bare_policy(t), true));
        let seats: Vec<Seat> = policies
            .chain(bare)
            .enumerate()
            .filter_map(|(number, (policy, bare))| {
                let place = board.find(&policy.name)?;
                let target = policy.target.as_deref().and_then(target);
                let policy = narrow(policy, target.as_deref(), main);
                Some(Seat::new(number, policy, target, bare, place))
            })
            .collect();
        let observed: Vec<&str> = main.observed().iter().map(|o| &*o.name).collect();
        let (local, epoch) = (Local::new(board, me, tick_s), board.epoch(random()));
        Some(Rc::new_cyclic(|weak| Engine {
            weak: weak.clone(),
            zone,
            board,
            tick_s: tick_s as u32,
            mode: settings.mode,
            watched: watched(&seats, &observed),
            deciders: told::deciders(&seats, &observed),
            journal,
            seats,
            targets,
            leadership: Leadership::new(local, &settings.leader, epoch),
            epoch,
            messages: RefCell::default(),
            stopping: Cell::new(false),
            retired_us: Cell::new(0),
            state: main.zone.as_deref().and_then(|conf| conf.state.clone()),
            listener: RefCell::default(),
            exit: RefCell::default(),
            soon: RefCell::default(),
            grace: RefCell::default(),
        }))
    }

    /// Begins to listen: from here on others may wake it.
    pub fn start(&self) {
        let (weak, exit) = (self.weak.clone(), self.weak.clone());
        let hear = move || tell(&weak, Engine::woken);
        let listener = wake::Listener::new(local::seat(), hear);
        if listener.is_none() {
            log_cycle(Level::Warn, "this worker cannot be woken: policies act with the tick");
        }
        self.listener.replace(listener);
        self.exit.replace(ExitWatch::new(move || tell(&exit, Engine::stop)));
        // whoever is not there any more is followed at once
        let begin = self.weak.clone();
        self.soon.replace(Some(Posted::now(move || tell(&begin, Engine::begin))));
    }

    fn begin(&self) {
        self.lead();
        self.woken();
    }

    /// Once a tick of the zone, in every worker.
    pub fn tick(&self) {
        self.journal.tick(clock::monotonic());
        if !self.lead() {
            return;
        }
        self.leadership.work(clock::monotonic());
        self.board.say_writes(self.may_write().is_some());
        self.board.queue().sweep(self.me(), |owner| self.me().stamp == 0 || alive(owner));
        self.run_commands();
        // all are looked at now
        self.board.take_due();
        for seat in &self.seats {
            // each may take a while, and a worker may be stopped in between
            if !self.leadership.local.leads() {
                break;
            }
            self.evaluate(seat, Event::Tick);
            self.attend(seat);
        }
    }

    /// Somebody has woken this worker: there are requests to look at, commands, or no leader.
    fn woken(&self) {
        if self.board.leader().is_none() {
            self.lead();
        }
        if !self.leadership.local.leads() {
            return;
        }
        self.run_commands();
        let due = self.board.take_due();
        for seat in self.seats.iter().filter(|seat| due & seat.place.bit() != 0) {
            if !self.leadership.local.leads() {
                break;
            }
            self.evaluate(seat, Event::Request);
            self.attend(seat);
        }
    }

    /// Whether this worker leads; it takes the lead if nobody has it.
    fn lead(&self) -> bool {
        let local = &self.leadership.local;
        if self.stopping.get() || process::exiting() {
            // what it has begun may end, nothing new begins
            return false;
        }
        if upgrade::is_followed() {
            self.retire();
            return false;
        }
        if self.retired_us.replace(0) > 0 && self.board.leader().is_none() {
            // the newer one has gone again: as a leader after it
            self.board.wait(1);
        }
        if self.waits() {
            return false;
        }
        if local.compete() {
            self.take_office();
        }
        let leads = local.leads();
        if !leads {
            if self.cancel(true) {
                log_cycle(
                    Level::Notice,
                    "another worker leads now: what this one had begun is its to repeat",
                );
            }
            // whatever it has begun: two workers of a gateway would take the lead among gateways from each other
            self.leadership.resign(false);
        }
        leads
    }

    /// Whether nobody leads yet, because an older nginx beside this one has still to stop.
    fn waits(&self) -> bool {
        let now_us = clock::monotonic().us;
        let until_us = self.board.waits_until_us();
        if until_us < u64::MAX {
            return now_us < until_us;
        }
        let follows = upgrade::follows();
        let wait_us = upgrade::WAIT_US + 2_000_000 * u64::from(self.tick_s);
        if follows {
            log_cycle(
                Level::Notice,
                "an older nginx runs beside this one: nobody leads until it has stopped to",
            );
        }
        self.board.wait(if follows { now_us + wait_us } else { 0 });
        follows
    }

    /// A newer nginx is there: what is under way may end within [`GRACE`], nothing new begins, and the state file says where things are.
    fn retire(&self) {
        let now_us = clock::monotonic().us;
        if self.retired_us.get() == 0 {
            self.retired_us.set(now_us);
        }
        self.cancel(false);
        let grace = now_us.saturating_sub(self.retired_us.get()) < GRACE.as_micros() as u64;
        if !self.leadership.local.leads() || grace && self.writes() {
            return;
        }
        self.cancel(true);
        self.leadership.resign(true);
        self.board.queue().give_back(self.me());
        if let Some(Err(why)) = self.state.as_ref().map(|file| file.write(&self.zone)) {
            log_cycle(
                Level::Error,
                &format!("the newer nginx does not learn what this one has decided: {why}"),
            );
        }
        self.leadership.local.resign();
        log_cycle(Level::Notice, "a newer nginx runs beside this one: this one leads no more");
    }

    /// What the one before has left is taken up.
    fn take_office(&self) {
        let fence = self.leadership.local.fence().unwrap_or(0);
        log_cycle(Level::Notice, &format!("this worker leads now: it runs the policies, with fence {fence}"));
        if self.board.waits_until_us() > 0 {
            if let Some(file) = &self.state {
                file.go_on(&self.zone, fence);
            }
            self.board.wait(0);
        }
        self.cancel(true);
        for seat in &self.seats {
            seat.take_over(&self.board, fence);
            self.board.queue().after(seat.state.borrow().asked);
            self.attend(seat);
        }
    }

    fn me(&self) -> Owner {
        self.leadership.local.me
    }

    /// The fence of what may be written now.
    fn may_write(&self) -> Option<u64> {
        self.leadership.may_write().filter(|_| self.mode == Mode::On)
    }

    /// `on`, unless another gateway is the one that writes.
    fn mode(&self) -> Mode {
        match self.mode {
            Mode::On if self.leadership.may_write().is_none() => Mode::Follow,
            mode => mode,
        }
    }

    /// A request to this upstream has ended, or another thing has happened that its policies look at. Only for upstreams that
    /// [`Engine::watches`] names.
    pub fn request_ended(&self, upstream: usize) {
        let (bits, now) = (self.watched.get(upstream).copied().unwrap_or(0), clock::monotonic());
        let leads = self.leadership.local.leads();
        let is_due = |seat: &&Seat| {
            bits & seat.place.bit() != 0
                && now.us >= seat.place.calm_until_us()
                && seat.is_due(&self.zone, self.tick_s, now, leads)
        };
        let due = self.seats.iter().filter(is_due).fold(0, |due, seat| due | seat.place.bit());
        if due != 0 && self.board.mark_due(due) {
            self.wake_leader(leads);
        }
    }

    /// By number of the observed upstream, whether its requests may make a policy act.
    pub fn watches(&self) -> Box<[bool]> {
        self.watched.iter().map(|bits| *bits != 0).collect()
    }

    fn wake_leader(&self, is_me: bool) {
        match self.board.seat() {
            _ if is_me => self.soon(),
            Some(seat) => wake::wake(seat),
            // there is none yet: who begins finds it
            None => {}
        }
    }

    /// Wakes this worker itself.
    fn soon(&self) {
        let weak = self.weak.clone();
        self.soon.replace(Some(Posted::now(move || tell(&weak, Engine::woken))));
    }

    /// What a script of this worker asks the leader for: its number. It is carried out within milliseconds.
    pub fn command(&self, command: &Command) -> Result<u64, String> {
        self.check(command)?;
        let ticket = self.board.queue().put(self.me(), command).map_err(|e| e.to_string())?;
        self.wake_leader(self.leadership.local.leads());
        Ok(ticket)
    }

    /// The policies whose `do` lines are in force, by number. One load when there are none.
    #[inline]
    pub fn in_force(&self) -> impl Iterator<Item = usize> + use<'_> {
        let bits = match self.board.in_force() {
            0 => 0,
            bits if clock::monotonic().us < self.board.beat_us() + self.force_us() => bits,
            _ => 0,
        };
        let seats = if bits == 0 { &[][..] } else { &self.seats };
        let numbers = seats.iter().enumerate().filter(move |(_, seat)| bits & seat.place.bit() != 0);
        numbers.map(|(number, _)| number)
    }

    /// The policies, by number.
    pub fn policies(&self) -> impl Iterator<Item = (usize, &Policy)> {
        self.seats.iter().map(|seat| &seat.policy).enumerate()
    }

    /// Until when the `do` lines of a policy stay in force at least; `None` while it is being written. Reads the whole state.
    pub fn relief_until_us(&self, number: usize) -> Option<u64> {
        let seat = self.seats.get(number)?;
        Some(seat.place.state()?.pressed_us + seat.policy.relief_us())
    }

    fn force_us(&self) -> u64 {
        FORCE_US.max(3 * u64::from(self.tick_s) * 1_000_000)
    }

    /// The worker is to stop: what it writes may end within [`GRACE`], and the lead goes on.
    fn stop(&self) {
        self.stopping.set(true);
        self.cancel(false);
        if let Some(listener) = &*self.listener.borrow() {
            listener.deafen();
        }
        if !self.leadership.local.leads() {
            return;
        }
        if !self.writes() {
            self.resign();
            return;
        }
        let weak = self.weak.clone();
        self.grace.replace(Some(Timer::after(GRACE, move || tell(&weak, Engine::resign))));
    }

    /// Gives the lead away, and tells the others.
    fn resign(&self) {
        self.grace.take();
        self.cancel(true);
        self.leadership.resign(false);
        self.board.queue().give_back(self.me());
        if self.leadership.local.resign() {
            wake::wake_all();
        }
    }

    /// The worker exits.
    pub fn end(&self) {
        self.stopping.set(true);
        self.exit.take();
        self.soon.take();
        self.resign();
        self.listener.take();
    }
}

/// Which upstreams' requests are looked at, and by whom. What is not of one upstream may change with any request.
fn watched(seats: &[Seat], upstreams: &[&str]) -> Box<[u64]> {
    let mut watched = vec![0; upstreams.len()];
    for seat in seats.iter().filter(|seat| seat.policy.watches_requests()) {
        for signal in seat.policy.signals.iter().map(|watched| &watched.signal) {
            let only = match &signal.scope {
                Scope::Upstream(name) | Scope::Peer { upstream: name, .. } => Some(name.as_str()),
                _ => None,
            };
            let concerned = watched.iter_mut().zip(upstreams);
            let concerned = concerned.filter(|(_, name)| only.is_none_or(|only| only == **name));
            concerned.for_each(|(bits, _)| *bits |= seat.place.bit());
        }
    }
    watched.into()
}
