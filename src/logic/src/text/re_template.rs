//! The replacement text of `ngx.re.sub` and `ngx.re.gsub`: `$1`, `${1}`, `$0` are captures and `$$` a dollar sign.
//!
//! It is compiled once and expanded per match. Captures by name are refused, as the peer refuses them.

use std::ops::Range;

/// A compiled replacement text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The literal text of all pieces, in order.
    text: Vec<u8>,
    pieces: Vec<Piece>,
}

/// Literal text up to `end` in `Template::text`, then a capture, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    end: usize,
    capture: Option<usize>,
}

/// Why a text is no template; the `Display` text is for the error log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `$` with nothing that could be a capture after it.
    #[error("lua script: invalid capturing variable name found in \"{0}\"")]
    Invalid(String),
    /// `${1` without its brace.
    #[error("the closing bracket in \"{0}\" variable is missing")]
    Unclosed(String),
    /// `$name` or `${name}`.
    #[error("attempt to use named capturing variable \"{0}\" (named captures not supported yet)")]
    Named(String),
}

impl Template {
    pub fn parse(src: &[u8]) -> Result<Self, TemplateError> {
        let mut template = Self { text: Vec::with_capacity(src.len()), pieces: Vec::new() };
        let mut rest = src;
        while let Some(i) = memchr::memchr(b'$', rest) {
            template.text.extend_from_slice(&rest[..i]);
            rest = &rest[i + 1..];
            if let Some(after) = rest.strip_prefix(b"$") {
                template.text.push(b'$');
                rest = after;
            } else {
                let (capture, after) = variable(rest, src)?;
                template.pieces.push(Piece { end: template.text.len(), capture: Some(capture) });
                rest = after;
            }
        }
        template.text.extend_from_slice(rest);
        template.pieces.push(Piece { end: template.text.len(), capture: None });
        Ok(template)
    }

    /// The text, if there are no captures in it: it is the same for each match.
    pub fn literal(&self) -> Option<&[u8]> {
        (self.pieces.len() == 1).then_some(&self.text)
    }

    /// Appends the replacement for one match. `capture` gives where in `subject` a capture is, `None` for one that
    /// took no part or does not exist; such a one is empty, as is one whose range is not of the subject.
    pub fn expand(
        &self,
        subject: &[u8],
        mut capture: impl FnMut(usize) -> Option<Range<usize>>,
        out: &mut Vec<u8>,
    ) {
        let mut start = 0;
        for piece in &self.pieces {
            out.extend_from_slice(&self.text[start..piece.end]);
            start = piece.end;
            let range = piece.capture.and_then(&mut capture);
            out.extend_from_slice(range.and_then(|range| subject.get(range)).unwrap_or_default());
        }
    }

    /// Appends the replacement for one match whose captures are pairs of offsets, the whole match first, as PCRE2
    /// gives them (a pair of a capture that took no part is past the subject's end).
    pub fn expand_pairs(&self, subject: &[u8], offsets: &[usize], out: &mut Vec<u8>) {
        let pair = |n: usize| {
            let at = n.checked_mul(2)?;
            Some(*offsets.get(at)?..*offsets.get(at + 1)?)
        };
        self.expand(subject, pair, out);
    }
}

/// Reads what follows a `$`: the capture's number and the text after it.
fn variable<'a>(src: &'a [u8], whole: &[u8]) -> Result<(usize, &'a [u8]), TemplateError> {
    let bracket = src.first() == Some(&b'{');
    let body = &src[usize::from(bracket)..];
    let number = body.first().is_some_and(u8::is_ascii_digit);
    let is_name = |byte: &u8| match number {
        true => byte.is_ascii_digit(),
        false => byte.is_ascii_alphanumeric() || *byte == b'_',
    };
    let len = body.iter().position(|byte| !is_name(byte)).unwrap_or(body.len());
    let (name, mut rest) = body.split_at(len);
    if body.is_empty() {
        return Err(TemplateError::Invalid(lossy(whole)));
    }
    if bracket {
        rest = rest.strip_prefix(b"}").ok_or_else(|| TemplateError::Unclosed(lossy(name)))?;
    }
    if name.is_empty() {
        return Err(TemplateError::Invalid(lossy(whole)));
    }
    if !number {
        return Err(TemplateError::Named(lossy(name)));
    }
    // a number too great for any pattern is a capture that does not exist
    let capture =
        name.iter().fold(0usize, |n, digit| n.saturating_mul(10).saturating_add(usize::from(digit - b'0')));
    Ok((capture, rest))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Expands over the subject `a b c d`, matched by `(b) (c)(x)?`.
    fn expanded(template: &str) -> String {
        let template = Template::parse(template.as_bytes()).unwrap();
        let mut out = b"<".to_vec();
        template.expand_pairs(b"a b c d", &[2, 5, 2, 3, 4, 5, usize::MAX, usize::MAX], &mut out);
        String::from_utf8(out.split_off(1)).unwrap()
    }

    #[test]
    fn captures_and_dollars() {
        for (template, want) in [
            ("", ""),
            ("plain", "plain"),
            ("[$0] [$1] [$2] [$3] [$134]", "[b c] [b] [c] [] []"),
            ("[$0] [$1] [${2}] [$3] [${134}]", "[b c] [b] [c] [] []"),
            ("ho$$wdy", "ho$wdy"),
            ("$$$$$1$$1", "$$b$1"),
            ("$1a$2b", "bacb"),
            ("${1}0$01${002}", "b0bc"),
            ("$1$2", "bc"),
            ("$1}{$2}", "b}{c}"),
            ("$99999999999999999999999999", ""),
        ] {
            assert_eq!(expanded(template), want, "{template:?}");
        }
    }

    #[test]
    fn what_is_no_template() {
        let invalid = |src: &str| format!("lua script: invalid capturing variable name found in \"{src}\"");
        let unclosed = |name: &str| format!("the closing bracket in \"{name}\" variable is missing");
        let named = |name: &str| {
            format!("attempt to use named capturing variable \"{name}\" (named captures not supported yet)")
        };
        for (src, want) in [
            ("[$0] [$hello]", named("hello")),
            ("[$0] [${hello}]", named("hello")),
            ("$_1-", named("_1")),
            ("$a1.$0", named("a1")),
            ("[$0] [${134]", unclosed("134")),
            ("[$0] [${134", unclosed("134")),
            ("${1a}", unclosed("1")),
            ("${a-b}", unclosed("a")),
            ("${-}", unclosed("")),
            ("[$0] [${", invalid("[$0] [${")),
            ("[$0] [$", invalid("[$0] [$")),
            ("[$]", invalid("[$]")),
            ("${}", invalid("${}")),
            ("$-1", invalid("$-1")),
            ("$$$", invalid("$$$")),
        ] {
            assert_eq!(Template::parse(src.as_bytes()).unwrap_err().to_string(), want, "{src:?}");
        }
    }

    #[test]
    fn literal_is_known() {
        assert_eq!(Template::parse(b"a$$b").unwrap().literal(), Some(&b"a$b"[..]));
        assert_eq!(Template::parse(b"a$1b").unwrap().literal(), None);
    }

    #[test]
    fn ranges_that_are_not_of_the_subject_are_empty() {
        let template = Template::parse(b"[$0|$1|$2]").unwrap();
        let mut out = Vec::new();
        // a lookbehind with \K can give a start past the end
        template.expand_pairs(b"abc", &[3, 1, 0, 4, 1], &mut out);
        assert_eq!(out, b"[||]");
    }

    proptest! {
        #[test]
        fn escaped_text_comes_back_whole(src in prop::collection::vec(any::<u8>(), 0..30)) {
            let escaped: Vec<u8> = src.iter().flat_map(|&b| if b == b'$' { vec![b, b] } else { vec![b] }).collect();
            let template = Template::parse(&escaped).unwrap();
            prop_assert_eq!(template.literal(), Some(&src[..]));
        }

        #[test]
        fn no_text_breaks_it(src in "[$0-9{}a_ -]{0,16}", offsets in prop::collection::vec(0usize..9, 0..6)) {
            if let Ok(template) = Template::parse(src.as_bytes()) {
                let mut out = Vec::new();
                template.expand_pairs(b"subject", &offsets, &mut out);
                prop_assert!(out.len() <= src.len() * 7);
            }
        }
    }
}
