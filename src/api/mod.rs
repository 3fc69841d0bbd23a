//! The `ngx.*` API: one `NAME.rs` (what needs nginx) and one `NAME.lua` (semantics and argument checks) each.

use crate::native::{Classic, Native};
use crate::run::Op;

mod args;
mod body;
mod control;
mod core;
mod output;
mod request;

/// The prelude's foundation: the only file that says `ffi` or yields.
pub const BASE: &str = include_str!("base.lua");

/// The prelude files in the order they are loaded.
pub const PRELUDE: &[(&str, &str)] = &[
    ("core", include_str!("core.lua")),
    ("coroutine", include_str!("coroutine.lua")),
    ("output", include_str!("output.lua")),
    ("control", include_str!("control.lua")),
    ("args", include_str!("args.lua")),
    ("body", include_str!("body.lua")),
    ("request", include_str!("request.lua")),
];

pub const NATIVES: &[&[Native]] = &[core::NATIVES, output::NATIVES, control::NATIVES, args::NATIVES, body::NATIVES, request::NATIVES];

pub const CLASSICS: &[&[Classic]] = &[output::CLASSICS];

const OPS: &[&[Op]] = &[control::OPS, output::OPS, body::OPS, request::OPS];

/// All operations, in the order of their numbers.
pub fn ops() -> impl Iterator<Item = &'static Op> {
    OPS.iter().copied().flatten()
}
