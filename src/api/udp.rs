//! `ngx.socket.udp`

use std::rc::Rc;

use super::socket::args::{self, this, wrong};
use super::socket::{failed, finish, one, push_error, push_with_metatable, refuse, running, Answered};
use crate::native::{classics, Answer, Cx};
use crate::ngx::{cycle_main_conf, Endpoint, Stream};
use crate::phase::YIELDING;
use crate::run::Host;
use crate::socket::{SocketError, Udp, MAX_DATAGRAM};
use crate::vm::Stack;

/// The socket's system half, for sending or receiving: that a socket has none is worth a line in the log.
fn check_open(cx: Cx, udp: &Udp, what: &str) -> Result<(Host, Rc<Stream>), SocketError> {
    let (host, owned) = running(cx)?;
    match udp.check(&owned) {
        Ok(stream) => Ok((host, stream)),
        Err(e) => {
            if matches!(e, SocketError::Closed) {
                udp.log(&host, format_args!("attempt to {what} data on a closed socket: u:0, c:0"));
            }
            Err(e)
        }
    }
}

fn push_one(stack: &mut Stack<'_>, result: Result<(), SocketError>) -> i32 {
    match result {
        Ok(()) => one(stack),
        Err(e) => push_error(stack, &e),
    }
}

/// Nothing when it is done.
fn set_peer(cx: Cx, udp: &Rc<Udp>, host: &[u8], port: u16) -> Result<Option<Answer>, SocketError> {
    let (running, owned) = running(cx)?;
    udp.begin_peer(&running, &owned)?;
    if let Some(endpoint) = Endpoint::parse(host, port) {
        udp.set_peer(&endpoint)?;
        return Ok(None);
    }
    let (busy, udp, name) = (udp.begin(), Rc::clone(udp), host.to_vec());
    Ok(Some(Answer::work(async move {
        let result = udp.resolve_peer(name, port).await;
        drop(busy);
        move |stack: &mut Stack<'_>| push_one(stack, result)
    })))
}

fn send(cx: Cx, udp: &Rc<Udp>, data: &[u8]) -> Result<Option<Answer>, SocketError> {
    let (host, stream) = check_open(cx, udp, "send")?;
    if Udp::send_at_once(&stream, data)? {
        return Ok(None);
    }
    let (busy, udp, data) = (udp.begin(), Rc::clone(udp), data.to_vec());
    Ok(Some(Answer::work(async move {
        let result = udp.send(stream, data, host).await;
        drop(busy);
        move |stack: &mut Stack<'_>| push_one(stack, result)
    })))
}

/// What is received at once is left on the stack.
fn receive(cx: Cx, stack: &mut Stack<'_>, udp: &Rc<Udp>, size: usize) -> Result<Answer, SocketError> {
    let (host, stream) = check_open(cx, udp, "receive")?;
    host.debug(format_args!("lua udp socket receive buffer size: {size}"));
    let main = cycle_main_conf().ok_or(SocketError::NotOurs)?;
    // not borrowed while Lua copies it: the collector may run, and with it who knows what
    let mut buffer = main.datagram.take();
    buffer.clear();
    buffer.reserve(MAX_DATAGRAM);
    let received = Udp::receive_at_once(&stream, &mut buffer);
    if let Ok(true) = received {
        stack.push_bytes(&buffer[..size.min(buffer.len())]);
    }
    main.datagram.replace(buffer);
    if received? {
        return Ok(Answer::Values(1));
    }
    let (busy, udp) = (udp.begin(), Rc::clone(udp));
    Ok(Answer::work(async move {
        let result = udp.receive(stream, size, host).await;
        drop(busy);
        move |stack: &mut Stack<'_>| match result {
            Ok(data) => {
                stack.push_bytes(&data);
                1
            }
            Err(e) => push_error(stack, &e),
        }
    }))
}

/// 1, a wait, or what a method that failed answers.
fn answer(stack: &mut Stack<'_>, result: Result<Option<Answer>, SocketError>) -> Answered {
    match result {
        Ok(Some(wait)) => Ok(wait),
        Ok(None) => finish(stack, Ok(())),
        Err(e) => failed(stack, &e),
    }
}

classics! {
    /// `()`: a socket with upvalue 1 as its metatable.
    fn udp_new(cx, stack) -> Answered {
        if stack.len() > 0 {
            return Err(format!("expecting zero arguments, but got {}", stack.len()).into());
        }
        cx.require(YIELDING)?;
        let location = cx.location().ok_or("no memory")?;
        push_with_metatable(stack, Udp::new(location), 1)
    }

    /// `(socket, host, port?)`
    fn udp_setpeername(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        args::host(stack, "setpeername")?;
        let mut port = 0;
        if !stack.is_nil(3) {
            let Some(number) = stack.to_number(3) else {
                return Err(wrong(stack, 3, 2, "setpeername", "number expected"));
            };
            port = match args::port(stack, 3, number) {
                Ok(port) => port,
                Err(why) => return refuse(stack, &why),
            };
        }
        let udp = this::<Udp>(stack, "setpeername")?;
        let host = stack.bytes(2).unwrap_or_default();
        if matches!(host, b"" | b"unix:") {
            let why = [b"failed to parse host name \"", host, b"\": no host"].concat();
            return refuse(stack, &why);
        }
        let result = set_peer(cx, &udp, host, port);
        answer(stack, result)
    }

    /// `(socket, data)`
    fn udp_send(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        let own = stack.own::<Udp>(1);
        let data = args::sendable(cx, stack)?;
        let Some(udp) = own else { return Err(wrong(stack, 1, 1, "send", "table expected")) };
        let result = send(cx, &udp, data);
        answer(stack, result)
    }

    /// `(socket, size?)`: a datagram, or as much of it as the size allows.
    fn udp_receive(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        let mut size = MAX_DATAGRAM;
        if !stack.is_nil(2) {
            let Some(n) = stack.to_number(2) else {
                return Err(wrong(stack, 2, 1, "receive", "number expected"));
            };
            size = (n.max(0.0) as usize).min(MAX_DATAGRAM);
        }
        let udp = this::<Udp>(stack, "receive")?;
        match receive(cx, stack, &udp, size) {
            Ok(answer) => Ok(answer),
            Err(e) => failed(stack, &e),
        }
    }

    /// `(socket, milliseconds?)`
    fn udp_settimeout(cx, stack) -> Answered {
        let timeout = args::timeout(stack, 2)
            .map_err(|why| args::bad(1, "settimeout", format_args!("{why}")))?;
        this::<Udp>(stack, "settimeout")?.read_timeout.set(timeout);
        Ok(Answer::Values(0))
    }

    /// `(socket)`
    fn udp_close(cx, stack) -> Answered {
        let udp = this::<Udp>(stack, "close")?;
        let result = running(cx).and_then(|(_, owned)| udp.check(&owned)).map(|_| udp.close());
        finish(stack, result)
    }

    /// `(socket, address)`: has datagrams leave from there.
    fn udp_bind(cx, stack) -> Answered {
        let Some(address) = stack.bytes(2) else {
            return Err(wrong(stack, 2, 1, "bind", "string expected"));
        };
        match Endpoint::parse(address, 0) {
            Some(endpoint @ Endpoint::Ip(_)) => {
                this::<Udp>(stack, "bind")?.bind(endpoint);
                Ok(Answer::Values(one(stack)))
            }
            _ => refuse(stack, b"bad address"),
        }
    }
}
