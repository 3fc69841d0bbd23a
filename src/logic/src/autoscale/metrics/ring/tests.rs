use super::*;
use crate::autoscale::metrics::word::{add, pair};
use proptest::prelude::*;
use std::sync::atomic::AtomicU64;

struct Wide;
impl Rings for Wide {
    const SLOTS: usize = 8;
    const WIDTHS: [u64; LEVELS] = [1, 10, 60, 600];
    const SLOT_WORDS: usize = 3;
    fn merge(word: usize) -> Merge {
        if word == 2 {
            Merge::Max
        } else {
            Merge::Add
        }
    }
}

/// As `Wide`, with the next second's slot turned ahead.
struct Ahead;
impl Rings for Ahead {
    const SLOTS: usize = 8;
    const WIDTHS: [u64; LEVELS] = [1, 10, 60, 600];
    const SLOT_WORDS: usize = 3;
    const AHEAD: usize = 1;
    fn merge(word: usize) -> Merge {
        Wide::merge(word)
    }
}

struct Lean;
impl Rings for Lean {
    const SLOTS: usize = 4;
    const WIDTHS: [u64; LEVELS] = [2, 20, 120, 1200];
    const SLOT_WORDS: usize = 3;
    fn merge(word: usize) -> Merge {
        Wide::merge(word)
    }
}

fn words(n: usize) -> Vec<Word> {
    (0..n).map(|_| AtomicU64::new(0)).collect()
}

fn write<R: Rings>(ring: &Ring<'_, R>, s: u64, n: u64, x: u64) {
    let slot = ring.current(Now::from_ms(s * 1000));
    add(&slot[1], n);
    Merge::Max.into(&slot[2], x);
}

fn read<R: Rings>(ring: &Ring<'_, R>, span: Span) -> [u64; 2] {
    let mut sum = [0; 2];
    ring.sum(span, 1..3, &mut sum);
    sum
}

/// What the rings must say: every sample from the start of the slot in which the window begins.
fn naive(samples: &[(u64, u64)], from: u64, until: u64) -> [u64; 2] {
    let inside = samples.iter().filter(|(s, _)| (from..until).contains(s));
    inside.fold([0, 0], |[n, max], (_, x)| [n + x, max.max(*x)])
}

fn equals_naive<R: Rings>(steps: &[(u64, u64)], windows: &[u64]) -> Result<(), TestCaseError> {
    let words = words(Ring::<R>::WORDS);
    let ring = Ring::<R>::new(&words);
    let (mut s, mut samples) = (1_000_000, Vec::new());
    for (step, x) in steps {
        s += step;
        samples.push((s, *x));
        write(&ring, s, *x, *x);
        let now = Now::from_ms(s * 1000 + 500);
        if x % 4 != 0 {
            ring.prepare(now);
        }
        for window in windows {
            let span = Ring::<R>::span(now, *window).unwrap();
            prop_assert!(s - span.from_s >= *window && s - span.from_s < *window + s);
            prop_assert_eq!(
                read(&ring, span),
                naive(&samples, span.from_s, span.until_s),
                "window {} at {}",
                window,
                s
            );
            let (early, late) = Ring::<R>::halves(now, *window).unwrap();
            prop_assert_eq!(
                read(&ring, early),
                naive(&samples, early.from_s, early.until_s),
                "early {}",
                window
            );
            prop_assert_eq!(read(&ring, late), naive(&samples, late.from_s, late.until_s), "late {}", window);
        }
    }
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let step = prop_oneof![5 => 0u64..2, 3 => 1u64..15, 2 => 10u64..200, 1 => 500u64..5000];
    prop::collection::vec((step, 0u64..1000), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn windows_equal_a_naive_model(steps in steps()) {
        equals_naive::<Wide>(&steps, &[1, 5, 7, 10, 60, 70, 300, 420, 3600, 4200])?;
        equals_naive::<Ahead>(&steps, &[1, 5, 6, 7, 10, 60, 70, 300, 420, 3600, 4200])?;
        equals_naive::<Lean>(&steps, &[1, 5, 6, 60, 300, 360, 3600])?;
    }
}

#[test]
fn a_slot_that_is_prepared_in_time_needs_no_turn() {
    let words = words(Ring::<Ahead>::WORDS);
    let ring = Ring::<Ahead>::new(&words);
    for s in 1000..1030 {
        write(&ring, s, 1, 1);
        ring.prepare(Now::from_ms(s * 1000 + 700));
        let next = ring.slot(0, s + 1 + FIRST);
        assert_eq!(next.iter().map(get).collect::<Vec<_>>(), [s + 1 + FIRST, 0, 0]);
    }
}

#[test]
fn windows_that_are_not_kept_have_no_span() {
    let now = Now::from_ms(5_000_000_000);
    assert_eq!(Ring::<Wide>::span(now, 4201), None);
    assert_eq!(Ring::<Lean>::span(now, 3601), None);
    assert_eq!(
        Ring::<Wide>::span(now, 5).map(|span| (span.from_s, span.until_s)),
        Some((4_999_995, 5_000_001))
    );
    let span = Ring::<Wide>::span(Now::from_ms(12_345_500), 60).unwrap();
    assert_eq!(span.from_s, 12_280);
    assert_eq!(span.seconds(Now::from_ms(12_345_500), 0), 65.5);
    assert_eq!(span.seconds(Now::from_ms(12_345_500), 12_340_000_000), 5.5);
    assert_eq!(span.seconds(Now::from_ms(12_345_500), 12_345_400_000), 1.0);
}

#[test]
fn a_lagging_clock_writes_into_the_newer_slot() {
    let words = words(Ring::<Wide>::WORDS);
    let ring = Ring::<Wide>::new(&words);
    write(&ring, 1008, 1, 1);
    write(&ring, 1000, 1, 1); // the same slot, eight seconds behind
    assert_eq!(read(&ring, Ring::<Wide>::span(Now::from_ms(1_008_000), 1).unwrap()), [2, 1]);
}

/// A writer may die before any step of turning a slot. Each state that it can leave is built, then the next writer goes on.
#[test]
fn killed_anywhere_in_a_turn_loses_at_most_one_word() {
    for died_after in 0..4 {
        let words = words(Ring::<Wide>::WORDS);
        let ring = Ring::<Wide>::new(&words);
        write(&ring, 1000, 7, 9);
        let slot = ring.slot(0, 1000 + FIRST);
        let mut lost = [0, 0];
        match died_after {
            0 => {}
            // between the swap and the add of one word
            1 => lost = [slot[1].swap(0, Relaxed), 0],
            // after one word has moved
            2 => {
                let above = ring.above(0, 1000).unwrap();
                add(&above[1], slot[1].swap(0, Relaxed));
            }
            // after all words have moved, before the tag
            _ => ring.drain(0, slot, 1000 + FIRST),
        }
        write(&ring, 1008, 1, 2);
        let minute = read(&ring, Ring::<Wide>::span(Now::from_ms(1_008_000), 60).unwrap());
        assert_eq!(minute, [8 - lost[0], 9], "died after {died_after}");
        assert_eq!(read(&ring, Ring::<Wide>::span(Now::from_ms(1_008_000), 1).unwrap()), [1, 2]);
    }
}

#[test]
fn forgotten_memory_is_wiped_before_it_is_used() {
    let words = words(Ring::<Wide>::WORDS);
    let ring = Ring::<Wide>::new(&words);
    (0..2000).for_each(|s| write(&ring, 1000 + s, 1, 5));
    ring.forget();
    let now = Now::from_ms(3_000_000);
    assert_eq!(read(&ring, Ring::<Wide>::span(now, 3600).unwrap()), [0, 0]);
    (0..2000).for_each(|s| write(&ring, 3000 + s, 1, 3));
    let all = Span { level: 3, from_s: 0, until_s: u64::MAX };
    assert_eq!(read(&ring, all), [2000, 3]);
}

/// Writers race on turning every slot; each addition is counted exactly once, in halves that never mix.
#[test]
fn racing_writers_lose_nothing() {
    let words = words(Ring::<Wide>::WORDS);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let ring = Ring::<Wide>::new(&words);
            scope.spawn(move || {
                for i in 0..60_000u64 {
                    write(&ring, 1000 + i / 20 + thread % 2, pair(1, 2), i);
                }
            });
        }
    });
    let ring = Ring::<Wide>::new(&words);
    assert_eq!(read(&ring, Span { level: 3, from_s: 0, until_s: u64::MAX })[0], pair(240_000, 480_000));
}
