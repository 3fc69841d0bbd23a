//! `autoscale_split`: requests shared out between upstreams, one of which grows step by step while its guards hold.
//!
//! *Why*: a new version shows what it is worth under a little real traffic before it gets all of it (canary release). *When it acts*:
//! once a tick; a guard that does not hold takes all traffic away from the guarded arm at once, and only a new configuration or a script
//! gives it some again; a step is made when every guard has held since the last one, and was judged on enough requests. *What it cannot
//! see*: harm that the signals of the gateway do not show, such as wrong answers with status 200.
//!
//! A key is sticky: its place on a scale of [`WHOLE`] does not change, and an arm that grows keeps what it had.

mod state;
#[cfg(test)]
mod tests;

pub use state::{Change, Phase, Progress, WORDS};

use super::policy::Op;
use super::signal::Signal;

/// Everything, in parts of a hundredth of a percent.
pub const WHOLE: u32 = 10_000;

/// A split in hand is a valid one: at least two arms, whose shares are the whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The variable, without its dollar.
    pub variable: String,
    /// The first one has what the others leave.
    pub arms: Vec<Arm>,
    /// Which arm is guarded and moved.
    pub moving: usize,
    pub guards: Vec<Guard>,
    pub step: Option<Step>,
    /// What requests are told apart by, a text with variables; each goes anywhere without.
    pub key: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arm {
    pub upstream: String,
    /// Of [`WHOLE`].
    pub share: u32,
}

/// What must hold of the moving arm.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// As it was written.
    pub text: String,
    pub signal: Signal,
    pub op: Op,
    pub than: Than,
    /// So many requests must have been seen before it is judged.
    pub min: u64,
}

/// What a guarded signal is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Than {
    Value(f64),
    /// A signal of another arm, times and plus something.
    Signal {
        signal: Signal,
        times: f64,
        plus: f64,
    },
}

/// `step +10% every=5m max=50%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub by: u32,
    pub every_us: u64,
    pub max: u32,
}

impl Split {
    /// The arm that has a place on the scale, of those below [`WHOLE`], while the moving arm has this share.
    pub fn arm(&self, share: u32, place: u32) -> &Arm {
        let mut end = 0;
        let fixed = self.arms.iter().enumerate().skip(1).filter(|(i, _)| *i != self.moving);
        for (_, arm) in fixed {
            end += arm.share;
            if place < end {
                return arm;
            }
        }
        &self.arms[if place < end + share { self.moving } else { 0 }]
    }

    /// Where a key lies on the scale: every worker, gateway and build finds it at the same place, and each split at another one.
    pub fn place_of(&self, key: &[u8]) -> u32 {
        let hash = fnv(fnv(FNV, self.variable.as_bytes()), key);
        // what FNV leaves alike in keys that differ in their ends is spread (Steele, Lea, Flood: SplitMix64)
        let z = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self::place(z ^ z >> 31)
    }

    /// Where a random number lies on the scale, by its upper half (Lemire's multiplication).
    pub fn place(hash: u64) -> u32 {
        (((hash >> 32) * u64::from(WHOLE)) >> 32) as u32
    }

    /// Tells one text of a split from another.
    pub fn mark(&self) -> u64 {
        fnv(FNV, format!("{self:?}").as_bytes()) | 1
    }
}

const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a (Fowler, Noll, Vo), going on from `hash`.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
