//! What the engine says of itself: in the error log, and of its decisions in the journal.

use logic::autoscale::policy::state::Pending;
use logic::autoscale::policy::{Evaluation, Outcome};

use super::seat::Seat;
use super::Engine;
use crate::ngx::{clock, log_cycle, Level};
use crate::scale::outward::Failure;

impl Engine {
    /// An order has come back: the number that was written, or the failure and whether that is the end of it.
    pub(super) fn settled(
        &self,
        seat: &Seat,
        pending: &Pending,
        result: Result<u32, (&Failure, bool)>,
        took_us: u64,
    ) {
        settled(seat, pending, result, took_us);
        let result = result.map_err(|(failure, given_up)| match given_up {
            true => format!("given up: {failure}"),
            false => format!("tried again: {failure}"),
        });
        let result = result.as_ref().map(|written| *written).map_err(String::as_str);
        self.journal.settled(&seat.policy, seat.place.last(), pending.id, result, took_us);
    }

    /// An order is not written at all.
    pub(super) fn dropped(&self, seat: &Seat, pending: &Pending, why: &str) {
        dropped(seat, pending, why);
        let took_us = clock::monotonic().us.saturating_sub(pending.at_us);
        self.journal.settled(&seat.policy, seat.place.last(), pending.id, Err(why), took_us);
    }
}

fn say(level: Level, seat: &Seat, what: &str) {
    log_cycle(level, &format!("autoscale policy \"{}\": {what}", seat.policy.name));
}

/// A policy was evaluated. What is news is said once.
pub(super) fn evaluated(seat: &Seat, evaluation: &Evaluation) {
    let acts = matches!(evaluation.outcome, Outcome::Scale { .. } | Outcome::Would { .. });
    if acts || evaluation.news {
        let level = if acts { Level::Notice } else { Level::Info };
        say(level, seat, &seat.policy.explain(evaluation));
    }
    if evaluation.actions.turned {
        let what = if evaluation.actions.in_force { "are in force" } else { "are no longer in force" };
        say(Level::Notice, seat, &format!("its \"do\" lines {what}"));
    }
}

/// An order has come back: the number that was written, or the failure and whether that is the end of it.
fn settled(seat: &Seat, pending: &Pending, result: Result<u32, (&Failure, bool)>, took_us: u64) {
    let (id, to, ms) = (pending.id, pending.to, took_us / 1000);
    match result {
        Ok(replicas) => {
            say(
                Level::Notice,
                seat,
                &format!("decision {id} is written: {replicas} replicas, after {ms} ms"),
            );
        }
        Err((failure, given_up)) => {
            let then = if given_up { "it is given up" } else { "it is tried again" };
            let what = format!("decision {id}, to {to}, is not written after {ms} ms, {then}: {failure}");
            say(Level::Error, seat, &what);
        }
    }
}

/// An order is not written at all.
fn dropped(seat: &Seat, pending: &Pending, why: &str) {
    say(Level::Notice, seat, &format!("decision {}, to {}, is dropped: {why}", pending.id, pending.to));
}

/// The target does not say how many replicas there are. Said when it begins.
pub(super) fn unread(seat: &Seat, failure: &Failure) {
    let level = if seat.failures.get() == 1 { Level::Error } else { Level::Info };
    say(level, seat, &format!("the target does not tell its replicas: {failure}"));
}

/// A script asked for replicas, and how many there are is not known.
pub(super) fn refused(seat: &Seat, reason: &str) {
    let what = format!("a script's wish (\"{reason}\") is dropped: how many replicas there are is not known");
    say(Level::Notice, seat, &what);
}

/// A script holds a policy, or resumes it.
pub(super) fn held(seat: &Seat, seconds: f64) {
    let what = if seconds > 0.0 { format!("held for {seconds} s") } else { "resumed".into() };
    say(Level::Notice, seat, &format!("{what} by a script"));
}

/// A message was sent, or not.
pub(super) fn notified(target: &str, sent: Result<(), Failure>) {
    if let Err(failure) = sent {
        log_cycle(Level::Error, &format!("autoscale target \"{target}\" is not notified: {failure}"));
    }
}

/// Too many messages are under way.
pub(super) fn unsent(target: &str) {
    log_cycle(
        Level::Warn,
        &format!("autoscale target \"{target}\" is not notified: too many messages are under way"),
    );
}
