//! Plain C functions: what may run other Lua before it returns, and what may have to wait.
//!
//! A classic leaves values, raises an error, or waits. One that waits yields its operation right from C: what the wake
//! leaves on the thread's stack is what the function returns, and nothing of it is left to be interpreted.

use core::ffi::c_int;
use core::future::Future;
use std::borrow::Cow;

use mlua::ffi::{self, lua_State};

use super::{guard, Cx};
use crate::phase::{self, Phase};
use crate::run::{later, Armed, Prepared, Waker, PREPARED};
use crate::vm::{wait_tag, Stack};

/// A classic function as the VM hands it to the prelude: takes Lua values, leaves Lua values.
pub struct Classic {
    pub name: &'static str,
    pub entry: unsafe extern "C-unwind" fn(*mut lua_State) -> c_int,
}

/// What a classic comes to.
pub enum Answer {
    /// So many values, the last ones of the stack.
    Values(c_int),
    /// The thread waits. The operation finds the last `values` of the stack from index 3 on.
    Wait { operation: Prepared, values: c_int },
}

impl Answer {
    /// Waits for `operation`, which needs none of the function's arguments.
    pub fn wait(operation: impl FnOnce(&Waker, &mut Stack<'_>) -> Armed + 'static) -> Answer {
        Answer::Wait { operation: Prepared::Call(Box::new(operation)), values: 0 }
    }

    /// The same with the last `values` of the stack.
    pub fn wait_with(
        values: c_int,
        operation: impl FnOnce(&Waker, &mut Stack<'_>) -> Armed + 'static,
    ) -> Answer {
        Answer::Wait { operation: Prepared::Call(Box::new(operation)), values }
    }

    /// Waits for `future`, which ends in what is to be left on the stack.
    pub fn work<R>(future: impl Future<Output = R> + 'static) -> Answer
    where
        R: FnOnce(&mut Stack<'_>) -> c_int + 'static,
    {
        Answer::Wait { operation: Prepared::Work(later(future)), values: 0 }
    }
}

/// An error for the script.
#[derive(Debug)]
pub enum Raise {
    /// This message, behind the line that called the classic.
    Here(Cow<'static, str>),
    /// The same for a classic that a function of the prelude has called: behind the line that called that one.
    Above(Cow<'static, str>),
    /// The error value that lies on top of the stack.
    Top,
}

impl Raise {
    pub fn above(self) -> Raise {
        match self {
            Raise::Here(message) => Raise::Above(message),
            other => other,
        }
    }
}

impl From<String> for Raise {
    fn from(message: String) -> Raise {
        Raise::Here(message.into())
    }
}

impl From<&'static str> for Raise {
    fn from(message: &'static str) -> Raise {
        Raise::Here(message.into())
    }
}

impl Cx {
    /// Refuses a call outside of the phases of `mask`.
    pub fn require(self, mask: u32) -> Result<(), Raise> {
        if self.phase_bit() & mask != 0 {
            return Ok(());
        }
        Err(self.refuse(mask))
    }

    #[cold]
    fn refuse(self, mask: u32) -> Raise {
        let phase = phase::ALL.into_iter().find(|phase| self.is(*phase));
        match phase {
            // what works without a request somewhere is refused by the phase's name
            Some(Phase::Init) if mask & Phase::InitWorker.bit() == 0 => "no request found".into(),
            Some(Phase::Timer) => "API disabled in the context of ngx.timer".into(),
            Some(phase) => format!("API disabled in the context of {phase}*").into(),
            None => "API disabled in the context of unknown_by_lua*".into(),
        }
    }
}

/// What is left to do for the C function itself, once nothing of Rust lives that would have to be dropped.
#[derive(Clone, Copy)]
pub enum Last {
    Return(c_int),
    /// Raises the value on top.
    Raise,
    /// Yields so many values.
    Yield(c_int),
}

/// What the body of a classic may return.
pub trait Ending {
    fn end(self, cx: Cx, stack: &mut Stack<'_>) -> Last;
}

impl Ending for c_int {
    fn end(self, _: Cx, _: &mut Stack<'_>) -> Last {
        Last::Return(self)
    }
}

impl Ending for Answer {
    fn end(self, cx: Cx, stack: &mut Stack<'_>) -> Last {
        match self {
            Answer::Values(n) => Last::Return(n),
            // Lua says so itself; the operation is dropped, and with it what it keeps busy
            Answer::Wait { .. } if !stack.can_yield() => Last::Yield(0),
            Answer::Wait { operation, values } => {
                cx.prepare(operation);
                stack.push_operation(values, wait_tag(), PREPARED);
                Last::Yield(values + 2)
            }
        }
    }
}

impl Ending for Result<Answer, Raise> {
    fn end(self, cx: Cx, stack: &mut Stack<'_>) -> Last {
        match self {
            Ok(answer) => answer.end(cx, stack),
            Err(Raise::Top) => Last::Raise,
            Err(Raise::Here(message)) => {
                stack.push_message(1, message.as_bytes());
                Last::Raise
            }
            Err(Raise::Above(message)) => {
                stack.push_message(2, message.as_bytes());
                Last::Raise
            }
        }
    }
}

/// The guarded body of a classic function.
pub fn classic_body<E: Ending>(l: *mut lua_State, f: fn(Cx, &mut Stack<'_>) -> E) -> Last {
    guard(|| {
        // SAFETY: Lua calls a C function with its live state, and nobody else uses it until the function returns.
        let mut stack = unsafe { Stack::new(l) };
        let cx = Cx::current();
        f(cx, &mut stack).end(cx, &mut stack)
    })
    .unwrap_or(Last::Return(0))
}

/// The last thing that a C function does. Raising unwinds it: nothing may be left in it that has to be dropped.
///
/// # Safety
/// `l` must be the state that Lua has called the function with, and `last` what its body came to.
pub unsafe fn classic_end(l: *mut lua_State, last: Last) -> c_int {
    // SAFETY: the caller vouches for the state; the values are on its stack.
    unsafe {
        match last {
            Last::Return(n) => n,
            Last::Yield(n) => ffi::lua_yield(l, n),
            Last::Raise => ffi::lua_error(l),
        }
    }
}

/// Writes classic functions and `CLASSICS`, their rows for the VM. A body returns how many values it has left on the
/// stack, or with `-> T` what else is an [`Ending`].
macro_rules! classics {
    (@ret) => { core::ffi::c_int };
    (@ret $ret:ty) => { $ret };
    ($( $(#[$meta:meta])* fn $name:ident($cx:ident, $stack:ident) $(-> $ret:ty)? $body:block )*) => {
        $(
            $(#[$meta])*
            #[allow(unsafe_code, unused_variables)]
            mod $name {
                use super::*;
                fn body($cx: $crate::native::Cx, $stack: &mut $crate::vm::Stack<'_>) -> $crate::native::classics!(@ret $($ret)?) $body
                pub unsafe extern "C-unwind" fn entry(l: *mut mlua::ffi::lua_State) -> core::ffi::c_int {
                    let last = $crate::native::classic_body(l, body);
                    // SAFETY: Lua has called this function with `l`.
                    unsafe { $crate::native::classic_end(l, last) }
                }
            }
        )*
        /// The classic functions of this file.
        pub const CLASSICS: &[$crate::native::Classic] =
            &[$( $crate::native::Classic { name: stringify!($name), entry: $name::entry } ),*];
    };
}

pub(crate) use classics;
