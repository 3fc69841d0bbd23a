//! `ngx.req.socket`: the client's connection as a socket; `ngx.on_abort`: its end.

use super::socket::say;
use crate::native::{natives, Cx, Handle, Str};
use crate::ngx::ClientError;
use crate::run::{Armed, Op, Waker};
use crate::socket::Tcp;
use crate::vm::Stack;

const OK: i32 = 0;
const FAILED: i32 = -1;
/// Worth an error of the script.
const WRONG: i32 = -2;

fn socket(cx: Cx, raw: bool, slot: &mut Handle) -> Result<(), ClientError> {
    let request = cx.request().ok_or(ClientError::NoMemory)?;
    let ctx = crate::ngx::running_ctx(request).ok_or(ClientError::NoMemory)?;
    let owned = cx.host().and_then(|host| host.owned()).ok_or(ClientError::NoMemory)?;
    let stream = if raw { request.raw_stream(ctx)? } else { request.body_stream(ctx)? };
    slot.keep(Tcp::of_client(request.location(), stream, &owned));
    Ok(())
}

natives! {
    /// The request body, or with `raw` the connection, as a socket that Lua gives back by `socket_free`.
    fn req_socket(cx, raw: val<i32>, slot: out<Handle>, message: out<Str>) -> i32 {
        match socket(cx, raw != 0, slot) {
            Ok(()) => OK,
            Err(e) => {
                say(cx, &e, message);
                match e {
                    ClientError::Subrequest | ClientError::Streams(_) | ClientError::NoMemory => WRONG,
                    _ => FAILED,
                }
            }
        }
    }

    /// Whether the request watches for its client's going.
    fn abort_is_watched(cx) -> i32 {
        i32::from(cx.request().is_some_and(|r| r.loc_conf().check_client_abort()))
    }
}

/// `(function)`: whether it will be called.
fn on_abort(waker: &Waker, stack: &mut Stack<'_>) -> Armed {
    let added = waker.task().on_abort(stack, 3);
    stack.truncate(0);
    stack.push_boolean(added);
    Armed::Ready(1)
}

pub const OPS: &[Op] = &[Op { name: "on_abort", arm: on_abort }];
