//! What the load will be when replicas asked for now are ready.
//!
//! *Why*: a load that returns every day at nine need not be a surprise. *When it acts*: the period is cut into slots; each keeps the
//! exponentially smoothed mean of what it saw in past periods (a seasonal profile, the multiplicative part of Holt and Winters without
//! trend). The forecast for a slot ahead is its profile times how the last slot compared with its own; it counts once a slot has been
//! seen in two periods, and only while its past error was smaller than that of the simplest forecast, "as it is now". *What it
//! cannot see*: what never happened before; holidays; a summer time that moves the day against UTC by an hour.

use super::state::Pass;

/// Into how many slots a period is cut at most; a week is 15-minute slots.
pub const SLOTS: usize = 672;
/// Slots of a day or less: 5 minutes of a day.
const DAY_SLOTS: u64 = 288;
/// How many slots back the lead may reach.
pub const LATELY: usize = 64;
/// How many periods a slot must have been seen before its profile counts.
const PERIODS: f32 = 2.0;
/// How much of a newer period goes into the profile.
const NEWER: f32 = 0.25;

/// The profile of a period. A float is NaN until it is known.
#[derive(Clone, Copy, Debug)]
pub struct Season {
    /// What tells the signal that it is learnt from from others, as [`super::Policy::adopt`] has it; 0 before that.
    pub(super) of: u64,
    /// Smoothed mean of a slot, and in how many periods it was seen.
    profile: [(f32, f32); SLOTS],
    /// The last slots' own means, by the number of the slot.
    lately: [f64; LATELY],
    /// The slot being learnt, counted from 1970; sum and number of its values.
    slot: u64,
    sum: f64,
    count: u64,
    /// Smoothed relative errors of the two forecasts, and over how many slots.
    error: f64,
    naive: f64,
    judged: u64,
    /// The length of a slot and the lead these numbers were learnt with.
    slot_ms: u64,
    lead: u64,
    pub(super) at_us: u64,
}

impl Default for Season {
    fn default() -> Self {
        Self {
            of: 0,
            profile: [(0.0, 0.0); SLOTS],
            lately: [-1.0; LATELY],
            slot: 0,
            sum: 0.0,
            count: 0,
            error: 0.0,
            naive: 0.0,
            judged: 0,
            slot_ms: 0,
            lead: 0,
            at_us: 0,
        }
    }
}

/// Bit for bit.
impl PartialEq for Season {
    fn eq(&self, other: &Self) -> bool {
        self.profile == other.profile
            && self.lately == other.lately
            && (self.of, self.slot, self.count, self.judged, self.slot_ms, self.lead, self.at_us)
                == (other.of, other.slot, other.count, other.judged, other.slot_ms, other.lead, other.at_us)
            && (self.sum, self.error, self.naive) == (other.sum, other.error, other.naive)
    }
}

/// What the season says about the near future.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// The highest value from now to the end of the lead.
    pub value: f64,
    /// Smoothed relative error of past forecasts, and of "as it is now".
    pub error: f64,
    pub naive: f64,
}

/// Why there is no forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silent {
    /// Not two whole periods yet.
    Learning,
    /// The present was the better forecast.
    Inferior,
}

/// How many slots a period has and how long each is.
pub fn slots(period_ms: u64) -> (u64, u64) {
    let slots = if period_ms <= 86_400_000 { DAY_SLOTS } else { SLOTS as u64 };
    (slots, (period_ms / slots).max(1))
}

impl Season {
    /// Takes the value of now into account. Times in milliseconds; `unix_ms` is the wall clock, which seasons go by.
    pub fn learn(&mut self, period_ms: u64, lead_ms: u64, unix_ms: u64, now_us: u64, value: f64) {
        let (slots, slot_ms) = slots(period_ms);
        let lead = lead_ms.div_ceil(slot_ms).clamp(1, LATELY as u64 - 1);
        if (self.slot_ms, self.lead) != (slot_ms, lead) {
            *self = Self { of: self.of, slot_ms, lead, ..Self::default() };
        }
        self.at_us = now_us;
        let slot = unix_ms / slot_ms;
        if slot != self.slot {
            // a clock that steps back (an hour) must not learn the hour twice: what was begun is dropped
            if slot > self.slot && self.count > 0 {
                self.finish(slots);
            }
            // slots that nobody saw are unknown, not old
            (self.slot + 1..slot)
                .rev()
                .take(LATELY)
                .for_each(|gap| self.lately[gap as usize % LATELY] = -1.0);
            (self.slot, self.sum, self.count) = (slot, 0.0, 0);
        }
        self.sum += value;
        self.count += 1;
    }

    /// How much of the two periods that a forecast needs has been seen, in seconds.
    pub fn seen_s(&self) -> f64 {
        let seen: f64 = self.profile.iter().map(|(_, seen)| f64::from(seen.min(PERIODS))).sum();
        seen * self.slot_ms as f64 / 1000.0
    }

    fn finish(&mut self, slots: u64) {
        let actual = self.sum / self.count as f64;
        let then = self.slot.saturating_sub(self.lead);
        let before = self.lately(then);
        if let (Some(before), Some(seasonal)) = (before, self.ahead(slots, then, self.lead)) {
            let relative = |guess: f64| ((guess - actual).abs() / actual.abs().max(1e-9)).min(10.0);
            let weight = (1.0 / (self.judged + 1) as f64).max(0.02);
            self.error += (relative(seasonal) - self.error) * weight;
            self.naive += (relative(before) - self.naive) * weight;
            self.judged += 1;
        }
        let (mean, seen) = &mut self.profile[(self.slot % slots) as usize];
        *mean += (actual as f32 - *mean) * (1.0 / (*seen + 1.0)).max(NEWER);
        *seen = (*seen + 1.0).min(1000.0);
        self.lately[self.slot as usize % LATELY] = actual;
    }

    fn lately(&self, slot: u64) -> Option<f64> {
        let known = slot < self.slot && self.slot - slot < LATELY as u64;
        Some(self.lately[slot as usize % LATELY]).filter(|value| known && *value >= 0.0)
    }

    /// The value `lead` slots after the finished slot `from`.
    fn ahead(&self, slots: u64, from: u64, lead: u64) -> Option<f64> {
        let profile = |slot: u64| {
            let (mean, seen) = self.profile[(slot % slots) as usize];
            (seen >= PERIODS).then_some(f64::from(mean))
        };
        let then = profile(from + lead)?;
        // how today compares with the profile; a quiet hour says little about a busy one, so within bounds. After a gap nobody knows
        let level = match (self.lately(from), profile(from)) {
            (Some(lately), Some(usual)) if usual > 0.0 => (lately / usual).clamp(0.5, 2.0),
            _ => 1.0,
        };
        Some(then * level)
    }

    /// The highest value expected within the lead from now on, whenever it last learnt. Time in milliseconds, of the wall clock.
    pub fn forecast(&self, period_ms: u64, unix_ms: u64) -> Result<Forecast, Silent> {
        let (slots, slot_ms) = slots(period_ms);
        if slot_ms != self.slot_ms || self.judged == 0 {
            return Err(Silent::Learning);
        }
        let from = (unix_ms / slot_ms).saturating_sub(1);
        let values = (1..=self.lead + 1).map(|lead| self.ahead(slots, from, lead));
        let value = values.collect::<Option<Vec<_>>>().ok_or(Silent::Learning)?;
        if self.error >= self.naive {
            return Err(Silent::Inferior);
        }
        let value = value.into_iter().fold(0.0, f64::max);
        Ok(Forecast { value, error: self.error, naive: self.naive })
    }

    pub(super) fn pass(&mut self, io: &mut Pass<'_>) {
        io.u64(&mut self.of);
        self.profile.iter_mut().for_each(|(mean, seen)| io.floats(mean, seen));
        self.lately.iter_mut().for_each(|value| io.f64(value));
        io.u64(&mut self.slot);
        io.f64(&mut self.sum);
        io.u64(&mut self.count);
        io.f64(&mut self.error);
        io.f64(&mut self.naive);
        io.u64(&mut self.judged);
        io.u64(&mut self.slot_ms);
        io.u64(&mut self.lead);
        io.u64(&mut self.at_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const DAY: u64 = 86_400_000;
    const WEEK: u64 = 7 * DAY;

    /// Minute by minute through `from..to`, of `load(day, minute of the day)`.
    fn learn(
        season: &mut Season,
        period: u64,
        lead: u64,
        (from, to): (u64, u64),
        load: impl Fn(u64, u64) -> f64,
    ) {
        for ms in (from..to).step_by(MINUTE as usize) {
            season.learn(period, lead, ms, ms * 1000 + 1, load(ms / DAY, ms % DAY / MINUTE));
        }
    }

    /// T13: 100/s, and a fifth more on weekdays from 9 to 10. Day 0 of 1970 was a Thursday.
    fn office(day: u64, minute: u64) -> f64 {
        let weekend = matches!((day + 4) % 7, 0 | 6);
        if !weekend && (540..600).contains(&minute) {
            120.0
        } else {
            100.0
        }
    }

    #[test]
    fn t13_four_weeks_of_history_foresee_the_morning() {
        let mut season = Season::default();
        let lead = 15 * MINUTE;
        // up to Thursday, 8:46 of the fifth week
        let until = 4 * WEEK + 8 * 3_600_000 + 46 * MINUTE;
        learn(&mut season, WEEK, lead, (0, until - 16 * MINUTE), office);
        let before = season.forecast(WEEK, until - 16 * MINUTE).unwrap().value;
        assert!((before - 100.0).abs() < 1.0, "{before} half an hour before");
        learn(&mut season, WEEK, lead, (until - 16 * MINUTE, until), office);
        let value = season.forecast(WEEK, until).unwrap().value;
        assert!((value - 120.0).abs() < 1.0, "{value} a quarter of an hour before");
        // Saturday is quiet
        let until = until + 2 * DAY;
        learn(&mut season, WEEK, lead, (until - 2 * DAY, until), office);
        let value = season.forecast(WEEK, until).unwrap().value;
        assert!((value - 100.0).abs() < 1.0, "{value} on Saturday");
    }

    #[test]
    fn what_was_learnt_last_does_not_say_what_time_it_is() {
        let mut season = Season::default();
        let lead = 15 * MINUTE;
        // up to Monday, 8:46 of the fifth week; then the gateway or the signal is away
        let until = 4 * WEEK + 4 * DAY + 8 * 3_600_000 + 46 * MINUTE;
        learn(&mut season, WEEK, lead, (0, until), office);
        let at = |season: &Season, ms: u64| season.forecast(WEEK, ms).unwrap().value;
        assert!((at(&season, until) - 120.0).abs() < 1.0);
        assert!((at(&season, until + 5 * 3_600_000) - 100.0).abs() < 1.0, "in the afternoon");
        assert!((at(&season, until + DAY) - 120.0).abs() < 1.0, "on the next morning");
        // how that day compares is not known before a slot of it is over; it may be twice as busy
        season.learn(WEEK, lead, until + DAY, 1, 200.0);
        assert!((at(&season, until + DAY) - 120.0).abs() < 1.0);
        season.learn(WEEK, lead, until + DAY + 15 * MINUTE, 1, 200.0);
        let busier = at(&season, until + DAY + 15 * MINUTE);
        assert!((180.0..240.0).contains(&busier), "{busier}");
    }

    #[test]
    fn two_periods_are_needed() {
        let mut season = Season::default();
        let wave = |_: u64, minute: u64| 100.0 + minute as f64;
        learn(&mut season, DAY, 5 * MINUTE, (0, 2 * DAY), wave);
        assert_eq!(season.forecast(DAY, 2 * DAY), Err(Silent::Learning));
        learn(&mut season, DAY, 5 * MINUTE, (2 * DAY, 3 * DAY), wave);
        assert!(season.forecast(DAY, 3 * DAY).is_ok());
    }

    #[test]
    fn what_has_no_season_is_not_foreseen() {
        let mut season = Season::default();
        // a walk with a period that is none of ours
        let walk = |day: u64, minute: u64| 100.0 + (((day * 1440 + minute) * 7919) % 1009) as f64 / 10.0;
        let drift = |day: u64, minute: u64| walk(day, minute - minute % 37) + day as f64 * 50.0;
        learn(&mut season, DAY, 5 * MINUTE, (0, 6 * DAY), drift);
        assert_eq!(season.forecast(DAY, 6 * DAY), Err(Silent::Inferior));
    }

    #[test]
    fn another_period_begins_anew() {
        let mut season = Season::default();
        learn(&mut season, DAY, 5 * MINUTE, (0, 4 * DAY), office);
        assert_eq!(season.forecast(WEEK, 4 * DAY), Err(Silent::Learning));
        season.learn(WEEK, 5 * MINUTE, 4 * DAY, 1, 5.0);
        assert_eq!(season.judged, 0);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_teach_twice() {
        let mut season = Season::default();
        learn(&mut season, DAY, 5 * MINUTE, (0, DAY), office);
        let seen = season.profile[287].1;
        season.learn(DAY, 5 * MINUTE, DAY - 3_600_000, 1, 5.0);
        assert_eq!(season.profile[287].1, seen);
    }
}
