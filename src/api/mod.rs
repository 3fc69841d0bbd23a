//! The `ngx.*` API: one `NAME.rs` (what needs nginx) and one `NAME.lua` (semantics and argument checks) each.

use crate::native::{Classic, Native};
use crate::run::Op;

mod codec;
mod control;
mod core;
mod output;
mod re;
mod time;

/// The prelude's foundation: the only file that says `ffi` or yields.
pub const BASE: &str = include_str!("base.lua");

/// The prelude files in the order they are loaded.
pub const PRELUDE: &[(&str, &str)] = &[
    ("core", include_str!("core.lua")),
    ("coroutine", include_str!("coroutine.lua")),
    ("output", include_str!("output.lua")),
    ("control", include_str!("control.lua")),
    ("codec", include_str!("codec.lua")),
    ("time", include_str!("time.lua")),
    ("re", include_str!("re.lua")),
    ("re_module", include_str!("re_module.lua")),
];

pub const NATIVES: &[&[Native]] =
    &[core::NATIVES, output::NATIVES, control::NATIVES, re::NATIVES, codec::NATIVES, time::NATIVES];

pub const CLASSICS: &[&[Classic]] = &[output::CLASSICS];

const OPS: &[&[Op]] = &[control::OPS, output::OPS];

/// All operations, in the order of their numbers.
pub fn ops() -> impl Iterator<Item = &'static Op> {
    OPS.iter().copied().flatten()
}
