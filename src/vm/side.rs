//! VMs beside the worker's: scripts that run in a thread of their own, where nothing of nginx may be touched.
//!
//! Such a VM has the standard libraries and what can be computed without nginx; values go in and out as copies.

use core::cell::{Cell, RefCell};
use core::ffi::{c_int, CStr};

use logic::text::uri::Escape;
use logic::text::{base64, hash, sql, uri};
use mlua::ffi::{self, lua_State};

use super::coroutine::message_at_top;
use super::prelude::{push_native, set_field};
use super::value::{copy, push};
use super::Value;
use crate::api::side::{natives, Side, FILES};
use crate::native::c_definitions;

/// The Lua half.
const PRELUDE: &str = include_str!("side.lua");

/// A VM for use in a thread.
pub struct SideVm {
    l: *mut lua_State,
    run: c_int,
    /// What its natives are given, and the expressions that they compile have a part of.
    side: *mut Side,
}

// SAFETY: the state is used by whoever owns this, and shares nothing with other states.
unsafe impl Send for SideVm {}

/// A function to be called in a thread.
pub struct SideCall {
    pub module: Vec<u8>,
    pub function: Vec<u8>,
    pub args: Vec<Value>,
}

impl SideVm {
    /// `setup` is what the prelude is told of this nginx.
    pub fn new(setup: &Value) -> Result<SideVm, String> {
        // SAFETY: a fresh state, which is closed with the value.
        unsafe {
            let l = ffi::luaL_newstate();
            if l.is_null() {
                return Err("no memory".into());
            }
            let mut vm = SideVm { l, run: 0, side: Box::into_raw(Box::default()) };
            ffi::luaL_openlibs(l);
            let (code, name) = (PRELUDE.as_bytes(), c"=autoscale_lua.side");
            let rc =
                ffi::luaL_loadbufferx(l, code.as_ptr().cast(), code.len(), name.as_ptr(), core::ptr::null());
            if rc != ffi::LUA_OK {
                return Err(message_at_top(l));
            }
            ffi::lua_createtable(l, 0, FUNCTIONS.len() as c_int);
            for (name, function) in FUNCTIONS {
                ffi::lua_pushcfunction(l, *function);
                ffi::lua_setfield(l, -2, name.as_ptr());
            }
            push(l, setup);
            push_boundary(l, vm.side);
            if ffi::lua_pcall(l, 3, 1, 0) != ffi::LUA_OK {
                return Err(message_at_top(l));
            }
            vm.run = ffi::luaL_ref(l, ffi::LUA_REGISTRYINDEX);
            Ok(vm)
        }
    }

    /// Calls a module's function; what it returns.
    pub fn call(&mut self, call: &SideCall) -> Result<Vec<Value>, String> {
        // SAFETY: `&mut self`: nobody else uses the state.
        unsafe {
            let l = self.l;
            ffi::lua_settop(l, 0);
            let args = c_int::try_from(call.args.len()).unwrap_or(c_int::MAX);
            if args == c_int::MAX || ffi::lua_checkstack(l, args + ffi::LUA_MINSTACK) == 0 {
                return Err("too many arguments".into());
            }
            ffi::lua_rawgeti(l, ffi::LUA_REGISTRYINDEX, self.run.into());
            for name in [&call.module, &call.function] {
                ffi::lua_pushlstring(l, name.as_ptr().cast(), name.len());
            }
            for value in &call.args {
                push(l, value);
            }
            if ffi::lua_pcall(l, args + 2, ffi::LUA_MULTRET, 0) != ffi::LUA_OK
                || ffi::lua_toboolean(l, 1) == 0
            {
                let message = message_at_top(l);
                ffi::lua_settop(l, 0);
                return Err(message);
            }
            let results: Result<Vec<Value>, _> = (2..=ffi::lua_gettop(l)).map(|i| copy(l, i, 1)).collect();
            ffi::lua_settop(l, 0);
            results.map_err(|e| format!("{e} in the return value"))
        }
    }
}

/// What the prelude makes `ngx.re` and `ngx.shared` of: `{ cdef =, side =, natives =, files = }`.
///
/// # Safety
/// `l` must be a live state with room on its stack, and `side` live as long.
unsafe fn push_boundary(l: *mut lua_State, side: *mut Side) {
    // SAFETY: the caller vouches for the state.
    unsafe {
        ffi::lua_newtable(l);
        let definitions = c_definitions();
        ffi::lua_pushlstring(l, definitions.as_ptr().cast(), definitions.len());
        ffi::lua_setfield(l, -2, c"cdef".as_ptr());
        ffi::lua_pushlightuserdata(l, side.cast());
        ffi::lua_setfield(l, -2, c"side".as_ptr());
        ffi::lua_newtable(l);
        for native in natives() {
            push_native(l, native);
        }
        ffi::lua_setfield(l, -2, c"natives".as_ptr());
        ffi::lua_newtable(l);
        for (name, source) in FILES {
            ffi::lua_pushlstring(l, source.as_ptr().cast(), source.len());
            set_field(l, name);
        }
        ffi::lua_setfield(l, -2, c"files".as_ptr());
    }
}

impl Drop for SideVm {
    fn drop(&mut self) {
        // SAFETY: the state is ours, and nothing runs on it; what it collects at its end is the last to use the rest.
        unsafe {
            ffi::lua_close(self.l);
            drop(Box::from_raw(self.side));
        }
    }
}

/// How many VMs a worker makes unless `lua_worker_thread_vm_pool_size` says otherwise.
const MAX: usize = 100;

/// A worker's VMs for threads.
#[derive(Default)]
pub struct SideVms {
    idle: RefCell<Vec<SideVm>>,
    made: Cell<usize>,
}

impl SideVms {
    /// One that is not in use, made if there is none and fewer than `max`; `None` when there is none to be had.
    pub fn take(&self, max: Option<u32>, setup: impl FnOnce() -> Value) -> Option<SideVm> {
        if let Some(vm) = self.idle.borrow_mut().pop() {
            return Some(vm);
        }
        if self.made.get() >= max.map_or(MAX, |n| n as usize) {
            return None;
        }
        let vm = SideVm::new(&setup()).ok()?;
        self.made.set(self.made.get() + 1);
        Some(vm)
    }

    pub fn give(&self, vm: SideVm) {
        self.idle.borrow_mut().push(vm);
    }

    /// One that was taken is not given back.
    pub fn lose(&self) {
        self.made.set(self.made.get() - 1);
    }
}

/// Functions of two texts that answer with a text; `false` answers nil.
macro_rules! functions {
    ($($name:ident($a:ident, $b:ident, $out:ident) $body:expr;)*) => {
        $(
            unsafe extern "C-unwind" fn $name(l: *mut lua_State) -> c_int {
                // SAFETY: Lua calls it with its live state.
                unsafe { answer(l, |$a, $b, $out| $body) }
            }
        )*
        const FUNCTIONS: &[(&CStr, unsafe extern "C-unwind" fn(*mut lua_State) -> c_int)] = &[$((
            match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!(),
            },
            $name,
        )),*];
    };
}

functions! {
    encode_base64(s, _b, out) { base64::encode(s, true, out); true };
    encode_base64_bare(s, _b, out) { base64::encode(s, false, out); true };
    decode_base64(s, _b, out) base64::decode(s, out);
    escape(s, _b, out) { uri::escape_uri(s, Escape::Component, out); true };
    unescape(s, _b, out) { uri::unescape_uri(s, out); true };
    md5(s, _b, out) { out.extend_from_slice(&hash::md5_hex(s)); true };
    md5_bin(s, _b, out) { out.extend_from_slice(&hash::md5(s)); true };
    sha1_bin(s, _b, out) { out.extend_from_slice(&hash::sha1(s)); true };
    hmac_sha1(key, s, out) { out.extend_from_slice(&hash::hmac_sha1(key, s)); true };
    crc32(s, _b, out) { out.extend_from_slice(hash::crc32(s).to_string().as_bytes()); true };
    quote_sql_str(s, _b, out) { sql::quote_sql_str(s, out); true };
}

/// # Safety
/// `l` must be the state of a C function that Lua has called.
unsafe fn answer(l: *mut lua_State, make: impl FnOnce(&[u8], &[u8], &mut Vec<u8>) -> bool) -> c_int {
    // SAFETY: the caller vouches for the state; the arguments stay on its stack until the function returns.
    unsafe {
        let text = |i| {
            let mut len = 0;
            let data = ffi::lua_tolstring(l, i, &raw mut len);
            if data.is_null() {
                &[]
            } else {
                core::slice::from_raw_parts(data.cast::<u8>(), len)
            }
        };
        let mut out = Vec::new();
        if make(text(1), text(2), &mut out) {
            ffi::lua_pushlstring(l, out.as_ptr().cast(), out.len());
        } else {
            ffi::lua_pushnil(l);
        }
        1
    }
}
