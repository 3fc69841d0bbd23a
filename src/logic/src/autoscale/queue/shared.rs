//! The memory of all queues, and who may change what in it.

use super::entry::{Entry, Phase, State, LANES, MOST_FLOWS};
use super::order::{Survey, View, FLOW_WORDS};
use super::trend::{Trend, NOTES};
use super::Pace;
use crate::autoscale::metrics::columns::Owner;
use crate::autoscale::metrics::word::{get, low, put, Word};
use std::sync::atomic::fence;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use thiserror::Error;

/// Words in front: how many slots were ever used, with a version.
const HEADER: usize = 8;
const USED: usize = 0;
/// A state, an owner, a size.
const SLOT_WORDS: usize = 3;
const FEWEST_SLOTS: usize = 16;
const SWEEPING: u64 = 1 << 63;
/// The size: bytes, and above them the number of the worker to wake.
const SEAT: u32 = 48;

/// What each queue has beside the slots.
pub const LANE_WORDS: usize = 4 + NOTES;
/// Bit 0: somebody may wait. Above it a count of those who came, so that nobody takes the bit away who has not seen the last.
const FLAG: usize = 0;
const VIRTUAL: usize = 1;
/// How many were let go.
const TURN: usize = 2;
/// When somebody last waited in a queue that stands.
const STOOD: usize = 3;
/// From here on: what had come and gone, now and then.
const TREND: usize = 4;

/// The queue of one upstream: its number, and its own words.
#[derive(Clone, Copy)]
pub struct Lane<'a> {
    number: usize,
    words: &'a [Word],
}

impl<'a> Lane<'a> {
    /// `words` are [`LANE_WORDS`] many.
    pub fn new(number: usize, words: &'a [Word]) -> Option<Self> {
        (number < LANES && words.len() >= LANE_WORDS).then_some(Self { number, words })
    }

    /// Nobody waits, and nobody is on the way.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.words[FLAG].load(Acquire) & 1 == 0
    }

    /// The same for who has just made room, and must not overlook one that has just come.
    #[inline]
    pub fn is_idle_now(&self) -> bool {
        fence(SeqCst);
        self.is_idle()
    }

    fn trend(&self) -> Trend<'a> {
        let (came, gone) = (get(&self.words[FLAG]) >> 1, get(&self.words[TURN]));
        Trend { notes: &self.words[TREND..TREND + NOTES], came, gone }
    }

    fn raise(&self) {
        let next = |flag: u64| Some(((flag >> 1) + 1) << 1 | 1);
        let _ = self.words[FLAG].fetch_update(AcqRel, Acquire, next);
    }
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// The queue takes nobody more.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Full {
    #[error("{0} wait already")]
    Count(u32),
    #[error("{0} bytes wait already")]
    Bytes(u64),
    #[error("the zone has no room for more that wait")]
    Zone,
}

/// How many wait, and how many were told to go and have not gone yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub waiting: u32,
    pub granted: u32,
}

/// How many of each flow of one queue wait, for one look at all of them: counted when it is asked for the first time.
#[derive(Default)]
pub struct Crowd(Vec<u32>);

impl Crowd {
    fn of_flow(&mut self, view: &View<'_>, flow: usize) -> &mut u32 {
        if self.0.is_empty() {
            self.0.resize(MOST_FLOWS, 0);
            view.waiting().for_each(|(_, state)| self.0[state.flow()] += 1);
        }
        &mut self.0[flow]
    }
}

/// Somebody else's slot in which something has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub slot: Slot,
    /// The process whose it is, and its number among the workers.
    pub owner: Owner,
    pub seat: u16,
}

/// The queues over their words. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Queues<'a> {
    used: &'a Word,
    states: &'a [Word],
    owners: &'a [Word],
    sizes: &'a [Word],
    flows: &'a [Word],
}

impl<'a> Queues<'a> {
    /// `None` when there is too little memory. The same memory gives the same places to everybody.
    pub fn over(words: &'a [Word]) -> Option<Self> {
        let (header, rest) = words.split_at_checked(HEADER)?;
        let flows = (rest.len() / 8).checked_ilog2().map_or(1, |bits| 1usize << bits).min(MOST_FLOWS);
        let slots = rest.len().checked_sub(flows * FLOW_WORDS)? / SLOT_WORDS;
        if slots < FEWEST_SLOTS {
            return None;
        }
        let (flows, rest) = rest.split_at(flows * FLOW_WORDS);
        let (states, rest) = rest.split_at(slots);
        let (owners, rest) = rest.split_at(slots);
        Some(Self { used: &header[USED], states, owners, sizes: &rest[..slots], flows })
    }

    /// How many can wait, of all upstreams.
    pub fn slots(&self) -> usize {
        self.states.len()
    }

    fn used(&self) -> usize {
        (low(self.used.load(Acquire)) as usize).min(self.states.len())
    }

    fn view<'v>(&self, lane: &Lane<'v>) -> View<'v>
    where
        'a: 'v,
    {
        View {
            states: &self.states[..self.used()],
            flows: self.flows,
            lane: lane.number,
            stood: &lane.words[STOOD],
            trend: lane.trend(),
        }
    }

    fn grant_of(&self, slot: usize) -> Grant {
        let owner = Owner::of(self.owners[slot].load(Acquire) & !SWEEPING);
        Grant { slot: Slot(slot as u32), owner, seat: (get(&self.sizes[slot]) >> SEAT) as u16 }
    }

    /// How many of this queue there are.
    pub fn pressure(&self, lane: &Lane<'_>) -> Pressure {
        let Survey { waiting, granted, .. } = self.view(lane).survey();
        Pressure { waiting, granted }
    }

    /// Puts a request of worker number `seat` into the queue. Whoever had to go for it is named, for its worker to be woken.
    pub fn enter(
        &self,
        lane: &Lane<'_>,
        (me, seat): (Owner, u16),
        entry: &Entry,
        (most, most_bytes): (u32, u64),
        now_us: u64,
    ) -> Result<(Slot, Option<Grant>), Full> {
        let view = self.view(lane);
        let flow = view.flow_of(entry.key, entry.urgency);
        let (mut waiting, mut bytes, mut of_flow) = (0, 0, 0);
        for (slot, state) in view.waiting() {
            waiting += 1;
            bytes += self.bytes(slot);
            of_flow += u32::from(state.flow() == flow);
        }
        let (too_many, too_much) = (waiting >= most, bytes + entry.bytes > most_bytes);
        let mut dropped = None;
        if too_many || too_much {
            let full = if too_many { Full::Count(waiting) } else { Full::Bytes(bytes) };
            let (victim, state) = view
                .victim(entry.urgency.level(), flow, now_us)
                .filter(|(slot, _)| bytes - self.bytes(*slot).min(bytes) + entry.bytes <= most_bytes)
                .filter(|_| waiting <= most)
                .ok_or(full)?;
            let taken = self.states[victim].compare_exchange(state.0, state.dropped().0, AcqRel, Acquire);
            dropped = taken.is_ok().then(|| self.grant_of(victim));
        }
        let slot = self.claim(me).ok_or(Full::Zone)?;
        if of_flow == 0 {
            view.emptied(flow);
        }
        put(&self.sizes[slot], u64::from(seat) << SEAT | entry.bytes.min((1 << SEAT) - 1));
        let state = State::waiting(lane.number, entry.urgency.level(), flow, now_us);
        self.states[slot].store(state.0, Release);
        lane.raise();
        fence(SeqCst);
        Ok((Slot(slot as u32), dropped))
    }

    fn bytes(&self, slot: usize) -> u64 {
        get(&self.sizes[slot]) & ((1 << SEAT) - 1)
    }

    /// The lowest free slot, so that few have to be looked at.
    fn claim(&self, me: Owner) -> Option<usize> {
        let free =
            |owner: &Word| get(owner) == 0 && owner.compare_exchange(0, me.word(), AcqRel, Relaxed).is_ok();
        let slot = self.owners.iter().position(free)?;
        let more = |used: u64| {
            let seen = low(used) as usize;
            Some(((used >> 32) + 1) << 32 | seen.max(slot + 1) as u64)
        };
        let _ = self.used.fetch_update(AcqRel, Acquire, more);
        Some(slot)
    }

    /// Lets the next one of the queue go if there is `room`, for one that has so many behind it, for one more than those who were let go
    /// already. To be called until it says nobody.
    pub fn grant(
        &self,
        lane: &Lane<'_>,
        now_us: u64,
        pace: &Pace,
        mut room: impl FnMut(u32) -> u32,
    ) -> Option<Grant> {
        loop {
            let flag = lane.words[FLAG].load(Acquire);
            if flag & 1 == 0 {
                return None;
            }
            let turn = lane.words[TURN].load(Acquire);
            let view = self.view(lane);
            view.trend.note(pace, now_us);
            let survey = view.survey();
            if survey.waiting == 0 {
                if survey.granted == 0 {
                    let _ = lane.words[FLAG].compare_exchange(flag, flag & !1, AcqRel, Relaxed);
                }
                return None;
            }
            if room(survey.waiting - 1) <= survey.granted {
                return None;
            }
            let virtual_time = get(&lane.words[VIRTUAL]);
            let Some(choice) = view.choose(&survey, turn, virtual_time, now_us, pace) else { continue };
            // one at a time: whoever comes second looks again
            if lane.words[TURN].compare_exchange(turn, turn + 1, AcqRel, Acquire).is_err() {
                continue;
            }
            let (slot, state) = (choice.slot, choice.state);
            if self.states[slot].compare_exchange(state.0, state.granted().0, AcqRel, Acquire).is_err() {
                continue;
            }
            view.charge(&choice);
            lane.words[VIRTUAL].fetch_max(choice.virtual_time, Relaxed);
            return Some(self.grant_of(slot));
        }
    }

    /// What has become of a slot.
    #[inline]
    pub fn phase(&self, slot: Slot) -> Phase {
        State(self.states[slot.0 as usize].load(Acquire)).phase()
    }

    /// Whether one has waited for longer than it may; the crowd is without it then.
    pub fn is_overdue(
        &self,
        (lane, crowd): (&Lane<'_>, &mut Crowd),
        slot: Slot,
        timeout_us: u64,
        now_us: u64,
        pace: &Pace,
    ) -> bool {
        let state = State(self.states[slot.0 as usize].load(Acquire));
        let (age, view) = (state.age_us(now_us), self.view(lane));
        let stands = || age >= pace.target_us() && view.stands(state.flow(), age, now_us, pace);
        if age < timeout_us && !stands() {
            return false;
        }
        let of_flow = crowd.of_flow(&view, state.flow());
        // one that is alone stands in nobody's way
        let is_overdue = age >= timeout_us || *of_flow > 1;
        *of_flow = of_flow.saturating_sub(u32::from(is_overdue));
        is_overdue
    }

    /// Takes back one that waits; false when it was let go, or dropped, meanwhile.
    pub fn withdraw(&self, slot: Slot) -> bool {
        let word = &self.states[slot.0 as usize];
        let state = State(word.load(Acquire));
        let is_out =
            state.phase() == Phase::Waiting && word.compare_exchange(state.0, 0, AcqRel, Relaxed).is_ok();
        if is_out {
            self.owners[slot.0 as usize].store(0, Release);
        }
        is_out
    }

    /// Gives a slot of one's own back.
    pub fn leave(&self, slot: Slot) {
        self.states[slot.0 as usize].store(0, Release);
        self.owners[slot.0 as usize].store(0, Release);
    }

    /// Makes sure that nobody takes the queue for empty while the caller waits in it.
    pub fn insist(&self, lane: &Lane<'_>) {
        if lane.is_idle() {
            lane.raise();
        }
    }

    /// Gives back what the dead had, and says how many slots those were. A sweeper that dies midway is swept itself.
    pub fn sweep(&self, me: Owner, alive: impl Fn(Owner) -> bool) -> usize {
        let mut asked: Option<(u64, bool)> = None;
        let mut is_dead = |word: u64| match asked {
            Some((owner, dead)) if owner == word => dead,
            _ => {
                let dead = word != SWEEPING | me.word() && !alive(Owner::of(word & !SWEEPING));
                asked = Some((word, dead));
                dead
            }
        };
        let mut swept = 0;
        for slot in 0..self.owners.len() {
            let owner = self.owners[slot].load(Acquire);
            if owner != 0 && is_dead(owner) {
                swept += usize::from(self.clear(slot, owner, me));
            }
        }
        swept
    }

    /// Gives back all that is the caller's: it exits.
    pub fn release(&self, me: Owner) {
        for slot in 0..self.owners.len() {
            if self.owners[slot].load(Acquire) == me.word() {
                self.clear(slot, me.word(), me);
            }
        }
    }

    fn clear(&self, slot: usize, owner: u64, me: Owner) -> bool {
        let mark = SWEEPING | me.word();
        if self.owners[slot].compare_exchange(owner, mark, AcqRel, Acquire).is_err() {
            return false;
        }
        self.states[slot].store(0, Release);
        self.owners[slot].compare_exchange(mark, 0, AcqRel, Acquire).is_ok()
    }
}
