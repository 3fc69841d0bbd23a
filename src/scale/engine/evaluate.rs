//! One evaluation: what comes in, and where it goes.

use logic::autoscale::board::OrderNote;
use logic::autoscale::metrics::Now;
use logic::autoscale::policy::live::Live;
use logic::autoscale::policy::{Action, Evaluation, Event, Input, Mode, Outcome, State};

use super::errand::Sent;
use super::report;
use super::seat::Seat;
use super::Engine;
use crate::ngx::clock;
use crate::scale::journal::Instant;
use crate::scale::script::Runner;

/// After a request that made a rule hold without anything to do about it, the next ones are not looked at for so long.
const CALM_US: u64 = 100_000;

impl Engine {
    /// Evaluates a policy, and puts on the board what came out. Only the leader does.
    pub(super) fn evaluate(&self, seat: &Seat, event: Event) {
        let now = clock::monotonic();
        self.leave_orders(seat);
        let replicas = seat.replicas(now);
        // how many there are is being asked for the first time
        let too_early = replicas.is_none() && seat.target.is_some() && seat.failures.get() == 0;
        if seat.bare || too_early || !seat.is_mine() {
            return;
        }
        let mut runner = Runner::new(&seat.policy.name);
        let step =
            |state: &mut State, input: Input<'_>| seat.policy.step(state, input.with_script(&mut runner));
        let evaluation = self.with(seat, event, now, step);
        let idle = !matches!(evaluation.outcome, Outcome::Scale { .. });
        if event == Event::Request && idle {
            seat.place.calm(now.us + CALM_US);
        }
        self.publish(seat, &evaluation);
    }

    /// Calls `f` with the state of a policy and what it is evaluated with.
    pub(super) fn with(
        &self,
        seat: &Seat,
        event: Event,
        now: Now,
        f: impl FnOnce(&mut State, Input<'_>) -> Evaluation,
    ) -> Evaluation {
        let mut handles = seat.handles.borrow_mut();
        handles.refresh(&seat.policy, &self.zone, self.tick_s);
        let view = Live { zone: &self.zone, handles: &handles, now };
        let (unix_ms, mode, replicas) = (clock::unix_ms(), self.mode(), seat.replicas(now));
        let input = Input { now, unix_ms, event, mode, replicas, view: &view, script: None };
        f(&mut seat.state.borrow_mut(), input)
    }

    /// Puts on the board what an evaluation came to, and tells who wants to know. The order goes first: a state that has it pending
    /// is not to be without its reason. False when another worker leads meanwhile: then it has never been.
    pub(super) fn publish(&self, seat: &Seat, evaluation: &Evaluation) -> bool {
        let unix_ms = clock::unix_ms();
        if !seat.is_mine() {
            return false;
        }
        let ordered = seat.state.borrow().pending.id;
        if evaluation.id != 0 && evaluation.id == ordered {
            let reason = seat.policy.explain(evaluation);
            seat.place.note(evaluation.id, &OrderNote { unix_ms, reason });
        }
        if let Outcome::Scale { .. } = evaluation.outcome {
            seat.own.set(evaluation.id);
        }
        if !seat.save() {
            return false;
        }
        self.board.set_in_force(seat.place.bit(), evaluation.actions.in_force);
        report::evaluated(seat, evaluation);
        let at = Instant { now: clock::monotonic(), unix_ms };
        self.journal.record(&seat.policy, seat.place.last(), evaluation, at);
        if evaluation.actions.notify && self.may_write().is_some() {
            let json = serde_json::to_string(&seat.policy.decision(evaluation, unix_ms));
            for action in &seat.policy.actions {
                if let (Action::Notify(target), Ok(json)) = (action, &json) {
                    if self.notify(target, json.clone(), None) == Sent::Later {
                        report::unsent(target);
                    }
                }
            }
        }
        true
    }

    /// What was decided under another configuration is not written any more. While another gateway leads, or nobody knows who does, an
    /// order waits: until that gateway has had time to decide the same, or this one leads.
    fn leave_orders(&self, seat: &Seat) {
        let pending = seat.state.borrow().pending;
        if pending.id == 0 || seat.running.borrow().as_ref().is_some_and(|running| running.writes) {
            return;
        }
        let mode = if seat.policy.observe { Mode::Observe } else { self.mode() };
        match mode {
            Mode::On => {}
            Mode::Follow => {
                let (seen_us, tick_us) = (self.leadership.others_us(), u64::from(self.tick_s) * 1_000_000);
                let left = seat.policy.leave(&mut seat.state.borrow_mut(), seen_us, tick_us);
                if left.is_some() {
                    if !seat.save() {
                        return;
                    }
                    seat.follow(pending.to);
                    // what this gateway did not decide as the one that leads was not its to write
                    if seat.own.get() == pending.id {
                        self.dropped(seat, &pending, "another gateway leads now");
                    }
                }
            }
            Mode::Observe | Mode::Off => {
                if self.settle(seat, &pending, None) {
                    self.dropped(seat, &pending, "this gateway does not write now");
                }
            }
        }
    }
}
