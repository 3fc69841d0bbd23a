//! The peers of an upstream as its balancing sees them: nginx's own, and those that were added while it runs.

mod seat;
mod team;
mod tried;
mod view;

use std::rc::Rc;

use logic::autoscale::balance::{Ended, Memory};
use logic::autoscale::metrics::flight::Flight;
use logic::autoscale::metrics::series::Peer;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{of_peer, Zone};
use logic::autoscale::metrics::Now;

use super::fleet::Fleet;
use super::Shell;
use crate::ngx::{clock, Request};

pub use seat::Seated;
pub use team::Team;
pub use tried::Tried;
pub use view::{View, FEW_COLUMNS};

/// What the rule keeps of a peer.
#[inline]
pub fn memory<'z>(zone: &Zone<'z>, entry: Ref<Peer>) -> Option<Memory<'z>> {
    Some(Memory::over(&zone.side(entry)?[of_peer::BALANCE]))
}

/// A load as a peer reports it: `0.7`, or `70%`.
pub fn load(text: &[u8]) -> Option<f32> {
    let text = core::str::from_utf8(text).ok()?.trim();
    match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse::<f32>().ok().map(|load| load / 100.0),
        None => text.parse().ok(),
    }
}

/// What the method asks a worker.
impl Shell {
    /// Who can be chosen of upstream `number`.
    #[inline]
    pub fn team(&self, number: usize) -> Option<Rc<Team>> {
        Some(self.fleet(number)?.team(&self.zone, clock::monotonic))
    }

    /// The number, in its team, of the best peer for the next attempt at upstream `number`.
    #[inline]
    pub fn choose(&self, number: usize, team: &Team, tried: &Tried) -> Option<usize> {
        let fleet = self.fleet(number)?;
        if let Some(found) = fleet.found(team).filter(|i| !tried.has(*i)) {
            return Some(found);
        }
        let asks = (self.worker, self.random(), clock::monotonic());
        fleet.pick(team, &self.zone, tried, asks)
    }

    /// Whether peer `i` of that team may be had for it.
    #[cfg(upstream_sid)]
    pub fn suits(&self, number: usize, team: &Team, tried: &Tried, i: usize) -> bool {
        let asks = (self.worker, clock::monotonic());
        self.fleet(number).is_some_and(|fleet| fleet.view(team, &self.zone, tried, asks).suits(i))
    }

    /// An attempt at a peer of upstream `number` has begun: which one in its row the try is there, for [`Protect::learn`]; 0 when nothing is
    /// to be learnt.
    ///
    /// [`Protect::learn`]: super::protect::Protect::learn
    #[inline]
    pub fn begun(&self, number: usize, flight: &Flight<'_>) -> u32 {
        let learns = self.protect.learns(number);
        let is_balanced = self.fleet(number).and_then(Fleet::balance).is_some();
        let peer = flight.peer().filter(|_| is_balanced || learns);
        let Some(tenant) = peer.and_then(|peer| self.zone.tenant(peer)) else { return 0 };
        let (columns, now) = (self.zone.columns(), Now::from_us(flight.tried_us()));
        let (used, memory) = (columns.used(), tenant.memory());
        // with many columns the sum is dear: who has just answered is not asked
        let is_news = is_balanced && (used <= FEW_COLUMNS || !memory.has_just_answered(now));
        if !is_news && !learns {
            return 0;
        }
        let levels = tenant.levels(&columns, used);
        if is_news {
            memory.begun(now, levels.waiting);
        }
        if learns {
            levels.occupied()
        } else {
            0
        }
    }

    /// An attempt at a peer of upstream `number` is over.
    #[inline]
    pub fn learn(&self, number: usize, peer: Ref<Peer>, ended: Ended, now: Now) {
        let Some(balance) = self.fleet(number).and_then(Fleet::balance) else { return };
        if let Some(memory) = memory(&self.zone, peer) {
            memory.ended(&balance.settings, now, ended);
        }
    }

    /// A peer of upstream `number` has answered; where the answer says how busy it is, that is kept.
    #[inline]
    pub fn heed(&self, number: usize, peer: Ref<Peer>, request: Request, now: Now) {
        let Some(balance) = self.fleet(number).and_then(Fleet::balance) else { return };
        let Some(memory) = memory(&self.zone, peer) else { return };
        memory.answered(now);
        if let Some(load) = balance.feedback.as_ref().and_then(|feedback| load(feedback.eval(&request)?)) {
            memory.report(now, load);
        }
    }
}
