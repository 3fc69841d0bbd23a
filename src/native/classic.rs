//! Plain C functions, for what may run other Lua before it returns.

use core::ffi::c_int;

use mlua::ffi::lua_State;

use super::{guard, Cx};
use crate::vm::Stack;

/// A classic function as the VM hands it to the prelude: takes Lua values, leaves Lua values.
pub struct Classic {
    pub name: &'static str,
    pub entry: unsafe extern "C-unwind" fn(*mut lua_State) -> c_int,
}

/// The guarded body of a classic function: runs `f`, which says how many values it left on the stack.
pub fn classic_entry(l: *mut lua_State, f: fn(Cx, &mut Stack<'_>) -> c_int) -> c_int {
    guard(|| {
        // SAFETY: Lua calls a C function with its live state, and nobody else uses it until the function returns.
        let mut stack = unsafe { Stack::new(l) };
        f(Cx::current(), &mut stack)
    })
    .unwrap_or(0)
}

/// Writes classic functions and `CLASSICS`, their rows for the VM.
macro_rules! classics {
    ($( $(#[$meta:meta])* fn $name:ident($cx:ident, $stack:ident) $body:block )*) => {
        $(
            $(#[$meta])*
            #[allow(unsafe_code)]
            mod $name {
                use super::*;
                fn body($cx: $crate::native::Cx, $stack: &mut $crate::vm::Stack<'_>) -> core::ffi::c_int $body
                pub unsafe extern "C-unwind" fn entry(l: *mut mlua::ffi::lua_State) -> core::ffi::c_int {
                    $crate::native::classic_entry(l, body)
                }
            }
        )*
        /// The classic functions of this file.
        pub const CLASSICS: &[$crate::native::Classic] =
            &[$( $crate::native::Classic { name: stringify!($name), entry: $name::entry } ),*];
    };
}

pub(crate) use classics;
