//! The request line: method, URI, arguments, version; and the header as the client sent it.

use ::ngx::ffi::{self, ngx_buf_t};

use super::bits::bits;
use super::request::Request;
use super::text::{bytes, to_pool};
use logic::text::raw_header;

/// nginx's methods by number, with a zero behind each name.
const METHODS: [(u32, &[u8]); 15] = [
    (ffi::NGX_HTTP_GET, b"GET\0"),
    (ffi::NGX_HTTP_HEAD, b"HEAD\0"),
    (ffi::NGX_HTTP_POST, b"POST\0"),
    (ffi::NGX_HTTP_PUT, b"PUT\0"),
    (ffi::NGX_HTTP_DELETE, b"DELETE\0"),
    (ffi::NGX_HTTP_MKCOL, b"MKCOL\0"),
    (ffi::NGX_HTTP_COPY, b"COPY\0"),
    (ffi::NGX_HTTP_MOVE, b"MOVE\0"),
    (ffi::NGX_HTTP_OPTIONS, b"OPTIONS\0"),
    (ffi::NGX_HTTP_PROPFIND, b"PROPFIND\0"),
    (ffi::NGX_HTTP_PROPPATCH, b"PROPPATCH\0"),
    (ffi::NGX_HTTP_LOCK, b"LOCK\0"),
    (ffi::NGX_HTTP_UNLOCK, b"UNLOCK\0"),
    (ffi::NGX_HTTP_PATCH, b"PATCH\0"),
    (ffi::NGX_HTTP_TRACE, b"TRACE\0"),
];

impl Request {
    /// nginx's number of the method.
    pub fn method(&self) -> usize {
        // SAFETY: a plain field read of a live request.
        unsafe { (*self.raw()).method }
    }

    pub fn method_name(&self) -> &[u8] {
        // SAFETY: the name lives in the request's pool or for ever.
        unsafe { bytes((*self.raw()).method_name) }
    }

    /// Changes the method to the one with nginx's number `method`; `false` if there is none.
    pub fn set_method(&self, method: u32) -> bool {
        let Some((_, name)) = METHODS.iter().find(|(n, _)| *n == method) else { return false };
        // SAFETY: plain field writes to a live request; the name lives for ever.
        unsafe {
            (*self.raw()).method = method as usize;
            (*self.raw()).method_name =
                ffi::ngx_str_t { len: name.len() - 1, data: name.as_ptr().cast_mut() };
        }
        true
    }

    /// When the request began, in seconds.
    pub fn start_time(&self) -> f64 {
        // SAFETY: plain field reads of a live request.
        unsafe { (*self.raw()).start_sec as f64 + (*self.raw()).start_msec as f64 / 1000.0 }
    }

    /// Whether nginx made the request, or moved it to where it is.
    pub fn is_internal(&self) -> bool {
        // SAFETY: a plain field read of a live request.
        unsafe { (*bits(self.raw())).internal() != 0 }
    }

    /// The query string.
    pub fn args(&self) -> &[u8] {
        // SAFETY: it lives in the request's pool.
        unsafe { bytes((*self.raw()).args) }
    }

    /// Replaces the query string; `None` when memory is out.
    pub fn set_args(&self, args: &[u8]) -> Option<()> {
        // SAFETY: the copy lives in the request's pool; plain field writes.
        unsafe {
            (*self.raw()).args = to_pool((*self.raw()).pool, args)?;
            (*bits(self.raw())).set_valid_unparsed_uri(0);
        }
        Some(())
    }

    /// Replaces the URI, which is taken as unescaped; `None` when memory is out.
    pub fn set_uri(&self, uri: &[u8]) -> Option<()> {
        let r = self.raw();
        // SAFETY: the copy lives in the request's pool; plain field writes to a live request.
        unsafe {
            (*r).uri = to_pool((*r).pool, uri)?;
            (*bits(r)).set_internal(1);
            (*bits(r)).set_valid_unparsed_uri(0);
            (*bits(r)).set_valid_location(0);
            (*bits(r)).set_uri_changed(0);
            ffi::ngx_http_set_exten(r);
        }
        Some(())
    }

    /// Whether the URI was changed so that a location is to be chosen again.
    pub fn uri_changed(&self) -> bool {
        // SAFETY: a plain field read of a live request.
        unsafe { (*bits(self.raw())).uri_changed() != 0 }
    }

    pub fn set_uri_changed(&self, changed: bool) {
        // SAFETY: a plain field write to a live request.
        unsafe { (*bits(self.raw())).set_uri_changed(changed.into()) }
    }

    /// Appends the header as the client sent it, with the request line unless `no_request_line`.
    ///
    /// It lies in the connection's buffer and, where that was too small, in large ones, the newest of which comes
    /// first in nginx's list.
    pub fn raw_header(&self, no_request_line: bool, out: &mut Vec<u8>) {
        // SAFETY: the connection's buffers live as long as its request; `start..pos` of each was read and parsed.
        unsafe {
            let main = self.main().raw();
            let line = (*main).request_line;
            let (c, hc) = ((*main).connection, (*main).http_connection);
            if line.len == 0 || hc.is_null() {
                return;
            }
            let mut buffers: Vec<*const ngx_buf_t> = Vec::new();
            let mut link = (*hc).busy;
            while let Some(here) = link.as_ref() {
                buffers.push(here.buf);
                link = here.next;
            }
            buffers.push((*c).buffer);
            let holds = |b: &*const ngx_buf_t| {
                b.as_ref().is_some_and(|b| b.start <= line.data && line.data.add(line.len) < b.last)
            };
            let first = buffers.iter().rev().position(holds);
            let mut crlf = None;
            for b in buffers.iter().rev().skip(first.unwrap_or(buffers.len())) {
                let b = &**b;
                // nginx moves `pos` back and forth, but not what is in the buffer
                let mut text = core::slice::from_raw_parts(b.start, b.last.offset_from_unsigned(b.start));
                if crlf.is_none() {
                    text = &text[line.data.offset_from_unsigned(b.start) + line.len..];
                    let (rest, end) = match text {
                        [b'\r', b'\n', rest @ ..] => (rest, &b"\r\n"[..]),
                        [b'\n', rest @ ..] => (rest, &b"\n"[..]),
                        _ => (text, &b""[..]),
                    };
                    (text, crlf) = (rest, Some(end.len() == 2));
                    if !no_request_line {
                        out.extend_from_slice(bytes(line));
                        out.extend_from_slice(end);
                    }
                }
                if raw_header::restore(text, crlf == Some(true), out) {
                    return;
                }
            }
        }
    }
}
