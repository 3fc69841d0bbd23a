//! `limit=auto|N` of `autoscale_protect`.

use crate::autoscale::conf::unit::count;
use crate::autoscale::conf::ConfError;

/// How many requests each peer gets at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// What is learnt of it.
    #[default]
    Auto,
    /// As many as that.
    Fixed(u32),
}

impl Limit {
    /// From the value of `limit=`.
    pub fn parse(text: &str) -> Result<Self, ConfError> {
        match count(text) {
            _ if text == "auto" => Ok(Self::Auto),
            Ok(n) if (1..=1_000_000).contains(&n) => Ok(Self::Fixed(n)),
            _ => {
                Err(ConfError::value("limit", text, "write auto, or how many requests a peer gets at a time"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_or_a_number() {
        assert_eq!(Limit::parse("auto"), Ok(Limit::Auto));
        assert_eq!(Limit::parse("2"), Ok(Limit::Fixed(2)));
        assert_eq!(Limit::parse("1k"), Ok(Limit::Fixed(1000)));
        for bad in ["0", "", "-1", "many", "2s", "5M"] {
            assert!(Limit::parse(bad).unwrap_err().to_string().contains("write auto, or how many"), "{bad}");
        }
    }
}
