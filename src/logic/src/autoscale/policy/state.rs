//! What a policy remembers from one evaluation to the next.
//!
//! Plain numbers of a fixed size, so that it can lie in shared memory and another worker can go on where a dead one stopped: times are
//! microseconds of the clock that all processes share, 0 is "never". [`State::to_words`] and [`State::from_words`] carry it into the
//! words of a zone and back, with a version and a checksum: half a state is not believed. [`State::shift`] moves it to the clock of
//! another boot, for a state file.

use super::behavior::{Events, Past, BUCKETS, EVENTS};
use super::forecast::{Season, LATELY, SLOTS};
use super::kpa::PanicState;

/// How many rules a policy can have.
pub const RULES: usize = 24;

/// What one rule remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RuleState {
    /// What tells the rule from others, as [`super::Policy::adopt`] has it; 0 before that.
    pub mark: u64,
    /// Since when its condition is true.
    pub since_us: u64,
    /// When its condition was last seen true.
    pub seen_us: u64,
    /// For how many ticks in a row.
    pub ticks: u32,
    /// How many requests had ended when the rule last acted.
    pub spent: u64,
    pub baseline: Baseline,
    pub panic: PanicState,
}

/// A long average of the signal of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Baseline {
    pub mean: f64,
    /// How many seconds of values it is made of.
    pub seen_s: f64,
    pub at_us: u64,
}

impl RuleState {
    /// How many of so many requests that have ended are spent: none, when they are counted anew since.
    pub fn spent_of(&self, ended: u64) -> u64 {
        if ended < self.spent {
            0
        } else {
            self.spent
        }
    }
}

/// A number of replicas that was decided and not yet written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// The number of the decision; 0 is none.
    pub id: u64,
    pub at_us: u64,
    pub from: u32,
    pub to: u32,
}

impl Pending {
    /// Whether the target is where it is wanted, or beyond.
    pub fn is_reached(&self, current: u32) -> bool {
        match self.to > self.from {
            true => current >= self.to,
            false => current <= self.to,
        }
    }
}

/// What a policy remembers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State {
    /// How many decisions it made: the number of the last.
    pub decisions: u64,
    pub tick_us: u64,
    pub up_us: u64,
    pub down_us: u64,
    /// Nothing is done until then: `as.policy(name):hold(s)`.
    pub hold_us: u64,
    /// When it was last under pressure that more replicas cannot relieve, and whether its `do` lines are in force.
    pub pressed_us: u64,
    pub acting: bool,
    /// The turn of the last command of a script that is in here.
    pub asked: u64,
    /// The last explanation, so that the same one is not logged every tick.
    pub reason: u32,
    pub pending: Pending,
    pub rules: [RuleState; RULES],
    pub past: Past,
    pub events: Events,
    pub season: Season,
}

impl Default for State {
    fn default() -> Self {
        Self {
            decisions: 0,
            tick_us: 0,
            up_us: 0,
            down_us: 0,
            hold_us: 0,
            pressed_us: 0,
            acting: false,
            asked: 0,
            reason: 0,
            pending: Pending::default(),
            rules: [RuleState::default(); RULES],
            past: Past::default(),
            events: Events::default(),
            season: Season::default(),
        }
    }
}

/// Changes whenever the layout does.
const VERSION: u64 = 0x6173_706f_6c00_0004;
const RULE_WORDS: usize = 9;
const SEASON_WORDS: usize = SLOTS + LATELY + 10;
/// How many 64-bit words a state takes.
pub const WORDS: usize = 2 + 11 + RULES * RULE_WORDS + BUCKETS * 2 + EVENTS * 2 + SEASON_WORDS;

impl State {
    /// The state as words: version, checksum, contents.
    pub fn to_words(&self) -> Box<[u64; WORDS]> {
        let mut words = Box::new([0; WORDS]);
        let mut state = *self;
        state.pass(&mut Pass { words: &mut words[2..], at: 0, write: true });
        words[0] = VERSION;
        words[1] = checksum(&words[2..]);
        words
    }

    /// `None` when the words are not a whole state of this version.
    pub fn from_words(words: &[u64]) -> Option<Self> {
        let mut words: Box<[u64; WORDS]> = Box::new(words.try_into().ok()?);
        if words[0] != VERSION || words[1] != checksum(&words[2..]) {
            return None;
        }
        let mut state = Self::default();
        state.pass(&mut Pass { words: &mut words[2..], at: 0, write: false });
        Some(state)
    }

    /// Moves all times by `us`, to another clock: what would lie before its beginning becomes "just begun".
    pub fn shift(&mut self, us: i64) {
        let mut times = vec![
            &mut self.tick_us,
            &mut self.up_us,
            &mut self.down_us,
            &mut self.hold_us,
            &mut self.pressed_us,
            &mut self.pending.at_us,
            &mut self.season.at_us,
        ];
        for rule in &mut self.rules {
            times.extend([
                &mut rule.since_us,
                &mut rule.seen_us,
                &mut rule.baseline.at_us,
                &mut rule.panic.at_us,
            ]);
        }
        times.extend(self.past.0.iter_mut().map(|bucket| &mut bucket.at_us));
        times.extend(self.events.0.iter_mut().map(|event| &mut event.at_us));
        for time in times.into_iter().filter(|time| **time != 0) {
            *time = time.saturating_add_signed(us).max(1);
        }
    }

    /// Requests are counted anew, and so are commands: none of them is spent, or carried out.
    pub fn recount(&mut self) {
        self.asked = 0;
        self.rules.iter_mut().for_each(|rule| rule.spent = 0);
    }

    /// One list of fields for both directions.
    fn pass(&mut self, io: &mut Pass<'_>) {
        io.u64(&mut self.decisions);
        io.u64(&mut self.tick_us);
        io.u64(&mut self.up_us);
        io.u64(&mut self.down_us);
        io.u64(&mut self.hold_us);
        io.u64(&mut self.pressed_us);
        let mut acting = u32::from(self.acting);
        io.pair(&mut acting, &mut self.reason);
        self.acting = acting != 0;
        io.u64(&mut self.asked);
        io.u64(&mut self.pending.id);
        io.u64(&mut self.pending.at_us);
        io.pair(&mut self.pending.from, &mut self.pending.to);
        for rule in &mut self.rules {
            io.u64(&mut rule.mark);
            io.u64(&mut rule.since_us);
            io.u64(&mut rule.seen_us);
            io.pair(&mut rule.ticks, &mut rule.panic.most);
            io.u64(&mut rule.spent);
            io.f64(&mut rule.baseline.mean);
            io.f64(&mut rule.baseline.seen_s);
            io.u64(&mut rule.baseline.at_us);
            io.u64(&mut rule.panic.at_us);
        }
        for bucket in &mut self.past.0 {
            io.u64(&mut bucket.at_us);
            io.pair(&mut bucket.highest, &mut bucket.lowest);
        }
        for event in &mut self.events.0 {
            io.u64(&mut event.at_us);
            io.i64(&mut event.change);
        }
        self.season.pass(io);
    }
}

/// Words being written or read, in one order.
pub(super) struct Pass<'a> {
    words: &'a mut [u64],
    at: usize,
    write: bool,
}

impl Pass<'_> {
    pub fn u64(&mut self, value: &mut u64) {
        if let Some(word) = self.words.get_mut(self.at) {
            if self.write {
                *word = *value;
            } else {
                *value = *word;
            }
        }
        self.at += 1;
    }

    pub fn i64(&mut self, value: &mut i64) {
        let mut bits = *value as u64;
        self.u64(&mut bits);
        *value = bits as i64;
    }

    pub fn f64(&mut self, value: &mut f64) {
        let mut bits = value.to_bits();
        self.u64(&mut bits);
        *value = f64::from_bits(bits);
    }

    pub fn pair(&mut self, a: &mut u32, b: &mut u32) {
        let mut bits = u64::from(*a) << 32 | u64::from(*b);
        self.u64(&mut bits);
        (*a, *b) = ((bits >> 32) as u32, bits as u32);
    }

    pub fn floats(&mut self, a: &mut f32, b: &mut f32) {
        let (mut x, mut y) = (a.to_bits(), b.to_bits());
        self.pair(&mut x, &mut y);
        (*a, *b) = (f32::from_bits(x), f32::from_bits(y));
    }
}

/// FNV-1a over words: it tells a torn state from a whole one, it does not defend against anybody.
fn checksum(words: &[u64]) -> u64 {
    words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> State {
        let mut state =
            State { decisions: 7, up_us: 5_000_000, acting: true, asked: 9, reason: 3, ..State::default() };
        state.pending = Pending { id: 7, at_us: 6, from: 2, to: 4 };
        state.rules[RULES - 1].baseline.mean = 0.25;
        state.rules[1].mark = 11;
        state.rules[2].panic = PanicState { at_us: 9_000_000, most: 12 };
        state.past.record(9_000_000, 300, 5);
        state.events.push(9_000_000, -3);
        state.season.learn(86_400_000, 300_000, 0, 1_000_000, 5.0);
        state
    }

    #[test]
    fn words_carry_everything() {
        let words = some().to_words();
        assert_eq!(State::from_words(&words[..]), Some(some()));
        // every word of the layout is used: the last one carries something of the season
        let mut io = Pass { words: &mut [0; WORDS][2..], at: 0, write: true };
        State::default().pass(&mut io);
        assert_eq!(io.at + 2, WORDS);
    }

    #[test]
    fn a_torn_state_is_not_believed() {
        let (words, other) = (some().to_words(), State::default().to_words());
        for cut in [1, 2, 5, WORDS / 2, WORDS - 1] {
            let mut torn = *words;
            torn[..cut].copy_from_slice(&other[..cut]);
            assert!(torn == *words || torn == *other || State::from_words(&torn).is_none(), "cut at {cut}");
        }
        assert_eq!(State::from_words(&[0; WORDS]), None);
        assert_eq!(State::from_words(&words[1..]), None);
    }

    #[test]
    fn another_clock_keeps_the_ages() {
        let mut state = some();
        state.shift(-4_000_000);
        assert_eq!((state.up_us, state.down_us), (1_000_000, 0));
        assert_eq!(state.rules[2].panic.at_us, 5_000_000);
        assert_eq!(state.past.highest(6_000_000, 300), Some(5));
        state.shift(-3_000_000);
        assert_eq!(state.up_us, 1);
    }
}
