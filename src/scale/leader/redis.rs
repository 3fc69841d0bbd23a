//! `autoscale_leader redis:HOST/KEY`: the lead among gateways is a lock in Redis ([`logic::wire::lock`]).
//!
//! The worker that leads its gateway asks for it again and again, each time on a connection of its own. While Redis is away nobody new
//! leads, and the one that does stops when its time is over. A worker that stops in good order gives the lock back.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::hash::{BuildHasher, Hasher};
use std::rc::{Rc, Weak};

use logic::autoscale::conf::{Endpoint, Leader};
use logic::caught::caught;
use logic::wire::lock::{Lock, RELEASE, TAKE};
use logic::wire::resp::Reply;

use super::Local;
use crate::ngx::{clock, job, log_cycle, process, sleep, Level, Location, Timer};
use crate::scale::outward::login;
use crate::scale::shell::started;
use crate::talk::redis::Redis;
use crate::talk::{Server, TalkError, Turn};

/// A worker that stops waits no longer than this for Redis to hear of it.
const FAREWELL: Duration = Duration::from_secs(1);

/// One worker's part in the contest.
pub struct RedisLock {
    weak: Weak<RedisLock>,
    local: Local,
    at: Endpoint,
    key: String,
    fence_key: String,
    ca_file: Option<String>,
    secret_file: Option<String>,
    ttl_ms: String,
    /// What the values of this gateway's workers begin with.
    gateway: String,
    /// Nobody else has this value.
    value: String,
    lock: RefCell<Lock>,
    running: RefCell<Option<job::Running>>,
    leaving: RefCell<Option<(job::Running, Timer)>>,
    /// The fence and the trouble that were logged last.
    said: Cell<Option<u64>>,
    trouble: RefCell<Option<String>>,
}

impl RedisLock {
    /// `epoch` is the same for all workers of this gateway; so it is for another whose state file is a copy, but not the master.
    pub fn new(at: &Endpoint, key: &str, conf: &Leader, local: &Local, epoch: u64) -> Rc<RedisLock> {
        let random = std::hash::RandomState::new().build_hasher().finish();
        let host = process::hostname();
        let master = std::os::unix::process::parent_id();
        let since = started(master).unwrap_or(0);
        let gateway = format!("{epoch:016x}.{host}.{master}.{since}/");
        Rc::new_cyclic(|weak| RedisLock {
            weak: weak.clone(),
            local: local.clone(),
            at: at.clone(),
            key: key.into(),
            fence_key: format!("{key}:fence"),
            ca_file: conf.ca_file.clone(),
            secret_file: conf.secret_file.clone(),
            ttl_ms: conf.ttl_ms.to_string(),
            value: format!("{gateway}{random:016x}.{}", process::pid()),
            gateway,
            lock: RefCell::new(Lock::new(conf.ttl_ms)),
            running: RefCell::default(),
            leaving: RefCell::default(),
            said: Cell::default(),
            trouble: RefCell::default(),
        })
    }

    /// The fencing number, while the lock is held.
    pub fn fence(&self) -> Option<u64> {
        self.lock.borrow().fence(clock::monotonic().us)
    }

    /// When another gateway held the lock and was alive, as far as is known.
    pub fn others_us(&self) -> u64 {
        self.lock.borrow().others_us()
    }

    /// Competes from now on, if it does not already.
    pub fn work(&self) {
        self.say_what_is_held();
        if self.running.borrow().is_some() {
            return;
        }
        drop(self.leaving.take());
        // what has not begun when the worker exits holds nothing
        let weak = self.weak.clone();
        let contest = async move {
            let Some(this) = weak.upgrade() else { return };
            loop {
                // another worker may lead the gateway since the last tick: then it is the one to compete
                if this.local.leads() {
                    // a fault of ours costs the lead at most
                    if let Err(why) = caught(this.attempt()).await {
                        this.say(Level::Alert, &format!("autoscale_lua panicked: {why}"));
                    }
                }
                let pause = this.lock.borrow().pause_us(clock::random().into());
                sleep(Duration::from_micros(pause)).await;
            }
        };
        self.running.replace(Some(job::spawn(contest, |()| ())));
    }

    /// Competes no more, and gives the lock back if it may be held.
    pub fn resign(&self) {
        if self.running.take().is_none() {
            return;
        }
        let mut lock = self.lock.borrow_mut();
        if !lock.is_in_doubt() {
            return;
        }
        lock.give_up();
        drop(lock);
        self.say_what_is_held();
        let (this, weak) = (self.weak.clone(), self.weak.clone());
        let release = async move {
            let Some(this) = this.upgrade() else { return };
            // if it fails, the lock ends by itself
            let _ = this.ask(None, FAREWELL).await;
        };
        let left = move |()| {
            let Some(this) = weak.upgrade() else { return };
            drop(this.leaving.take());
        };
        // a timer of its own keeps the worker until then
        let timer = Timer::after(FAREWELL, || ());
        self.leaving.replace(Some((job::spawn(release, left), timer)));
    }

    async fn attempt(&self) {
        let limit = Duration::from_millis(self.lock.borrow().limit_ms());
        let result = self.ask(Some(&[&self.ttl_ms, &self.gateway]), limit).await;
        let mut lock = self.lock.borrow_mut();
        let trouble = match &result {
            Ok((asked_us, reply)) if lock.answered(*asked_us, clock::monotonic().us, reply) => None,
            Ok(_) => Some("unexpected reply".to_string()),
            Err(why) => Some(why.clone()),
        };
        if trouble.is_some() {
            lock.failed();
        }
        drop(lock);
        self.say_trouble(trouble);
        self.say_what_is_held();
    }

    /// Asks for the lock, with these arguments behind the value, or gives it back. The reply, and from when on it counts.
    async fn ask(&self, take: Option<&[&str]>, limit: Duration) -> Result<(u64, Reply), String> {
        let location = Location::of_http().ok_or("there is no configuration")?;
        let login = self.secret_file.as_deref().map(login).transpose().map_err(|e| e.to_string())?;
        let server = Server { at: &self.at, ca_file: self.ca_file.as_deref(), login };
        let turn = Turn::new(location, limit);
        let script = if take.is_some() { TAKE } else { RELEASE };
        let mut words = vec!["EVAL", script, "2", &self.key, &self.fence_key, &self.value];
        words.extend(take.unwrap_or_default());
        let words: Vec<&[u8]> = words.into_iter().map(str::as_bytes).collect();
        let work = async {
            let mut redis = Redis::connect(&server, &turn).await?;
            let asked_us = clock::monotonic().us;
            Ok::<_, TalkError>((asked_us, redis.ask(&words).await?))
        };
        turn.within(work).await.map_err(|e| e.to_string())
    }

    fn say_what_is_held(&self) {
        let fence = self.fence();
        let key = &self.key;
        match (self.said.replace(fence), fence) {
            (before, now) if before == now => {}
            (_, Some(fence)) => self.say(
                Level::Notice,
                &format!("this gateway leads: it holds lock \"{key}\", with fence {fence}"),
            ),
            (_, None) => {
                self.say(Level::Notice, &format!("this gateway leads no more: lock \"{key}\" is lost"))
            }
        }
    }

    /// Each trouble once, and its end.
    fn say_trouble(&self, trouble: Option<String>) {
        let before = self.trouble.replace(trouble.clone());
        match (before, trouble) {
            (before, now) if before == now => {}
            (_, Some(why)) => self.say(Level::Error, &why),
            (_, None) => self.say(Level::Notice, "it is there again"),
        }
    }

    fn say(&self, level: Level, what: &str) {
        log_cycle(level, &format!("autoscale_leader redis:{}:{}: {what}", self.at.host, self.at.port));
    }
}
