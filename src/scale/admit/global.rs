//! `global=redis:…`: leases for limits that several gateways keep together.
//!
//! One worker of all asks the server, in the background, on one connection for each limit while there is something to ask. While the server is
//! away the limit does what its `on_failure=` says, and the worker tries again and again.

use core::cell::RefCell;
use core::time::Duration;
use std::rc::{Rc, Weak};

use logic::autoscale::admit::lease::{Grant, Terms, Wish, SCRIPT};
use logic::autoscale::admit::{Declared, Shared};
use logic::autoscale::poll::claim::backoff_ms;

use super::Admission;
use crate::ngx::{clock, job, log_cycle, process, sleep, Level, Location};
use crate::scale::outward::login;
use crate::talk::redis::Redis;
use crate::talk::{Server, Shown, TalkError, Turn};

/// How often a worker looks whether a lease is wanted.
const PAUSE: Duration = Duration::from_millis(10);
/// The same for one that does not lease, as long as another does.
const OTHERS_PAUSE: Duration = Duration::from_millis(100);
/// Budgets are looked at that often at least: who was killed has told nobody.
const LOOK_US: u64 = 10_000_000;
/// How long it waits before it tries a server again that is away; twice as long each time, up to two seconds.
const AWAY_MS: u64 = 250;
const MOST_FAILURES: u64 = 4;
/// How long the server may take for one answer.
const LIMIT: Duration = Duration::from_millis(500);
/// A connection that nobody has needed for so many pauses is closed.
const IDLE: u32 = 200;

/// One limit's part.
struct Leaser {
    admission: Weak<Admission>,
    /// Among those that are shared.
    number: usize,
    owner: u32,
    name: String,
    shared: Shared,
    terms: Terms,
    trouble: RefCell<Option<String>>,
}

/// Leases for all limits that are shared, as long as it lives.
pub fn start(admission: &Rc<Admission>, declared: &[Declared]) -> Vec<job::Running> {
    let shared = declared.iter().filter_map(|limit| Some((limit, limit.shared.clone()?)));
    let leasers = shared.enumerate().filter_map(|(number, (limit, shared))| {
        Some(Leaser {
            admission: Rc::downgrade(admission),
            number,
            owner: limit.kind.owner(Some(&limit.name)),
            name: limit.name.clone(),
            shared,
            terms: Terms::of(&limit.kind)?,
            trouble: RefCell::default(),
        })
    });
    leasers.map(|leaser| job::spawn(leaser.work(), |()| ())).collect()
}

impl Leaser {
    async fn work(self) {
        let (mut seen, mut look_us, mut retry_us, mut failures) = (None, 0, 0, 0);
        let mut pause = PAUSE;
        loop {
            sleep(pause).await;
            let Some(admission) = self.admission.upgrade() else { return };
            let (limits, now) = (admission.limits(), clock::monotonic());
            // also while the server is away: another worker would begin to try again from the beginning
            if process::exiting() || !limits.leases(admission.worker, now) {
                (seen, pause) = (None, OTHERS_PAUSE);
                continue;
            }
            pause = PAUSE;
            let (wanted, is_away) = (Some(limits.wanted()), limits.is_away(self.number));
            if now.us < retry_us || wanted == seen && now.us < look_us && !is_away {
                continue;
            }
            // who has told somebody may have been another limit, or want it later
            let due_us = limits.due_us(self.owner, &self.terms, now);
            look_us = due_us.map_or(now.us + LOOK_US, |due| due.min(now.us + LOOK_US));
            let is_due = due_us.is_some_and(|due| due <= now.us);
            let is_new = seen.is_none();
            seen = wanted;
            if !is_due && !is_new && !is_away {
                continue;
            }
            look_us = 0;
            let mut answered = false;
            let result = self.converse(&admission, &mut answered).await;
            // a connection that the server has closed says nothing about the server
            if result.is_err() && !answered {
                limits.set_away(self.number, true);
                self.say(result.err());
                failures = (failures + 1).min(MOST_FAILURES);
                let wait_ms = backoff_ms(AWAY_MS, failures, clock::random().into());
                retry_us = clock::monotonic().us + wait_ms * 1000;
                continue;
            }
            failures = 0;
            if result.is_err() {
                seen = None;
            }
        }
    }

    /// Asks on one connection for as long as there is something to ask.
    async fn converse(&self, admission: &Rc<Admission>, answered: &mut bool) -> Result<(), String> {
        let location = Location::of_http().ok_or("there is no configuration")?;
        let login = self.shared.secret_file.as_deref().map(login).transpose().map_err(|e| e.to_string())?;
        let server = Server { at: &self.shared.at, ca_file: self.shared.ca_file.as_deref(), login };
        let turn = Turn::new(location, LIMIT);
        let text = |e: TalkError| e.to_string();
        let mut redis = turn.within(Redis::connect(&server, &turn)).await.map_err(text)?;
        let limits = admission.limits();
        let mut idle = 0;
        if limits.is_away(self.number) {
            turn.within(redis.ask(&[b"PING"])).await.map_err(text)?;
            self.is_there(admission);
        }
        while idle < IDLE && limits.leases(admission.worker, clock::monotonic()) && !process::exiting() {
            idle += 1;
            let all: Vec<_> = limits.shared(self.owner).collect();
            for bucket in all {
                let asked_us = clock::monotonic().us;
                let Some((budget, key)) = limits.shared_key(bucket) else { continue };
                let Some(wish) = budget.wish(&self.terms, asked_us) else { continue };
                match turn.within(self.ask(&mut redis, &key, &wish)).await {
                    Ok(grant) if limits.is_shared(bucket) => budget.granted(&wish, &grant, asked_us),
                    Ok(_) => {}
                    Err(e) => {
                        budget.failed(&wish);
                        return Err(e.to_string());
                    }
                }
                *answered = true;
                idle = 0;
                self.is_there(admission);
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn ask(&self, redis: &mut Redis<'_>, key: &[u8], wish: &Wish) -> Result<Grant, TalkError> {
        let mut name = format!("{}:{}:", self.shared.prefix, self.name).into_bytes();
        name.extend_from_slice(key);
        let arguments = self.terms.arguments(wish);
        let mut words: Vec<&[u8]> = vec![b"EVAL", SCRIPT.as_bytes(), b"1", &name];
        words.extend(arguments.iter().map(String::as_bytes));
        let reply = redis.ask(&words).await?;
        Grant::read(&reply, wish).ok_or_else(|| TalkError::Said(Shown::new("unexpected reply"), false))
    }

    fn is_there(&self, admission: &Admission) {
        if admission.limits().is_away(self.number) {
            admission.limits().set_away(self.number, false);
        }
        self.say(None);
    }

    /// Each trouble once, and its end.
    fn say(&self, trouble: Option<String>) {
        let before = self.trouble.replace(trouble.clone());
        let (level, what) = match (before, trouble) {
            (before, now) if before == now => return,
            (_, Some(why)) => (Level::Error, why),
            (_, None) => (Level::Notice, "it is there again".into()),
        };
        let at = &self.shared.at;
        log_cycle(
            level,
            &format!("autoscale_limit {} global=redis:{}:{}: {what}", self.name, at.host, at.port),
        );
    }
}
