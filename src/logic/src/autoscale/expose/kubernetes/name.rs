//! Signals as names of external metrics, and back.
//!
//! Such a name is one segment of a path, so Kubernetes refuses `/` and `%` in it (`IsValidPathSegmentName`), and its Go client writes
//! it in lower case on the way to the server (client-go, `rest.Request`; kubernetes issue 72996). Both would break a signal, so those
//! characters are written differently. The escapes follow RFC 6901 (JSON Pointer), extended:
//!
//! | in the signal | in the name |
//! |---|---|
//! | `~` | `~0` |
//! | `/` | `~1` |
//! | `%` | `~2` |
//! | `A` to `Z` | `~a` to `~z` |
//! | any other character that has a lower case | `~3`, its number in hexadecimal, `~` |
//!
//! Everything else stays, so `upstream.app.rate@1m` is its own name. Reading is lenient: what need not have been escaped is taken as
//! it is.

use std::fmt::Write;

/// The name of the metric that shows `signal`.
pub fn of_signal(signal: &str) -> String {
    let mut name = String::with_capacity(signal.len());
    for c in signal.chars() {
        match c {
            '~' => name.push_str("~0"),
            '/' => name.push_str("~1"),
            '%' => name.push_str("~2"),
            'A'..='Z' => name.extend(['~', c.to_ascii_lowercase()]),
            _ if !c.to_lowercase().eq([c]) => {
                // writing to a String does not fail
                let _ = write!(name, "~3{:x}~", u32::from(c));
            }
            _ => name.push(c),
        }
    }
    name
}

/// The signal that `name` stands for. The error is the escape that is none.
pub fn to_signal(name: &str) -> Result<String, String> {
    let mut signal = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, escaped)) = rest.split_once('~') {
        signal.push_str(plain);
        let mut chars = escaped.chars();
        let wrong =
            || escaped.chars().take(1).fold("~".to_string(), |text, c| text + c.encode_utf8(&mut [0; 4]));
        match chars.next() {
            Some('0') => signal.push('~'),
            Some('1') => signal.push('/'),
            Some('2') => signal.push('%'),
            Some('3') => {
                let (digits, after) = chars.as_str().split_once('~').ok_or_else(wrong)?;
                let number = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 6);
                signal.push(number.and_then(char::from_u32).ok_or_else(wrong)?);
                chars = after.chars();
            }
            Some(c @ 'a'..='z') => signal.push(c.to_ascii_uppercase()),
            _ => return Err(wrong()),
        }
        rest = chars.as_str();
    }
    signal.push_str(rest);
    Ok(signal)
}
