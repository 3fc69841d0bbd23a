//! Windows: `5s 1m 1h` of time, the last requests `10r`, consecutive ticks `3x`.

use std::fmt;
use thiserror::Error;

/// The longest window the zone keeps.
pub const LONGEST_S: u32 = 3600;
/// How many last requests an upstream or a peer remembers one by one.
pub(super) const LONGEST_R: u32 = 64;
const LONGEST_X: u32 = 1000;

/// How far back a signal looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// The level at this instant; also what a moving average has, which forgets by itself.
    Now,
    /// The last seconds.
    Seconds(u32),
    /// The last requests.
    Requests(u32),
    /// The last ticks of the zone, one measurement each.
    Ticks(u32),
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WindowError {
    #[error("window \"{0}\" is not a number and a unit, such as 5s, 1m, 1h, 10r (requests) or 3x (ticks)")]
    Shape(String),
    #[error("window \"{0}\" has no unit; time is {0}s, requests are {0}r, ticks are {0}x")]
    NoUnit(String),
    #[error("window \"{text}\" has the unknown unit \"{unit}\"; known are s, m, h, r (requests), x (ticks)")]
    Unit { text: String, unit: String },
    #[error("window \"{0}\" is empty; the shortest are 1s, 1r, 1x")]
    Zero(String),
    #[error("window \"{text}\" is longer than what is kept; the longest is {longest}")]
    Long { text: String, longest: String },
}

impl Window {
    /// Reads `5s`, `1m`, `1h`, `10r`, `3x`.
    pub fn parse(text: &str) -> Result<Self, WindowError> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(WindowError::Shape(text.into()));
        }
        let (scale, longest, make): (u32, u32, fn(u32) -> Self) = match unit {
            "s" => (1, LONGEST_S, Self::Seconds),
            "m" => (60, LONGEST_S, Self::Seconds),
            "h" => (3600, LONGEST_S, Self::Seconds),
            "d" => (86400, LONGEST_S, Self::Seconds),
            "r" => (1, LONGEST_R, Self::Requests),
            "x" => (1, LONGEST_X, Self::Ticks),
            "" => return Err(WindowError::NoUnit(text.into())),
            _ => return Err(WindowError::Unit { text: text.into(), unit: unit.into() }),
        };
        let long = || WindowError::Long { text: text.into(), longest: make(longest).to_string() };
        let value = number.parse::<u32>().ok().and_then(|n| n.checked_mul(scale)).ok_or_else(long)?;
        match value {
            0 => Err(WindowError::Zero(text.into())),
            n if n > longest => Err(long()),
            n => Ok(make(n)),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Now => f.write_str("now"),
            Self::Seconds(s) if s % 3600 == 0 => write!(f, "{}h", s / 3600),
            Self::Seconds(s) if s % 60 == 0 => write!(f, "{}m", s / 60),
            Self::Seconds(s) => write!(f, "{s}s"),
            Self::Requests(n) => write!(f, "{n}r"),
            Self::Ticks(n) => write!(f, "{n}x"),
        }
    }
}
