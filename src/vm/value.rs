//! Lua values as Rust owns them: what may go from one VM to another.

use core::ffi::{c_int, c_void};

use mlua::ffi::{self, lua_State};

use super::Stack;

/// Tables that lie deeper in each other are taken for endless.
const MAX_DEPTH: usize = 100;

/// A copy of a Lua value.
#[derive(Debug, PartialEq)]
pub enum Value {
    Nil,
    Boolean(bool),
    Number(f64),
    Text(Vec<u8>),
    /// `ngx.null` is one.
    Pointer(usize),
    Table(Vec<(Value, Value)>),
}

/// Why a value cannot be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    #[error("unsupported Lua type: {0}")]
    Type(&'static str),
    #[error("suspicious circular references, table depth exceed max depth: 100")]
    Depth,
    #[error("no memory")]
    NoMemory,
}

impl Stack<'_> {
    /// A copy of value `i`.
    pub fn value(&self, i: c_int) -> Result<Value, CopyError> {
        // SAFETY: a live stack.
        unsafe { copy(self.raw(), i, 1) }
    }

    pub fn push_value(&mut self, value: &Value) {
        // SAFETY: as above.
        unsafe { push(self.raw(), value) }
    }
}

/// # Safety
/// `l` must be live, and `i` an index counted from the bottom.
pub(super) unsafe fn copy(l: *mut lua_State, i: c_int, depth: usize) -> Result<Value, CopyError> {
    // SAFETY: the caller vouches for the stack; room is made before anything is pushed, and the table that is walked
    // through does not change meanwhile.
    unsafe {
        match ffi::lua_type(l, i) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => Ok(Value::Nil),
            ffi::LUA_TBOOLEAN => Ok(Value::Boolean(ffi::lua_toboolean(l, i) != 0)),
            ffi::LUA_TNUMBER => Ok(Value::Number(ffi::lua_tonumber(l, i))),
            ffi::LUA_TSTRING => {
                let mut len = 0;
                let data = ffi::lua_tolstring(l, i, &raw mut len);
                Ok(Value::Text(core::slice::from_raw_parts(data.cast(), len).to_vec()))
            }
            ffi::LUA_TLIGHTUSERDATA => Ok(Value::Pointer(ffi::lua_touserdata(l, i).addr())),
            ffi::LUA_TTABLE if depth >= MAX_DEPTH => Err(CopyError::Depth),
            ffi::LUA_TTABLE => {
                if ffi::lua_checkstack(l, 4) == 0 {
                    return Err(CopyError::NoMemory);
                }
                let top = ffi::lua_gettop(l);
                let mut pairs = Vec::new();
                ffi::lua_pushnil(l);
                while ffi::lua_next(l, i) != 0 {
                    let pair =
                        copy(l, top + 1, depth + 1).and_then(|key| Ok((key, copy(l, top + 2, depth + 1)?)));
                    match pair {
                        Ok(pair) => pairs.push(pair),
                        Err(e) => {
                            ffi::lua_settop(l, top);
                            return Err(e);
                        }
                    }
                    ffi::lua_settop(l, top + 1);
                }
                Ok(Value::Table(pairs))
            }
            ffi::LUA_TFUNCTION => Err(CopyError::Type("LUA_TFUNCTION")),
            ffi::LUA_TUSERDATA => Err(CopyError::Type("LUA_TUSERDATA")),
            ffi::LUA_TTHREAD => Err(CopyError::Type("LUA_TTHREAD")),
            _ => Err(CopyError::Type("cdata")),
        }
    }
}

/// # Safety
/// `l` must be live.
pub(super) unsafe fn push(l: *mut lua_State, value: &Value) {
    // SAFETY: the caller vouches for the stack. A value is no deeper than `MAX_DEPTH`, and a stack that cannot grow so
    // far gets nil.
    unsafe {
        if ffi::lua_checkstack(l, 4) == 0 {
            return ffi::lua_pushnil(l);
        }
        match value {
            Value::Nil => ffi::lua_pushnil(l),
            Value::Boolean(b) => ffi::lua_pushboolean(l, (*b).into()),
            Value::Number(n) => ffi::lua_pushnumber(l, *n),
            Value::Text(s) => {
                ffi::lua_pushlstring(l, s.as_ptr().cast(), s.len());
            }
            Value::Pointer(p) => {
                ffi::lua_pushlightuserdata(l, core::ptr::without_provenance_mut::<c_void>(*p))
            }
            Value::Table(pairs) => {
                ffi::lua_createtable(l, 0, c_int::try_from(pairs.len()).unwrap_or(0));
                for (key, value) in pairs {
                    push(l, key);
                    push(l, value);
                    ffi::lua_rawset(l, -3);
                }
            }
        }
    }
}
