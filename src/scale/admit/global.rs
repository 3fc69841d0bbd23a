//! `global=redis:…`: leases for limits that several gateways keep together.
//!
//! One worker of all asks the server, in the background, on one connection for each limit while there is something to ask. While the server is
//! away the limit does what its `on_failure=` says, and the worker tries again and again.

use core::cell::RefCell;
use core::time::Duration;
use std::rc::{Rc, Weak};

use logic::autoscale::admit::lease::{Grant, Terms, Wish, SCRIPT};
use logic::autoscale::admit::{Declared, Shared};

use super::Admission;
use crate::ngx::{clock, job, log_cycle, process, sleep, Level, Location};
use crate::scale::outward::login;
use crate::talk::redis::Redis;
use crate::talk::{Server, Shown, TalkError, Turn};

/// How often a worker looks whether a lease is wanted.
const PAUSE: Duration = Duration::from_millis(10);
/// How long it waits before it tries a server again that is away.
const AWAY_PAUSE: Duration = Duration::from_millis(500);
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
        let mut seen = None;
        loop {
            sleep(PAUSE).await;
            let Some(admission) = self.admission.upgrade() else { return };
            let (limits, now) = (admission.limits(), clock::monotonic());
            if process::exiting() || !limits.leases(admission.worker, now) {
                continue;
            }
            let wanted = Some(limits.wanted());
            if wanted == seen && !limits.is_away(self.number) {
                continue;
            }
            seen = wanted;
            let mut answered = false;
            let result = self.converse(&admission, &mut answered).await;
            // a connection that the server has closed says nothing about the server
            if result.is_err() && !answered {
                limits.set_away(self.number, true);
                self.say(result.err());
                sleep(AWAY_PAUSE).await;
            } else if result.is_err() {
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
        Grant::read(&reply).ok_or_else(|| TalkError::Said(Shown::new("unexpected reply"), false))
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
