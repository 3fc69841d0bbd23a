//! Who is next, and who has to go.

use super::entry::{Phase, State, Urgency, LANES, MOST_FLOWS};
use super::trend::Trend;
use super::Pace;
use crate::autoscale::metrics::word::{get, put, Word};
use std::cmp::Reverse;
use std::sync::atomic::Ordering::Acquire;

/// Words of a flow: when what it was served last ends in virtual time, and whether its queue stands. Both are marked with the number of
/// the queue, because flows of all queues share them.
pub(super) const FLOW_WORDS: usize = 2;
const FINISH: usize = 0;
const STANDS: usize = 1;
/// That a queue stands is written down every eighth of a second.
const STOOD_UNIT: u32 = 17;
const MARK: u32 = 64 - LANES.ilog2();
/// One grant of so many goes round the urgencies that wait.
const ROUND_EVERY: u64 = 16;
/// A flow is no further ahead of its queue than its start, and a little more while several workers let go at the same moment.
const FAR_AHEAD: u64 = 64;
/// Whoever waits longest goes first, as long as its flow has not had so many more than the others, or fewer: see [`View::head_start`].
const HEAD_START: u64 = 32;

/// All states, and all flows, as one queue sees them.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub states: &'a [Word],
    pub flows: &'a [Word],
    pub lane: usize,
    /// When a flow of the queue was last seen to stand.
    pub stood: &'a Word,
    pub trend: Trend<'a>,
}

/// What there is of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    pub waiting: u32,
    pub granted: u32,
    /// A bit for each level that waits.
    levels: u8,
}

/// One that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub slot: usize,
    pub state: State,
    /// When its service starts in virtual time.
    pub start: u64,
    /// The first service of all that wait starts then.
    pub virtual_time: u64,
}

impl<'a> View<'a> {
    /// Those of this queue.
    pub fn all(&self) -> impl Iterator<Item = (usize, State)> + use<'a> {
        let lane = self.lane;
        let states = self.states.iter().enumerate().map(|(slot, word)| (slot, State(word.load(Acquire))));
        states.filter(move |(_, state)| state.is_of(lane))
    }

    pub fn waiting(&self) -> impl Iterator<Item = (usize, State)> + use<'a> {
        self.all().filter(|(_, state)| state.phase() == Phase::Waiting)
    }

    pub fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        for (_, state) in self.all() {
            match state.phase() {
                Phase::Waiting => {
                    survey.waiting += 1;
                    survey.levels |= 1 << state.level();
                }
                Phase::Granted => survey.granted += 1,
                Phase::Gone | Phase::Dropped => {}
            }
        }
        survey
    }

    /// Where a key of this urgency is counted.
    pub fn flow_of(&self, key: u64, urgency: Urgency) -> usize {
        let mix =
            (key ^ (self.lane as u64) << 32 ^ urgency.level() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mix >> 40) as usize % (self.flows.len() / FLOW_WORDS).max(1)
    }

    fn flow(&self, flow: usize, word: usize) -> u64 {
        let seen = self.flows.get(flow * FLOW_WORDS + word).map_or(0, get);
        if seen >> MARK == self.lane as u64 {
            seen & ((1 << MARK) - 1)
        } else {
            0
        }
    }

    fn set_flow(&self, flow: usize, word: usize, value: u64) {
        if let Some(place) = self.flows.get(flow * FLOW_WORDS + word) {
            put(place, (self.lane as u64) << MARK | value & ((1 << MARK) - 1));
        }
    }

    /// Nothing of the flow waits at this moment.
    pub fn emptied(&self, flow: usize) {
        if self.flow(flow, STANDS) != 0 {
            self.set_flow(flow, STANDS, 0);
        }
    }

    /// Whether the flow's queue stands: one of it has been seen that had waited for too long while more came than went, and it has not been
    /// empty since then.
    pub fn stands(&self, flow: usize, age_us: u64, now_us: u64, pace: &Pace) -> bool {
        let stands = self.flow(flow, STANDS) != 0;
        if !stands && !self.begins_to_stand(age_us, now_us, pace) {
            return false;
        }
        if !stands {
            self.set_flow(flow, STANDS, 1);
        }
        if get(self.stood) >> STOOD_UNIT != now_us >> STOOD_UNIT {
            put(self.stood, now_us);
        }
        true
    }

    /// One that waits for too long may be of a burst that is being worked off: then it waits longer. Not where it was overload lately.
    fn begins_to_stand(&self, age_us: u64, now_us: u64, pace: &Pace) -> bool {
        if age_us < pace.stands_us() {
            return false;
        }
        self.stood_lately(now_us, pace) || age_us >= pace.burst_us() || self.trend.is_overload(pace, now_us)
    }

    /// When the flow's next service starts. One that is far ahead of its queue is what an upstream with the same number had left behind.
    fn start(&self, flow: usize, virtual_time: u64) -> u64 {
        let finish = self.flow(flow, FINISH).max(virtual_time);
        if finish - virtual_time > FAR_AHEAD {
            virtual_time
        } else {
            finish
        }
    }

    /// How far ahead of the others a flow may get. As long as nobody asks for more than there is, flows differ by chance: to take turns then
    /// lets those wait that came in a cluster, and nobody is better off. For the others it is three quarters of a service's time at most.
    fn head_start(&self, now_us: u64, pace: &Pace) -> u64 {
        if self.stood_lately(now_us, pace) {
            0
        } else {
            (u64::from(pace.inflight) * 3 / 4).min(HEAD_START)
        }
    }

    fn stood_lately(&self, now_us: u64, pace: &Pace) -> bool {
        let stood_us = get(self.stood);
        stood_us != 0 && now_us.saturating_sub(stood_us) < pace.once_us()
    }

    /// The next one: of the most urgent level, of the flows that have had least, the oldest or, where its flow's queue stands, its newest.
    pub fn choose(
        &self,
        survey: &Survey,
        turn: u64,
        virtual_time: u64,
        now_us: u64,
        pace: &Pace,
    ) -> Option<Choice> {
        let level = next_level(survey.levels, turn)?;
        let of_level = || {
            let waiting = self.waiting().filter(|(_, state)| state.level() == level);
            waiting.map(|(slot, state)| (slot, state, self.start(state.flow(), virtual_time)))
        };
        let least = of_level().map(|(_, _, start)| start).min()?;
        let last = least + self.head_start(now_us, pace);
        let (slot, state, start) = of_level()
            .filter(|(_, _, start)| *start <= last)
            .min_by_key(|(_, state, start)| (Reverse(state.age_us(now_us)), *start))?;
        let (best, age) = (Choice { slot, state, start, virtual_time: least }, state.age_us(now_us));
        let flow = best.state.flow();
        if !self.stands(flow, age, now_us, pace) {
            return Some(best);
        }
        let of_flow = self.waiting().filter(|(_, state)| state.level() == level && state.flow() == flow);
        let newest = of_flow.min_by_key(|(_, state)| state.age_us(now_us));
        newest.map(|(slot, state)| Choice { slot, state, ..best })
    }

    /// The flow has been served from `start` on.
    pub fn charge(&self, choice: &Choice) {
        self.set_flow(choice.state.flow(), FINISH, choice.start + 1);
    }

    /// Whom a newcomer may replace in a queue that is full: the oldest of the longest flow of the least urgent level, if that is less urgent
    /// than the newcomer, or its flow longer than the newcomer's (as fq_codel drops from the fattest flow, RFC 8290).
    pub fn victim(&self, level: usize, flow: usize, now_us: u64) -> Option<(usize, State)> {
        let lowest = self.waiting().map(|(_, state)| state.level()).max()?;
        if lowest < level {
            return None;
        }
        let mut lengths = [0u16; MOST_FLOWS];
        for (_, state) in self.waiting().filter(|(_, state)| state.level() == lowest) {
            lengths[state.flow()] += 1;
        }
        let (longest, length) = lengths.iter().enumerate().max_by_key(|(_, length)| **length)?;
        if lowest == level && *length <= lengths[flow] + 1 {
            return None;
        }
        let of_it = self.waiting().filter(|(_, state)| state.level() == lowest && state.flow() == longest);
        of_it.max_by_key(|(_, state)| state.age_us(now_us))
    }
}

/// The most urgent level of those that wait; now and then the next one round.
fn next_level(levels: u8, turn: u64) -> Option<usize> {
    if levels == 0 {
        return None;
    }
    if turn % ROUND_EVERY != ROUND_EVERY - 1 {
        return Some(levels.trailing_zeros() as usize);
    }
    let from = (turn / ROUND_EVERY) as usize % Urgency::LEVELS;
    (from..from + Urgency::LEVELS).map(|level| level % Urgency::LEVELS).find(|level| levels >> level & 1 == 1)
}
