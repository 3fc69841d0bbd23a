//! Lines out of pieces of a stream: each whole, none longer than a bound.

/// What has come of a line that is not at its end.
#[derive(Debug)]
pub struct Lines {
    rest: Vec<u8>,
    most: usize,
}

/// A line is longer than may be.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("a line of more than {0} bytes")]
pub struct TooLong(pub usize);

impl Lines {
    pub fn new(most: usize) -> Self {
        Self { rest: Vec::new(), most }
    }

    /// Takes a piece, and calls `f` with each line that ends in it, as long as it says so.
    pub fn feed(&mut self, mut piece: &[u8], mut f: impl FnMut(&[u8]) -> bool) -> Result<(), TooLong> {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (line, next) = (&piece[..end], &piece[end + 1..]);
            piece = next;
            let more = if self.rest.is_empty() {
                self.check(line.len())?;
                line.trim_ascii().is_empty() || f(line)
            } else {
                self.check(self.rest.len() + line.len())?;
                self.rest.extend_from_slice(line);
                let whole = core::mem::take(&mut self.rest);
                whole.trim_ascii().is_empty() || f(&whole)
            };
            if !more {
                return Ok(());
            }
        }
        self.check(self.rest.len() + piece.len())?;
        self.rest.extend_from_slice(piece);
        Ok(())
    }

    fn check(&self, len: usize) -> Result<(), TooLong> {
        if len > self.most {
            Err(TooLong(self.most))
        } else {
            Ok(())
        }
    }

    /// Whether the stream stands in the middle of a line.
    pub fn is_cut(&self) -> bool {
        !self.rest.trim_ascii().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: &[&[u8]], most: usize) -> Result<(Vec<String>, bool), TooLong> {
        let (mut lines, mut found) = (Lines::new(most), Vec::new());
        for piece in pieces {
            lines.feed(piece, |line| {
                found.push(String::from_utf8_lossy(line).into_owned());
                true
            })?;
        }
        Ok((found, lines.is_cut()))
    }

    #[test]
    fn a_line_is_bounded_and_a_half_one_is_none() {
        assert_eq!(lines(&[b"a\n\nb", b"c", b"\nd"], 9), Ok((vec!["a".into(), "bc".into()], true)));
        assert_eq!(lines(&[b"1234", b"5678"], 8), Ok((vec![], true)));
        assert_eq!(lines(&[b"1234", b"56789"], 8), Err(TooLong(8)));
        assert_eq!(lines(&[b"123456789\n"], 8), Err(TooLong(8)));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_lines_are_the_same(
            words in proptest::collection::vec("[a-z]{1,12}", 0..20), cuts in proptest::collection::vec(0usize..300, 0..9)
        ) {
            let text = words.iter().map(|word| format!("{word}\n")).collect::<String>();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at % (text.len() + 1)).collect();
            cuts.sort_unstable();
            let bounds: Vec<usize> = [0].into_iter().chain(cuts).chain([text.len()]).collect();
            let pieces: Vec<&[u8]> = bounds.windows(2).map(|at| &text.as_bytes()[at[0]..at[1]]).collect();
            prop_assert_eq!(lines(&pieces, 12), Ok((words, false)));
        }
    }
}
