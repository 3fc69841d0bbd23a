//! What a script asks a socket for, found in the bytes at hand.
//!
//! A [`Wanted`] looks at the unread bytes each time more have come, and remembers how far it has looked, so that a long
//! line is not searched again from its start.

use memchr::{memchr, memmem};

/// What to receive next.
#[derive(Debug)]
pub enum Wanted {
    /// A line, without its LF; CRs are left out, as in LuaSocket's `*l`.
    Line { seen: usize },
    /// So many bytes.
    Size(usize),
    /// Everything until the peer closes.
    All,
    /// What there is, at most so much.
    Any(usize),
}

/// What was found at the front of the unread bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// So many bytes are the answer …
    pub keep: usize,
    /// … and so many are used up by it.
    pub used: usize,
}

impl Wanted {
    pub fn line() -> Wanted {
        Wanted::Line { seen: 0 }
    }

    /// Looks at all unread bytes; `None` when more must come.
    pub fn find(&mut self, unread: &[u8]) -> Option<Found> {
        match self {
            Wanted::Line { seen } => match memchr(b'\n', &unread[*seen..]) {
                Some(at) => Some(Found { keep: *seen + at, used: *seen + at + 1 }),
                None => {
                    *seen = unread.len();
                    None
                }
            },
            Wanted::Size(n) => (unread.len() >= *n).then_some(Found { keep: *n, used: *n }),
            Wanted::All => None,
            Wanted::Any(max) => {
                let n = unread.len().min(*max);
                (n > 0).then_some(Found { keep: n, used: n })
            }
        }
    }

    /// The answer when the peer has closed after these bytes, if that is how this one ends.
    pub fn at_end(&self, unread: &[u8]) -> Option<Found> {
        matches!(self, Wanted::All).then_some(Found { keep: unread.len(), used: unread.len() })
    }

    /// How many more bytes are asked for at least, as far as that is known.
    pub fn missing(&self, unread: usize) -> usize {
        match self {
            Wanted::Size(n) => n.saturating_sub(unread),
            _ => 1,
        }
    }

    /// What was found, as it is to be answered; `spare` is for what is not in one piece.
    pub fn shown<'a>(&self, found: &'a [u8], spare: &'a mut Vec<u8>) -> &'a [u8] {
        let Some((last, front)) = found.split_last().filter(|_| self.drops_cr()) else { return found };
        if memchr(b'\r', front).is_some() {
            spare.clear();
            spare.extend(found.iter().filter(|c| **c != b'\r'));
            return spare;
        }
        if *last == b'\r' {
            front
        } else {
            found
        }
    }

    /// Whether CRs are to be left out of the answer.
    pub fn drops_cr(&self) -> bool {
        matches!(self, Wanted::Line { .. })
    }
}

/// Reads up to a pattern, whole or in pieces: the state of an iterator of `receiveuntil`.
#[derive(Debug)]
pub struct Until {
    pattern: Box<[u8]>,
    /// Whether the pattern is part of the answer.
    inclusive: bool,
    seen: usize,
    /// The pattern was found, and this has not been told yet.
    ended: bool,
}

/// One step of [`Until`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    More,
    Piece(Found),
    /// The pattern was given out with the piece before.
    End,
}

impl Until {
    /// `None` for an empty pattern.
    pub fn new(pattern: &[u8], inclusive: bool) -> Option<Until> {
        (!pattern.is_empty()).then(|| Until { pattern: pattern.into(), inclusive, seen: 0, ended: false })
    }

    /// Looks at all unread bytes for the next piece: of `size` bytes at most, or all up to the pattern.
    pub fn find(&mut self, unread: &[u8], size: Option<usize>) -> Step {
        if self.ended {
            self.ended = false;
            return Step::End;
        }
        let at = memmem::find(&unread[self.seen..], &self.pattern).map(|i| i + self.seen);
        let plain = at.unwrap_or_else(|| unread.len() - self.begun(unread));
        if let Some(size) = size.filter(|n| plain >= *n && (at != Some(*n) || self.inclusive)) {
            self.seen = 0;
            return Step::Piece(Found { keep: size, used: size });
        }
        match at {
            Some(at) => {
                self.seen = 0;
                self.ended = size.is_some();
                let used = at + self.pattern.len();
                Step::Piece(Found { keep: if self.inclusive { used } else { at }, used })
            }
            None => {
                self.seen = plain;
                Step::More
            }
        }
    }

    /// How many of the last bytes may be the beginning of the pattern.
    fn begun(&self, unread: &[u8]) -> usize {
        let longest = (self.pattern.len() - 1).min(unread.len());
        (1..=longest).rev().find(|n| self.pattern.starts_with(&unread[unread.len() - n..])).unwrap_or(0)
    }

    /// The bytes before the pattern were taken away unread.
    pub fn reset(&mut self) {
        self.seen = 0;
        self.ended = false;
    }
}

/// The bytes that have come and were not asked for yet.
#[derive(Debug, Default)]
pub struct Unread {
    data: Vec<u8>,
    from: usize,
}

/// Memory beyond this is given back once it is empty.
const KEPT: usize = 64 * 1024;

impl Unread {
    /// With the memory of `buffer`, whose contents do not matter.
    pub fn with(mut buffer: Vec<u8>) -> Unread {
        buffer.clear();
        Unread { data: buffer, from: 0 }
    }

    /// The memory, for another one.
    pub fn into_buffer(self) -> Vec<u8> {
        self.data
    }

    pub fn bytes(&self) -> &[u8] {
        &self.data[self.from..]
    }

    pub fn len(&self) -> usize {
        self.data.len() - self.from
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes `n` bytes off the front; they are still readable through [`Unread::taken`] until more comes.
    pub fn take(&mut self, n: usize) {
        self.from += n;
    }

    /// The last `n` bytes that were taken.
    pub fn taken(&self, n: usize) -> &[u8] {
        &self.data[self.from - n..self.from]
    }

    /// Where to append what comes next, after making room for `more` bytes; `None` when there is no memory for it.
    pub fn room(&mut self, more: usize) -> Option<&mut Vec<u8>> {
        if self.is_empty() {
            self.data.clear();
            self.from = 0;
            if self.data.capacity() > KEPT {
                self.data.shrink_to(more);
            }
        } else if self.from > self.data.len() / 2 {
            self.data.drain(..self.from);
            self.from = 0;
        }
        self.data.try_reserve(more).ok()?;
        Some(&mut self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in steps of `step` bytes and collects the pieces that `until` gives.
    fn pieces(until: &mut Until, input: &[u8], step: usize, size: Option<usize>) -> Vec<Vec<u8>> {
        let (mut unread, mut at, mut out) = (Unread::default(), 0, Vec::new());
        loop {
            match until.find(unread.bytes(), size) {
                Step::Piece(found) => {
                    let whole = unread.bytes()[..found.keep].to_vec();
                    unread.take(found.used);
                    out.push(whole);
                    if size.is_none() {
                        return out;
                    }
                }
                Step::End => return out,
                Step::More if at == input.len() => return out,
                Step::More => {
                    let n = step.min(input.len() - at);
                    unread.room(n).unwrap().extend_from_slice(&input[at..at + n]);
                    at += n;
                }
            }
        }
    }

    #[test]
    fn a_line_is_found_however_it_arrives() {
        let mut wanted = Wanted::line();
        assert_eq!(wanted.find(b"ab"), None);
        assert_eq!(wanted.find(b"abc\r"), None);
        assert_eq!(wanted.find(b"abc\r\nd"), Some(Found { keep: 4, used: 5 }));
    }

    #[test]
    fn a_line_is_shown_without_cr() {
        let (mut spare, line) = (Vec::new(), Wanted::line());
        assert_eq!(line.shown(b"abc", &mut spare), b"abc");
        assert_eq!(line.shown(b"abc\r", &mut spare), b"abc");
        assert_eq!(line.shown(b"a\rb\r\rc\r", &mut spare), b"abc");
        assert_eq!(line.shown(b"", &mut spare), b"");
        assert_eq!(Wanted::Size(2).shown(b"a\r", &mut spare), b"a\r");
    }

    #[test]
    fn sizes_and_whatever_there_is() {
        assert_eq!(Wanted::Size(3).find(b"ab"), None);
        assert_eq!(Wanted::Size(3).find(b"abcd"), Some(Found { keep: 3, used: 3 }));
        assert_eq!(Wanted::Size(0).find(b""), Some(Found { keep: 0, used: 0 }));
        assert_eq!(Wanted::Any(3).find(b""), None);
        assert_eq!(Wanted::Any(3).find(b"abcd"), Some(Found { keep: 3, used: 3 }));
        assert_eq!(Wanted::All.find(b"abc"), None);
        assert_eq!(Wanted::All.at_end(b"abc"), Some(Found { keep: 3, used: 3 }));
        assert_eq!(Wanted::Size(9).at_end(b"abc"), None);
    }

    #[test]
    fn a_pattern_is_found_however_it_arrives() {
        for step in 1..10 {
            let mut until = Until::new(b"--abc", false).unwrap();
            assert_eq!(pieces(&mut until, b"hello---abcworld", step, None), [b"hello-"], "step {step}");
        }
    }

    #[test]
    fn pieces_never_hold_a_part_of_the_pattern() {
        for step in 1..20 {
            for size in 1..12 {
                let mut until = Until::new(b"aab", false).unwrap();
                let got = pieces(&mut until, b"xaaaaycaabrest", step, Some(size));
                assert_eq!(got.concat(), b"xaaaayc", "step {step}, size {size}: {got:?}");
                assert!(got.iter().all(|piece| piece.len() <= size), "step {step}, size {size}: {got:?}");
            }
        }
    }

    #[test]
    fn inclusive_gives_the_pattern_too() {
        for step in 1..20 {
            let mut until = Until::new(b"\r\n", true).unwrap();
            assert_eq!(pieces(&mut until, b"abc\r\nrest", step, None), [b"abc\r\n"]);
        }
    }

    #[test]
    fn what_was_taken_stays_readable_until_more_comes() {
        let mut unread = Unread::default();
        unread.room(5).unwrap().extend_from_slice(b"hello");
        unread.take(3);
        assert_eq!((unread.taken(3), unread.bytes()), (&b"hel"[..], &b"lo"[..]));
        unread.room(4).unwrap().extend_from_slice(b"!");
        assert_eq!(unread.bytes(), b"lo!");
    }

    #[test]
    fn more_than_there_is_memory_for_is_refused_and_nothing_lost() {
        let mut unread = Unread::default();
        unread.room(5).unwrap().extend_from_slice(b"hello");
        assert!(unread.room(isize::MAX as usize).is_none());
        assert_eq!(unread.bytes(), b"hello");
    }
}
