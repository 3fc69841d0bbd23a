//! A policy as a worker has it.

use core::cell::{Cell, RefCell};
use std::rc::Rc;

use logic::autoscale::board::{Board, Place, Source};
use logic::autoscale::conf::Target;
use logic::autoscale::metrics::zone::Zone;
use logic::autoscale::metrics::Now;
use logic::autoscale::policy::behavior::Behavior;
use logic::autoscale::policy::live::{Handles, Live};
use logic::autoscale::policy::{Cooldown, Limits, Policy, Replicas, State};

use super::errand::Running;

/// A number of replicas that the target could not be asked about again for so long is not known any more.
const FORGET_US: u64 = 60_000_000;

/// A policy, its place on the board, and what is under way for its target.
pub(super) struct Seat {
    /// Its number in the configuration.
    pub number: usize,
    pub policy: Policy,
    pub target: Option<Rc<Target>>,
    /// It has no rules: it is there for a target that only scripts scale.
    pub bare: bool,
    pub place: Place<'static>,
    /// The leader's own; a copy of what it last saved in other workers.
    pub state: RefCell<Box<State>>,
    version: Cell<u64>,
    pub handles: RefCell<Handles>,
    /// What is under way: one at a time.
    pub running: RefCell<Option<Running>>,
    /// When the target is next to be asked, and when it may next be written to.
    pub read_us: Cell<u64>,
    pub write_us: Cell<u64>,
    /// Failures in a row, of either.
    pub failures: Cell<u32>,
    /// That of the leader, in the one that leads.
    fence: Cell<u64>,
    /// The last decision that this worker made as the one that writes.
    pub own: Cell<u64>,
}

/// The name of the place of a target that no policy scales.
pub(super) fn bare_name(target: &Target) -> String {
    format!("target:{}", target.name)
}

/// What bounds a target that only scripts scale: its own limits, and the cooldown of step lines.
pub(super) fn bare_policy(target: &Target) -> Policy {
    Policy {
        name: bare_name(target),
        target: Some(target.name.clone()),
        signals: Vec::new(),
        rules: Vec::new(),
        limits: Limits { min: target.min, max: target.max.unwrap_or(u32::MAX), rate: None, stale: 0 },
        cooldown: Cooldown { up_us: 60_000_000, down_us: 300_000_000 },
        up: Behavior::default(),
        down: Behavior::default(),
        actions: Vec::new(),
        observe: false,
    }
}

/// What tells a target from another one of the same name (FNV-1a: Fowler, Noll, Vo).
fn mark(target: &Target) -> u64 {
    let text = format!("{} {:?} {:?}", target.name, target.kind, target.api);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }) | 1
}

impl Seat {
    pub fn new(
        number: usize,
        policy: Policy,
        target: Option<Rc<Target>>,
        bare: bool,
        place: Place<'static>,
    ) -> Seat {
        Seat {
            number,
            policy,
            target,
            bare,
            place,
            state: RefCell::default(),
            version: Cell::new(0),
            handles: RefCell::default(),
            running: RefCell::default(),
            read_us: Cell::new(0),
            write_us: Cell::new(0),
            failures: Cell::new(0),
            fence: Cell::new(0),
            own: Cell::new(0),
        }
    }

    /// Goes on where the leader before stopped, as the one with this fence.
    pub fn take_over(&self, board: &Board<'_>, fence: u64) {
        let mut state = self.place.state().unwrap_or_default();
        if let Some(mark) = self.target.as_deref().map(mark) {
            let before = board.known_of(mark);
            // a target that is another one now has not been asked for anything
            if self.place.bind(mark) {
                state.pending = Default::default();
            }
            if let (None, Some(known)) = (self.place.known(), before) {
                self.place.learn(known);
            }
        }
        self.policy.adopt(&mut state);
        self.fence.set(fence);
        // if a later one was faster, this one finds out before it does anything
        if self.place.take_over(fence, &state) {
            self.version.set(self.place.version());
        }
        **self.state.borrow_mut() = state;
        self.read_us.set(0);
        self.write_us.set(0);
        self.failures.set(0);
    }

    /// Writes the state where the next leader finds it; false when there is one already.
    pub fn save(&self) -> bool {
        let saved = self.place.save(self.fence.get(), &self.state.borrow());
        self.version.set(self.place.version());
        saved
    }

    /// Whether the place is this leader's to write: it is the policy's, and nobody has taken it over since.
    pub fn is_mine(&self) -> bool {
        self.place.is_led(self.fence.get())
    }

    /// Whether the request that just ended may make the policy act.
    pub fn is_due(&self, zone: &Zone<'_>, tick_s: u32, now: Now, leads: bool) -> bool {
        // inside an evaluation, it is looked at already
        let (Ok(mut state), Ok(mut handles)) = (self.state.try_borrow_mut(), self.handles.try_borrow_mut())
        else {
            return false;
        };
        let version = self.place.version();
        if !leads && self.version.replace(version) != version {
            **state = self.place.state().unwrap_or_default();
        }
        handles.refresh(&self.policy, zone, tick_s);
        self.policy.due(&state, &Live { zone, handles: &handles, now }, now.us)
    }

    /// How many replicas there are, as far as is known.
    pub fn replicas(&self, now: Now) -> Option<Replicas> {
        let known = self.place.known()?;
        let forgotten = known.source == Source::Told && now.us.saturating_sub(known.at_us) > FORGET_US;
        (!forgotten).then_some(known.replicas)
    }
}
