//! LuaJIT: one state per cycle, forked into the workers; functions compiled once; coroutines used again.
#![allow(unsafe_code)]

mod coroutine;
mod prelude;
mod stack;
mod state;

pub use coroutine::{Coroutine, Identity, Outcome};
pub use stack::{wait_tag, Stack};
pub use state::{FileError, Function, Vm, VmError};
