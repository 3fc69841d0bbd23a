//! `autoscale_protect`, wired: which requests wait, who is let go, who is refused.
//!
//! ```text
//! peer.init ── arrive ─┬─ room, and nobody waits ──> goes on                 a peer is given back ── freed ── grant ── wake its worker
//!                      ├─ its place in the queue ──> held (ngx/upstream/park)                                        │
//!                      └─ full ──> refused           look, every 5 ms while some are held <── resumed, refused <─────┘
//! ```
//!
//! What order they have and how long they wait is decided in [`logic::autoscale::queue`]. A request that need not wait pays for looking at
//! one word and at peers until one has room. Whoever waits is looked after by its own worker, every few milliseconds, so that a wake-up
//! that was lost, or goes to the worker of a newer configuration with the same number, costs no more than that.

mod guard;
mod refusal;

pub use guard::{learns, Guard};
pub use refusal::Why;

use core::cell::RefCell;
use core::time::Duration;
use std::collections::HashMap;

use logic::autoscale::limit::{Alike, Learnt, Outcome as Told};
use logic::autoscale::metrics::columns::Owner;
use logic::autoscale::metrics::flight::Flight;
use logic::autoscale::metrics::series::Class;
use logic::autoscale::metrics::zone::{of_peer, of_upstream};
use logic::autoscale::metrics::Now;
use logic::autoscale::policy::Mode;
use logic::autoscale::queue::{Crowd, Grant, Phase, Queues, Slot};

use super::collect::Outcome;
use super::leader::local;
use super::shell::alive;
use super::Shell;
use crate::conf::MainConf;
use crate::ngx::{
    clock, cycle_main_conf, log_cycle, wake, ExitWatch, Level, Released, Request, Ticket, Timer,
};

/// How often a worker looks after those that it holds.
const LOOK: Duration = Duration::from_millis(5);

/// What becomes of a request that comes to an upstream.
pub enum Arrival {
    Go,
    Wait(Slot),
    Refuse(Why),
}

/// A worker's part in all queues.
pub struct Protect {
    queues: Option<Queues<'static>>,
    me: Owner,
    seat: u16,
    /// By number of the observed upstream; empty when none is protected.
    guards: Box<[Option<Guard>]>,
    /// Those that this worker holds.
    held: RefCell<Vec<Ticket>>,
    look: RefCell<Option<Timer>>,
    listener: RefCell<Option<wake::Listener>>,
    exit: RefCell<Option<ExitWatch>>,
}

/// Makes the workers' descriptors, before they are forked.
pub fn register(main: &MainConf, workers: usize) {
    let is_protected = |o: &crate::ngx::Observed| o.upstream().is_some_and(|u| guard::conf(&u).is_some());
    if main.observed().iter().any(is_protected) {
        wake::prepare(workers);
    }
}

fn with_shell(f: impl FnOnce(&Shell)) {
    if let Some(shell) = cycle_main_conf().and_then(MainConf::shell) {
        f(shell);
    }
}

impl Protect {
    pub fn join(
        main: &MainConf,
        zone: &logic::autoscale::metrics::zone::Zone<'static>,
        entries: &[logic::autoscale::metrics::table::Ref<logic::autoscale::metrics::series::Upstream>],
        me: Owner,
    ) -> Self {
        let queues = Queues::over(zone.queues());
        let guards = main.observed().iter().zip(entries).map(|(o, entry)| {
            let guard = Guard::new(&o.name, o.upstream()?, *entry, zone)?;
            if queues.is_none() {
                let text =
                    format!("upstream \"{}\" is not protected: the zone is too small for a queue", o.name);
                log_cycle(Level::Error, &text);
            }
            Some(guard).filter(|_| queues.is_some())
        });
        let guards: Vec<_> = guards.collect();
        let guards = if guards.iter().any(Option::is_some) { guards.into() } else { Box::default() };
        if let Some(queues) = &queues {
            // those of workers that died when nobody was left to see it
            queues.sweep(me, alive);
        }
        Self {
            queues,
            me,
            seat: local::seat() as u16,
            guards,
            held: RefCell::default(),
            look: RefCell::default(),
            listener: RefCell::default(),
            exit: RefCell::default(),
        }
    }

    /// Begins to listen.
    pub fn start(&self) {
        if self.guards.is_empty() {
            return;
        }
        let hear = || with_shell(|shell| shell.protect.look(shell));
        self.listener.replace(wake::Listener::new(self.seat.into(), hear));
        let stop = || {
            with_shell(|shell| {
                if let Some(listener) = &*shell.protect.listener.borrow() {
                    listener.deafen();
                }
            });
        };
        self.exit.replace(ExitWatch::new(stop));
    }

    /// The worker exits.
    pub fn leave(&self) {
        self.look.take();
        self.exit.take();
        self.listener.take();
        if let Some(queues) = &self.queues {
            queues.release(self.me);
        }
    }

    #[inline]
    fn guard(&self, upstream: usize) -> Option<&Guard> {
        self.guards.get(upstream)?.as_ref()
    }

    /// A request comes to an upstream.
    #[inline]
    pub fn arrive(&self, shell: &Shell, upstream: usize, request: Request) -> Arrival {
        let (Some(guard), Some(queues)) = (self.guard(upstream), &self.queues) else { return Arrival::Go };
        let mode = request.loc_conf().mode.unwrap_or_default();
        if mode == Mode::Off {
            return Arrival::Go;
        }
        let now = clock::monotonic();
        guard.pace(shell, upstream, now);
        if guard.lane.is_idle() && guard.has_room(shell, upstream, now) {
            return Arrival::Go;
        }
        self.arrive_late(shell, (guard, queues), upstream, request, mode)
    }

    #[cold]
    fn arrive_late(
        &self,
        shell: &Shell,
        (guard, queues): (&Guard, &Queues<'static>),
        upstream: usize,
        request: Request,
        mode: Mode,
    ) -> Arrival {
        let now = clock::monotonic();
        if !shell.zone.is_current(guard.entry) {
            // the lane is another upstream's by now
            return Arrival::Go;
        }
        let pressure = queues.pressure(&guard.lane);
        if pressure.waiting == 0 && guard.room(shell, upstream, 0, now) > pressure.granted {
            return Arrival::Go;
        }
        if mode == Mode::Observe {
            guard.refusals.observe(&guard.name, now);
            return Arrival::Go;
        }
        let entry = guard.entry_of(request, &shell.zone, now);
        let most = (guard.settings.queue, guard.settings.bytes);
        let (slot, dropped) = match queues.enter(&guard.lane, (self.me, self.seat), &entry, most, now.us) {
            Ok(entered) => entered,
            Err(full) => return Arrival::Refuse(Why::Full(full)),
        };
        if let Some(dropped) = dropped {
            self.tell(&dropped);
        }
        // room may have been made before this one was seen to wait
        let mut is_its_turn = false;
        self.grant_all(shell, upstream, |grant| {
            is_its_turn |= grant.slot == slot && grant.owner == self.me;
            !is_its_turn
        });
        if is_its_turn {
            queues.leave(slot);
            return Arrival::Go;
        }
        Arrival::Wait(slot)
    }

    /// Lets go whom there is room for, as long as `f` wants more.
    fn grant_all(&self, shell: &Shell, upstream: usize, mut f: impl FnMut(&Grant) -> bool) {
        let (Some(guard), Some(queues)) = (self.guard(upstream), &self.queues) else { return };
        if !shell.zone.is_current(guard.entry) {
            return;
        }
        let now = clock::monotonic();
        let pace = guard.pace(shell, upstream, now);
        let room = |ahead| guard.room(shell, upstream, ahead, now);
        while let Some(grant) = queues.grant(&guard.lane, now.us, &pace, room) {
            let more = f(&grant);
            self.tell(&grant);
            if !more {
                break;
            }
        }
    }

    /// Wakes whoever holds a request about which something was decided.
    fn tell(&self, grant: &Grant) {
        if grant.owner != self.me {
            return wake::wake(grant.seat.into());
        }
        let held =
            self.held.borrow().iter().find(|t| t.slot() == Some(grant.slot) && !t.is_decided()).copied();
        if let Some(ticket) = held {
            self.settle(&ticket);
        }
    }

    /// Tells a request what has become of its slot; false when that is nothing.
    fn settle(&self, ticket: &Ticket) -> bool {
        let (Some(queues), Some(slot)) = (&self.queues, ticket.slot()) else { return false };
        match queues.phase(slot) {
            Phase::Waiting => return false,
            Phase::Granted => ticket.go(),
            Phase::Dropped => ticket.refuse(Why::Displaced),
            // nobody else takes it away from the living
            Phase::Gone => {
                ticket.lose_slot();
                ticket.refuse(Why::Lost);
            }
        }
        true
    }

    /// There may be room at an upstream.
    #[inline]
    pub fn freed(&self, shell: &Shell, upstream: usize) {
        if self.guard(upstream).is_some_and(|guard| !guard.lane.is_idle_now()) {
            self.grant_all(shell, upstream, |_| true);
        }
    }

    /// Looks after those that this worker holds: who may go, who has waited for too long.
    fn look(&self, shell: &Shell) {
        let Some(queues) = &self.queues else { return };
        // a peer that has come may have room
        shell.sync();
        let now = clock::monotonic();
        let mut crowds = HashMap::<usize, Crowd>::new();
        for ticket in self.held.borrow().iter().filter(|ticket| !ticket.is_decided()) {
            let (Some(guard), Some(slot)) = (self.guard(ticket.upstream()), ticket.slot()) else { continue };
            if self.settle(ticket) {
                continue;
            }
            if !shell.zone.is_current(guard.entry) {
                // nobody counts for it any more what it waits for
                if queues.withdraw(slot) {
                    ticket.lose_slot();
                    ticket.go();
                }
                continue;
            }
            queues.insist(&guard.lane);
            let (timeout_us, pace) = (guard.settings.timeout_us, guard.pace(shell, ticket.upstream(), now));
            let lane = (&guard.lane, crowds.entry(ticket.upstream()).or_default());
            if queues.is_overdue(lane, slot, timeout_us, now.us, &pace) && queues.withdraw(slot) {
                ticket.lose_slot();
                ticket.refuse(Why::Late);
            }
        }
        self.grant_everywhere(shell);
    }

    /// Grants that somebody may have missed.
    fn grant_everywhere(&self, shell: &Shell) {
        for upstream in 0..self.guards.len() {
            if self.guard(upstream).is_some_and(|guard| !guard.lane.is_idle()) {
                self.grant_all(shell, upstream, |_| true);
            }
        }
    }

    /// Once a tick, in one worker of all.
    pub fn tick(&self, shell: &Shell) {
        let Some(queues) = self.queues.as_ref().filter(|_| !self.guards.is_empty()) else { return };
        queues.sweep(self.me, alive);
        self.grant_everywhere(shell);
    }

    /// A request is held from now on.
    pub fn keep(&self, ticket: Ticket) {
        self.held.borrow_mut().push(ticket);
        if self.look.borrow().is_none() {
            self.arm();
        }
    }

    /// Not cancelable: a worker that is to stop goes on until those that it holds are served.
    fn arm(&self) {
        let fire = || {
            with_shell(|shell| {
                let protect = &shell.protect;
                protect.look.take();
                if !protect.held.borrow().is_empty() {
                    // first, so that a fault in one look is not the end of all
                    protect.arm();
                    protect.look(shell);
                }
            });
        };
        self.look.replace(Some(Timer::after(LOOK, fire)));
    }

    /// A request is held no more.
    pub fn forget(&self, ticket: Ticket) {
        let mut held = self.held.borrow_mut();
        if let Some(i) = held.iter().position(|t| *t == ticket) {
            held.swap_remove(i);
        }
    }

    pub fn find(&self, request: Request) -> Option<Ticket> {
        self.held.borrow().iter().find(|t| t.request() == request).copied()
    }

    /// Gives a slot back, and what room it had to those who wait.
    pub fn give_back(&self, shell: &Shell, upstream: usize, slot: Option<Slot>) {
        if let (Some(queues), Some(slot)) = (&self.queues, slot) {
            queues.leave(slot);
            self.freed(shell, upstream);
        }
    }

    /// Notes for how long a request was held.
    pub fn waited(&self, released: &Released) {
        if let Some(ctx) = released.request.ctx() {
            let us = clock::monotonic().us.saturating_sub(released.since_us);
            ctx.queued_us.set(ctx.queued_us.get() + us);
        }
    }

    /// How long a request was held, in microseconds; `None` when it goes to no protected upstream.
    pub fn queued_us(&self, request: Request, upstream: Option<usize>) -> Option<u64> {
        let waited = request.ctx_if_any().map_or(0, |ctx| ctx.queued_us.get());
        (waited > 0 || upstream.and_then(|number| self.guard(number)).is_some()).then_some(waited)
    }

    /// Whether the limits of the peers of an upstream are learnt here.
    #[inline]
    pub fn learns(&self, upstream: usize) -> bool {
        self.guard(upstream).is_some_and(Guard::learns)
    }

    /// A try that was number `rank` at its peer has ended, or answers a stream.
    #[inline]
    pub fn learn(&self, shell: &Shell, flight: &Flight<'_>, rank: u32, outcome: Option<&Outcome>, now: Now) {
        if rank == 0 {
            return;
        }
        let told = match outcome {
            None => Told::Answered,
            Some(_) if flight.is_streaming() => return,
            Some(outcome) => match outcome.class() {
                _ if outcome.status == 429 => Told::Failed,
                Class::Success | Class::Redirect | Class::ClientError => Told::Answered,
                Class::Aborted | Class::Timeout => Told::GivenUp,
                _ => Told::Failed,
            },
        };
        if let Some(side) = flight.peer().and_then(|peer| shell.zone.side(peer)) {
            let alike = || Some(Alike::over(&shell.zone.side(flight.upstream())?[of_upstream::ALIKE]));
            Learnt::over(&side[of_peer::LIMIT]).sample(now, now.since(flight.tried_us()), rank, told, alike);
        }
    }

    /// Whether a failed try may be followed by another one.
    #[cold]
    pub fn may_retry(&self, shell: &Shell, upstream: usize) -> bool {
        self.guard(upstream).is_none_or(|guard| guard.may_retry(shell, clock::monotonic()))
    }
}
