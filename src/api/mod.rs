//! The `ngx.*` API: one `NAME.rs` (what needs nginx) and one `NAME.lua` (semantics and argument checks) each.

use crate::native::{Classic, Native};
use crate::run::Op;

mod arg;
mod control;
mod core;
mod header;
mod output;

/// The prelude's foundation: the only file that says `ffi` or yields.
pub const BASE: &str = include_str!("base.lua");

/// The prelude files in the order they are loaded.
pub const PRELUDE: &[(&str, &str)] = &[
    ("core", include_str!("core.lua")),
    ("coroutine", include_str!("coroutine.lua")),
    ("header", include_str!("header.lua")),
    ("output", include_str!("output.lua")),
    ("control", include_str!("control.lua")),
    ("arg", include_str!("arg.lua")),
];

pub const NATIVES: &[&[Native]] =
    &[core::NATIVES, header::NATIVES, output::NATIVES, control::NATIVES, arg::NATIVES];

pub const CLASSICS: &[&[Classic]] = &[output::CLASSICS];

const OPS: &[&[Op]] = &[control::OPS, output::OPS];

/// All operations, in the order of their numbers.
pub fn ops() -> impl Iterator<Item = &'static Op> {
    OPS.iter().copied().flatten()
}
