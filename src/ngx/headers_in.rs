//! Request headers: reading them, and changing them so that nginx and its modules see the change.
//!
//! nginx keeps each header in a list, and those it knows in a field of their own too, which is where its modules look.
//! It has a table of which name has which field, by offset; the same table serves here, so that whatever fields the
//! nginx at hand was built with are kept.

use core::ptr;

use ::ngx::ffi::{self, ngx_http_header_t, ngx_list_t, ngx_table_elt_t};

use super::request::{Rc, Request};
use super::text::{bytes, to_pool};
use logic::text::{header, host};

/// One request header.
pub struct HeaderIn<'a> {
    pub name: &'a [u8],
    pub lower_name: &'a [u8],
    pub value: &'a [u8],
}

/// What is to become of a header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The value takes the place of all others; an empty one removes the header.
    Replace,
    /// The value is one more; if nginx keeps only one, it takes that one's place.
    Add,
    Remove,
}

/// Why a header cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("no memory")]
    NoMemory,
    #[error("bad value")]
    BadValue,
}

type Elt = ngx_table_elt_t;

/// Where nginx keeps a header besides the list.
#[derive(Clone, Copy)]
enum Field {
    None,
    One(*mut *mut Elt),
    /// All values: an array of pointers up to nginx 1.22, a chain from 1.23 on.
    #[cfg(not(nginx_multi_headers))]
    Many(*mut ffi::ngx_array_t),
    #[cfg(nginx_multi_headers)]
    Many(*mut *mut Elt),
}

/// A name in the forms that the functions here need.
struct Name {
    lower: ffi::ngx_str_t,
    hash: ffi::ngx_uint_t,
    known: *const ngx_http_header_t,
    field: Field,
}

impl Name {
    fn is(&self, name: &[u8]) -> bool {
        // SAFETY: the text lives in the request's pool.
        unsafe { bytes(self.lower) == name }
    }

    fn matches(&self, elt: &Elt) -> bool {
        // SAFETY: names in the list live in the request's pool.
        unsafe { bytes(elt.key).eq_ignore_ascii_case(bytes(self.lower)) }
    }
}

/// Walks a list of headers, whatever its parts.
pub(super) struct Elts {
    part: *const ffi::ngx_list_part_t,
    next: usize,
}

impl Elts {
    pub(super) fn of(list: &ngx_list_t) -> Elts {
        Elts { part: &raw const list.part, next: 0 }
    }
}

impl Iterator for Elts {
    type Item = *mut Elt;

    #[inline]
    fn next(&mut self) -> Option<*mut Elt> {
        // SAFETY: `part` is null or a part of a live list, of which `nelts` elements are in use.
        while let Some(part) = unsafe { self.part.as_ref() } {
            if self.next < part.nelts {
                self.next += 1;
                // SAFETY: as above.
                return Some(unsafe { part.elts.cast::<Elt>().add(self.next - 1) });
            }
            self.part = part.next;
            self.next = 0;
        }
        None
    }
}

impl Request {
    /// The request's headers in the order they came.
    pub fn headers_in(&self) -> impl Iterator<Item = HeaderIn<'_>> {
        // SAFETY: the list and its texts live in the request's pool; natives do not change it while they read.
        let elts = Elts::of(unsafe { &(*self.raw()).headers_in.headers });
        elts.map(|elt| {
            // SAFETY: as above. nginx gives each request header its name in lower case.
            unsafe {
                let elt = &*elt;
                let name = bytes(elt.key);
                let lower = if elt.lowcase_key.is_null() {
                    name
                } else {
                    core::slice::from_raw_parts(elt.lowcase_key, name.len())
                };
                HeaderIn { name, lower_name: lower, value: bytes(elt.value) }
            }
        })
    }

    /// How many headers there are.
    pub fn headers_in_count(&self) -> usize {
        // SAFETY: the list lives in the request's pool.
        unsafe {
            let mut part = &(*self.raw()).headers_in.headers.part;
            let mut n = part.nelts;
            while let Some(next) = part.next.as_ref() {
                n += next.nelts;
                part = next;
            }
            n
        }
    }

    /// Sets, adds to or removes header `name`. Control characters are escaped.
    pub fn change_header_in(&self, name: &[u8], value: &[u8], change: Change) -> Result<(), HeaderError> {
        // SAFETY: a plain field read of a live request.
        if unsafe { (*self.raw()).headers_in.headers.last }.is_null() {
            // the request line was broken: there is no list
            return Ok(());
        }
        self.own_headers_in()?;
        let key = self.escaped(name, header::is_plain_name, header::escape_name)?;
        let name = self.header_name(key)?;
        let change = match (change, name.field) {
            (Change::Replace, _) if value.is_empty() => Change::Remove,
            (Change::Add, Field::One(_)) => Change::Replace,
            _ => change,
        };
        let text = self.escaped(value, header::is_plain_value, header::escape_value)?;
        self.before_change(&name, text, change)?;
        match change {
            Change::Remove => self.remove_headers(&name, ptr::null_mut()),
            Change::Add => {
                let elt = self.push_header(key, &name, text)?;
                self.note_header(&name, elt)
            }
            Change::Replace => {
                // SAFETY: as in `headers_in`.
                let first = Elts::of(unsafe { &(*self.raw()).headers_in.headers })
                    .find(|elt| name.matches(unsafe { &**elt }));
                let elt = match first {
                    Some(elt) => {
                        // SAFETY: a live element of the list.
                        unsafe {
                            (*elt).value = text;
                            (*elt).hash = name.hash;
                        }
                        self.remove_headers(&name, elt)?;
                        elt
                    }
                    None => self.push_header(key, &name, text)?,
                };
                self.note_header(&name, elt)
            }
        }
    }

    /// `text` in the request's pool, with a zero behind it; escaped unless it `is_plain`.
    fn escaped(
        &self,
        text: &[u8],
        is_plain: fn(&[u8]) -> bool,
        escape: fn(&[u8], &mut Vec<u8>),
    ) -> Result<ffi::ngx_str_t, HeaderError> {
        let mut out = Vec::new();
        let text = if is_plain(text) {
            text
        } else {
            out.try_reserve(3 * text.len()).map_err(|_| HeaderError::NoMemory)?;
            escape(text, &mut out);
            &out
        };
        // SAFETY: the pool is the live request's.
        unsafe { to_pool((*self.raw()).pool, text) }.ok_or(HeaderError::NoMemory)
    }

    fn header_name(&self, key: ffi::ngx_str_t) -> Result<Name, HeaderError> {
        let r = self.raw();
        // SAFETY: the pool is the live request's; the core module's configuration and its table of headers outlive it.
        unsafe {
            let lower = to_pool((*r).pool, bytes(key)).ok_or(HeaderError::NoMemory)?;
            let hash = ffi::ngx_hash_strlow(lower.data, lower.data, lower.len);
            let table = &raw mut (*self.core_main_conf()).headers_in_hash;
            let known = ffi::ngx_hash_find(table, hash, lower.data, lower.len).cast::<ngx_http_header_t>();
            let field = match known.as_ref() {
                None => Field::None,
                Some(known) => {
                    let place = (&raw mut (*r).headers_in).cast::<u8>().add(known.offset);
                    match bytes(lower) {
                        b"cookie" | b"x-forwarded-for" => Field::Many(place.cast()),
                        _ => Field::One(place.cast()),
                    }
                }
            };
            Ok(Name { lower, hash, known, field })
        }
    }

    fn core_main_conf(&self) -> *mut ffi::ngx_http_core_main_conf_t {
        // SAFETY: each request has the main configuration of the core module.
        unsafe {
            let index = (*ptr::addr_of!(ffi::ngx_http_core_module)).ctx_index;
            (*(*self.raw()).main_conf.add(index)).cast()
        }
    }

    /// Refuses bad values, and clears what nginx derived from the values that are about to go.
    fn before_change(&self, name: &Name, value: ffi::ngx_str_t, change: Change) -> Result<(), HeaderError> {
        // SAFETY: values live in the request's pool; the rest are plain fields of the live request.
        unsafe {
            let headers = &mut (*self.raw()).headers_in;
            let removed = change == Change::Remove;
            if name.is(b"host") {
                headers.server = if removed { value } else { self.server_name(bytes(value))? };
                if removed {
                    headers.server.len = 0;
                }
                self.forget_variable(c"host".to_bytes());
            } else if name.is(b"content-length") {
                headers.content_length_n = if removed {
                    -1
                } else {
                    let n = ffi::ngx_atoof(value.data, value.len);
                    if n < 0 {
                        return Err(HeaderError::BadValue);
                    }
                    n
                };
            } else if name.is(b"connection") {
                headers.set_connection_type(0);
            } else if name.is(b"authorization") {
                // decoded by whoever checks the password first
                headers.user = ffi::ngx_str_t { len: 0, data: ptr::null_mut() };
                headers.passwd = headers.user;
            } else if name.is(b"user-agent") {
                headers.set_msie(0);
                headers.set_msie6(0);
                headers.set_opera(0);
                headers.set_gecko(0);
                headers.set_chrome(0);
                headers.set_safari(0);
                headers.set_konqueror(0);
            }
            if change != Change::Add {
                match name.field {
                    Field::None => {}
                    Field::One(field) => *field = ptr::null_mut(),
                    #[cfg(not(nginx_multi_headers))]
                    Field::Many(array) => (*array).nelts = 0,
                    #[cfg(nginx_multi_headers)]
                    Field::Many(chain) => *chain = ptr::null_mut(),
                }
            }
        }
        Ok(())
    }

    /// Tells nginx of a header that is in the list now.
    fn note_header(&self, name: &Name, elt: *mut Elt) -> Result<(), HeaderError> {
        let r = self.raw();
        // SAFETY: `elt` is in the request's list; the fields are those that nginx's table has for its name.
        unsafe {
            #[cfg(nginx_multi_headers)]
            {
                (*elt).next = ptr::null_mut();
            }
            match name.field {
                Field::None => {}
                Field::One(field) => {
                    let reads_more = name.is(b"connection") || name.is(b"user-agent");
                    let handler = (*name.known).handler.filter(|_| reads_more);
                    if handler.is_some_and(|f| f(r, elt, (*name.known).offset) != Rc::OK.0) {
                        return Err(HeaderError::NoMemory);
                    }
                    if (*r).headers_in.connection_type() == ffi::NGX_HTTP_CONNECTION_CLOSE {
                        (*r).headers_in.keep_alive_n = -1;
                    }
                    *field = elt;
                }
                #[cfg(not(nginx_multi_headers))]
                Field::Many(array) => {
                    if (*array).elts.is_null() {
                        let (size, nalloc) = (size_of::<*mut Elt>(), 2);
                        let elts = ffi::ngx_palloc((*r).pool, nalloc * size);
                        if elts.is_null() {
                            return Err(HeaderError::NoMemory);
                        }
                        array.write(ffi::ngx_array_t { elts, nelts: 0, size, nalloc, pool: (*r).pool });
                    }
                    let place = ffi::ngx_array_push(array).cast::<*mut Elt>();
                    if place.is_null() {
                        return Err(HeaderError::NoMemory);
                    }
                    *place = elt;
                }
                #[cfg(nginx_multi_headers)]
                Field::Many(mut link) => {
                    while let Some(before) = (*link).as_mut() {
                        link = &raw mut before.next;
                    }
                    *link = elt;
                }
            }
        }
        Ok(())
    }

    fn push_header(
        &self,
        key: ffi::ngx_str_t,
        name: &Name,
        value: ffi::ngx_str_t,
    ) -> Result<*mut Elt, HeaderError> {
        // SAFETY: the list exists (its `last` was checked), and a pushed element is to be filled.
        unsafe {
            let elt = ffi::ngx_list_push(&raw mut (*self.raw()).headers_in.headers).cast::<Elt>();
            if elt.is_null() {
                return Err(HeaderError::NoMemory);
            }
            elt.write_bytes(0, 1);
            (*elt).hash = name.hash;
            (*elt).key = key;
            (*elt).value = value;
            (*elt).lowcase_key = name.lower.data;
            Ok(elt)
        }
    }

    /// Takes all headers of that name, but not `keep`, off the list.
    fn remove_headers(&self, name: &Name, keep: *mut Elt) -> Result<(), HeaderError> {
        // SAFETY: a live list; it is walked anew after each removal, which may change its parts.
        unsafe {
            let list = &raw mut (*self.raw()).headers_in.headers;
            loop {
                let found = Elts::of(&*list).find(|elt| *elt != keep && name.matches(&**elt));
                match found {
                    None => return Ok(()),
                    Some(elt) => remove(list, elt)?,
                }
            }
        }
    }

    fn server_name(&self, value: &[u8]) -> Result<ffi::ngx_str_t, HeaderError> {
        let mut name = Vec::new();
        name.try_reserve(value.len()).map_err(|_| HeaderError::NoMemory)?;
        if !host::server_name(value, &mut name) {
            return Err(HeaderError::BadValue);
        }
        // SAFETY: the pool is the live request's.
        unsafe { to_pool((*self.raw()).pool, &name) }.ok_or(HeaderError::NoMemory)
    }

    /// Has variable `name`, if it was evaluated, evaluated anew.
    fn forget_variable(&self, name: &[u8]) {
        // SAFETY: the table of variables outlives the request, which has a value for each index given out.
        unsafe {
            let table = &raw mut (*self.core_main_conf()).variables_hash;
            let text = name.as_ptr().cast_mut();
            let hash = name.iter().fold(0, |hash: usize, b| hash.wrapping_mul(31).wrapping_add((*b).into()));
            let variable =
                ffi::ngx_hash_find(table, hash, text, name.len()).cast::<ffi::ngx_http_variable_t>();
            if let Some(variable) = variable.as_ref() {
                if variable.flags & ffi::NGX_HTTP_VAR_INDEXED as usize != 0 {
                    let value = &mut *(*self.raw()).variables.add(variable.index);
                    value.set_valid(0);
                    value.set_not_found(0);
                }
            }
        }
    }
}

/// Takes `elt` off `list`, the other elements staying where they are, as the fields point at them. nginx's loops allow
/// the first part of a list to be empty, and no other.
///
/// # Safety
/// `list` must be a live list of headers, and `elt` in it.
unsafe fn remove(list: *mut ngx_list_t, elt: *mut Elt) -> Result<(), HeaderError> {
    // SAFETY: the caller vouches for the list; the parts are walked and changed as `ngx_list_push` leaves them.
    unsafe {
        let first = &raw mut (*list).part;
        let mut before = ptr::null_mut::<ffi::ngx_list_part_t>();
        let mut part = first;
        let i = loop {
            let elts = (*part).elts.cast::<Elt>();
            if (0..(*part).nelts).any(|i| elts.add(i) == elt) {
                break elt.offset_from_unsigned(elts);
            }
            (before, part) = (part, (*part).next);
            if part.is_null() {
                return Ok(());
            }
        };
        let (n, is_last) = ((*part).nelts, (*list).last == part);
        if i == n - 1 && (n > 1 || part == first) {
            // the free place is used again
            (*part).nelts -= 1;
        } else if n == 1 {
            (*before).next = (*part).next;
            if is_last {
                (*list).last = before;
                // full, so that the next push makes a part
                (*list).nalloc = (*before).nelts.max(1);
            }
        } else if i == 0 {
            (*part).elts = elt.add(1).cast();
            (*part).nelts -= 1;
            if is_last {
                (*list).nalloc -= 1;
            }
        } else {
            let size = size_of::<ffi::ngx_list_part_t>();
            let rest = ffi::ngx_palloc((*list).pool, size).cast::<ffi::ngx_list_part_t>();
            if rest.is_null() {
                return Err(HeaderError::NoMemory);
            }
            rest.write(ffi::ngx_list_part_t {
                elts: elt.add(1).cast(),
                nelts: n - i - 1,
                next: (*part).next,
            });
            (*part).nelts = i;
            (*part).next = rest;
            if is_last {
                (*list).last = rest;
                (*list).nalloc -= i + 1;
            }
        }
    }
    Ok(())
}
