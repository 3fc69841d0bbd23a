//! Calls that may not last: what the event loop waits for is given so many instructions.
//!
//! LuaJIT looks at hooks only where it interprets, so a bounded function is never compiled. What it calls may be: a loop without end in
//! a module that other scripts made hot is not noticed, as little as it would be in any of them.

use core::ffi::{c_char, c_int, CStr};

use mlua::ffi::{self, lua_Debug, lua_State};

use super::{Function, Stack, Vm, VmError};

const ALL_FUNCTIONS_OFF: c_int = 3;

extern "C-unwind" {
    fn luaJIT_setmode(l: *mut lua_State, index: c_int, mode: c_int) -> c_int;
    /// LuaJIT's own.
    #[link_name = "luaL_where"]
    fn push_where(l: *mut lua_State, level: c_int);
    #[link_name = "lua_pushstring"]
    fn push_text(l: *mut lua_State, text: *const c_char);
}

const SPENT: &CStr = c"it runs for too long";

impl Vm {
    /// Makes `function`, and the functions in it, ones that are never compiled.
    pub fn interpret(&self, function: Function) {
        // SAFETY: the function is anchored; what is pushed is popped.
        unsafe {
            ffi::lua_rawgeti(self.raw(), ffi::LUA_REGISTRYINDEX, function.anchor().into());
            luaJIT_setmode(self.raw(), -1, ALL_FUNCTIONS_OFF);
            ffi::lua_pop(self.raw(), 1);
        }
    }

    /// [`Vm::call`] of a function that was made ready by [`Vm::interpret`]: it fails after so many instructions.
    pub fn call_bounded<T>(
        &self,
        function: Function,
        instructions: c_int,
        results: c_int,
        push: impl FnOnce(&mut Stack<'_>) -> c_int,
        take: impl FnOnce(&Stack<'_>) -> T,
    ) -> Result<T, VmError> {
        let l = self.raw();
        // SAFETY: the state is live; a hook that a script has set is set again.
        unsafe {
            let before = (ffi::lua_gethook(l), ffi::lua_gethookmask(l), ffi::lua_gethookcount(l));
            ffi::lua_sethook(l, Some(spent), ffi::LUA_MASKCOUNT, instructions);
            let result = self.call(function, results, push, take);
            ffi::lua_sethook(l, before.0, before.1, before.2);
            result
        }
    }
}

/// The instructions are spent. A script that catches the error gets it again with its next instruction.
unsafe extern "C-unwind" fn spent(l: *mut lua_State, _: *mut lua_Debug) {
    // SAFETY: Lua calls hooks with its live state; nothing of Rust is left when the error unwinds this frame.
    unsafe {
        ffi::lua_sethook(l, Some(spent), ffi::LUA_MASKCOUNT, 1);
        push_where(l, 0);
        push_text(l, SPENT.as_ptr());
        ffi::lua_concat(l, 2);
        ffi::lua_error(l);
    }
}
