//! `schedule`: a floor under the number of replicas at times that are known in advance.
//!
//! *Why*: nothing measured can show a sale that begins at nine. *When it acts*: the floor holds from `before` ahead of a minute of
//! the cron expression until `for` after it (one minute, unless told); minutes in a row, as in `* 9-17 * * mon-fri`, are one long
//! floor. *What it cannot see*: whether anybody comes.
//!
//! Time zones are data, not code: the caller brings the bytes of a zoneinfo file (RFC 8536), or a POSIX TZ string stands for one.
//! A local time that the clocks skip counts as the same time after the skip; one that comes twice counts both times.

use super::cron::Cron;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// A floor by the calendar.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub cron: Cron,
    pub zone: TimeZone,
    pub before_s: u32,
    pub for_s: u32,
    pub min: u32,
}

impl Schedule {
    /// The first due minute, as seconds since 1970, whose floor holds at `unix_s`.
    pub fn active(&self, unix_s: i64) -> Option<i64> {
        // due at d: d - before <= now < d + for
        let from = unix_s - i64::from(self.for_s) + 1;
        let until = unix_s + i64::from(self.before_s);
        // two hours more on both sides: a change of the clocks moves local times against each other
        let margin = SignedDuration::from_hours(2);
        let local = |s: i64| Timestamp::from_second(s).ok().map(|t| self.zone.to_datetime(t));
        let (mut at, end) = (local(from)?.checked_sub(margin).ok()?, local(until)?.checked_add(margin).ok()?);
        while let Some(due) = self.cron.next(at, end) {
            if let Some(instant) =
                self.instants(due).into_iter().flatten().find(|s| (from..=until).contains(s))
            {
                return Some(instant);
            }
            at = due.checked_add(SignedDuration::from_mins(1)).ok()?;
        }
        None
    }

    /// When a local time happens: once, or twice.
    fn instants(&self, at: jiff::civil::DateTime) -> [Option<i64>; 2] {
        let instant = |offset: jiff::tz::Offset| offset.to_timestamp(at).ok().map(|t| t.as_second());
        match self.zone.to_ambiguous_timestamp(at).offset() {
            AmbiguousOffset::Unambiguous { offset } => [instant(offset), None],
            // the offset before the gap is what moves the time behind it
            AmbiguousOffset::Gap { before, .. } => [instant(before), None],
            AmbiguousOffset::Fold { before, after } => [instant(before), instant(after)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str, zone: &str, before_s: u32, for_s: u32) -> Schedule {
        Schedule {
            cron: cron.parse().unwrap(),
            zone: TimeZone::posix(zone).unwrap(),
            before_s,
            for_s,
            min: 8,
        }
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn t3_the_floor_is_there_fifteen_minutes_before_the_sale() {
        let sale = schedule("0 9 * * fri", "UTC0", 900, 3600);
        let table = [
            ("2026-11-27T08:44:59Z", false),
            ("2026-11-27T08:45:00Z", true),
            ("2026-11-27T09:59:59Z", true),
            ("2026-11-27T10:00:00Z", false),
            ("2026-11-26T09:00:00Z", false),
        ];
        for (time, right) in table {
            assert_eq!(sale.active(at(time)).is_some(), right, "{time}");
        }
        assert_eq!(sale.active(at("2026-11-27T08:50:00Z")), Some(at("2026-11-27T09:00:00Z")));
    }

    #[test]
    fn minutes_in_a_row_are_one_floor() {
        let office = schedule("* 9-17 * * mon-fri", "UTC0", 0, 60);
        assert!(office.active(at("2026-11-23T09:00:00Z")).is_some());
        assert!(office.active(at("2026-11-23T17:59:59Z")).is_some());
        assert!(office.active(at("2026-11-23T18:00:00Z")).is_none());
    }

    #[test]
    fn local_time_moves_with_the_season() {
        let berlin = schedule("0 9 * * *", "CET-1CEST,M3.5.0,M10.5.0/3", 0, 60);
        assert!(berlin.active(at("2026-01-15T08:00:00Z")).is_some());
        assert!(berlin.active(at("2026-07-15T07:00:00Z")).is_some());
        assert!(berlin.active(at("2026-07-15T08:00:00Z")).is_none());
    }

    #[test]
    fn a_skipped_time_comes_after_the_skip_and_a_doubled_one_twice() {
        // 2026-03-29 02:00 CET is 03:00 CEST; 2026-10-25 03:00 CEST is 02:00 CET
        let night = schedule("30 2 * * *", "CET-1CEST,M3.5.0,M10.5.0/3", 0, 60);
        assert!(night.active(at("2026-03-29T01:30:00Z")).is_some(), "03:30 CEST");
        assert!(night.active(at("2026-10-25T00:30:00Z")).is_some(), "02:30 CEST");
        assert!(night.active(at("2026-10-25T01:30:00Z")).is_some(), "02:30 CET");
    }
}
