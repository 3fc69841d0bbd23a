//! Coroutines: what a script of a yielding phase runs in.

use core::ffi::{c_char, c_int};

use mlua::ffi::{self, lua_State};

use super::{Function, Stack, Vm};
use crate::ngx::debug_cycle;

extern "C-unwind" {
    /// LuaJIT's own (mlua's replacement for plain Lua 5.1 is slower and words it differently).
    #[link_name = "luaL_traceback"]
    fn traceback(l: *mut lua_State, of: *mut lua_State, message: *const c_char, level: c_int);
}

/// A Lua coroutine, anchored in the registry of its VM.
pub struct Coroutine {
    l: *mut lua_State,
    anchor: c_int,
}

/// Tells coroutines apart that live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(pub(super) usize);

/// Where a resumed coroutine stopped.
pub enum Outcome {
    /// It returned; its values are on its stack.
    Returned,
    /// It yielded; its values are on its stack.
    Yielded,
    /// It failed, with a message and a traceback; the error value is on top of its stack.
    Failed(String),
}

impl Coroutine {
    /// The values it yielded or returned, or will be resumed with.
    pub fn stack(&mut self) -> Stack<'_> {
        // SAFETY: the coroutine is anchored, and `&mut self` keeps others off it.
        unsafe { Stack::new(self.l) }
    }

    /// Puts `function` on a fresh or finished coroutine: the next resume starts it.
    pub fn load(&mut self, function: Function) {
        // SAFETY: the function is anchored in the registry that this coroutine shares.
        unsafe {
            ffi::lua_rawgeti(self.l, ffi::LUA_REGISTRYINDEX, function.anchor().into());
        }
    }

    /// Runs it with the top `args` values of its stack until it returns, yields or fails.
    pub fn resume(&mut self, vm: &Vm, args: c_int) -> Outcome {
        let mut count = 0;
        // SAFETY: the coroutine is suspended or holds a function and its arguments.
        match unsafe { ffi::lua_resume(self.l, core::ptr::null_mut(), args, &raw mut count) } {
            ffi::LUA_OK => Outcome::Returned,
            ffi::LUA_YIELD => Outcome::Yielded,
            _ => Outcome::Failed(self.failure(vm)),
        }
    }

    pub fn identity(&self) -> Identity {
        Identity(self.l as usize)
    }

    /// Takes the values of `stack` from index `from` on; how many they are.
    pub fn take_values(&mut self, stack: &mut Stack<'_>, from: c_int) -> c_int {
        stack.move_top(stack.len() - from + 1, self.l)
    }

    /// Where the function at the bottom of its stack was defined, as `file:line`.
    pub fn definition(&self) -> String {
        // SAFETY: the coroutine is suspended; the function is pushed, and `>` takes it off again.
        unsafe {
            if ffi::lua_type(self.l, 1) != ffi::LUA_TFUNCTION {
                return String::new();
            }
            let mut info: ffi::lua_Debug = core::mem::zeroed();
            ffi::lua_pushvalue(self.l, 1);
            if ffi::lua_getinfo(self.l, c">S".as_ptr(), &raw mut info) == 0 {
                return String::new();
            }
            let source = core::ffi::CStr::from_ptr(info.source).to_string_lossy();
            format!("{source}:{}", info.linedefined)
        }
    }

    /// Takes copies of all values of `stack`.
    pub fn copy_values(&mut self, stack: &mut Stack<'_>) {
        let n = stack.push_copies();
        stack.move_top(n, self.l);
    }

    /// Moves the last `n` values of this coroutine's stack, or all of them, to `stack`; how many they were.
    pub fn move_results(&mut self, stack: &mut Stack<'_>, n: Option<c_int>) -> c_int {
        let mut mine = self.stack();
        let n = n.unwrap_or(mine.len());
        mine.move_top(n, stack.raw())
    }

    pub(super) fn anchor(&self) -> c_int {
        self.anchor
    }

    #[cold]
    fn failure(&mut self, vm: &Vm) -> String {
        let message = message_at_top(self.l);
        // SAFETY: the frames of a failed coroutine are still there to be described. Its stack may be full, so the text is
        // made on the VM's main stack.
        let trace = unsafe {
            traceback(vm.raw(), self.l, core::ptr::null(), 0);
            let trace = message_at_top(vm.raw());
            ffi::lua_pop(vm.raw(), 1);
            trace
        };
        let frames = trace.split_once('\n').map_or("", |(_, frames)| frames);
        let (inner, depth) = vm.take_wrapped(&message).unwrap_or_default();
        format!("{message}\nstack traceback:\n{inner}coroutine {depth}:\n{frames}")
    }
}

/// The error value on top of the stack as text.
pub fn message_at_top(l: *mut lua_State) -> String {
    // SAFETY: `l` is live and has an error value on top.
    let stack = unsafe { Stack::new(l) };
    match stack.bytes(-1) {
        Some(text) => String::from_utf8_lossy(text).into_owned(),
        None => match stack.number(-1) {
            Some(n) => n.to_string(),
            None => "unknown reason".to_owned(),
        },
    }
}

impl Vm {
    /// What `coroutine.wrap` noted of the coroutines that `message` has passed through, and how many they were.
    fn take_wrapped(&self, message: &str) -> Option<(String, i64)> {
        let wrapped = self.wrapped.get()?;
        let l = self.raw();
        // SAFETY: raw reads of the prelude's table `{ message, traces, count }` on the main stack, popped again.
        unsafe {
            let base = ffi::lua_gettop(l);
            ffi::lua_rawgeti(l, ffi::LUA_REGISTRYINDEX, wrapped.anchor().into());
            for i in 1..=3 {
                ffi::lua_rawgeti(l, base + 1, i);
            }
            let stack = Stack::new(l);
            let found = (stack.bytes(base + 2) == Some(message.as_bytes())).then(|| {
                (
                    String::from_utf8_lossy(stack.bytes(base + 3).unwrap_or_default()).into_owned(),
                    stack.int(base + 4),
                )
            });
            ffi::lua_settop(l, base);
            found
        }
    }

    /// A coroutine to run a script in: a finished one if there is one.
    pub fn coroutine(&self) -> Coroutine {
        if let Some(co) = self.idle.borrow_mut().pop() {
            debug_cycle(format_args!("lua reusing cached lua thread"));
            return co;
        }
        self.fresh_coroutine()
    }

    /// A coroutine that no script has seen before.
    pub fn fresh_coroutine(&self) -> Coroutine {
        // SAFETY: the VM is live; the new thread is anchored before anything can collect it.
        unsafe {
            let l = ffi::lua_newthread(self.raw());
            let anchor = ffi::luaL_ref(self.raw(), ffi::LUA_REGISTRYINDEX);
            Coroutine { l, anchor }
        }
    }

    /// Takes a coroutine back: one that returned is used again, another one is left to the collector.
    pub fn recycle(&self, co: Coroutine, returned: bool) {
        let mut idle = self.idle.borrow_mut();
        if returned && idle.len() < self.max_idle.get() {
            debug_cycle(format_args!("lua caching unused lua thread"));
            // SAFETY: nothing runs in it.
            unsafe { ffi::lua_settop(co.l, 0) };
            idle.push(co);
        } else {
            // SAFETY: the anchor is this coroutine's alone.
            unsafe { ffi::luaL_unref(self.raw(), ffi::LUA_REGISTRYINDEX, co.anchor) };
        }
    }
}
