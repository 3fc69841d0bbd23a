//! A line of `autoscale_peers` at work: what it has said last, and how it is.

use core::cell::{Cell, RefCell};
use core::time::Duration;

use logic::autoscale::conf::PeerSource;
use logic::autoscale::members::{apply, Wanted, MOST};
use logic::autoscale::metrics::series::Upstream as Group;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::word::Word;
use logic::autoscale::metrics::zone::Zone;
use logic::autoscale::poll::claim::backoff_ms;

use crate::ngx::{clock, log_cycle, sleep, Level, Location};

/// How often what was said last is brought into the zone again: what found no place may find one, and what was forgotten comes back.
const REMIND_MS: u64 = 5000;
/// The first pause after a failure; each further one is twice as long, up to half a minute.
const PAUSE_MS: u64 = 500;

pub struct Line {
    zone: Zone<'static>,
    upstream: Ref<Group>,
    name: Box<str>,
    pub conf: PeerSource,
    /// When its configuration was read.
    read_us: u64,
    /// What it has said last.
    wanted: RefCell<Option<Vec<Wanted>>>,
    reminded_ms: Cell<u64>,
    failures: Cell<u64>,
    /// Whether the log knows that it names nobody, or that the zone is full.
    is_empty: Cell<bool>,
    is_full: Cell<bool>,
}

impl Line {
    pub fn new(
        zone: &Zone<'static>,
        upstream: Ref<Group>,
        name: &str,
        conf: &PeerSource,
        read_us: u64,
    ) -> Line {
        Line {
            zone: zone.clone(),
            upstream,
            name: name.into(),
            conf: conf.clone(),
            read_us,
            wanted: RefCell::default(),
            reminded_ms: Cell::new(0),
            failures: Cell::new(0),
            is_empty: Cell::new(false),
            is_full: Cell::new(false),
        }
    }

    /// Where its lease is; `None` while the upstream has no place for it.
    pub fn word(&self) -> Option<&'static Word> {
        self.zone.source_turns(self.upstream, self.zone.source(self.upstream, self.conf.id())?)
    }

    /// Whether no worker of a later configuration has begun.
    pub fn is_newest(&self) -> bool {
        self.zone.is_newest(self.read_us)
    }

    /// The source names these peers, and no others.
    pub fn tell(&self, mut wanted: Vec<Wanted>) {
        if wanted.len() > MOST {
            self.log(Level::Error, &format!("names more than {MOST} peers: the others are left out"));
            wanted.truncate(MOST);
        }
        self.bring(&wanted);
        self.wanted.replace(Some(wanted));
    }

    fn bring(&self, wanted: &[Wanted]) {
        let now = clock::monotonic();
        self.reminded_ms.set(now.us / 1000);
        let Some(source) = self.zone.source(self.upstream, self.conf.id()) else { return };
        if !self.is_newest() {
            return;
        }
        let applied = apply(&self.zone, self.upstream, source, wanted, self.conf.drain_s, now);
        if applied.added + applied.removed > 0 {
            self.log(
                Level::Info,
                &format!("added {} and removed {} peer(s)", applied.added, applied.removed),
            );
        }
        let is_empty = wanted.is_empty();
        if is_empty && !self.is_empty.replace(is_empty) {
            self.log(Level::Warn, &format!("names nobody: the {} peer(s) that it named stay", applied.kept));
        }
        self.is_empty.set(is_empty);
        match applied.denied {
            Some(denied) if !self.is_full.replace(true) => self.log(Level::Error, &denied.to_string()),
            Some(_) => {}
            None => self.is_full.set(false),
        }
    }

    /// Now and then: what was said last still holds.
    pub fn remind(&self) {
        if clock::monotonic().us / 1000 >= self.reminded_ms.get() + REMIND_MS {
            if let Some(wanted) = &*self.wanted.borrow() {
                self.bring(wanted);
            }
        }
    }

    /// Another worker watches now.
    pub fn forget(&self) {
        self.wanted.take();
        self.failures.set(0);
    }

    /// It did not answer, or not in a way that can be used: those that it has named stay. One line in the log says so when it begins.
    pub fn fail(&self, why: &str) {
        if self.failures.replace(self.failures.get() + 1) == 0 {
            self.log(Level::Error, &format!("cannot be had: {why}"));
        }
    }

    pub fn is_well(&self) {
        let failures = self.failures.replace(0);
        if failures > 0 {
            self.log(Level::Notice, &format!("is well again after {failures} failure(s)"));
        }
    }

    /// The pause after a failure.
    pub async fn pause(&self) {
        let wait = backoff_ms(PAUSE_MS, self.failures.get(), clock::random().into());
        sleep(Duration::from_millis(wait)).await;
    }

    /// `http {}`, whose resolver and certificates count; it is there in every worker.
    pub fn location(&self) -> Result<Location, String> {
        Location::of_http().ok_or_else(|| "there is no http {}".to_owned())
    }

    pub fn log(&self, level: Level, what: &str) {
        log_cycle(level, &format!("peers of upstream \"{}\" from \"{}\": {what}", self.name, self.conf.text));
    }
}
