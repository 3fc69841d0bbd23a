//! A state in shared memory.
//!
//! Two places take turns, each with the number of its writing, so that a writer killed at any instruction leaves the one before it
//! whole. One worker writes (the leader); any may read. What was read while it was being written fails its checksum and the other
//! place is taken.

use super::state::{State, WORDS};
use crate::autoscale::metrics::word::{get, put, Word};
use std::sync::atomic::Ordering::{Acquire, Release};

/// One place: the number, then the state.
const PLACE: usize = 1 + WORDS;
/// How many words of shared memory a policy takes.
pub const STORE_WORDS: usize = 2 * PLACE;

/// Writes the state into `words`, which are [`STORE_WORDS`] many.
pub fn save(words: &[Word], state: &State) {
    let (first, second) = words[..STORE_WORDS].split_at(PLACE);
    let (one, other) = (first[0].load(Acquire), second[0].load(Acquire));
    let place = if one <= other { first } else { second };
    place[1..].iter().zip(state.to_words().iter()).for_each(|(to, word)| put(to, *word));
    place[0].store(one.max(other) + 1, Release);
}

/// The newest whole state, `None` if there was never one.
pub fn load(words: &[Word]) -> Option<State> {
    let (first, second) = words[..STORE_WORDS].split_at(PLACE);
    let newer_first = first[0].load(Acquire) >= second[0].load(Acquire);
    let read = |place: &[Word]| State::from_words(&place[1..].iter().map(get).collect::<Vec<u64>>());
    let order = if newer_first { [first, second] } else { [second, first] };
    order.into_iter().find_map(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(decisions: u64) -> State {
        State { decisions, up_us: decisions * 7, ..State::default() }
    }

    #[test]
    fn the_newest_whole_state_counts() {
        let words: Vec<Word> = (0..STORE_WORDS).map(|_| Word::new(0)).collect();
        assert_eq!(load(&words), None);
        for n in 1..6 {
            save(&words, &state(n));
            assert_eq!(load(&words), Some(state(n)));
        }
    }

    #[test]
    fn a_writer_killed_anywhere_leaves_the_one_before() {
        for killed in (0..WORDS).step_by(7) {
            let words: Vec<Word> = (0..STORE_WORDS).map(|_| Word::new(0)).collect();
            (1..=4).for_each(|n| save(&words, &state(n)));
            // the fifth goes where the third is, and stops after so many words
            let third = if get(&words[0]) < get(&words[PLACE]) { 0 } else { PLACE };
            for (to, word) in words[third + 1..].iter().zip(state(5).to_words().iter()).take(killed) {
                put(to, *word);
            }
            assert_eq!(load(&words), Some(state(4)), "killed after {killed} words");
            save(&words, &state(6));
            assert_eq!(load(&words), Some(state(6)));
        }
    }
}
