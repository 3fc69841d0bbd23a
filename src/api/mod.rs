//! The `ngx.*` API: one `NAME.rs` (what needs nginx) and one `NAME.lua` (semantics and argument checks) each.

use crate::native::{Classic, Native};
use crate::run::Op;

mod args;
mod body;
mod config;
mod control;
mod errlog;
mod log;
mod output;
mod request;
mod worker;

/// The prelude's foundation: the only file that says `ffi` or yields.
pub const BASE: &str = include_str!("base.lua");

/// The prelude files in the order they are loaded.
pub const PRELUDE: &[(&str, &str)] = &[
    ("core", include_str!("core.lua")),
    ("log", include_str!("log.lua")),
    ("table", include_str!("table.lua")),
    ("package", include_str!("package.lua")),
    ("coroutine", include_str!("coroutine.lua")),
    ("config", include_str!("config.lua")),
    ("worker", include_str!("worker.lua")),
    ("errlog", include_str!("errlog.lua")),
    ("output", include_str!("output.lua")),
    ("control", include_str!("control.lua")),
    ("args", include_str!("args.lua")),
    ("body", include_str!("body.lua")),
    ("request", include_str!("request.lua")),
    // the last one: what libraries require, as far as no file above serves it
    ("libs", include_str!("libs.lua")),
];

#[rustfmt::skip]
pub const NATIVES: &[&[Native]] = &[
    log::NATIVES,
    config::NATIVES,
    worker::NATIVES,
    errlog::NATIVES,
    output::NATIVES,
    control::NATIVES,
    args::NATIVES,
    body::NATIVES,
    request::NATIVES,
];

pub const CLASSICS: &[&[Classic]] = &[output::CLASSICS];

const OPS: &[&[Op]] = &[control::OPS, output::OPS, body::OPS, request::OPS];

/// All operations, in the order of their numbers.
pub fn ops() -> impl Iterator<Item = &'static Op> {
    OPS.iter().copied().flatten()
}
