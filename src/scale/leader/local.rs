//! The leader among the workers of a gateway: a word of the zone.

use core::cell::Cell;
use std::rc::Rc;

use logic::autoscale::board::lead::Candidate;
use logic::autoscale::board::Board;
use logic::autoscale::metrics::columns::Owner;

use crate::ngx::{clock, process};
use crate::scale::shell::at_work;

/// This worker's part in it; clones are the same.
#[derive(Clone)]
pub struct Local {
    board: Board<'static>,
    pub me: Owner,
    tick_us: u64,
    fence: Rc<Cell<u64>>,
}

impl Local {
    pub fn new(board: Board<'static>, me: Owner, tick_s: u64) -> Local {
        Local { board, me, tick_us: tick_s * 1_000_000, fence: Rc::default() }
    }

    /// Leads on, or takes the lead if nobody has it; true when it was just taken.
    pub fn compete(&self) -> bool {
        let candidate = Candidate {
            me: self.me,
            seat: seat(),
            now_us: clock::monotonic().us,
            unix_ms: clock::unix_ms(),
            tick_us: self.tick_us,
        };
        // without a start time nobody can be told dead: only silence counts. One that was stopped finds out when it goes on
        let fence = self.board.compete(&candidate, |owner| self.me.stamp == 0 || at_work(owner));
        if let Some(fence) = fence {
            self.fence.set(fence);
        }
        fence.is_some()
    }

    pub fn leads(&self) -> bool {
        self.board.leads(self.me)
    }

    /// The token of this leader, if it is one.
    pub fn fence(&self) -> Option<u64> {
        self.leads().then_some(self.fence.get())
    }

    /// True when the lead was this worker's.
    pub fn resign(&self) -> bool {
        self.board.resign(self.me)
    }
}

/// Where this worker is woken.
pub fn seat() -> usize {
    process::worker_id().unwrap_or(0)
}
