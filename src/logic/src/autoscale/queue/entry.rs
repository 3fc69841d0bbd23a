//! What is known of one that waits, in one word.

use std::hash::{DefaultHasher, Hash, Hasher};

/// What becomes of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody waits in it.
    Gone,
    Waiting,
    /// It may go: there is room for it, which is its until it has gone.
    Granted,
    /// Another one was put in its place; it is to be refused.
    Dropped,
}

/// How urgent a request is, 0 most to 7 least, as RFC 9218 (extensible priorities for HTTP) numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Urgency(u8);

impl Default for Urgency {
    fn default() -> Self {
        Self(3)
    }
}

impl Urgency {
    pub const LEVELS: usize = 8;

    /// From the value of a variable: a digit, a name, or a `Priority` header of RFC 9218 (`u=1, i`). What is neither is as urgent as most.
    pub fn of(text: &[u8]) -> Self {
        let text = text.trim_ascii();
        match text {
            b"critical" => return Self(0),
            b"high" => return Self(1),
            b"low" => return Self(5),
            b"batch" => return Self(7),
            _ => {}
        }
        let digit = |text: &[u8]| match text {
            [digit @ b'0'..=b'7'] => Some(Self(digit - b'0')),
            _ => None,
        };
        let member = || text.split(|c| *c == b',').find_map(|m| digit(m.trim_ascii().strip_prefix(b"u=")?));
        digit(text).or_else(member).unwrap_or_default()
    }

    pub fn level(self) -> usize {
        self.0.into()
    }
}

/// What a request brings with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub urgency: Urgency,
    /// Whose request it is: see [`flow`].
    pub key: u64,
    /// Memory that it holds.
    pub bytes: u64,
}

/// The key of a flow. The hash changes every half minute, so that two whose keys fall together do so for no longer than that.
pub fn flow(value: &[u8], seed: u64, now_s: u64) -> u64 {
    const TURN_S: u64 = 30;
    let mut hasher = DefaultHasher::new();
    (seed, now_s / TURN_S, value).hash(&mut hasher);
    hasher.finish()
}

const PHASE: u32 = 61;
const LANE: u32 = 47;
const LEVEL: u32 = 44;
const FLOW: u32 = 32;
pub(super) const LANES: usize = 1 << (PHASE - LANE);
pub(super) const MOST_FLOWS: usize = 1 << (LEVEL - FLOW);
/// Arrivals count units of 64 microseconds, which turn after three days.
const UNIT: u32 = 6;

/// A state word, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(pub u64);

impl State {
    pub fn waiting(lane: usize, level: usize, flow: usize, now_us: u64) -> Self {
        let arrival = u64::from((now_us >> UNIT) as u32);
        Self(1 << PHASE | (lane as u64) << LANE | (level as u64) << LEVEL | (flow as u64) << FLOW | arrival)
    }

    pub fn phase(self) -> Phase {
        match self.0 >> PHASE {
            1 => Phase::Waiting,
            2 => Phase::Granted,
            3 => Phase::Dropped,
            _ => Phase::Gone,
        }
    }

    pub fn granted(self) -> Self {
        Self(self.0 & !(7 << PHASE) | 2 << PHASE)
    }

    pub fn dropped(self) -> Self {
        Self(self.0 & !(7 << PHASE) | 3 << PHASE)
    }

    pub fn is_of(self, lane: usize) -> bool {
        self.0 >> PHASE != 0 && (self.0 >> LANE) as usize & (LANES - 1) == lane
    }

    pub fn level(self) -> usize {
        (self.0 >> LEVEL) as usize & (Urgency::LEVELS - 1)
    }

    pub fn flow(self) -> usize {
        (self.0 >> FLOW) as usize & (MOST_FLOWS - 1)
    }

    /// How long it has been there.
    pub fn age_us(self, now_us: u64) -> u64 {
        let age = ((now_us >> UNIT) as u32).wrapping_sub(self.0 as u32);
        // the clock of the worker that put it there may be ahead by a little
        u64::from(if age > u32::MAX / 2 { 0 } else { age }) << UNIT
    }
}
