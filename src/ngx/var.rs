//! nginx variables by name, for `ngx.var`.
//!
//! A name is looked up in nginx's hash once per worker; scripts then ask by number. That is allowed because nginx fixes
//! its table of variables before the first request.

use core::cell::RefCell;
use core::ptr::{self, NonNull};
use std::collections::HashMap;

use ::ngx::ffi::{self, ngx_http_variable_t, ngx_http_variable_value_t, ngx_str_t};

use super::request::Request;
use super::text::{bytes, to_pool};

/// How many names are remembered: scripts that compose names from input must not fill the memory.
const MAX_KNOWN: usize = 4096;
/// Longest name that is remembered.
const MAX_NAME: usize = 256;

/// A variable as scripts may name it.
pub struct Variable {
    /// In lower case.
    name: Box<[u8]>,
    hash: usize,
    /// Its row in nginx's table; those that exist by prefix (`http_…`) have none.
    row: Option<NonNull<ngx_http_variable_t>>,
}

/// The variables that scripts of one configuration have named so far.
#[derive(Default)]
pub struct Variables(RefCell<Known>);

#[derive(Default)]
struct Known {
    list: Vec<Variable>,
    ids: HashMap<Box<[u8]>, usize>,
}

/// Why a variable was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    #[error("variable \"{0}\" not changeable")]
    Fixed(String),
    #[error("variable \"{0}\" cannot be assigned a value")]
    NoPlace(String),
    #[error(
        "variable \"{0}\" not found for writing; maybe it is a built-in variable that is not changeable or you \
         forgot to use \"set ${0} '';\" in the config file to define it first"
    )]
    Unknown(String),
    #[error("no memory")]
    NoMemory,
}

impl Variable {
    fn find(request: &Request, name: &[u8]) -> Variable {
        let name: Box<[u8]> = name.to_ascii_lowercase().into();
        // nginx's own hash of names
        let hash = name.iter().fold(0usize, |h, c| h.wrapping_mul(31).wrapping_add(usize::from(*c)));
        // SAFETY: the core module's configuration and its hash live as long as the request's configuration; the name is
        // only compared.
        let row = unsafe {
            let index = (*ptr::addr_of!(ffi::ngx_http_core_module)).ctx_index;
            let core = *(*request.raw()).main_conf.add(index);
            let table = &raw mut (*core.cast::<ffi::ngx_http_core_main_conf_t>()).variables_hash;
            ffi::ngx_hash_find(table, hash, name.as_ptr().cast_mut(), name.len())
        };
        Variable { name, hash, row: NonNull::new(row.cast()) }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

impl Variables {
    /// The number of the variable `name`; `None` when it is one too many to remember.
    pub fn id(&self, request: &Request, name: &[u8]) -> Option<usize> {
        let known = &mut *self.0.borrow_mut();
        let lower: Box<[u8]> = name.to_ascii_lowercase().into();
        if let Some(id) = known.ids.get(&lower) {
            return Some(*id);
        }
        let id = known.list.len();
        if id == MAX_KNOWN || name.len() > MAX_NAME {
            return None;
        }
        known.list.push(Variable::find(request, &lower));
        known.ids.insert(lower, id);
        Some(id)
    }

    /// Calls `f` with the variable that is number `id`, or else with the one called `name`.
    pub fn with<T>(&self, request: &Request, id: i32, name: &[u8], f: impl FnOnce(&Variable) -> T) -> T {
        // rows are only added, and none of nginx's handlers comes back here
        let known = self.0.borrow();
        if let Some(variable) = usize::try_from(id).ok().and_then(|i| known.list.get(i)) {
            return f(variable);
        }
        drop(known);
        f(&Variable::find(request, name))
    }
}

impl Request {
    /// The variable's value for this request; `None` when it has none.
    #[inline]
    pub fn variable(&self, variable: &Variable) -> Option<&[u8]> {
        let r = self.raw();
        // SAFETY: the row is nginx's own; a handler fills the value it is given, whose data lives in the request's pool
        // or longer.
        unsafe {
            match variable.row {
                Some(row) if row.as_ref().flags & ffi::NGX_HTTP_VAR_INDEXED as usize != 0 => {
                    value(ffi::ngx_http_get_flushed_variable(r, row.as_ref().index))
                }
                Some(row) => {
                    let mut v: ngx_http_variable_value_t = core::mem::zeroed();
                    let rc = row.as_ref().get_handler?(r, &raw mut v, row.as_ref().data);
                    if rc == ffi::NGX_OK as isize {
                        value(&raw const v)
                    } else {
                        None
                    }
                }
                None => {
                    let mut name =
                        ngx_str_t { len: variable.name.len(), data: variable.name.as_ptr().cast_mut() };
                    value(ffi::ngx_http_get_variable(r, &raw mut name, variable.hash))
                }
            }
        }
    }

    /// Sets the variable; `None` leaves it without a value.
    pub fn set_variable(&self, variable: &Variable, to: Option<&[u8]>) -> Result<(), SetError> {
        let Some(row) = variable.row else { return Err(SetError::Unknown(variable.shown())) };
        let r = self.raw();
        // SAFETY: the row is nginx's own, and its index was given out by nginx; the value is copied into the request's
        // pool, where nginx may keep it.
        unsafe {
            let row = row.as_ref();
            if row.flags & ffi::NGX_HTTP_VAR_CHANGEABLE as usize == 0 {
                return Err(SetError::Fixed(variable.shown()));
            }
            let mut v: ngx_http_variable_value_t = core::mem::zeroed();
            match to {
                Some(to) => {
                    let text = to_pool((*r).pool, to).ok_or(SetError::NoMemory)?;
                    (v.data, _) = (text.data, v.set_len(text.len as u32));
                    v.set_valid(1);
                }
                None => v.set_not_found(1),
            }
            if let Some(set) = row.set_handler {
                set(r, &raw mut v, row.data);
            } else if row.flags & ffi::NGX_HTTP_VAR_INDEXED as usize != 0 {
                *(*r).variables.add(row.index) = v;
            } else {
                return Err(SetError::NoPlace(variable.shown()));
            }
        }
        Ok(())
    }

    /// What the last regular expression of a location, `if`, `rewrite` or `map` captured in group `n`.
    pub fn capture(&self, n: usize) -> Option<&[u8]> {
        let r = self.raw();
        // SAFETY: nginx keeps pairs of offsets into `captures_data`, `ncaptures` numbers in all.
        unsafe {
            let (data, offsets) = ((*r).captures_data, (*r).captures);
            if data.is_null() || offsets.is_null() || n.checked_mul(2)? >= (*r).ncaptures {
                return None;
            }
            let (from, to) = (*offsets.add(2 * n), *offsets.add(2 * n + 1));
            let (Ok(from), Ok(len)) = (usize::try_from(from), usize::try_from(to - from)) else {
                // a group that did not take part
                return Some(&[]);
            };
            Some(core::slice::from_raw_parts(data.add(from), len))
        }
    }
}

/// # Safety
/// `v` must be null or a value whose data lives as long as the request.
unsafe fn value<'a>(v: *const ngx_http_variable_value_t) -> Option<&'a [u8]> {
    // SAFETY: the caller vouches for `v`.
    unsafe {
        let v = v.as_ref().filter(|v| v.not_found() == 0)?;
        Some(bytes(ngx_str_t { len: v.len() as usize, data: v.data }))
    }
}
