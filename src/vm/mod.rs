//! LuaJIT: one state per cycle, forked into the workers; functions compiled once; coroutines used again.
#![allow(unsafe_code)]

mod coroutine;
mod prelude;
mod side;
mod stack;
mod state;
mod value;

pub use coroutine::{Coroutine, Identity, Outcome};
pub use side::{SideCall, SideVms};
pub use stack::{wait_tag, Stack};
pub use state::{FileError, Function, Vm, VmError};
pub use value::{CopyError, Value};
