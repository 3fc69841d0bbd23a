//! `ngx.header`, `ngx.status`, `ngx.resp`: the response header.

use crate::native::{natives, Cx, Pair, Str};
use crate::ngx::{running_ctx, Ctx, FieldError, Level, Request};
use crate::phase::Phase;

const OK: i32 = 0;
const NO_REQUEST: i32 = -1;
const SENT: i32 = -2;
const BAD_VALUE: i32 = -3;
const NO_MEMORY: i32 = -4;

fn target(cx: Cx) -> Option<(Request, &'static Ctx)> {
    let request = cx.request()?;
    Some((request, running_ctx(request)?))
}

/// Whether the header can no longer change. A header filter runs before it leaves, whatever made it leave.
fn is_sent(cx: Cx, request: Request, ctx: &Ctx) -> bool {
    request.header_sent() || ctx.shared.started.get() != 0 && !cx.is(Phase::HeaderFilter)
}

natives! {
    /// Sets field `name`; with `add` gives it one line more.
    fn header_set(cx, name: bytes, value: bytes, add: val<i32>) -> i32 {
        let Some((request, ctx)) = target(cx) else { return NO_REQUEST };
        if is_sent(cx, request, ctx) {
            let message = "attempt to set ngx.header.HEADER after sending out response headers";
            request.log(Level::Error, message);
            return SENT;
        }
        ctx.output.keep_fields();
        match request.set_field(name, value, add != 0) {
            Ok(is_type) => {
                if is_type {
                    ctx.output.keep_type();
                }
                OK
            }
            Err(FieldError::Value) => BAD_VALUE,
            Err(FieldError::Memory) => NO_MEMORY,
        }
    }

    /// The values of field `name`: how many there are in `values`.
    fn header_get(cx, name: bytes, values: slice<Str>) -> i32 {
        let Some((request, _)) = target(cx) else { return NO_REQUEST };
        let mut n = 0;
        let mut each = |value: &[u8]| {
            if let Some(place) = values.get_mut(n) {
                place.lend(value);
                n += 1;
            }
        };
        if request.loc_conf().transform_underscores() && name.contains(&b'_') {
            let mut hyphenated = name.to_vec();
            logic::text::header::hyphenate(&mut hyphenated);
            request.field_values(&hyphenated, cx.scratch(), &mut each);
        } else {
            request.field_values(name, cx.scratch(), &mut each);
        }
        n as i32
    }

    /// How many pairs `header_all` may need.
    fn header_count(cx) -> i32 {
        cx.request().map_or(NO_REQUEST, |r| r.field_count() as i32 + 4)
    }

    /// All fields, those that nginx makes up itself first.
    fn header_all(cx, pairs: slice<Pair>) -> i32 {
        let Some(request) = cx.request() else { return NO_REQUEST };
        let mut n = 0;
        let mut put = |key: &[u8], value: &[u8]| {
            if let Some(place) = pairs.get_mut(n) {
                place.lend(key, Some(value));
                n += 1;
            }
        };
        let content_type = request.content_type();
        if !content_type.is_empty() {
            put(b"content-type", content_type);
        }
        if let Some(length) = request.content_length() {
            let text = cx.scratch();
            text.extend_from_slice(length.to_string().as_bytes());
            put(b"content-length", text);
        }
        put(b"connection", request.connection_field());
        if request.is_chunked() {
            put(b"transfer-encoding", b"chunked");
        }
        for (key, value) in request.fields() {
            put(key, value);
        }
        n as i32
    }

    fn header_is_sent(cx) -> i32 {
        match target(cx) {
            Some((request, ctx)) => i32::from(is_sent(cx, request, ctx)),
            None => NO_REQUEST,
        }
    }

    fn status_get(cx) -> i32 {
        cx.request().map_or(NO_REQUEST, |r| r.shown_status() as i32)
    }

    /// Sets the status, with `reason` in its line unless that is empty.
    fn status_set(cx, status: val<i32>, reason: bytes) -> i32 {
        let Some((request, ctx)) = target(cx) else { return NO_REQUEST };
        if is_sent(cx, request, ctx) {
            request.log(Level::Error, "attempt to set ngx.status after sending out response headers");
            return SENT;
        }
        request.set_status(status.max(0) as usize);
        request.clear_err_status();
        match (status, reason) {
            // nginx has no line of its own for this one before 1.5.5, nor when a module sets it
            (101, b"") => request.set_status_line(b"101 Switching Protocols"),
            (_, b"") => true,
            _ => request.set_status_line(&[status.to_string().as_bytes(), b" ", reason].concat()),
        };
        OK
    }

    /// Whether the request is a subrequest.
    fn is_subrequest(cx) -> i32 {
        cx.request().map_or(NO_REQUEST, |r| i32::from(r.is_subrequest()))
    }

    /// Keeps nginx from answering conditional requests itself.
    fn header_ignore_conditions(cx) -> i32 {
        cx.request().map_or(NO_REQUEST, |r| { r.ignore_conditions(); OK })
    }
}
