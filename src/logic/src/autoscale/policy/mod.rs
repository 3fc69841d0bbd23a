//! Policies: from signals to how many replicas a target should have.
//!
//! A [`Policy`] is what `autoscale_policy` says, parsed and valid ([`super::conf`] reads it). [`Policy::step`] takes it one evaluation
//! further: configuration, a view of its signals and the time come in, an [`Evaluation`] comes out that says what to do and why, or
//! why nothing is done. What must be remembered is a [`State`], plain numbers that can lie in shared memory. The same code runs in the
//! tick of a worker and in the replay program.
//!
//! 1. Each rule has its say: step lines ([`lines`](line)), tracking ([`hpa`], [`kpa`]), calendar ([`schedule`]), forecast
//!    ([`forecast`]), a script. The highest wish wins; `down` lines wish only when all of them hold.
//! 2. A stale signal never scales down: whoever needs it wishes at least what there is.
//! 3. The brakes ([`behavior`]): stabilisation window, rules of speed, `limit rate=`; then min and max, then the cooldown.
//! 4. One absolute number is written, by the leader; [`Policy::settle`] says how that went, and only then the cooldown begins.
//!
//! *Monotone*: from the same state, more load never leads to fewer replicas, as long as the lines say "up above" and "down below".

pub mod behavior;
mod class;
pub mod cron;
pub mod decision;
pub mod forecast;
pub mod hpa;
pub mod kpa;
mod line;
pub mod live;
pub mod schedule;
pub mod state;
mod step;
pub mod store;
mod verdict;

pub use class::Class;
pub use line::{Condition, Hold, Line, Op, Step, Threshold};
pub use state::State;
pub use step::{Event, Input, Mode, Replicas, Script, View, Wish, LOST_US};
pub use verdict::{Actions, Evaluation, Outcome, Seen, Verdict, Why};

use super::read::Reading;
use super::signal::{Metric, Scope, Signal, Window};
use behavior::{Amount, Behavior};
use kpa::Panic;
use schedule::Schedule;

/// `do` lines stay in force for at least so long after the last pressure.
const RELIEF_US: u64 = 10_000_000;

/// A policy in hand is a valid one.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub name: String,
    /// The target it scales; without one it only acts inside the gateway (`do`).
    pub target: Option<String>,
    /// The signals of its rules, each once: a *slot* is a place in this list.
    pub signals: Vec<Watched>,
    pub rules: Vec<Rule>,
    pub limits: Limits,
    pub cooldown: Cooldown,
    pub up: Behavior,
    pub down: Behavior,
    pub actions: Vec<Action>,
    /// `mode observe`: everything is decided and logged, nothing is written.
    pub observe: bool,
}

/// A signal, and the age in seconds from which it is stale.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    pub signal: Signal,
    pub stale_s: f64,
}

/// A line that wishes. `text` is how it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub text: String,
    pub does: Does,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Does {
    Up(Line),
    Down(Line),
    Track(Track),
    Schedule(Schedule),
    Forecast(Ahead),
    /// The n-th `by_lua_block` of the policy.
    Script(usize),
}

/// `track SIGNAL per=N`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Track {
    pub slot: usize,
    /// What one replica takes, of a total; the goal, of a mean.
    pub per: f64,
    pub share: hpa::Share,
    pub tolerance: f64,
    pub panic: Option<PanicTrack>,
}

/// Its panic window: another slot of the same signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PanicTrack {
    pub slot: usize,
    pub stable_s: u32,
    pub panic: Panic,
}

/// `forecast period= lead=`, of the signal that is tracked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ahead {
    pub slot: usize,
    pub per: f64,
    pub period_ms: u64,
    pub lead_ms: u64,
    pub observe: bool,
}

/// `limit`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub min: Option<u32>,
    pub max: u32,
    /// At most so much a minute, in either direction.
    pub rate: Option<Amount>,
    /// With a stale signal there are at least so many replicas; 0 is `stale=hold`.
    pub stale: u32,
}

/// `cooldown`, in microseconds: how long after scaling up (in either direction) nothing is added (taken away).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cooldown {
    pub up_us: u64,
    pub down_us: u64,
}

/// `do`: what happens inside the gateway, or who is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Requests of the class are refused.
    Shed(Class),
    /// Requests go to another upstream: those of the class, or all for the upstreams that the policy looks at.
    Route { to: String, class: Option<Class> },
    /// Requests of each value of the key are held to a rate a second.
    Throttle { key: String, rate: f64 },
    /// A target is told of each decision, and when the others begin.
    Notify(String),
}

impl Limits {
    /// The fewest replicas: one, unless policy or target say otherwise.
    pub fn least(&self) -> u32 {
        self.min.unwrap_or(1)
    }
}

impl Watched {
    /// Seconds after which a value that has no window of its own is stale, unless its source says otherwise.
    pub const STALE_S: f64 = 30.0;

    pub fn new(signal: Signal) -> Self {
        let stale_s = match signal.window {
            // what the window holds is as young as the window
            Window::Seconds(s) => f64::from(s).max(Self::STALE_S),
            _ => Self::STALE_S,
        };
        Self { signal, stale_s }
    }

    /// Without a value, or too old.
    pub fn is_stale(&self, reading: &Reading) -> bool {
        let finite = reading.value.is_some_and(f64::is_finite);
        !finite || reading.age > self.stale_s
    }

    /// Somebody reports it (a poll, a script, a sampler), so that its absence is a failure; what the gateway counts itself is absent
    /// when there are no requests.
    pub fn is_reported(&self) -> bool {
        matches!(self.signal.scope, Scope::Ext { .. } | Scope::Custom { .. })
            || matches!(self.signal.metric, Metric::Cpu | Metric::Mem)
    }
}

impl Policy {
    /// Narrows the bounds to those of the target.
    pub fn within(&mut self, min: Option<u32>, max: Option<u32>) {
        // None is less than any number
        self.limits.min = self.limits.min.max(min);
        self.limits.max = self.limits.max.min(max.unwrap_or(u32::MAX));
    }

    /// The upstreams that its `up` lines look at, which is where the pressure is that its `do` lines relieve.
    pub fn presses(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|rule| match &rule.does {
            Does::Up(line) => match &self.signals[line.condition.slot].signal.scope {
                Scope::Upstream(name) | Scope::Peer { upstream: name, .. } => Some(name.as_str()),
                _ => None,
            },
            _ => None,
        })
    }

    /// Microseconds for which `do` lines stay in force after the last time that they were needed.
    pub fn relief_us(&self) -> u64 {
        self.cooldown.up_us.max(RELIEF_US)
    }

    /// Says how the write of decision `id` went: the number of replicas there is now, or nothing if it failed.
    ///
    /// Only a write that succeeded begins a cooldown, and it does however far the target went. An answer to a decision that is not the pending one is ignored, so it does no
    /// harm to answer twice.
    pub fn settle(&self, state: &mut State, now_us: u64, id: u64, written: Option<u32>) {
        let pending = state.pending;
        if pending.id != id || id == 0 {
            return;
        }
        state.pending = state::Pending::default();
        let Some(written) = written else { return };
        let change = i64::from(written) - i64::from(pending.from);
        if change != 0 {
            state.events.push(now_us, change);
        }
        // a target that did not go where it was told is not told again at once
        state.changed(pending.to > pending.from, now_us);
    }

    /// Takes over a state that may be of an earlier text of the policy: what a rule remembers goes with the rule, wherever it stands now,
    /// and a rule that is new has nothing to remember.
    pub fn adopt(&self, state: &mut State) {
        let before = state.rules;
        let is_new = before.iter().all(|rule| rule.mark == 0);
        for (n, (rule, state)) in self.rules.iter().zip(&mut state.rules).enumerate() {
            let mark = rule.mark();
            let found = before.iter().find(|rule| rule.mark == mark).copied();
            *state = if is_new { before[n] } else { found.unwrap_or_default() };
            state.mark = mark;
        }
        let rest = self.rules.len().min(before.len());
        state.rules[rest..].fill(state::RuleState::default());
        self.adopt_season(&mut state.season);
    }

    /// What was learnt of one signal foresees no other one, whatever its window.
    fn adopt_season(&self, season: &mut forecast::Season) {
        let ahead = self.rules.iter().find_map(|rule| match &rule.does {
            Does::Forecast(ahead) => Some(ahead),
            _ => None,
        });
        let Some(ahead) = ahead else { return };
        let signal = self.signals[ahead.slot].signal.to_string();
        let of = mark(signal.split('@').next().unwrap_or(&signal));
        if season.of != 0 && season.of != of {
            *season = forecast::Season::default();
        }
        season.of = of;
    }

    /// Whether a rule looks at requests one by one, so that it is worth asking [`Policy::due`] as they end.
    pub fn watches_requests(&self) -> bool {
        self.rules.iter().any(|rule| rule.watches_requests(self))
    }

    /// Whether the request that just ended may make a rule act: a cheap look before [`Policy::step`] with [`Event::Request`].
    pub fn due(&self, state: &State, view: &dyn View, now_us: u64) -> bool {
        let cools = state.up_us > 0 && now_us < state.up_us + self.cooldown.up_us;
        if cools || state.pending.id != 0 || now_us < state.hold_us {
            return false;
        }
        let lines = self.rules.iter().zip(&state.rules).filter(|(rule, _)| rule.watches_requests(self));
        lines.into_iter().any(|(rule, state)| match &rule.does {
            Does::Up(line) => line.due(self, state, view),
            _ => false,
        })
    }
}

impl State {
    fn changed(&mut self, up: bool, now_us: u64) {
        *(if up { &mut self.up_us } else { &mut self.down_us }) = now_us.max(1);
    }

    /// `as.policy(name):hold(s)`; 0 is `resume`.
    pub fn hold(&mut self, now_us: u64, seconds: f64) {
        self.hold_us = if seconds > 0.0 { now_us + (seconds * 1e6) as u64 } else { 0 };
    }
}

impl Rule {
    fn mark(&self) -> u64 {
        mark(&self.text)
    }

    fn watches_requests(&self, policy: &Policy) -> bool {
        let Does::Up(line) = &self.does else { return false };
        matches!(line.hold, Hold::Requests(_))
            || matches!(policy.signals[line.condition.slot].signal.window, Window::Requests(_))
    }
}

/// FNV-1a (Fowler, Noll, Vo) of a text; not 0.
fn mark(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step) | 1
}

#[cfg(test)]
mod tests;
