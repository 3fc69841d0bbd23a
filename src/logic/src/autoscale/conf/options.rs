//! `name=value` parameters.

use super::{ConfError, Result};
use crate::autoscale::signal::hint;

/// Parameters, each at most once, of a known set.
#[derive(Debug)]
pub(in crate::autoscale) struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    pub fn parse(words: &[&'a str], known: &[&str]) -> Result<Self> {
        let list = || known.iter().map(|name| format!("{name}=")).collect::<Vec<_>>().join(", ");
        let mut options: Vec<(&str, &str)> = Vec::new();
        for word in words {
            let Some((name, value)) = word.split_once('=') else {
                return Err(ConfError::NotAnOption { word: (*word).into(), known: list() });
            };
            if !known.contains(&name) {
                let hint = hint(name, known.iter().copied());
                return Err(ConfError::Unknown {
                    what: "parameter",
                    word: format!("{name}="),
                    hint,
                    known: list(),
                });
            }
            if options.iter().any(|(other, _)| *other == name) {
                return Err(ConfError::Duplicate { what: "parameter", name: format!("{name}=") });
            }
            options.push((name, value));
        }
        Ok(Self(options))
    }

    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// The value as the name of a file.
    pub fn file(&self, name: &'static str) -> Result<Option<String>> {
        match self.text(name) {
            Some("") => Err(ConfError::value(name, "", "write the path of a file")),
            found => Ok(found.map(str::to_string)),
        }
    }

    /// The value as `read` takes it.
    pub fn get<T, E: Into<ConfError>>(
        &self,
        name: &str,
        read: impl FnOnce(&'a str) -> core::result::Result<T, E>,
    ) -> Result<Option<T>> {
        self.text(name).map(read).transpose().map_err(Into::into)
    }
}

/// The name of something: letters, digits, `_`, `-`.
pub(super) fn name(what: &'static str, word: &str) -> Result<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if word.is_empty() || word.len() > 64 || !word.chars().all(legal) {
        return Err(ConfError::value(
            format!("{what} name"),
            word,
            "write up to 64 letters, digits, \"_\" and \"-\"",
        ));
    }
    Ok(word.into())
}
