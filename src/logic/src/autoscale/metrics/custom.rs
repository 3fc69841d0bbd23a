//! What scripts and other systems report: counters and levels ([`Meter`]), distributions ([`Dist`]).
//!
//! Off the hot path of a proxied request, so values are floats of 64 bits, added by compare-and-swap.

use super::hist::{count, wide_bucket, Counts, Scale};
use super::ring::{Ring, Rings, Span, LEVELS};
use super::word::{add, add_float, get, ordered, put, unordered, Merge, Word};
use super::Now;

const BORN: usize = 0;
const LAST: usize = 1;
const VALUE: usize = 2;
const TOTAL: usize = 3;
const TIMES: usize = 4;
const HEAD: usize = 5;

const COUNT: usize = 1;
const SUM: usize = 2;
const MAX: usize = 3;
const FIXED: usize = 4;

/// The sums of one window of a meter or a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    pub count: u64,
    pub sum: f64,
    pub max: Option<f64>,
}

impl Sums {
    pub fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

fn merge(word: usize) -> Merge {
    match word {
        SUM => Merge::Float,
        MAX => Merge::Max,
        _ => Merge::Add,
    }
}

/// A counter (`as.incr`) or a level (an external signal, the CPU of the gateway).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meters;

impl Rings for Meters {
    const SLOTS: usize = 8;
    const WIDTHS: [u64; LEVELS] = [1, 10, 60, 600];
    const SLOT_WORDS: usize = FIXED;

    fn merge(word: usize) -> Merge {
        merge(word)
    }
}

/// A distribution (`as.observe`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dists;

impl Rings for Dists {
    const SLOTS: usize = 4;
    const WIDTHS: [u64; LEVELS] = [2, 20, 120, 1200];
    const SLOT_WORDS: usize = FIXED + Scale::Wide.words();

    fn merge(word: usize) -> Merge {
        merge(word)
    }
}

/// Words of a meter and of a distribution.
pub const METER_WORDS: usize = HEAD + Ring::<Meters>::WORDS;
pub const DIST_WORDS: usize = HEAD + Ring::<Dists>::WORDS;

/// One reported number over its words.
#[derive(Clone, Copy)]
pub struct Reported<'a, R> {
    words: &'a [Word],
    rings: std::marker::PhantomData<R>,
}

/// A counter or a level.
pub type Meter<'a> = Reported<'a, Meters>;
/// A distribution.
pub type Dist<'a> = Reported<'a, Dists>;

impl<'a, R: Rings> Reported<'a, R> {
    pub fn new(words: &'a [Word]) -> Self {
        Self { words, rings: std::marker::PhantomData }
    }

    fn ring(&self) -> Ring<'a, R> {
        Ring::new(&self.words[HEAD..])
    }

    /// Begins anew, for a new owner of the memory.
    pub fn reset(&self, now: Now) {
        self.words[..HEAD].iter().for_each(|word| put(word, 0));
        self.ring().forget();
        put(&self.words[BORN], now.us);
    }

    fn record(&self, now: Now, x: f64) -> &'a [Word] {
        let slot = self.ring().current(now);
        add(&slot[COUNT], 1);
        add_float(&slot[SUM], x);
        Merge::Max.into(&slot[MAX], ordered(x));
        put(&self.words[VALUE], x.to_bits());
        put(&self.words[LAST], now.us);
        add_float(&self.words[TOTAL], x);
        add(&self.words[TIMES], 1);
        slot
    }

    pub fn span(now: Now, window_s: u64) -> Option<Span> {
        Ring::<R>::span(now, window_s)
    }

    pub fn halves(now: Now, window_s: u64) -> Option<(Span, Span)> {
        Ring::<R>::halves(now, window_s)
    }

    pub fn window(&self, span: Span) -> Sums {
        let mut words = [0; 3];
        self.ring().sum(span, COUNT..FIXED, &mut words);
        Sums { count: words[0], sum: f64::from_bits(words[1]), max: unordered(words[2]) }
    }

    /// The last value that was reported.
    pub fn value(&self) -> Option<f64> {
        (self.last_us() > 0).then(|| f64::from_bits(get(&self.words[VALUE])))
    }

    /// Sum and count since birth.
    pub fn totals(&self) -> (f64, u64) {
        (f64::from_bits(get(&self.words[TOTAL])), get(&self.words[TIMES]))
    }

    pub fn born_us(&self) -> u64 {
        get(&self.words[BORN])
    }

    /// When a value was last reported; zero before the first.
    pub fn last_us(&self) -> u64 {
        get(&self.words[LAST])
    }
}

impl Meter<'_> {
    /// Adds to a counter. What is not finite or below zero is not counted.
    pub fn incr(&self, now: Now, n: f64) {
        if n.is_finite() && n >= 0.0 {
            self.record(now, n);
        }
    }

    /// Sets a level. What is not finite is not a level.
    pub fn set(&self, now: Now, x: f64) {
        if x.is_finite() {
            self.record(now, x);
        }
    }
}

impl Dist<'_> {
    /// Records one value. What is not finite is not counted.
    pub fn observe(&self, now: Now, x: f64) {
        if x.is_finite() {
            let slot = self.record(now, x);
            count(&slot[FIXED..], wide_bucket(x));
        }
    }

    /// The histogram of a span.
    pub fn counts(&self, span: Span) -> Counts {
        let mut counts = Counts::new(Scale::Wide);
        self.ring().add_up(span, FIXED..FIXED + Scale::Wide.words(), counts.words());
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(n: usize) -> Vec<Word> {
        (0..n).map(|_| Word::new(0)).collect()
    }

    fn at(s: u64) -> Now {
        Now::from_ms((1_000_000 + s) * 1000)
    }

    #[test]
    fn a_counter_counts_over_every_window() {
        let words = words(METER_WORDS);
        let meter = Meter::new(&words);
        meter.reset(at(0));
        (0..600).for_each(|s| meter.incr(at(s), 0.5));
        [-1.0, f64::NAN, f64::INFINITY].iter().for_each(|n| meter.incr(at(599), *n));
        for (window, sum) in [(5, 3.0), (60, 35.0), (3600, 300.0)] {
            assert_eq!(meter.window(Meter::span(at(599), window).unwrap()).sum, sum, "{window}");
        }
        assert_eq!(meter.totals(), (300.0, 600));
    }

    #[test]
    fn a_level_may_be_negative() {
        let words = words(METER_WORDS);
        let meter = Meter::new(&words);
        assert_eq!(meter.value(), None);
        [-3.0, -1.0, -2.0].iter().for_each(|x| meter.set(at(0), *x));
        let sums = meter.window(Meter::span(at(0), 5).unwrap());
        assert_eq!((sums.average(), sums.max, meter.value()), (Some(-2.0), Some(-1.0), Some(-2.0)));
    }

    #[test]
    fn a_distribution_has_quantiles() {
        let words = words(DIST_WORDS);
        let dist = Dist::new(&words);
        (1..=1000).for_each(|i| dist.observe(at(i / 100), f64::from(i as u32)));
        let span = Dist::span(at(10), 60).unwrap();
        let p95 = dist.counts(span).quantile(0.95).unwrap();
        assert!((p95 / 950.0 - 1.0).abs() < 0.112, "{p95}");
        assert_eq!(dist.window(span), Sums { count: 1000, sum: 500_500.0, max: Some(1000.0) });
    }

    #[test]
    fn racing_reports_add_up() {
        let words = words(DIST_WORDS);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let dist = Dist::new(&words);
                scope.spawn(move || (0..20_000).for_each(|i| dist.observe(at(i / 10), 1.5)));
            }
        });
        assert_eq!(Dist::new(&words).totals(), (120_000.0, 80_000));
        let all = Dist::new(&words).counts(Dist::span(at(2000), 3600).unwrap());
        assert_eq!(all.total(), 80_000);
    }
}
