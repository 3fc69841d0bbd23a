//! A worker's part in the zone: its column, the entries it counts on, its tick.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::io::ErrorKind;
use std::rc::Rc;

use logic::autoscale::admit::Limits;
use logic::autoscale::metrics::columns::{Owner, Worker};
use logic::autoscale::metrics::recall::Recall;
use logic::autoscale::metrics::series::Upstream;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::Zone;
use logic::autoscale::pool::Plan;
use logic::autoscale::signal::hint;

use super::actions::Actions;
use super::admit::Admission;
use super::eject::Ejects;
use super::engine::Engine;
use super::fleet::Fleet;
use super::members::{self, Members};
use super::poll::{self, Poller};
use super::pool::Pool;
use super::protect::{self, Protect};
use super::saved;
use super::signals::Signals;
use super::split::Splits;

use crate::conf::MainConf;
use crate::ngx::{clock, cycle_main_conf, log_cycle, process, Level, Request, Timer};

/// What a worker holds of the zone.
pub struct Shell {
    pub zone: Zone<'static>,
    pub worker: Worker,
    admission: Rc<Admission>,
    me: Owner,
    /// By number of the observed upstream.
    pub upstreams: Vec<Ref<Upstream>>,
    /// Those that requests were sent to.
    pub peers: Recall,
    /// By the same number.
    fleets: Vec<Fleet>,
    pub(super) ejects: Ejects,
    pub signals: Signals,
    pub protect: Protect,
    tick_s: u64,
    /// The overrides of peers that this worker's balancers know.
    controls: Cell<u64>,
    random: Cell<u64>,
    tick: RefCell<Option<Timer>>,
    engine: Option<Rc<Engine>>,
    /// By number of the observed upstream: whether a policy looks at its requests one by one. Empty when none does.
    watches: Box<[bool]>,
    actions: Option<Actions>,
    splits: Splits,
    poller: RefCell<Option<Poller>>,
    members: RefCell<Option<Members>>,
}

/// Gives every name of a configuration its place in the zone. The master does it before there are workers, so that those who start
/// together find all names and need not wait for each other. Refusals are logged once here, not by each worker.
pub fn register(main: &MainConf) {
    let Some((conf, zone)) = main.zone.as_deref().and_then(|conf| Some((conf, conf.zone()?))) else { return };
    let now = clock::monotonic();
    main.read_us.set(now.us);
    let refused =
        |e: &dyn core::fmt::Display| log_cycle(Level::Error, &format!("zone \"{}\": {e}", conf.name));
    for observed in main.observed() {
        let entry = match zone.reserve_upstream(observed.name.as_bytes(), now) {
            Ok(entry) => entry,
            Err(e) => {
                refused(&e);
                continue;
            }
        };
        let peers = |backup| observed.upstream().map(|upstream| upstream.known(backup)).unwrap_or_default();
        for peer in [false, true].into_iter().flat_map(peers) {
            let _ = zone.reserve_peer(entry, &peer.whose.name, now).inspect_err(|e| refused(e));
        }
    }
    for key in main.keys.borrow().iter() {
        let _ = zone.key_name(key.name.as_bytes(), key.top.get(), now).inspect_err(|e| refused(e));
    }
    let file = conf.state.as_ref().filter(|_| conf.is_new.get());
    let saved = file.and_then(|file| Some((file, file.read()?)));
    if conf.is_new.get() {
        saved::begin(zone, saved.as_ref().map(|(_, saved)| saved));
    }
    super::engine::register(main, zone, conf.workers());
    protect::register(main, conf.workers());
    poll::register(zone, main.autoscale.settings(), now).iter().for_each(|e| refused(e));
    if let Some((file, saved)) = &saved {
        file.bring_back(zone, saved);
    }
}

impl Shell {
    /// Joins the zone of the configuration, if there is one.
    pub fn join(main: &MainConf) -> Option<Shell> {
        let conf = main.zone.as_deref()?;
        let zone = conf.zone()?.clone();
        let (me, now) = (owner(process::pid()), clock::monotonic());
        // whose columns nobody has swept since, because all workers died at once
        let limits = zone.admission();
        zone.columns().sweep_with(me, alive, |worker| limits.clear_column(worker));
        let worker = zone.columns().claim(me);
        if worker == Worker::NONE {
            log_cycle(
                Level::Warn,
                "more workers than columns in the zone: this one's in-flight requests are not counted",
            );
        }
        // what finds no place was logged when the names were registered
        let upstreams = main
            .observed()
            .iter()
            .map(|o| zone.upstream(o.name.as_bytes(), now).unwrap_or(Ref::NONE))
            .collect::<Vec<_>>();
        zone.keep_upstreams(&upstreams);
        zone.begin(main.read_us.get());
        members::begin(main, &zone, &upstreams, now);
        let fleets = main
            .observed()
            .iter()
            .zip(&upstreams)
            .map(|(o, entry)| {
                let plan = main.autoscale.settings().and_then(|settings| Plan::of(settings, &o.name));
                Fleet::new(&o.name, o.upstream(), *entry, (plan, main.read_us.get()), &zone, now)
            })
            .collect();
        let ejects = Ejects::new(main, &zone, &upstreams);
        for key in main.keys.borrow().iter() {
            key.entry.set(zone.key_name(key.name.as_bytes(), key.top.get(), now).ok());
        }
        let engine = Engine::join(main, &zone, me, conf.tick_s);
        let watches = engine.as_ref().map(|engine| engine.watches()).unwrap_or_default();
        let splits = Splits::new(main, &zone, conf.tick_s);
        let actions = engine.as_deref().and_then(|engine| Actions::new(main, engine));
        let protect = Protect::join(main, &zone, &upstreams, me);
        let shell = Shell {
            zone,
            worker,
            admission: Admission::new(limits, worker, main.limits.declared()),
            me,
            upstreams,
            peers: Recall::default(),
            fleets,
            ejects,
            signals: Signals::new(conf.tick_s),
            protect,
            tick_s: conf.tick_s,
            controls: Cell::new(0),
            random: Cell::new(now.us ^ u64::from(me.pid) << 40),
            tick: RefCell::default(),
            engine,
            watches,
            actions,
            splits,
            poller: RefCell::default(),
            members: RefCell::default(),
        };
        shell.sync();
        Some(shell)
    }

    /// That of this worker, or what to tell a script where there is none.
    pub fn current() -> Result<&'static Shell, &'static str> {
        let main = cycle_main_conf().ok_or("no configuration yet")?;
        if main.zone.is_none() {
            return Err("no autoscale_zone in http {}");
        }
        main.shell().ok_or("no zone yet: workers have it, from init_worker_by_lua on")
    }

    /// The number of the upstream called `name`, or what to say when there is none.
    pub fn upstream(&self, name: &[u8]) -> Result<usize, String> {
        let found = self.fleets.iter().position(|f| f.name.as_bytes() == name);
        found.ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            let hint = hint(&name, self.fleets.iter().map(|f| &*f.name));
            format!("there is no upstream \"{name}\"{hint}")
        })
    }

    /// Limits by key, over all workers: `throttle` for what is let through or not, `take_…` for what is settled later.
    pub fn limits(&self) -> &Limits<'static> {
        self.admission.limits()
    }

    /// What scripts are admitted under such limits.
    pub fn admission(&self) -> &Rc<Admission> {
        &self.admission
    }

    pub fn fleet(&self, number: usize) -> Option<&Fleet> {
        self.fleets.get(number)
    }

    /// Tells this worker's balancers what has been said about peers since the last call; cheap when that is nothing.
    #[inline]
    pub fn sync(&self) {
        let controls = self.zone.controls();
        if self.controls.get() != controls {
            self.apply(controls);
        }
    }

    #[cold]
    fn apply(&self, controls: u64) {
        self.controls.set(controls);
        let now = clock::monotonic();
        self.fleets.iter().for_each(|f| f.apply(&self.zone, now));
        if self.ejects.count(&self.zone, now) {
            self.fleets.iter().for_each(|f| f.apply(&self.zone, now));
        }
        self.ejects.obey(&self.zone, now);
    }

    /// The same when time has changed something.
    pub(super) fn resync(&self) {
        self.apply(self.zone.controls());
    }

    /// The pool of the upstream called `name`.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.fleets.iter().find(|f| *f.name == *name)?.pool.as_ref()
    }

    /// A request comes to an upstream: when its pool sleeps, it is woken.
    #[inline]
    pub fn rouse(&self, number: usize) {
        if self.fleets.get(number).is_some_and(Fleet::is_asleep) {
            self.wake(number);
        }
    }

    #[cold]
    fn wake(&self, number: usize) {
        if let Some(pool) = self.fleets.get(number).and_then(|f| f.pool.as_ref()) {
            pool.wake(&self.zone, clock::monotonic());
            self.sync();
        }
    }

    /// The balancer has no peer for a request. True when there may be one now: a member of its pool that stood by takes the place of one
    /// that failed.
    #[cold]
    pub fn relieve(&self, number: usize) -> bool {
        let Some(fleet) = self.fleets.get(number) else { return false };
        if self.ejects.relieve(&self.zone, number) {
            self.sync();
            return !fleet.has_backup();
        }
        let Some(pool) = &fleet.pool else { return false };
        self.sync();
        if fleet.is_asleep() {
            self.wake(number);
            return !fleet.is_asleep();
        }
        let relieved = pool.relieve(&self.zone, clock::monotonic());
        self.sync();
        // a balancer that has come to the backup peers does not go back
        relieved && !fleet.has_backup()
    }

    /// A number that nobody need be unable to guess (SplitMix64: Steele, Lea, Flood 2014).
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// The outer loop; `None` without policies and targets.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_deref()
    }

    /// What policies do to requests; `None` when no policy does anything.
    #[inline]
    pub fn actions(&self) -> Option<&Actions> {
        self.actions.as_ref()
    }

    pub fn splits(&self) -> &Splits {
        &self.splits
    }

    /// A request comes to upstream number `upstream`: where it goes.
    #[inline]
    pub fn divert(&self, request: Request, upstream: usize) -> usize {
        match (&self.actions, &self.engine) {
            (Some(actions), Some(engine)) => actions.divert(engine, request, upstream),
            _ => upstream,
        }
    }

    /// A request to this upstream has ended. One branch for those that no policy looks at one by one.
    #[inline]
    pub fn request_ended(&self, upstream: usize) {
        if let (Some(true), Some(engine)) = (self.watches.get(upstream), &self.engine) {
            engine.request_ended(upstream);
        }
    }

    /// Gives the column back, and the lead.
    pub fn leave(&self) {
        self.admission.stop();
        if let Some(engine) = &self.engine {
            engine.end();
        }
        self.tick.take();
        self.ejects.end(&self.zone);
        if let Some(poller) = self.poller.take() {
            poller.end();
        }
        if let Some(members) = self.members.take() {
            members.end();
        }
        self.zone.columns().release_with(self.worker, self.me, |worker| self.limits().clear_column(worker));
        self.protect.leave();
    }

    /// Begins what one worker of all does now and then.
    pub fn start_polling(&self, main: &MainConf) {
        self.ejects.start();
        if let Some(conf) = main.zone.as_deref() {
            self.poller.replace(Some(Poller::start(&self.zone, conf, main.autoscale.settings())));
            self.members.replace(Some(Members::start(self, main)));
        }
    }

    /// Arms the next tick; one worker of all does what there is to do.
    pub fn start_ticking(&self) {
        let fire = || {
            if let Some(shell) = cycle_main_conf().and_then(MainConf::shell) {
                // first, so that a fault in one tick is not the end of all
                shell.start_ticking();
                shell.on_tick();
            }
        };
        let timer = Timer::background(Duration::from_secs(self.tick_s), Box::new(fire));
        self.tick.replace(Some(timer));
    }

    fn on_tick(&self) {
        self.sync();
        let now = clock::monotonic();
        self.fleets.iter().for_each(|fleet| fleet.tend(&self.zone, now));
        // a worker that drains leaves it to those who know the configuration that holds
        if !process::exiting() && self.zone.tick(now, self.tick_s) {
            let clear = |worker| self.limits().clear_column(worker);
            let dead = self.zone.columns().sweep_with(self.me, alive, clear);
            if dead > 0 {
                log_cycle(
                    Level::Notice,
                    &format!("{dead} worker(s) died: what they had in flight is no longer counted"),
                );
            }
            self.protect.tick(self);
            self.zone.sample_levels(now);
            self.splits.tick(&self.zone);
            self.zone.prepare(now);
            self.zone.drop_silent_peers(now);
            self.zone.tend_members(now);
            self.fleets.iter().filter_map(|fleet| fleet.pool.as_ref()).for_each(|p| p.tend(&self.zone, now));
            self.sync();
        }
        if let Some(engine) = &self.engine {
            engine.tick();
        }
    }
}

/// A process, told from a later one of the same number by when it started.
fn owner(pid: i32) -> Owner {
    Owner { pid: pid as u32, stamp: started(pid as u32).unwrap_or(UNKNOWN) & STAMP }
}

/// What an owner keeps of the time at which it started.
const STAMP: u32 = 0x7fff_ffff;
/// When a process started that could not be looked at. It is taken for alive as long as there is one of its number.
const UNKNOWN: u32 = 0;

/// Whether the process is there. Only one that is known to be gone is not: a worker that has no descriptor left to look with must not
/// declare the others dead.
pub(super) fn alive(owner: Owner) -> bool {
    is_or(owner, |_| true)
}

/// The same, and it is not stopped either: by a signal, or by a debugger.
pub(super) fn at_work(owner: Owner) -> bool {
    is_or(owner, |state| !matches!(state, 'T' | 't'))
}

fn is_or(owner: Owner, f: impl FnOnce(char) -> bool) -> bool {
    match stat(owner.pid) {
        Stat::Is(state, started) => (started & STAMP == owner.stamp || owner.stamp == UNKNOWN) && f(state),
        Stat::Gone => false,
        Stat::Unseen => true,
    }
}

/// When process `pid` started, in clock ticks since boot; `None` when it is gone, or cannot be looked at. A zombie is gone.
pub(super) fn started(pid: u32) -> Option<u32> {
    match stat(pid) {
        Stat::Is(_, started) => Some(started),
        Stat::Gone | Stat::Unseen => None,
    }
}

/// What there is to see of a process.
enum Stat {
    /// Its state, and when it started.
    Is(char, u32),
    Gone,
    Unseen,
}

/// Fields 3 and 22 of its stat file (proc(5)).
fn stat(pid: u32) -> Stat {
    let text = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        // reading the file of a process that ends in this moment says that there is no such one
        Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => {
            return Stat::Gone
        }
        Err(_) => return Stat::Unseen,
    };
    let fields = || {
        let mut fields = text.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?.chars().next()?;
        let ticks: u64 = fields.nth(18)?.parse().ok()?;
        Some((state, ticks as u32))
    };
    match fields() {
        Some(('Z' | 'X', _)) => Stat::Gone,
        Some((state, ticks)) => Stat::Is(state, ticks),
        None => Stat::Unseen,
    }
}
