//! The place of a policy: its name, its target's replicas as they were last known, the order under way, and its state.

use super::Board;
use crate::autoscale::decisions::Last;
use crate::autoscale::metrics::word::{get, high, low, pair, put, Word};
use crate::autoscale::policy::store::{self, STORE_WORDS};
use crate::autoscale::policy::{Replicas, State};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

/// Bytes of a name.
pub const MOST_NAME: usize = 80;
/// Bytes of an order's reason; what is longer is cut.
pub const MOST_REASON: usize = 256;

const NAME_WORDS: usize = MOST_NAME / 8;
const REASON_WORDS: usize = MOST_REASON / 8;

/// The length of the name, plus one: written last, zero while there is none.
const TAKEN: usize = 0;
/// How many owners the place has had.
const TURN: usize = 1;
/// How many states were written.
const SAVES: usize = 2;
/// Until when requests do not make the policy act.
const CALM: usize = 3;
const REPLICAS: usize = 4;
const KNOWN_AT: usize = 5;
const SOURCE: usize = 6;
/// What the target was, as a number.
const TARGET: usize = 7;
/// The decision that the order below is of: written last.
const ORDER: usize = 8;
const ORDER_TIME: usize = 9;
const ORDER_LEN: usize = 10;
/// The fence of the last leader that took the place over.
const FENCE: usize = 11;
const ORDER_TEXT: usize = 12;
const NAME: usize = ORDER_TEXT + REASON_WORDS;
const LAST: usize = NAME + NAME_WORDS;
const STATE: usize = LAST + Last::WORDS;
pub(super) const PLACE_WORDS: usize = STATE + STORE_WORDS;

/// Who says how many replicas there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The target itself.
    Told = 1,
    /// It cannot be asked: what was written last.
    Written = 2,
    /// It cannot be asked, and nothing was written yet: the least there may be.
    Assumed = 3,
}

/// The replicas of a target as they were last known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub replicas: Replicas,
    pub at_us: u64,
    pub source: Source,
}

/// What a repetition of an order needs beside the numbers in the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderNote {
    pub unix_ms: u64,
    pub reason: String,
}

pub(super) fn is_taken(words: &[Word]) -> bool {
    words[TAKEN].load(Acquire) != 0
}

pub(super) fn is_called(words: &[Word], name: &str) -> bool {
    words[TAKEN].load(Acquire) == name.len() as u64 + 1 && {
        let mut bytes = [0; MOST_NAME];
        name.len() <= MOST_NAME && {
            bytes_of(&words[NAME..LAST], &mut bytes[..name.len()]);
            &bytes[..name.len()] == name.as_bytes()
        }
    }
}

pub(super) fn name(words: &[Word]) -> Option<String> {
    let length = (words[TAKEN].load(Acquire) as usize).checked_sub(1)?.min(MOST_NAME);
    let mut bytes = vec![0; length];
    bytes_of(&words[NAME..LAST], &mut bytes);
    String::from_utf8(bytes).ok()
}

/// Begins anew, under this name; false when it is too long.
pub(super) fn claim(words: &[Word], name: &str) -> bool {
    if name.len() > MOST_NAME {
        return false;
    }
    words[TAKEN].store(0, Release);
    // whoever still writes for the former owner finds that the turn is over
    put(&words[TURN], get(&words[TURN]) + 1);
    words[SAVES..].iter().for_each(|word| put(word, 0));
    put_bytes(&words[NAME..LAST], name.as_bytes());
    words[TAKEN].store(name.len() as u64 + 1, Release);
    true
}

/// The bytes of words, lowest first.
pub(super) fn bytes_of(words: &[Word], into: &mut [u8]) {
    for (chunk, word) in into.chunks_mut(8).zip(words) {
        chunk.copy_from_slice(&get(word).to_le_bytes()[..chunk.len()]);
    }
}

pub(super) fn put_bytes(words: &[Word], bytes: &[u8]) {
    for (chunk, word) in bytes.chunks(8).zip(words) {
        let mut whole = [0; 8];
        whole[..chunk.len()].copy_from_slice(chunk);
        put(word, u64::from_le_bytes(whole));
    }
}

/// The longest prefix of `text` of at most `most` bytes.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// A policy's place. The leader alone writes.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The policy's bit in the words that hold one for each is `1 << index`.
    pub index: usize,
    words: &'a [Word],
    turn: u64,
}

impl<'a> Place<'a> {
    pub(super) fn new(index: usize, words: &'a [Word]) -> Self {
        Self { index, words, turn: get(&words[TURN]) }
    }

    pub fn bit(&self) -> u64 {
        1 << self.index
    }

    /// False when a later configuration gave the place to another policy.
    pub fn is_mine(&self) -> bool {
        get(&self.words[TURN]) == self.turn
    }

    /// Changes with each state that is written.
    #[inline]
    pub fn version(&self) -> u64 {
        self.words[SAVES].load(Acquire)
    }

    pub fn state(&self) -> Option<State> {
        store::load(&self.words[STATE..])
    }

    /// Writes the state as the leader with this fence; false when a later one has taken the place over, or another policy.
    #[must_use]
    pub fn save(&self, fence: u64, state: &State) -> bool {
        if !self.is_led(fence) {
            return false;
        }
        store::save(&self.words[STATE..], state);
        self.words[SAVES].store(get(&self.words[SAVES]) + 1, Release);
        true
    }

    /// Whether no later leader than the one with this fence has taken the place over.
    pub fn is_led(&self, fence: u64) -> bool {
        self.is_mine() && self.words[FENCE].load(Acquire) <= fence
    }

    /// From now on it is this leader's, who goes on from `state`; false when a later one was faster. A former leader may have been
    /// stopped in the middle of a [`Place::save`], and go on at any time: what it still writes, into one of the two places of a state, is
    /// older than either of those that are written here.
    pub fn take_over(&self, fence: u64, state: &State) -> bool {
        self.is_mine()
            && self.words[FENCE].fetch_max(fence, AcqRel) <= fence
            && self.save(fence, state)
            && self.save(fence, state)
    }

    /// Its last evaluation.
    pub fn last(&self) -> Last<'a> {
        Last::new(&self.words[LAST..STATE])
    }

    /// Until then requests need not be looked at.
    #[inline]
    pub fn calm_until_us(&self) -> u64 {
        get(&self.words[CALM])
    }

    pub fn calm(&self, until_us: u64) {
        put(&self.words[CALM], until_us);
    }

    pub fn known(&self) -> Option<Known> {
        let source = match self.words[SOURCE].load(Acquire) {
            1 => Source::Told,
            2 => Source::Written,
            3 => Source::Assumed,
            _ => return None,
        };
        let both = get(&self.words[REPLICAS]);
        let replicas = Replicas { wanted: high(both) as u32, ready: low(both) as u32 };
        Some(Known { replicas, at_us: get(&self.words[KNOWN_AT]), source })
    }

    pub fn learn(&self, known: Known) {
        if self.is_mine() {
            put(&self.words[REPLICAS], pair(known.replicas.wanted, known.replicas.ready));
            put(&self.words[KNOWN_AT], known.at_us);
            self.words[SOURCE].store(known.source as u64, Release);
        }
    }

    /// What the target is.
    pub fn target(&self) -> u64 {
        get(&self.words[TARGET])
    }

    /// Says what the target is; true when it was another one, of which nothing holds any more.
    pub fn bind(&self, target: u64) -> bool {
        let before = get(&self.words[TARGET]);
        if before == target || !self.is_mine() {
            return false;
        }
        self.words[SOURCE].store(0, Release);
        put(&self.words[ORDER], 0);
        put(&self.words[TARGET], target);
        before != 0
    }

    /// Keeps what decision `id` says, for whoever must repeat it. To be called before the state that has it pending is saved.
    pub fn note(&self, id: u64, note: &OrderNote) {
        if self.is_mine() {
            self.words[ORDER].store(0, Release);
            let reason = cut(&note.reason, MOST_REASON);
            put(&self.words[ORDER_TIME], note.unix_ms);
            put(&self.words[ORDER_LEN], reason.len() as u64);
            put_bytes(&self.words[ORDER_TEXT..NAME], reason.as_bytes());
            self.words[ORDER].store(id, Release);
        }
    }

    /// What decision `id` said, if that is what is kept.
    pub fn noted(&self, id: u64) -> Option<OrderNote> {
        if self.words[ORDER].load(Acquire) != id || id == 0 {
            return None;
        }
        let mut bytes = vec![0; (get(&self.words[ORDER_LEN]) as usize).min(MOST_REASON)];
        bytes_of(&self.words[ORDER_TEXT..NAME], &mut bytes);
        Some(OrderNote { unix_ms: get(&self.words[ORDER_TIME]), reason: String::from_utf8(bytes).ok()? })
    }
}

impl<'a> Board<'a> {
    /// How many replicas a target has, as far as any place knows: it may have had another policy before.
    pub fn known_of(&self, target: u64) -> Option<Known> {
        let places = self.each().filter(|(_, words)| get(&words[TARGET]) == target && target != 0);
        places.filter_map(|(index, words)| Place::new(index, words).known()).max_by_key(|known| known.at_us)
    }

    /// The places that are taken, and their names.
    pub fn places(&self) -> Vec<(String, Place<'a>)> {
        self.each().filter_map(|(index, words)| Some((name(words)?, Place::new(index, words)))).collect()
    }
}
