//! The `ngx.*` API: one `NAME.rs` (what needs nginx) and one `NAME.lua` (semantics and argument checks) each.

use crate::native::{Classic, Native};
use crate::run::Op;

mod balancer;
mod control;
mod core;
mod output;
mod upstream;
mod var;

/// The prelude's foundation: the only file that says `ffi` or yields.
pub const BASE: &str = include_str!("base.lua");

/// The prelude files in the order they are loaded.
pub const PRELUDE: &[(&str, &str)] = &[
    ("core", include_str!("core.lua")),
    ("coroutine", include_str!("coroutine.lua")),
    ("output", include_str!("output.lua")),
    ("control", include_str!("control.lua")),
    ("var", include_str!("var.lua")),
    ("balancer", include_str!("balancer.lua")),
    ("upstream", include_str!("upstream.lua")),
];

pub const NATIVES: &[&[Native]] =
    &[core::NATIVES, output::NATIVES, control::NATIVES, var::NATIVES, balancer::NATIVES, upstream::NATIVES];

pub const CLASSICS: &[&[Classic]] = &[output::CLASSICS];

const OPS: &[&[Op]] = &[control::OPS, output::OPS];

/// All operations, in the order of their numbers.
pub fn ops() -> impl Iterator<Item = &'static Op> {
    OPS.iter().copied().flatten()
}
