//! What a state file keeps of a policy's place: its state, the replicas of its target, and the order under way.
//!
//! ```text
//! target | source, wanted and ready, when | number, time, length and text of the order's note | state
//! ```

use super::place::{bytes_of, put_bytes};
use super::{Known, OrderNote, Place, Source, MOST_REASON};
use crate::autoscale::metrics::word::{high, low, pair, Word};
use crate::autoscale::policy::state::{State, WORDS};
use crate::autoscale::policy::Replicas;

const REASON: usize = 8;
const STATE: usize = REASON + MOST_REASON / 8;

impl Place<'_> {
    /// As words; `None` while nothing was decided.
    pub fn kept(&self) -> Option<Vec<u64>> {
        let state = self.state()?;
        let mut words = vec![0; STATE];
        words[0] = self.target();
        if let Some(known) = self.known() {
            words[1] = known.source as u64;
            words[2] = pair(known.replicas.wanted, known.replicas.ready);
            words[3] = known.at_us;
        }
        if let Some(note) = self.noted(state.pending.id) {
            words[4] = state.pending.id;
            words[5] = note.unix_ms;
            words[6] = note.reason.len() as u64;
            let text: Vec<Word> = (REASON..STATE).map(|_| Word::new(0)).collect();
            put_bytes(&text, note.reason.as_bytes());
            words[REASON..].iter_mut().zip(text).for_each(|(to, word)| *to = word.into_inner());
        }
        words.extend(state.to_words().iter());
        Some(words)
    }

    /// Takes up what a former gateway kept, its times moved by `shift_us`; false when the words are not such. `fence` is that of the
    /// leader, if there is one already.
    pub fn take_up(&self, words: &[u64], shift_us: i64, fence: u64) -> bool {
        let Some(mut state) = words.get(STATE..STATE + WORDS).and_then(State::from_words) else {
            return false;
        };
        state.shift(shift_us);
        state.recount();
        self.bind(words[0]);
        let source = match words[1] {
            1 => Some(Source::Told),
            2 => Some(Source::Written),
            3 => Some(Source::Assumed),
            _ => None,
        };
        if let Some(source) = source {
            let replicas = Replicas { wanted: high(words[2]) as u32, ready: low(words[2]) as u32 };
            let at_us = words[3].saturating_add_signed(shift_us).max(1);
            self.learn(Known { replicas, at_us, source });
        }
        let text: Vec<Word> = words[REASON..STATE].iter().map(|word| Word::new(*word)).collect();
        let mut reason = vec![0; (words[6] as usize).min(MOST_REASON)];
        bytes_of(&text, &mut reason);
        if let (true, Ok(reason)) = (words[4] != 0 && words[4] == state.pending.id, String::from_utf8(reason))
        {
            self.note(words[4], &OrderNote { unix_ms: words[5], reason });
        }
        self.save(fence, &state)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{words, Board};
    use super::*;
    use crate::autoscale::policy::state::Pending;

    fn memory() -> Vec<Word> {
        (0..words(4)).map(|_| Word::new(0)).collect()
    }

    #[test]
    fn what_was_kept_is_taken_up_on_another_clock() {
        let (before, after) = (memory(), memory());
        let [one, other] = [&before, &after].map(|words| Board::new(words));
        [one, other].iter().for_each(|board| assert!(board.register(&["web"]).is_empty()));
        let place = one.find("web").unwrap();
        assert_eq!(place.kept(), None);
        let pending = Pending { id: 7, at_us: 9_000_000, from: 2, to: 4 };
        let state = State { decisions: 7, up_us: 5_000_000, asked: 99, pending, ..State::default() };
        let replicas = Replicas { wanted: 4, ready: 3 };
        place.bind(77);
        place.learn(Known { replicas, at_us: 8_000_000, source: Source::Written });
        let note = OrderNote { unix_ms: 123, reason: "rate 300/s > 200/s, é".repeat(20) };
        place.note(7, &note);
        assert!(place.save(0, &state));
        let words = place.kept().unwrap();

        let place = other.find("web").unwrap();
        assert!(place.take_up(&words, -4_000_000, 0));
        let kept = place.state().unwrap();
        assert_eq!((kept.decisions, kept.up_us, kept.pending.at_us), (7, 1_000_000, 5_000_000));
        // turns of commands begin at the wall clock, which may have been set back since
        assert_eq!(kept.asked, 0);
        assert_eq!(place.known(), Some(Known { replicas, at_us: 4_000_000, source: Source::Written }));
        assert!(note.reason.starts_with(&place.noted(7).unwrap().reason));
        // the same target: what is known of it holds
        assert!(!place.bind(77) && place.known().is_some());
        assert!(place.bind(78) && place.known().is_none());
    }

    #[test]
    fn other_words_are_not_taken_up() {
        let before = memory();
        let board = Board::new(&before);
        board.register(&["web"]);
        let place = board.find("web").unwrap();
        assert!(place.save(0, &State::default()));
        let words = place.kept().unwrap();
        assert!(!place.take_up(&words[1..], 0, 0) && !place.take_up(&[], 0, 0));
        let mut changed = words.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(!place.take_up(&changed, 0, 0));
        // whatever is said about the order, only the pending one has a note
        changed = words;
        (changed[1], changed[4], changed[6]) = (9, 5, u64::MAX);
        assert!(place.take_up(&changed, i64::MIN, 0));
        assert_eq!((place.noted(5), place.known()), (None, None));
    }
}
