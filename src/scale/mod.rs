//! The autoscale shell: it moves what happens into the zone and what the zone says to Lua; it decides nothing.

pub mod collect;
pub mod engine;
mod fleet;
mod leader;
pub mod outward;
mod poll;
mod pool;
mod saved;
mod shell;
mod signals;
pub mod status;
mod zone;

pub use fleet::Choice;
pub use saved::StateFile;
pub use shell::{register, Shell};
pub use signals::Answer;
pub use zone::{KeyConf, ZoneConf};
