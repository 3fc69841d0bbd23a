//! `autoscale_policy` and its neighbours, from words to typed configuration.
//!
//! The words come from nginx's own parser in the module and from [`super::nginx_conf`] in the replay program. Everything is checked
//! here: a value in hand is a valid one, and an error ([`ConfError`]) says what to write instead. File and line are the caller's to add.
//!
//! | directive | becomes |
//! |---|---|
//! | `autoscale` | [`mode`] |
//! | `autoscale_signal` | [`External`] |
//! | `autoscale_target` | [`Target`] |
//! | `autoscale_policy` | [`PolicyBuilder`], line by line |
//! | `autoscale_leader` | [`Leader`] |
//! | `autoscale_log` | [`Log`] |
//!
//! [`Settings`] holds them together and checks what only the whole can tell.

mod behavior;
mod error;
mod external;
mod options;
mod outward;
mod policy;
mod rules;
mod settings;
mod target;
pub mod unit;

pub use error::ConfError;
pub use external::{External, Payload};
pub use outward::{mode, Leader, Level, Lock, Log, Sink};
pub use policy::{PolicyBuilder, Zones};
pub use settings::{Misfit, PolicyConf, Settings, Subject};
pub use target::{Endpoint, Kind, Target};

type Result<T> = core::result::Result<T, ConfError>;

#[cfg(test)]
mod tests;
