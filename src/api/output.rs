//! `ngx.print`, `ngx.say`, `ngx.flush`, `ngx.eof`, `ngx.send_headers`: the response body.

use crate::native::{classics, natives, Cx};
use crate::ngx::{Ctx, Rc, Request};
use crate::run::Op;

/// Collected output beyond this goes to the filters without waiting for the script's end.
const HAND_ON: usize = 32 * 1024;

const APPENDED: i32 = 0;
const FULL: i32 = 1;
const ENDED: i32 = -1;
const NO_MEMORY: i32 = -2;
const HEADER_ONLY: i32 = -3;

natives! {
    /// Adds a piece of the response; `FULL` asks that the collected output be handed on now.
    fn out_append(cx, data: bytes) -> i32 {
        let Some((request, ctx)) = target(cx) else { return NO_MEMORY };
        if ctx.output.ended() {
            return ENDED;
        }
        ctx.shared.started.set(1);
        match request.append_output(&ctx.output, data) {
            None => NO_MEMORY,
            Some(n) if n > HAND_ON && !request.holds_output() => FULL,
            Some(_) => APPENDED,
        }
    }
}

/// The running request and its state.
fn target(cx: Cx) -> Option<(Request, &'static Ctx)> {
    let request = cx.request()?;
    // SAFETY-free: the context lives in the request's pool, which outlives the script that is running for it
    Some((request, crate::ngx::running_ctx(request)?))
}

classics! {
    /// Hands the collected output to the filters. `what`: 0 as it is, 1 flush, 2 end, 3 the header alone.
    fn out_send(cx, stack) {
        let what = stack.int(1);
        let Some((request, ctx)) = target(cx) else { return 0 };
        if what < 2 && request.holds_output() {
            stack.push_number(1.0);
            return 1;
        }
        let rc = match what {
            2 => crate::phase::end_response(request, ctx),
            3 => { ctx.shared.started.set(1); request.send_header() }
            _ => request.send_output(&ctx.output, false, what == 1),
        };
        stack.push_number(if rc == Rc::ERROR { -1.0 } else { 0.0 });
        1
    }
}

pub const OPS: &[Op] = &[];

#[allow(dead_code)]
const _: i32 = HEADER_ONLY;
