//! Why words are not configuration.

use super::super::policy::cron::CronError;
use super::super::signal::{hint, SignalError};
use super::unit::UnitError;
use thiserror::Error;

/// What is wrong, and what would be right. `Display` is the message of `nginx -t`, without file and line.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ConfError {
    #[error("\"{what}\" is written {usage}")]
    Usage { what: String, usage: &'static str },
    #[error("unknown {what} \"{word}\"{hint}; known are {known}")]
    Unknown { what: &'static str, word: String, hint: String, known: String },
    #[error("invalid parameter \"{word}\": write name=value; known are {known}")]
    NotAnOption { word: String, known: String },
    #[error("{what} \"{name}\" is duplicate")]
    Duplicate { what: &'static str, name: String },
    #[error("\"{what}\" needs {needs}")]
    Missing { what: String, needs: &'static str },
    #[error("invalid {what} \"{value}\": {right}")]
    Value { what: String, value: String, right: String },
    #[error("{0}")]
    Unit(#[from] UnitError),
    #[error("{0}")]
    Signal(#[from] SignalError),
    #[error("{0}")]
    Cron(#[from] CronError),
    #[error("policy \"{policy}\": {why}")]
    Policy { policy: String, why: String },
    #[error("there is no {what} \"{name}\"{hint}")]
    NoSuch { what: &'static str, name: String, hint: String },
}

impl ConfError {
    pub(in crate::autoscale) fn value(
        what: impl Into<String>,
        value: &str,
        right: impl Into<String>,
    ) -> Self {
        Self::Value { what: what.into(), value: value.into(), right: right.into() }
    }

    pub(in crate::autoscale) fn unknown(what: &'static str, word: &str, known: &[&str]) -> Self {
        let hint = hint(word, known.iter().copied());
        Self::Unknown { what, word: word.into(), hint, known: known.join(", ") }
    }

    pub(in crate::autoscale) fn missing(what: impl Into<String>, needs: &'static str) -> Self {
        Self::Missing { what: what.into(), needs }
    }

    pub(in crate::autoscale) fn usage(what: impl Into<String>, usage: &'static str) -> Self {
        Self::Usage { what: what.into(), usage }
    }
}
