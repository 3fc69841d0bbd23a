//! `autoscale.http`: the HTTP client, for scripts.

use core::future::Future;
use core::time::Duration;
use std::borrow::Cow;
use std::rc::Rc;

use hyper::body::Bytes;

use super::socket::{refuse, Answered};
use crate::http::{Answer as Response, Call, HttpError, Keepalive, Proxy, Request, TlsOptions};
use crate::native::{classics, Answer, Cx, Raise};
use crate::run::Owned;
use crate::vm::{Sendable, Stack};

fn owned(cx: Cx) -> Result<Rc<Owned>, HttpError> {
    // a wait that was yielded and did not reach the driver is no use to anybody
    cx.forget_prepared();
    cx.host().and_then(|host| host.owned()).ok_or(HttpError::NotOurs)
}

fn new(cx: Cx, stack: &Stack<'_>) -> Result<Rc<Call>, HttpError> {
    let location = cx.location().ok_or(HttpError::NotOurs)?;
    let (method, url) = (stack.bytes(1).unwrap_or_default(), stack.bytes(2).unwrap_or_default());
    let request = Request::new(method, url, &location.conf().sockets)?;
    Ok(Call::new(request, location, &owned(cx)?))
}

/// The request at index 1, if the script that runs has made it.
fn this(cx: Cx, stack: &Stack<'_>) -> Result<Rc<Call>, HttpError> {
    let call = stack.object::<Rc<Call>>(1).ok_or(HttpError::NotOurs)?;
    call.check(&owned(cx)?)?;
    Ok(Rc::clone(call))
}

fn push_error(stack: &mut Stack<'_>, e: &HttpError) -> i32 {
    stack.push_nil();
    stack.push_bytes(e.to_string().as_bytes());
    2
}

/// What a function that failed answers. All are called by functions of the prelude.
fn failed(stack: &mut Stack<'_>, e: &HttpError) -> Answered {
    match e {
        HttpError::NotOurs => Err(Raise::Above("bad request".into())),
        e => Ok(Answer::Values(push_error(stack, e))),
    }
}

/// True, or what a function that failed answers.
fn done(stack: &mut Stack<'_>, result: Result<(), HttpError>) -> Answered {
    match result {
        Ok(()) => Ok(Answer::Values(push_boolean(stack, true))),
        Err(e) => failed(stack, &e),
    }
}

/// Changes the request at index 1 before it is sent.
fn prepare(
    cx: Cx,
    stack: &mut Stack<'_>,
    change: impl FnOnce(&mut Request, &Stack<'_>) -> Result<(), HttpError>,
) -> Answered {
    let result = this(cx, stack).and_then(|call| call.prepare(|request| change(request, stack))?);
    done(stack, result)
}

/// Has the script wait for what `f` makes of the request at index 1: it gets what `push` leaves, or nil and why not.
fn wait_for<T: 'static, F>(
    cx: Cx,
    stack: &mut Stack<'_>,
    f: impl FnOnce(Rc<Call>) -> F,
    push: fn(&mut Stack<'_>, T) -> i32,
) -> Answered
where
    F: Future<Output = Result<T, HttpError>> + 'static,
{
    let call = match this(cx, stack) {
        Ok(call) => call,
        Err(e) => return failed(stack, &e),
    };
    // in its place from the start: it is large, and what waits is handed on from one to the next
    let work = Box::pin(f(call));
    Ok(Answer::work(async move {
        let result = work.await;
        move |stack: &mut Stack<'_>| match result {
            Ok(value) => push(stack, value),
            Err(e) => push_error(stack, &e),
        }
    }))
}

fn push_response(stack: &mut Stack<'_>, answer: Response) -> i32 {
    stack.push_table(8);
    stack.push_number(answer.status.as_u16().into());
    stack.set_entry(b"status");
    stack.push_number(if answer.version == hyper::Version::HTTP_10 { 1.0 } else { 1.1 });
    stack.set_entry(b"version");
    stack.push_bytes(answer.url.to_string().as_bytes());
    stack.set_entry(b"url");
    stack.push_table(i32::try_from(answer.headers.len()).unwrap_or(0));
    for (name, value) in &answer.headers {
        stack.add_entry(name.as_str().as_bytes(), value.as_bytes());
    }
    stack.set_entry(b"headers");
    if let Some(body) = &answer.body {
        stack.push_bytes(body);
        stack.set_entry(b"body");
    }
    1
}

fn push_boolean(stack: &mut Stack<'_>, b: bool) -> i32 {
    stack.push_boolean(b);
    1
}

fn push_piece(stack: &mut Stack<'_>, piece: Option<Bytes>) -> i32 {
    match piece {
        Some(piece) => stack.push_bytes(&piece),
        None => stack.push_nil(),
    }
    1
}

/// The text at `i`; none when it is empty.
fn text(stack: &Stack<'_>, i: i32) -> Option<Vec<u8>> {
    stack.bytes(i).filter(|text| !text.is_empty()).map(<[u8]>::to_vec)
}

/// What is to be sent at 2: a text, or an array of texts; or what is wrong with it.
fn piece(cx: Cx, stack: &Stack<'_>) -> Result<Bytes, Cow<'static, str>> {
    let out = cx.scratch();
    let piece = match stack.sendable(2, out)? {
        Sendable::Text(text) => text,
        Sendable::Written => out,
    };
    Ok(Bytes::copy_from_slice(piece))
}

/// The number at `i`, unless it is below zero.
fn amount(stack: &Stack<'_>, i: i32) -> Option<f64> {
    stack.number(i).filter(|n| *n >= 0.0)
}

fn milliseconds(stack: &Stack<'_>, i: i32) -> Option<Duration> {
    amount(stack, i).map(|ms| Duration::from_millis(ms as u64))
}

classics! {
    /// `(method, url)`: a request.
    fn http_new(cx, stack) -> Answered {
        match new(cx, stack) {
            Ok(call) => {
                stack.push_object(call);
                Ok(Answer::Values(1))
            }
            Err(e) => failed(stack, &e),
        }
    }

    /// `(request, name, value)`
    fn http_header(cx, stack) -> Answered {
        prepare(cx, stack, |request, stack| {
            request.header(stack.bytes(2).unwrap_or_default(), stack.bytes(3).unwrap_or_default())
        })
    }

    /// `(request, connect, send, read, total)`, in milliseconds; below zero as it is.
    fn http_timeouts(cx, stack) -> Answered {
        prepare(cx, stack, |request, stack| {
            let timeouts = &mut request.timeouts;
            let all = [&mut timeouts.connect, &mut timeouts.send, &mut timeouts.read, &mut timeouts.total];
            for (i, timeout) in (2..).zip(all) {
                *timeout = milliseconds(stack, i).unwrap_or(*timeout);
            }
            Ok(())
        })
    }

    /// `(request, redirects, max_body)`; below zero as it is.
    fn http_limits(cx, stack) -> Answered {
        prepare(cx, stack, |request, stack| {
            request.redirects = amount(stack, 2).map_or(request.redirects, |n| n as u32);
            request.max_body = amount(stack, 3).map_or(request.max_body, |n| n as u64);
            Ok(())
        })
    }

    /// `(request, idle, size)`: how long an idle connection is kept, and how many to the same server; below zero as it
    /// is, a size of zero is none.
    fn http_keepalive(cx, stack) -> Answered {
        prepare(cx, stack, |request, stack| {
            if let Some(Keepalive { idle, size }) = &mut request.keepalive {
                *idle = milliseconds(stack, 2).unwrap_or(*idle);
                *size = amount(stack, 3).map_or(*size, |n| n as usize);
            }
            request.keepalive = request.keepalive.filter(|keepalive| keepalive.size > 0);
            Ok(())
        })
    }

    /// `(request, verify, server_name, ca, cert, key)`
    fn http_tls(cx, stack) -> Answered {
        prepare(cx, stack, |request, stack| {
            let server_name = text(stack, 3).map(String::from_utf8).transpose();
            request.tls = Rc::new(TlsOptions {
                verify: stack.boolean(2),
                server_name: server_name.map_err(|_| HttpError::ServerName)?,
                ca: text(stack, 4),
                identity: text(stack, 5).zip(text(stack, 6)),
            });
            Ok(())
        })
    }

    /// `(request, url)`
    fn http_proxy(cx, stack) -> Answered {
        prepare(cx, stack, |request, stack| {
            request.proxy = Some(Rc::new(Proxy::parse(stack.bytes(2).unwrap_or_default())?));
            Ok(())
        })
    }

    /// `(request, body)`: what can be sent; or nil and what is wrong with it.
    fn http_body(cx, stack) -> Answered {
        match piece(cx, stack) {
            Ok(body) => prepare(cx, stack, |request, _| {
                request.set_body(body);
                Ok(())
            }),
            Err(why) => refuse(stack, why.as_bytes()),
        }
    }

    /// `(request, streams)`: sends it, or the end of its body; the response, with `streams` without its body.
    fn http_send(cx, stack) -> Answered {
        let streams = stack.boolean(2);
        wait_for(cx, stack, |call| call.send(streams), push_response)
    }

    /// `(request)`: begins one whose body is written; true.
    fn http_begin(cx, stack) -> Answered {
        wait_for(cx, stack, Call::begin, |stack, ()| push_boolean(stack, true))
    }

    /// `(request, piece)`: true when the piece is on its way, false when the server has answered already.
    fn http_write(cx, stack) -> Answered {
        match piece(cx, stack) {
            Ok(piece) => wait_for(cx, stack, |call| call.write(piece), push_boolean),
            Err(why) => refuse(stack, why.as_bytes()),
        }
    }

    /// `(request)`: the next piece of the response's body; nil at the end.
    fn http_read(cx, stack) -> Answered {
        wait_for(cx, stack, Call::read, push_piece)
    }

    /// `(request)`: whether it is closed, which it is not while a thread waits for it.
    fn http_close(cx, stack) -> Answered {
        match this(cx, stack) {
            Ok(call) => {
                let closed = call.close();
                Ok(Answer::Values(push_boolean(stack, closed)))
            }
            Err(e) => failed(stack, &e),
        }
    }
}
