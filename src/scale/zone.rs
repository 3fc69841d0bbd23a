//! The zone of the configuration, and its memory.

use core::cell::{Cell, OnceCell};
use std::rc::Rc;

use logic::autoscale::metrics::series::Name;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{Layout, OpenError, TooSmall, Zone};

use super::StateFile;
use crate::ngx::{clock, process, Zone as Memory, ZoneUser};

/// Workers that have a column of in-flight counts each, those that drain after a reload included.
const WORKERS: usize = 32;

/// `autoscale_zone`
pub struct ZoneConf {
    pub name: String,
    /// Seconds between two ticks.
    pub tick_s: u64,
    keys: usize,
    workers: Option<process::Workers>,
    /// `state=`
    pub state: Option<StateFile>,
    /// The memory is new: nothing is remembered.
    pub is_new: Cell<bool>,
    zone: OnceCell<Zone<'static>>,
}

impl ZoneConf {
    /// Refuses a size that cannot hold what every zone must.
    pub fn new(
        name: &str,
        bytes: usize,
        tick_s: u64,
        keys: usize,
        workers: Option<process::Workers>,
        state: Option<StateFile>,
    ) -> Result<ZoneConf, TooSmall> {
        // nginx keeps some of the memory for itself: a header, and 32 bytes a page
        let overhead = |bytes: usize| bytes / 100 + 16 * 1024;
        Layout::plan(bytes.saturating_sub(overhead(bytes)), keys, WORKERS).map_err(|e| {
            let need = e.need + overhead(e.need);
            TooSmall { have: bytes, need: need.next_multiple_of(64 * 1024), ..e }
        })?;
        let (is_new, zone) = (Cell::new(false), OnceCell::new());
        Ok(ZoneConf { name: name.to_owned(), tick_s, keys, workers, state, is_new, zone })
    }

    /// The zone, once its memory is there.
    pub fn zone(&self) -> Option<&Zone<'static>> {
        self.zone.get()
    }

    /// How many workers the configuration asks for.
    pub fn workers(&self) -> usize {
        self.workers.as_ref().map_or(1, process::Workers::count).max(1)
    }

    fn open(&self, memory: Memory) -> Result<Zone<'static>, String> {
        let words = memory.words();
        // so that a configuration with more workers has a column for each worker twice over; steps of 32, so that a
        // reload with a few workers more finds the layout unchanged
        let workers = (2 * self.workers()).next_multiple_of(WORKERS);
        let name = &self.name;
        let layout = Layout::plan(size_of_val(words), self.keys, workers)
            .map_err(|e| format!("zone \"{name}\": {e}"))?;
        match Zone::open(words, &layout) {
            Ok(zone) => Ok(zone),
            Err(OpenError::Blank) => {
                self.is_new.set(true);
                let now = clock::monotonic();
                Ok(Zone::create(words, &layout, now.us ^ u64::from(std::process::id()) << 32, now))
            }
            Err(e @ OpenError::Foreign) => {
                Err(format!("zone \"{name}\": {e}: give it another name or size, or restart nginx"))
            }
        }
    }
}

impl ZoneUser for Rc<ZoneConf> {
    fn init(&self, memory: Memory, _: Option<&Self>) -> Result<(), String> {
        // set once a cycle; a second call would bring the same memory
        let _ = self.zone.set(self.open(memory)?);
        Ok(())
    }
}

/// The name of an `autoscale_key`, for all locations that use it.
pub struct KeyConf {
    pub name: String,
    pub top: Cell<usize>,
    /// Its entry in the zone, found when the worker starts.
    pub entry: Cell<Option<Ref<Name>>>,
}
