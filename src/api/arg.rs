//! `ngx.arg`: what set_by_lua was given, and the piece of the body that body_filter_by_lua looks at.

use crate::native::{natives, Cx, Str};
use crate::ngx::{running_ctx, Ctx, Request};
use crate::phase::Phase;

const OK: i32 = 0;
const WRONG_PHASE: i32 = -1;
const NOTHING: i32 = -2;
const NO_MEMORY: i32 = -3;
/// The phase is body_filter_by_lua, whose arguments have natives of their own.
const IN_FILTER: i32 = 1;

fn filtering(cx: Cx) -> Option<(Request, &'static Ctx)> {
    if !cx.is(Phase::BodyFilter) {
        return None;
    }
    let request = cx.request()?;
    Some((request, running_ctx(request)?))
}

natives! {
    /// Argument `n` of set_by_lua, in `text`; `IN_FILTER` tells Lua to ask for the body.
    fn arg_get(cx, n: val<i32>, text: out<Str>) -> i32 {
        if cx.is(Phase::BodyFilter) {
            return IN_FILTER;
        }
        if !cx.is(Phase::Set) {
            return WRONG_PHASE;
        }
        let Some(ctx) = cx.request().and_then(running_ctx) else { return WRONG_PHASE };
        let args = ctx.set_args.borrow();
        match usize::try_from(n).ok().and_then(|n| n.checked_sub(1)).and_then(|i| args.get(i)) {
            // an empty argument is nil, as on OpenResty
            Some(arg) if !arg.is_empty() => {
                text.lend(arg);
                OK
            }
            _ => NOTHING,
        }
    }

    /// The bytes that the filter has been given or has set.
    fn arg_body(cx, text: out<Str>) -> i32 {
        let Some((_, ctx)) = filtering(cx) else { return WRONG_PHASE };
        ctx.body.text(cx.scratch(), |body| text.lend(body));
        OK
    }

    /// Whether this is the end of the body.
    fn arg_eof(cx) -> i32 {
        match filtering(cx) {
            Some((_, ctx)) => i32::from(ctx.body.is_last()),
            None => WRONG_PHASE,
        }
    }

    /// Replaces the bytes.
    fn arg_set_body(cx, text: bytes) -> i32 {
        match filtering(cx) {
            Some((request, ctx)) if request.replace_body(&ctx.body, text) => OK,
            Some(_) => NO_MEMORY,
            None => WRONG_PHASE,
        }
    }

    /// Makes this the end of the body, or not.
    fn arg_set_eof(cx, last: val<i32>) -> i32 {
        match filtering(cx) {
            Some((request, ctx)) if request.mark_last(&ctx.body, last != 0) => OK,
            Some(_) => NO_MEMORY,
            None => WRONG_PHASE,
        }
    }
}
