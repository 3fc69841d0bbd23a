//! The boundary to Lua.
//!
//! A *native* is called by compiled Lua through the FFI: it never raises, never unwinds, and never makes Lua run on the
//! same state. [`natives!`] writes the guarded C function and its C prototype from one Rust signature. A *classic* is a
//! plain C function for what may run other Lua (filters, finalizers), and for what may have to wait: a function that
//! yields is never compiled, and the FFI is slow where it is interpreted. See [`classics!`].
#![allow(unsafe_code)]

use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::ngx::{log_cycle, Level};

mod classic;
mod current;
mod types;

pub(crate) use classic::classics;
pub use classic::{classic_body, classic_end, Answer, Classic, Raise};
pub use current::{address as cur_address, enter, enter_background, enter_task, free_buffers, Cx, Scope};
#[allow(unused_imports)]
pub use types::{c_definitions, CType, DictValue, Handle, Native, Pair, Param, Ret, Str};
pub(crate) use types::{native_fn, natives};

/// Runs `f`; a panic becomes a log line and `None`, and the worker lives on.
pub fn guard<T>(f: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(cause) => {
            report(&*cause);
            None
        }
    }
}

#[cold]
fn report(cause: &(dyn core::any::Any + Send)) {
    let text = cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    log_cycle(Level::Alert, &format!("autoscale_lua panicked: {text}"));
}
