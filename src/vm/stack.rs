//! The values passed between Lua and Rust.

use core::ffi::c_int;
use core::marker::PhantomData;

use mlua::ffi::{self, lua_State};

/// A Lua stack, for as long as Lua waits for us.
pub struct Stack<'a> {
    l: *mut lua_State,
    lives: PhantomData<&'a mut ()>,
}

impl Stack<'_> {
    /// # Safety
    /// `l` must be a live state that nobody else uses while the value lives.
    pub unsafe fn new(l: *mut lua_State) -> Self {
        Stack { l, lives: PhantomData }
    }

    pub fn truncate(&mut self, n: c_int) {
        // SAFETY: `n` values exist or are filled with nil.
        unsafe { ffi::lua_settop(self.l, n) }
    }

    pub fn number(&self, i: c_int) -> Option<f64> {
        // SAFETY: reading any index is defined.
        unsafe { (ffi::lua_type(self.l, i) == ffi::LUA_TNUMBER).then(|| ffi::lua_tonumber(self.l, i)) }
    }

    /// Value `i` as a whole number, 0 when it is none.
    pub fn int(&self, i: c_int) -> i64 {
        self.number(i).map_or(0, |n| n as i64)
    }

    /// Value `i` as a number: one, or a string that reads as one.
    pub fn to_number(&self, i: c_int) -> Option<f64> {
        // SAFETY: reading any index is defined.
        unsafe { (ffi::lua_isnumber(self.l, i) != 0).then(|| ffi::lua_tonumber(self.l, i)) }
    }

    /// Whether value `i` is nil, or not there.
    pub fn is_nil(&self, i: c_int) -> bool {
        // SAFETY: reading any index is defined.
        unsafe { ffi::lua_type(self.l, i) <= ffi::LUA_TNIL }
    }

    pub fn is_boolean(&self, i: c_int) -> bool {
        // SAFETY: as above.
        unsafe { ffi::lua_type(self.l, i) == ffi::LUA_TBOOLEAN }
    }

    pub fn is_table(&self, i: c_int) -> bool {
        // SAFETY: as above.
        unsafe { ffi::lua_type(self.l, i) == ffi::LUA_TTABLE }
    }

    pub fn is_function(&self, i: c_int) -> bool {
        // SAFETY: as above.
        unsafe { ffi::lua_type(self.l, i) == ffi::LUA_TFUNCTION }
    }

    /// The type of value `i`; what is not there is nil.
    pub fn type_name(&self, i: c_int) -> &'static str {
        // SAFETY: as above; the names are constants of Lua.
        unsafe {
            match ffi::lua_type(self.l, i) {
                ffi::LUA_TNONE => "nil",
                t => core::ffi::CStr::from_ptr(ffi::lua_typename(self.l, t)).to_str().unwrap_or("nil"),
            }
        }
    }

    /// Value `i` if it is a string, or a number, which becomes one.
    pub fn as_bytes(&mut self, i: c_int) -> Option<&[u8]> {
        // SAFETY: as in `bytes`.
        unsafe {
            if ffi::lua_isstring(self.l, i) == 0 {
                return None;
            }
            let mut len = 0;
            let data = ffi::lua_tolstring(self.l, i, &raw mut len);
            Some(core::slice::from_raw_parts(data.cast(), len))
        }
    }

    /// Value `i` if it is a string.
    pub fn bytes(&self, i: c_int) -> Option<&[u8]> {
        // SAFETY: the string is anchored by the stack, which the borrow of `self` keeps unchanged.
        unsafe {
            if ffi::lua_type(self.l, i) != ffi::LUA_TSTRING {
                return None;
            }
            let mut len = 0;
            let data = ffi::lua_tolstring(self.l, i, &raw mut len);
            Some(core::slice::from_raw_parts(data.cast(), len))
        }
    }

    pub fn boolean(&self, i: c_int) -> bool {
        // SAFETY: reading any index is defined.
        unsafe { ffi::lua_toboolean(self.l, i) != 0 }
    }

    pub fn push_nil(&mut self) {
        // SAFETY: Lua guarantees room for a few values to a C function and to a suspended coroutine.
        unsafe { ffi::lua_pushnil(self.l) }
    }

    pub fn push_boolean(&mut self, b: bool) {
        // SAFETY: as in `push_nil`.
        unsafe { ffi::lua_pushboolean(self.l, b.into()) }
    }

    /// The coroutine that value `i` is, if it is one.
    pub fn coroutine(&self, i: c_int) -> Option<super::Identity> {
        // SAFETY: reading any index is defined.
        let co = unsafe { ffi::lua_tothread(self.l, i) };
        (!co.is_null()).then_some(super::Identity(co as usize))
    }

    /// The coroutine whose stack this is.
    pub fn identity(&self) -> super::Identity {
        super::Identity(self.l as usize)
    }

    /// Pushes a coroutine of the same VM as a value.
    pub fn push_coroutine(&mut self, co: &super::Coroutine) {
        // SAFETY: as in `push_nil`; the coroutine is anchored in the registry that all stacks of a VM share.
        unsafe { ffi::lua_rawgeti(self.l, ffi::LUA_REGISTRYINDEX, co.anchor().into()) };
    }

    /// Puts `b` at index `i`, moving the values from there on up; how many values there are.
    pub fn insert_boolean(&mut self, i: c_int, b: bool) -> c_int {
        self.push_boolean(b);
        // SAFETY: a value has just been pushed.
        unsafe { ffi::lua_insert(self.l, i) };
        self.len()
    }

    /// Pushes a copy of each value, and says how many.
    pub(super) fn push_copies(&mut self) -> c_int {
        let n = self.len();
        // SAFETY: room is made for the copies.
        unsafe {
            if ffi::lua_checkstack(self.l, n) == 0 {
                return 0;
            }
            for i in 1..=n {
                ffi::lua_pushvalue(self.l, i);
            }
        }
        n
    }

    /// Whether the function that runs may yield, as it may not below a C function that calls back.
    pub fn can_yield(&self) -> bool {
        extern "C-unwind" {
            fn lua_isyieldable(l: *mut lua_State) -> c_int;
        }
        // SAFETY: a plain read of a live state.
        unsafe { lua_isyieldable(self.l) != 0 }
    }

    /// Puts what tells an operation below the last `values` values.
    pub fn push_operation(&mut self, values: c_int, tag: *mut core::ffi::c_void, number: c_int) {
        // SAFETY: as in `push_nil`; so many values are there.
        unsafe {
            ffi::lua_pushlightuserdata(self.l, tag);
            if values > 0 {
                ffi::lua_insert(self.l, -1 - values);
            }
            ffi::lua_pushnumber(self.l, number.into());
            if values > 0 {
                ffi::lua_insert(self.l, -1 - values);
            }
        }
    }

    /// Pushes a message behind the line of Lua that is `level` calls above the C function that runs.
    pub fn push_message(&mut self, level: c_int, message: &[u8]) {
        // SAFETY: as in `push_nil`.
        unsafe {
            ffi::luaL_where(self.l, level);
            self.push_bytes(message);
            ffi::lua_concat(self.l, 2);
        }
    }

    /// Pushes upvalue `i` of the C function that runs.
    pub fn push_upvalue(&mut self, i: c_int) {
        // SAFETY: as in `push_nil`; an upvalue that is not there is nil.
        unsafe { ffi::lua_pushvalue(self.l, ffi::lua_upvalueindex(i)) }
    }

    /// Takes the last `upvalues` values into a function of this entry, which it pushes.
    pub fn push_function(
        &mut self,
        entry: unsafe extern "C-unwind" fn(*mut lua_State) -> c_int,
        upvalues: c_int,
    ) {
        // SAFETY: so many values are there.
        unsafe { ffi::lua_pushcclosure(self.l, entry, upvalues) }
    }

    /// Pushes a copy of value `i`.
    pub fn push_copy(&mut self, i: c_int) {
        // SAFETY: as in `push_nil`; reading any index is defined.
        unsafe { ffi::lua_pushvalue(self.l, i) }
    }

    /// Gives the table on top the metatable that upvalue `i` of the C function that runs is.
    pub fn set_metatable_upvalue(&mut self, i: c_int) {
        self.push_upvalue(i);
        // SAFETY: the prelude has bound a table.
        unsafe { ffi::lua_setmetatable(self.l, -2) };
    }

    /// How many values it holds.
    pub fn len(&self) -> c_int {
        // SAFETY: a plain read.
        unsafe { ffi::lua_gettop(self.l) }
    }

    pub(super) fn raw(&self) -> *mut lua_State {
        self.l
    }

    /// Moves the last `n` values to another stack of the same VM; none when there is no room for them.
    pub(super) fn move_top(&mut self, n: c_int, to: *mut lua_State) -> c_int {
        // SAFETY: both are stacks of one VM, and there is room for the values.
        unsafe {
            if n <= 0 || ffi::lua_checkstack(to, n + ffi::LUA_MINSTACK) == 0 {
                return 0;
            }
            ffi::lua_xmove(self.l, to, n);
        }
        n
    }

    pub fn push_number(&mut self, n: f64) {
        // SAFETY: as in `push_nil`.
        unsafe { ffi::lua_pushnumber(self.l, n) }
    }

    pub fn push_bytes(&mut self, s: &[u8]) {
        // SAFETY: as in `push_nil`; Lua copies the bytes.
        unsafe {
            ffi::lua_pushlstring_(self.l, s.as_ptr().cast(), s.len());
        }
    }

    /// Pushes what others have sent, which may be more than Lua has memory for: then it pushes nothing, and says so.
    pub fn push_received(&mut self, s: &[u8]) -> bool {
        const SMALL: usize = 1 << 20;
        unsafe extern "C-unwind" fn push(l: *mut lua_State) -> c_int {
            // SAFETY: it is called with the address of a slice that lives as long as the call.
            unsafe {
                let s = *ffi::lua_touserdata(l, 1).cast::<&[u8]>();
                ffi::lua_pushlstring_(l, s.as_ptr().cast(), s.len());
            }
            1
        }
        if s.len() <= SMALL {
            self.push_bytes(s);
            return true;
        }
        // SAFETY: as in `push_nil`. A coroutine that waits can call nothing itself; the one that does it for it is anchored
        // meanwhile, and leaves one value, be it an error.
        unsafe {
            let helper = ffi::lua_newthread(self.l);
            ffi::lua_pushcfunction(helper, push);
            ffi::lua_pushlightuserdata(helper, core::ptr::from_ref(&s).cast_mut().cast());
            let pushed = ffi::lua_pcall(helper, 1, 1, 0) == ffi::LUA_OK;
            if pushed {
                ffi::lua_xmove(helper, self.l, 1);
                ffi::lua_insert(self.l, -2);
            }
            ffi::lua_settop(self.l, -2);
            pushed
        }
    }
}

/// Tables.
impl Stack<'_> {
    /// Entry `n` of the table at index `table`, if it is a string.
    pub fn entry_bytes(&self, table: c_int, n: c_int) -> Option<&[u8]> {
        // SAFETY: the value there is a table, read without metamethods; its strings stay while nobody changes it, which
        // the borrow of `self` prevents.
        unsafe {
            ffi::lua_rawgeti(self.l, table, n.into());
            let mut len = 0;
            let data = if ffi::lua_type(self.l, -1) == ffi::LUA_TSTRING {
                ffi::lua_tolstring(self.l, -1, &raw mut len)
            } else {
                core::ptr::null()
            };
            ffi::lua_pop(self.l, 1);
            (!data.is_null()).then(|| core::slice::from_raw_parts(data.cast(), len))
        }
    }

    /// Entry `n` of the table at index `table` as a whole number, 0 when it is none.
    pub fn entry_int(&self, table: c_int, n: c_int) -> i64 {
        // SAFETY: as in `entry_bytes`.
        unsafe {
            ffi::lua_rawgeti(self.l, table, n.into());
            let int = self.int(-1);
            ffi::lua_pop(self.l, 1);
            int
        }
    }

    /// Whether `n` more values may be pushed.
    pub fn has_room(&mut self, n: c_int) -> bool {
        // SAFETY: it only grows the stack.
        unsafe { ffi::lua_checkstack(self.l, n) != 0 }
    }

    /// Pushes a fresh table that is to have so many fields.
    pub fn push_table(&mut self, fields: c_int) {
        // SAFETY: as in `push_nil`.
        unsafe { ffi::lua_createtable(self.l, 0, fields) }
    }

    /// Pushes a fresh table that is to have so many items.
    pub fn push_list(&mut self, items: c_int) {
        // SAFETY: as in `push_nil`.
        unsafe { ffi::lua_createtable(self.l, items, 0) }
    }

    /// Takes the last value off, as item `n` of the table below it.
    pub fn set_item(&mut self, n: c_int) {
        // SAFETY: the table is one of `push_list`, under the value.
        unsafe { ffi::lua_rawseti_(self.l, -2, n) }
    }

    /// Pushes field `name` of the table at `i`, counted from the bottom. `false` when a metamethod has raised: its error
    /// is pushed then.
    pub fn push_field(&mut self, i: c_int, name: &core::ffi::CStr) -> bool {
        unsafe extern "C-unwind" fn index(l: *mut lua_State) -> c_int {
            // SAFETY: it is called with a table and a key.
            unsafe { ffi::lua_gettable_(l, 1) };
            1
        }
        // SAFETY: as in `push_nil`. A field that is there is read without metamethods, another one in a protected call.
        unsafe {
            self.push_bytes(name.to_bytes());
            ffi::lua_rawget_(self.l, i);
            if ffi::lua_type(self.l, -1) != ffi::LUA_TNIL || ffi::lua_getmetatable(self.l, i) == 0 {
                return true;
            }
            ffi::lua_settop(self.l, -3);
            ffi::lua_pushcfunction(self.l, index);
            ffi::lua_pushvalue(self.l, i);
            self.push_bytes(name.to_bytes());
            ffi::lua_pcall(self.l, 2, 1, 0) == ffi::LUA_OK
        }
    }

    /// Takes the last value off, as field `key` of the table below it.
    pub fn set_entry(&mut self, key: &[u8]) {
        self.push_bytes(key);
        // SAFETY: the table is one of `push_table`, under the value and the key.
        unsafe {
            ffi::lua_insert(self.l, -2);
            ffi::lua_rawset(self.l, -3);
        }
    }

    /// Makes `value` field `key` of the table on top, or one more in the list that the field has become.
    pub fn add_entry(&mut self, key: &[u8], value: &[u8]) {
        self.push_bytes(key);
        // SAFETY: as in `set_entry`; each branch leaves the table on top.
        unsafe {
            ffi::lua_pushvalue(self.l, -1);
            ffi::lua_rawget(self.l, -3);
            match ffi::lua_type(self.l, -1) {
                ffi::LUA_TNIL => {
                    ffi::lua_pop(self.l, 1);
                    self.push_bytes(value);
                    ffi::lua_rawset(self.l, -3);
                }
                ffi::LUA_TTABLE => {
                    self.push_bytes(value);
                    let n = ffi::lua_objlen(self.l, -2) as c_int;
                    ffi::lua_rawseti(self.l, -2, (n + 1).into());
                    ffi::lua_pop(self.l, 2);
                }
                _ => {
                    ffi::lua_createtable(self.l, 2, 0);
                    ffi::lua_insert(self.l, -2);
                    ffi::lua_rawseti(self.l, -2, 1);
                    self.push_bytes(value);
                    ffi::lua_rawseti(self.l, -2, 2);
                    ffi::lua_rawset(self.l, -3);
                }
            }
        }
    }
}

/// The FFI's values, and addresses for it.
impl Stack<'_> {
    /// What a pointer of the FFI points at; the prelude has checked that value `i` is one, and to this.
    pub fn pointed<T>(&self, i: c_int) -> Option<&T> {
        // SAFETY: the FFI's value holds the pointer, which the prelude vouches for; nil is none.
        unsafe {
            let value = ffi::lua_topointer(self.l, i).cast::<*const T>();
            (*value.as_ref()?).as_ref()
        }
    }

    pub fn push_address(&mut self, address: usize) {
        // SAFETY: as in `push_nil`.
        unsafe {
            ffi::lua_pushlightuserdata(self.l, core::ptr::with_exposed_provenance_mut(address));
        }
    }

    /// The address of something of ours, which the prelude keeps and gives back to the native that takes it as `own`.
    pub fn push_kept<T>(&mut self, thing: T) {
        // SAFETY: as in `push_nil`.
        unsafe { ffi::lua_pushlightuserdata(self.l, Box::into_raw(Box::new(thing)).cast()) }
    }
}

/// What the first value of a yield must be for the driver to take it as an operation: an address of ours.
pub fn wait_tag() -> *mut core::ffi::c_void {
    static TAG: u8 = 0;
    core::ptr::from_ref(&TAG).cast_mut().cast()
}

impl Stack<'_> {
    /// Whether value `i` is [`wait_tag`].
    pub fn is_tag(&self, i: c_int) -> bool {
        // SAFETY: reading any index is defined.
        unsafe {
            ffi::lua_type(self.l, i) == ffi::LUA_TLIGHTUSERDATA
                && ffi::lua_touserdata(self.l, i) == wait_tag()
        }
    }
}

impl Stack<'_> {
    /// Value `i` as Lua would print it; nil is empty.
    pub fn text(&self, i: c_int) -> Vec<u8> {
        // SAFETY: reading any index is defined; a number is turned into a string in place.
        unsafe {
            let mut len = 0;
            match ffi::lua_type(self.l, i) {
                ffi::LUA_TBOOLEAN => {
                    return if self.boolean(i) { b"true".to_vec() } else { b"false".to_vec() }
                }
                ffi::LUA_TSTRING | ffi::LUA_TNUMBER => {}
                _ => return Vec::new(),
            }
            let data = ffi::lua_tolstring(self.l, i, &raw mut len);
            core::slice::from_raw_parts(data.cast(), len).to_vec()
        }
    }
}
