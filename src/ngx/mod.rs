//! nginx made safe: wrappers that hand out wrappers.
//!
//! This is one of the three folders that may say `unsafe`. What leaves it is safe to hold for as long as the callback
//! that received it runs: nginx is single-threaded per worker, and a request outlives every callback made for it.
#![allow(unsafe_code)]

mod address;
mod bits;
mod block;
mod body_filter;
mod buffers;
mod capture;
mod chain;
pub mod child;
mod client;
pub mod clock;
mod command;
mod conf;
mod ctx;
pub mod dict;
mod event;
mod exec;
mod exit_watch;
mod headers_in;
mod headers_out;
mod heap;
pub mod job;
mod line_log;
mod location;
mod log;
mod module;
pub mod ndk;
mod observe;
mod pause;
#[cfg_attr(not(ngx_feature = "pcre"), allow(dead_code))]
mod pcre;
pub mod process;
mod request;
mod request_body;
mod request_line;
mod resolver;
mod script;
mod send;
mod shm;
mod socket;
mod spare_pool;
mod subrequest;
mod text;
mod thread_pool;
pub mod tls;
mod upstream;
mod var;
mod variables;
pub mod wake;

pub use capture::Capture;
pub use client::ClientError;
pub use command::{Args, Directive, Setter, LOC, LOC_IF, MAIN, SRV, SRV_IF, UPSTREAM};
pub use conf::{Cf, ConfError, Path, Place};
pub use ctx::{running_ctx, Ctx, Shared};
pub use event::{Posted, Timer};
pub use exit_watch::ExitWatch;
pub use headers_in::{Change, HeaderError};
pub use headers_out::FieldError;
pub use line_log::LineLog;
pub use location::Location;
pub use log::{cycle_log_level, debug_cycle, log_cycle, log_cycle_bytes, Level, LogContext, ServerLog};
pub use module::{cycle_main_conf, full_path, prefix};
pub use observe::Observed;
pub use pause::{sleep, within, within_request};
pub use pcre::{
    Limits as RegexLimits, Regex, Workplace as RegexPlace, AVAILABLE as HAS_PCRE,
    IN_THREADS as PCRE_IN_THREADS,
};
pub use request::{Rc, Request};
pub use request_body::{BodyError, Reading};
pub use resolver::{Endpoint, Found, ResolveError};
pub use script::SetVar;
pub use send::Drained;
pub use shm::{Zone, ZoneUser};
pub use socket::{Interrupted, Io, Kind, Peer, Stream, Wait};
pub use spare_pool::SparePools;
pub use subrequest::{
    capture, Capture as CapturedResponse, Group as Captures, Spec as CaptureSpec, VarsFrom,
    Waiter as CaptureWaiter,
};
#[cfg(ngx_feature = "threads")]
pub use thread_pool::ThreadPool;
pub use upstream::{
    BalancerConf, Balancing, Known, Listed, OwnAddress, PeerError, PeerId, Refusal, Released, Roster, Ticket,
    Upstream, Upstreams, Whose,
};
pub use var::{Variable, Variables};
pub use variables::Slot;
