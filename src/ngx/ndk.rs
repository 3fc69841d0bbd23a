//! What other modules offer through the Nginx Development Kit: directives that compute a value, as `set_md5`.
//!
//! The kit is a module of its own (Debian's `libnginx-mod-http-ndk`); when it is loaded, its directives are found in the
//! modules' tables by their common setter, whose address the dynamic linker knows.

use core::ffi::{c_uint, c_void};

use ::ngx::ffi::{self, ngx_http_request_t, ngx_http_variable_value_t, ngx_int_t, ngx_str_t};

use super::request::Request;
use super::text::bytes;

/// A directive's function: value in, value out.
type Func = unsafe extern "C" fn(
    *mut ngx_http_request_t,
    *mut ngx_str_t,
    *mut ngx_http_variable_value_t,
) -> ngx_int_t;

/// The head of the kit's `ndk_set_var_t`.
#[repr(C)]
struct SetVar {
    kind: c_uint,
    func: *const c_void,
}

/// A directive by its place in the modules' tables: a plain number for Lua to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub module: u16,
    pub command: u16,
}

/// Whether the kit is loaded.
pub fn loaded() -> bool {
    !setter().is_null()
}

fn setter() -> *mut c_void {
    // SAFETY: nginx opens modules for all to see; a name that is not there is null.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"ndk_set_var_value".as_ptr()) }
}

/// The place of directive `name`, if it is one that turns one value into another.
pub fn find(name: &[u8]) -> Option<Place> {
    let setter = setter();
    if setter.is_null() {
        return None;
    }
    for module in 0.. {
        // SAFETY: the cycle's modules end with null; what is before the end is a live module.
        let m = unsafe { (*(*ffi::ngx_cycle).modules.add(module)).as_ref()? };
        if m.type_ != ffi::NGX_HTTP_MODULE as usize || m.commands.is_null() {
            continue;
        }
        for command in 0.. {
            // SAFETY: a module's commands end with an empty name.
            let c = unsafe { &*m.commands.add(command) };
            if c.name.len == 0 {
                break;
            }
            // SAFETY: names of commands are static.
            if c.set.is_some_and(|set| set as *mut c_void == setter) && unsafe { bytes(c.name) } == name {
                return Some(Place {
                    module: u16::try_from(module).ok()?,
                    command: u16::try_from(command).ok()?,
                });
            }
        }
    }
    None
}

impl Place {
    fn function(self) -> Option<Func> {
        // SAFETY: `find` made the place; tables do not change while modules are loaded, and `post` of a command whose
        // setter is the kit's is its `ndk_set_var_t`.
        unsafe {
            let m = *(*ffi::ngx_cycle).modules.add(self.module.into());
            let set_var = (*(*m).commands.add(self.command.into())).post.cast::<SetVar>().as_ref()?;
            core::mem::transmute::<*const c_void, Option<Func>>(set_var.func)
        }
    }

    /// What the directive makes of `value`, or its failure code.
    pub fn call<'r>(self, request: &'r Request, value: &'r [u8]) -> Result<&'r [u8], ngx_int_t> {
        let function = self.function().ok_or(ffi::NGX_ERROR as ngx_int_t)?;
        let mut out = ngx_str_t { len: 0, data: core::ptr::null_mut() };
        // SAFETY: the function reads the value, and leaves a result that lives in the request's pool or points into
        // the value.
        unsafe {
            let mut v: ngx_http_variable_value_t = core::mem::zeroed();
            v.set_valid(1);
            v.set_len(value.len() as u32);
            v.data = value.as_ptr().cast_mut();
            match function(request.raw(), &raw mut out, &raw mut v) {
                0 => Ok(bytes(out)),
                rc => Err(rc),
            }
        }
    }
}
