//! Active checks: one worker asks every peer of an upstream, those that are ejected too, on a connection of its own each.
//!
//! Which worker it is, a word of the zone says ([`Claim`]), as for the polls of external signals: it keeps its turn until it stops or
//! dies, and then another one has the next turn at most a second late. An answer of 2xx or 3xx is well; anything else is not, nor is
//! none in time. What this gateway itself lacks, a descriptor or a port, is nobody's fault.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use logic::autoscale::eject::Check;
use logic::autoscale::metrics::series::{Peer, Upstream as Group};
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::word::Word;
use logic::autoscale::metrics::zone::Zone;
use logic::autoscale::poll::claim::{period_ms, Claim, Turn};

use super::{with_shell, Ejects};
use crate::http::{send, HttpError, Part, Request, Timeouts, TlsOptions};
use crate::ngx::job::{spawn, Running};
use crate::ngx::{clock, process, ExitWatch, Location, Timer};

/// A turn that cannot be taken is looked at again no sooner.
const LEAST_WAIT_MS: u64 = 10;
const MOST_WAIT_MS: u64 = 30_000;
/// A turn that goes to nobody for want of a place in the zone.
const LOST_MS: u64 = 10_000;

/// The checks of this worker.
pub struct Checker {
    rounds: Rc<[Round]>,
    _watch: Option<ExitWatch>,
}

/// The checks of one upstream.
struct Round {
    /// Of the observed upstream.
    number: usize,
    entry: Ref<Group>,
    check: Check,
    /// What is asked for as the host, and as the name of a certificate.
    host: String,
    tls: Rc<TlsOptions>,
    timer: RefCell<Option<Timer>>,
    turn: Cell<Option<Turn>>,
    /// Who is left to be asked in this turn, and those who ask.
    queue: RefCell<VecDeque<(Ref<Peer>, String)>>,
    running: RefCell<Vec<Option<Running>>>,
    over: Cell<bool>,
}

fn claim(word: &Word) -> Claim<'_> {
    Claim::new(word, process::pid() as u32)
}

fn now_ms() -> u64 {
    clock::monotonic().us / 1000
}

impl Checker {
    /// `None` when no upstream has its peers checked.
    pub fn start(ejects: &Ejects) -> Option<Checker> {
        let rounds = ejects.all.iter().enumerate().filter_map(|(number, eject)| {
            let eject = eject.as_ref()?;
            let host = String::from_utf8_lossy(eject.upstream.name()).into_owned();
            // as `proxy_pass` does unless it is told otherwise
            let tls = TlsOptions { verify: false, server_name: Some(host.clone()), ..TlsOptions::default() };
            Some(Round {
                number,
                entry: eject.entry,
                check: eject.settings.check.clone()?,
                host,
                tls: Rc::new(tls),
                timer: RefCell::default(),
                turn: Cell::default(),
                queue: RefCell::default(),
                running: RefCell::default(),
                over: Cell::default(),
            })
        });
        let rounds: Rc<[Round]> = rounds.collect();
        if rounds.is_empty() {
            return None;
        }
        with_shell(|shell| {
            for round in rounds.iter() {
                let word = shell.zone.checking(round.entry);
                word.into_iter().for_each(|word| claim(word).renew(now_ms(), round.check.every_ms));
            }
        });
        (0..rounds.len()).for_each(|i| arm(&rounds, i, LEAST_WAIT_MS));
        let weak = Rc::downgrade(&rounds);
        let watch = ExitWatch::new(move || {
            weak.upgrade().iter().for_each(|rounds| with_shell(|shell| stop(rounds, &shell.zone)));
        });
        Some(Checker { rounds, _watch: watch })
    }

    /// The worker ends.
    pub fn end(&self, zone: &Zone<'_>) {
        stop(&self.rounds, zone);
    }
}

/// Gives the turns back: another worker has them at once.
fn stop(rounds: &Rc<[Round]>, zone: &Zone<'_>) {
    for round in rounds.iter() {
        round.over.set(true);
        round.timer.take();
        round.queue.take();
        drop(round.running.take());
        if let (Some(turn), Some(word)) = (round.turn.take(), zone.checking(round.entry)) {
            claim(word).give_back(turn, now_ms());
        }
    }
}

/// Looks at round `i` in so many milliseconds.
fn arm(rounds: &Rc<[Round]>, i: usize, wait_ms: u64) {
    let Some(round) = rounds.get(i).filter(|round| !round.over.get()) else { return };
    let weak = Rc::downgrade(rounds);
    let wait = Duration::from_millis(wait_ms.clamp(LEAST_WAIT_MS, MOST_WAIT_MS));
    round.timer.replace(Some(Timer::background(wait, move || look(&weak, i))));
}

/// Takes the turn if it is due.
fn look(rounds: &Weak<[Round]>, i: usize) {
    let Some(rounds) = rounds.upgrade() else { return };
    let mut wait_ms = LOST_MS;
    // first, so that a fault in one round is not the end of all
    arm(&rounds, i, wait_ms);
    with_shell(|shell| {
        let round = &rounds[i];
        let Some(word) = shell.zone.checking(round.entry) else { return };
        let (claim, now_ms, every_ms) = (claim(word), now_ms(), round.check.every_ms);
        let is_due = round.turn.get().is_none() && claim.wait_ms(now_ms, every_ms) == 0;
        if is_due && !process::exiting() {
            let queue = shell.ejects.to_check(&shell.zone, round.number);
            let next_ms = now_ms + period_ms(every_ms, clock::random().into());
            if let Some(turn) =
                claim.take(now_ms, every_ms, now_ms + round.check.most_ms(queue.len()), next_ms)
            {
                round.turn.set(Some(turn));
                round.queue.replace(queue);
                begin(&rounds, i);
            }
        }
        wait_ms = claim.wait_ms(now_ms, every_ms);
    });
    arm(&rounds, i, wait_ms);
}

/// Has as many of the queue asked at once as it takes.
fn begin(rounds: &Rc<[Round]>, i: usize) {
    let round = &rounds[i];
    let count = round.queue.borrow().len();
    let lanes = round.check.at_once(count).min(count);
    round.running.replace((0..lanes).map(|_| None).collect());
    for lane in 0..lanes {
        let weak = Rc::downgrade(rounds);
        let done = move |()| {
            let Some(rounds) = weak.upgrade() else { return };
            let round = &rounds[i];
            let is_last = {
                let mut running = round.running.borrow_mut();
                // what is dropped here is over
                running.get_mut(lane).map(Option::take);
                running.iter().all(Option::is_none)
            };
            if is_last {
                round.ended();
            }
        };
        let running = spawn(walk(Rc::downgrade(rounds), i), done);
        if let Some(place) = round.running.borrow_mut().get_mut(lane) {
            *place = Some(running);
        }
    }
    if lanes == 0 {
        round.ended();
    }
}

/// Asks one peer after the other.
async fn walk(rounds: Weak<[Round]>, i: usize) {
    loop {
        let next = rounds.upgrade().and_then(|rounds| {
            let round = &rounds[i];
            let (peer, addr) = round.queue.borrow_mut().pop_front()?;
            Some((peer, round.request(&addr), round.number))
        });
        let Some((peer, request, number)) = next else { return };
        let answer = match request {
            Ok((request, location)) => ask(request, location).await,
            Err(e) => Err(e),
        };
        let well = match &answer {
            Ok(status @ 200..=399) => Ok(*status),
            Ok(status) => Err(format!("it answered {status}")),
            Err(e) if is_ours(e) => continue,
            Err(e) => Err(e.to_string()),
        };
        with_shell(|shell| {
            shell.ejects.checked(&shell.zone, number, peer, well.err().as_deref());
            shell.sync();
        });
    }
}

async fn ask(request: Request, location: Location) -> Result<u16, HttpError> {
    // the body is left where it is
    Ok(send(request, location).await?.status.as_u16())
}

/// It says nothing about the peer: there was no connection to be had, or the worker stops.
fn is_ours(e: &HttpError) -> bool {
    const THEIRS: [i32; 8] = [
        libc::ECONNREFUSED,
        libc::ECONNRESET,
        libc::ECONNABORTED,
        libc::ETIMEDOUT,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::ENOENT,
        libc::EACCES,
    ];
    match e {
        HttpError::Io(Part::Connect, e) => !e.raw_os_error().is_some_and(|code| THEIRS.contains(&code)),
        HttpError::Over | HttpError::NoMemory | HttpError::Url(_) | HttpError::Unfit(_) => true,
        _ => false,
    }
}

impl Round {
    fn request(&self, addr: &str) -> Result<(Request, Location), HttpError> {
        let location = Location::of_http().ok_or(HttpError::Over)?;
        let scheme = if self.check.tls { "https" } else { "http" };
        let colon = if addr.starts_with("unix:") { ":" } else { "" };
        let url = format!("{scheme}://{addr}{colon}{}", self.check.uri);
        let mut request = Request::new(b"GET", url.as_bytes(), &location.conf().sockets)?;
        request.header(b"Host", self.host.as_bytes())?;
        let total = Duration::from_millis(self.check.timeout_ms());
        let part = Duration::ZERO;
        request.timeouts = Timeouts { connect: part, send: part, read: part, total };
        // a new connection: that it can be made is part of the question
        request.keepalive = None;
        request.tls = Rc::clone(&self.tls);
        Ok((request, location))
    }

    fn ended(&self) {
        self.running.take();
        if let Some(turn) = self.turn.take() {
            with_shell(|shell| {
                if let Some(word) = shell.zone.checking(self.entry) {
                    // when it was not ours any more, somebody else has the next one already
                    claim(word).succeed(turn);
                }
            });
        }
    }
}

impl Ejects {
    /// Whom to ask, and where.
    fn to_check(&self, zone: &Zone<'_>, number: usize) -> VecDeque<(Ref<Peer>, String)> {
        let Some(eject) = self.get(number) else { return VecDeque::new() };
        let rotation = eject.rotation(zone, clock::monotonic());
        let all = rotation.primary.into_iter().chain(rotation.backup);
        all.filter_map(|peer| Some((peer, String::from_utf8(zone.name(peer)?).ok()?))).collect()
    }

    /// A check has gone well, or has not for a reason.
    fn checked(&self, zone: &Zone<'static>, number: usize, peer: Ref<Peer>, failed: Option<&str>) {
        let Some(eject) = self.get(number) else { return };
        let now = clock::monotonic();
        self.ask(zone, eject, now, failed, |judge| {
            judge.checked(peer, failed.is_none(), || eject.rotation(zone, now));
        });
    }
}
