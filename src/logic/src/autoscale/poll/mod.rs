//! What polls of other systems bring, and what the gateway uses itself: from text to numbers.
//!
//! A [`Collector`] takes an answer piece by piece as it comes and keeps what was asked for, so that ten megabytes of metrics cost the
//! memory of one line. [`exposition`] reads the text format of Prometheus, [`pointer`] a number in JSON; a PromQL instant query is the
//! latter. [`claim`] says which of all workers polls, [`usage`] how busy the gateway itself is.
//!
//! A number that cannot be trusted is no number: what is cut off, not finite or not there leaves the signal as it was, and by its age
//! it becomes stale. A stale signal never scales down, so every doubt ends on that side. Times that the other system writes beside its
//! numbers are not looked at: a value is as old as the answer that brought it.

pub mod claim;
pub mod exposition;
pub mod pointer;
pub mod usage;

use super::conf::Payload;
use exposition::Exposition;
use thiserror::Error;

/// How large a JSON answer may be: it is held in memory until its end.
pub const MOST_JSON: usize = 4 << 20;
/// How much of a text by another system is repeated in a message.
const MOST_WORDS: usize = 200;

/// A number that an answer brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// `None` is the signal itself, `ext.NAME`.
    pub field: Option<String>,
    pub value: f64,
}

/// What an answer brought, and what it lacks.
#[derive(Debug, Default, PartialEq)]
pub struct Brought {
    pub values: Vec<Value>,
    pub wrong: Option<Wrong>,
}

/// Why an answer has not the number that was asked for. `Display` is the end of a log line.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Wrong {
    #[error("the line of metric \"{0}\" cannot be read")]
    Line(String),
    #[error("a line of metric \"{0}\" is longer than 64k")]
    LongLine(String),
    #[error("there is no metric \"{0}\"")]
    Absent(String),
    #[error("metric \"{0}\" is not a finite number")]
    NotFinite(String),
    #[error("there are no metrics in it")]
    NoMetrics,
    #[error("it does not end with a line feed, so it may be cut off")]
    Cut,
    #[error("more than {max} metrics: name those you want with metric=")]
    TooMany { max: usize },
    #[error("it is longer than {0} bytes")]
    TooLarge(usize),
    #[error("it is not JSON: {0}")]
    NotJson(String),
    #[error("there is nothing at \"{0}\"")]
    Nothing(String),
    #[error("what is at \"{0}\" is not a finite number")]
    NotANumber(String),
    #[error("the result of the query is empty")]
    EmptyResult,
    #[error("the query failed: {0}")]
    Query(String),
}

/// Takes an answer as it comes.
#[derive(Debug)]
pub enum Collector {
    Text(Exposition),
    Json { pointer: String, text: Vec<u8> },
}

impl Collector {
    /// `watched` are the metrics that somebody is known to look at, for a payload of all metrics.
    pub fn new(payload: &Payload, watched: &[String]) -> Self {
        match payload {
            Payload::Prometheus(metrics) if metrics.is_empty() => Self::Text(Exposition::all(watched)),
            Payload::Prometheus(metrics) => Self::Text(Exposition::named(metrics)),
            Payload::Json(pointer) => Self::Json { pointer: pointer.clone(), text: Vec::new() },
        }
    }

    /// Takes the next piece; an error ends it.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), Wrong> {
        match self {
            Self::Text(text) => text.feed(piece),
            Self::Json { text, .. } => {
                let fits = text.len() + piece.len() <= MOST_JSON && text.try_reserve(piece.len()).is_ok();
                if !fits {
                    return Err(Wrong::TooLarge(MOST_JSON));
                }
                text.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// The answer has ended. `framed` says that its end is sure: it had a length, or came in chunks.
    pub fn finish(self, framed: bool) -> Brought {
        match self {
            Self::Text(text) => text.finish(framed),
            Self::Json { pointer, text } => match pointer::number(&text, &pointer) {
                Ok(value) => Brought { values: vec![Value { field: None, value }], wrong: None },
                Err(wrong) => Brought { values: Vec::new(), wrong: Some(wrong) },
            },
        }
    }

    /// What an answer of a status other than 200 says about the reason, if it says it in words that are known.
    pub fn refusal(&self) -> Option<Wrong> {
        match self {
            Self::Text(_) => None,
            Self::Json { text, .. } => pointer::failure(text),
        }
    }
}

/// A text by another system for a log line: short, and on one line.
fn words(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = plain.take(MOST_WORDS).collect();
    if text.chars().nth(MOST_WORDS).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
