//! A pool at work: the peers of an upstream as nginx has them, and what the zone says of them.
//!
//! [`logic::autoscale::pool`] says who is active; this reads what it asks for and writes down what it says. Peers that the configuration
//! marks `down` or `backup` are no members: nothing is ever said about them, and they do not count. The number, and what each member does,
//! lie in the zone: they survive a reload and the death of any worker. Peers that were added while nginx runs are members like others.

use logic::autoscale::metrics::series::{Peer, Upstream as Group};
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{Duty, State, Zone};
use logic::autoscale::metrics::Now;
use logic::autoscale::policy::Replicas;
use logic::autoscale::pool::{arrange, clamp, Member, Plan};

use super::fleet::configured;
use super::members::takes_peers;
use crate::ngx::{clock, log_cycle, Known, Level, Upstream};

/// How often a number that somebody else changes at this moment is tried again.
const PATIENCE: usize = 100;

/// An upstream of which so many peers take requests.
pub struct Pool {
    name: Box<str>,
    upstream: Upstream,
    entry: Ref<Group>,
    plan: Plan,
    /// When its configuration was read.
    read_us: u64,
}

/// A member, in the order of the configuration.
struct Seat {
    addr: Box<[u8]>,
    entry: Ref<Peer>,
    member: Member,
    /// nginx sends it nothing for a while, because it failed: in this worker, unless the upstream is shared.
    failed: bool,
}

/// The addresses of those that are members, each once, and whether nginx sends them nothing for a while.
fn named(upstream: Upstream) -> Vec<(Box<[u8]>, bool)> {
    let (unix_s, _) = clock::wall_clock();
    let peers = upstream.known(false).into_iter();
    let members =
        peers.filter(|peer| peer.whose.nth == 0 && !configured(upstream, peer).is_some_and(|(_, down)| down));
    let failed = |peer: &Known| peer.rests_until.is_some_and(|end| unix_s <= end);
    members.map(|peer| (peer.whose.name.clone(), failed(&peer))).collect()
}

/// How many members the pool of an upstream has: more are never active. `None` where that changes, because peers are added.
pub fn members(upstream: Upstream) -> Option<u32> {
    let count = || u32::try_from(named(upstream).len()).unwrap_or(u32::MAX);
    (!takes_peers(upstream)).then(count)
}

impl Pool {
    /// The pool that the plan makes of an upstream. It begins where the zone has no number for it; who is new finds a place.
    pub fn begin(
        (name, upstream, entry): (&str, Upstream, Ref<Group>),
        (plan, read_us): (Plan, u64),
        zone: &Zone<'_>,
        now: Now,
    ) -> Pool {
        let pool = Pool { name: name.into(), upstream, entry, plan, read_us };
        match (zone.pool(entry), plan.first) {
            // of two workers that begin at once one is first, and the other one's number is the same
            (None, Some(first)) => drop(zone.set_pool(entry, None, Some(first))),
            (Some(0), _) if !plan.may_be_zero => drop(zone.set_pool(entry, Some(0), Some(1))),
            _ => {}
        }
        pool.arrange(zone, now);
        pool
    }

    /// An upstream that is no pool, or no longer: its peers are what the configuration says.
    pub fn release(zone: &Zone<'_>, entry: Ref<Group>, peers: impl Iterator<Item = Ref<Peer>>) {
        if let Some(wanted) = zone.pool(entry) {
            zone.set_pool(entry, Some(wanted), None);
        }
        for peer in peers {
            let duty = zone.control(peer).duty;
            if duty != Duty::None {
                zone.set_duty(peer, duty, Duty::None);
            }
        }
    }

    /// The members.
    fn seats(&self, zone: &Zone<'_>, now: Now) -> Vec<Seat> {
        let found = named(self.upstream);
        let mut seats: Vec<Seat> = Vec::with_capacity(found.len());
        for (addr, failed) in found {
            let known = zone.find_peer(self.entry, &addr);
            let Some(entry) = known.or_else(|| zone.configured_peer(self.entry, &addr, now).ok()) else {
                // no room in the zone, which was logged: it takes requests whatever the number is
                continue;
            };
            seats.push(Seat { addr, entry, member: Member::of(zone, entry, now), failed });
        }
        // last those that were added, in the order in which they came; who leaves is no member any more
        for (entry, added) in zone.members(self.entry) {
            let Some(addr) = zone.name(entry).filter(|_| !added.draining) else { continue };
            if !seats.iter().any(|seat| seat.entry == entry) {
                let addr = addr.into_boxed_slice();
                seats.push(Seat { addr, entry, member: Member::of(zone, entry, now), failed: false });
            }
        }
        seats
    }

    /// How many take requests, and how many of them answer.
    pub fn read(&self, zone: &Zone<'_>, now: Now) -> Replicas {
        let seats = self.seats(zone, now);
        let count = |f: fn(&Member) -> bool| seats.iter().filter(|seat| f(&seat.member)).count() as u32;
        let wanted = zone
            .pool(self.entry)
            .map_or_else(|| count(Member::takes_requests), |n| n.min(seats.len() as u32));
        Replicas { wanted, ready: count(|member| member.takes_requests() && !member.bad) }
    }

    /// Has so many take requests, or as many as there are; `None` when the zone has no place for the number.
    pub fn write(&self, zone: &Zone<'_>, wanted: u32, now: Now) -> Option<u32> {
        let to = clamp(wanted, self.seats(zone, now).len(), self.plan.may_be_zero);
        let set = || {
            let before = zone.pool(self.entry);
            before == Some(to) || zone.set_pool(self.entry, before, Some(to))
        };
        (0..PATIENCE).any(|_| set()).then(|| self.arrange(zone, now))?;
        Some(to)
    }

    /// Gives every member its duty. A worker of an earlier configuration has other members, and leaves it to the newer ones.
    fn arrange(&self, zone: &Zone<'_>, now: Now) {
        if zone.is_newest(self.read_us) {
            self.arrange_all(zone, now);
        }
    }

    /// Once a tick: who fails is replaced, who has drained stands by, who is new finds a place.
    pub fn tend(&self, zone: &Zone<'_>, now: Now) {
        if zone.is_newest(self.read_us) {
            self.arrange_all(zone, now);
            // the traffic of those that failed may be with backup peers, so that no request says so
            self.relieve(zone, now);
        }
    }

    fn arrange_all(&self, zone: &Zone<'_>, now: Now) {
        let Some(wanted) = zone.pool(self.entry) else { return };
        let seats = self.seats(zone, now);
        let members: Vec<Member> = seats.iter().map(|seat| seat.member).collect();
        let duties = arrange(&members, wanted, now, self.plan.drain_s);
        self.assign(zone, wanted, seats.iter().zip(duties));
    }

    /// Whether nobody takes requests although somebody could.
    pub fn is_asleep(&self, zone: &Zone<'_>, now: Now) -> bool {
        let seats = self.seats(zone, now);
        let free = |seat: &Seat| seat.member.is_free();
        seats.iter().any(free) && !seats.iter().any(|seat| seat.member.takes_requests())
    }

    /// A request is here and nobody takes it: somebody does from now on.
    pub fn wake(&self, zone: &Zone<'_>, now: Now) {
        if zone.set_pool(self.entry, Some(0), Some(1)) {
            log_cycle(Level::Notice, &format!("pool \"{}\": a request wakes it", self.name));
        }
        self.arrange_all(zone, now);
    }

    /// Has a member that stands by change places with an active one that nginx sends nothing to because it failed, when that is
    /// so for all active ones; false when nobody could change.
    pub fn relieve(&self, zone: &Zone<'_>, now: Now) -> bool {
        let Some(wanted) = zone.pool(self.entry) else { return false };
        let seats = self.seats(zone, now);
        let is_active = |seat: &&Seat| seat.member.is_free() && seat.member.duty == Duty::Active;
        let set_up = seats.iter().any(|seat| seat.member.set == Some(State::Up) && !seat.failed);
        if set_up || seats.iter().filter(is_active).any(|seat| !seat.failed) {
            return false;
        }
        let fit =
            |seat: &&Seat| seat.member.is_free() && !is_active(seat) && !seat.failed && !seat.member.bad;
        let Some((worse, better)) = seats.iter().rfind(is_active).zip(seats.iter().find(fit)) else {
            return false;
        };
        let out = if worse.member.inflight > 0 { Duty::drain(now) } else { Duty::Standby };
        self.assign(zone, wanted, [(better, Duty::Active), (worse, out)].into_iter());
        true
    }

    /// Writes down what is new. Those who join come first, so that at no moment there are fewer than before and after.
    fn assign<'a>(
        &self,
        zone: &Zone<'_>,
        wanted: u32,
        duties: impl Iterator<Item = (&'a Seat, Duty)> + Clone,
    ) {
        let mut moves = String::new();
        for leaves in [false, true] {
            for (seat, duty) in duties.clone() {
                let before = seat.member.duty;
                let changes = duty != before && duty.is_out() == leaves;
                if changes && zone.set_duty(seat.entry, before, duty) {
                    let word = match duty {
                        Duty::Drain { .. } => "drains",
                        Duty::Standby => "stands by",
                        _ => "is active",
                    };
                    moves.push_str(&format!(", {} {word}", String::from_utf8_lossy(&seat.addr)));
                }
            }
        }
        if !moves.is_empty() {
            log_cycle(Level::Notice, &format!("pool \"{}\": {wanted} wanted{moves}", self.name));
        }
    }
}
