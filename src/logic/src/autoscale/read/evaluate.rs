//! Evaluating a resolved signal at an instant.

use super::{Gone, Past, Reading, Resolved, Source};
use crate::autoscale::metrics::columns::Levels;
use crate::autoscale::metrics::custom::{Meter, Reported, Sums};
use crate::autoscale::metrics::hist::Counts;
use crate::autoscale::metrics::recent::{Ended, MOST};
use crate::autoscale::metrics::ring::{Rings, Span};
use crate::autoscale::metrics::series::{Class, Series, Shape, Time, Upstream, Window};
use crate::autoscale::metrics::table::{Kind, Ref};
use crate::autoscale::metrics::zone::Zone;
use crate::autoscale::metrics::Now;
use crate::autoscale::signal::{Metric, Stat};

const MICROS: f64 = 1e6;

/// A value and how many samples it is made of.
type Value = (Option<f64>, u64);

impl Resolved {
    /// The value now.
    pub fn read(&self, zone: &Zone<'_>, now: Now) -> Result<Reading, Gone> {
        match self.source {
            Source::Upstream(entry) => self.series(zone, entry, now),
            Source::Peer(entry) => self.series(zone, entry, now),
            Source::Name(entry) => self.series(zone, entry, now),
            Source::Key(entry) => self.series(zone, entry, now),
            Source::Level(entry) => Ok(self.level(&zone.meter(entry).ok_or(Gone)?, now)),
            Source::Counter(entry) => {
                let meter = zone.meter(entry).ok_or(Gone)?;
                let value = |span: Span| {
                    let sums = meter.window(span);
                    let rate = self.metric == Metric::Rate;
                    let scale = if rate { span.seconds(now, meter.born_us()) } else { 1.0 };
                    (Some(sums.sum / scale), sums.count)
                };
                Ok(self.reported(&meter, now, 0.0, value))
            }
            Source::Dist(entry) => {
                let dist = zone.dist(entry).ok_or(Gone)?;
                let value = |span: Span| match (self.metric, self.stat.quantile()) {
                    (Metric::Rate, _) => {
                        let count = dist.window(span).count;
                        (Some(count as f64 / span.seconds(now, dist.born_us())), count)
                    }
                    (_, Some(q)) => {
                        let counts = dist.counts(span);
                        (counts.quantile(q), counts.total())
                    }
                    _ => self.sums(dist.window(span)),
                };
                let age =
                    if self.metric == Metric::Rate { 0.0 } else { age(now, dist.last_us(), dist.born_us()) };
                Ok(self.reported(&dist, now, age, value))
            }
            Source::Gateway => Ok(self.gateway(zone, now)),
        }
    }

    /// The values of the last requests one by one, the newest first: how many were found, and how many have ended since ever.
    ///
    /// A latency in seconds, without the requests that say nothing about speed; of errors and error rates a 1 for each that failed.
    /// Nothing for what has no value for a single request.
    pub fn newest(&self, zone: &Zone<'_>, into: &mut [f64]) -> Result<(usize, u64), Gone> {
        match self.source {
            Source::Upstream(entry) => self.requests(&zone.series(entry).ok_or(Gone)?, into),
            Source::Peer(entry) => self.requests(&zone.series(entry).ok_or(Gone)?, into),
            Source::Key(entry) => self.requests(&zone.series(entry).ok_or(Gone)?, into),
            _ => Ok((0, 0)),
        }
    }

    fn requests<S: Shape>(&self, series: &Series<'_, S>, into: &mut [f64]) -> Result<(usize, u64), Gone> {
        if !matches!(self.metric, Metric::Latency | Metric::Errors | Metric::ErrorRate) {
            return Ok((0, 0));
        }
        let mut ended = [Ended::default(); MOST];
        let found = series.last(MOST, &mut ended);
        let values = ended[..found].iter().filter_map(|ended| match self.metric {
            Metric::Latency => ended.us.map(|us| f64::from(us) / MICROS),
            _ => Some(f64::from(u8::from(ended.error))),
        });
        let n = values.zip(into.iter_mut()).map(|(value, to)| *to = value).count();
        Ok((n, series.totals().classes.iter().sum()))
    }

    fn series<K: Kind + Shape>(&self, zone: &Zone<'_>, entry: Ref<K>, now: Now) -> Result<Reading, Gone> {
        let series = zone.series(entry).ok_or(Gone)?;
        let time = time(self.metric);
        let age = if time.is_some() { age(now, series.last_us(), series.born_us()) } else { 0.0 };
        let born_us = series.born_us();
        let (value, samples) = match (self.past, self.level_number(), time) {
            (Past::Now, Some(level), _) => (Some(level_of(zone.levels(entry), level)), 1),
            (Past::Now, _, Some(time)) => {
                let ewma = series.ewma(time).map(|us| f64::from(us) / MICROS);
                (ewma, ewma.is_some().into())
            }
            (Past::Requests(n), ..) => self.last(&series, n),
            _ => self.over(
                now,
                born_us,
                |s| Series::<K>::span(now, s),
                |s| Series::<K>::halves(now, s),
                |span| match self.histogram(time) {
                    Some(time) => {
                        series.counts(span, time).map_or((None, 0), |counts| self.of_counts(&counts))
                    }
                    None => self.of_window(&series.window(span), span.seconds(now, born_us)),
                },
            ),
        };
        Ok(Reading { value, age, samples })
    }

    /// All upstreams together.
    fn gateway(&self, zone: &Zone<'_>, now: Now) -> Reading {
        let table = zone.table::<Upstream>();
        let entries = || table.entries(table.whole());
        if let (Past::Now, Some(level)) = (self.past, self.level_number()) {
            let sum = entries().fold(0.0, |sum, entry| sum + level_of(zone.levels(entry), level));
            return Reading { value: Some(sum), age: 0.0, samples: 1 };
        }
        let all = || entries().filter_map(|entry| zone.series(entry));
        let time = time(self.metric);
        let age = match time.and(all().map(|series| series.last_us()).max()) {
            Some(last_us) => age(now, last_us, zone.born_us()),
            None => 0.0,
        };
        let (value, samples) = self.over(
            now,
            zone.born_us(),
            |s| Series::<Upstream>::span(now, s),
            |s| Series::<Upstream>::halves(now, s),
            |span| match self.histogram(time) {
                Some(time) => {
                    let mut counts = Counts::new(Upstream::SCALE);
                    all()
                        .filter_map(|series| series.counts(span, time))
                        .for_each(|other| counts.merge(&other));
                    self.of_counts(&counts)
                }
                None => {
                    let mut window = Window::default();
                    all().for_each(|series| window.merge(&series.window(span)));
                    self.of_window(&window, span.seconds(now, zone.born_us()))
                }
            },
        );
        Reading { value, age, samples }
    }

    fn level(&self, meter: &Meter<'_>, now: Now) -> Reading {
        let age = age(now, meter.last_us(), meter.born_us());
        if self.past == Past::Now {
            let value = meter.value();
            return Reading { value, age, samples: value.is_some().into() };
        }
        self.reported(meter, now, age, |span| self.sums(meter.window(span)))
    }

    fn reported<R: Rings>(
        &self,
        what: &Reported<'_, R>,
        now: Now,
        age: f64,
        value: impl Fn(Span) -> Value,
    ) -> Reading {
        let span = |s| Reported::<R>::span(now, s);
        let halves = |s| Reported::<R>::halves(now, s);
        let (value, samples) = self.over(now, what.born_us(), span, halves, value);
        Reading { value, age, samples }
    }

    /// The value over the window, or its slope: the later half against the earlier one, by the time between their middles.
    fn over(
        &self,
        now: Now,
        born_us: u64,
        span: impl Fn(u64) -> Option<Span>,
        halves: impl Fn(u64) -> Option<(Span, Span)>,
        value: impl Fn(Span) -> Value,
    ) -> Value {
        let Past::Seconds(s) = self.past else { return (None, 0) };
        if !self.slope {
            return span(s).map_or((None, 0), value);
        }
        let Some((early, late)) = halves(s).filter(|(early, _)| early.until_s * 1_000_000 > born_us) else {
            return (None, 0);
        };
        let middle = |span: &Span| {
            let from = (span.from_s * 1_000_000).max(born_us);
            let until = (span.until_s * 1_000_000).min(now.us);
            (from as f64 + until as f64) / 2.0 / MICROS
        };
        let between = middle(&late) - middle(&early);
        let ((before, n), (after, m)) = (value(early), value(late));
        let slope =
            before.zip(after).filter(|_| between > 0.0).map(|(before, after)| (after - before) / between);
        (slope, n + m)
    }

    fn of_window(&self, window: &Window, seconds: f64) -> Value {
        if let Some(level) = self.level_number() {
            let samples = window.samples;
            let value = match self.stat {
                Stat::Max => window.maxima[level] as f64,
                _ => window.sums[level] as f64 / samples.max(1) as f64,
            };
            return ((samples > 0).then_some(value), samples);
        }
        let counted = |n: u64| (Some(n as f64), n);
        match self.metric {
            Metric::Rate => (Some(window.arrived as f64 / seconds), window.arrived),
            Metric::Errors => (Some(window.errors() as f64), window.finished()),
            Metric::ErrorRate => (window.error_rate(), window.finished()),
            Metric::Rejects => counted(window.class(Class::Rejected)),
            Metric::Tokens => counted(window.tokens),
            metric => time(metric).map_or((None, 0), |time| {
                (window.average(time).map(|us| us / MICROS), window.times[time as usize].1)
            }),
        }
    }

    fn of_counts(&self, counts: &Counts) -> Value {
        let us = match self.stat.quantile() {
            Some(q) => counts.quantile(q),
            None => counts.max(),
        };
        (us.map(|us| us / MICROS), counts.total())
    }

    fn sums(&self, sums: Sums) -> Value {
        (if self.stat == Stat::Max { sums.max } else { sums.average() }, sums.count)
    }

    /// The last `n` requests, one by one.
    fn last<S: Shape>(&self, series: &Series<'_, S>, n: usize) -> Value {
        let mut ended = [Ended::default(); MOST];
        let ended = {
            let found = series.last(n, &mut ended);
            &ended[..found]
        };
        let errors = ended.iter().filter(|ended| ended.error).count() as f64;
        let n = ended.len();
        match self.metric {
            Metric::Errors => (Some(errors), n as u64),
            Metric::ErrorRate => ((n > 0).then(|| errors / n as f64), n as u64),
            _ => self.of_times(ended),
        }
    }

    fn of_times(&self, ended: &[Ended]) -> Value {
        let mut times = [0; MOST];
        let mut n = 0;
        for us in ended.iter().filter_map(|ended| ended.us) {
            times[n] = us;
            n += 1;
        }
        let times = &mut times[..n];
        times.sort_unstable();
        let us = match (self.stat, self.stat.quantile()) {
            (_, Some(q)) => {
                times.get(((q * n as f64).ceil() as usize).saturating_sub(1)).copied().map(f64::from)
            }
            (Stat::Max, _) => times.last().copied().map(f64::from),
            _ => (n > 0).then(|| times.iter().map(|us| f64::from(*us)).sum::<f64>() / n as f64),
        };
        (us.map(|us| us / MICROS), n as u64)
    }

    /// The time whose histogram the stat needs.
    fn histogram(&self, time: Option<Time>) -> Option<Time> {
        time.filter(|_| !matches!(self.stat, Stat::Avg | Stat::Ewma))
    }

    fn level_number(&self) -> Option<usize> {
        match self.metric {
            Metric::Inflight => Some(0),
            Metric::Waiting => Some(1),
            Metric::Queue => Some(2),
            _ => None,
        }
    }
}

fn time(metric: Metric) -> Option<Time> {
    match metric {
        Metric::Latency => Some(Time::Latency),
        Metric::Ttfb => Some(Time::Ttfb),
        Metric::Connect => Some(Time::Connect),
        _ => None,
    }
}

fn level_of(levels: Levels, number: usize) -> f64 {
    [levels.active, levels.waiting, levels.queued].get(number).copied().unwrap_or_default().into()
}

/// Seconds since the last sample, or since birth when there was none.
fn age(now: Now, last_us: u64, born_us: u64) -> f64 {
    now.us.saturating_sub(if last_us == 0 { born_us } else { last_us }) as f64 / MICROS
}
