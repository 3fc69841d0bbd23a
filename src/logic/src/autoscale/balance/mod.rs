//! Which peer gets the next request, and whether it had better wait.
//!
//! - [`Settings`] is what `autoscale_balance` says.
//! - [`Memory`] is what the rule keeps of each peer, in words that all workers share.
//! - [`Candidate`] is a peer as the rule sees it, with its cost.
//! - [`pick`] and [`choose`] compare candidates, all of them while they are few, two beyond.
//!
//! Everything is arithmetic on what is handed in: the time, a random number, the peers.

mod candidate;
mod cost;
mod memory;
mod pick;
mod settings;
mod standing;
mod wait;

pub use candidate::Candidate;
pub use cost::Usual;
pub use memory::{Ended, Memory};
pub use pick::{choose, pick, Choice, Peers, Race, FEW};
pub use settings::{Rule, Settings};
pub use standing::Standing;
pub use wait::CLEARLY;

#[cfg(test)]
mod tests;
