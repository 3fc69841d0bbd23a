//! Who is slow: compared with the others, once in a while, by one worker.

use super::{Judge, Phase, Rotation, Why};
use crate::autoscale::metrics::series::{Peer, Series, Time};
use crate::autoscale::metrics::table::Ref;

/// Answers of so many seconds are looked at: the finest windows of a series.
const WINDOW_S: u64 = 5;
/// One second more, since the first of the window may have begun before it.
const CLEAN_MS: u64 = (WINDOW_S + 1) * 1000;
/// Of fewer answers nothing is said.
const LEAST_ANSWERS: u64 = 10;
/// Of two nobody can say which one is unusual.
const LEAST_PEERS: usize = 3;
/// What is slower by less is the noise of a machine, however many times that is.
const LEAST_EXCESS_US: f64 = 5000.0;

#[derive(Clone, Copy)]
struct Speed {
    peer: Ref<Peer>,
    average_us: f64,
    median_us: f64,
}

impl Judge<'_, '_> {
    /// Compares the times to first byte of all peers of each group, which for a stream is all that is known, and ejects who is slow.
    pub fn compare(&mut self, rotation: &Rotation) {
        for group in [&rotation.primary, &rotation.backup] {
            self.compare_group(group, rotation);
        }
    }

    fn compare_group(&mut self, group: &[Ref<Peer>], rotation: &Rotation) {
        let Some(times) = self.settings.latency else { return };
        let mut known: Vec<Speed> = group.iter().filter_map(|peer| self.speed(*peer)).collect();
        if known.len() < LEAST_PEERS {
            return;
        }
        let usual_us =
            [median(known.iter().map(|s| s.average_us)), median(known.iter().map(|s| s.median_us))];
        // the slowest first, as it may be that not all can go
        known.sort_by(|a, b| b.median_us.total_cmp(&a.median_us));
        for speed in known {
            let is_slow = speed.average_us > times * usual_us[0] && speed.median_us > times * usual_us[1];
            if !is_slow || speed.median_us - usual_us[1] < LEAST_EXCESS_US {
                continue;
            }
            let why = Why::Slow { us: speed.median_us, usual_us: usual_us[1] };
            if let Some((words, seen)) = self.standing(speed.peer) {
                if seen.phase == Phase::Well {
                    self.eject(speed.peer, words, seen, (why, false), || rotation.clone());
                }
            }
        }
    }

    /// How fast a peer is of late; `None` when too little is known, or some of it is from before it came back.
    fn speed(&mut self, peer: Ref<Peer>) -> Option<Speed> {
        let (_, standing) = self.standing(peer)?;
        let is_clean = standing.at_ms == 0 || self.now.us / 1000 >= standing.at_ms + CLEAN_MS;
        if standing.phase != Phase::Well || !is_clean {
            return None;
        }
        let span = Series::<Peer>::span(self.now, WINDOW_S)?;
        let series = self.zone.series(peer)?;
        let (sum_us, count) = series.window(span).times[Time::Ttfb as usize];
        if count < LEAST_ANSWERS {
            return None;
        }
        let median_us = series.counts(span, Time::Ttfb)?.quantile(0.5)?;
        Some(Speed { peer, average_us: sum_us as f64 / count as f64, median_us })
    }
}

/// The middle, or between the two that are.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied().unwrap_or_default();
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) {
        (at(half.saturating_sub(1)) + at(half)) / 2.0
    } else {
        at(half)
    }
}
