//! `ngx.print`, `ngx.say`, `ngx.flush`, `ngx.eof`, `ngx.send_headers`: the response body.
//!
//! A native collects what is printed. Only the classic `out_send`, and the driver when a script begins to wait or has
//! ended, hand it to the filters, where other Lua may run.

use crate::native::{classics, natives, Cx};
use crate::ngx::{running_ctx, Ctx, Drained, Level, Rc, Request};
use crate::phase::Phase;
use crate::run::{Armed, Op, Waker};
use crate::vm::Stack;

/// Collected output beyond this goes to the filters without waiting for the script's end.
const HAND_ON: usize = 32 * 1024;

const DONE: i32 = 0;
/// Asks that the collected output be handed on now.
const FULL: i32 = 1;
/// Asks that the script wait until the output has left.
const WAIT: i32 = 2;
const NO_REQUEST: i32 = -1;
const WRONG_PHASE: i32 = -2;
const ENDED: i32 = -3;
const HEADER_ONLY: i32 = -4;
const FILTER_ERROR: i32 = -5;
const NO_MEMORY: i32 = -6;
const HELD: i32 = -7;
const NOTHING: i32 = -8;
const TAKEN: i32 = -9;

const PHASES: u32 = crate::phase::REQUEST_YIELDING;

/// The running request and its state, if its phase can make output.
fn target(cx: Cx) -> Result<(Request, &'static Ctx), i32> {
    if cx.phase_bit() & PHASES == 0 {
        return Err(if cx.request().is_some() { WRONG_PHASE } else { NO_REQUEST });
    }
    let request = cx.request().ok_or(NO_REQUEST)?;
    Ok((request, running_ctx(request).ok_or(NO_MEMORY)?))
}

/// Before the first output, and when no more is possible. `FULL` when the header must be on its way first.
#[cold]
fn begin(request: Request, ctx: &Ctx) -> i32 {
    let out = &ctx.output;
    if out.is_failed() {
        return FILTER_ERROR;
    }
    if out.is_taken() {
        return TAKEN;
    }
    if out.is_ended() {
        return if request.header_only() { HEADER_ONLY } else { ENDED };
    }
    if !request.begin_output(out, true) {
        return NO_MEMORY;
    }
    if !out.is_held() {
        ctx.shared.started.set(1);
    }
    // a script that changes the header sees it before the line after this one runs
    if request.is_head() || request.loc_conf().handler(Phase::HeaderFilter).is_some() {
        return FULL;
    }
    DONE
}

natives! {
    /// Adds a piece of the response, and the end of the line.
    fn out_append(cx, data: bytes, newline: val<i32>) -> i32 {
        let (request, ctx) = match target(cx) {
            Ok(target) => target,
            Err(code) => return code,
        };
        let out = &ctx.output;
        let mut first = DONE;
        if !out.is_begun() || out.is_ended() || out.is_failed() {
            first = begin(request, ctx);
            if first < 0 {
                return first;
            }
        }
        if data.is_empty() && newline == 0 {
            return first;
        }
        match request.append_output(out, data, newline != 0) {
            None => NO_MEMORY,
            Some(n) if n > HAND_ON && !out.is_held() => FULL,
            Some(_) => first,
        }
    }
}

/// What a filter's answer means to a script.
fn code(rc: Rc) -> i32 {
    if rc == Rc::ERROR || rc.0 >= 300 {
        FILTER_ERROR
    } else {
        DONE
    }
}

/// `ngx.flush(wait)`
fn flush(request: Request, ctx: &Ctx, wait: bool) -> i32 {
    let out = &ctx.output;
    if out.is_taken() {
        return TAKEN;
    }
    if request.header_only() {
        return HEADER_ONLY;
    }
    if out.is_ended() {
        return ENDED;
    }
    if out.is_held() {
        request.log(Level::Debug, "lua http 1.0 buffering makes ngx.flush() a no-op");
        return HELD;
    }
    let begun = request.header_sent() || ctx.shared.started.get() != 0;
    if !begun || !out.is_nonempty() && !wait {
        return NOTHING;
    }
    match code(request.send_output(out, false, true)) {
        DONE if wait && !request.is_subrequest() && request.is_draining() => WAIT,
        code => code,
    }
}

/// `ngx.send_headers()`
fn send_headers(request: Request, ctx: &Ctx) -> i32 {
    let out = &ctx.output;
    if out.is_held() {
        return DONE;
    }
    if !out.is_begun() && !request.begin_output(out, false) {
        return NO_MEMORY;
    }
    ctx.shared.started.set(1);
    let rc = request.send_header(out);
    if rc == Rc::ERROR || rc.0 > Rc::OK.0 {
        FILTER_ERROR
    } else {
        DONE
    }
}

/// `ngx.eof()`
fn eof(request: Request, ctx: &Ctx) -> i32 {
    if ctx.output.is_taken() {
        return TAKEN;
    }
    if ctx.output.is_ended() {
        return ENDED;
    }
    code(crate::phase::end_response(request, ctx))
}

classics! {
    /// Hands the collected output to the filters. `what`: 0 as it is, 1 flush, 2 flush and wait, 3 the end, 4 the header.
    fn out_send(cx, stack) {
        let what = stack.int(1);
        let result = match target(cx) {
            Err(code) => code,
            Ok((request, ctx)) => match what {
                0 => code(request.send_output(&ctx.output, false, false)),
                1 | 2 => flush(request, ctx, what == 2),
                3 => eof(request, ctx),
                _ => send_headers(request, ctx),
            },
        };
        stack.push_number(f64::from(result));
        1
    }
}

/// Waits until the output has left.
fn drain(waker: &Waker, stack: &mut Stack<'_>) -> Armed {
    let Some((request, ctx)) = waker.request().and_then(|r| Some((r, running_ctx(r)?))) else {
        return Armed::Ready(0);
    };
    let waker = waker.clone();
    let told = move |drained| {
        waker.wake(|stack| {
            match drained {
                Drained::Sent => {
                    stack.push_number(1.0);
                    return 1;
                }
                Drained::TimedOut => push_failure(stack, b"timeout"),
                Drained::Broken => push_failure(stack, b"nginx output filter error"),
            }
            2
        });
    };
    match request.when_drained(&ctx.output, Box::new(told)) {
        Some(waiter) => Armed::Wait(Box::new(waiter)),
        None => {
            stack.truncate(0);
            push_failure(stack, b"connection broken");
            Armed::Ready(2)
        }
    }
}

fn push_failure(stack: &mut Stack<'_>, why: &[u8]) {
    stack.push_nil();
    stack.push_bytes(why);
}

pub const OPS: &[Op] = &[Op { name: "drain", arm: drain }];
