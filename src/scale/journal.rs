//! What was decided is kept: in the ring of the zone, and in the decision log.
//!
//! The ring is what Lua and the status read, and it loses nothing when the log fails: the log's lines wait then, bounded, and the error log
//! has one line when that begins and one when it ends. Nothing here blocks. A decision has a line when it is made, and another one with
//! what its write led to.

use core::cell::{Cell, RefCell};
use std::rc::Rc;

use logic::autoscale::conf;
use logic::autoscale::decisions::{Decisions, Last};
use logic::autoscale::log::{Lines, News};
use logic::autoscale::metrics::Now;
use logic::autoscale::policy::decision::Settled;
use logic::autoscale::policy::{Evaluation, Policy, Verdict};

use crate::conf::MainConf;
use crate::ngx::{clock, log_cycle, Level, LineLog};

/// A log that sends datagrams learns late that nobody listens, and forgets it with each new socket: so long it is not told again.
const QUIET_US: u64 = 60_000_000;

/// An instant, by both clocks.
#[derive(Clone, Copy)]
pub struct Instant {
    pub now: Now,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

impl Instant {
    pub fn now() -> Instant {
        Instant { now: clock::monotonic(), unix_ms: clock::unix_ms() }
    }
}

/// This worker's hand on the records and the log.
pub struct Journal {
    records: Decisions<'static>,
    log: Option<Log>,
}

struct Log {
    takes: conf::Log,
    to: Rc<LineLog>,
    lines: RefCell<Lines>,
    quiet_until_us: Cell<u64>,
    /// A failure that was not told.
    untold: Cell<bool>,
}

impl Journal {
    pub fn new(main: &MainConf, records: Decisions<'static>) -> Journal {
        let takes = main.autoscale.settings().and_then(|settings| settings.log.clone());
        let log = takes.zip(main.autoscale.log()).map(|(takes, to)| Log {
            takes,
            to: Rc::clone(to),
            lines: RefCell::default(),
            quiet_until_us: Cell::new(0),
            untold: Cell::new(false),
        });
        Journal { records, log }
    }

    /// After each evaluation. `last` is where the policy's last one is kept.
    pub fn record(&self, policy: &Policy, last: Last<'_>, evaluation: &Evaluation, at: Instant) {
        let tells = evaluation.id != 0 || evaluation.asked.is_some();
        // as requests end only some rules are looked at: what those say explains nothing, unless it is done
        if !tells && evaluation.verdicts.contains(&Verdict::NotNow) {
            return;
        }
        let decision = policy.decision(evaluation, at.unix_ms);
        last.set(&decision, at.unix_ms, at.now.us);
        if tells || evaluation.news {
            self.records.push(&decision, at.unix_ms, at.now.us);
        }
        if let Some(log) = self.log.as_ref().filter(|log| log.takes.takes(evaluation)) {
            log.write(decision.line(), at.now);
        }
    }

    /// After a write, or an attempt: the number of replicas that there is now, or why not. `target` is the policy's.
    pub fn settled(
        &self,
        policy: &Policy,
        last: Last<'_>,
        id: u64,
        written: Result<u32, &str>,
        took_us: u64,
    ) {
        let (at, target) = (Instant::now(), policy.target.as_deref().unwrap_or(""));
        let settled = Settled::new(&policy.name, target, id, written, took_us, at.unix_ms);
        self.records.settle(&policy.name, id, &settled.result, settled.latency_ms);
        if written.is_ok() {
            last.carried_out(id);
        }
        if let Some(log) = &self.log {
            log.write(settled.line(), at.now);
        }
    }

    /// At each tick: what could not be logged is tried again.
    pub fn tick(&self, now: Now) {
        if let Some(log) = self.log.as_ref().filter(|log| !log.lines.borrow().is_empty()) {
            log.flush(now);
        }
    }

    /// The last records.
    pub fn records(&self) -> Decisions<'static> {
        self.records
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let Some(log) = &self.log else { return };
        let lost = log.lines.borrow_mut().give_up();
        if lost > 0 {
            let name = log.to.name();
            log_cycle(Level::Error, &format!("decision log \"{name}\": {lost} lines could not be written"));
        }
    }
}

impl Log {
    fn write(&self, line: Vec<u8>, now: Now) {
        self.with(now, |lines, to| lines.push(line, &mut |bytes| to.write(bytes)));
    }

    fn flush(&self, now: Now) {
        self.with(now, |lines, to| lines.flush(&mut |bytes| to.write(bytes)));
    }

    fn with(&self, now: Now, f: impl FnOnce(&mut Lines, &LineLog) -> Option<News>) {
        let mut lines = self.lines.borrow_mut();
        if self.to.was_reopened() {
            lines.rewind();
        }
        let name = || self.to.name();
        match f(&mut lines, &self.to) {
            Some(News::Begins(_)) if now.us < self.quiet_until_us.get() => self.untold.set(true),
            Some(News::Begins(e)) => {
                let kept = "; its lines wait, and the ring in the zone has the records";
                log_cycle(Level::Error, &format!("decision log \"{}\" cannot be written: {e}{kept}", name()));
            }
            Some(News::Ends { .. }) if self.untold.take() => {}
            Some(News::Ends { late, lost }) => {
                if self.to.is_lossy() {
                    self.quiet_until_us.set(now.us + QUIET_US);
                }
                let what = format!("is written again: {late} lines late, {lost} lost");
                log_cycle(Level::Notice, &format!("decision log \"{}\" {what}", name()));
            }
            None => {}
        }
    }
}
