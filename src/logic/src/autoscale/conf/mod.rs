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
//! | `autoscale_limit` | [`Declared`](super::admit::Declared) |
//! | `autoscale_peers` | [`PeerSource`] |
//!
//! [`Settings`] holds them together and checks what only the whole can tell.
//!
//! # Lines of a policy
//! ```text
//! up SIGNAL >|>=|<|<= VALUE [for=W] by=+N|+N%         VALUE: 500ms 20% 1.5k, or "2x baseline@1d"
//! down SIGNAL >|>=|<|<= VALUE [for=W] by=-N|-N%       W: 500ms 5m (time), 3x (ticks in a row), 11r (requests in a row, up to 64)
//! track SIGNAL per=N [tolerance=10%] [panic=200%:6s]  a total is divided by N; a mean (latency, cpu, ratios) is brought to it
//! behavior up|down [window=W] [select=max|min|disabled] [N/PERIOD | N%/PERIOD] ...      as autoscaling/v2 has it
//! limit [min=N] [max=N] [rate=N|N%] [stale=hold|N]    min is 1 unless told; rate is a minute's
//! cooldown [up=W] [down=W]                            up: since the last up; down: since the last change
//! schedule "CRON" [before=W] [for=W] [tz=ZONE] min=N  UTC unless told
//! forecast period=W lead=W [observe]                  of the signal of the one track line
//! do shed CLASS | route UPSTREAM [CLASS] | throttle KEY RATE | notify TARGET
//! mode observe
//! by_lua_block { ... }
//! ```
//! What is not written: step lines cool down for 60 s up and 300 s down; tracking without panic stabilises for 300 s on the way down.

mod behavior;
mod error;
mod external;
pub mod limit;
mod options;
mod outward;
mod peers;
mod policy;
mod rules;
mod settings;
mod split;
mod target;
pub mod unit;

pub use error::ConfError;
pub use external::{External, Payload};
pub(in crate::autoscale) use options::Options;
pub use outward::{mode, Leader, Level, Lock, Log, Sink};
pub use peers::{PeerKind, PeerSource, Port};
pub use policy::{PolicyBuilder, Zones};
pub use settings::{Code, Misfit, PolicyConf, Settings, Subject};
pub use split::SplitBuilder;
pub use target::{Endpoint, Kind, Target};

type Result<T> = core::result::Result<T, ConfError>;

#[cfg(test)]
mod tests;
