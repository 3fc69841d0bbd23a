use super::*;
use crate::autoscale::metrics::recent::MOST;

fn words<S: Shape>() -> Vec<Word> {
    (0..S::WORDS).map(|_| Word::new(0)).collect()
}

fn at(ms: u64) -> Now {
    Now::from_ms(1_000_000 + ms)
}

fn span<S: Shape>(ms: u64, s: u64) -> super::super::ring::Span {
    Series::<S>::span(at(ms), s).unwrap()
}

#[test]
fn the_documented_sizes_are_the_sizes() {
    assert_eq!((Upstream::WORDS, Peer::WORDS, Name::WORDS, Key::WORDS), (8775, 4695, 887, 551));
}

#[test]
fn requests_are_counted_by_class() {
    let words = words::<Upstream>();
    let series = Series::<Upstream>::new(&words);
    let statuses = [(200, 5), (101, 1), (302, 4), (404, 3), (500, 2), (502, 1), (499, 1)];
    for (status, n) in statuses {
        for _ in 0..n {
            series.arrive(at(0));
            series.finish(at(10), Class::of_status(status), 10_000, false);
        }
    }
    series.finish(at(20), Class::ConnectFailure, 100, false);
    series.finish(at(20), Class::Timeout, 60_000_000, false);
    series.reject(at(20));
    series.retry(at(20));
    series.tokens(at(20), 1234);
    let window = series.window(span::<Upstream>(20, 5));
    assert_eq!(window.classes, [6, 4, 3, 3, 1, 1, 1, 1]);
    assert_eq!((window.arrived, window.retries, window.tokens), (17, 1, 1234));
    assert_eq!((window.errors(), window.finished()), (5, 18));
    assert_eq!(window.error_rate(), Some(5.0 / 18.0));
    // aborted and refused tries are not timed, the timeout is
    assert_eq!(window.times[0], (16 * 10_000 + 60_000_000, 17));
    let totals = series.totals();
    assert_eq!((totals.classes, totals.retries, totals.tokens), (window.classes, 1, 1234));
    assert_eq!(totals.times[0], window.times[0]);
}

#[test]
fn times_have_averages_quantiles_and_bounds() {
    let words = words::<Upstream>();
    let series = Series::<Upstream>::new(&words);
    for ms in 1..=100 {
        series.first_byte(at(ms), ms as u32 * 1000, Some(500), false);
        series.finish(at(ms), Class::Success, ms as u32 * 2000, false);
    }
    let span = span::<Upstream>(100, 60);
    let window = series.window(span);
    assert_eq!(window.average(Time::Latency), Some(101_000.0));
    assert_eq!(window.average(Time::Ttfb), Some(50_500.0));
    assert_eq!(window.average(Time::Connect), Some(500.0));
    let p95 = series.counts(span, Time::Latency).unwrap().quantile(0.95).unwrap();
    assert!((p95 / 190_000.0 - 1.0).abs() < 0.06, "{p95}");
    let max = series.counts(span, Time::Ttfb).unwrap().max().unwrap();
    assert!((max / 100_000.0 - 1.0).abs() < 0.06, "{max}");
    assert_eq!(series.bounded(Time::Ttfb).unwrap()[..8], [1, 1, 3, 5, 15, 25, 50, 0]);
    assert_eq!(series.last_us(), at(100).us);
    let mut last = [Ended::default(); MOST];
    assert_eq!(series.last(11, &mut last), 11);
    assert_eq!(last[10].us, Some(180_000));
}

#[test]
fn a_stream_learns_its_latency_at_the_first_byte() {
    let words = words::<Peer>();
    let series = Series::<Peer>::new(&words);
    series.first_byte(at(0), 30_000, None, true);
    assert_eq!(series.window(span::<Peer>(0, 1)).average(Time::Latency), Some(30_000.0));
    assert_eq!(series.ewma(Time::Latency), Some(30_000.0));
    series.finish(at(600_000), Class::Success, 30_000, true);
    let window = series.window(span::<Peer>(600_000, 3600));
    assert_eq!((window.average(Time::Latency), window.times[0].1), (Some(30_000.0), 1));
    assert_eq!(window.class(Class::Success), 1);
}

#[test]
fn quick_errors_do_not_flatter_the_moving_average() {
    let words = words::<Peer>();
    let series = Series::<Peer>::new(&words);
    series.finish(at(0), Class::Success, 20_000, false);
    for ms in 0..1000 {
        series.finish(at(ms), Class::ServerError, 300, false);
        series.finish(at(ms), Class::ConnectFailure, 100, false);
    }
    assert_eq!(series.ewma(Time::Latency), Some(20_000.0));
    assert!(series.failing(at(1000)) > 0.5, "{}", series.failing(at(1000)));
    assert!(series.failing(at(91_000)) < 0.1, "{}", series.failing(at(91_000)));
    series.finish(at(1000), Class::Timeout, 60_000_000, false);
    assert!(series.ewma(Time::Latency).unwrap() > 20_000.0);
}

#[test]
fn levels_are_averaged_and_have_a_maximum() {
    let words = words::<Upstream>();
    let series = Series::<Upstream>::new(&words);
    for s in 0..60 {
        series.levels(at(s * 1000), s as u32, 2, 100);
    }
    let window = series.window(span::<Upstream>(59_000, 60));
    assert_eq!((window.samples, window.sums), (60, [59 * 30, 120, 6000]));
    assert_eq!(window.maxima, [59, 2, 100]);
}

#[test]
fn a_new_owner_begins_at_nothing() {
    let words = words::<Key>();
    let series = Series::<Key>::new(&words);
    for ms in 0..100_000 {
        series.arrive(at(ms));
        series.finish(at(ms), Class::Success, 1000, false);
    }
    series.reset(at(100_000));
    let window = series.window(span::<Key>(100_000, 3600));
    assert_eq!(window, Window::default());
    assert_eq!((series.ewma(Time::Latency), series.last_us(), series.born_us()), (None, 0, at(100_000).us));
    assert_eq!(series.totals().classes, [0; 8]);
    series.finish(at(100_001), Class::Success, 1000, false);
    assert_eq!(series.window(span::<Key>(100_001, 3600)).finished(), 1);
}
