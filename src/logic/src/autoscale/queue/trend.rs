//! Whether more comes to a queue than goes from it: what tells overload from a burst that is being worked off.
//!
//! A queue counts who came and who was let go. Now and then the two counts are written down, in one word each time, in a ring; what has come
//! and gone of late is the difference to the oldest of them. An upstream of which requests wait is busy, so what goes from its queue is
//! what it can do. Below its capacity at most as much comes, and chance is averaged out over four times as long as a queue may take to
//! stand; at twice the capacity twice as much does, from the first moment on.
//!
//! Nobody locks anything: the words carry their own time, one that is not of the last few spans counts for nothing, and a worker that is
//! killed leaves at worst a note out.

use super::Pace;
use crate::autoscale::metrics::word::{get, Word};
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

/// A note, from the top: that it is one, the length of its span, the number of the span, who had come, who had gone.
const NOTE: u64 = 1 << 63;
const LENGTH: u32 = 60;
const LONGEST: u32 = 7;
const SPAN: u32 = 40;
const CAME: u32 = 20;
const COUNT: u64 = (1 << 20) - 1;
/// Spans are half as long as a queue may take to stand, which is [`super::pace`]'s to say: so many microseconds, doubled until they are.
const SHORTEST_US: u64 = 50_000;

/// How many notes there are.
pub(super) const NOTES: usize = 8;

/// The notes of one queue, and its counts as they are.
#[derive(Clone, Copy)]
pub(super) struct Trend<'a> {
    pub notes: &'a [Word],
    pub came: u64,
    pub gone: u64,
}

/// What has come and gone of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recent {
    came: u64,
    gone: u64,
}

/// What a note of this moment begins with, up to the number of the span `before` this one.
fn mark(pace: &Pace, now_us: u64, before: u64) -> (usize, u64) {
    let spans = pace.stands_us().div_ceil(2).div_ceil(SHORTEST_US);
    let length = spans.next_power_of_two().ilog2().min(LONGEST);
    let span = (now_us / (SHORTEST_US << length)).wrapping_sub(before);
    let mark = NOTE >> SPAN | u64::from(length) << (LENGTH - SPAN) | span & COUNT;
    (span as usize % NOTES, mark)
}

/// So many times as much as goes, over so many spans, is more than chance and bursts make of nine tenths of the capacity. The shorter time
/// is for an upstream that was busy before.
const OVERLOAD: [(u64, f64); 2] = [(NOTES as u64, 1.5), (4, 1.85)];

impl Trend<'_> {
    /// Whether clearly more comes than goes, or nothing is known of that.
    pub fn is_overload(&self, pace: &Pace, now_us: u64) -> bool {
        OVERLOAD.iter().any(|(spans, times)| {
            let Recent { came, gone } = self.recent(*spans, pace, now_us);
            came as f64 >= gone as f64 * times
        })
    }

    /// Writes the counts down, once in a span.
    pub fn note(&self, pace: &Pace, now_us: u64) {
        let (place, mark) = mark(pace, now_us, 0);
        let Some(word) = self.notes.get(place) else { return };
        let seen = get(word);
        if seen >> SPAN != mark {
            let note = mark << SPAN | (self.came & COUNT) << CAME | self.gone & COUNT;
            // whoever is first is right
            let _ = word.compare_exchange(seen, note, AcqRel, Relaxed);
        }
    }

    /// Since the oldest note of so many spans; nothing when there is none.
    fn recent(&self, spans: u64, pace: &Pace, now_us: u64) -> Recent {
        let oldest = (0..spans).rev().find_map(|before| {
            let (place, mark) = mark(pace, now_us, before);
            self.notes.get(place).map(get).filter(|note| note >> SPAN == mark)
        });
        let since = |count: u64, note: u64| count.wrapping_sub(note) & COUNT;
        oldest.map_or(Recent { came: 0, gone: 0 }, |note| Recent {
            came: since(self.came, note >> CAME),
            gone: since(self.gone, note),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_000_000_000;

    fn pace(service_us: f64) -> Pace {
        Pace { service_us, inflight: 16 }
    }

    /// What is known at the end, when in each of so many spans of 50 ms so many came and 40 went.
    fn after(came: &[u64], pace: &Pace) -> Recent {
        let notes: Vec<Word> = (0..NOTES).map(|_| Word::new(0)).collect();
        // counts turn
        let mut trend = Trend { notes: &notes, came: COUNT - 7, gone: 5 * COUNT };
        for (i, came) in came.iter().enumerate() {
            trend.note(pace, T + i as u64 * SHORTEST_US);
            // the second of a span changes nothing
            trend.came += came;
            trend.gone += 40;
            trend.note(pace, T + i as u64 * SHORTEST_US + 40_000);
        }
        trend.recent(8, pace, T + came.len() as u64 * SHORTEST_US - 1)
    }

    #[test]
    fn counts_are_of_the_last_eight_spans() {
        let fast = pace(20_000.0);
        assert_eq!(after(&[80, 80], &fast), Recent { came: 160, gone: 80 });
        assert_eq!(after(&[80; 20], &fast), Recent { came: 640, gone: 320 });
        assert_eq!(after(&[&[99; 30][..], &[36; 8]].concat(), &fast), Recent { came: 288, gone: 320 });
        // spans of 400 ms
        assert_eq!(after(&[80; 80], &pace(400_000.0)), Recent { came: 64 * 80, gone: 64 * 40 });
    }

    #[test]
    fn what_is_old_or_of_other_spans_or_never_was_counts_for_nothing() {
        let notes: Vec<Word> = (0..NOTES).map(|_| Word::new(0)).collect();
        let (fast, slow) = (pace(20_000.0), pace(400_000.0));
        let trend = Trend { notes: &notes, came: 10, gone: 10 };
        trend.note(&fast, T);
        let later = Trend { came: 30, gone: 20, ..trend };
        assert_eq!(later.recent(8, &fast, T + 350_000), Recent { came: 20, gone: 10 });
        assert_eq!(later.recent(8, &fast, T + 400_000), Recent { came: 0, gone: 0 });
        assert_eq!(later.recent(8, &slow, T), Recent { came: 0, gone: 0 });
        // the number of this span is zero, as memory is
        let zero = (SHORTEST_US << (SPAN - CAME)) * 9;
        notes.iter().for_each(|word| word.store(0, Relaxed));
        assert_eq!(later.recent(8, &fast, zero), Recent { came: 0, gone: 0 });
        assert!(later.is_overload(&fast, zero), "where nothing is known the wait alone counts");
    }
}
