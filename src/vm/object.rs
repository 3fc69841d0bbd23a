//! Things of ours that Lua keeps: userdata, whose type is known again when Lua gives it back.

use core::any::TypeId;
use core::ffi::{c_int, c_void};
use core::mem::ManuallyDrop;
use std::rc::Rc;

use mlua::ffi::{self, lua_State};

use super::Stack;

/// What every object begins with.
#[repr(C)]
struct Header {
    /// Tells ours from the userdata of others.
    mark: *const u8,
    /// Of the value behind it; [`Gone`] once that is dropped.
    kind: TypeId,
    drop: unsafe fn(*mut c_void),
}

#[repr(C)]
struct Object<T> {
    header: Header,
    value: ManuallyDrop<T>,
}

struct Gone;

/// Its address marks our objects, and is where the registry has their metatable.
static MARK: u8 = 0;

/// How Lua aligns userdata.
const ALIGN: usize = 8;

unsafe fn drop_value<T>(object: *mut c_void) {
    // SAFETY: the caller passes an object of this type, once.
    unsafe { ManuallyDrop::drop(&mut (*object.cast::<Object<T>>()).value) }
}

/// The header of an object, if it is one.
///
/// # Safety
/// `data` must be null or the memory of a userdata of so many bytes.
unsafe fn header(data: *mut c_void, len: usize) -> Option<*mut Header> {
    let header = data.cast::<Header>();
    // SAFETY: the caller vouches for the memory; nothing of others is read beyond its first word.
    (!data.is_null() && len >= size_of::<Header>() && unsafe { (*header).mark } == &raw const MARK)
        .then_some(header)
}

/// The collector has found that nobody needs an object.
unsafe extern "C-unwind" fn collect(l: *mut lua_State) -> c_int {
    crate::native::guard(|| {
        // SAFETY: reading any index is defined. The value is dropped once: what is gone says so.
        unsafe {
            if ffi::lua_type(l, 1) != ffi::LUA_TUSERDATA {
                return;
            }
            let data = ffi::lua_touserdata(l, 1);
            if let Some(header) = header(data, ffi::lua_objlen(l, 1)) {
                if core::mem::replace(&mut (*header).kind, TypeId::of::<Gone>()) != TypeId::of::<Gone>() {
                    ((*header).drop)(data);
                }
            }
        }
    });
    0
}

/// Makes the metatable of all objects of a VM.
///
/// # Safety
/// `l` must be live.
pub(super) unsafe fn prepare(l: *mut lua_State) {
    // SAFETY: the caller vouches for the state; what is pushed is popped.
    unsafe {
        ffi::lua_createtable(l, 0, 2);
        ffi::lua_pushcfunction(l, collect);
        ffi::lua_setfield(l, -2, c"__gc".as_ptr());
        ffi::lua_pushboolean(l, 0);
        ffi::lua_setfield(l, -2, c"__metatable".as_ptr());
        ffi::lua_rawsetp(l, ffi::LUA_REGISTRYINDEX, (&raw const MARK).cast());
    }
}

impl Stack<'_> {
    /// Gives `value` to Lua.
    pub fn push_object<T: 'static>(&mut self, value: T) {
        const { assert!(align_of::<Object<T>>() <= ALIGN) };
        let kind = TypeId::of::<T>();
        let header = Header { mark: &raw const MARK, kind, drop: drop_value::<T> };
        let object = Object { header, value: ManuallyDrop::new(value) };
        // SAFETY: the state is live; the memory is as large and as aligned as the object.
        unsafe {
            ffi::lua_newuserdata(self.raw(), size_of::<Object<T>>()).cast::<Object<T>>().write(object);
            ffi::lua_rawgetp(self.raw(), ffi::LUA_REGISTRYINDEX, (&raw const MARK).cast());
            ffi::lua_setmetatable(self.raw(), -2);
        }
    }

    /// Value `i`, if it is an object of this type.
    pub fn object<T: 'static>(&self, i: c_int) -> Option<&T> {
        // SAFETY: reading any index is defined. The object is anchored by the stack, which the borrow of `self` keeps
        // unchanged.
        unsafe {
            if ffi::lua_type(self.raw(), i) != ffi::LUA_TUSERDATA {
                return None;
            }
            let data = ffi::lua_touserdata(self.raw(), i);
            let header = header(data, ffi::lua_objlen(self.raw(), i))?;
            ((*header).kind == TypeId::of::<T>()).then(|| &*(*data.cast::<Object<T>>()).value)
        }
    }

    /// What the table at `i` has as its first entry, if it is a table and that a shared object of this type.
    pub fn own<T: 'static>(&mut self, i: c_int) -> Option<Rc<T>> {
        // SAFETY: the entry is read without metamethods, and popped again.
        unsafe {
            if ffi::lua_type(self.raw(), i) != ffi::LUA_TTABLE {
                return None;
            }
            ffi::lua_rawgeti_(self.raw(), i, 1);
            let own = self.object::<Rc<T>>(-1).cloned();
            ffi::lua_settop(self.raw(), -2);
            own
        }
    }
}
