//! What scripts ask for, carried out by the leader in the order in which it was asked.

use logic::autoscale::board::{Asked, Command};
use logic::autoscale::conf::Kind;
use logic::autoscale::policy::Event;
use logic::autoscale::signal::hint;

use super::errand::Sent;
use super::report;
use super::seat::Seat;
use super::Engine;
use crate::ngx::clock;

/// What is left of a command after a try.
enum Left {
    Nothing,
    /// It is under way, or cannot be done yet.
    Later,
}

impl Engine {
    /// What is wrong with a command, as far as this worker can tell.
    pub(super) fn check(&self, command: &Command) -> Result<(), String> {
        match command {
            Command::Hold { policy, seconds } => {
                let known = self.seats.iter().filter(|seat| !seat.bare).map(|seat| seat.policy.name.as_str());
                if !known.clone().any(|name| name == policy) {
                    return Err(format!("there is no policy \"{policy}\"{}", hint(policy, known)));
                }
                let legal = seconds.is_finite() && (0.0..=1e8).contains(seconds);
                legal.then_some(()).ok_or_else(|| "hold for a number of seconds".into())
            }
            Command::Notify { target, .. } => self.check_target(target),
            Command::Scale { target, .. } | Command::Change { target, .. } => {
                self.check_target(target)?;
                let seat = self.seat_of(target);
                let seat = seat.ok_or_else(|| format!("target \"{target}\" found no place in the zone"))?;
                let pool =
                    seat.target.as_ref().is_some_and(|target| matches!(target.kind, Kind::Pool { .. }));
                if seat.policy.limits.max == u32::MAX && !pool {
                    return Err(format!(
                        "target \"{target}\" has no maximum: write max= in autoscale_target"
                    ));
                }
                Ok(())
            }
        }
    }

    fn check_target(&self, name: &str) -> Result<(), String> {
        let known = self.targets.iter().map(|target| target.name.as_str());
        match known.clone().any(|target| target == name) {
            true => Ok(()),
            false => Err(format!("there is no target \"{name}\"{}", hint(name, known))),
        }
    }

    /// The policy that scales a target.
    fn seat_of(&self, target: &str) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.policy.target.as_deref() == Some(target))
    }

    /// Carries out what can be.
    pub(super) fn run_commands(&self) {
        let queue = self.board.queue();
        let mut later = Vec::new();
        while let Some(asked) = queue.take(self.me()) {
            match self.run(&asked) {
                Left::Nothing => queue.done(self.me(), &asked),
                Left::Later => later.push(asked),
            }
        }
        later.iter().filter(|asked| !self.is_under_way(asked)).for_each(|asked| queue.back(self.me(), asked));
    }

    fn is_under_way(&self, asked: &Asked) -> bool {
        self.messages.borrow().iter().any(|(_, message)| message.ticket == Some(asked.ticket))
    }

    fn run(&self, asked: &Asked) -> Left {
        match &asked.command {
            Command::Hold { policy, seconds } => {
                if let Some(seat) = self.seats.iter().find(|seat| seat.policy.name == *policy) {
                    seat.state.borrow_mut().hold(clock::monotonic().us, *seconds);
                    if !seat.save() {
                        return Left::Later;
                    }
                    report::held(seat, *seconds);
                }
                Left::Nothing
            }
            Command::Notify { target, json } => {
                match self.notify(target, json.clone(), Some(asked.clone())) {
                    Sent::UnderWay | Sent::Later => Left::Later,
                    Sent::Nobody => Left::Nothing,
                }
            }
            Command::Scale { target, replicas, reason } => {
                self.ask(target, asked.turn, reason, |_| *replicas)
            }
            Command::Change { target, delta, reason } => {
                self.ask(target, asked.turn, reason, |now| now.saturating_add_signed(*delta))
            }
        }
    }

    fn ask(&self, target: &str, turn: u64, reason: &str, wish: impl FnOnce(u32) -> u32) -> Left {
        // under a later configuration there may be no such target
        let Some(seat) = self.seat_of(target) else { return Left::Nothing };
        let now = clock::monotonic();
        let Some(replicas) = seat.replicas(now) else {
            // the first answer is on its way
            if seat.failures.get() == 0 {
                return Left::Later;
            }
            report::refused(seat, reason);
            return Left::Nothing;
        };
        let (asked, pending) = {
            let state = seat.state.borrow();
            (state.asked, state.pending)
        };
        if turn <= asked {
            // a leader that is gone has done it, and had no time to say so
            return Left::Nothing;
        }
        let wish = wish(if pending.id != 0 { pending.to } else { replicas.wanted });
        let evaluation = self.with(seat, Event::Request, now, |state, input| {
            let evaluation = seat.policy.ask(state, input, wish, reason);
            state.asked = turn;
            evaluation
        });
        if !self.publish(seat, &evaluation) {
            return Left::Later;
        }
        self.attend(seat);
        Left::Nothing
    }
}
