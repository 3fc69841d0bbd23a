//! Label selectors: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
//!
//! The grammar and what it means are those of Kubernetes' `labels.Parse`: `!=` and `notin` hold for a label that is not there, `>` and
//! `<` compare integers.

use std::collections::BTreeMap;
use thiserror::Error;

/// The labels of a metric.
pub type Labels = BTreeMap<&'static str, String>;

/// What all must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    needs: Needs,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Needs {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("unable to parse requirement \"{0}\": write key=value, key!=value, key in (a,b), key notin (a,b), key or !key")]
pub struct SelectorError(String);

impl Selector {
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        pieces(text).into_iter().map(Requirement::parse).collect::<Result<_, _>>().map(Self)
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

/// What stands between the commas that are not in parentheses.
fn pieces(text: &str) -> Vec<&str> {
    let (mut inside, mut start, mut found) = (false, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            ',' if !inside => {
                found.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    found
}

impl Requirement {
    fn parse(text: &str) -> Result<Self, SelectorError> {
        let wrong = || SelectorError(text.trim().into());
        let text_ = text.trim();
        if let Some(key) = text_.strip_prefix('!') {
            return Self::new(key, Needs::Absent).ok_or_else(wrong);
        }
        let made = if let Some((key, value)) = text_.split_once("!=") {
            one(value).and_then(|value| Self::new(key, Needs::NotIn(vec![value])))
        } else if let Some((key, value)) = text_.split_once("==").or_else(|| text_.split_once('=')) {
            one(value).and_then(|value| Self::new(key, Needs::In(vec![value])))
        } else if let Some((head, list)) = text_.split_once('(') {
            let list =
                list.strip_suffix(')').map(|list| list.split(',').map(one).collect::<Option<Vec<_>>>());
            match (head.split_whitespace().collect::<Vec<_>>().as_slice(), list) {
                ([key, "in"], Some(Some(values))) => Self::new(key, Needs::In(values)),
                ([key, "notin"], Some(Some(values))) => Self::new(key, Needs::NotIn(values)),
                _ => None,
            }
        } else if let Some((key, bound)) = text_.split_once('>') {
            bound.trim().parse().ok().and_then(|bound| Self::new(key, Needs::Above(bound)))
        } else if let Some((key, bound)) = text_.split_once('<') {
            bound.trim().parse().ok().and_then(|bound| Self::new(key, Needs::Below(bound)))
        } else {
            Self::new(text_, Needs::Exists)
        };
        made.ok_or_else(wrong)
    }

    fn new(key: &str, needs: Needs) -> Option<Self> {
        let key = key.trim();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        (!key.is_empty() && key.chars().all(legal)).then(|| Self { key: key.into(), needs })
    }

    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(self.key.as_str());
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.needs {
            Needs::Exists => value.is_some(),
            Needs::Absent => value.is_none(),
            Needs::In(values) => value.is_some_and(|value| values.contains(value)),
            Needs::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Needs::Above(bound) => number().is_some_and(|number| number > *bound),
            Needs::Below(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

/// A value: at most one word, without the signs of the grammar.
fn one(text: &str) -> Option<String> {
    let text = text.trim();
    let illegal = |c: char| c.is_whitespace() || matches!(c, '=' | '!' | '<' | '>' | '(' | ')');
    (!text.contains(illegal)).then(|| text.to_string())
}
