//! The arguments of the sockets' methods.

use core::time::Duration;
use std::io::Write;
use std::rc::Rc;

use crate::native::{Cx, Raise};
use crate::vm::{Sendable, Stack};

/// The object that the socket at index 1 has.
pub fn this<T: 'static>(stack: &mut Stack<'_>, name: &str) -> Result<Rc<T>, Raise> {
    match stack.own(1) {
        Some(own) => Ok(own),
        None => Err(wrong(stack, 1, 1, name, "table expected")),
    }
}

/// Refuses value `i`, as argument `n` of the method.
#[cold]
pub fn wrong(stack: &Stack<'_>, i: i32, n: i32, name: &str, expected: &str) -> Raise {
    bad(n, name, format_args!("{expected}, got {}", stack.type_name(i)))
}

#[cold]
pub fn bad(n: i32, name: &str, why: core::fmt::Arguments<'_>) -> Raise {
    format!("bad argument #{n} to '{name}' ({why})").into()
}

/// What the method is to send: a string of Lua's, or text in the scratch buffer.
pub fn sendable<'a>(cx: Cx, stack: &'a Stack<'_>) -> Result<&'a [u8], Raise> {
    let out = cx.scratch();
    match stack.sendable(2, out) {
        Ok(Sendable::Text(text)) => Ok(text),
        Ok(Sendable::Written) => Ok(out),
        Err(why) => Err(bad(1, "send", format_args!("{why}"))),
    }
}

/// The milliseconds at `i`. Zero and nil stand for what is configured.
pub fn timeout(stack: &Stack<'_>, i: i32) -> Result<Option<Duration>, &'static str> {
    let given = !stack.is_nil(i) && (stack.boolean(i) || !stack.is_boolean(i));
    let ms = if given { stack.to_number(i) } else { Some(0.0) };
    match ms {
        Some(ms) if (0.0..=f64::from(i32::MAX)).contains(&ms) => {
            Ok((ms > 0.0).then(|| Duration::from_millis(ms as u64)))
        }
        _ => Err("bad timeout value"),
    }
}

/// The host at index 2, whose text it becomes.
pub fn host<'a>(stack: &'a mut Stack<'_>, name: &str) -> Result<&'a [u8], Raise> {
    if stack.as_bytes(2).is_none() {
        return Err(wrong(stack, 2, 1, name, "string expected"));
    }
    Ok(stack.bytes(2).unwrap_or_default())
}

/// The port that a number at `i` is; or what to answer.
pub fn port(stack: &mut Stack<'_>, i: i32, number: f64) -> Result<u16, Vec<u8>> {
    if (0.0..=65535.0).contains(&number) && number.fract() == 0.0 {
        return Ok(number as u16);
    }
    Err([b"bad port number: ", stack.as_bytes(i).unwrap_or_default()].concat())
}

/// What the options of `connect` say of the pool.
#[derive(Default)]
pub struct Pool {
    /// Where on the stack its name lies, if they name it.
    pub name: Option<i32>,
    pub size: Option<usize>,
    pub backlog: Option<usize>,
}

/// The options at `i`.
pub fn pool(stack: &mut Stack<'_>, i: i32) -> Result<Pool, Raise> {
    if stack.is_nil(i) {
        return Ok(Pool::default());
    }
    if !stack.is_table(i) {
        return Err(wrong(stack, i, 3, "connect", "table expected"));
    }
    if !stack.push_field(i, c"pool") {
        return Err(Raise::Top);
    }
    let mut name = None;
    if stack.as_bytes(-1).is_some() {
        name = Some(stack.len());
    } else if !stack.is_nil(-1) {
        let of = stack.type_name(-1);
        return Err(bad(3, "connect", format_args!("bad \"pool\" option type: {of}")));
    }
    let size = option_number(stack, i, c"pool_size", 1.0)?;
    let backlog = option_number(stack, i, c"backlog", 0.0)?;
    Ok(Pool { name, size, backlog })
}

fn option_number(
    stack: &mut Stack<'_>,
    options: i32,
    name: &core::ffi::CStr,
    least: f64,
) -> Result<Option<usize>, Raise> {
    if !stack.push_field(options, name) {
        return Err(Raise::Top);
    }
    if stack.is_nil(-1) {
        return Ok(None);
    }
    let shown = name.to_string_lossy();
    match stack.number(-1) {
        Some(n) if n >= least && n.fract() == 0.0 => Ok(Some(n as usize)),
        Some(_) => {
            let value = String::from_utf8_lossy(&stack.text(-1)).into_owned();
            Err(bad(3, "connect", format_args!("bad \"{shown}\" option value: {value}")))
        }
        None => {
            let of = stack.type_name(-1);
            Err(bad(3, "connect", format_args!("bad \"{shown}\" option type: {of}")))
        }
    }
}

/// The name of the pool of connections to the host at index 2: `host:port`, or that of a path.
pub fn pool_name(cx: Cx, stack: &Stack<'_>, given: Option<i32>, port: Option<u16>) -> &'static [u8] {
    let name = cx.scratch();
    name.extend_from_slice(stack.bytes(given.unwrap_or(2)).unwrap_or_default());
    if let (None, Some(port)) = (given, port) {
        // writing to memory does not fail
        let _ = write!(name, ":{port}");
    }
    name
}
