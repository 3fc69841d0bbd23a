//! Counts what happens to requests at upstreams. The hot path: no lock, no allocation.

use logic::autoscale::balance;
use logic::autoscale::eject::{Ended, Verdict};
use logic::autoscale::metrics::flight::{Flight, MOST_KEYS};
use logic::autoscale::metrics::series::Class;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::KeyRef;
use logic::autoscale::metrics::Now;

use super::Shell;
use crate::ngx::{clock, Request};

/// How an attempt ended, as far as nginx knows.
pub struct Outcome {
    /// The peer's status; 0 when it sent none.
    pub status: u16,
    /// Whether a connection was made.
    pub connected: bool,
    /// nginx counts it as a failure of the peer.
    pub failed: bool,
    pub timed_out: bool,
    /// The answer began and did not come to its end.
    pub broke_off: bool,
    pub client_gone: bool,
    /// Another try may follow.
    pub retried: bool,
    /// Its connection had been kept from an earlier request.
    pub reused: bool,
}

impl Outcome {
    pub fn class(&self) -> Class {
        match self.status {
            _ if self.broke_off && self.timed_out => Class::Timeout,
            _ if self.broke_off => Class::ConnectFailure,
            _ if self.client_gone && !self.failed => Class::Aborted,
            200..=299 | 101 => Class::Success,
            300..=399 => Class::Redirect,
            400..=499 => Class::ClientError,
            500..=599 => Class::ServerError,
            _ if self.timed_out => Class::Timeout,
            _ if self.failed || !self.connected => Class::ConnectFailure,
            _ => Class::Aborted,
        }
    }

    /// nginx gives the try back: the peer has closed a connection that was kept. As a rule it never knew of the request; a peer that ends
    /// because of it looks the same.
    #[inline]
    pub fn is_given_back(&self) -> bool {
        self.reused && self.status == 0 && self.failed && !self.timed_out
    }

    /// What there is to learn from it about the peer's health.
    #[inline]
    pub fn verdict(&self) -> Verdict {
        Verdict::of(&Ended {
            status: self.status,
            connected: self.connected,
            failed: self.failed,
            timed_out: self.timed_out,
            broke_off: self.broke_off,
            client_gone: self.client_gone,
            reused: self.reused,
        })
    }
}

/// A request goes to upstream number `upstream`, with the labels that [`label`] found.
#[inline]
pub fn start(shell: &Shell, upstream: usize, labels: &'static [KeyRef]) -> Flight<'static> {
    let upstream = shell.upstreams.get(upstream).copied().unwrap_or(Ref::NONE);
    Flight::start(&shell.zone, shell.worker, upstream, labels, clock::monotonic())
}

/// The entries of the request's keys; a value that finds no place is not counted.
pub fn label(shell: &Shell, request: Request, labels: &mut [KeyRef; MOST_KEYS]) -> usize {
    let now = clock::monotonic();
    let mut count = 0;
    for key in request.loc_conf().keys.iter().take(MOST_KEYS) {
        let (Some(name), Some(value)) = (key.conf.entry.get(), key.value.eval(&request)) else { continue };
        if value.is_empty() {
            continue;
        }
        if let Ok(found) = shell.zone.key(name, value, now) {
            labels[count] = found;
            count += 1;
        }
    }
    count
}

/// `peer` was chosen for the next try.
#[inline]
pub fn attempt(shell: &Shell, flight: &mut Flight<'_>, peer: &[u8]) {
    // the first choice follows the start at once: the clock need not be read again
    let now = flight.untried_since().unwrap_or_else(clock::monotonic);
    let peer = shell.peers.peer(&shell.zone, flight.upstream(), peer, now);
    flight.attempt(&shell.zone, peer, now);
}

/// The response header has come. `connect_ms` is `None` on a kept connection.
#[inline]
pub fn first_byte(shell: &Shell, flight: &mut Flight<'_>, connect_ms: Option<u32>, stream: bool, now: Now) {
    let connect_us = connect_ms.map(|ms| ms.saturating_mul(1000));
    flight.first_byte(&shell.zone, connect_us, stream, now);
}

/// The try at a peer of upstream `number` is over, and with it the request unless another one may follow.
#[inline]
pub fn end(shell: &Shell, number: usize, flight: &mut Flight<'_>, outcome: &Outcome, now: Now) {
    let class = outcome.class();
    if let Some((peer, us)) = flight.tried(now) {
        // the peer had every right to close a connection that was kept: that is no failure of it
        if !outcome.is_given_back() {
            shell.learn(number, peer, balance::Ended { class, status: outcome.status, us }, now);
        }
    }
    shell.judge(number, flight, outcome, now);
    if outcome.retried {
        flight.fail(&shell.zone, class, now);
        if outcome.is_given_back() {
            flight.give_back();
        }
    } else {
        flight.end(&shell.zone, class, now);
    }
}

/// The request is over, whatever became of its last try.
pub fn close(shell: &Shell, flight: &mut Flight<'_>, status: usize) {
    if !flight.is_ended() {
        // what the client got of a try that failed is nginx's own page
        let class = match (status, flight.failed()) {
            (499, _) | (0, None) => Class::Aborted,
            (_, Some(failed)) => failed,
            (status, None) => Class::of_status(status as u16),
        };
        flight.end(&shell.zone, class, clock::monotonic());
    }
}
