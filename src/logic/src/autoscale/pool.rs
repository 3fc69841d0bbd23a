//! `pool:UPSTREAM`: so many peers of an upstream take requests, the others stand by.
//!
//! [`arrange`] says what every member of a pool should be, from what it is and how many are wanted. It is a function of what all
//! processes see in the zone and remembers nothing, so two workers that arrange the same pool at the same time come to the same.
//!
//! *Who is active.* The pool grows in the order of the configuration and shrinks in the reverse order. Who is active stays so while the
//! number stays: nobody is moved for tidiness. A member that leaves *drains*: it gets nothing new, ends what it has, and stands by from
//! the moment it has nothing in flight, or after a bound, because a stream may last for ever (nothing is cut off then, either).
//!
//! *Who is bad.* An active member whose last tries all failed, or that is ejected, changes places with one that stands by and is not bad,
//! one such change an arrangement, so that a fault all members share costs one change a tick and no more. It is taken last when the pool
//! grows, until its failures are a minute old. With nobody better to take its place it stays: it may be the only one, and it may recover.
//!
//! *Who is not asked.* What an operator or a script says of a peer (`as.set`) always holds. A peer that was set to `up` takes requests and
//! counts as one of those wanted; one set to `down` or `drain` does not take part, and another one takes its place.
//!
//! *What it cannot see*: why a member fails. Five hundreds of the service itself count as well as refused connections.

use super::conf::{Kind, Settings};
use super::metrics::recent::{Ended, MOST};
use super::metrics::series::{Peer, Series};
use super::metrics::table::Ref;
use super::metrics::zone::{Duty, Health, State, Zone};
use super::metrics::Now;
use super::policy::Mode;

/// So many tries in a row must have failed,
const FAILED: usize = 10;
/// the last of them in the last so many seconds.
const FRESH_S: u64 = 60;

/// What the configuration says of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many take requests when the zone knows of no number; `None` when nothing may be changed before somebody asks for it.
    pub first: Option<u32>,
    /// All may stand by.
    pub may_be_zero: bool,
    /// How long a drain may take.
    pub drain_s: u64,
}

impl Plan {
    /// The plan of an upstream, `None` when it is no pool or `autoscale off` says that everything is left to nginx.
    ///
    /// A pool begins with the fewest peers that its policy, or else the target's `min=`, allows. It does not with `observe`, at the
    /// policy or in `http {}`, nor when neither a policy nor `min=` is there to say how it would ever grow.
    pub fn of(settings: &Settings, upstream: &str) -> Option<Self> {
        let is_pool = |kind: &Kind| matches!(kind, Kind::Pool { upstream: name } if name == upstream);
        let target = settings.targets.iter().find(|target| is_pool(&target.kind))?;
        let of_target = |name: &Option<String>| name.as_ref() == Some(&target.name);
        let policy = settings.policies.iter().map(|p| &p.policy).find(|p| of_target(&p.target));
        let least = policy.map_or(target.min, |policy| Some(policy.limits.least()));
        let observes = settings.mode == Mode::Observe || policy.is_some_and(|policy| policy.observe);
        (settings.mode != Mode::Off).then(|| Self {
            first: least.filter(|_| !observes),
            may_be_zero: least == Some(0),
            drain_s: target.timeout_ms.div_ceil(1000),
        })
    }
}

/// What counts of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub duty: Duty,
    /// What somebody has said about it.
    pub set: Option<State>,
    pub bad: bool,
    pub inflight: u32,
}

impl Member {
    /// A peer as the zone knows it.
    pub fn of(zone: &Zone<'_>, peer: Ref<Peer>, now: Now) -> Self {
        let control = zone.control(peer);
        Self {
            duty: control.duty,
            set: control.set(),
            bad: zone.health(peer, now) == Health::Ejected
                || zone.series(peer).is_some_and(|series| is_bad(&series, now)),
            inflight: zone.levels(peer).active,
        }
    }

    /// Requests are sent to it.
    pub fn takes_requests(&self) -> bool {
        match self.set {
            Some(state) => state == State::Up,
            None => !self.duty.is_out(),
        }
    }

    /// The pool may say what it does.
    pub fn is_free(&self) -> bool {
        self.set.is_none()
    }
}

fn is_bad(series: &Series<'_, Peer>, now: Now) -> bool {
    let mut last = [Ended::default(); MOST];
    let found = series.last(FAILED, &mut last);
    let all_failed = found == FAILED && last[..found].iter().all(|ended| ended.error);
    all_failed && Series::<Peer>::span(now, FRESH_S).is_some_and(|span| series.window(span).errors() > 0)
}

/// What each member should be, in the order of the configuration, so that `wanted` take requests. A drain ends after `bound_s`.
pub fn arrange(members: &[Member], wanted: u32, now: Now, bound_s: u64) -> Vec<Duty> {
    let active = choose(members, wanted);
    let duty = |(member, active): (&Member, bool)| match (member.duty, member.set) {
        // what was said is not the pool's doing: when it is taken back, nobody else need move
        (_, Some(State::Up)) => Duty::Active,
        (_, Some(_)) => Duty::Standby,
        _ if active => Duty::Active,
        (Duty::Drain { since }, _) if member.inflight > 0 && Duty::age_s(since, now) < bound_s => {
            Duty::Drain { since }
        }
        (Duty::None | Duty::Active, _) if member.inflight > 0 => Duty::drain(now),
        _ => Duty::Standby,
    };
    members.iter().zip(active).map(duty).collect()
}

/// Which of the free members take requests.
fn choose(members: &[Member], wanted: u32) -> Vec<bool> {
    let set_up = members.iter().filter(|member| member.set == Some(State::Up)).count();
    let need = (wanted as usize).saturating_sub(set_up);
    let mut active: Vec<bool> = members.iter().map(|m| m.is_free() && m.duty == Duty::Active).collect();
    let count = |active: &[bool]| active.iter().filter(|is| **is).count();
    while count(&active) < need {
        let Some(next) = next(members, &active) else { break };
        active[next] = true;
    }
    while count(&active) > need {
        let Some(last) = last(members, &active) else { break };
        active[last] = false;
    }
    let better = next(members, &active).filter(|next| !members[*next].bad);
    let worse = last(members, &active).filter(|last| members[*last].bad);
    if let Some((better, worse)) = better.zip(worse) {
        (active[better], active[worse]) = (true, false);
    }
    active
}

/// Who joins next: the first one, of those that are well if there are any.
fn next(members: &[Member], active: &[bool]) -> Option<usize> {
    let free = |i: &usize| members[*i].is_free() && !active[*i];
    (0..members.len()).filter(free).min_by_key(|i| (members[*i].bad, *i))
}

/// Who leaves next: the last one, of those that are bad if there are any.
fn last(members: &[Member], active: &[bool]) -> Option<usize> {
    (0..members.len()).filter(|i| active[*i]).max_by_key(|i| (members[*i].bad, *i))
}

/// How many of the members there may be: as many as there are; none only when that was asked for.
pub fn clamp(wanted: u32, members: usize, may_be_zero: bool) -> u32 {
    let most = u32::try_from(members).unwrap_or(u32::MAX);
    wanted.max(u32::from(!may_be_zero)).min(most)
}

#[cfg(test)]
mod tests;
