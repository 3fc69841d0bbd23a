//! The last log lines in a fixed amount of memory: a new line pushes the oldest ones out.

/// What each line costs besides its bytes.
const HEADER: usize = 16;

/// A line that was kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Seconds since the epoch.
    pub time: f64,
    pub level: u8,
}

/// A ring of bytes: each line is a header (time, level, length) and its text, either of which may wrap.
pub struct LogRing {
    bytes: Box<[u8]>,
    head: usize,
    used: usize,
    lines: usize,
}

impl LogRing {
    /// A ring of `size` bytes; `None` when memory is out.
    pub fn new(size: usize) -> Option<LogRing> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).ok()?;
        bytes.resize(size, 0);
        Some(LogRing { bytes: bytes.into_boxed_slice(), head: 0, used: 0, lines: 0 })
    }

    /// Number of lines kept.
    pub fn len(&self) -> usize {
        self.lines
    }

    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Forgets all lines.
    pub fn clear(&mut self) {
        (self.head, self.used, self.lines) = (0, 0, 0);
    }

    /// Keeps a line; one that is larger than the ring is dropped, and `false` returned.
    pub fn push(&mut self, time: f64, level: u8, text: &[u8]) -> bool {
        let size = HEADER + text.len();
        let Ok(len) = u32::try_from(text.len()) else { return false };
        if size > self.bytes.len() {
            return false;
        }
        while self.bytes.len() - self.used < size {
            self.skip();
        }
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&time.to_ne_bytes());
        header[8..12].copy_from_slice(&len.to_ne_bytes());
        header[12] = level;
        self.append(&header);
        self.append(text);
        self.lines += 1;
        true
    }

    /// Takes the oldest line out, its text into `text`.
    pub fn pop(&mut self, text: &mut Vec<u8>) -> Option<Line> {
        text.clear();
        if self.lines == 0 {
            return None;
        }
        let (line, len) = self.header();
        text.try_reserve(len).ok()?;
        let from = self.wrap(self.head + HEADER);
        let first = len.min(self.bytes.len() - from);
        text.extend_from_slice(&self.bytes[from..from + first]);
        text.extend_from_slice(&self.bytes[..len - first]);
        self.skip();
        Some(line)
    }

    fn header(&self) -> (Line, usize) {
        let mut header = [0; HEADER];
        for (i, b) in header.iter_mut().enumerate() {
            *b = self.bytes[self.wrap(self.head + i)];
        }
        let [t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3, level, ..] = header;
        let time = f64::from_ne_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        (Line { time, level }, u32::from_ne_bytes([l0, l1, l2, l3]) as usize)
    }

    /// Forgets the oldest line.
    fn skip(&mut self) {
        let size = HEADER + self.header().1;
        self.head = self.wrap(self.head + size);
        self.used -= size;
        self.lines -= 1;
    }

    fn append(&mut self, data: &[u8]) {
        let at = self.wrap(self.head + self.used);
        let first = data.len().min(self.bytes.len() - at);
        self.bytes[at..at + first].copy_from_slice(&data[..first]);
        self.bytes[..data.len() - first].copy_from_slice(&data[first..]);
        self.used += data.len();
    }

    fn wrap(&self, at: usize) -> usize {
        if at >= self.bytes.len() {
            at - self.bytes.len()
        } else {
            at
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_come_back_in_order() {
        let mut ring = LogRing::new(128).unwrap();
        assert!(ring.is_empty());
        assert!(ring.push(1.5, 4, b"one"));
        assert!(ring.push(2.5, 5, b""));
        assert_eq!(ring.len(), 2);
        let mut text = Vec::new();
        assert_eq!(ring.pop(&mut text), Some(Line { time: 1.5, level: 4 }));
        assert_eq!(text, b"one");
        assert_eq!(ring.pop(&mut text), Some(Line { time: 2.5, level: 5 }));
        assert_eq!(text, b"");
        assert_eq!(ring.pop(&mut text), None);
        assert!(ring.push(3.5, 6, b"three"));
        ring.clear();
        assert_eq!(ring.pop(&mut text), None);
    }

    #[test]
    fn a_line_larger_than_the_ring_leaves_it_alone() {
        let mut ring = LogRing::new(32).unwrap();
        assert!(ring.push(0.0, 1, b"0123456789abcdef"));
        assert!(!ring.push(0.0, 1, b"0123456789abcdefg"));
        assert_eq!(ring.len(), 1);
    }

    proptest! {
        /// Against a queue that drops from its front until the new line fits.
        #[test]
        fn keeps_the_newest_lines_that_fit(
            size in 0_usize..200,
            ops in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..60)), 0..80),
        ) {
            let mut ring = LogRing::new(size).unwrap();
            let mut model: VecDeque<Vec<u8>> = VecDeque::new();
            let mut text = Vec::new();
            for (i, op) in ops.iter().enumerate() {
                match op {
                    Some(line) => {
                        let fits = line.len() + HEADER <= size;
                        prop_assert_eq!(ring.push(i as f64, 3, line), fits);
                        if fits {
                            model.push_back(line.clone());
                            while model.iter().map(|l| l.len() + HEADER).sum::<usize>() > size {
                                model.pop_front();
                            }
                        }
                    }
                    None => {
                        let got = ring.pop(&mut text).map(|_| text.clone());
                        prop_assert_eq!(got, model.pop_front());
                    }
                }
                prop_assert_eq!(ring.len(), model.len());
            }
        }
    }
}
