//! Traces: a CSV of time and load, or an access log.

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::Timestamp;
use thiserror::Error;

/// A load over time, and whatever else was recorded beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Seconds since the beginning, rising, and requests a second.
    points: Vec<(f64, f64)>,
    /// Signals by name (`ext.queue.depth`), a value for each point.
    columns: Vec<(String, Vec<f64>)>,
    /// When it begins, in seconds since 1970.
    pub begins: i64,
    /// The usual distance of points.
    pub step_s: f64,
    linear: bool,
}

/// How a trace is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taken {
    /// So many times faster than it was recorded.
    pub speed: f64,
    /// Stretched so that its highest load is that many requests a second.
    pub peak: Option<f64>,
    /// What a count is counted over, in seconds; by default the usual distance of points.
    pub per_s: Option<f64>,
    /// Between points the load changes evenly, instead of staying until the next.
    pub linear: bool,
}

#[derive(Clone, Debug, Error, PartialEq)]
pub enum TraceError {
    #[error("line {line}: \"{text}\" is not a time; write 2026-01-31 12:00:00, RFC 3339 or seconds")]
    Time { line: usize, text: String },
    #[error("line {line}: \"{text}\" is not a number")]
    Number { line: usize, text: String },
    #[error("line {line}: {found} columns where the first line has {wanted}")]
    Columns { line: usize, found: usize, wanted: usize },
    #[error("line {line}: time runs backwards")]
    Backwards { line: usize },
    #[error("no points: a CSV has a time and a load in each line, an access log a time in brackets")]
    Empty,
}

impl Trace {
    /// Reads a text: an access log if its first line has a time in brackets, else a CSV.
    pub fn parse(text: &str, taken: Taken) -> Result<Self, TraceError> {
        let first = text.lines().next().unwrap_or_default();
        let table = if log_time(first).is_some() { access_log(text)? } else { csv(text)? };
        table.trace(taken)
    }

    /// Seconds of trace.
    pub fn seconds(&self) -> u64 {
        (self.points.last().map_or(0.0, |(s, _)| *s) + self.step_s).floor() as u64
    }

    /// The names of the other columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// Requests a second at second `s`.
    pub fn load(&self, s: f64) -> f64 {
        let after = self.points.partition_point(|(at, _)| *at <= s);
        let (at, load) = self.points[after.saturating_sub(1)];
        match self.points.get(after) {
            Some((next, other)) if self.linear && after > 0 => load + (other - load) * (s - at) / (next - at),
            _ => load,
        }
    }

    /// The value of another column at second `s`.
    pub fn column(&self, name: &str, s: f64) -> Option<f64> {
        let (_, values) = self.columns.iter().find(|(other, _)| other == name)?;
        let after = self.points.partition_point(|(at, _)| *at <= s);
        values.get(after.saturating_sub(1)).copied()
    }

    pub fn peak(&self) -> f64 {
        self.points.iter().map(|(_, load)| *load).fold(0.0, f64::max)
    }
}

/// Lines as they were written: seconds since 1970, load, other columns.
struct Table {
    names: Vec<String>,
    rows: Vec<(f64, Vec<f64>)>,
    /// The load is a rate already.
    rate: bool,
}

impl Table {
    fn trace(self, taken: Taken) -> Result<Trace, TraceError> {
        let begins = self.rows.first().ok_or(TraceError::Empty)?.0;
        let mut gaps: Vec<f64> = self.rows.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        gaps.sort_by(f64::total_cmp);
        let step = gaps.get(gaps.len() / 2).copied().unwrap_or(1.0);
        let per = if self.rate { 1.0 } else { taken.per_s.unwrap_or(step) };
        let load = |row: &(f64, Vec<f64>)| row.1[0].max(0.0) / per;
        let peak = self.rows.iter().map(load).fold(0.0, f64::max);
        let scale = taken.peak.map_or(1.0, |wanted| if peak > 0.0 { wanted / peak } else { 1.0 });
        let points = self.rows.iter().map(|row| ((row.0 - begins) / taken.speed, load(row) * scale));
        let column = |n: usize| self.rows.iter().map(|row| row.1[n]).collect();
        Ok(Trace {
            points: points.collect(),
            columns: (1..self.names.len()).map(|n| (self.names[n].clone(), column(n))).collect(),
            begins: begins as i64,
            step_s: step / taken.speed,
            linear: taken.linear,
        })
    }
}

fn csv(text: &str) -> Result<Table, TraceError> {
    let mut lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
    let mut table = Table { names: Vec::new(), rows: Vec::new(), rate: false };
    let mut seen = f64::NEG_INFINITY;
    for (line, text) in lines.by_ref().filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
        let cells: Vec<&str> = text.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
        if table.names.is_empty() {
            let header = cells.get(1).is_some_and(|cell| cell.parse::<f64>().is_err());
            let names = if header { cells.clone() } else { vec!["time", "count"] };
            table.names = names.iter().skip(1).map(|name| (*name).to_string()).collect();
            table.rate = table.names.first().is_some_and(|name| name.eq_ignore_ascii_case("rate"));
            if header {
                continue;
            }
        }
        if cells.len() != table.names.len() + 1 || cells.len() < 2 {
            return Err(TraceError::Columns { line, found: cells.len(), wanted: table.names.len() + 1 });
        }
        let at = time(cells[0]).ok_or_else(|| TraceError::Time { line, text: cells[0].into() })?;
        if at <= seen {
            return Err(TraceError::Backwards { line });
        }
        seen = at;
        let number = |cell: &&str| {
            let number = cell.parse::<f64>().ok().filter(|n| n.is_finite());
            number.ok_or_else(|| TraceError::Number { line, text: (*cell).into() })
        };
        table.rows.push((at, cells[1..].iter().map(number).collect::<Result<_, _>>()?));
    }
    Ok(table)
}

/// Seconds since 1970, of a number or of a date (UTC unless it says otherwise).
fn time(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant.as_millisecond() as f64 / 1000.0);
    }
    let civil: DateTime = text.parse().ok()?;
    TimeZone::UTC.to_timestamp(civil).ok().map(|t| t.as_millisecond() as f64 / 1000.0)
}

/// The time in brackets of a line of nginx's "combined" format and its kin.
fn log_time(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once('[')?;
    let (text, _) = rest.split_once(']')?;
    strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).ok()?.to_timestamp().ok().map(|t| t.as_second() as f64)
}

/// Requests of each second. A line is written when its request ends, so neighbours may be out of order.
fn access_log(text: &str) -> Result<Table, TraceError> {
    let mut counts = std::collections::BTreeMap::<i64, f64>::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = || TraceError::Time { line: n + 1, text: line.chars().take(60).collect() };
        *counts.entry(log_time(line).ok_or_else(bad)? as i64).or_default() += 1.0;
    }
    let (first, last) = match (counts.first_key_value(), counts.last_key_value()) {
        (Some((first, _)), Some((last, _))) => (*first, *last),
        _ => return Err(TraceError::Empty),
    };
    let rows = (first..=last).map(|s| (s as f64, vec![counts.get(&s).copied().unwrap_or(0.0)])).collect();
    Ok(Table { names: vec!["rate".into()], rows, rate: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AS_IS: Taken = Taken { speed: 1.0, peak: None, per_s: None, linear: false };

    #[test]
    fn counts_become_rates() {
        let text =
            "timestamp,value\n2014-04-10 00:00:00,300\n2014-04-10 00:05:00,600\n2014-04-10 00:10:00,0\n";
        let trace = Trace::parse(text, AS_IS).unwrap();
        assert_eq!((trace.seconds(), trace.step_s, trace.begins), (900, 300.0, 1_397_088_000));
        assert_eq!([0.0, 299.0, 300.0, 899.0].map(|s| trace.load(s)), [1.0, 1.0, 2.0, 0.0]);
        let fast =
            Trace::parse(text, Taken { speed: 10.0, peak: Some(50.0), linear: true, ..AS_IS }).unwrap();
        assert_eq!((fast.seconds(), fast.peak()), (90, 50.0));
        assert_eq!([0.0, 15.0, 30.0, 45.0, 60.0].map(|s| fast.load(s)), [25.0, 37.5, 50.0, 25.0, 0.0]);
    }

    #[test]
    fn more_columns_are_signals() {
        let text = "time,rate,ext.queue.depth\n0,5,1\n1,6,2\n2,7,3\n";
        let trace = Trace::parse(text, AS_IS).unwrap();
        assert_eq!(trace.columns().collect::<Vec<_>>(), ["ext.queue.depth"]);
        assert_eq!((trace.load(1.5), trace.column("ext.queue.depth", 1.5)), (6.0, Some(2.0)));
        assert_eq!(trace.column("ext.other", 1.5), None);
    }

    #[test]
    fn an_access_log_is_counted() {
        let line = |s: u32| {
            format!("127.0.0.1 - - [10/Oct/2026:13:55:{s:02} +0200] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"\n")
        };
        let text = [5, 5, 7, 6, 7, 9].map(line).concat();
        let trace = Trace::parse(&text, AS_IS).unwrap();
        assert_eq!(trace.seconds(), 5);
        assert_eq!([0.0, 1.0, 2.0, 3.0, 4.0].map(|s| trace.load(s)), [2.0, 1.0, 2.0, 0.0, 1.0]);
    }

    #[test]
    fn bad_lines_are_named() {
        let table = [
            ("", "no points"),
            ("time,value\nyesterday,5\n", "line 2: \"yesterday\" is not a time"),
            ("time,value\n1,many\n", "line 2: \"many\" is not a number"),
            ("time,value\n1,2,3\n", "line 2: 3 columns where the first line has 2"),
            ("time,value\n2,1\n1,1\n", "line 3: time runs backwards"),
        ];
        for (text, part) in table {
            let error = Trace::parse(text, AS_IS).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
