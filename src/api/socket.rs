//! `ngx.socket.tcp`

use core::cell::RefCell;
use core::time::Duration;
use std::rc::Rc;

use logic::receive::{Until, Wanted};

use crate::native::{classics, Answer, Cx, Raise};
use crate::ngx::{cycle_main_conf, debug_cycle, Endpoint};
use crate::phase::YIELDING;
use crate::run::{Host, Owned};
use crate::socket::{Ask, Connect, Doing, Outcome, SocketError, Tcp};
use crate::vm::Stack;

pub(super) mod args;
use args::{bad, this, wrong};

/// The options of `setoption`.
const OPTIONS: [(&[u8], i32, i32); 5] = [
    (b"keepalive", libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (b"reuseaddr", libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (b"tcp-nodelay", libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (b"sndbuf", libc::SOL_SOCKET, libc::SO_SNDBUF),
    (b"rcvbuf", libc::SOL_SOCKET, libc::SO_RCVBUF),
];

pub(super) type Answered = Result<Answer, Raise>;

/// Whose script calls, and what ends with it.
pub(super) fn running(cx: Cx) -> Result<(Host, Rc<Owned>), SocketError> {
    // one that was yielded and did not reach the driver would keep its socket busy
    cx.forget_prepared();
    let host = cx.host().ok_or(SocketError::NotOurs)?;
    let owned = host.owned().ok_or(SocketError::NotOurs)?;
    Ok((host, owned))
}

/// Who calls a method of a connected socket of theirs.
pub(super) fn check(cx: Cx, tcp: &Tcp) -> Result<Host, SocketError> {
    let (host, owned) = running(cx)?;
    tcp.check(&owned)?;
    Ok(host)
}

/// The same before sending or receiving: on a closed socket this is worth a line in the log.
fn check_open(cx: Cx, tcp: &Tcp, what: &str) -> Result<Host, SocketError> {
    let (host, owned) = running(cx)?;
    let result = tcp.check(&owned);
    if let Err(SocketError::Closed) = result {
        tcp.log(
            &host,
            format_args!("attempt to {what} data on a closed socket: it is to be connected first"),
        );
    }
    result.map(|()| host)
}

pub(super) fn push_error(stack: &mut Stack<'_>, e: &SocketError) -> i32 {
    stack.push_nil();
    stack.push_bytes(e.to_string().as_bytes());
    2
}

/// What a method that failed answers.
pub(super) fn failed(stack: &mut Stack<'_>, e: &SocketError) -> Answered {
    match e {
        SocketError::NotOurs => Err("bad request".into()),
        e => Ok(Answer::Values(push_error(stack, e))),
    }
}

pub(super) fn one(stack: &mut Stack<'_>) -> i32 {
    stack.push_number(1.0);
    1
}

/// 1, or what a method that failed answers.
pub(super) fn finish(stack: &mut Stack<'_>, result: Result<(), SocketError>) -> Answered {
    match result {
        Ok(()) => Ok(Answer::Values(one(stack))),
        Err(e) => failed(stack, &e),
    }
}

fn connect(cx: Cx, tcp: &Rc<Tcp>, what: &Connect<'_>) -> Result<Option<Answer>, SocketError> {
    let (host, owned) = running(cx)?;
    let main = cycle_main_conf().ok_or(SocketError::NotOurs)?;
    let Some(asked) = tcp.connect_at_once(&owned, what, &main.pools)? else { return Ok(None) };
    let (busy, tcp) = (tcp.begin(Doing::Connecting)?, Rc::clone(tcp));
    let to = Endpoint::parse(what.host, what.port).ok_or_else(|| (what.host.to_vec(), what.port));
    Ok(Some(Answer::work(async move {
        let result = tcp.connect_slowly(to, asked, host).await;
        drop(busy);
        move |stack: &mut Stack<'_>| match result {
            Ok(()) => one(stack),
            Err(e) => push_error(stack, &e),
        }
    })))
}

/// How many bytes were sent, or a wait.
fn send(cx: Cx, tcp: &Rc<Tcp>, data: &[u8]) -> Result<Result<usize, Answer>, SocketError> {
    let host = check_open(cx, tcp, "send")?;
    let busy = tcp.begin(Doing::Writing)?;
    let sent = tcp.send_at_once(data)?;
    if sent == data.len() {
        return Ok(Ok(sent));
    }
    let (tcp, data) = (Rc::clone(tcp), data.to_vec());
    Ok(Err(Answer::work(async move {
        let result = tcp.send(data, sent, host).await;
        drop(busy);
        move |stack: &mut Stack<'_>| match result {
            Ok(n) => {
                stack.push_number(n as f64);
                1
            }
            Err(e) => push_error(stack, &e),
        }
    })))
}

/// Receives at once, or waits.
fn receive(cx: Cx, stack: &mut Stack<'_>, tcp: Rc<Tcp>, mut ask: Ask) -> Answered {
    let begun = check_open(cx, &tcp, "receive").and_then(|host| Ok((host, tcp.begin(Doing::Reading)?)));
    let (host, busy) = match begun {
        Ok(begun) => begun,
        Err(e) => return failed(stack, &e),
    };
    match tcp.receive_at_once(&mut ask) {
        Ok(None) => Ok(Answer::work(async move {
            let (result, ask) = Rc::clone(&tcp).receive(ask, host).await;
            drop(busy);
            move |stack: &mut Stack<'_>| received(&tcp, result, &ask, stack)
        })),
        Ok(Some(outcome)) => Ok(Answer::Values(received(&tcp, Ok(outcome), &ask, stack))),
        Err(e) => Ok(Answer::Values(received(&tcp, Err(e), &ask, stack))),
    }
}

/// Leaves what has come of it on the stack.
fn received(tcp: &Tcp, result: Result<Outcome, SocketError>, ask: &Ask, stack: &mut Stack<'_>) -> i32 {
    match result {
        Ok(Outcome::Piece(found)) => {
            if tcp.take(ask, found, |text| stack.push_received(text)) {
                return 1;
            }
            push_error(stack, &SocketError::no_memory());
            stack.push_bytes(b"");
            3
        }
        Ok(Outcome::End) => {
            (0..3).for_each(|_| stack.push_nil());
            3
        }
        Err(e) => {
            push_error(stack, &e);
            if !tcp.take_partial(|text| stack.push_received(text)) {
                stack.push_bytes(b"");
            }
            3
        }
    }
}

/// What the pattern at index 2 of `receive` asks for.
fn wanted(stack: &Stack<'_>) -> Option<Wanted> {
    if stack.is_nil(2) || stack.bytes(2) == Some(b"*l") {
        return Some(Wanted::line());
    }
    match stack.to_number(2) {
        Some(n) => (n >= 0.0).then_some(Wanted::Size(n as usize)),
        None => (stack.bytes(2) == Some(b"*a")).then_some(Wanted::All),
    }
}

/// A socket's table, with the metatable that is upvalue `meta` of the function that runs.
pub(super) fn push_with_metatable<T: 'static>(stack: &mut Stack<'_>, own: Rc<T>, meta: i32) -> Answered {
    stack.push_list(1);
    stack.push_object(own);
    stack.set_item(1);
    stack.set_metatable_upvalue(meta);
    Ok(Answer::Values(1))
}

/// The option that is named at index 2, or what to answer.
fn option(stack: &Stack<'_>) -> Result<(i32, i32), Vec<u8>> {
    if stack.is_nil(2) {
        return Err(b"missing the \"option\" argument".to_vec());
    }
    let name = stack.bytes(2).map_or_else(|| stack.text(2), <[u8]>::to_vec);
    match OPTIONS.iter().find(|(known, ..)| *known == name) {
        Some((_, level, name)) => Ok((*level, *name)),
        None => Err([b"unsupported option ", &name[..]].concat()),
    }
}

pub(super) fn refuse(stack: &mut Stack<'_>, why: &[u8]) -> Answered {
    stack.push_nil();
    stack.push_bytes(why);
    Ok(Answer::Values(2))
}

classics! {
    /// `()`: a socket with upvalue 1 as its metatable.
    fn socket_tcp(cx, stack) -> Answered {
        if stack.len() > 0 {
            return Err(format!("expecting zero arguments, but got {}", stack.len()).into());
        }
        cx.require(YIELDING)?;
        let location = cx.location().ok_or("no memory")?;
        push_with_metatable(stack, Tcp::new(location), 1)
    }

    /// `(socket, host, port, options?)`, `(socket, "unix:…", options?)`
    fn socket_connect(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        let is_path = args::host(stack, "connect")?.starts_with(b"unix:");
        let mut port = None;
        if !is_path {
            let Some(number) = stack.to_number(3) else { return refuse(stack, b"missing the port number") };
            match args::port(stack, 3, number) {
                Ok(number) => port = Some(number),
                Err(why) => return refuse(stack, &why),
            }
        }
        stack.truncate(4);
        let options = args::pool(stack, if is_path && stack.is_table(3) { 3 } else { 4 })?;
        let tcp = this::<Tcp>(stack, "connect")?;
        let what = Connect {
            host: stack.bytes(2).unwrap_or_default(),
            port: port.unwrap_or(0),
            pool: args::pool_name(cx, stack, options.name, port),
            pool_size: options.size,
            backlog: options.backlog,
        };
        match connect(cx, &tcp, &what) {
            Ok(Some(wait)) => Ok(wait),
            Ok(None) => Ok(Answer::Values(one(stack))),
            Err(e) => failed(stack, &e),
        }
    }

    /// `(socket, data)`: how many bytes were sent.
    fn socket_send(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        let own = stack.own::<Tcp>(1);
        let data = args::sendable(cx, stack)?;
        let Some(tcp) = own else { return Err(wrong(stack, 1, 1, "send", "table expected")) };
        match send(cx, &tcp, data) {
            Ok(Ok(n)) => {
                stack.push_number(n as f64);
                Ok(Answer::Values(1))
            }
            Ok(Err(wait)) => Ok(wait),
            Err(e) => failed(stack, &e),
        }
    }

    /// `(socket, pattern?)`
    fn socket_receive(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        let Some(wanted) = wanted(stack) else {
            return Err(bad(1, "receive", format_args!("bad pattern argument")));
        };
        let tcp = this(stack, "receive")?;
        receive(cx, stack, tcp, Ask::Plain(wanted))
    }

    /// `(socket, max)`
    fn socket_receiveany(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        if stack.len() != 2 {
            let n = stack.len().max(1);
            return Err(format!("expecting 2 arguments (including the object), but got {n}").into());
        }
        let Some(max) = stack.to_number(2).filter(|n| *n > 0.0) else {
            return Err(bad(2, "?", format_args!("bad max argument")));
        };
        let max = max as usize;
        debug_cycle(format_args!("lua tcp socket calling receiveany() method to read at most {max} bytes"));
        debug_cycle(format_args!("lua tcp socket read any"));
        let tcp = this(stack, "receiveany")?;
        receive(cx, stack, tcp, Ask::Plain(Wanted::Any(max)))
    }

    /// `(socket, pattern, options?)`: a function that reads up to the pattern.
    fn socket_receiveuntil(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        if stack.as_bytes(2).is_none() {
            return Err(wrong(stack, 2, 1, "receiveuntil", "string expected"));
        }
        let mut inclusive = false;
        if !stack.is_nil(3) {
            if !stack.is_table(3) {
                return Err(wrong(stack, 3, 2, "receiveuntil", "table expected"));
            }
            if !stack.push_field(3, c"inclusive") {
                return Err(Raise::Top);
            }
            if !stack.is_nil(-1) && !stack.is_boolean(-1) {
                let of = stack.type_name(-1);
                let why = format_args!("bad \"inclusive\" option value type: {of}");
                return Err(bad(2, "receiveuntil", why));
            }
            inclusive = stack.boolean(-1);
        }
        let Some(until) = Until::new(stack.bytes(2).unwrap_or_default(), inclusive) else {
            return refuse(stack, b"pattern is empty");
        };
        stack.push_copy(1);
        stack.push_object(Rc::new(RefCell::new(until)));
        stack.push_function(socket_next_piece::entry, 2);
        Ok(Answer::Values(1))
    }

    /// `(size?)`: the next piece before the pattern; without a size all of it. Upvalues: the socket, the state.
    fn socket_next_piece(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        let mut size = None;
        if !stack.is_nil(1) {
            let Some(n) = stack.to_number(1).filter(|n| *n >= 0.0) else {
                return Err(bad(1, "?", format_args!("bad pattern argument")));
            };
            if n as usize == 0 {
                stack.push_bytes(b"");
                return Ok(Answer::Values(1));
            }
            size = Some(n as usize);
        }
        stack.truncate(0);
        stack.push_upvalue(1);
        stack.push_upvalue(2);
        let tcp = this(stack, "receiveuntil")?;
        let Some(until) = stack.object::<Rc<RefCell<Until>>>(2).cloned() else { return Err("bad request".into()) };
        receive(cx, stack, tcp, Ask::Until { until, size })
    }

    /// `(socket, milliseconds)`
    fn socket_settimeout(cx, stack) -> Answered {
        let timeout = args::timeout(stack, 2)?;
        this::<Tcp>(stack, "settimeout")?.set_timeouts(timeout, timeout, timeout);
        Ok(Answer::Values(0))
    }

    /// `(socket, connecting, sending, reading)`, in milliseconds
    fn socket_settimeouts(cx, stack) -> Answered {
        let of = |i| args::timeout(stack, i);
        let (connecting, sending, reading) = (of(2)?, of(3)?, of(4)?);
        this::<Tcp>(stack, "settimeouts")?.set_timeouts(connecting, sending, reading);
        Ok(Answer::Values(0))
    }

    /// `(socket, milliseconds?, size?)`
    fn socket_setkeepalive(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        // here zero is for ever
        let mut timeout = args::timeout(stack, 2)?;
        if stack.to_number(2) == Some(0.0) {
            timeout = Some(Duration::ZERO);
        }
        let mut size = None;
        if !stack.is_nil(3) {
            let Some(n) = stack.to_number(3).filter(|n| *n > 0.0) else {
                let value = String::from_utf8_lossy(&stack.text(3)).into_owned();
                return Err(bad(3, "?", format_args!("bad \"pool_size\" option value: {value}")));
            };
            size = Some(n as usize);
        }
        let tcp = this::<Tcp>(stack, "setkeepalive")?;
        let result = check_open(cx, &tcp, "set keepalive on").and_then(|_| {
            let main = cycle_main_conf().ok_or(SocketError::Closed)?;
            tcp.keep_alive(&main.pools, timeout, size)
        });
        finish(stack, result)
    }

    /// `(socket)`: how often the connection was used before.
    fn socket_getreusedtimes(cx, stack) -> Answered {
        let tcp = this::<Tcp>(stack, "getreusedtimes")?;
        let reused = match check(cx, &tcp) {
            Ok(_) => tcp.reused(),
            // one that is on its way was not used before
            Err(SocketError::Busy(_)) => 0,
            Err(e) => return failed(stack, &e),
        };
        stack.push_number(reused.into());
        Ok(Answer::Values(1))
    }

    /// `(socket)`
    fn socket_close(cx, stack) -> Answered {
        let tcp = this::<Tcp>(stack, "close")?;
        let result = check(cx, &tcp).and_then(|_| tcp.close());
        finish(stack, result)
    }

    /// `(socket, "send")`
    fn socket_shutdown(cx, stack) -> Answered {
        if stack.bytes(2) != Some(b"send") {
            return Err(bad(1, "shutdown", format_args!("expected direction: \"send\"")));
        }
        let tcp = this::<Tcp>(stack, "shutdown")?;
        let result = check(cx, &tcp).and_then(|_| Ok(tcp.stream()?.shutdown_send()?));
        finish(stack, result)
    }

    /// `(socket)`: the number of its descriptor.
    fn socket_getfd(cx, stack) -> Answered {
        let tcp = this::<Tcp>(stack, "getfd")?;
        match check(cx, &tcp).and_then(|_| tcp.stream()?.fd().ok_or(SocketError::Closed)) {
            Ok(fd) => {
                stack.push_number(fd.into());
                Ok(Answer::Values(1))
            }
            Err(e) => failed(stack, &e),
        }
    }

    /// `(socket, option, value)`
    fn socket_setoption(cx, stack) -> Answered {
        if !stack.is_nil(2) && stack.is_nil(3) {
            return refuse(stack, b"missing the \"value\" argument");
        }
        let (level, name) = match option(stack) {
            Ok(option) => option,
            Err(why) => return refuse(stack, &why),
        };
        let value = if stack.is_boolean(3) {
            i32::from(stack.boolean(3))
        } else {
            stack.to_number(3).unwrap_or_default() as i32
        };
        let tcp = this::<Tcp>(stack, "setoption")?;
        match check(cx, &tcp).and_then(|_| Ok(tcp.stream()?.set_option(level, name, value)?)) {
            Ok(()) => {
                stack.push_boolean(true);
                Ok(Answer::Values(1))
            }
            Err(e) => failed(stack, &e),
        }
    }

    /// `(socket, option)`: its value.
    fn socket_getoption(cx, stack) -> Answered {
        let (level, name) = match option(stack) {
            Ok(option) => option,
            Err(why) => return refuse(stack, &why),
        };
        let tcp = this::<Tcp>(stack, "getoption")?;
        match check(cx, &tcp).and_then(|_| Ok(tcp.stream()?.option(level, name)?)) {
            Ok(n) => {
                stack.push_number(n.into());
                Ok(Answer::Values(1))
            }
            Err(e) => failed(stack, &e),
        }
    }

    /// `(socket, address)`: has its connections leave from there.
    fn socket_bind(cx, stack) -> Answered {
        let Some(address) = stack.bytes(2) else {
            return Err(wrong(stack, 2, 1, "bind", "string expected"));
        };
        let Some(endpoint @ Endpoint::Ip(_)) = Endpoint::parse(address, 0) else {
            return refuse(stack, b"bad address");
        };
        this::<Tcp>(stack, "bind")?.bind(Some(endpoint));
        Ok(Answer::Values(one(stack)))
    }
}
