//! `kubernetes:NAMESPACE/LEASE`: the lead among gateways, by a Lease of Kubernetes. The rules are [`logic::autoscale::outward::lease`]'s.
//!
//! While this worker leads its gateway it looks at the Lease again and again, in a future of its own. What it knows is always on the side
//! of caution: the lead counts from before a renewal was asked for, by the monotonic clock, and ends before the lease does. An API server
//! that does not answer costs the lead, and nothing else.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::rc::Rc;

use logic::autoscale::conf::Leader;
use logic::autoscale::outward::lease::{Candidate, Election, Record, Step};
use logic::caught::caught;

use super::Local;
use crate::ngx::{clock, job, log_cycle, process, sleep, within, Level, Location};
use crate::scale::outward::{refused, Answer, Cluster, Env, Failure, Query};
use crate::scale::shell::started;

/// A worker that stops waits no longer than this for the API server to hear of it.
const FAREWELL: Duration = Duration::from_secs(1);

/// This worker's part in the election.
pub struct Lease {
    state: Rc<State>,
    /// What looks at the Lease, or gives it back.
    running: RefCell<Option<job::Running>>,
}

struct State {
    local: Local,
    election: RefCell<Election>,
    name: String,
    api: Option<String>,
    ca_file: Option<String>,
    token_file: Option<String>,
    /// What was said last about failures.
    said: RefCell<String>,
    leads: Cell<bool>,
}

impl Lease {
    /// `local` is the lead among this gateway's workers; `epoch` is what all of them have, and so has another gateway whose state file
    /// is a copy, or a new binary beside this one, but not the master.
    pub fn new(namespace: &str, lease: &str, conf: &Leader, local: &Local, epoch: u64) -> Lease {
        let me = local.me;
        let master = std::os::unix::process::parent_id();
        let since = started(master).unwrap_or(0);
        let gateway = format!("{}.{master}.{since}_{epoch:016x}_", process::hostname());
        let candidate = Candidate {
            namespace: namespace.into(),
            lease: lease.into(),
            me: format!("{gateway}{}-{:x}", me.pid, me.stamp),
            gateway,
            ttl_ms: conf.ttl_ms,
        };
        let state = State {
            local: local.clone(),
            election: RefCell::new(Election::new(candidate)),
            name: format!("{namespace}/{lease}"),
            api: conf.api.clone(),
            ca_file: conf.ca_file.clone(),
            token_file: conf.token_file.clone(),
            said: RefCell::default(),
            leads: Cell::new(false),
        };
        Lease { state: Rc::new(state), running: RefCell::default() }
    }

    /// Competes from now on, and renews.
    pub fn compete(&self) {
        let mut running = self.running.borrow_mut();
        if running.is_none() {
            let state = Rc::clone(&self.state);
            // it does not end; a fault of ours in it costs the lead at most
            let keep = async move {
                loop {
                    if let Err(why) = caught(state.keep()).await {
                        log_cycle(Level::Alert, &format!("autoscale_lua panicked for its lease: {why}"));
                    }
                    sleep(FAREWELL).await;
                }
            };
            *running = Some(job::spawn(keep, |()| ()));
        }
    }

    /// The fence of what this worker writes now.
    pub fn may_write(&self) -> Option<u64> {
        self.state.election.borrow().may_write(now_ms())
    }

    /// When another gateway held the Lease and was alive, as far as is known.
    pub fn others_us(&self) -> u64 {
        self.state.election.borrow().others() * 1000
    }

    /// Does not compete any more. Others need not wait when it is the gateway that stops; otherwise the next of its workers takes over.
    pub fn resign(&self, for_good: bool) {
        drop(self.running.take());
        let gives_back = self.state.election.borrow_mut().give_up();
        self.state.notice();
        if gives_back && (for_good || process::exiting()) {
            let state = Rc::clone(&self.state);
            // begins at once, so that the worker sees a reason to wait
            self.running.replace(job::start(async move { state.give_back().await }));
        }
    }
}

impl State {
    /// Looks at the Lease for ever.
    async fn keep(&self) {
        loop {
            // another worker may have taken the lead since the last tick: then it is the one to compete
            if self.local.leads() {
                match self.look().await {
                    Ok(()) => drop(self.said.take()),
                    Err(failure) => self.complain(&failure),
                }
            }
            self.notice();
            let pause = self.election.borrow().pause(now_ms(), clock::random().into());
            sleep(Duration::from_millis(pause)).await;
            self.notice();
        }
    }

    /// Takes the Lease if it is free, and renews it if it is ours.
    async fn look(&self) -> Result<(), Failure> {
        let (path, all) = self.election.borrow().path();
        self.election.borrow_mut().look(now_ms());
        let found = self.find(&path).await?;
        let step = self.election.borrow_mut().step(found, now_ms(), unix_us());
        let (method, path, body) = match step {
            Step::Wait => return Ok(()),
            Step::Create(body) => ("POST", all, body),
            Step::Update(body) => ("PUT", path, body),
        };
        let asked = now_ms();
        let answer = self.change(method, &path, body).await?;
        // 409: somebody was faster; the next look shows who
        if answer.status == 409 {
            return Ok(());
        }
        let record = if answer.is_ok() { Record::parse(&answer.body) } else { None };
        let record = record.ok_or_else(|| refused(&answer, &format!("{method} lease")))?;
        self.election.borrow_mut().taken(record, asked);
        Ok(())
    }

    /// Lets others know that it is free.
    async fn give_back(&self) {
        // if it takes longer, the Lease ends by itself
        within(FAREWELL, self.release()).await;
    }

    async fn release(&self) {
        let (path, _) = self.election.borrow().path();
        let Ok(Some(found)) = self.find(&path).await else { return };
        let body = self.election.borrow().release(&found, unix_us());
        if let Some(body) = body {
            // whoever has taken it meanwhile has made it another version
            let _ = self.change("PUT", &path, body).await;
        }
    }

    async fn find(&self, path: &str) -> Result<Option<Record>, Failure> {
        let limit = self.election.borrow().patience(now_ms());
        let answer = self.ask(Query::get(path, limit)).await?;
        match answer.status {
            404 => Ok(None),
            _ if answer.is_ok() => {
                let record = Record::parse(&answer.body);
                record.map(Some).ok_or_else(|| Failure::never("GET lease: the answer is no Lease"))
            }
            _ => Err(refused(&answer, "GET lease")),
        }
    }

    async fn change(&self, method: &'static str, path: &str, body: String) -> Result<Answer, Failure> {
        let limit = self.election.borrow().patience(now_ms());
        self.ask(Query { method, path, body: Some(("application/json", body)), writes: false, limit }).await
    }

    async fn ask(&self, query: Query<'_>) -> Result<Answer, Failure> {
        let cluster = Cluster::new(self.api.as_deref(), self.ca_file.as_deref(), self.token_file.as_deref())?;
        let location = Location::of_http().ok_or_else(|| Failure::never("there is no http {}"))?;
        // to ask for the lead takes no lead
        cluster.ask(query, &Env { location, may_write: Rc::new(|| true) }).await
    }

    /// Says once what goes wrong.
    fn complain(&self, failure: &Failure) {
        let why = failure.to_string();
        if *self.said.borrow() != why {
            log_cycle(Level::Error, &format!("autoscale_leader: lease \"{}\": {why}", self.name));
            self.said.replace(why);
        }
    }

    /// Says when the lead has come or gone.
    fn notice(&self) {
        let fence = self.election.borrow().may_write(now_ms());
        if self.leads.replace(fence.is_some()) == fence.is_some() {
            return;
        }
        let text = match fence {
            Some(fence) => {
                format!("lease \"{}\" is held: this gateway writes, with fence {fence}", self.name)
            }
            None => format!("lease \"{}\" is not held any more: this gateway writes nothing", self.name),
        };
        log_cycle(Level::Notice, &text);
    }
}

/// Of the clock that nobody sets, read now: what happened in this turn of the event loop counts too.
fn now_ms() -> u64 {
    clock::monotonic().us / 1000
}

fn unix_us() -> u64 {
    clock::unix_ms() * 1000
}
