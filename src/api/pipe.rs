//! `ngx.pipe`

use core::time::Duration;
use std::ffi::CString;
use std::rc::Rc;

use logic::receive::Wanted;

use crate::child::{push_error, Busy, Child, ChildError, Side};
use crate::native::{natives, Cx, Handle, Str};
use crate::ngx::child::{Command, Ended};
use crate::run::{work, Armed};
use crate::vm::Stack;

const OK: i32 = 0;
const WAIT: i32 = 1;
const FAILED: i32 = -1;
/// The same as `FAILED`, and a part of what was asked for.
const PARTIAL: i32 = -2;
/// The child was ended by a signal.
const SIGNAL: i32 = 2;
/// With a wait for writing prepared.
const WAIT_WRITE: f64 = -3.0;

fn side(n: i32) -> Side {
    match n {
        0 => Side::Stdin,
        1 => Side::Stdout,
        _ => Side::Stderr,
    }
}

/// Puts the text of an error where Lua reads it.
fn say(cx: Cx, e: &dyn core::error::Error, message: &mut Str) {
    use std::io::Write;
    cx.begin_written();
    let out = cx.written();
    // writing to memory does not fail
    let _ = write!(out, "{e}");
    message.lend(out);
}

fn fail(cx: Cx, e: &ChildError, message: &mut Str) -> i32 {
    say(cx, e, message);
    FAILED
}

/// Texts that each end with a zero byte.
fn texts(all: &[u8]) -> Vec<CString> {
    all.split_inclusive(|c| *c == 0)
        .filter_map(|text| CString::from_vec_with_nul(text.to_vec()).ok())
        .collect()
}

fn read(cx: Cx, child: &Rc<Child>, side: Side, mut wanted: Wanted, out: &mut Str, message: &mut Str) -> i32 {
    // a wait that was prepared and could not be yielded
    drop(cx.prepared());
    let busy = match child.begin(side) {
        Ok(busy) => busy,
        Err(e) => return fail(cx, &e, message),
    };
    match child.read_at_once(side, &mut wanted) {
        Ok(Some(found)) => {
            busy.is_done.set(true);
            child.take(side, &wanted, found, cx.scratch(), |text| out.lend(text));
            OK
        }
        Ok(None) => {
            wait_to_read(cx, Rc::clone(child), busy, side, wanted);
            WAIT
        }
        Err(e) => {
            busy.is_done.set(true);
            child.take_partial(side, |text| out.lend(text));
            fail(cx, &e, message);
            PARTIAL
        }
    }
}

fn wait_to_read(cx: Cx, child: Rc<Child>, busy: Busy, side: Side, mut wanted: Wanted) {
    cx.prepare(Box::new(move |waker, stack| {
        work(waker, stack, async move {
            let result = child.read(side, &mut wanted).await;
            busy.is_done.set(true);
            move |stack: &mut Stack<'_>| {
                let _busy = busy;
                match result {
                    Ok(found) => {
                        child.take(side, &wanted, found, &mut Vec::new(), |text| stack.push_bytes(text));
                        1
                    }
                    Err(e) => {
                        let n = push_error(&e, stack);
                        child.take_partial(side, |text| stack.push_bytes(text));
                        n + 1
                    }
                }
            }
        })
    }));
}

fn write(cx: Cx, child: &Rc<Child>, data: &[u8]) -> Result<Option<usize>, ChildError> {
    drop(cx.prepared());
    let busy = child.begin(Side::Stdin)?;
    let written = child.write_at_once(data).inspect_err(|_| busy.is_done.set(true))?;
    if written == data.len() {
        busy.is_done.set(true);
        return Ok(Some(written));
    }
    let (child, data) = (Rc::clone(child), data.to_vec());
    cx.prepare(Box::new(move |waker, stack| {
        work(waker, stack, async move {
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
        })
    }));
    Ok(None)
}

fn wait(cx: Cx, child: &Rc<Child>, code: &mut i32) -> Result<i32, ChildError> {
    match child.wait_at_once()? {
        Some(Ended::Exit(n)) => {
            *code = n;
            Ok(OK)
        }
        Some(Ended::Signal(n)) => {
            *code = n;
            Ok(SIGNAL)
        }
        Some(Ended::Lost) => Err(ChildError::Lost),
        None => {
            let child = Rc::clone(child);
            cx.prepare(Box::new(move |waker, _| Armed::Wait(child.wait(waker))));
            Ok(WAIT)
        }
    }
}

natives! {
    /// A program that Lua gives back by `pipe_free`. `args` and `environ` are texts that each end with a zero byte; without
    /// the latter it has the worker's environment.
    fn pipe_spawn(cx, args: bytes, environ: bytes, merge_stderr: val<i32>, buffer_size: val<f64>, slot: out<Handle>, pid: out<i32>, message: out<Str>) -> i32 {
        let command = Command {
            args: texts(args),
            environ: (!environ.is_empty()).then(|| texts(environ)),
            merge_stderr: merge_stderr != 0,
        };
        match Child::spawn(&command, buffer_size as usize, cx.host().as_ref()) {
            Ok(child) => {
                *pid = child.pid();
                slot.keep(child);
                OK
            }
            Err(e) => {
                say(cx, &e, message);
                FAILED
            }
        }
    }

    fn pipe_free(cx, child: own<Rc<Child>>) -> () {
        drop(child);
    }

    /// `n`: 0 to write, 1 and 2 to read stdout and stderr, 3 to wait; in milliseconds, 0 is for ever.
    fn pipe_timeout(cx, child: our<Rc<Child>>, n: val<i32>, ms: val<f64>) -> () {
        child.set_timeout(n as usize & 3, Duration::from_millis(ms as u64));
    }

    /// `from`: 1 stdout, 2 stderr. `kind`: 0 a line, 1 `n` bytes, 2 all, 3 at most `n` bytes.
    fn pipe_read(cx, child: our<Rc<Child>>, from: val<i32>, kind: val<i32>, n: val<f64>, out: out<Str>, message: out<Str>) -> i32 {
        let wanted = match kind {
            0 => Wanted::line(),
            1 => Wanted::Size(n as usize),
            2 => Wanted::All,
            _ => Wanted::Any(n as usize),
        };
        read(cx, child, side(from), wanted, out, message)
    }

    /// How many bytes were written; -3 with a wait prepared.
    fn pipe_write(cx, child: our<Rc<Child>>, data: bytes, message: out<Str>) -> f64 {
        match write(cx, child, data) {
            Ok(Some(n)) => n as f64,
            Ok(None) => WAIT_WRITE,
            Err(e) => f64::from(fail(cx, &e, message)),
        }
    }

    /// 0 and the exit code, 2 and the signal, or 1 with a wait prepared.
    fn pipe_wait(cx, child: our<Rc<Child>>, code: out<i32>, message: out<Str>) -> i32 {
        wait(cx, child, code).unwrap_or_else(|e| fail(cx, &e, message))
    }

    fn pipe_kill(cx, child: our<Rc<Child>>, signal: val<i32>, message: out<Str>) -> i32 {
        child.kill(signal).map_or_else(|e| fail(cx, &e, message), |()| OK)
    }

    fn pipe_shutdown(cx, child: our<Rc<Child>>, what: val<i32>, message: out<Str>) -> i32 {
        child.shutdown(side(what)).map_or_else(|e| fail(cx, &e, message), |()| OK)
    }
}
