//! What a policy is at, and what was decided: for scripts, variables and pages. Any worker may ask.

use logic::autoscale::conf::{Kind, Target};
use logic::autoscale::decisions::{Decisions, Entry};
use logic::autoscale::expose::policies::{Leader, Scaling, Standing};
use logic::autoscale::policy::{Mode, Policy, Replicas};
use logic::autoscale::signal::{hint, Scope};

use super::seat::Seat;
use super::Engine;
use crate::ngx::clock;

/// A policy now. Times are in seconds.
pub struct PolicyState {
    pub policy: String,
    pub target: Option<String>,
    pub mode: &'static str,
    /// As last known.
    pub replicas: Option<Replicas>,
    pub min: u32,
    pub max: Option<u32>,
    /// How many it made.
    pub decisions: u64,
    /// The last one that was carried out.
    pub in_force: Option<u64>,
    /// How long nothing is added, and nothing taken away.
    pub cooldown_up_s: Option<f64>,
    pub cooldown_down_s: Option<f64>,
    /// How long a script holds it.
    pub held_s: Option<f64>,
    /// The number of replicas that is being written.
    pub pending: Option<u32>,
    /// How long ago it was evaluated.
    pub evaluated_s: Option<f64>,
    /// Its `do` lines are in force.
    pub acting: bool,
    /// This worker leads its gateway.
    pub leads: bool,
}

impl Engine {
    /// Whether there is such a policy, or what to say when there is none.
    pub fn knows(&self, policy: &str) -> Result<(), String> {
        self.named(policy).map(drop)
    }

    fn named(&self, policy: &str) -> Result<&Seat, String> {
        let known = || self.seats.iter().filter(|seat| !seat.bare);
        known().find(|seat| seat.policy.name == policy).ok_or_else(|| {
            let names = known().map(|seat| seat.policy.name.as_str());
            format!("there is no policy \"{policy}\"{}", hint(policy, names))
        })
    }

    /// The last evaluation of a policy.
    pub fn last_evaluation(&self, policy: &str) -> Result<Entry, String> {
        let last = self.named(policy)?.place.last().get().filter(|entry| entry.decision.policy == policy);
        last.ok_or_else(|| format!("policy \"{policy}\" was not evaluated yet: it is with each tick"))
    }

    /// What was decided lately.
    pub fn decisions(&self) -> Decisions<'static> {
        self.journal.records()
    }

    pub fn policy_state(&self, policy: &str) -> Result<PolicyState, String> {
        let (seat, now) = (self.named(policy)?, clock::monotonic());
        let state = seat.place.state().unwrap_or_default();
        let left = |until_us: u64| {
            Some(until_us.saturating_sub(now.us)).filter(|us| *us > 0).map(|us| us as f64 / 1e6)
        };
        let since = |at_us: u64, cooldown_us: u64| if at_us == 0 { None } else { left(at_us + cooldown_us) };
        let Policy { name, target, limits, cooldown, .. } = &seat.policy;
        Ok(PolicyState {
            policy: name.clone(),
            target: target.clone(),
            mode: match self.mode {
                Mode::Off => "off",
                _ if seat.policy.observe || self.mode == Mode::Observe => "observe",
                _ => "on",
            },
            replicas: seat.replicas(now),
            min: limits.least(),
            max: Some(limits.max).filter(|max| *max < u32::MAX),
            decisions: state.decisions,
            in_force: Some(seat.place.last().in_force()).filter(|id| *id > 0),
            cooldown_up_s: since(state.up_us, cooldown.up_us),
            cooldown_down_s: since(state.up_us.max(state.down_us), cooldown.down_us),
            held_s: left(state.hold_us),
            pending: Some(state.pending).filter(|pending| pending.id != 0).map(|pending| pending.to),
            evaluated_s: Some(state.tick_us)
                .filter(|at| *at > 0)
                .map(|at| now.us.saturating_sub(at) as f64 / 1e6),
            acting: state.acting,
            leads: self.leadership.local.leads(),
        })
    }

    /// Policies and leader, for the status page.
    pub fn scaling(&self) -> Scaling {
        let (now, board) = (clock::monotonic(), self.board);
        let leader = board.leader().map(|leader| Leader {
            pid: leader.pid,
            age: now.us.saturating_sub(board.beat_us()) as f64 / 1e6,
            writes: board.writes(),
        });
        let policies = self.seats.iter().filter(|seat| !seat.bare);
        let policies = policies.filter_map(|seat| {
            let state = self.policy_state(&seat.policy.name).ok()?;
            let last = self.last_evaluation(&state.policy).ok().map(|entry| entry.decision);
            Some(Standing {
                current: state.replicas.map(|replicas| replicas.wanted),
                ready: state.replicas.map(|replicas| replicas.ready),
                wish: last.as_ref().map(|last| last.wish),
                reason: last.map(|last| last.reason),
                name: state.policy,
                target: state.target,
                mode: state.mode,
                min: state.min,
                max: state.max,
                age: state.evaluated_s,
                decisions: state.decisions,
                in_force: state.in_force,
                pending: state.pending,
                holding: state.held_s,
                cooldown_up: state.cooldown_up_s,
                cooldown_down: state.cooldown_down_s,
                acting: state.acting,
            })
        });
        Scaling { leader, policies: policies.collect() }
    }

    /// The last decision that was carried out for an upstream, by its number: `POLICY.NUMBER`.
    pub fn decision_in_force(&self, upstream: usize) -> Option<String> {
        let seats = self.deciders.get(upstream)?.iter().filter_map(|n| self.seats.get(*n));
        let mut in_force = seats.map(|seat| (seat, seat.place.last().in_force()));
        in_force.find(|(_, id)| *id > 0).map(|(seat, id)| format!("{}.{id}", seat.policy.name))
    }
}

/// By number of the observed upstream: the policies that scale it, the one of its pool first, then those that look at it.
pub(super) fn deciders(seats: &[Seat], upstreams: &[&str]) -> Box<[Box<[usize]>]> {
    let pool_of =
        |target: &Target, name: &str| matches!(&target.kind, Kind::Pool { upstream } if upstream == name);
    let looks_at = |policy: &Policy, name: &str| {
        policy.signals.iter().any(|watched| match &watched.signal.scope {
            Scope::Upstream(upstream) | Scope::Peer { upstream, .. } => upstream == name,
            _ => false,
        })
    };
    let of = |name: &&str| {
        let scaling =
            || seats.iter().enumerate().filter_map(|(n, seat)| Some((n, seat, seat.target.as_deref()?)));
        let pools = scaling().filter(|(_, _, target)| pool_of(target, name));
        let others =
            scaling().filter(|(_, seat, target)| !pool_of(target, name) && looks_at(&seat.policy, name));
        pools.chain(others).map(|(n, ..)| n).collect()
    };
    upstreams.iter().map(of).collect()
}
