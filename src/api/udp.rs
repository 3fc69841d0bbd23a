//! `ngx.socket.udp`

use std::rc::Rc;

use super::socket::{fail, milliseconds, push_error};
use crate::native::{natives, Cx, Handle, Str};
use crate::ngx::{cycle_main_conf, Endpoint, Stream};
use crate::run::{work, Host, Owned};
use crate::socket::{SocketError, Udp, MAX_DATAGRAM};
use crate::vm::Stack;

const OK: i32 = 0;
const WAIT: i32 = 1;
const FAILED: i32 = -1;

fn running(cx: Cx) -> Result<(Host, Rc<Owned>), SocketError> {
    let host = cx.host().ok_or(SocketError::NotOurs)?;
    let owned = host.owned().ok_or(SocketError::NotOurs)?;
    Ok((host, owned))
}

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
        Ok(()) => {
            stack.push_number(1.0);
            1
        }
        Err(e) => push_error(stack, &e),
    }
}

fn set_peer(cx: Cx, udp: &Rc<Udp>, host: &[u8], port: u16) -> Result<i32, SocketError> {
    let (running, owned) = running(cx)?;
    udp.begin_peer(&running, &owned)?;
    if let Some(endpoint) = Endpoint::parse(host, port) {
        udp.set_peer(&endpoint)?;
        return Ok(OK);
    }
    let (busy, udp, name) = (udp.begin(), Rc::clone(udp), host.to_vec());
    cx.prepare(Box::new(move |waker, stack| {
        work(waker, stack, async move {
            let result = udp.resolve_peer(name, port).await;
            drop(busy);
            move |stack: &mut Stack<'_>| push_one(stack, result)
        })
    }));
    Ok(WAIT)
}

fn send(cx: Cx, udp: &Rc<Udp>, data: &[u8]) -> Result<i32, SocketError> {
    let (host, stream) = check_open(cx, udp, "send")?;
    if Udp::send_at_once(&stream, data)? {
        return Ok(OK);
    }
    let (busy, udp, data) = (udp.begin(), Rc::clone(udp), data.to_vec());
    cx.prepare(Box::new(move |waker, stack| {
        work(waker, stack, async move {
            let result = udp.send(stream, data, host).await;
            drop(busy);
            move |stack: &mut Stack<'_>| push_one(stack, result)
        })
    }));
    Ok(WAIT)
}

fn receive(cx: Cx, udp: &Rc<Udp>, size: usize, out: &mut Str) -> Result<i32, SocketError> {
    let (host, stream) = check_open(cx, udp, "receive")?;
    host.debug(format_args!("lua udp socket receive buffer size: {size}"));
    let main = cycle_main_conf().ok_or(SocketError::NotOurs)?;
    let mut buffer = main.datagram.borrow_mut();
    buffer.clear();
    buffer.reserve(MAX_DATAGRAM);
    if Udp::receive_at_once(&stream, &mut buffer)? {
        // the buffer stays where it is, and what is in it until the next datagram
        out.lend(&buffer[..size.min(buffer.len())]);
        return Ok(OK);
    }
    let (busy, udp) = (udp.begin(), Rc::clone(udp));
    cx.prepare(Box::new(move |waker, stack| {
        work(waker, stack, async move {
            let result = udp.receive(stream, size, host).await;
            drop(busy);
            move |stack: &mut Stack<'_>| match result {
                Ok(data) => {
                    stack.push_bytes(&data);
                    1
                }
                Err(e) => push_error(stack, &e),
            }
        })
    }));
    Ok(WAIT)
}

natives! {
    /// A socket that Lua gives back by `udp_free`.
    fn udp_new(cx, slot: out<Handle>) -> i32 {
        let Some(location) = cx.location() else { return FAILED };
        slot.keep(Udp::new(location));
        OK
    }

    fn udp_free(cx, udp: own<Rc<Udp>>) -> () {
        drop(udp);
    }

    fn udp_set_peer(cx, udp: our<Rc<Udp>>, host: bytes, port: val<i32>, message: out<Str>) -> i32 {
        set_peer(cx, udp, host, port as u16).unwrap_or_else(|e| fail(cx, &e, message))
    }

    fn udp_send(cx, udp: our<Rc<Udp>>, data: bytes, message: out<Str>) -> i32 {
        send(cx, udp, data).unwrap_or_else(|e| fail(cx, &e, message))
    }

    fn udp_receive(cx, udp: our<Rc<Udp>>, size: val<f64>, out: out<Str>, message: out<Str>) -> i32 {
        let size = (size.max(0.0) as usize).min(MAX_DATAGRAM);
        receive(cx, udp, size, out).unwrap_or_else(|e| fail(cx, &e, message))
    }

    /// The timeout in milliseconds; below zero as configured.
    fn udp_timeout(cx, udp: our<Rc<Udp>>, ms: val<f64>) -> () {
        udp.read_timeout.set(milliseconds(ms));
    }

    fn udp_close(cx, udp: our<Rc<Udp>>, message: out<Str>) -> i32 {
        match running(cx).and_then(|(_, owned)| udp.check(&owned)) {
            Ok(_) => {
                udp.close();
                OK
            }
            Err(e) => fail(cx, &e, message),
        }
    }

    /// Has datagrams leave from this address; -1 when it is none.
    fn udp_bind(cx, udp: our<Rc<Udp>>, address: bytes) -> i32 {
        match Endpoint::parse(address, 0) {
            Some(endpoint @ Endpoint::Ip(_)) => {
                udp.bind(endpoint);
                OK
            }
            _ => FAILED,
        }
    }
}
