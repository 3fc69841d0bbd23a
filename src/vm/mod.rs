//! LuaJIT: one state per cycle, forked into the workers; functions compiled once; coroutines used again.
#![allow(unsafe_code)]

mod bounded;
mod coroutine;
mod object;
mod prelude;
mod sendable;
#[cfg_attr(not(ngx_feature = "threads"), allow(dead_code))]
mod side;
mod stack;
mod state;
#[cfg_attr(not(ngx_feature = "threads"), allow(dead_code))]
mod value;

pub use coroutine::{Coroutine, Identity, Outcome};
pub use sendable::Sendable;
#[cfg_attr(not(ngx_feature = "threads"), allow(unused_imports))]
pub use side::{SideCall, SideVms};
pub use stack::{wait_tag, Stack};
pub use state::{FileError, Function, Vm, VmError};
#[cfg_attr(not(ngx_feature = "threads"), allow(unused_imports))]
pub use value::{CopyError, Value};
