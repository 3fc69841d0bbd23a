//! Many events, one line a second.

use core::cell::Cell;

use crate::ngx::{clock, log_cycle, Level};

/// How many were counted since the last line, and in which second that was.
#[derive(Default)]
pub struct Said {
    count: Cell<u64>,
    at_s: Cell<u64>,
}

impl Said {
    /// Counts one; `line` words the number of those since the last line.
    pub fn count(&self, line: impl FnOnce(u64) -> String) {
        let (count, now_s) = (self.count.get() + 1, clock::monotonic().s());
        self.count.set(count);
        if self.at_s.replace(now_s) != now_s {
            self.count.set(0);
            log_cycle(Level::Warn, &line(count));
        }
    }
}
