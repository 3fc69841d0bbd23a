//! A team as the rule sees it.

use logic::autoscale::balance::{Candidate, Memory, Peers, Race, Settings, Standing, Usual};
use logic::autoscale::metrics::columns::{Columns, Levels, Worker};
use logic::autoscale::metrics::series::Peer;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{Tenant, Terms, Zone};
use logic::autoscale::metrics::Now;

use super::seat::{Place, Seat};
use super::team::Team;
use super::tried::Tried;

/// A team as the rule sees it, for one choice.
pub struct View<'a> {
    team: &'a Team,
    zone: &'a Zone<'static>,
    tried: &'a Tried,
    /// Who asks.
    worker: Worker,
    pub rule: &'a Settings,
    /// The rule is the method of the upstream. Where others balance it, nothing was kept for the rule.
    is_method: bool,
    /// What was learnt of how many requests a peer takes at a time holds.
    pub heeds_limits: bool,
    /// What [`Zone::controls`] says.
    controls: u64,
    columns: Columns<'static>,
    /// How many of them are in use.
    used: usize,
    now: Now,
    /// Nothing keeps a peer from being plain, as [`Peers::enter`] of this has it.
    is_plain: bool,
    /// What is said of them keeps nobody from it.
    all_plain: bool,
    /// Nobody was tried.
    is_first: bool,
}

/// No such word is kept of what was learnt.
const NO_WORD: u64 = u64::MAX;

/// With more columns than this, those of other workers are summed up once a millisecond: a line of memory each, and all of them change.
pub const FEW_COLUMNS: usize = 4;

impl<'a> View<'a> {
    #[inline]
    pub fn new(
        team: &'a Team,
        zone: &'a Zone<'static>,
        tried: &'a Tried,
        (rule, is_method): (&'a Settings, bool),
        (worker, now): (Worker, Now),
    ) -> View<'a> {
        let (controls, columns) = (zone.controls(), zone.columns());
        let used = columns.used();
        let is_plain = is_method && rule.feedback.is_none() && used <= FEW_COLUMNS;
        let all_plain = is_plain && team.all_plain(zone, controls, now);
        let (is_first, heeds_limits) = (tried.is_empty(), false);
        View {
            team,
            zone,
            tried,
            worker,
            rule,
            is_method,
            heeds_limits,
            controls,
            columns,
            used,
            now,
            is_plain,
            all_plain,
            is_first,
        }
    }

    /// What a peer has in flight, and how many of them wait where that is known. Of this worker it is exact, of others as of this
    /// millisecond.
    #[inline]
    fn levels(&self, seat: &Seat, tenant: Tenant<'_>) -> Levels {
        if self.used <= FEW_COLUMNS || self.worker == Worker::NONE {
            tenant.levels(&self.columns, self.used)
        } else {
            self.levels_of_many(seat, tenant)
        }
    }

    #[inline(never)]
    fn levels_of_many(&self, seat: &Seat, tenant: Tenant<'_>) -> Levels {
        let (mut own, ms) = (tenant.own_levels(&self.columns, self.worker), (self.now.us >> 10) as u32);
        let (then, elsewhere) = seat.elsewhere.get();
        if then == ms {
            own += elsewhere;
        } else {
            let all = tenant.levels(&self.columns, self.used);
            seat.elsewhere.set((ms, all.without(own)));
            own = all;
        }
        own
    }

    /// Finds what a seat costs; not where nothing is known of that.
    #[inline(never)]
    fn stand(
        &self,
        seat: &Seat,
        (tenant, memory): (Tenant<'_>, Memory<'_>),
        made_of: (u64, u64),
        usual: &Usual,
    ) -> bool {
        let learnt = tenant.learnt();
        let (room, sure) =
            if self.heeds_limits { (Some(learnt.room(self.now)), learnt.sure()) } else { (None, u32::MAX) };
        let peer = Candidate {
            latency_us: memory.latency_us(),
            silent_us: memory.silent_us(self.now),
            room,
            ..Candidate::new(seat.said.get().weight)
        };
        let standing = Standing::of(&peer, self.rule.rule, usual, made_of, sure);
        seat.standing.set(standing.unwrap_or_default());
        standing.is_some()
    }

    /// The long way finds the same of it.
    fn is_really_plain(&self, i: usize, has_room: bool) -> bool {
        let Candidate { limit, room, occupied, failing, ramp, load, .. } = self.candidate(i);
        let is_within = room.is_none_or(|room| occupied < room.limit);
        self.candidate(i).is_eligible()
            && (limit, failing, ramp, load) == (0, 0.0, 1.0, None)
            && is_within == has_room
    }

    /// Any peer.
    #[inline(never)]
    fn special(&self, i: usize, race: &mut Race) {
        race.enter(i, &self.candidate(i));
    }

    /// What there is to know where nothing was kept for the rule.
    #[cold]
    fn observed(&self, entry: Ref<Peer>) -> Candidate {
        Candidate::of(self.zone, entry, 1, self.now).unwrap_or(Candidate::new(1))
    }

    /// How many a peer has for which the zone has no place.
    #[cold]
    fn conns(&self, seat: &Seat) -> u32 {
        self.team.listed_as(seat).map_or(0, |peer| peer.conns() as u32)
    }
}

#[cfg(upstream_sid)]
impl View<'_> {
    /// Whether a client that was with peer `i` before may go there again.
    pub fn suits(&self, i: usize) -> bool {
        let mut candidate = self.candidate(i);
        if let Some(super::Seated::Listed(peer)) = self.team.seated(i) {
            if peer.drains() {
                candidate.excluded = self.tried.has(i) || peer.has_failed();
            }
        }
        candidate.is_eligible()
    }
}

impl Peers for View<'_> {
    fn len(&self) -> usize {
        self.team.seats().len()
    }

    fn primaries(&self) -> usize {
        self.team.primaries
    }

    /// Of nearly all peers there is nothing special to say: then it takes half the instructions. Inline, so that the candidate stays in
    /// registers.
    #[inline(always)]
    fn enter(&self, i: usize, race: &mut Race) {
        let Some((seat, tenant)) = self.team.known(i) else { return self.special(i, race) };
        let said = seat.said.get();
        let memory = tenant.memory();
        let is_plain = (self.all_plain || self.is_plain && said.is_plain_at(self.controls, self.now))
            && tenant.is_current()
            && (self.is_first || !self.tried.has(i))
            && !self.team.is_out(seat)
            && memory.is_plain(self.rule, self.now);
        if !is_plain {
            return self.special(i, race);
        }
        let made_of =
            (memory.latency_word(), if self.heeds_limits { tenant.learnt().word() } else { NO_WORD });
        if !seat.standing.get().is_of(made_of) && !self.stand(seat, (tenant, memory), made_of, race.usual()) {
            return self.special(i, race);
        }
        let (levels, standing) = (tenant.levels(&self.columns, self.used), seat.standing.get());
        if levels.waiting > 0 && !standing.is_patient(memory.stuck_us(self.now)) {
            return self.special(i, race);
        }
        let occupied = levels.occupied();
        let has_room = standing.has_room(occupied) || occupied < tenant.learnt().limit(self.now);
        // with one worker, whose words nobody else changes
        debug_assert!(self.used > 1 || self.is_really_plain(i, has_room), "{:?}", self.candidate(i));
        race.enter_known(i, &standing, levels.active, has_room);
    }

    fn usual(&self) -> Option<Usual> {
        self.team.usual.get()
    }

    fn keep(&self, usual: Usual) {
        self.team.usual.set(Some(usual));
    }

    fn candidate(&self, i: usize) -> Candidate {
        let Some(seat) = self.team.seats().get(i) else {
            return Candidate { excluded: true, ..Candidate::new(1) };
        };
        let tenant = self.team.tenant(seat, self.zone);
        let said = self.team.said(seat, self.zone, self.controls, self.now);
        let candidate = Candidate {
            limit: said.limit,
            state: said.state,
            health: said.health,
            excluded: self.tried.has(i) || self.team.is_out(seat),
            ..Candidate::new(said.weight)
        };
        let Some(tenant) = tenant else {
            let inflight = self.conns(seat);
            return Candidate { inflight, occupied: inflight, ..candidate };
        };
        let (levels, memory) = (self.levels(seat, tenant), tenant.memory());
        let (inflight, waiting, occupied) = (levels.active, levels.waiting, levels.occupied());
        let mut candidate =
            Candidate { inflight, waiting, occupied, ..candidate }.recall(&memory, self.rule, self.now);
        if let Place::Added(_, Terms { slow_start_ms: Some(ms), .. }) = seat.place {
            candidate.ramp = memory.ramp_within(u64::from(ms) * 1000, self.now);
        }
        if self.heeds_limits {
            candidate.room = Some(tenant.learnt().room(self.now));
        }
        if !self.is_method {
            let Candidate { latency_us, silent_us, failing, .. } = self.observed(tenant.entry());
            return Candidate {
                latency_us,
                silent_us,
                failing,
                stuck_us: 0,
                ramp: 1.0,
                load: None,
                ..candidate
            };
        }
        candidate
    }
}
