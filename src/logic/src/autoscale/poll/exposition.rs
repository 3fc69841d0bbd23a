//! The text format of Prometheus, version 0.0.4, and OpenMetrics 1.0 where it is the same: a line is a sample, `name{labels} value`.
//!
//! A metric's value is the sum of its samples, over all sets of labels; of a histogram or a summary, `NAME_sum` and `NAME_count` are
//! metrics of their own. One sample that is not finite makes the sum unknown: a sum without it would be too low. Comments, types, time
//! stamps and exemplars are passed over. See *Exposition formats* in Prometheus' documentation, and the OpenMetrics specification.

use super::{Brought, Value, Wrong};

/// How long a line may be that begins with a wanted name.
const MOST_LINE: usize = 64 << 10;
/// How many metrics are kept when none are named.
pub const MOST_METRICS: usize = 32;
/// The longest name that is kept when none are named.
const MOST_NAME: usize = 100;

/// Reads an exposition piece by piece.
#[derive(Debug)]
pub struct Exposition {
    found: Vec<Found>,
    /// Names that were not asked for are kept, too.
    all: bool,
    too_many: bool,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The rest of the line is of no interest.
    skip: bool,
    /// OpenMetrics' `# EOF` was there.
    over: bool,
}

#[derive(Debug)]
struct Found {
    name: String,
    sum: Option<f64>,
    /// Its absence is worth a word.
    asked: bool,
}

impl Exposition {
    /// These metrics alone.
    pub fn named(metrics: &[String]) -> Self {
        let found = metrics.iter().map(|name| Found { name: name.clone(), sum: None, asked: true });
        Self { found: found.collect(), all: false, too_many: false, line: vec![], skip: false, over: false }
    }

    /// All metrics, so many as there is room for; `watched` have room in any case.
    pub fn all(watched: &[String]) -> Self {
        Self { all: true, ..Self::named(watched) }
    }

    pub fn feed(&mut self, mut piece: &[u8]) -> Result<(), Wrong> {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (line, rest) = (&piece[..end], &piece[end + 1..]);
            piece = rest;
            if self.line.is_empty() && !self.skip {
                self.sample(line)?;
                continue;
            }
            self.keep(line)?;
            if !core::mem::take(&mut self.skip) {
                let line = core::mem::take(&mut self.line);
                self.sample(&line)?;
                self.line = line;
            }
            self.line.clear();
        }
        self.keep(piece)
    }

    /// Keeps the beginning of a line; of one that is too long, nothing is kept unless it matters.
    fn keep(&mut self, part: &[u8]) -> Result<(), Wrong> {
        if self.skip {
            return Ok(());
        }
        let room = MOST_LINE - self.line.len();
        self.line.extend_from_slice(&part[..part.len().min(room)]);
        if part.len() <= room {
            return Ok(());
        }
        let name = split(self.line.trim_ascii_start()).map(|(name, _)| name);
        let asked = self.found.iter().find(|found| name == Some(found.name.as_bytes()));
        if let Some(found) = asked {
            return Err(Wrong::LongLine(found.name.clone()));
        }
        self.line.clear();
        self.skip = true;
        Ok(())
    }

    fn sample(&mut self, line: &[u8]) -> Result<(), Wrong> {
        let line = line.trim_ascii();
        if self.over || line.is_empty() {
            return Ok(());
        }
        if line[0] == b'#' {
            self.over = line == b"# EOF";
            return Ok(());
        }
        let Some((name, rest)) = split(line) else { return Ok(()) };
        let Some(place) = self.place(name) else { return Ok(()) };
        let found = &mut self.found[place];
        let value = value(rest).ok_or_else(|| Wrong::Line(found.name.clone()))?;
        found.sum = Some(found.sum.unwrap_or(0.0) + value);
        Ok(())
    }

    fn place(&mut self, name: &[u8]) -> Option<usize> {
        let place = self.found.iter().position(|found| found.name.as_bytes() == name);
        if place.is_some() || !self.all || name.len() > MOST_NAME || name.ends_with(b"_bucket") {
            return place;
        }
        if self.found.len() >= MOST_METRICS {
            self.too_many = true;
            return None;
        }
        let name = core::str::from_utf8(name).ok()?.to_owned();
        self.found.push(Found { name, sum: None, asked: false });
        Some(self.found.len() - 1)
    }

    pub fn finish(mut self, framed: bool) -> Brought {
        let last = core::mem::take(&mut self.line);
        let cut = !last.is_empty() && !framed;
        let ended = if cut { Err(Wrong::Cut) } else { self.sample(&last) };
        if let Err(wrong) = ended {
            return Brought { values: Vec::new(), wrong: Some(wrong) };
        }
        let mut brought = Brought::default();
        let alone = !self.all && self.found.len() == 1;
        for found in self.found {
            match found.sum {
                Some(value) if value.is_finite() => {
                    if alone {
                        brought.values.push(Value { field: None, value });
                    }
                    brought.values.push(Value { field: Some(found.name), value });
                }
                Some(_) if found.asked => wrong(&mut brought, Wrong::NotFinite(found.name)),
                None if found.asked => wrong(&mut brought, Wrong::Absent(found.name)),
                _ => {}
            }
        }
        if self.all && brought.values.is_empty() {
            wrong(&mut brought, Wrong::NoMetrics);
        } else if self.too_many {
            wrong(&mut brought, Wrong::TooMany { max: MOST_METRICS });
        }
        brought
    }
}

/// The first thing that is wrong is the one to tell.
fn wrong(brought: &mut Brought, what: Wrong) {
    brought.wrong.get_or_insert(what);
}

/// The name at the beginning of a sample, and the rest.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let legal = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':');
    let end = line.iter().position(|b| !legal(b))?;
    (end > 0 && matches!(line[end], b' ' | b'\t' | b'{')).then(|| line.split_at(end))
}

/// The value of a sample; `rest` is what follows its name.
fn value(rest: &[u8]) -> Option<f64> {
    let mut rest = rest.trim_ascii_start();
    if rest.first() == Some(&b'{') {
        rest = rest[1 + labels(&rest[1..])?..].trim_ascii_start();
    }
    let end = rest.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(rest.len());
    core::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// How many bytes the labels take, with the brace that ends them. A value is quoted and may hold braces, and quotes after a backslash.
fn labels(text: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (i, b) in text.iter().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(i + 1),
            _ => {}
        }
    }
    None
}
