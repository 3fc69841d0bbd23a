//! The response header: fields that scripts read and set, those that nginx keeps in places of its own among them.

use core::ffi::c_void;

use ::ngx::ffi::{
    self, ngx_http_headers_out_t, ngx_http_request_t, ngx_list_part_t, ngx_list_t, ngx_str_t, ngx_table_elt_t,
};

use super::bits::bits;
use super::request::Request;
use super::text::{bytes, to_pool};
use logic::text::header;

/// Where nginx looks for a field.
enum Place {
    /// Only in the list of fields.
    List,
    /// In the list, with one pointer to it.
    Single(fn(&mut ngx_http_headers_out_t) -> &mut *mut ngx_table_elt_t),
    /// In the list, with pointers to each line.
    Multi(fn(&mut ngx_http_headers_out_t) -> &mut Lines),
    ContentType,
    ContentLength,
    LastModified,
    Location,
}

#[cfg(nginx_multi_headers)]
type Lines = *mut ngx_table_elt_t;
#[cfg(not(nginx_multi_headers))]
type Lines = ffi::ngx_array_t;

fn place(name: &[u8]) -> Place {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        4 if is("Date") => Place::Single(|h| &mut h.date),
        4 if is("ETag") => Place::Single(|h| &mut h.etag),
        4 if is("Link") => Place::Multi(|h| &mut h.link),
        5 if is("E-Tag") => Place::Single(|h| &mut h.etag),
        6 if is("Server") => Place::Single(|h| &mut h.server),
        7 if is("Refresh") => Place::Single(|h| &mut h.refresh),
        7 if is("Expires") => Place::Single(|h| &mut h.expires),
        8 if is("Location") => Place::Location,
        12 if is("Content-Type") => Place::ContentType,
        13 if is("Last-Modified") => Place::LastModified,
        13 if is("Cache-Control") => Place::Multi(|h| &mut h.cache_control),
        13 if is("Content-Range") => Place::Single(|h| &mut h.content_range),
        13 if is("Accept-Ranges") => Place::Single(|h| &mut h.accept_ranges),
        14 if is("Content-Length") => Place::ContentLength,
        16 if is("Content-Encoding") => Place::Single(|h| &mut h.content_encoding),
        16 if is("WWW-Authenticate") => Place::Single(|h| &mut h.www_authenticate),
        _ => Place::List,
    }
}

/// Why a field could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    Memory,
    /// The value is none that the field can have.
    Value,
}

/// A field to be set: name and value lie in the request's pool; an empty value takes the field away.
struct Field {
    name: ngx_str_t,
    value: ngx_str_t,
    /// Adds a line instead of replacing those there are.
    add: bool,
}

impl Field {
    fn is_clear(&self) -> bool {
        self.value.len == 0
    }

    /// # Safety
    /// `elt` must be a live entry of the response's list.
    unsafe fn write(&self, elt: *mut ngx_table_elt_t) {
        // SAFETY: the caller vouches for the entry.
        unsafe {
            (*elt).hash = usize::from(!self.is_clear());
            (*elt).key = self.name;
            (*elt).value = self.value;
        }
    }
}

/// The line of a refusal that says when to come again, as a cleanup of the request's pool: only that outlives a redirect.
struct RetryAfter {
    request: *mut ngx_http_request_t,
    line: *mut ngx_table_elt_t,
    value: *mut u8,
}

/// Marks it.
unsafe extern "C" fn forget_retry_after(data: *mut c_void) {
    // SAFETY: the cleanup's own data, in the pool that goes.
    unsafe { (*data.cast::<RetryAfter>()).line = core::ptr::null_mut() };
}

impl Request {
    /// A refusal says when to come again. Without memory it is a refusal without.
    pub fn say_retry_after(&self, seconds: u64) {
        let (name, value) = (self.in_pool(b"Retry-After"), self.in_pool(seconds.to_string().as_bytes()));
        let (Some(name), Some(value)) = (name, value) else { return };
        let Ok(line) = self.set_in_list(&Field { name, value, add: false }) else { return };
        // SAFETY: the pool is that of a live request, the data is written whole before anybody sees it.
        unsafe {
            let cleanup = ffi::ngx_pool_cleanup_add((*self.raw()).pool, size_of::<RetryAfter>());
            if let Some(cleanup) = cleanup.as_mut() {
                let said = RetryAfter { request: self.raw(), line, value: value.data };
                cleanup.data.cast::<RetryAfter>().write(said);
                cleanup.handler = Some(forget_retry_after);
            }
        }
    }

    /// The header is about to be sent: an answer that another place gives instead of the refusal does not say when to come again, unless it
    /// does so itself.
    #[inline]
    pub fn check_retry_after(&self) {
        if self.is_internal() && !matches!(self.status(), 429 | 503) {
            self.unsay_retry_after();
        }
    }

    #[cold]
    fn unsay_retry_after(&self) {
        // SAFETY: the cleanups of a live pool; what has our mark has our data. The line lies in the same pool.
        unsafe {
            let mut next = (*(*self.raw()).pool).cleanup;
            while let Some(cleanup) = next.as_ref() {
                next = cleanup.next;
                if cleanup.handler.is_none_or(|f| f as usize != forget_retry_after as *const () as usize) {
                    continue;
                }
                let said = &*cleanup.data.cast::<RetryAfter>();
                if said.request == self.raw() && !said.line.is_null() && (*said.line).value.data == said.value
                {
                    (*said.line).hash = 0;
                    (*said.line).value.len = 0;
                }
            }
        }
    }

    fn headers_out(&self) -> *mut ngx_http_headers_out_t {
        // SAFETY: the address of a field of a live request.
        unsafe { &raw mut (*self.raw()).headers_out }
    }

    /// The name of a response field as scripts write it, with hyphens where the location wants them.
    fn field_name(&self, name: &[u8]) -> Option<ngx_str_t> {
        let copied = if header::is_plain_name(name) {
            self.in_pool(name)
        } else {
            let mut escaped = Vec::with_capacity(3 * name.len());
            header::escape_name(name, &mut escaped);
            self.in_pool(&escaped)
        }?;
        if self.loc_conf().transform_underscores() {
            // SAFETY: a fresh copy of ours.
            header::hyphenate(unsafe { core::slice::from_raw_parts_mut(copied.data, copied.len) });
        }
        Some(copied)
    }

    fn field_value(&self, value: &[u8]) -> Option<ngx_str_t> {
        if value.is_empty() {
            return Some(ngx_str_t { len: 0, data: core::ptr::null_mut() });
        }
        if header::is_plain_value(value) {
            return self.in_pool(value);
        }
        let mut escaped = Vec::with_capacity(3 * value.len());
        header::escape_value(value, &mut escaped);
        self.in_pool(&escaped)
    }

    fn in_pool(&self, text: &[u8]) -> Option<ngx_str_t> {
        // SAFETY: the pool is the request's.
        unsafe { to_pool((*self.raw()).pool, text) }
    }

    /// Sets response field `name`, or with `add` gives it one line more. An empty value takes it away.
    ///
    /// Returns whether the field was the content type, which is then not chosen by nginx any more.
    pub fn set_field(&self, name: &[u8], value: &[u8], add: bool) -> Result<bool, FieldError> {
        let name = self.field_name(name).ok_or(FieldError::Memory)?;
        let value = self.field_value(value).ok_or(FieldError::Memory)?;
        let field = Field { name, value, add };
        let out = self.headers_out();
        // SAFETY: the name is a fresh copy; `out` belongs to a live request and nothing else uses it meanwhile; a place
        // is null or points into the list of fields.
        unsafe {
            match place(bytes(field.name)) {
                Place::List => self.set_in_list(&field).map(|_| ())?,
                Place::Single(slot) => self.set_single(&field, slot(&mut *out))?,
                Place::Multi(lines) => self.set_multi(&field, lines(&mut *out))?,
                Place::Location => {
                    self.set_single(&field, &mut (*out).location)?;
                    let h = (*out).location;
                    // nginx would make a path absolute: a script's is sent as it is
                    if !h.is_null() && bytes((*h).value).first() == Some(&b'/') {
                        (*out).location = core::ptr::null_mut();
                    }
                }
                Place::LastModified => {
                    (*out).last_modified_time =
                        if field.is_clear() { -1 } else { ffi::ngx_parse_http_time(value.data, value.len) };
                    self.set_single(&field, &mut (*out).last_modified)?;
                }
                Place::ContentLength => {
                    let n = if field.is_clear() { -1 } else { ffi::ngx_atoof(value.data, value.len) };
                    if n < 0 && !field.is_clear() {
                        return Err(FieldError::Value);
                    }
                    self.clear_content_length();
                    (*out).content_length_n = n;
                }
                Place::ContentType => {
                    self.set_content_type(&field)?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Sets the line of that name in the list, taking away further ones; or adds a line.
    fn set_in_list(&self, field: &Field) -> Result<*mut ngx_table_elt_t, FieldError> {
        let mut found: *mut ngx_table_elt_t = core::ptr::null_mut();
        if !field.add {
            // SAFETY: the name lies in the request's pool.
            let name = unsafe { bytes(field.name) };
            for h in self.lines_of(name) {
                // SAFETY: an entry of the list of a live request.
                unsafe {
                    if found.is_null() {
                        found = h;
                        field.write(h);
                    } else {
                        (*h).hash = 0;
                        (*h).value.len = 0;
                    }
                }
            }
        }
        if !found.is_null() || field.is_clear() {
            return Ok(found);
        }
        self.push(field)
    }

    fn push(&self, field: &Field) -> Result<*mut ngx_table_elt_t, FieldError> {
        // SAFETY: the list is the live request's; the fresh entry is filled whole before anyone sees it.
        unsafe {
            let lowcase = self.in_pool(bytes(field.name)).ok_or(FieldError::Memory)?;
            core::slice::from_raw_parts_mut(lowcase.data, lowcase.len).make_ascii_lowercase();
            let h = ffi::ngx_list_push(&raw mut (*self.headers_out()).headers).cast::<ngx_table_elt_t>();
            if h.is_null() {
                return Err(FieldError::Memory);
            }
            h.write(core::mem::zeroed());
            (*h).lowcase_key = lowcase.data;
            field.write(h);
            Ok(h)
        }
    }

    fn set_single(&self, field: &Field, slot: &mut *mut ngx_table_elt_t) -> Result<(), FieldError> {
        if !slot.is_null() {
            // SAFETY: nginx's pointer to an entry of the list.
            unsafe { field.write(*slot) };
            return Ok(());
        }
        *slot = self.set_in_list(field)?;
        if slot.is_null() {
            // an empty line in its place keeps nginx from sending one of its own (Server, Date)
            *slot = self.push(field)?;
        }
        Ok(())
    }

    #[cfg(nginx_multi_headers)]
    fn set_multi(&self, field: &Field, lines: &mut Lines) -> Result<(), FieldError> {
        // SAFETY: nginx's chain of entries of the list.
        unsafe {
            let mut end: *mut Lines = lines;
            let mut free: *mut ngx_table_elt_t = core::ptr::null_mut();
            while !(*end).is_null() {
                let h = *end;
                if !field.add {
                    (*h).hash = 0;
                    (*h).value.len = 0;
                }
                if free.is_null() && (*h).hash == 0 {
                    free = h;
                }
                end = &raw mut (*h).next;
            }
            if !free.is_null() {
                field.write(free);
            } else if !field.is_clear() {
                *end = self.push(field)?;
            }
        }
        Ok(())
    }

    #[cfg(not(nginx_multi_headers))]
    fn set_multi(&self, field: &Field, lines: &mut Lines) -> Result<(), FieldError> {
        type Line = *mut ngx_table_elt_t;
        // SAFETY: nginx's array of pointers to entries of the list, made now if it has not been.
        unsafe {
            if lines.elts.is_null() {
                let fresh = ffi::ngx_array_create((*self.raw()).pool, 2, size_of::<Line>());
                *lines = *fresh.as_ref().ok_or(FieldError::Memory)?;
            }
            let mut free: Line = core::ptr::null_mut();
            for &h in core::slice::from_raw_parts(lines.elts.cast::<Line>(), lines.nelts) {
                if !field.add {
                    (*h).hash = 0;
                    (*h).value.len = 0;
                }
                if free.is_null() && (*h).hash == 0 {
                    free = h;
                }
            }
            if !free.is_null() {
                field.write(free);
            } else if !field.is_clear() {
                let place = ffi::ngx_array_push(lines).cast::<Line>();
                if place.is_null() {
                    return Err(FieldError::Memory);
                }
                match self.push(field) {
                    Ok(h) => *place = h,
                    Err(e) => {
                        lines.nelts -= 1;
                        return Err(e);
                    }
                }
            }
        }
        Ok(())
    }

    fn set_content_type(&self, field: &Field) -> Result<(), FieldError> {
        let out = self.headers_out();
        // SAFETY: plain field writes to a live request; the value lives in its pool.
        unsafe {
            let value = bytes(field.value);
            (*out).content_type = field.value;
            (*out).content_type_len = value.iter().position(|c| *c == b';').unwrap_or(value.len());
            (*out).content_type_hash = 1;
            (*out).content_type_lowcase = core::ptr::null_mut();
        }
        let cleared = Field { name: field.name, value: ngx_str_t { len: 0, ..field.value }, add: false };
        self.set_in_list(&cleared).map(|_| ())
    }

    /// Forgets the length of the response.
    pub fn clear_content_length(&self) {
        let out = self.headers_out();
        // SAFETY: plain field writes to a live request; the pointer is null or to an entry of the list.
        unsafe {
            (*out).content_length_n = -1;
            if let Some(h) = (*out).content_length.as_mut() {
                h.hash = 0;
                (*out).content_length = core::ptr::null_mut();
            }
        }
    }

    /// Forgets that parts of the response could be asked for.
    pub fn clear_accept_ranges(&self) {
        let out = self.headers_out();
        // SAFETY: as in `clear_content_length`.
        unsafe {
            (*bits(self.raw())).set_allow_ranges(0);
            if let Some(h) = (*out).accept_ranges.as_mut() {
                h.hash = 0;
                (*out).accept_ranges = core::ptr::null_mut();
            }
        }
    }

    /// The entries of the list, those taken away among them.
    fn entries(&self) -> Entries {
        // SAFETY: the first part is a field of the list of a live request.
        unsafe {
            let list: *mut ngx_list_t = &raw mut (*self.headers_out()).headers;
            Entries { part: &raw const (*list).part, index: 0 }
        }
    }

    fn lines_of<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = *mut ngx_table_elt_t> + 'a {
        // SAFETY: entries of a live request's list, whose text lives in its pool.
        self.entries()
            .filter(move |h| unsafe { (**h).hash != 0 && bytes((**h).key).eq_ignore_ascii_case(name) })
    }

    /// Every field of the list.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        // SAFETY: as in `lines_of`.
        self.entries()
            .filter(|h| unsafe { (**h).hash != 0 })
            .map(|h| unsafe { (bytes((*h).key), bytes((*h).value)) })
    }

    /// How many entries the list has, those taken away included.
    pub fn field_count(&self) -> usize {
        self.entries().count()
    }

    /// The values of response field `name`, hyphenated already; `number` is room for one that nginx keeps as a number.
    pub fn field_values<'a>(&'a self, name: &'a [u8], number: &'a mut Vec<u8>, mut each: impl FnMut(&[u8])) {
        let out = self.headers_out();
        // SAFETY: plain field reads of a live request.
        unsafe {
            match name.len() {
                14 if name.eq_ignore_ascii_case(b"Content-Length") => {
                    if let Some(n) = self.content_length() {
                        number.extend_from_slice(n.to_string().as_bytes());
                        return each(number);
                    }
                }
                12 if (*out).content_type.len > 0 && name.eq_ignore_ascii_case(b"Content-Type") => {
                    return each(bytes((*out).content_type));
                }
                13 if (*out).last_modified_time >= 0 && name.eq_ignore_ascii_case(b"Last-Modified") => {
                    let mut text = [0u8; 29];
                    ffi::ngx_http_time(text.as_mut_ptr(), (*out).last_modified_time);
                    number.extend_from_slice(&text);
                    return each(number);
                }
                _ => {}
            }
            for h in self.lines_of(name) {
                each(bytes((*h).value));
            }
        }
    }

    /// The length of the response, where nginx will make the field itself.
    pub fn content_length(&self) -> Option<i64> {
        let out = self.headers_out();
        // SAFETY: plain field reads of a live request.
        unsafe {
            ((*out).content_length.is_null() && (*out).content_length_n >= 0).then(|| (*out).content_length_n)
        }
    }

    /// `Location`, where nginx has a place of its own for it.
    pub fn location_field(&self) -> Option<&[u8]> {
        // SAFETY: the entry and its text live in the request's pool.
        unsafe {
            let h = (*self.headers_out()).location.as_ref()?;
            Some(bytes(h.value)).filter(|value| !value.is_empty())
        }
    }

    /// `Last-Modified`, where nginx will make the field itself.
    pub fn last_modified(&self) -> Option<[u8; 29]> {
        let out = self.headers_out();
        // SAFETY: plain field reads of a live request; the text has that length.
        unsafe {
            let may_have = matches!((*out).status, 200 | 204 | 206 | 304);
            if !may_have || (*out).last_modified_time == -1 || !(*out).last_modified.is_null() {
                return None;
            }
            let mut text = [0; 29];
            ffi::ngx_http_time(text.as_mut_ptr(), (*out).last_modified_time);
            Some(text)
        }
    }

    pub fn content_type(&self) -> &[u8] {
        // SAFETY: the text lives in the request's pool or in the configuration.
        unsafe { bytes((*self.headers_out()).content_type) }
    }

    /// What nginx would write into `Connection`, as far as is known.
    pub fn connection_field(&self) -> &'static [u8] {
        // SAFETY: plain field reads of a live request.
        unsafe {
            if self.status() == ffi::NGX_HTTP_SWITCHING_PROTOCOLS as usize {
                b"upgrade"
            } else if (*bits(self.raw())).keepalive() != 0 {
                b"keep-alive"
            } else {
                b"close"
            }
        }
    }

    pub fn is_chunked(&self) -> bool {
        // SAFETY: a plain field read of a live request.
        unsafe { (*bits(self.raw())).chunked() != 0 }
    }

    /// `Location: uri` of a redirect.
    pub fn set_redirect(&self, uri: &[u8]) -> Result<(), FieldError> {
        let field = Field {
            name: ngx_str_t { len: 8, data: c"Location".as_ptr().cast_mut().cast() },
            value: self.in_pool(uri).ok_or(FieldError::Memory)?,
            add: true,
        };
        let h = self.push(&field)?;
        if uri.first().is_some_and(|c| *c != b'/') {
            // SAFETY: a plain field write to a live request.
            unsafe { (*self.headers_out()).location = h };
        }
        Ok(())
    }

    /// Keeps nginx from answering 304, 412 or 416 by itself.
    pub fn ignore_conditions(&self) {
        // SAFETY: a plain field write to a live request.
        unsafe { (*bits(self.raw())).set_disable_not_modified(1) }
    }
}

/// The entries of nginx's chunked list.
struct Entries {
    part: *const ngx_list_part_t,
    index: usize,
}

impl Iterator for Entries {
    type Item = *mut ngx_table_elt_t;

    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: the list belongs to a live request and does not shrink; a part's entries are `nelts` in a row.
        unsafe {
            while self.index >= self.part.as_ref()?.nelts {
                self.part = (*self.part).next;
                self.index = 0;
            }
            self.index += 1;
            Some((*self.part).elts.cast::<ngx_table_elt_t>().add(self.index - 1))
        }
    }
}
