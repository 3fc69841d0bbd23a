//! What is under way to a target: one reading, or one order, at a time.
//!
//! An order is pending in the state of its policy until it is settled. Before it is written the target is asked: what somebody did
//! meanwhile is not undone by a decision that did not know of it. What failed is tried again, under the same key, until the policy
//! itself gives it up; what cannot succeed is dropped, and nothing new is written for a while.

use core::future::Future;
use core::time::Duration;
use std::rc::Rc;

use logic::autoscale::board::{Asked, Known, Source};
use logic::autoscale::conf::{Kind, Target};
use logic::autoscale::metrics::Now;
use logic::autoscale::policy::state::Pending;
use logic::autoscale::policy::{Mode, Replicas, LOST_US};
use logic::caught::caught;

use super::random;
use super::report;
use super::seat::Seat;
use super::Engine;
use crate::ngx::{clock, job, log_cycle, within, Level, Location};
use crate::scale::outward::{self, Env, Failure, Order, Retry};

/// How often a target is asked when nothing is to be written.
const READ_US: u64 = 10_000_000;
/// How soon after a failure, doubling each time up to a bound.
const AGAIN_US: u64 = 1_000_000;
const AGAIN_MOST_US: u64 = 30_000_000;
/// Messages under way at once.
const MOST_MESSAGES: usize = 8;

/// A future for a target; dropping it cancels.
pub(super) struct Running {
    #[allow(dead_code, reason = "it is there to be dropped")]
    job: job::Running,
    pub writes: bool,
}

/// A message under way; dropping it cancels.
pub(super) struct Message {
    #[allow(dead_code, reason = "it is there to be dropped")]
    job: job::Running,
    /// That of the command it is of.
    pub ticket: Option<u64>,
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    UnderWay,
    /// Too many are under way.
    Later,
    /// There is no such target.
    Nobody,
}

/// What an order has come to.
enum Carried {
    Written(u32),
    /// Somebody else has moved the target: to where the order wanted it or beyond, or to where the order makes no sense any more.
    Moved(Replicas),
    /// This gateway is not the one that writes any more.
    Lost,
}

impl Engine {
    /// Sees to it that what is due for a policy's target is under way.
    pub(super) fn attend(&self, seat: &Seat) {
        let Some(target) = &seat.target else { return };
        if seat.running.borrow().is_some() || self.stopping.get() || !seat.is_mine() {
            return;
        }
        let (now, pending) = (clock::monotonic(), seat.state.borrow().pending);
        if pending.id != 0 && now.us.saturating_sub(pending.at_us) > LOST_US {
            if self.settle(seat, &pending, None) {
                self.dropped(seat, &pending, "it could not be written for two minutes");
            }
        } else if pending.id != 0 && !seat.policy.observe && self.may_write().is_some() {
            if now.us >= seat.write_us.get() {
                self.write(seat, target, &pending);
            }
        } else if now.us >= seat.read_us.get() {
            self.read(seat, target);
        }
    }

    fn env(&self, fence: Option<u64>) -> Option<Env> {
        let weak = self.weak.clone();
        let holds = move |engine: Rc<Engine>| match fence {
            Some(fence) => engine.may_write() == Some(fence),
            None => engine.leadership.local.leads(),
        };
        let may_write = move || weak.upgrade().is_some_and(&holds);
        Some(Env { location: Location::of_http()?, may_write: Rc::new(may_write) })
    }

    /// Asks the target how many there are.
    fn read(&self, seat: &Seat, target: &Rc<Target>) {
        let Some(env) = self.env(None) else { return };
        let (target, weak, number) = (Rc::clone(target), self.weak.clone(), seat.number);
        // a pool is this nginx's own: asking it costs nothing
        let own = matches!(target.kind, Kind::Pool { .. });
        let pause_us = if own { 0 } else { READ_US };
        seat.read_us.set(clock::monotonic().us + pause_us);
        let future = async move { bounded(&target, outward::read(&target, &env)).await };
        let told = move |read: Result<Option<Replicas>, Failure>| {
            let Some(engine) = weak.upgrade() else { return };
            let Some(seat) = engine.seat(number) else { return };
            drop(seat.running.take());
            if !engine.leadership.local.leads() {
                return;
            }
            match read {
                Ok(replicas) => {
                    seat.failures.set(0);
                    let before = seat.learn(replicas);
                    if let (Mode::Follow, Some(from), Some(to)) = (engine.mode(), before, replicas) {
                        engine.moved(seat, from.wanted, to.wanted);
                    }
                }
                Err(failure) => {
                    let pause_us = seat.failed(&failure, random());
                    seat.read_us.set(clock::monotonic().us + pause_us);
                    report::unread(seat, &failure);
                }
            }
            // what was decided meanwhile
            if seat.state.borrow().pending.id != 0 {
                engine.attend(seat);
            }
        };
        seat.running.replace(Some(Running { job: job::spawn(future, told), writes: false }));
    }

    /// Carries out the order that is pending.
    fn write(&self, seat: &Seat, target: &Rc<Target>, pending: &Pending) {
        let Some((fence, env)) = self.may_write().and_then(|fence| Some((fence, self.env(Some(fence))?)))
        else {
            return;
        };
        let order = self.order(seat, target, pending, fence);
        let (target, weak, number, pending) = (Rc::clone(target), self.weak.clone(), seat.number, *pending);
        let began_us = clock::monotonic().us;
        let future = async move { bounded(&target, carry(&target, &order, &env)).await };
        let told = move |carried: Result<Carried, Failure>| {
            let Some(engine) = weak.upgrade() else { return };
            let Some(seat) = engine.seat(number) else { return };
            drop(seat.running.take());
            if !engine.leadership.local.leads() {
                // it was stopped meanwhile, and another leader has taken the order over
                return;
            }
            engine.carried(seat, &pending, fence, carried, began_us);
            engine.attend(seat);
            if engine.stopping.get() && !engine.writes() {
                engine.resign();
            }
        };
        seat.running.replace(Some(Running { job: job::spawn(future, told), writes: true }));
    }

    fn order(&self, seat: &Seat, target: &Target, pending: &Pending, fence: u64) -> Order {
        let note = seat.place.noted(pending.id);
        let (unix_ms, reason) = note.map_or_else(
            || (0, "it was decided by a leader that is gone".into()),
            |note| (note.unix_ms, note.reason),
        );
        Order {
            // with its time: after a crash the numbers of a state file that is a little old are given a second time
            key: format!("{}.{}.{unix_ms:x}{:016x}", seat.policy.name, pending.id, self.epoch),
            policy: seat.policy.name.clone(),
            target: target.name.clone(),
            from: pending.from,
            to: pending.to,
            reason,
            unix_ms: if unix_ms == 0 { clock::unix_ms() } else { unix_ms },
            fence,
        }
    }

    /// An order has come back.
    fn carried(
        &self,
        seat: &Seat,
        pending: &Pending,
        fence: u64,
        carried: Result<Carried, Failure>,
        began_us: u64,
    ) {
        let now = clock::monotonic();
        let took_us = now.us.saturating_sub(began_us);
        match carried {
            Ok(Carried::Written(replicas)) => {
                seat.failures.set(0);
                // the order itself went out with a fence of its own; who leads now asks the target
                if !self.settle(seat, pending, Some(replicas)) {
                    return;
                }
                seat.wrote(replicas, now);
                self.settled(seat, pending, Ok(replicas), took_us);
            }
            Ok(Carried::Moved(replicas)) => {
                seat.failures.set(0);
                seat.learn(Some(replicas));
                let reached = pending.is_reached(replicas.wanted);
                if !self.settle(seat, pending, reached.then_some(replicas.wanted)) {
                    return;
                }
                if reached {
                    self.settled(seat, pending, Ok(replicas.wanted), took_us);
                } else {
                    let why = format!("the target is at {} meanwhile", replicas.wanted);
                    self.dropped(seat, pending, &why);
                }
            }
            // it waits for whoever leads
            Ok(Carried::Lost) => {}
            // whatever it failed by: nothing more is sent, and it is not the target's fault
            Err(failure) if self.may_write() != Some(fence) => {
                self.settled(seat, pending, Err((&failure, false)), took_us);
            }
            Err(failure) => {
                let pause_us = seat.failed(&failure, random());
                seat.write_us.set(now.us + pause_us);
                let given_up = failure.retry == Retry::Never;
                if given_up && !self.settle(seat, pending, None) {
                    return;
                }
                self.settled(seat, pending, Err((&failure, given_up)), took_us);
            }
        }
    }

    /// Says in the state, and on the board, how an order went; false when that is for a later leader to say.
    pub(super) fn settle(&self, seat: &Seat, pending: &Pending, written: Option<u32>) -> bool {
        let now_us = clock::monotonic().us;
        seat.policy.settle(&mut seat.state.borrow_mut(), now_us, pending.id, written);
        seat.save()
    }

    /// Another gateway has moved the target.
    fn moved(&self, seat: &Seat, from: u32, to: u32) {
        if !seat.policy.observe {
            seat.policy.moved(&mut seat.state.borrow_mut(), clock::monotonic().us, from, to);
            seat.save();
        }
    }

    /// Sends a message; `asked` is the command that it is of.
    pub(super) fn notify(&self, target: &str, json: String, asked: Option<Asked>) -> Sent {
        let found = self.targets.iter().find(|t| t.name == target).map(Rc::clone);
        let (Some(target), Some(env)) = (found, self.env(None)) else { return Sent::Nobody };
        let mut messages = self.messages.borrow_mut();
        if messages.len() >= MOST_MESSAGES {
            return Sent::Later;
        }
        let (weak, place) = (self.weak.clone(), messages.vacant_entry());
        let (key, name, ticket) =
            (place.key(), target.name.clone(), asked.as_ref().map(|asked| asked.ticket));
        let future = async move { bounded(&target, outward::notify(&target, &json, &env)).await };
        let told = move |sent: Result<(), Failure>| {
            let Some(engine) = weak.upgrade() else { return };
            let message = engine.messages.borrow_mut().try_remove(key);
            drop(message);
            report::notified(&name, sent);
            if let Some(asked) = &asked {
                engine.board.queue().done(engine.me(), asked);
            }
        };
        place.insert(Message { job: job::spawn(future, told), ticket });
        Sent::UnderWay
    }

    fn seat(&self, number: usize) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.number == number)
    }

    /// Whether an order is under way.
    pub(super) fn writes(&self) -> bool {
        self.seats.iter().any(|seat| seat.running.borrow().as_ref().is_some_and(|running| running.writes))
    }

    /// Cancels what is under way, orders too if `all`. True when there was anything.
    pub(super) fn cancel(&self, all: bool) -> bool {
        let messages = self.messages.take();
        let mut any = !messages.is_empty();
        drop(messages);
        for seat in &self.seats {
            let goes = seat.running.borrow().as_ref().is_some_and(|running| all || !running.writes);
            if goes {
                any = true;
                drop(seat.running.take());
            }
        }
        any
    }
}

impl Seat {
    /// What the target says of itself. `None`: it cannot be asked, and what was written last holds. Returns what it said before.
    fn learn(&self, replicas: Option<Replicas>) -> Option<Replicas> {
        let (at_us, known) = (clock::monotonic().us, self.place.known());
        self.place.learn(match (replicas, known) {
            (Some(replicas), _) => Known { replicas, at_us, source: Source::Told },
            (None, Some(known)) if known.source == Source::Told => Known { source: Source::Written, ..known },
            (None, Some(known)) => known,
            (None, None) => {
                let least = self.policy.limits.least();
                let replicas = Replicas { wanted: least, ready: least };
                Known { replicas, at_us, source: Source::Assumed }
            }
        });
        known.filter(|known| known.source == Source::Told).map(|known| known.replicas)
    }

    /// Another gateway writes. Where the target cannot be asked, that one is taken to have decided the same.
    pub(super) fn follow(&self, wanted: u32) {
        if let Some(known) = self.place.known().filter(|known| known.source != Source::Told) {
            let replicas = Replicas { wanted, ready: wanted };
            self.place.learn(Known { replicas, source: Source::Written, ..known });
        }
    }

    /// So many were just written. Those that are ready are learnt later, if the target can be asked.
    fn wrote(&self, wanted: u32, now: Now) {
        let known = self.place.known();
        let (source, ready) = match known {
            Some(Known { source: Source::Told, replicas, .. }) => (Source::Told, replicas.ready.min(wanted)),
            _ => (Source::Written, wanted),
        };
        self.place.learn(Known { replicas: Replicas { wanted, ready }, at_us: now.us, source });
        self.read_us.set(now.us + READ_US / 10);
    }

    /// How long to leave the target alone after a failure, in microseconds.
    fn failed(&self, failure: &Failure, random: u64) -> u64 {
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        let most = (AGAIN_US << failures.min(5)).min(AGAIN_MOST_US);
        match failure.retry {
            Retry::Never => AGAIN_MOST_US,
            // half of it is chance, so that gateways do not come together
            Retry::Soon => most / 2 + random % (most / 2),
            Retry::After(pause) => pause.as_micros().min(u128::from(LOST_US)) as u64,
        }
    }
}

/// Asks, and writes what still makes sense.
async fn carry(target: &Target, order: &Order, env: &Env) -> Result<Carried, Failure> {
    if let Some(replicas) = outward::read(target, env).await? {
        let pending = Pending { id: 0, at_us: 0, from: order.from, to: order.to };
        // fewer were decided for what there was: somebody who added some since knows better
        let outdated = order.to < order.from && replicas.wanted > order.from;
        if outdated || pending.is_reached(replicas.wanted) {
            return Ok(Carried::Moved(replicas));
        }
    }
    if !(env.may_write)() {
        return Ok(Carried::Lost);
    }
    let written = outward::write(target, order, env).await?;
    Ok(Carried::Written(written.replicas))
}

/// What it comes to: an answer, or a failure to be tried again. A fault of ours in it is one, too, or its seat would be taken for ever.
async fn bounded<T>(target: &Target, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match caught(within(patience(target), future)).await {
        Ok(result) => result.unwrap_or_else(|| Err(Failure::soon("no answer in time"))),
        Err(why) => {
            log_cycle(Level::Alert, &format!("autoscale_lua panicked for target \"{}\": {why}", target.name));
            Err(Failure::soon("a fault of this module"))
        }
    }
}

/// A reading and a writing within the target's bounds, and a little: whatever takes longer hangs.
fn patience(target: &Target) -> Duration {
    Duration::from_millis(2 * target.timeout_ms + 1000)
}
