//! `ngx.req.socket`: the client's connection as a socket; `ngx.on_abort`: its end.

use super::socket::{push_with_metatable, refuse, Answered};
use crate::native::{classics, natives, Cx};
use crate::ngx::ClientError;
use crate::run::{Armed, Op, Waker};
use crate::socket::Tcp;
use crate::vm::Stack;

fn socket(cx: Cx, raw: bool) -> Result<std::rc::Rc<Tcp>, ClientError> {
    let request = cx.request().ok_or(ClientError::NoMemory)?;
    let ctx = crate::ngx::running_ctx(request).ok_or(ClientError::NoMemory)?;
    let owned = cx.host().and_then(|host| host.owned()).ok_or(ClientError::NoMemory)?;
    let stream = if raw { request.raw_stream(ctx)? } else { request.body_stream(ctx)? };
    let tcp = Tcp::of_client(request.location(), stream, &owned);
    if !raw {
        let reader = std::rc::Rc::downgrade(&tcp);
        let ahead = move || reader.upgrade().map(|tcp| tcp.take_partial(<[u8]>::to_vec)).unwrap_or_default();
        request.on_return(ctx, Box::new(ahead));
    }
    Ok(tcp)
}

classics! {
    /// `(raw)`: the request body, or with `raw` the connection, as a socket with upvalue 1 or 2 as its metatable.
    fn req_socket(cx, stack) -> Answered {
        let raw = stack.boolean(1);
        match socket(cx, raw) {
            Ok(tcp) => push_with_metatable(stack, tcp, if raw { 2 } else { 1 }),
            Err(e @ (ClientError::Subrequest | ClientError::Streams(_) | ClientError::NoMemory)) => {
                Err(e.to_string().into())
            }
            Err(e) => refuse(stack, e.to_string().as_bytes()),
        }
    }
}

natives! {
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
