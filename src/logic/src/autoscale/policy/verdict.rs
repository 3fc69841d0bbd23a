//! What an evaluation found: each rule's verdict, what became of the highest wish, and why.

use super::step::Replicas;
use crate::autoscale::read::Reading;

/// What one rule says.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Its condition is not true.
    Quiet,
    /// True, but not for long enough yet.
    Holding { held: f64, of: f64, unit: &'static str },
    /// So many replicas.
    Wish(u32),
    /// At least so many.
    Floor(u32),
    /// Would wish that, but only observes.
    Observed(u32),
    /// Its signal is stale.
    NoValue { slot: usize },
    /// It has not seen enough yet.
    Learning { seen_s: f64, of_s: f64 },
    /// The forecast has been worse than no forecast.
    Inferior,
    /// The script failed.
    Failed(String),
    /// It is looked at with the next tick.
    NotNow,
}

/// A signal as it was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    pub reading: Reading,
    pub stale: bool,
}

/// Why the number of replicas stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// Nobody asks for a change.
    Enough,
    /// `autoscale off`.
    Off,
    /// The policy has no target.
    NoTarget,
    /// How many replicas there are is not known.
    Unknown,
    /// Somebody scaled the target to zero; that is theirs to undo (as with an HPA).
    Paused,
    /// Fewer are asked for, but a signal is stale.
    Stale {
        slot: usize,
    },
    /// The stabilisation window still remembers a higher (lower) wish.
    Stabilising {
        wish: u32,
    },
    /// As many have changed lately as may.
    TooFast {
        wish: u32,
    },
    AtMax {
        wish: u32,
    },
    AtMin {
        wish: u32,
    },
    Cooldown {
        wish: u32,
        left_s: f64,
    },
    /// A script holds the policy.
    Held {
        wish: u32,
        left_s: f64,
    },
    /// An earlier decision is being written.
    Pending {
        wish: u32,
        to: u32,
    },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// Write `to`, and tell [`super::Policy::settle`].
    Scale {
        from: u32,
        to: u32,
    },
    /// The same, but observing, or another gateway writes, or nobody knows who does: write nothing.
    Would {
        from: u32,
        to: u32,
    },
    Stay(Why),
}

/// The `do` lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// `shed`, `route` and `throttle` are in force.
    pub in_force: bool,
    /// They begin, or end, with this evaluation.
    pub turned: bool,
    /// `notify`: somebody is to be told.
    pub notify: bool,
}

/// One evaluation of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The number of the decision, when there is something to do.
    pub id: u64,
    /// One for each rule.
    pub verdicts: Vec<Verdict>,
    /// One for each signal.
    pub seen: Vec<Seen>,
    pub replicas: Option<Replicas>,
    /// The highest wish, and the rule that has it.
    pub wish: u32,
    pub rule: Option<usize>,
    /// What the script says for it, if the rule is one.
    pub reason: Option<String>,
    /// The wish after the brakes and bounds, and after the cooldown.
    pub after_limits: u32,
    pub after_cooldown: u32,
    pub outcome: Outcome,
    pub actions: Actions,
    /// A script asked for it, and why.
    pub asked: Option<String>,
    /// The explanation is another than last time.
    pub news: bool,
}

impl Evaluation {
    /// What to write, if anything.
    pub fn scale(&self) -> Option<u32> {
        match self.outcome {
            Outcome::Scale { to, .. } => Some(to),
            _ => None,
        }
    }
}
