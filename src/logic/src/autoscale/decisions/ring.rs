//! Places that take turns, in shared memory.
//!
//! A writer takes the next number, writes into that number's place and puts the number there last, with a checksum over number and words: a
//! place that is half-written, or written by two at once because one of them slept for a whole turn, is not believed. Nothing is ever
//! locked. What is added to a place later (its *result*) has a checksum of its own that the number is part of, so it cannot pass for the
//! result of the place's next owner.

use super::record::{BODY, RESULT};
use crate::autoscale::metrics::word::{get, put, Word};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

const NUMBER: usize = 0;
const CHECK: usize = 1;
const BODY_AT: usize = 2;
const RESULT_CHECK: usize = BODY_AT + BODY;
const RESULT_AT: usize = RESULT_CHECK + 1;
/// Words of a place.
pub const PLACE: usize = RESULT_AT + RESULT;

/// A place as it was read.
pub type Found = ([u64; BODY], Option<[u64; RESULT]>);

#[derive(Clone, Copy)]
pub struct Ring<'a> {
    /// How many numbers were given.
    given: &'a Word,
    places: &'a [Word],
}

impl<'a> Ring<'a> {
    /// The words that so many places take.
    pub const fn words(places: usize) -> usize {
        1 + places * PLACE
    }

    pub fn new(words: &'a [Word]) -> Self {
        let (given, places) = words.split_at(1);
        Self { given: &given[0], places: &places[..places.len() / PLACE * PLACE] }
    }

    fn count(&self) -> usize {
        self.places.len() / PLACE
    }

    /// Writes into the oldest place. A ring without places takes nothing.
    pub fn push(&self, body: &[u64; BODY]) {
        if self.count() == 0 {
            return;
        }
        let number = self.given.fetch_add(1, AcqRel) + 1;
        let place = self.place(number);
        writes(number, body).for_each(|(word, value)| place[word].store(value, Release));
    }

    fn place(&self, number: u64) -> &'a [Word] {
        let at = (number % self.count() as u64) as usize * PLACE;
        &self.places[at..at + PLACE]
    }

    /// The newest `most` places that `takes`, the newest first.
    pub fn newest(&self, takes: impl Fn(&[u64; BODY]) -> bool, most: usize) -> Vec<Found> {
        let mut order: Vec<(u64, &[Word])> = self
            .places
            .chunks_exact(PLACE)
            .map(|place| (place[NUMBER].load(Acquire), place))
            .filter(|(number, _)| *number > 0)
            .collect();
        order.sort_unstable_by_key(|(number, _)| core::cmp::Reverse(*number));
        let whole =
            order.into_iter().filter_map(|(number, place)| Some((number, place, body(number, place)?)));
        let taken = whole.filter(|(.., body)| takes(body)).take(most);
        taken.map(|(number, place, body)| (body, result(number, place))).collect()
    }

    /// Adds a result to the newest place that `is`.
    pub fn settle(&self, is: impl Fn(&[u64; BODY]) -> bool, result: &[u64; RESULT]) -> bool {
        let mut found: Option<(u64, &[Word])> = None;
        for place in self.places.chunks_exact(PLACE) {
            let number = place[NUMBER].load(Acquire);
            let newer = number > found.map_or(0, |(number, _)| number);
            if newer && body(number, place).is_some_and(|body| is(&body)) {
                found = Some((number, place));
            }
        }
        let Some((number, place)) = found else { return false };
        put(&place[RESULT_CHECK], 0);
        place[RESULT_AT..].iter().zip(result).for_each(|(to, word)| put(to, *word));
        place[RESULT_CHECK].store(checksum(number, result), Release);
        true
    }

    /// Nothing in it is believed any more.
    pub fn forget(&self) {
        self.places.chunks_exact(PLACE).for_each(|place| place[NUMBER].store(0, Release));
    }
}

/// All that a writer does to its place, in its order: the number goes away first and comes last.
pub(super) fn writes(number: u64, body: &[u64; BODY]) -> impl Iterator<Item = (usize, u64)> + '_ {
    let words = body.iter().enumerate().map(|(i, word)| (BODY_AT + i, *word));
    let first = [(NUMBER, 0), (CHECK, checksum(number, body))];
    first.into_iter().chain(words).chain([(NUMBER, number)])
}

fn body(number: u64, place: &[Word]) -> Option<[u64; BODY]> {
    let mut body = [0; BODY];
    body.iter_mut().zip(&place[BODY_AT..]).for_each(|(to, from)| *to = get(from));
    (number > 0 && place[CHECK].load(Acquire) == checksum(number, &body)).then_some(body)
}

fn result(number: u64, place: &[Word]) -> Option<[u64; RESULT]> {
    let check = place[RESULT_CHECK].load(Acquire);
    let mut result = [0; RESULT];
    result.iter_mut().zip(&place[RESULT_AT..]).for_each(|(to, from)| *to = get(from));
    (check == checksum(number, &result)).then_some(result)
}

/// FNV-1a over words (Fowler, Noll, Vo): it tells a torn place from a whole one, it does not defend against anybody.
fn checksum(number: u64, words: &[u64]) -> u64 {
    let step = |hash: u64, word: &u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3);
    words.iter().fold(step(0xcbf2_9ce4_8422_2325, &number), step)
}
