//! What a socket is to send, as scripts give it: texts, and arrays of texts in each other.

use core::ffi::c_int;
use std::borrow::Cow;

use mlua::ffi::{self, lua_State};

use super::Stack;

/// Arrays that lie deeper in each other are taken for endless.
const MAX_DEPTH: u32 = 100;

/// What there is to send.
pub enum Sendable<'a> {
    /// A string, as it lies in Lua.
    Text(&'a [u8]),
    /// Something else, as text in the buffer that was given.
    Written,
}

impl Stack<'_> {
    /// Value `i` as bytes to be sent, if need be written to `out`; or what is wrong with it. Nothing here lets Lua's
    /// collector run.
    pub fn sendable(&self, i: c_int, out: &mut Vec<u8>) -> Result<Sendable<'_>, Cow<'static, str>> {
        if let Some(text) = self.bytes(i) {
            return Ok(Sendable::Text(text));
        }
        let l = self.raw();
        // SAFETY: reading any index is defined.
        match unsafe { ffi::lua_type(l, i) } {
            ffi::LUA_TTABLE => {
                // SAFETY: the value is a table on a live stack.
                unsafe { flatten(l, i, out, 1)? };
            }
            ffi::LUA_TNUMBER => write_number(out, self.number(i).unwrap_or_default()),
            ffi::LUA_TBOOLEAN => out.extend_from_slice(if self.boolean(i) { b"true" } else { b"false" }),
            ffi::LUA_TNIL | ffi::LUA_TNONE => out.extend_from_slice(b"nil"),
            _ => {
                let expected = "string, number, boolean, nil, or array table expected";
                return Err(format!("{expected}, got {}", self.type_name(i)).into());
            }
        }
        Ok(Sendable::Written)
    }
}

/// Writes the texts of the array at `i`, those of arrays in it included.
///
/// # Safety
/// `l` must be live, and the value at `i`, counted from the bottom, a table.
unsafe fn flatten(
    l: *mut lua_State,
    i: c_int,
    out: &mut Vec<u8>,
    depth: u32,
) -> Result<(), Cow<'static, str>> {
    // SAFETY: the caller vouches for the table; room is made for what is pushed, and it is popped again. Neither reading
    // entries nor walking through them without metamethods changes anything or allocates.
    unsafe {
        if depth > MAX_DEPTH || ffi::lua_checkstack(l, 4) == 0 {
            return Err("array tables lie too deep in each other".into());
        }
        let top = ffi::lua_gettop(l);
        let failed = |why| {
            ffi::lua_settop(l, top);
            Err(why)
        };
        for n in 1..=count(l, i)? {
            ffi::lua_rawgeti_(l, i, n);
            match ffi::lua_type(l, -1) {
                ffi::LUA_TSTRING => {
                    let mut len = 0;
                    let data = ffi::lua_tolstring(l, -1, &raw mut len);
                    out.extend_from_slice(core::slice::from_raw_parts(data.cast(), len));
                }
                ffi::LUA_TNUMBER => write_number(out, ffi::lua_tonumber(l, -1)),
                ffi::LUA_TTABLE => {
                    if let Err(why) = flatten(l, top + 1, out, depth + 1) {
                        return failed(why);
                    }
                }
                t => {
                    let name = core::ffi::CStr::from_ptr(ffi::lua_typename(l, t)).to_string_lossy();
                    return failed(format!("bad data type {name} found").into());
                }
            }
            ffi::lua_settop(l, top);
        }
    }
    Ok(())
}

/// The largest index of an array.
///
/// # Safety
/// As for [`flatten`], with room for two values.
unsafe fn count(l: *mut lua_State, i: c_int) -> Result<c_int, Cow<'static, str>> {
    let mut max = 0.0f64;
    // SAFETY: the caller vouches for the table, which nobody changes meanwhile.
    unsafe {
        let top = ffi::lua_gettop(l);
        ffi::lua_pushnil(l);
        while ffi::lua_next(l, i) != 0 {
            let key = if ffi::lua_type(l, -2) == ffi::LUA_TNUMBER { ffi::lua_tonumber(l, -2) } else { 0.0 };
            if key < 1.0 || f64::from(key as c_int) != key {
                ffi::lua_settop(l, top);
                return Err("non-array table found".into());
            }
            max = max.max(key);
            ffi::lua_settop(l, top + 1);
        }
    }
    Ok(max as c_int)
}

/// Writes a number as Lua does: with 14 digits.
fn write_number(out: &mut Vec<u8>, n: f64) {
    let whole = n as i64;
    if whole as f64 == n && whole.unsigned_abs() < 100_000_000_000_000 && (whole != 0 || n.is_sign_positive())
    {
        write_whole(out, whole);
    } else if n.is_nan() {
        out.extend_from_slice(b"nan");
    } else {
        let mut text = [0u8; 32];
        // SAFETY: the buffer is longer than what the format can come to.
        let len = unsafe { libc::snprintf(text.as_mut_ptr().cast(), text.len(), c"%.14g".as_ptr(), n) };
        out.extend_from_slice(text.get(..usize::try_from(len).unwrap_or(0)).unwrap_or_default());
    }
}

fn write_whole(out: &mut Vec<u8>, n: i64) {
    let (mut digits, mut at, mut rest) = ([0u8; 20], 20, n.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if n < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}
