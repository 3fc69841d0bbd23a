//! Reading a series: one window of it, its last requests, or its totals since birth.

use super::shape::{head, slot, Shape, Time, BOUNDED};
use super::{Class, Series};
use crate::autoscale::metrics::hist::Counts;
use crate::autoscale::metrics::recent::{Ended, MOST};
use crate::autoscale::metrics::ring::{Ring, Span};
use crate::autoscale::metrics::word::{get, high, low, unparts};
use crate::autoscale::metrics::Now;

/// The sums of one window. Windows of several series add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub arrived: u64,
    pub retries: u64,
    /// By number of [`Class`].
    pub classes: [u64; 8],
    pub tokens: u64,
    /// Sum in microseconds and count, by number of [`Time`].
    pub times: [(u64, u64); 3],
    /// Samples of the levels, and their sums and maxima: in flight, waiting, queued.
    pub samples: u64,
    pub sums: [u64; 3],
    pub maxima: [u64; 3],
}

impl Window {
    fn of(words: &[u64; slot::FULL]) -> Self {
        let classes = std::array::from_fn(|i| half(words[slot::CLASSES + i / 2], i.is_multiple_of(2)));
        Self {
            arrived: low(words[slot::ARRIVED]),
            retries: high(words[slot::ARRIVED]),
            classes,
            tokens: words[slot::TOKENS],
            times: [
                (words[slot::LATENCY], low(words[slot::TIMED])),
                (words[slot::TTFB], high(words[slot::TIMED])),
                (words[slot::CONNECT], low(words[slot::CONNECTS])),
            ],
            samples: high(words[slot::CONNECTS]),
            sums: [low(words[slot::INFLIGHT]), words[slot::WAITING], high(words[slot::INFLIGHT])],
            maxima: unparts(words[slot::MAXIMA]),
        }
    }

    pub fn class(&self, class: Class) -> u64 {
        self.classes[class as usize]
    }

    /// Errors of the peer.
    pub fn errors(&self) -> u64 {
        Class::ALL.iter().filter(|class| class.is_error()).map(|class| self.class(*class)).sum()
    }

    /// Requests that ended with an answer or an error.
    pub fn finished(&self) -> u64 {
        self.classes[..Class::Aborted as usize].iter().sum()
    }

    /// Errors among the finished; `None` when nothing finished.
    pub fn error_rate(&self) -> Option<f64> {
        let finished = self.finished();
        (finished > 0).then(|| self.errors() as f64 / finished as f64)
    }

    /// The average of a time, in microseconds.
    pub fn average(&self, time: Time) -> Option<f64> {
        let (sum, count) = self.times[time as usize];
        (count > 0).then(|| sum as f64 / count as f64)
    }

    /// Adds the window of another series. Sums and maxima of levels are taken at different instants: their sum is an upper bound.
    pub fn merge(&mut self, other: &Self) {
        self.arrived += other.arrived;
        self.retries += other.retries;
        self.tokens += other.tokens;
        self.samples = self.samples.max(other.samples);
        for i in 0..8 {
            self.classes[i] += other.classes[i];
        }
        for i in 0..3 {
            self.times[i].0 += other.times[i].0;
            self.times[i].1 += other.times[i].1;
            self.sums[i] += other.sums[i];
            self.maxima[i] += other.maxima[i];
        }
    }
}

fn half(word: u64, is_low: bool) -> u64 {
    if is_low {
        low(word)
    } else {
        high(word)
    }
}

/// What was counted since birth; never goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    pub classes: [u64; 8],
    pub retries: u64,
    pub tokens: u64,
    /// Sum in microseconds and count, by number of [`Time`].
    pub times: [(u64, u64); 3],
}

impl<S: Shape> Series<'_, S> {
    /// The span of the last seconds, `None` when it is longer than what is kept.
    pub fn span(now: Now, window_s: u64) -> Option<Span> {
        Ring::<S>::span(now, window_s)
    }

    /// The two halves that a slope compares, the earlier first.
    pub fn halves(now: Now, window_s: u64) -> Option<(Span, Span)> {
        Ring::<S>::halves(now, window_s)
    }

    /// The sums of a span.
    pub fn window(&self, span: Span) -> Window {
        let mut words = [0; slot::FULL];
        let counts = S::FIXED.min(slot::MAXIMA);
        self.ring().add_up(span, 1..counts, &mut words[1..counts]);
        if S::FULL {
            self.ring().sum(span, slot::MAXIMA..slot::FULL, &mut words[slot::MAXIMA..]);
        }
        Window::of(&words)
    }

    /// The histogram of a time over a span; `None` when this shape keeps none.
    pub fn counts(&self, span: Span, time: Time) -> Option<Counts> {
        let at = S::histogram(time)?;
        let mut counts = Counts::new(S::SCALE);
        self.ring().add_up(span, at..at + S::SCALE.words(), counts.words());
        Some(counts)
    }

    /// The last `n` requests, the newest first; says how many there are.
    pub fn last(&self, n: usize, into: &mut [Ended; MOST]) -> usize {
        self.recent().last(n, into)
    }

    pub fn totals(&self) -> Totals {
        let word = |at: usize| get(&self.words[at]);
        Totals {
            classes: std::array::from_fn(|i| word(head::CLASSES + i)),
            retries: word(head::RETRIES),
            tokens: word(head::TOKENS),
            times: std::array::from_fn(|i| (word(head::TIMES + 2 * i), word(head::TIMES + 2 * i + 1))),
        }
    }

    /// Counts since birth by [`super::BOUNDS_US`], not cumulated; `None` when this shape keeps none.
    pub fn bounded(&self, time: Time) -> Option<[u64; BOUNDED]> {
        let at = head::WORDS + time as usize * BOUNDED;
        S::BOUNDED.then(|| std::array::from_fn(|i| get(&self.words[at + i])))
    }
}
