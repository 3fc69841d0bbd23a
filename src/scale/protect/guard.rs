//! One protected upstream, as a worker knows it.

use core::cell::Cell;

use logic::autoscale::balance::{Choice, CLEARLY};
use logic::autoscale::limit::Learnt;
use logic::autoscale::metrics::series::{Peer, Series, Time, Upstream as Group};
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{of_peer, of_upstream, Tenant, Zone};
use logic::autoscale::metrics::Now;
use logic::autoscale::queue::{flow, retry, Entry, Lane, Pace, Settings, Urgency};

use super::refusal::Refusals;
use super::Shell;
use crate::conf::Protect as Conf;
use crate::ngx::{Request, Upstream};
use crate::scale::balance::{Team, FEW_COLUMNS};
use crate::scale::fleet::Fleet;

/// What is measured is looked at so often.
const PACE_US: u64 = 100_000;
/// A pause in which nothing is done is none if it is shorter.
const GRACE_US: f64 = 10_000.0;
/// Seconds over which the drain is measured.
const DRAIN_S: u64 = 5;

pub struct Guard {
    pub name: Box<str>,
    pub settings: Settings,
    pub lane: Lane<'static>,
    pub refusals: Refusals,
    upstream: Upstream,
    pub entry: Ref<Group>,
    pace: Cell<(u64, Pace)>,
    /// Some peers are much slower than others.
    is_uneven: Cell<bool>,
    /// The peer that had room last, so that the next request begins there.
    hint: Cell<usize>,
}

/// What the upstream's configuration says.
pub fn conf(upstream: &Upstream) -> Option<&Conf> {
    upstream.conf()?.upstream.protect.as_ref()
}

/// Whether the limits of an upstream's peers are learnt.
pub fn learns(upstream: &Upstream) -> bool {
    conf(upstream).is_some_and(|conf| conf.settings.limit.is_none())
}

impl Guard {
    pub fn new(name: &str, upstream: Upstream, entry: Ref<Group>, zone: &Zone<'static>) -> Option<Self> {
        let settings = conf(&upstream)?.settings.clone();
        let lane = Lane::new(entry.index(), &zone.side(entry)?[of_upstream::QUEUE])?;
        Some(Self {
            name: name.into(),
            settings,
            lane,
            refusals: Refusals::default(),
            upstream,
            entry,
            pace: Cell::default(),
            is_uneven: Cell::new(false),
            hint: Cell::new(0),
        })
    }

    /// Whether limits are learnt.
    #[inline]
    pub fn learns(&self) -> bool {
        self.settings.limit.is_none()
    }

    /// Whether there is room for one more at all.
    #[inline]
    pub fn has_room(&self, shell: &Shell, number: usize, now: Now) -> bool {
        match self.settings.limit {
            // streams are looked for only when they may matter
            Some(limit) => {
                shell.zone.levels(self.entry).active < limit || self.room(shell, number, 0, now) > 0
            }
            None => {
                let Some(fleet) = shell.fleet(number) else { return true };
                let is_choosy = self.is_choosy(shell, fleet, now);
                let looks_anyway = fleet.balance().is_some() && shell.zone.columns().used() <= FEW_COLUMNS;
                if is_choosy || looks_anyway {
                    return !fleet.should_wait(&shell.zone, is_choosy.then_some(0), shell.random(), now);
                }
                let team = fleet.team(&shell.zone, || now);
                // most often the one that had room last
                let last = team.primary(self.hint.get(), &shell.zone, now);
                last.is_some_and(|(peer, most)| room_at(&shell.zone, peer, most, now) > 0)
                    || self.finds_room(shell, &team, now)
            }
        }
    }

    #[inline(never)]
    fn finds_room(&self, shell: &Shell, team: &Team, now: Now) -> bool {
        let (mut any, mut found) = (false, false);
        let hint = team.each_eligible(&shell.zone, now, self.hint.get(), |peer, most| {
            any = true;
            found = room_at(&shell.zone, peer, most, now) > 0;
            !found
        });
        self.hint.set(hint);
        found || !any
    }

    /// For how many more there is room, as the one sees it that has `ahead` of it, or behind it: a peer that is much slower than the
    /// others is for long queues only.
    pub fn room(&self, shell: &Shell, number: usize, ahead: u32, now: Now) -> u32 {
        let Some(fleet) = shell.fleet(number) else { return u32::MAX };
        let zone = &shell.zone;
        if let Some(limit) = self.settings.limit {
            let mut streams = 0;
            let active = zone.levels(self.entry).active;
            if active >= limit {
                fleet.team(zone, || now).each(zone, |peer| streams += zone.streams(peer));
            }
            return limit.saturating_sub(active.saturating_sub(streams));
        }
        let team = fleet.team(zone, || now);
        // where it does not pay to go to a slow peer, its room is none: it would be given to somebody while the room of a fast one, given to
        // somebody else a moment ago, still seems to be there
        let mut slowest = f32::INFINITY;
        if self.is_choosy(shell, fleet, now) {
            match fleet.foresee(&team, zone, Some(ahead), (shell.random(), now)) {
                Choice::Wait => return 0,
                Choice::Peer(i) => {
                    let us = service_us(zone, team.entry(i, zone), now);
                    slowest = us.map_or(f32::INFINITY, |us| us * CLEARLY);
                }
                Choice::Nobody => {}
            }
        }
        let (mut any, mut room) = (false, 0u32);
        team.each_eligible(zone, now, 0, |peer, most| {
            any = true;
            if peer.is_none_or(|peer| peer.learnt().room(now).service_us <= slowest) {
                room = room.saturating_add(room_at(zone, peer, most, now));
            }
            true
        });
        // where nobody takes requests, nobody is to be protected: nginx answers
        if any {
            room
        } else {
            u32::MAX
        }
    }

    /// Whether it may pay to wait for a faster peer: some are much slower than others, and something is done every now and then. Where
    /// nothing is any more, the faster ones may hang.
    #[inline]
    fn is_choosy(&self, shell: &Shell, fleet: &Fleet, now: Now) -> bool {
        self.is_uneven.get() && fleet.balance().is_some() && {
            let last_us = shell.zone.series(self.entry).map_or(0, |series| series.last_us());
            f64::from(now.since(last_us)) < 2.0 * self.pace.get().1.service_us + GRACE_US
        }
    }

    /// How fast it serves, as of the last tenth of a second.
    pub fn pace(&self, shell: &Shell, number: usize, now: Now) -> Pace {
        let (then, pace) = self.pace.get();
        if now.us.saturating_sub(then) < PACE_US {
            return pace;
        }
        let service_us = shell.zone.series(self.entry).and_then(|series| series.ewma(Time::Latency));
        let inflight = shell.zone.levels(self.entry).active;
        let pace = Pace { service_us: service_us.map_or(0.0, f64::from), inflight };
        self.pace.set((now.us, pace));
        self.is_uneven.set(self.learns() && self.unevenness(shell, number, now) > CLEARLY);
        pace
    }

    /// By how much the slowest peer is slower than the fastest.
    fn unevenness(&self, shell: &Shell, number: usize, now: Now) -> f32 {
        let Some(fleet) = shell.fleet(number) else { return 1.0 };
        let (mut least, mut most) = (f32::MAX, 0f32);
        fleet.team(&shell.zone, || now).each(&shell.zone, |peer| {
            if let Some(us) = service_us(&shell.zone, peer, now) {
                (least, most) = (least.min(us), most.max(us));
            }
        });
        most / least
    }

    /// How many it has served a second of late.
    pub fn served_per_s(&self, shell: &Shell, now: Now) -> f64 {
        let series = shell.zone.series(self.entry).zip(Series::<Group>::span(now, DRAIN_S));
        series.map_or(0.0, |(series, span)| series.window(span).finished() as f64 / DRAIN_S as f64)
    }

    /// What a request that must wait brings with it.
    pub fn entry_of(&self, request: Request, zone: &Zone<'_>, now: Now) -> Entry {
        let conf = conf(&self.upstream);
        let value = |path: Option<&crate::ngx::Path>| {
            path.and_then(|path| path.eval(&request)).unwrap_or(b"").to_vec()
        };
        let priority = value(conf.and_then(|conf| conf.priority.as_ref()));
        let fair = value(conf.and_then(|conf| conf.fair.as_ref()));
        Entry {
            urgency: Urgency::of(&priority),
            key: flow(&fair, zone.born_us(), now.s()),
            bytes: request.bytes_in_memory(),
        }
    }

    /// Whether the budget has a retry left.
    pub fn may_retry(&self, shell: &Shell, now: Now) -> bool {
        let Some(share) = self.settings.retry_budget else { return true };
        let series = shell.zone.series(self.entry).zip(Series::<Group>::span(now, retry::WINDOW_S));
        let allowed = series.is_none_or(|(series, span)| {
            let window = series.window(span);
            retry::allows(share, window.arrived, window.retries)
        });
        if !allowed {
            self.refusals.spent(&self.name, now);
        }
        allowed
    }
}

/// How long one takes there, in microseconds, as far as that was learnt.
fn service_us(zone: &Zone<'_>, peer: Ref<Peer>, now: Now) -> Option<f32> {
    let us = Learnt::over(&zone.side(peer)?[of_peer::LIMIT]).room(now).service_us;
    (us > 0.0).then_some(us)
}

/// For how many more there is room at a peer; `most` is how many it may have in flight, 0 any number. Streams count there, as they do when
/// a peer is chosen, but hold no place of those that were learnt.
#[inline]
fn room_at(zone: &Zone<'_>, peer: Option<Tenant<'_>>, most: u32, now: Now) -> u32 {
    let Some(peer) = peer else { return 1 };
    let columns = zone.columns();
    let levels = peer.levels(&columns, columns.used());
    let room = peer.learnt().limit(now).saturating_sub(levels.occupied());
    if most > 0 {
        room.min(most.saturating_sub(levels.active))
    } else {
        room
    }
}
