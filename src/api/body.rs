//! `ngx.req.*` for the request body.

use crate::native::{natives, Cx, Str};
use crate::ngx::{BodyError, Rc, Reading};
use crate::run::{Armed, Op, Waker};
use crate::vm::Stack;

const OK: i32 = 0;
const WAIT: i32 = 1;
const NONE: i32 = -1;
const NO_MEMORY: i32 = -2;
const FAILED: i32 = -3;

/// Passes on what became of a change of the body: `FAILED` leaves why in `message`.
fn report(cx: Cx, result: Option<Result<(), BodyError>>, message: &mut Str) -> i32 {
    match result {
        Some(Ok(())) => OK,
        Some(Err(e)) => {
            let out = cx.scratch();
            out.extend_from_slice(e.to_string().as_bytes());
            message.lend(out);
            FAILED
        }
        None => NONE,
    }
}

natives! {
    /// Starts to read the body: it is there, or `WAIT` for it with the op, or the status to end the request with.
    fn req_read_body(cx) -> i32 {
        match cx.request().map(|r| r.read_body()) {
            None => NONE,
            Some(Rc::OK) => OK,
            Some(Rc::AGAIN) => WAIT,
            Some(rc) => rc.0 as i32,
        }
    }

    fn req_discard_body(cx) -> i32 {
        match cx.request().map(|r| r.discard_body()) {
            None => NONE,
            Some(rc) if rc == Rc::ERROR || rc.0 >= 300 => FAILED,
            Some(_) => OK,
        }
    }

    /// The body, at most `max` bytes of it (0 is no limit), if there is one in memory.
    fn req_body_data(cx, max: val<f64>, text: out<Str>) -> i32 {
        let Some(request) = cx.request() else { return NONE };
        let max = if max > 0.0 { max as usize } else { usize::MAX };
        let mut pieces = request.body_pieces().filter(|piece| !piece.is_empty());
        let Some(first) = pieces.next() else { return NONE };
        let Some(second) = pieces.next() else {
            text.lend(&first[..first.len().min(max)]);
            return OK;
        };
        let out = cx.scratch();
        for piece in [first, second].into_iter().chain(pieces) {
            let piece = &piece[..piece.len().min(max - out.len())];
            if out.try_reserve(piece.len()).is_err() {
                return NO_MEMORY;
            }
            out.extend_from_slice(piece);
        }
        text.lend(out);
        OK
    }

    fn req_body_file(cx, name: out<Str>) -> i32 {
        let Some(request) = cx.request() else { return NONE };
        match request.body_file() {
            None => NONE,
            Some(file) => {
                // the name lives with the request
                name.lend(file);
                OK
            }
        }
    }

    fn req_set_body_data(cx, data: bytes, message: out<Str>) -> i32 {
        report(cx, cx.request().map(|r| r.set_body(data)), message)
    }

    fn req_set_body_file(cx, name: bytes, delete: val<i32>, message: out<Str>) -> i32 {
        report(cx, cx.request().map(|r| r.set_body_file(name, delete != 0)), message)
    }

    /// `size` below zero is as `client_body_buffer_size` says.
    fn req_init_body(cx, size: val<f64>, message: out<Str>) -> i32 {
        let size = (size >= 0.0).then_some(size as usize);
        report(cx, cx.request().map(|r| r.begin_body(size)), message)
    }

    fn req_append_body(cx, data: bytes, message: out<Str>) -> i32 {
        report(cx, cx.request().map(|r| r.append_body(data)), message)
    }

    fn req_finish_body(cx, message: out<Str>) -> i32 {
        report(cx, cx.request().map(|r| r.finish_body()), message)
    }
}

/// Waits for a body that `req_read_body` began to read.
fn read_body(waker: &Waker, _: &mut Stack<'_>) -> Armed {
    let Some(request) = waker.request() else { return Armed::Ready(0) };
    let waker = waker.clone();
    match Reading::watch(request, Box::new(move || waker.wake(|_| 0))) {
        Some(reading) => Armed::Wait(Box::new(reading)),
        None => Armed::Ready(0),
    }
}

pub const OPS: &[Op] = &[Op { name: "read_body", arm: read_body }];
