//! What a configuration says of a limit.

use super::rate::Rate;
use super::window::Window;
use crate::autoscale::conf::Endpoint;

/// What is limited, and how far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Rate(Rate),
    Window(Window),
    /// So many at once.
    Flight(u32),
}

/// `autoscale_limit`
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    pub name: String,
    pub kind: Kind,
    pub shared: Option<Shared>,
}

/// A limit that several gateways keep together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    pub at: Endpoint,
    /// What the names in Redis begin with.
    pub prefix: String,
    pub failure: Failure,
    pub ca_file: Option<String>,
    pub secret_file: Option<String>,
}

/// What holds while Redis is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failure {
    /// This gateway alone keeps the limit.
    #[default]
    Local,
    Allow,
    Deny,
}

impl Kind {
    /// What tells buckets of this limit from all others, for a limit called `name`, or without a name by what it is. The numbers of a named
    /// rate may change without beginning anew.
    pub fn owner(&self, name: Option<&str>) -> u32 {
        let (kind, numbers) = match self {
            Self::Rate(rate) => (1, rate.words()),
            Self::Window(window) => (2, [window.length_us, window.limit.into()]),
            Self::Flight(most) => (3, [(*most).into(), 0]),
        };
        let length = if kind == 2 { numbers[0] } else { 0 };
        let hash = match name {
            Some(name) => {
                name.bytes().fold(fnv(fnv(SEED, kind), length), |hash, byte| fnv(hash, byte.into()))
            }
            None => numbers.iter().fold(fnv(SEED, kind + 8), |hash, n| fnv(fnv(hash, *n), n >> 32)),
        };
        (hash ^ hash >> 32) as u32
    }
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a (Fowler, Noll, Vo), a word at a time.
fn fnv(hash: u64, n: u64) -> u64 {
    (hash ^ n).wrapping_mul(0x0100_0000_01b3)
}
