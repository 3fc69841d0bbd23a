//! A number in JSON, at a pointer (RFC 6901). One pass, and no tree: what the pointer does not lead to is passed over.
//!
//! The answer of Prometheus to an instant query is one of these, at `/data/result/0/value/1`. What it says when it has no value is
//! understood (see *HTTP API* in its documentation): `"status": "error"` with a message, and a result without series.

use super::{words, Wrong};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The number at `pointer`, or the number that the text there is.
pub fn number(json: &[u8], pointer: &str) -> Result<f64, Wrong> {
    let found = find(json, pointer)?;
    let number = match &found {
        Found::Number(number) => Some(*number),
        Found::Text(text) => text.trim().parse().ok(),
        Found::Nothing => return Err(absent(json, pointer)),
        Found::List(_) | Found::Other => None,
    };
    number.filter(|number| number.is_finite()).ok_or_else(|| Wrong::NotANumber(pointer.into()))
}

/// Why there is nothing at `pointer`.
fn absent(json: &[u8], pointer: &str) -> Wrong {
    if let Some(wrong) = failure(json) {
        return wrong;
    }
    let queried = pointer.starts_with("/data/result/");
    if queried && matches!(find(json, "/data/result"), Ok(Found::List(0))) {
        return Wrong::EmptyResult;
    }
    Wrong::Nothing(pointer.into())
}

/// What Prometheus says about a query that failed.
pub fn failure(json: &[u8]) -> Option<Wrong> {
    let text = |pointer: &str| match find(json, pointer) {
        Ok(Found::Text(text)) => Some(text),
        _ => None,
    };
    text("/status").filter(|status| status == "error")?;
    Some(Wrong::Query(words(&text("/error").unwrap_or_else(|| "no reason given".into()))))
}

#[derive(Debug, PartialEq)]
enum Found {
    Nothing,
    Number(f64),
    Text(String),
    /// With so many elements.
    List(usize),
    Other,
}

fn find(json: &[u8], pointer: &str) -> Result<Found, Wrong> {
    let unescape = |token: &str| token.replace("~1", "/").replace("~0", "~");
    let path: Vec<String> = pointer.split('/').skip(1).map(unescape).collect();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let found = Seek(&path).deserialize(&mut reader);
    found.and_then(|found| reader.end().map(|()| found)).map_err(|e| Wrong::NotJson(words(&e.to_string())))
}

/// Follows the rest of a pointer.
struct Seek<'p>(&'p [String]);

impl Seek<'_> {
    fn end(&self, found: impl FnOnce() -> Found) -> Found {
        if self.0.is_empty() {
            found()
        } else {
            Found::Nothing
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Found, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = self.end(|| Found::Other);
        while let Some(key) = map.next_key::<String>()? {
            match self.0 {
                // of a key that is there twice the last one counts, as in most readers
                [token, rest @ ..] if *token == key => found = map.next_value_seed(Seek(rest))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        let (wanted, rest) = match self.0 {
            [] => (None, self.0),
            [token, rest @ ..] => (index(token), rest),
        };
        let (mut found, mut at) = (Found::Nothing, 0);
        loop {
            if wanted == Some(at) {
                match list.next_element_seed(Seek(rest))? {
                    Some(element) => found = element,
                    None => return Ok(found),
                }
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(if self.0.is_empty() { Found::List(at) } else { found });
            }
            at += 1;
        }
    }

    fn visit_f64<E>(self, x: f64) -> Result<Found, E> {
        Ok(self.end(|| Found::Number(x)))
    }

    fn visit_u64<E>(self, x: u64) -> Result<Found, E> {
        Ok(self.end(|| Found::Number(x as f64)))
    }

    fn visit_i64<E>(self, x: i64) -> Result<Found, E> {
        Ok(self.end(|| Found::Number(x as f64)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        Ok(self.end(|| Found::Text(text.into())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(self.end(|| Found::Other))
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(self.end(|| Found::Other))
    }
}

/// The place in a list that a token names: digits, without a zero before them.
fn index(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|b| b.is_ascii_digit()) && !(token.len() > 1 && token.starts_with('0'));
    digits.then(|| token.parse().ok()).flatten()
}
