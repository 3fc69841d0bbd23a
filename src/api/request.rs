//! `ngx.req.*` but for arguments and body: headers, method, URI, and what else is known of the request.

use crate::native::{natives, Pair, Str};
use crate::ngx::{Change, HeaderError, Level};
use crate::run::{Armed, End, Op, Waker};
use crate::vm::Stack;
use logic::text::uri;

/// How many headers a script gets unless it says otherwise.
const MAX_HEADERS: usize = 100;

const OK: i32 = 0;
const NO_REQUEST: i32 = -1;
const NO_MEMORY: i32 = -2;
const FAILED: i32 = -3;

natives! {
    /// Fills `pairs` with the request's headers, with names in lower case unless `raw`. Returns how many it has to tell:
    /// if those are more than `pairs` has room for, it has filled none.
    fn req_headers(cx, max: val<i32>, raw: val<i32>, pairs: slice<Pair>, truncated: out<i32>) -> i32 {
        let Some(request) = cx.request() else { return NO_REQUEST };
        let count = request.headers_in_count();
        let max = match usize::try_from(max) {
            Ok(0) => usize::MAX,
            Ok(max) => max,
            Err(_) => MAX_HEADERS,
        };
        *truncated = i32::from(count > max);
        let n = count.min(max);
        if count > max && request.logs(Level::Debug) {
            request.log(Level::Debug, &format!("lua exceeding request header limit {count} > {max}"));
        }
        if let Some(pairs) = pairs.get_mut(..n) {
            for (pair, header) in pairs.iter_mut().zip(request.headers_in()) {
                pair.lend(if raw == 0 { header.lower_name } else { header.name }, Some(header.value));
            }
        }
        n as i32
    }

    /// `change`: 0 replaces, 1 adds, 2 removes.
    fn req_change_header(cx, name: bytes, value: bytes, change: val<i32>) -> i32 {
        let Some(request) = cx.request() else { return NO_REQUEST };
        if request.http_version() < 1000 {
            return OK;
        }
        let change = match change {
            0 => Change::Replace,
            1 => Change::Add,
            _ => Change::Remove,
        };
        match request.change_header_in(name, value, change) {
            Ok(()) => OK,
            Err(HeaderError::NoMemory) => NO_MEMORY,
            Err(HeaderError::BadValue) => FAILED,
        }
    }

    /// nginx's number of the method, and its name.
    fn req_method(cx, name: out<Str>) -> i32 {
        let Some(request) = cx.request() else { return NO_REQUEST };
        name.lend(request.method_name());
        request.method() as i32
    }

    fn req_set_method(cx, method: val<i32>) -> i32 {
        let Some(request) = cx.request() else { return NO_REQUEST };
        if request.set_method(method as u32) { OK } else { FAILED }
    }

    /// 9, 1000, 1001, 2000: the protocol as nginx numbers it.
    fn req_http_version(cx) -> i32 {
        cx.request().map_or(NO_REQUEST, |r| r.http_version() as i32)
    }

    fn req_start_time(cx) -> f64 {
        cx.request().map_or(0.0, |r| r.start_time())
    }

    fn req_is_internal(cx) -> i32 {
        cx.request().map_or(NO_REQUEST, |r| r.is_internal().into())
    }

    fn req_raw_header(cx, no_request_line: val<i32>, text: out<Str>) -> i32 {
        let Some(request) = cx.request() else { return NO_REQUEST };
        if request.http_version() >= 2000 {
            return FAILED;
        }
        let out = cx.scratch();
        request.raw_header(no_request_line != 0, out);
        text.lend(out);
        OK
    }

    /// Whether a URI has a byte that may not be there: 1 and what to say of it, or 0.
    fn req_unsafe_uri(cx, uri: bytes, message: out<Str>) -> i32 {
        let Some(byte) = uri::unsafe_byte(uri) else { return 0 };
        let out = cx.scratch();
        uri::unsafe_message("uri", byte, uri, out);
        message.lend(out);
        1
    }

    fn req_set_uri(cx, uri: bytes) -> i32 {
        match cx.request() {
            None => NO_REQUEST,
            Some(request) => request.set_uri(uri).map_or(NO_MEMORY, |()| OK),
        }
    }
}

/// `(uri)`: the script ends here; its phase has a location chosen for the new URI.
fn jump(waker: &Waker, stack: &mut Stack<'_>) -> Armed {
    let Some(request) = waker.request() else { return Armed::Ready(0) };
    if waker.task().waits_to_the_end() {
        // refused
        return Armed::End(End::Jump);
    }
    if request.set_uri(stack.bytes(3).unwrap_or_default()).is_none() {
        stack.truncate(0);
        stack.push_nil();
        stack.push_bytes(b"no memory");
        return Armed::Ready(2);
    }
    if request.logs(Level::Debug) {
        let uri = String::from_utf8_lossy(request.uri());
        request.log(Level::Debug, &format!("lua set uri jump to \"{uri}\""));
    }
    Armed::End(End::Jump)
}

pub const OPS: &[Op] = &[Op { name: "jump", arm: jump }];
