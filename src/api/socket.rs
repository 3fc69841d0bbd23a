//! `ngx.socket.tcp`

use core::cell::RefCell;
use core::time::Duration;
use std::rc::Rc;

use logic::receive::{Until, Wanted};

use crate::native::{natives, Cx, Handle, Str};
use crate::ngx::{cycle_main_conf, debug_cycle, Endpoint};
use crate::run::{work, Host};
use crate::socket::{Ask, Connect, Doing, Outcome, SocketError, Tcp};
use crate::vm::Stack;

pub(super) const OK: i32 = 0;
pub(super) const WAIT: i32 = 1;
const END: i32 = 2;
pub(super) const FAILED: i32 = -1;
const NOT_OURS: i32 = -2;

/// The options of `setoption`, in the order of their numbers in the prelude.
const OPTIONS: [(i32, i32); 5] = [
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::SOL_SOCKET, libc::SO_SNDBUF),
    (libc::SOL_SOCKET, libc::SO_RCVBUF),
];

/// Puts the text of an error where Lua reads it.
pub(super) fn say(cx: Cx, e: &dyn core::error::Error, message: &mut Str) {
    use std::io::Write;
    cx.begin_written();
    let out = cx.written();
    // writing to memory does not fail
    let _ = write!(out, "{e}");
    message.lend(out);
}

pub(super) fn fail(cx: Cx, e: &SocketError, message: &mut Str) -> i32 {
    say(cx, e, message);
    if matches!(e, SocketError::NotOurs) {
        NOT_OURS
    } else {
        FAILED
    }
}

pub(super) fn check(cx: Cx, tcp: &Tcp) -> Result<Host, SocketError> {
    let host = cx.host().ok_or(SocketError::NotOurs)?;
    tcp.check(&host.owned().ok_or(SocketError::NotOurs)?)?;
    Ok(host)
}

/// Drops a wait that was prepared and could not be yielded (across a C function of Lua, say): its socket is not busy.
fn forget_unyielded(cx: Cx) {
    drop(cx.prepared());
}

/// The same before sending or receiving: on a closed socket this is worth a line in the log.
fn check_open(cx: Cx, tcp: &Tcp, what: &str) -> Result<Host, SocketError> {
    forget_unyielded(cx);
    let result = check(cx, tcp);
    if let (Err(SocketError::Closed), Some(host)) = (&result, cx.host()) {
        tcp.log(
            &host,
            format_args!("attempt to {what} data on a closed socket: it is to be connected first"),
        );
    }
    result
}

pub(super) fn push_error(stack: &mut Stack<'_>, e: &SocketError) -> i32 {
    stack.push_nil();
    stack.push_bytes(e.to_string().as_bytes());
    2
}

fn connect(cx: Cx, tcp: &Rc<Tcp>, what: &Connect<'_>) -> Result<i32, SocketError> {
    forget_unyielded(cx);
    let host = cx.host().ok_or(SocketError::NotOurs)?;
    let owned = host.owned().ok_or(SocketError::NotOurs)?;
    let main = cycle_main_conf().ok_or(SocketError::NotOurs)?;
    let Some(asked) = tcp.connect_at_once(&owned, what, &main.pools)? else { return Ok(OK) };
    let (busy, tcp) = (tcp.begin(Doing::Connecting)?, Rc::clone(tcp));
    let (name, port) = (what.host.to_vec(), what.port);
    cx.prepare(Box::new(move |waker, stack| {
        work(waker, stack, async move {
            let result = tcp.connect_slowly(name, port, asked, host).await;
            drop(busy);
            move |stack: &mut Stack<'_>| match result {
                Ok(()) => {
                    stack.push_number(1.0);
                    1
                }
                Err(e) => push_error(stack, &e),
            }
        })
    }));
    Ok(WAIT)
}

fn send(cx: Cx, tcp: &Rc<Tcp>, data: &[u8]) -> Result<Option<usize>, SocketError> {
    let host = check_open(cx, tcp, "send")?;
    let busy = tcp.begin(Doing::Writing)?;
    let sent = tcp.send_at_once(data)?;
    if sent == data.len() {
        return Ok(Some(sent));
    }
    let (tcp, data) = (Rc::clone(tcp), data.to_vec());
    cx.prepare(Box::new(move |waker, stack| {
        work(waker, stack, async move {
            let result = tcp.send(data, sent, host).await;
            drop(busy);
            move |stack: &mut Stack<'_>| match result {
                Ok(n) => {
                    stack.push_number(n as f64);
                    1
                }
                Err(e) => push_error(stack, &e),
            }
        })
    }));
    Ok(None)
}

/// Receives at once, or prepares to wait.
fn receive(cx: Cx, tcp: &Rc<Tcp>, mut ask: Ask, out: &mut Str, message: &mut Str) -> i32 {
    let host = match check_open(cx, tcp, "receive") {
        Ok(host) => host,
        Err(e) => {
            out.lend(b"");
            return fail(cx, &e, message);
        }
    };
    let busy = match tcp.begin(Doing::Reading) {
        Ok(busy) => busy,
        Err(e) => {
            out.lend(b"");
            return fail(cx, &e, message);
        }
    };
    match tcp.receive_at_once(&mut ask) {
        Ok(Some(Outcome::Piece(found))) => {
            tcp.take(&ask, found, cx.scratch(), |text| out.lend(text));
            OK
        }
        Ok(Some(Outcome::End)) => END,
        Ok(None) => {
            let tcp = Rc::clone(tcp);
            cx.prepare(Box::new(move |waker, stack| {
                work(waker, stack, async move {
                    let (result, ask) = Rc::clone(&tcp).receive(ask, host).await;
                    drop(busy);
                    move |stack: &mut Stack<'_>| received(&tcp, result, &ask, stack)
                })
            }));
            WAIT
        }
        Err(e) => {
            tcp.take_partial(|text| out.lend(text));
            fail(cx, &e, message)
        }
    }
}

/// Leaves what a thread has waited for on its stack.
fn received(tcp: &Tcp, result: Result<Outcome, SocketError>, ask: &Ask, stack: &mut Stack<'_>) -> i32 {
    match result {
        Ok(Outcome::Piece(found)) => {
            tcp.take(ask, found, &mut Vec::new(), |text| stack.push_bytes(text));
            1
        }
        Ok(Outcome::End) => {
            (0..3).for_each(|_| stack.push_nil());
            3
        }
        Err(e) => {
            push_error(stack, &e);
            tcp.take_partial(|text| stack.push_bytes(text));
            3
        }
    }
}

pub(super) fn milliseconds(ms: f64) -> Option<Duration> {
    (ms >= 0.0).then(|| Duration::from_millis(ms as u64))
}

natives! {
    /// A socket that Lua gives back by `socket_free`.
    fn socket_tcp(cx, slot: out<Handle>) -> i32 {
        let Some(location) = cx.location() else { return FAILED };
        slot.keep(Tcp::new(location));
        OK
    }

    fn socket_free(cx, tcp: own<Rc<Tcp>>) -> () {
        drop(tcp);
    }

    /// `size` and `backlog` below zero were not given.
    fn socket_connect(cx, tcp: our<Rc<Tcp>>, host: bytes, port: val<i32>, pool: bytes, size: val<f64>, backlog: val<f64>, message: out<Str>) -> i32 {
        let what = Connect {
            host,
            port: port as u16,
            pool,
            pool_size: (size >= 0.0).then_some(size as usize),
            backlog: (backlog >= 0.0).then_some(backlog as usize),
        };
        connect(cx, tcp, &what).unwrap_or_else(|e| fail(cx, &e, message))
    }

    /// How many bytes were sent; -3 with a wait prepared.
    fn socket_send(cx, tcp: our<Rc<Tcp>>, data: bytes, message: out<Str>) -> f64 {
        match send(cx, tcp, data) {
            Ok(Some(n)) => n as f64,
            Ok(None) => -3.0,
            Err(e) => f64::from(fail(cx, &e, message)),
        }
    }

    /// `kind`: 0 a line, 1 `n` bytes, 2 all, 3 at most `n` bytes.
    fn socket_receive(cx, tcp: our<Rc<Tcp>>, kind: val<i32>, n: val<f64>, out: out<Str>, message: out<Str>) -> i32 {
        if kind == 3 {
            debug_cycle(format_args!("lua tcp socket calling receiveany() method to read at most {n} bytes"));
            debug_cycle(format_args!("lua tcp socket read any"));
        }
        let wanted = match kind {
            0 => Wanted::line(),
            1 => Wanted::Size(n as usize),
            2 => Wanted::All,
            _ => Wanted::Any(n as usize),
        };
        receive(cx, tcp, Ask::Plain(wanted), out, message)
    }

    fn socket_until(cx, pattern: bytes, inclusive: val<i32>, slot: out<Handle>) -> i32 {
        let Some(until) = Until::new(pattern, inclusive != 0) else { return FAILED };
        slot.keep(Rc::new(RefCell::new(until)));
        OK
    }

    fn socket_until_free(cx, until: own<Rc<RefCell<Until>>>) -> () {
        drop(until);
    }

    /// The next piece before the pattern; without a size (below zero) all of it.
    fn socket_receive_until(cx, tcp: our<Rc<Tcp>>, until: our<Rc<RefCell<Until>>>, size: val<f64>, out: out<Str>, message: out<Str>) -> i32 {
        let size = (size >= 0.0).then_some(size as usize);
        receive(cx, tcp, Ask::Until { until: Rc::clone(until), size }, out, message)
    }

    /// Timeouts in milliseconds; below zero as configured.
    fn socket_timeouts(cx, tcp: our<Rc<Tcp>>, connect: val<f64>, send: val<f64>, read: val<f64>) -> () {
        tcp.connect_timeout.set(milliseconds(connect));
        tcp.send_timeout.set(milliseconds(send));
        tcp.read_timeout.set(milliseconds(read));
    }

    fn socket_keepalive(cx, tcp: our<Rc<Tcp>>, timeout: val<f64>, size: val<f64>, message: out<Str>) -> i32 {
        let result = check_open(cx, tcp, "set keepalive on").and_then(|_| {
            let main = cycle_main_conf().ok_or(SocketError::Closed)?;
            tcp.keep_alive(&main.pools, milliseconds(timeout), (size >= 0.0).then_some(size as usize))
        });
        result.map_or_else(|e| fail(cx, &e, message), |()| OK)
    }

    /// How often the connection was used before.
    fn socket_reused(cx, tcp: our<Rc<Tcp>>, message: out<Str>) -> f64 {
        match check(cx, tcp) {
            Ok(_) => f64::from(tcp.reused()),
            // one that is on its way was not used before
            Err(SocketError::Busy(_)) => 0.0,
            Err(e) => f64::from(fail(cx, &e, message)),
        }
    }

    fn socket_close(cx, tcp: our<Rc<Tcp>>, message: out<Str>) -> i32 {
        check(cx, tcp).and_then(|_| tcp.close()).map_or_else(|e| fail(cx, &e, message), |()| OK)
    }

    fn socket_shutdown(cx, tcp: our<Rc<Tcp>>, message: out<Str>) -> i32 {
        let result = check(cx, tcp).and_then(|_| Ok(tcp.stream()?.shutdown_send()?));
        result.map_or_else(|e| fail(cx, &e, message), |()| OK)
    }

    fn socket_fd(cx, tcp: our<Rc<Tcp>>, message: out<Str>) -> i32 {
        match check(cx, tcp).and_then(|_| tcp.stream()?.fd().ok_or(SocketError::Closed)) {
            Ok(fd) => fd,
            Err(e) => fail(cx, &e, message),
        }
    }

    fn socket_set_option(cx, tcp: our<Rc<Tcp>>, option: val<i32>, value: val<i32>, message: out<Str>) -> i32 {
        let (level, name) = OPTIONS[option as usize % OPTIONS.len()];
        let result = check(cx, tcp).and_then(|_| Ok(tcp.stream()?.set_option(level, name, value)?));
        result.map_or_else(|e| fail(cx, &e, message), |()| OK)
    }

    fn socket_option(cx, tcp: our<Rc<Tcp>>, option: val<i32>, value: out<f64>, message: out<Str>) -> i32 {
        let (level, name) = OPTIONS[option as usize % OPTIONS.len()];
        match check(cx, tcp).and_then(|_| Ok(tcp.stream()?.option(level, name)?)) {
            Ok(n) => {
                *value = f64::from(n);
                OK
            }
            Err(e) => fail(cx, &e, message),
        }
    }

    /// Has the socket's connections leave from this address; -1 when it is none.
    fn socket_bind(cx, tcp: our<Rc<Tcp>>, address: bytes) -> i32 {
        match Endpoint::parse(address, 0) {
            Some(endpoint @ Endpoint::Ip(_)) => {
                tcp.bind(Some(endpoint));
                OK
            }
            _ => FAILED,
        }
    }
}
