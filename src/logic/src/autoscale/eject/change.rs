//! What has changed, as a log line says it.

use std::fmt;

/// Of a peer, or of all of an upstream. `Display` is the end of a log line.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Ejected {
        ms: u64,
        why: Why,
    },
    /// It would be, were there not too many already.
    Spared {
        why: Why,
        out: usize,
        of: usize,
    },
    /// Its time is over, or a check has reached it.
    Probation {
        by_check: bool,
    },
    Well,
    /// Ejections of an upstream are ignored, because so many are.
    Ignored {
        out: usize,
        of: usize,
    },
    Obeyed,
}

/// What a peer is ejected for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    Failures(u32),
    Rate {
        failed: u32,
        of: u32,
    },
    Slow {
        us: f64,
        usual_us: f64,
    },
    Checks(u32),
    /// It failed on probation.
    Relapse,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ejected { ms, why } => write!(f, "is ejected for {}: {why}", Span(*ms)),
            Self::Spared { why, out: 0, of: _ } => write!(f, "is not ejected, as it is the only one: {why}"),
            Self::Spared { why, out, of } => {
                write!(f, "is not ejected, as {out} of {of} are and more may not be: {why}")
            }
            Self::Probation { by_check: true } => {
                f.write_str("is on probation, because a check has reached it: one request at a time")
            }
            Self::Probation { by_check: false } => f.write_str("is on probation: one request at a time"),
            Self::Well => f.write_str("is well again"),
            Self::Ignored { out, of } => {
                write!(f, "{out} of {of} peers are ejected, which leaves too few: ejections are ignored")
            }
            Self::Obeyed => f.write_str("enough peers are left: ejections hold again"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(1) => f.write_str("a failure"),
            Self::Failures(n) => write!(f, "{n} failures in a row"),
            Self::Rate { failed, of } => write!(f, "{failed} of {of} answers failed"),
            Self::Slow { us, usual_us } => {
                write!(f, "it takes {:.0} ms where {:.0} ms are usual", us / 1000.0, usual_us / 1000.0)
            }
            Self::Checks(1) => f.write_str("a failed check"),
            Self::Checks(n) => write!(f, "{n} failed checks in a row"),
            Self::Relapse => f.write_str("it failed on probation"),
        }
    }
}

/// A time as the configuration writes it.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms % 1000 == 0 => write!(f, "{}s", ms / 1000),
            ms => write!(f, "{ms}ms"),
        }
    }
}
