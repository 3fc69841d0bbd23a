//! nginx made safe: wrappers that hand out wrappers.
//!
//! This is one of the three folders that may say `unsafe`. What leaves it is safe to hold for as long as the callback
//! that received it runs: nginx is single-threaded per worker, and a request outlives every callback made for it.
#![allow(unsafe_code)]

mod block;
mod body_filter;
mod chain;
mod command;
mod conf;
mod ctx;
mod event;
mod exec;
mod log;
mod module;
mod request;
mod script;
mod shm;
mod text;
mod upstream;
mod var;

pub use chain::Output;
pub use command::{Args, Directive, Setter, LOC, LOC_IF, MAIN, SRV, SRV_IF, UPSTREAM};
pub use conf::{Cf, ConfError, Path};
pub use ctx::{running_ctx, Ctx, Shared};
pub use event::{Posted, Timer};
pub use log::{log_cycle, Level};
pub use module::{cycle_main_conf, full_path, prefix};
pub use request::{Rc, Request};
pub use script::SetVar;
pub use shm::{Zone, ZoneUser};
pub use upstream::{
    watch_upstreams, Balancing, Observer, Outcome, Peer, PeerError, PeerId, Refusal, Server, Target,
    Upstream, Upstreams, Watches,
};
pub use var::{Variable, Variables};
