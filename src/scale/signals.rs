//! The signals that scripts of this worker read: each is parsed and looked up once.

use core::cell::RefCell;
use std::collections::HashMap;

use logic::autoscale::metrics::zone::Zone;
use logic::autoscale::metrics::Now;
use logic::autoscale::read::{Reading, Resolved};
use logic::autoscale::signal::Signal;

/// Signals that are kept; beyond, the one that was met longest ago goes.
const MOST: usize = 512;

/// What becomes of reading a signal.
pub enum Answer {
    Value(Reading),
    /// A name in it is not known, or not any more.
    Unknown(String),
    /// The number is of a signal that was given up.
    Stale,
}

/// Signals by number. A number is never used twice, so one that Lua still holds cannot mean another signal.
pub struct Signals {
    tick_s: u32,
    kept: RefCell<Kept>,
}

#[derive(Default)]
struct Kept {
    slots: Vec<Slot>,
    numbers: HashMap<Box<str>, u32>,
    next: u32,
}

struct Slot {
    number: u32,
    text: Box<str>,
    signal: Signal,
    found: Result<Resolved, String>,
    /// [`Zone::changes`] when the names were looked up.
    changes: u64,
}

impl Slot {
    fn look_up(&mut self, zone: &Zone<'_>, tick_s: u32) {
        self.changes = zone.changes();
        self.found = self.signal.resolve(zone, tick_s).map_err(|e| e.to_string());
    }
}

impl Signals {
    pub fn new(tick_s: u64) -> Signals {
        Signals { tick_s: u32::try_from(tick_s).unwrap_or(1), kept: RefCell::default() }
    }

    /// The number of a signal. The error says what is wrong with its text.
    pub fn number(&self, zone: &Zone<'_>, text: &[u8]) -> Result<u32, String> {
        let text = core::str::from_utf8(text).map_err(|_| "a signal is text in UTF-8".to_owned())?;
        let mut kept = self.kept.borrow_mut();
        if let Some(number) = kept.numbers.get(text) {
            return Ok(*number);
        }
        let signal = text.parse::<Signal>().map_err(|e| e.to_string())?;
        let number = kept.next;
        // numbers go to Lua as int32
        kept.next = (number + 1) & 0x7fff_ffff;
        let mut slot =
            Slot { number, text: text.into(), signal, found: Err(String::new()), changes: zone.changes() };
        slot.look_up(zone, self.tick_s);
        kept.numbers.insert(text.into(), number);
        let place = number as usize % MOST;
        if place < kept.slots.len() {
            let before = core::mem::replace(&mut kept.slots[place], slot);
            kept.numbers.remove(&before.text);
        } else {
            kept.slots.push(slot);
        }
        Ok(number)
    }

    /// The value now.
    pub fn read(&self, zone: &Zone<'_>, number: u32, now: Now) -> Answer {
        let mut kept = self.kept.borrow_mut();
        let slot = kept.slots.get_mut(number as usize % MOST).filter(|s| s.number == number);
        let Some(slot) = slot else { return Answer::Stale };
        if let Ok(Ok(reading)) = slot.found.as_ref().map(|found| found.read(zone, now)) {
            return Answer::Value(reading);
        }
        // it was not there, or is gone: perhaps it has come (again)
        if slot.found.is_ok() || slot.changes != zone.changes() {
            slot.look_up(zone, self.tick_s);
        }
        match &slot.found {
            Ok(found) => {
                found.read(zone, now).map_or_else(|gone| Answer::Unknown(gone.to_string()), Answer::Value)
            }
            Err(why) => Answer::Unknown(why.clone()),
        }
    }
}
