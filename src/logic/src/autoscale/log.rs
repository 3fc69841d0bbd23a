//! Lines on their way to a log that may fail: a full disk, a broken pipe, a reader that is too slow.
//!
//! What cannot be written waits here, bounded, and is written when the log takes it again, in its order and before anything newer. When
//! it begins to fail and when it ends there is something to say, once each. The writer is the caller's; it never blocks.

use std::collections::VecDeque;
use std::io;

/// Lines that wait, at most.
const MOST_LINES: usize = 512;
const MOST_BYTES: usize = 512 * 1024;

/// Takes bytes: all of them, their beginning, or none.
pub type Write<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<usize>;

/// What there is to say about the log.
#[derive(Debug)]
pub enum News {
    /// It fails, for this reason.
    Begins(io::Error),
    /// It works again: so many lines were written late, so many are lost.
    Ends { late: u64, lost: u64 },
}

/// The lines that wait.
#[derive(Debug, Default)]
pub struct Lines {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Of the first line that waits so much is written already.
    written: usize,
    failing: bool,
    late: u64,
    lost: u64,
}

impl Lines {
    /// Writes a line, which ends with a line feed, after those that wait.
    pub fn push(&mut self, line: Vec<u8>, write: Write<'_>) -> Option<News> {
        self.bytes += line.len();
        self.waiting.push_back(line);
        let news = self.flush(write);
        while self.waiting.len() > MOST_LINES || self.bytes > MOST_BYTES && self.waiting.len() > 1 {
            // the rest of a line that has begun stays: without it the next would be glued to its beginning
            let oldest = usize::from(self.written > 0);
            if let Some(line) = self.waiting.remove(oldest) {
                self.bytes -= line.len();
                self.lost += 1;
            }
        }
        news
    }

    /// Tries again what waits.
    pub fn flush(&mut self, write: Write<'_>) -> Option<News> {
        while let Some(line) = self.waiting.front() {
            match write(&line[self.written..]) {
                Ok(n) if n >= line.len() - self.written => {
                    self.bytes -= line.len();
                    self.waiting.pop_front();
                    self.written = 0;
                    self.late += u64::from(self.failing);
                }
                // the rest may find room at once, or say what is wrong
                Ok(n) if n > 0 => self.written += n,
                Ok(_) => return self.fails(io::ErrorKind::WriteZero.into()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return self.fails(e),
            }
        }
        if !core::mem::take(&mut self.failing) {
            return None;
        }
        Some(News::Ends { late: core::mem::take(&mut self.late), lost: core::mem::take(&mut self.lost) })
    }

    fn fails(&mut self, e: io::Error) -> Option<News> {
        (!core::mem::replace(&mut self.failing, true)).then_some(News::Begins(e))
    }

    /// The log is another one now: a line that was half-written into the former one is written whole.
    pub fn rewind(&mut self) {
        self.written = 0;
    }

    /// Whether anything waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The lines that wait, which are lost now.
    pub fn give_up(&mut self) -> u64 {
        let lost = self.lost + self.waiting.len() as u64;
        *self = Self::default();
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(n: usize) -> Vec<u8> {
        format!("{{\"n\":{n}}}\n").into_bytes()
    }

    fn full(_: &[u8]) -> io::Result<usize> {
        Err(io::Error::from_raw_os_error(28))
    }

    #[test]
    fn a_full_disk_loses_nothing_and_is_told_once() {
        let (mut lines, mut file) = (Lines::default(), Vec::new());
        let mut works = |bytes: &[u8]| {
            file.extend_from_slice(bytes);
            Ok(bytes.len())
        };
        assert!(lines.push(line(0), &mut works).is_none());
        assert!(
            matches!(lines.push(line(1), &mut full), Some(News::Begins(e)) if e.raw_os_error() == Some(28))
        );
        assert!(lines.push(line(2), &mut full).is_none());
        assert!(lines.flush(&mut full).is_none());
        let news = lines.push(line(3), &mut works);
        assert!(matches!(news, Some(News::Ends { late: 3, lost: 0 })), "{news:?}");
        assert!(lines.push(line(4), &mut works).is_none() && lines.is_empty());
        assert_eq!(file, (0..5).flat_map(line).collect::<Vec<_>>());
    }

    #[test]
    fn what_waits_is_bounded_and_the_newest_stay() {
        let (mut lines, mut file) = (Lines::default(), Vec::new());
        (0..MOST_LINES + 10).for_each(|n| drop(lines.push(line(n), &mut full)));
        let news = lines.flush(&mut |bytes| {
            file.extend_from_slice(bytes);
            Ok(bytes.len())
        });
        assert!(matches!(news, Some(News::Ends { late, lost: 10 }) if late == MOST_LINES as u64), "{news:?}");
        assert_eq!(file, (10..MOST_LINES + 10).flat_map(line).collect::<Vec<_>>());
        // lines that are larger than all the room are kept one at a time
        (0..3).for_each(|_| drop(lines.push(vec![b'x'; MOST_BYTES], &mut full)));
        assert_eq!(lines.give_up(), 3);
        assert!(lines.is_empty() && lines.flush(&mut full).is_none());
    }

    proptest! {
        /// However a log fails, what is in it are whole lines in their order.
        #[test]
        fn lines_are_whole(takes in prop::collection::vec(prop::option::of(0usize..12), 1..200), extra in 0usize..5) {
            let (mut lines, mut file) = (Lines::default(), Vec::new());
            let mut takes = takes.into_iter();
            let pushed = 40 + extra;
            for n in 0..pushed {
                lines.push(line(n), &mut |bytes| match takes.next().unwrap_or(Some(100)) {
                    None => Err(io::ErrorKind::WouldBlock.into()),
                    Some(n) => {
                        let n = n.min(bytes.len());
                        file.extend_from_slice(&bytes[..n]);
                        Ok(n)
                    }
                });
            }
            lines.flush(&mut |bytes| {
                file.extend_from_slice(bytes);
                Ok(bytes.len())
            });
            prop_assert_eq!(file, (0..pushed).flat_map(line).collect::<Vec<_>>());
        }
    }
}
