//! `ngx.exit`, `ngx.exec`, `ngx.redirect`, `ngx.sleep`: what ends or delays a script.

use core::time::Duration;

use crate::native::{classics, natives, Answer, Raise, Str};
use crate::ngx::{debug_cycle, Level, Posted, Rc, Timer};
use crate::phase::YIELDING;
use crate::run::{Armed, End, Op, Waker};
use crate::vm::Stack;

natives! {
    /// `ngx.exit(code)` in a phase that runs to its end first.
    fn exit_later(cx, code: val<i32>) -> () {
        if let Some(host) = cx.host() {
            host.debug(format_args!("lua exit with code {code}"));
        }
        if let Some(ctx) = cx.request().and_then(crate::ngx::running_ctx) {
            ctx.exit.set(Some(Rc(code as isize)));
        }
    }

    /// Path and arguments of `uri` in `parts`; -1 when nginx calls it unsafe (and logs it).
    fn exec_split(cx, uri: bytes, parts: slice<Str>) -> i32 {
        let Some(request) = cx.request() else { return -1 };
        match (request.split_uri(uri), parts) {
            (Some((path, args)), [a, b]) => {
                a.lend(path);
                b.lend(args);
                0
            }
            _ => -1,
        }
    }
}

fn exit(waker: &Waker, stack: &mut Stack<'_>) -> Armed {
    waker.host().debug(format_args!("lua exit with code {}", stack.int(3)));
    Armed::End(End::Exit(Rc(stack.int(3) as isize)))
}

/// `(uri, status)`: sets status and `Location`, and ends the script.
fn redirect(waker: &Waker, stack: &mut Stack<'_>) -> Armed {
    let status = stack.int(4).max(0);
    // a script that may not end now has changed nothing
    if !waker.task().waits_to_the_end() {
        let Some(request) = waker.request() else { return Armed::Ready(0) };
        if request.set_redirect(stack.bytes(3).unwrap_or_default()).is_err() {
            stack.truncate(0);
            stack.push_nil();
            stack.push_bytes(b"no memory");
            return Armed::Ready(2);
        }
        request.set_status(status as usize);
    }
    Armed::End(End::Exit(Rc(status as isize)))
}

fn exec(_: &Waker, stack: &mut Stack<'_>) -> Armed {
    let uri = stack.bytes(3).unwrap_or_default().to_vec();
    Armed::End(End::Exec { uri, args: stack.bytes(4).map(<[u8]>::to_vec) })
}

/// Wakes the thread that sleeps.
fn awake(waker: Waker) {
    if let Some(request) = waker.request().filter(|r| r.logs(Level::Debug)) {
        let (uri, args) = (String::from_utf8_lossy(request.uri()), String::from_utf8_lossy(request.args()));
        waker.host().debug(format_args!("lua sleep timer expired: \"{uri}?{args}\""));
    }
    waker.wake(|_| 0);
}

/// A thread that sleeps for a while.
struct Sleeper(Option<Waker>);

impl Drop for Sleeper {
    fn drop(&mut self) {
        if self.0.is_some() {
            debug_cycle(format_args!("lua clean up the timer for pending ngx.sleep"));
        }
    }
}

fn sleep(waker: &Waker, ms: u64) -> Armed {
    waker.host().debug(format_args!("lua ready to sleep for {ms} ms"));
    let waker = waker.clone();
    if ms == 0 {
        return Armed::Wait(Posted::next(move || awake(waker)).held());
    }
    let mut sleeper = Sleeper(Some(waker));
    let fire = move || {
        if let Some(waker) = sleeper.0.take() {
            awake(waker);
        }
    };
    Armed::Wait(Timer::after(Duration::from_millis(ms), fire).held())
}

classics! {
    /// `(seconds)`
    fn sleep_for(cx, stack) -> Result<Answer, Raise> {
        cx.require(YIELDING)?;
        let Some(seconds) = stack.to_number(1) else {
            let got = stack.type_name(1);
            return Err(format!("bad argument #1 to 'sleep' (number expected, got {got})").into());
        };
        if seconds < 0.0 {
            let shown = String::from_utf8_lossy(&stack.text(1)).into_owned();
            return Err(format!("invalid sleep duration \"{shown}\"").into());
        }
        let ms = (seconds * 1000.0) as u64;
        Ok(Answer::wait(move |waker, _| sleep(waker, ms)))
    }
}

pub const OPS: &[Op] =
    &[Op { name: "exit", arm: exit }, Op { name: "redirect", arm: redirect }, Op { name: "exec", arm: exec }];
