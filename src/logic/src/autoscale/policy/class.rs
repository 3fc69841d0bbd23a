//! Which requests a `do` line is about.

use std::fmt;

/// The requests that carry a label of `autoscale_key` with this value: `batch` for any label, `NAME/VALUE` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    pub key: Option<String>,
    pub value: String,
}

impl Class {
    /// What stands before the first slash is the name of a label if it could be one.
    pub fn parse(text: &str) -> Self {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        match text.split_once('/') {
            Some((key, value)) if !key.is_empty() && key.chars().all(legal) && !value.is_empty() => {
                Self { key: Some(key.into()), value: value.into() }
            }
            _ => Self { key: None, value: text.into() },
        }
    }

    /// Whether a request with this label, of this value, is one of them.
    pub fn holds(&self, key: &str, value: &[u8]) -> bool {
        self.key.as_deref().is_none_or(|own| own == key) && self.value.as_bytes() == value
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key}/{}", self.value),
            None => f.write_str(&self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_value_or_a_label_and_a_value() {
        let table = [
            ("batch", None, "batch"),
            ("tenant/acme", Some("tenant"), "acme"),
            ("route//checkout", Some("route"), "/checkout"),
            ("/related", None, "/related"),
            ("tenant/", None, "tenant/"),
            ("a b/c", None, "a b/c"),
        ];
        for (text, key, value) in table {
            let class = Class::parse(text);
            assert_eq!((class.key.as_deref(), class.value.as_str()), (key, value), "{text}");
            assert_eq!(class.to_string(), text);
        }
    }

    #[test]
    fn it_holds_for_its_label_alone() {
        let (any, acme) = (Class::parse("acme"), Class::parse("tenant/acme"));
        assert!(any.holds("tenant", b"acme") && any.holds("customer", b"acme"));
        assert!(acme.holds("tenant", b"acme") && !acme.holds("customer", b"acme"));
        assert!(!any.holds("tenant", b"acm") && !acme.holds("tenant", b"acme2"));
    }
}
