//! Query strings: `ngx.req.get_uri_args`, `ngx.req.get_post_args`, `ngx.req.set_uri_args`, `ngx.encode_args`,
//! `ngx.decode_args`.

use crate::native::{natives, Cx, Pair, Str};
use crate::ngx::Level;
use logic::text::args::{encode_arg, Args, DEFAULT_MAX};
use logic::text::uri::{escape_query, is_unescaped, unescape_uri};

const OK: i32 = 0;
const NO_REQUEST: i32 = -1;
const NO_MEMORY: i32 = -2;
const UNREAD: i32 = -3;
const IN_FILE: i32 = -4;
const IN_PIECES: i32 = -5;

/// Fills `pairs` with what `args` reads from `src`, unescaped; how many there are, of which none beyond the room of
/// `pairs` are filled in.
fn fill(cx: Cx, src: &[u8], mut args: Args<'_>, max: i32, pairs: &mut [Pair], truncated: &mut i32) -> i32 {
    let out = cx.scratch();
    let as_it_is = is_unescaped(src);
    // with this room nothing written moves while more is
    if !as_it_is && out.try_reserve(src.len()).is_err() {
        return NO_MEMORY;
    }
    let mut n = 0;
    for arg in args.by_ref() {
        if let Some(pair) = pairs.get_mut(n) {
            if as_it_is {
                pair.lend(arg.key, arg.value);
            } else {
                let start = out.len();
                unescape_uri(arg.key, out);
                let middle = out.len();
                unescape_uri(arg.value.unwrap_or_default(), out);
                pair.lend(&out[start..middle], arg.value.map(|_| &out[middle..]));
            }
        }
        n += 1;
    }
    *truncated = args.truncated().into();
    if args.truncated() {
        debug(cx, || format!("lua hit query args limit {max}"));
    }
    n as i32
}

/// Writes to the debug log what `message` says.
fn debug(cx: Cx, message: impl FnOnce() -> String) {
    if let Some(request) = cx.request().filter(|r| r.logs(Level::Debug)) {
        request.log(Level::Debug, &message());
    }
}

natives! {
    fn req_uri_args(cx, max: val<i32>, pairs: slice<Pair>, truncated: out<i32>) -> i32 {
        let Some(request) = cx.request() else { return NO_REQUEST };
        let src = request.args();
        let max = if max < 0 { DEFAULT_MAX as i32 } else { max };
        fill(cx, src, Args::of_uri(src, max.into()), max, pairs, truncated)
    }

    fn args_decode(cx, src: bytes, max: val<i32>, pairs: slice<Pair>, truncated: out<i32>) -> i32 {
        fill(cx, src, Args::of_text(src, max.into()), max, pairs, truncated)
    }

    /// The pairs in the request body, if it is in one piece of memory.
    fn req_post_args(cx, max: val<i32>, pairs: slice<Pair>, truncated: out<i32>) -> i32 {
        let Some(request) = cx.request() else { return NO_REQUEST };
        *truncated = 0;
        if request.body_discarded() {
            return 0;
        }
        if !request.has_body() {
            return UNREAD;
        }
        if request.body_file().is_some() {
            return IN_FILE;
        }
        let mut pieces = request.body_pieces();
        let src = pieces.next().unwrap_or_default();
        if pieces.next().is_some() {
            return IN_PIECES;
        }
        fill(cx, src, Args::of_text(src, max.into()), max, pairs, truncated)
    }

    /// Begins to write a query string.
    fn args_begin(cx) -> () {
        cx.begin_written();
    }

    /// Adds a pair to it, or with `flag` a key alone.
    fn args_add(cx, key: bytes, value: bytes, flag: val<i32>) -> i32 {
        let out = cx.written();
        if out.try_reserve(3 * (key.len() + value.len()) + 2).is_err() {
            return NO_MEMORY;
        }
        encode_arg(key, (flag == 0).then_some(value), 0, out);
        OK
    }

    /// What was written since `args_begin`.
    fn args_written(cx, text: out<Str>) -> () {
        text.lend(cx.written());
    }

    /// Makes what was written the request's query string.
    fn req_set_written_args(cx) -> i32 {
        let Some(request) = cx.request() else { return NO_REQUEST };
        request.set_args(cx.written()).map_or(NO_MEMORY, |()| OK)
    }

    /// Makes `args` the request's query string; control characters and spaces are escaped.
    fn req_set_args(cx, args: bytes) -> i32 {
        let Some(request) = cx.request() else { return NO_REQUEST };
        let out = cx.scratch();
        if out.try_reserve(3 * args.len()).is_err() {
            return NO_MEMORY;
        }
        escape_query(args, out);
        request.set_args(out).map_or(NO_MEMORY, |()| OK)
    }
}
