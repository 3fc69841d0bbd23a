//! One peer of a team, and what is said of it.

use core::cell::Cell;

use logic::autoscale::balance::Standing;
use logic::autoscale::metrics::columns::Levels;
use logic::autoscale::metrics::series::Peer;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{Health, State, Tenant, Terms, Zone};
use logic::autoscale::metrics::Now;

use crate::ngx::{Listed, OwnAddress};

/// One of a team.
pub struct Seat {
    pub addr: Box<[u8]>,
    /// `None` where the zone has no place for it.
    pub(super) tenant: Cell<Option<Tenant<'static>>>,
    pub backup: bool,
    pub(super) place: Place,
    /// What other workers had in flight here, and in which millisecond.
    pub(super) elsewhere: Cell<(u32, Levels)>,
    /// What was said of it when somebody last looked.
    pub(super) said: Cell<Said>,
    /// What it costs as long as what is said holds.
    pub(super) standing: Cell<Standing>,
    /// When it was seen last that nothing is to be sent to it; 0 when it takes requests.
    pub(super) out_us: Cell<u64>,
}

/// What is said of a peer, and changes rarely.
#[derive(Clone, Copy, Default)]
pub struct Said {
    /// The zone's number of what was said so far, and the time, until which this holds. Where only time changes something, it does not
    /// hold at all.
    pub(super) controls: u64,
    pub(super) until_us: u64,
    pub weight: u16,
    /// 0 is no limit.
    pub limit: u32,
    pub state: State,
    pub health: Health,
    /// It is up and well, there is no limit, and it starts as slowly as the others.
    pub(super) is_plain: bool,
}

/// Whoever dies between a change and telling that there is one is found out after this time.
pub(super) const SAID_US: u64 = 1 << 16;

impl Said {
    #[inline]
    pub(super) fn takes(&self) -> bool {
        self.state == State::Up && self.health != Health::Ejected
    }

    /// It is plain, and that holds still.
    #[inline]
    pub(super) fn is_plain_at(&self, controls: u64, now: Now) -> bool {
        self.is_plain && self.controls == controls && now.us < self.until_us
    }
}

pub(super) enum Place {
    /// Its number in the roster.
    Listed(usize),
    Added(OwnAddress, Terms),
}

impl Place {
    /// What was said where it was added.
    #[inline]
    pub(super) fn terms(&self) -> Terms {
        match self {
            Self::Listed(_) => Terms::default(),
            Self::Added(_, terms) => *terms,
        }
    }
}

/// Where nginx has to connect.
pub enum Seated<'a> {
    Listed(Listed<'a>),
    Added(&'a OwnAddress),
}

impl Seat {
    pub(super) fn new(
        addr: Box<[u8]>,
        entry: Ref<Peer>,
        place: Place,
        backup: bool,
        zone: &Zone<'static>,
    ) -> Seat {
        let (elsewhere, said, standing, out_us) = Default::default();
        let tenant = Cell::new(zone.tenant(entry));
        Seat { addr, tenant, backup, place, elsewhere, said, standing, out_us }
    }

    /// Its entry in the zone, as it was when somebody last looked.
    #[inline]
    pub(super) fn entry(&self) -> Ref<Peer> {
        self.tenant.get().map_or(Ref::NONE, |tenant| tenant.entry())
    }
}
