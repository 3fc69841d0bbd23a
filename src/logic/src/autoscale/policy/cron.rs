//! Cron expressions of five fields: minute, hour, day of month, month, day of week.
//!
//! What `crontab(5)` of Vixie cron says: numbers, ranges `9-17`, lists `1,15`, steps `*/5` and `10-40/10`, names `jan`-`dec` and
//! `sun`-`sat`, Sunday as 0 or 7. When both the day of month and the day of week are restricted, a day matches that satisfies
//! either. What Vixie cron would take but hardly anybody means is refused with what would be right: a backward range, a step on a
//! single number, a day that no month has.

use jiff::civil::{Date, DateTime};
use std::str::FromStr;
use thiserror::Error;

/// The minutes at which something is due, in a calendar without a time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both day fields are restricted: either suffices.
    either: bool,
}

/// Why a text is not a cron expression.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CronError {
    #[error("cron \"{text}\" has {found} fields; write five: minute hour day month weekday, such as \"0 9 * * mon-fri\"")]
    Fields { text: String, found: usize },
    #[error("cron {field} \"{part}\" is not a number{names}; write {first}-{last}, *, a range a-b, a list a,b or a step */n")]
    Number { field: &'static str, part: String, names: &'static str, first: u32, last: u32 },
    #[error("cron {field} \"{part}\" is outside {first}-{last}")]
    Range { field: &'static str, part: String, first: u32, last: u32 },
    #[error("cron {field} \"{part}\" runs backwards; write {right}")]
    Backwards { field: &'static str, part: String, right: String },
    #[error("cron {field} \"{part}\": a step needs a range; write {right}")]
    Step { field: &'static str, part: String, right: String },
    #[error("cron \"{0}\" never comes: no such month has such a day")]
    Never(String),
}

struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { name: "minute", first: 0, last: 59, names: &[] },
    Field { name: "hour", first: 0, last: 23, names: &[] },
    Field { name: "day", first: 1, last: 31, names: &[] },
    Field { name: "month", first: 1, last: 12, names: MONTHS },
    Field { name: "weekday", first: 0, last: 7, names: WEEKDAYS },
];

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = words[..] else {
            return Err(CronError::Fields { text: text.into(), found: words.len() });
        };
        let bits = |n: usize, word: &str| FIELDS[n].bits(word);
        let weekdays = bits(4, weekday)?;
        let cron = Self {
            minutes: bits(0, minute)?,
            hours: bits(1, hour)?,
            days: bits(2, day)?,
            months: bits(3, month)?,
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        // 2000 is a leap year; weekdays alone always come
        let mut days = (1..=12).flat_map(|m| (1..=31).filter_map(move |d| Date::new(2000, m, d).ok()));
        if !cron.either && !days.any(|date| cron.months >> date.month() & cron.days >> date.day() & 1 == 1) {
            return Err(CronError::Never(text.into()));
        }
        Ok(cron)
    }
}

impl Field {
    fn bits(&self, word: &str) -> Result<u64, CronError> {
        word.split(',').try_fold(0, |bits, part| Ok(bits | self.part(part)?))
    }

    fn part(&self, part: &str) -> Result<u64, CronError> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.first, if self.names == WEEKDAYS { 6 } else { self.last }),
            Some((a, b)) => (self.number(a, part)?, self.number(b, part)?),
            None => {
                let n = self.number(range, part)?;
                if let Some(step) = step {
                    let right = format!("{n}-{}/{step}", self.last);
                    return Err(CronError::Step { field: self.name, part: part.into(), right });
                }
                (n, n)
            }
        };
        // "fri-sun" means up to the Sunday after
        let last = if self.names == WEEKDAYS && last == 0 && first > 0 { 7 } else { last };
        if first > last {
            let end = if self.names == WEEKDAYS { 6 } else { self.last };
            let right = format!("{first}-{end},{}-{last}", self.first);
            return Err(CronError::Backwards { field: self.name, part: part.into(), right });
        }
        let step = match step {
            None => 1,
            Some(text) => match text.parse::<u32>() {
                Ok(n) if (1..=self.last).contains(&n) => n,
                _ => return Err(self.not_a_number(part)),
            },
        };
        Ok((first..=last).step_by(step as usize).fold(0, |bits, n| bits | 1 << n))
    }

    fn number(&self, word: &str, part: &str) -> Result<u32, CronError> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(word)) {
            return Ok(at as u32 + if self.names == MONTHS { 1 } else { 0 });
        }
        let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        let n = word.parse::<u32>().ok().filter(|_| digits).ok_or_else(|| self.not_a_number(part))?;
        if !(self.first..=self.last).contains(&n) {
            let (field, first, last) = (self.name, self.first, self.last);
            return Err(CronError::Range { field, part: part.into(), first, last });
        }
        Ok(n)
    }

    fn not_a_number(&self, part: &str) -> CronError {
        let names = match self.name {
            "month" => " or a name (jan-dec)",
            "weekday" => " or a name (sun-sat)",
            _ => "",
        };
        let (field, first, last) = (self.name, self.first, self.last);
        CronError::Number { field, part: part.into(), names, first, last }
    }
}

impl Cron {
    fn has_day(&self, date: Date) -> bool {
        let day = self.days >> date.day() & 1 == 1;
        let weekday = self.weekdays >> date.weekday().to_sunday_zero_offset() & 1 == 1;
        self.months >> date.month() & 1 == 1 && if self.either { day || weekday } else { day && weekday }
    }

    /// Whether the minute is one of those meant.
    pub fn has(&self, at: DateTime) -> bool {
        self.has_day(at.date()) && self.hours >> at.hour() & 1 == 1 && self.minutes >> at.minute() & 1 == 1
    }

    /// The first minute meant that is not before `from` and not after `until`.
    pub fn next(&self, from: DateTime, until: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let (mut hour, mut minute) = (from.hour(), from.minute() + i8::from(from.second() > 0));
        while date <= until.date() {
            if self.has_day(date) {
                if let Some((hour, minute)) = self.time(hour, minute) {
                    return Some(date.at(hour, minute, 0, 0)).filter(|at| *at <= until);
                }
            }
            date = date.tomorrow().ok()?;
            (hour, minute) = (0, 0);
        }
        None
    }

    /// The first time of a day from hour and minute on; a minute of 60 is the next hour.
    fn time(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        let of_hour = |minute: i8| next_bit(self.minutes, minute);
        if self.hours >> hour & 1 == 1 {
            if let Some(minute) = of_hour(minute) {
                return Some((hour, minute));
            }
        }
        Some((next_bit(self.hours, hour + 1)?, of_hour(0)?))
    }
}

fn next_bit(bits: u64, from: i8) -> Option<i8> {
    let rest = bits >> from;
    (rest != 0).then(|| from + rest.trailing_zeros() as i8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn next(text: &str, from: &str) -> String {
        let from: DateTime = from.parse().unwrap();
        let until = date(2040, 1, 1).at(0, 0, 0, 0);
        cron(text).next(from, until).map_or("never".into(), |at| at.strftime("%a %Y-%m-%d %H:%M").to_string())
    }

    #[test]
    fn the_next_minute_is_found() {
        let table = [
            ("* * * * *", "2026-11-22 09:30:00", "Sun 2026-11-22 09:30"),
            ("* * * * *", "2026-11-22 09:59:01", "Sun 2026-11-22 10:00"),
            ("* * * * *", "2026-12-31 23:59:30", "Fri 2027-01-01 00:00"),
            ("0 9 * * mon-fri", "2026-11-22 09:30:00", "Mon 2026-11-23 09:00"),
            ("*/15 9-17 * * *", "2026-11-22 17:46:00", "Mon 2026-11-23 09:00"),
            ("10-40/10 8,20 * * *", "2026-11-22 08:31:00", "Sun 2026-11-22 08:40"),
            ("0 0 29 2 *", "2026-11-22 00:00:00", "Tue 2028-02-29 00:00"),
            ("0 0 * * 7", "2026-11-23 00:00:00", "Sun 2026-11-29 00:00"),
            ("0 0 * * fri-sun", "2026-11-23 00:00:00", "Fri 2026-11-27 00:00"),
            ("0 0 1 jan *", "2026-11-23 00:00:00", "Fri 2027-01-01 00:00"),
            // crontab(5)'s own example of "either": on the 1st and 15th of each month, plus every Friday
            ("30 4 1,15 * 5", "2026-11-28 00:00:00", "Tue 2026-12-01 04:30"),
            ("30 4 1,15 * 5", "2026-11-23 00:00:00", "Fri 2026-11-27 04:30"),
        ];
        for (text, from, right) in table {
            assert_eq!(next(text, from), right, "{text} from {from}");
        }
    }

    #[test]
    fn every_found_minute_matches_and_none_before_it() {
        for text in ["*/7 3-5 * * tue", "59 23 31 * *", "0 12 13 * fri"] {
            let cron = cron(text);
            let from = date(2026, 10, 30).at(22, 0, 0, 0);
            let until = date(2026, 12, 31).at(0, 0, 0, 0);
            let slow =
                (0..90_000i64).map(|m| from + jiff::SignedDuration::from_mins(m)).find(|at| cron.has(*at));
            assert_eq!(cron.next(from, until), slow, "{text}");
        }
    }

    #[test]
    fn nonsense_says_what_would_be_right() {
        let table = [
            ("0 9 * *", "has 4 fields"),
            ("0 24 * * *", "cron hour \"24\" is outside 0-23"),
            ("x 9 * * *", "cron minute \"x\" is not a number; write 0-59"),
            ("0 9 * foo *", "or a name (jan-dec)"),
            ("0 9 * * fri-mon", "runs backwards; write 5-6,0-1"),
            ("0 22-6 * * *", "runs backwards; write 22-23,0-6"),
            ("5/15 * * * *", "a step needs a range; write 5-59/15"),
            ("*/0 * * * *", "cron minute \"*/0\" is not a number"),
            ("0 0 30 feb *", "never comes"),
            ("+5 * * * *", "cron minute \"+5\" is not a number"),
            ("1, * * * *", "cron minute \"\" is not a number"),
        ];
        for (text, part) in table {
            let error = text.parse::<Cron>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
