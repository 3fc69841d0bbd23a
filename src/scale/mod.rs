//! The autoscale shell: it moves what happens into the zone and what the zone says to Lua; it decides nothing.

pub mod actions;
pub mod admit;
pub mod balance;
pub mod collect;
mod eject;
pub mod engine;
mod fleet;
pub mod journal;
mod leader;
pub mod members;
pub mod outward;
mod poll;
mod pool;
pub mod protect;
mod saved;
pub mod script;
mod shell;
mod signals;
pub mod split;
pub mod status;
mod zone;

pub use admit::Tickets;
pub use engine::{Engine, PolicyState};
pub use fleet::{Choice, Row};
pub use saved::StateFile;
pub use shell::{register, Shell};
pub use signals::Answer;
pub use zone::{KeyConf, ZoneConf};
