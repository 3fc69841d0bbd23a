//! The autoscale shell: it moves what happens into the zone and what the zone says to Lua; it decides nothing.

pub mod collect;
mod shell;
mod zone;

pub use shell::Shell;
pub use zone::{KeyConf, ZoneConf};
