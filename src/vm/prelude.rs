//! Loads the prelude: the Lua half of each API, with the natives and classics it calls.

use core::ffi::c_int;
use std::ffi::CString;

use mlua::ffi::{self, lua_State};

use super::{Vm, VmError};
use crate::api;
use crate::conf::MainSettings;
use crate::native::{self, Classic, Native};
use crate::phase;

impl Vm {
    /// Sets the module search paths and loads the prelude.
    pub fn prepare(&self, settings: &MainSettings) -> Result<(), VmError> {
        if let Some(n) = settings.thread_cache_max_entries {
            self.max_idle.set(n as usize);
        }
        // SAFETY: the state is live and at rest.
        unsafe { super::object::prepare(self.raw()) };
        let base = self.load(api::BASE.as_bytes(), c"=autoscale_lua.base")?;
        let l = self.raw();
        // `base` is called with one table that holds everything from Rust, and returns ngx, native, base
        self.call_raw(base, 3, |l| push_boot(l, settings))?;
        // SAFETY: the three results lie on the stack; each prelude file is called with them.
        unsafe {
            let top = ffi::lua_gettop(l);
            for (name, source) in api::PRELUDE {
                let chunk = CString::new(format!("=autoscale_lua.{name}")).unwrap_or_default();
                let file = self.load(source.as_bytes(), &chunk)?;
                // the file returns its set-up function
                self.call_raw(file, 1, |_| 0)?;
                let setup = self.anchor();
                self.call_raw(setup, 0, |l| {
                    for i in top - 2..=top {
                        ffi::lua_pushvalue(l, i);
                    }
                    3
                })?;
            }
            ffi::lua_getfield(l, top, c"ctx_slots".as_ptr());
            self.ctx_slots.set(Some(self.anchor()));
            ffi::lua_getfield(l, top, c"wrapped".as_ptr());
            self.wrapped.set(Some(self.anchor()));
            ffi::lua_settop(l, top - 3);
        }
        Ok(())
    }

    /// Like [`Vm::call`], but leaves the results on the main stack.
    fn call_raw(
        &self,
        function: super::Function,
        results: c_int,
        push: impl FnOnce(*mut lua_State) -> c_int,
    ) -> Result<(), VmError> {
        let l = self.raw();
        // SAFETY: the state is live and at rest.
        unsafe {
            ffi::lua_rawgeti(l, ffi::LUA_REGISTRYINDEX, function.anchor().into());
            let args = push(l);
            if ffi::lua_pcall(l, args, results, 0) != ffi::LUA_OK {
                let message = super::coroutine::message_at_top(l);
                ffi::lua_pop(l, 1);
                return Err(VmError(message));
            }
        }
        Ok(())
    }
}

/// The table for `base.lua`.
fn push_boot(l: *mut lua_State, settings: &MainSettings) -> c_int {
    // SAFETY: the state is live; the table is filled on its own stack, within LUA_MINSTACK.
    unsafe {
        ffi::lua_newtable(l);
        set_bytes(l, c"cdef", native::c_definitions().as_bytes());
        ffi::lua_pushlightuserdata(l, native::cur_address().cast_mut().cast());
        ffi::lua_setfield(l, -2, c"cur".as_ptr());
        set_address(l, c"wall_clock", crate::ngx::clock::wall_clock_address());
        set_address(l, c"msec", crate::ngx::clock::msec_address());
        set_optional(l, c"package_path", settings.package_path.as_deref());
        set_optional(l, c"package_cpath", settings.package_cpath.as_deref());
        set_bytes(l, c"prefix", &crate::ngx::prefix());
        set_count(l, c"regex_cache_max_entries", settings.regex_cache_max_entries);
        set_count(l, c"regex_match_limit", settings.regex_match_limit);

        ffi::lua_newtable(l);
        for dict in &settings.dicts {
            ffi::lua_pushlightuserdata(l, std::rc::Rc::as_ptr(dict).cast_mut().cast());
            set_field(l, dict.name());
        }
        ffi::lua_setfield(l, -2, c"dicts".as_ptr());

        ffi::lua_newtable(l);
        for phase in phase::ALL {
            ffi::lua_pushnumber(l, f64::from(phase.bit()));
            set_field(l, phase.name());
        }
        ffi::lua_setfield(l, -2, c"phases".as_ptr());
        for (name, mask) in [(c"request_yielding", phase::REQUEST_YIELDING), (c"yielding", phase::YIELDING)] {
            ffi::lua_pushnumber(l, mask.into());
            ffi::lua_setfield(l, -2, name.as_ptr());
        }

        ffi::lua_pushlightuserdata(l, super::wait_tag());
        ffi::lua_setfield(l, -2, c"tag".as_ptr());
        ffi::lua_pushlightuserdata(l, core::ptr::null_mut());
        ffi::lua_setfield(l, -2, c"null".as_ptr());

        ffi::lua_newtable(l);
        for (i, op) in api::ALL_OPS.iter().enumerate() {
            ffi::lua_pushnumber(l, i as f64);
            set_field(l, op.name);
        }
        ffi::lua_setfield(l, -2, c"ops".as_ptr());

        ffi::lua_newtable(l);
        for native in api::NATIVES.iter().copied().flatten() {
            push_native(l, native);
        }
        ffi::lua_setfield(l, -2, c"natives".as_ptr());

        ffi::lua_newtable(l);
        for Classic { name, entry } in api::CLASSICS.iter().copied().flatten() {
            ffi::lua_pushcfunction(l, *entry);
            set_field(l, name);
        }
        ffi::lua_setfield(l, -2, c"classics".as_ptr());
        ffi::lua_pushcfunction(l, bind);
        ffi::lua_setfield(l, -2, c"bind".as_ptr());
    }
    1
}

/// `(classic, values…)`: the classic with these values as its upvalues.
unsafe extern "C-unwind" fn bind(l: *mut lua_State) -> c_int {
    // SAFETY: Lua calls a C function with its live state; an upvalue is made of each value behind the function.
    unsafe {
        match ffi::lua_tocfunction(l, 1) {
            Some(entry) => ffi::lua_pushcclosure(l, entry, ffi::lua_gettop(l) - 1),
            None => ffi::lua_pushnil(l),
        }
    }
    1
}

/// `natives[name] = { prototype, pointer }`
pub(super) unsafe fn push_native(l: *mut lua_State, native: &Native) {
    // SAFETY: the caller has the table on top of a live stack.
    unsafe {
        ffi::lua_newtable(l);
        let prototype = native.prototype();
        ffi::lua_pushlstring(l, prototype.as_ptr().cast(), prototype.len());
        ffi::lua_rawseti(l, -2, 1);
        ffi::lua_pushlightuserdata(l, native.pointer.cast_mut());
        ffi::lua_rawseti(l, -2, 2);
        set_field(l, native.name);
    }
}

/// `table[name] = top`, the table below the top.
pub(super) unsafe fn set_field(l: *mut lua_State, name: &str) {
    // SAFETY: the caller has table and value on a live stack.
    unsafe {
        ffi::lua_pushlstring(l, name.as_ptr().cast(), name.len());
        ffi::lua_insert(l, -2);
        ffi::lua_rawset(l, -3);
    }
}

unsafe fn set_bytes(l: *mut lua_State, name: &core::ffi::CStr, value: &[u8]) {
    // SAFETY: the caller has the table on top of a live stack.
    unsafe {
        ffi::lua_pushlstring(l, value.as_ptr().cast(), value.len());
        ffi::lua_setfield(l, -2, name.as_ptr());
    }
}

unsafe fn set_optional(l: *mut lua_State, name: &core::ffi::CStr, value: Option<&[u8]>) {
    if let Some(value) = value {
        // SAFETY: as in `set_bytes`.
        unsafe { set_bytes(l, name, value) }
    }
}

unsafe fn set_count(l: *mut lua_State, name: &core::ffi::CStr, value: Option<u32>) {
    if let Some(value) = value {
        // SAFETY: the caller has the table on top of a live stack.
        unsafe {
            ffi::lua_pushnumber(l, value.into());
            ffi::lua_setfield(l, -2, name.as_ptr());
        }
    }
}

unsafe fn set_address(l: *mut lua_State, name: &core::ffi::CStr, address: *const core::ffi::c_void) {
    // SAFETY: the caller has the table on top of a live stack.
    unsafe {
        ffi::lua_pushlightuserdata(l, address.cast_mut());
        ffi::lua_setfield(l, -2, name.as_ptr());
    }
}
