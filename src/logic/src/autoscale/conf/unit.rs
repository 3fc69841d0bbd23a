//! Numbers with units: `500ms 5s 10m 1h 1d` of time, `20%`, plain with `k` and `M`.

use thiserror::Error;

/// What a number is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A count, or a rate a second.
    Plain,
    /// Seconds.
    Time,
    /// 1.0 is 100 %.
    Ratio,
}

/// A number and what it is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantity {
    pub value: f64,
    pub unit: Unit,
}

/// Why a text is not such a number.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UnitError {
    #[error("\"{0}\" is not a number; write for example 500ms, 20%, 100 or 1.5k")]
    Number(String),
    #[error("\"{text}\" has the unknown unit \"{unit}\"; known are ms, s, m, h, d, w of time, %, k and M")]
    Unit { text: String, unit: String },
    #[error("\"{0}\" is not a time; write for example 500ms, 5s, 10m, 1h or 1d")]
    Time(String),
    #[error("\"{0}\" has no unit; write {0}ms, {0}s, {0}m or {0}h")]
    NoUnit(String),
    #[error("\"{text}\" is outside {range}")]
    Range { text: String, range: &'static str },
}

/// Reads a number that is not negative, and its unit. `m` is a minute, `M` a million.
pub fn quantity(text: &str) -> Result<Quantity, UnitError> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| UnitError::Number(text.into()))?;
    let (scale, unit) = match unit {
        "" => (1.0, Unit::Plain),
        "k" | "K" => (1e3, Unit::Plain),
        "M" => (1e6, Unit::Plain),
        "%" => (0.01, Unit::Ratio),
        "ms" => (1e-3, Unit::Time),
        "s" => (1.0, Unit::Time),
        "m" => (60.0, Unit::Time),
        "h" => (3600.0, Unit::Time),
        "d" => (86_400.0, Unit::Time),
        "w" => (604_800.0, Unit::Time),
        _ => return Err(UnitError::Unit { text: text.into(), unit: unit.into() }),
    };
    Ok(Quantity { value: number * scale, unit })
}

/// A time in milliseconds.
pub fn duration_ms(text: &str) -> Result<u64, UnitError> {
    let quantity = quantity(text).map_err(|e| match e {
        UnitError::Number(text) => UnitError::Time(text),
        other => other,
    })?;
    match quantity.unit {
        Unit::Time if quantity.value <= 366.0 * 86_400.0 => Ok((quantity.value * 1000.0).round() as u64),
        Unit::Time => Err(UnitError::Range { text: text.into(), range: "a year" }),
        Unit::Plain if quantity.value == 0.0 => Ok(0),
        Unit::Plain => Err(UnitError::NoUnit(text.into())),
        Unit::Ratio => Err(UnitError::Time(text.into())),
    }
}

/// A time in whole seconds of at least `least`.
pub fn seconds(text: &str, least: u32) -> Result<u32, UnitError> {
    let ms = duration_ms(text)?;
    if ms % 1000 != 0 {
        return Err(UnitError::Range { text: text.into(), range: "whole seconds" });
    }
    match u32::try_from(ms / 1000) {
        Ok(s) if s >= least => Ok(s),
        _ => Err(UnitError::Range { text: text.into(), range: "what makes sense: it is too short" }),
    }
}

/// A whole number; `k` and `M` are understood.
pub fn count(text: &str) -> Result<u32, UnitError> {
    let number = quantity(text)?;
    let whole = number.unit == Unit::Plain && number.value.fract() == 0.0 && number.value <= 1e9;
    whole
        .then_some(number.value as u32)
        .ok_or(UnitError::Range { text: text.into(), range: "the whole numbers up to 1000M" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_reads() {
        let table = [
            ("500ms", 0.5, Unit::Time),
            ("1.5s", 1.5, Unit::Time),
            ("10m", 600.0, Unit::Time),
            ("1h", 3600.0, Unit::Time),
            ("1d", 86_400.0, Unit::Time),
            ("1w", 604_800.0, Unit::Time),
            ("20%", 0.2, Unit::Ratio),
            ("0", 0.0, Unit::Plain),
            ("1.5k", 1500.0, Unit::Plain),
            ("2M", 2e6, Unit::Plain),
        ];
        for (text, value, unit) in table {
            assert_eq!(quantity(text), Ok(Quantity { value, unit }), "{text}");
        }
        assert_eq!((duration_ms("250ms"), duration_ms("0"), count("2k")), (Ok(250), Ok(0), Ok(2000)));
    }

    #[test]
    fn errors_say_what_to_write() {
        let table = [
            (quantity("fast").map(|_| ()), "is not a number"),
            (quantity("-5").map(|_| ()), "is not a number"),
            (quantity("1.2.3").map(|_| ()), "is not a number"),
            (quantity("5mins").map(|_| ()), "unknown unit \"mins\""),
            (duration_ms("5").map(|_| ()), "write 5ms, 5s, 5m or 5h"),
            (duration_ms("5%").map(|_| ()), "is not a time"),
            (duration_ms("soon").map(|_| ()), "is not a time"),
            (duration_ms("99999d").map(|_| ()), "outside a year"),
            (seconds("1500ms", 1).map(|_| ()), "outside whole seconds"),
            (seconds("0", 1).map(|_| ()), "too short"),
            (count("1.5").map(|_| ()), "whole numbers"),
            (count("5s").map(|_| ()), "whole numbers"),
        ];
        for (result, part) in table {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
