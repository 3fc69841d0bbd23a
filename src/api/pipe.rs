//! `ngx.pipe`

use core::time::Duration;
use std::ffi::CString;
use std::rc::Rc;

use logic::receive::{Found, Wanted};

use crate::child::{push_ended, push_error, Child, ChildError, Side};
use crate::native::{classics, Answer, Cx, Raise};
use crate::ngx::child::Command;
use crate::run::Armed;
use crate::vm::Stack;

type Answered = Result<Answer, Raise>;

/// The program that a method's table has; the error points at the caller of the method.
fn this(cx: Cx, stack: &Stack<'_>) -> Result<Rc<Child>, Raise> {
    // one that was yielded and did not reach the driver would keep its pipe busy
    cx.forget_prepared();
    let child = stack.object::<Rc<Child>>(1).cloned();
    child.ok_or_else(|| Raise::from("not a process instance").above())
}

fn side(n: i64) -> Side {
    match n {
        0 => Side::Stdin,
        1 => Side::Stdout,
        _ => Side::Stderr,
    }
}

/// Texts that each end with a zero byte.
fn texts(all: &[u8]) -> Vec<CString> {
    all.split_inclusive(|c| *c == 0)
        .filter_map(|text| CString::from_vec_with_nul(text.to_vec()).ok())
        .collect()
}

/// Leaves true, or nil and why not.
fn done(stack: &mut Stack<'_>, result: Result<(), ChildError>) -> Answered {
    Ok(Answer::Values(match result {
        Ok(()) => {
            stack.push_boolean(true);
            1
        }
        Err(e) => push_error(&e, stack),
    }))
}

/// Leaves nil, why reading failed, and what had come.
fn push_partial(child: &Child, side: Side, e: &ChildError, stack: &mut Stack<'_>) -> i32 {
    let n = push_error(e, stack);
    if !child.take_partial(side, |text| stack.push_received(text)) {
        stack.push_bytes(b"");
    }
    n + 1
}

/// Leaves what was found, or that there is no room for it.
fn push_found(
    child: &Child,
    side: Side,
    wanted: &Wanted,
    found: Found,
    spare: &mut Vec<u8>,
    stack: &mut Stack<'_>,
) -> i32 {
    if child.take(side, wanted, found, spare, |text| stack.push_received(text)) {
        return 1;
    }
    let n = push_error(&ChildError::no_memory(), stack);
    stack.push_bytes(b"");
    n + 1
}

fn read(cx: Cx, stack: &mut Stack<'_>, child: Rc<Child>, side: Side, mut wanted: Wanted) -> Answer {
    let busy = match child.begin(side) {
        Ok(busy) => busy,
        Err(e) => return Answer::Values(push_error(&e, stack)),
    };
    match child.read_at_once(side, &mut wanted) {
        Ok(Some(found)) => {
            busy.is_done.set(true);
            Answer::Values(push_found(&child, side, &wanted, found, cx.scratch(), stack))
        }
        Err(e) => {
            busy.is_done.set(true);
            Answer::Values(push_partial(&child, side, &e, stack))
        }
        Ok(None) => Answer::work(async move {
            let result = child.read(side, &mut wanted).await;
            busy.is_done.set(true);
            move |stack: &mut Stack<'_>| {
                let _busy = busy;
                match result {
                    Ok(found) => push_found(&child, side, &wanted, found, &mut Vec::new(), stack),
                    Err(e) => push_partial(&child, side, &e, stack),
                }
            }
        }),
    }
}

fn write(child: Rc<Child>, data: &[u8]) -> Result<Result<usize, Answer>, ChildError> {
    let busy = child.begin(Side::Stdin)?;
    let written = child.write_at_once(data).inspect_err(|_| busy.is_done.set(true))?;
    if written == data.len() {
        busy.is_done.set(true);
        return Ok(Ok(written));
    }
    let data = data.to_vec();
    Ok(Err(Answer::work(async move {
        let result = child.write(&data, written).await;
        busy.is_done.set(true);
        drop(busy);
        move |stack: &mut Stack<'_>| match result {
            Ok(n) => {
                stack.push_number(n as f64);
                1
            }
            Err(e) => push_error(&e, stack),
        }
    })))
}

classics! {
    /// `(args, environ, merge_stderr, buffer_size)`: a program and its number, or nil and why not. The first two are texts
    /// that each end with a zero byte; without the second it has the worker's environment.
    fn pipe_spawn(cx, stack) -> Answered {
        let environ = stack.bytes(2).unwrap_or_default();
        let command = Command {
            args: texts(stack.bytes(1).unwrap_or_default()),
            environ: (!environ.is_empty()).then(|| texts(environ)),
            merge_stderr: stack.boolean(3),
        };
        let buffer_size = stack.number(4).unwrap_or(0.0) as usize;
        Ok(Answer::Values(match Child::spawn(&command, buffer_size, cx.host().as_ref()) {
            Ok(child) => {
                let pid = child.pid();
                stack.push_object(child);
                stack.push_number(f64::from(pid));
                2
            }
            Err(e) => {
                stack.push_nil();
                stack.push_bytes(e.to_string().as_bytes());
                2
            }
        }))
    }

    /// `(program, n, ms)`: n is 0 to write, 1 and 2 to read stdout and stderr, 3 to wait; 0 milliseconds are for ever.
    fn pipe_timeout(cx, stack) -> Answered {
        let timeout = Duration::from_millis(stack.number(3).unwrap_or(0.0) as u64);
        this(cx, stack)?.set_timeout(stack.int(2) as usize & 3, timeout);
        Ok(Answer::Values(0))
    }

    /// `(program, from, kind, n)`: from 1, stdout, or 2, stderr. Kind 0 is a line, 1 `n` bytes, 2 all, 3 at most `n` bytes.
    fn pipe_read(cx, stack) -> Answered {
        let child = this(cx, stack)?;
        let n = stack.number(4).unwrap_or(0.0) as usize;
        let wanted = match stack.int(3) {
            0 => Wanted::line(),
            1 => Wanted::Size(n),
            2 => Wanted::All,
            _ => Wanted::Any(n),
        };
        let from = side(stack.int(2));
        Ok(read(cx, stack, child, from, wanted))
    }

    /// `(program, data)`: how many bytes were written.
    fn pipe_write(cx, stack) -> Answered {
        let child = this(cx, stack)?;
        match write(child, stack.bytes(2).unwrap_or_default()) {
            Ok(Ok(n)) => {
                stack.push_number(n as f64);
                Ok(Answer::Values(1))
            }
            Ok(Err(wait)) => Ok(wait),
            Err(e) => Ok(Answer::Values(push_error(&e, stack))),
        }
    }

    /// `(program)`: whether it has ended well, "exit" or "signal", and the code or the signal.
    fn pipe_wait(cx, stack) -> Answered {
        let child = this(cx, stack)?;
        match child.wait_at_once() {
            Ok(Some(ended)) => Ok(Answer::Values(push_ended(ended, stack))),
            Ok(None) => Ok(Answer::wait(move |waker, _| Armed::Wait(child.wait(waker)))),
            Err(e) => Ok(Answer::Values(push_error(&e, stack))),
        }
    }

    /// `(program, signal)`
    fn pipe_kill(cx, stack) -> Answered {
        let result = this(cx, stack)?.kill(stack.int(2) as i32);
        done(stack, result)
    }

    /// `(program, n)`: closes stdin, 0, stdout, 1, or stderr, 2.
    fn pipe_shutdown(cx, stack) -> Answered {
        let result = this(cx, stack)?.shutdown(side(stack.int(2)));
        done(stack, result)
    }
}
