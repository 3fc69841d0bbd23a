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
mod headers_out;
mod log;
mod module;
mod observe;
mod request;
mod script;
mod send;
mod shm;
mod text;

pub use chain::Output;
pub use command::{Args, Directive, Setter, LOC, LOC_IF, MAIN, SRV, SRV_IF, UPSTREAM};
pub use conf::{Cf, ConfError, Path};
pub use ctx::{running_ctx, Ctx, Shared};
pub use event::{Posted, Timer};
pub use headers_out::FieldError;
pub use log::{log_cycle, Level};
pub use module::{cycle_main_conf, full_path, prefix};
pub use observe::Observed;
pub use request::{Rc, Request};
pub use script::SetVar;
pub use send::Drained;
pub use shm::{Zone, ZoneUser};
