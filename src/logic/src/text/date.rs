//! Dates: what `ngx.http_time`, `ngx.cookie_time`, `ngx.parse_http_time`, `ngx.today`, `ngx.localtime` and
//! `ngx.utctime` print and read.
//!
//! Days are counted with Howard Hinnant's civil-from-days algorithms ("chrono-compatible low-level date algorithms").
//! nginx's range holds: a time before 1970 is printed as its first second, one after 9999 as its last.

const DAY: i64 = 86_400;
/// 9999-12-31 23:59:59.
const LAST: i64 = 253_402_300_799;

const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// A time taken apart, without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    /// 0 is Sunday.
    pub weekday: u8,
}

impl Civil {
    /// From seconds since 1970, clamped to the years 1970 to 9999.
    pub fn from_unix(seconds: i64) -> Self {
        let seconds = seconds.clamp(0, LAST);
        let (days, rest) = (seconds / DAY, seconds % DAY);
        // years start in March here, so that the leap day is the last one; eras are 400 years
        let z = days + 719_468;
        let (era, of_era) = (z / 146_097, z % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month: month as u8,
            day: day as u8,
            hour: (rest / 3_600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
            weekday: ((days + 4) % 7) as u8,
        }
    }

    fn write_date(&self, out: &mut Vec<u8>) {
        four(self.year, out);
        out.push(b'-');
        two(self.month, out);
        out.push(b'-');
        two(self.day, out);
    }

    fn write_clock(&self, out: &mut Vec<u8>) {
        two(self.hour, out);
        out.push(b':');
        two(self.minute, out);
        out.push(b':');
        two(self.second, out);
    }

    /// `Thu, 18-Nov-`, with the given separator.
    fn write_day_and_month(&self, separator: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(WEEKDAYS[usize::from(self.weekday % 7)]);
        out.extend_from_slice(b", ");
        two(self.day, out);
        out.push(separator);
        out.extend_from_slice(MONTHS[usize::from((self.month - 1) % 12)]);
        out.push(separator);
    }
}

/// `ngx.http_time`: `Thu, 18 Nov 2010 11:27:35 GMT` (RFC 9110 "IMF-fixdate"), 29 bytes.
pub fn http_time(seconds: i64, out: &mut Vec<u8>) {
    let civil = Civil::from_unix(seconds);
    civil.write_day_and_month(b' ', out);
    four(civil.year, out);
    out.push(b' ');
    civil.write_clock(out);
    out.extend_from_slice(b" GMT");
}

/// `ngx.cookie_time`: `Thu, 18-Nov-10 11:27:35 GMT`; the year gets four digits from 2038 on. At most 29 bytes.
pub fn cookie_time(seconds: i64, out: &mut Vec<u8>) {
    let civil = Civil::from_unix(seconds);
    civil.write_day_and_month(b'-', out);
    if civil.year > 2037 {
        four(civil.year, out);
    } else {
        two((civil.year % 100) as u8, out);
    }
    out.push(b' ');
    civil.write_clock(out);
    out.extend_from_slice(b" GMT");
}

/// `ngx.today`: `2010-11-18`, at `offset` seconds east of UTC.
pub fn today(seconds: i64, offset: i32, out: &mut Vec<u8>) {
    Civil::from_unix(seconds.saturating_add(i64::from(offset))).write_date(out);
}

/// `ngx.localtime`, and with an offset of zero `ngx.utctime`: `2010-11-18 11:27:35`, 19 bytes.
pub fn localtime(seconds: i64, offset: i32, out: &mut Vec<u8>) {
    let civil = Civil::from_unix(seconds.saturating_add(i64::from(offset)));
    civil.write_date(out);
    out.push(b' ');
    civil.write_clock(out);
}

/// `ngx.parse_http_time`: seconds since 1970 of one of the three formats of RFC 9110, section 5.6.7:
/// `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` (years below 70 are 20xx),
/// `Sun Nov  6 08:49:37 1994`.
///
/// As in nginx the name of the day is not looked at, nor what follows the time. Unlike in nginx the month must be right
/// to the letter, with a blank after it in the third format, and there is no day 0.
pub fn parse_http_time(src: &[u8]) -> Option<i64> {
    let end = src.iter().position(|&byte| byte == b',' || byte == b' ')?;
    let mut text = Text(&src[end + 1..]);
    while text.skip(b' ') {}
    let (year, month, day, clock) = if src[end] == b' ' {
        let month = text.month()?;
        text.expect(b' ')?;
        text.skip(b' ');
        let day = text.day()?;
        text.expect(b' ')?;
        let clock = text.clock()?;
        text.expect(b' ')?;
        (text.digits(4)?, month, day, clock)
    } else {
        let day = text.digits(2)?;
        let short = !text.skip(b' ');
        let separator = if short { b'-' } else { b' ' };
        if short {
            text.expect(separator)?;
        }
        let month = text.month()?;
        text.expect(separator)?;
        let year = match short {
            true => text.digits(2).map(|year| year + if year < 70 { 2000 } else { 1900 })?,
            false => text.digits(4)?,
        };
        text.expect(b' ')?;
        (year, month, day, text.clock()?)
    };
    (1..=days_in(year, month)).contains(&day).then(|| days_from_civil(year, month, day) * DAY + clock)
}

/// Text being read from its front.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn skip(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.skip(byte).then_some(())
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.iter().try_fold(0, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
        })
    }

    /// One digit or two.
    fn day(&mut self) -> Option<i64> {
        let two = self.0.get(1).is_some_and(u8::is_ascii_digit);
        self.digits(1 + usize::from(two))
    }

    /// 1 to 12.
    fn month(&mut self) -> Option<i64> {
        let (name, rest) = self.0.split_at_checked(3)?;
        self.0 = rest;
        MONTHS.iter().position(|month| *month == name).map(|i| i as i64 + 1)
    }

    /// `hh:mm:ss` as seconds.
    fn clock(&mut self) -> Option<i64> {
        let hour = self.digits(2)?;
        self.expect(b':')?;
        let minute = self.digits(2)?;
        self.expect(b':')?;
        let second = self.digits(2)?;
        (hour < 24 && minute < 60 && second < 60).then_some(hour * 3_600 + minute * 60 + second)
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date from year 0 on.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

fn two(number: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + number / 10, b'0' + number % 10]);
}

/// The year, which is at most 9999.
fn four(number: i64, out: &mut Vec<u8>) {
    two((number / 100) as u8, out);
    two((number % 100) as u8, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(f: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn prints_known_times() {
        for (seconds, http, cookie) in [
            (1_290_079_655, "Thu, 18 Nov 2010 11:27:35 GMT", "Thu, 18-Nov-10 11:27:35 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01-Jan-70 00:00:00 GMT"),
            (-1, "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01-Jan-70 00:00:00 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT", "Tue, 29-Feb-00 12:34:56 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT", "Wed, 01-Mar-00 00:00:00 GMT"),
            (2_145_916_799, "Thu, 31 Dec 2037 23:59:59 GMT", "Thu, 31-Dec-37 23:59:59 GMT"),
            (2_145_916_800, "Fri, 01 Jan 2038 00:00:00 GMT", "Fri, 01-Jan-2038 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT", "Mon, 01-Mar-2100 00:00:00 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31-Dec-9999 23:59:59 GMT"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31-Dec-9999 23:59:59 GMT"),
            (i64::MIN, "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01-Jan-70 00:00:00 GMT"),
        ] {
            assert_eq!(text(|out| http_time(seconds, out)), http);
            assert_eq!(text(|out| cookie_time(seconds, out)), cookie);
        }
    }

    #[test]
    fn prints_local_times() {
        assert_eq!(text(|out| localtime(1_290_079_655, 0, out)), "2010-11-18 11:27:35");
        assert_eq!(text(|out| localtime(1_290_079_655, 8 * 3_600, out)), "2010-11-18 19:27:35");
        assert_eq!(text(|out| localtime(1_290_079_655, -(12 * 3_600), out)), "2010-11-17 23:27:35");
        assert_eq!(text(|out| today(1_290_079_655, 19_800, out)), "2010-11-18");
        assert_eq!(text(|out| today(1_293_839_999, 1, out)), "2011-01-01");
        assert_eq!(text(|out| today(i64::MAX, i32::MAX, out)), "9999-12-31");
    }

    #[test]
    fn reads_the_three_formats_and_nothing_else() {
        for (src, want) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Sun Nov 16 08:49:37 1994", Some(784_975_777)),
            ("Sun Nov 6 08:49:37 1994", Some(784_111_777)),
            ("Thu, 18 Nov 2010 11:27:35 GMT", Some(1_290_079_655)),
            ("Thu, 18 Nov 2010 11:27:35", Some(1_290_079_655)),
            ("Thu,18 Nov 2010 11:27:35 +0800", Some(1_290_079_655)),
            ("Thu,   18 Nov 2010 11:27:35", Some(1_290_079_655)),
            (", 18 Nov 2010 11:27:35", Some(1_290_079_655)),
            ("x, 01-Jan-69 00:00:00 GMT", Some(3_124_224_000)),
            ("x, 01-Jan-70 00:00:00 GMT", Some(0)),
            ("x, 31 Dec 1969 23:59:59 GMT", Some(-1)),
            ("x, 29 Feb 2000 00:00:00 GMT", Some(951_782_400)),
            ("x, 29 Feb 1900 00:00:00 GMT", None),
            ("x, 29 Feb 2001 00:00:00 GMT", None),
            ("x, 31 Apr 2001 00:00:00 GMT", None),
            ("x, 32 Jan 2001 00:00:00 GMT", None),
            ("x, 00 Jan 2001 00:00:00 GMT", None),
            ("x, 01 Jan 2001 24:00:00 GMT", None),
            ("x, 01 Jan 2001 00:60:00 GMT", None),
            ("x, 01 Jan 2001 00:00:60 GMT", None),
            ("x, 1 Jan 2001 00:00:00 GMT", None),
            ("x, 01 Jxn 2001 00:00:00 GMT", None),
            ("x, 01-Jan 2001 00:00:00 GMT", None),
            ("x, 01 Jan 2001 00:00:0", None),
            ("x, 01 Jan 2001 00-00-00", None),
            ("Sun Nov  6 08:49:37 199", None),
            ("abc", None),
            ("abc,", None),
            ("", None),
        ] {
            assert_eq!(parse_http_time(src.as_bytes()), want, "{src:?}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_prints(seconds in 0..=LAST) {
            prop_assert_eq!(parse_http_time(text(|out| http_time(seconds, out)).as_bytes()), Some(seconds));
        }

        #[test]
        fn reads_cookie_times(seconds in 0i64..2_145_916_800) {
            prop_assert_eq!(parse_http_time(text(|out| cookie_time(seconds, out)).as_bytes()), Some(seconds));
        }

        #[test]
        fn a_day_later_is_the_next_date(days in 0i64..2_932_896) {
            let (one, next) = (Civil::from_unix(days * DAY), Civil::from_unix((days + 1) * DAY));
            let (year, month, day) = (one.year, i64::from(one.month), i64::from(one.day));
            let want = if day < days_in(year, month) {
                (year, month, day + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
            prop_assert_eq!((next.year, i64::from(next.month), i64::from(next.day)), want);
            prop_assert_eq!(next.weekday, (one.weekday + 1) % 7);
        }

        #[test]
        fn no_text_breaks_the_reader(src in "[A-Za-z0-9,: -]{0,32}") {
            parse_http_time(src.as_bytes());
        }
    }
}
