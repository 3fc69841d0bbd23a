//! set_by_lua as one more instruction of the rewrite module's program, so that it keeps its place among `set`, `if`
//! and `rewrite`.

use core::ptr;

use ::ngx::ffi::{
    self, ngx_array_t, ngx_http_request_t, ngx_http_script_engine_t, ngx_http_variable_value_t, ngx_int_t,
    ngx_module_t, ngx_str_t,
};

use super::conf::{Cf, ConfError, Path};
use super::request::Request;
use super::text::to_pool;
use crate::conf::Handler;

extern "C" {
    static mut ngx_http_rewrite_module: ngx_module_t;
}

/// Variables that are made by their name alone: nginx must keep their getters.
const PREFIXES: [&[u8]; 6] =
    [b"http_", b"sent_http_", b"sent_trailer_", b"upstream_http_", b"cookie_", b"arg_"];

/// One set_by_lua directive.
pub struct SetVar {
    pub handler: Handler,
    args: Vec<Path>,
    index: ngx_int_t,
    variable: *mut ffi::ngx_http_variable_t,
}

/// What the rewrite module's program holds.
#[repr(C)]
struct Code {
    run: unsafe extern "C" fn(*mut ngx_http_script_engine_t),
    set: *const SetVar,
}

impl SetVar {
    /// Adds the directive being parsed, whose script is `handler`, to the program.
    pub fn compile(cf: &mut Cf, handler: Handler) -> Result<(), ConfError> {
        let name = cf.arg(1).to_vec();
        let Some(name) = name.strip_prefix(b"$").filter(|n| !n.is_empty()) else {
            return Err(ConfError(format!(
                "invalid variable name \"{}\", it must begin with \"$\"",
                name.escape_ascii()
            )));
        };
        let words = cf.args().count();
        let args = (3..words).map(|i| cf.path(i)).collect::<Result<_, _>>()?;
        // SAFETY: the pool and the parser live; the name is copied; the rewrite module's location configuration, which
        // exists at each level where this directive is allowed, begins with its program.
        unsafe {
            let pool = ::ngx::core::Pool::from_ngx_pool((*cf.raw()).pool);
            let mut text = to_pool(pool.as_ptr(), name).ok_or("out of memory")?;
            let flags = (ffi::NGX_HTTP_VAR_CHANGEABLE | ffi::NGX_HTTP_VAR_WEAK) as usize;
            let variable = ffi::ngx_http_add_variable(cf.raw(), &raw mut text, flags);
            let index = ffi::ngx_http_get_variable_index(cf.raw(), &raw mut text);
            if variable.is_null() || index < 0 {
                return Err(ConfError(format!("variable \"${}\" cannot be set", name.escape_ascii())));
            }
            if (*variable).get_handler.is_none()
                && !PREFIXES.iter().any(|p| name.to_ascii_lowercase().starts_with(p))
            {
                (*variable).get_handler = Some(unset);
            }
            let set = pool.allocate(SetVar { handler, args, index, variable });

            let ctx = (*cf.raw()).ctx.cast::<ffi::ngx_http_conf_ctx_t>();
            let rewrite = *(*ctx).loc_conf.add((*ptr::addr_of!(ngx_http_rewrite_module)).ctx_index);
            let codes = rewrite.cast::<*mut ngx_array_t>();
            let code =
                ffi::ngx_http_script_start_code(pool.as_ptr(), codes, size_of::<Code>()).cast::<Code>();
            if set.is_null() || code.is_null() {
                return Err("out of memory".into());
            }
            code.write(Code { run, set });
        }
        Ok(())
    }
}

/// The value of a variable that no directive has set yet.
unsafe extern "C" fn unset(
    _: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    _: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes the value to fill.
    unsafe { *v = ptr::addr_of!(ffi::ngx_http_variable_null_value).read() };
    ffi::NGX_OK as ngx_int_t
}

unsafe extern "C" fn run(e: *mut ngx_http_script_engine_t) {
    static END: usize = 0;
    // SAFETY: `ip` points at our instruction; the engine and its request are alive.
    unsafe {
        let set = &*(*(*e).ip.cast::<Code>()).set;
        (*e).ip = (*e).ip.add(size_of::<Code>());
        let request = Request::new((*e).request);
        let ok = crate::native::guard(|| {
            let mut args = Vec::with_capacity(set.args.len());
            for path in &set.args {
                args.push(path.eval(&request)?.into());
            }
            let value = crate::phase::set::value(request, &set.handler, args)?;
            set.assign(request, &value)
        });
        if ok.flatten().is_none() {
            (*e).ip = ptr::addr_of!(END).cast_mut().cast();
            (*e).status = ffi::NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
        }
    }
}

impl SetVar {
    fn assign(&self, request: Request, value: &[u8]) -> Option<()> {
        // SAFETY: the value is copied into the request's pool; the index was given out by nginx.
        unsafe {
            let r = request.raw();
            let ngx_str_t { data, len } = to_pool((*r).pool, value)?;
            let slot = (*r).variables.add(self.index as usize);
            let mut v: ngx_http_variable_value_t = core::mem::zeroed();
            v.set_len(len as u32);
            v.set_valid(1);
            v.data = data;
            match (*self.variable).set_handler {
                Some(set) => set(r, &raw mut v, (*self.variable).data),
                None => *slot = v,
            }
        }
        Some(())
    }
}
