//! What one of all workers does now and then: asking other systems for their signals, measuring the gateway itself, and writing the
//! state file.
//!
//! Which worker it is, a word of shared memory says ([`Claim`]), for each of these chores alone: nobody need be the leader. Each worker
//! looks when a turn may be due; the one that had the last turn looks first, so it stays the same one until it stops or dies, and then
//! another one finds the turn due a moment later.
//!
//! A worker that is to stop gives its turns back and asks for nothing more; an answer that is on its way then is dropped.

mod fetch;
mod own;

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::rc::{Rc, Weak};

use logic::autoscale::conf::{External, Payload, Settings};
use logic::autoscale::metrics::word::Word;
use logic::autoscale::metrics::zone::{Reporter, Zone};
use logic::autoscale::metrics::Now;
use logic::autoscale::poll::claim::{backoff_ms, period_ms, Claim, Turn};
use logic::autoscale::poll::Brought;
use logic::autoscale::signal::Scope;
use logic::caught::caught;

use super::{StateFile, ZoneConf};
use crate::ngx::job::{spawn, Running};
use crate::ngx::{clock, log_cycle, process, ExitWatch, Level, Timer};

/// How often the state file is written.
const SAVE_MS: u64 = 10_000;
/// A turn that cannot be taken is looked at again no sooner.
const LEAST_WAIT_MS: u64 = 10;
/// The gateway is measured at each tick, and no more seldom than this: `self.cpu` without a window is over five seconds.
const MOST_TICK_S: u64 = 2;
/// A turn is over by then: a poll has a timeout.
const OVER_MS: u64 = 12_000;
/// A turn may come sooner than it was due, because somebody gives it back: it is looked at after so long.
const MOST_WAIT_MS: u64 = 30_000;
/// What is claimed under a name that has lost its place in the zone: when to look again.
const LOST_MS: u64 = 10_000;

/// The chores of this worker.
pub struct Poller {
    chores: Rc<[Chore]>,
    _watch: Option<ExitWatch>,
}

struct Chore {
    zone: Zone<'static>,
    what: What,
    every_ms: u64,
    timer: RefCell<Option<Timer>>,
    /// A turn that takes its time.
    turn: RefCell<Option<(Turn, Running)>>,
    over: Cell<bool>,
}

enum What {
    Signal { conf: External, watched: Vec<String> },
    Own(own::Sampler),
    State(StateFile),
}

/// Gives the signals of a configuration their places in the zone, before there are workers; the error names what found none.
pub fn register(zone: &Zone<'_>, settings: Option<&Settings>, now: Now) -> Vec<String> {
    let mut refused = Vec::new();
    for metric in own::METRICS {
        refused.extend(zone.gateway(metric, now).err().map(|e| e.to_string()));
    }
    for signal in settings.map_or(&[][..], |settings| &settings.signals) {
        let name = signal.name.as_bytes();
        match zone.external(name, None, now) {
            Ok(entry) => zone
                .turns(entry)
                .into_iter()
                .for_each(|word| claim(word).renew(now.us / 1000, signal.every_ms)),
            Err(e) => refused.push(e.to_string()),
        }
        if let Payload::Prometheus(metrics) = &signal.payload {
            let fields = metrics.iter().map(|metric| zone.external(name, Some(metric.as_bytes()), now));
            refused.extend(fields.filter_map(|entry| entry.err().map(|e| e.to_string())));
        }
    }
    claim(zone.saving()).renew(now.us / 1000, SAVE_MS);
    refused
}

fn claim(word: &Word) -> Claim<'_> {
    Claim::new(word, process::pid() as u32)
}

impl Poller {
    pub fn start(zone: &Zone<'static>, conf: &ZoneConf, settings: Option<&Settings>) -> Poller {
        let chore = |what, every_ms| Chore {
            zone: zone.clone(),
            what,
            every_ms,
            timer: RefCell::default(),
            turn: RefCell::default(),
            over: Cell::new(false),
        };
        let signals = settings.map_or(&[][..], |settings| &settings.signals);
        let names: Vec<&str> = signals.iter().map(|signal| signal.name.as_str()).collect();
        zone.keep_externals(&names);
        let mut chores = vec![chore(What::Own(own::Sampler::default()), conf.tick_s.min(MOST_TICK_S) * 1000)];
        chores.extend(signals.iter().map(|signal| {
            let watched = settings.map_or_else(Vec::new, |settings| watched(settings, &signal.name));
            chore(What::Signal { conf: signal.clone(), watched }, signal.every_ms)
        }));
        chores.extend(conf.state.as_ref().map(|file| chore(What::State(file.clone()), SAVE_MS)));
        let chores: Rc<[Chore]> = chores.into();
        (0..chores.len()).for_each(|i| arm(&chores, i, 0));
        let weak = Rc::downgrade(&chores);
        let watch = ExitWatch::new(move || weak.upgrade().iter().for_each(stop));
        Poller { chores, _watch: watch }
    }

    /// The worker ends.
    pub fn end(&self) {
        stop(&self.chores);
        for chore in self.chores.iter() {
            chore.save_last();
        }
    }
}

/// The metrics of a signal that policies look at.
fn watched(settings: &Settings, signal: &str) -> Vec<String> {
    let all = settings.policies.iter().flat_map(|policy| &policy.policy.signals);
    let mut fields: Vec<String> = all
        .filter_map(|watched| match &watched.signal.scope {
            Scope::Ext { name, field: Some(field) } if name == signal => Some(field.clone()),
            _ => None,
        })
        .collect();
    fields.sort();
    fields.dedup();
    fields
}

fn stop(chores: &Rc<[Chore]>) {
    for chore in chores.iter() {
        chore.over.set(true);
        chore.timer.take();
        if let (Some((turn, _)), Some(word)) = (chore.turn.take(), chore.word()) {
            claim(word).give_back(turn, now_ms());
        }
    }
}

fn now_ms() -> u64 {
    clock::monotonic().us / 1000
}

/// Looks at chore `i` in so many milliseconds.
fn arm(chores: &Rc<[Chore]>, i: usize, wait_ms: u64) {
    let Some(chore) = chores.get(i).filter(|chore| !chore.over.get()) else { return };
    let weak = Rc::downgrade(chores);
    let wait = Duration::from_millis(wait_ms.max(LEAST_WAIT_MS));
    chore.timer.replace(Some(Timer::background(wait, move || look(&weak, i))));
}

/// Takes the turn if it is due.
fn look(chores: &Weak<[Chore]>, i: usize) {
    let Some(chores) = chores.upgrade() else { return };
    let chore = &chores[i];
    let Some(word) = chore.word() else { return arm(&chores, i, LOST_MS) };
    let (claim, now_ms) = (claim(word), now_ms());
    let next_ms = now_ms + period_ms(chore.every_ms, clock::random().into());
    // an answer that is on its way has its time; it ends before the next turn
    let busy = chore.turn.borrow().is_some();
    let turn = if busy { None } else { claim.take(now_ms, chore.every_ms, now_ms + OVER_MS, next_ms) };
    if let Some(turn) = turn {
        begin(&chores, i, turn);
    }
    arm(&chores, i, claim.wait_ms(now_ms, chore.every_ms).min(MOST_WAIT_MS));
}

fn begin(chores: &Rc<[Chore]>, i: usize, turn: Turn) {
    let chore = &chores[i];
    match &chore.what {
        What::Signal { conf, watched } => {
            let weak = Rc::downgrade(chores);
            let done = move |answer| {
                if let Some(chores) = weak.upgrade() {
                    // what is dropped here is over
                    let _running = chores[i].turn.take();
                    chores[i].answered(turn, answer);
                }
            };
            let fetched = caught(fetch::fetch(conf.clone(), watched.clone()));
            // or it would be under way for ever
            let fetch = async move {
                fetched.await.unwrap_or_else(|why| Err(format!("a fault of this module: {why}")))
            };
            let running = spawn(fetch, done);
            chore.turn.replace(Some((turn, running)));
        }
        What::Own(sampler) => {
            sampler.sample(&chore.zone);
            chore.ended(turn, Ok(()));
        }
        // what an older nginx beside this one has still to write is not to be written over
        What::State(_) if chore.zone.board().waits_until_us() > 0 => chore.ended(turn, Ok(())),
        What::State(file) => chore.ended(turn, file.write(&chore.zone).map_err(Trouble::all)),
    }
}

/// Why a turn did not bring what it was for.
struct Trouble {
    why: String,
    /// It brought a part.
    part: bool,
}

impl Trouble {
    fn all(why: String) -> Trouble {
        Trouble { why, part: false }
    }
}

impl Chore {
    /// Where turns are taken; `None` when the name has no place in the zone.
    fn word(&self) -> Option<&'static Word> {
        let entry = match &self.what {
            What::Signal { conf, .. } => {
                self.zone.find_meter(Reporter::External, conf.name.as_bytes(), None)?
            }
            What::Own(_) => self.zone.find_meter(Reporter::Gateway, own::METRICS[0], None)?,
            What::State(_) => return Some(self.zone.saving()),
        };
        self.zone.turns(entry)
    }

    fn answered(&self, turn: Turn, answer: Result<Brought, String>) {
        if self.word().is_none() {
            // a later configuration has no such signal
            return;
        }
        let result = answer.map_err(Trouble::all).and_then(|brought| {
            let wrong = brought.wrong.as_ref().map(ToString::to_string);
            let part = !brought.values.is_empty();
            let stored = self.store(brought);
            wrong.or(stored.err()).map_or(Ok(()), |why| Err(Trouble { why, part }))
        });
        self.ended(turn, result);
    }

    fn store(&self, brought: Brought) -> Result<(), String> {
        let What::Signal { conf, .. } = &self.what else { return Ok(()) };
        let (name, now) = (conf.name.as_bytes(), clock::monotonic());
        let mut result = Ok(());
        for value in brought.values {
            let entry = self.zone.external(name, value.field.as_deref().map(str::as_bytes), now);
            match entry {
                Ok(entry) => self.zone.meter(entry).into_iter().for_each(|meter| meter.set(now, value.value)),
                Err(e) => result = Err(e.to_string()),
            }
        }
        result
    }

    /// Notes how a turn went; one line in the log says when it begins to go wrong, and one when it is well again.
    fn ended(&self, turn: Turn, result: Result<(), Trouble>) {
        let Some(claim) = self.word().map(claim) else { return };
        let before = turn.failures();
        match result {
            Ok(()) => {
                if claim.succeed(turn) && before > 0 {
                    self.log(Level::Notice, &format!("is well again after {before} failure(s)"));
                }
            }
            Err(trouble) => {
                let random = clock::random().into();
                let wait_ms = match trouble.part {
                    true => period_ms(self.every_ms, random),
                    false => backoff_ms(self.every_ms, before + 1, random),
                };
                if claim.fail(turn, now_ms() + wait_ms) && before == 0 {
                    self.log(Level::Error, &format!("cannot be {}: {}", self.verb(), trouble.why));
                }
            }
        }
    }

    fn verb(&self) -> &'static str {
        match &self.what {
            What::State(_) => "written",
            _ => "had",
        }
    }

    fn log(&self, level: Level, what: &str) {
        match &self.what {
            What::Signal { conf, .. } => {
                // what is behind the path may be a secret
                let url = conf.url.split(['?', '#']).next().unwrap_or_default();
                log_cycle(level, &format!("signal \"ext.{}\" of {url} {what}", conf.name));
            }
            What::Own(_) => {}
            What::State(file) => file.log(level, what),
        }
    }

    /// Writes the state file once more. Each worker does, as the last one knows most.
    fn save_last(&self) {
        if let What::State(file) = &self.what {
            if let Err(why) = file.write(&self.zone) {
                file.log(Level::Error, &format!("cannot be written: {why}"));
            }
        }
    }
}
