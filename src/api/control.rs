//! `ngx.exit`, `ngx.exec`, `ngx.sleep`: what ends or delays a script.

use core::time::Duration;

use crate::native::natives;
use crate::ngx::{Posted, Rc, Request, Timer};
use crate::phase::Phase;
use crate::run::{wake, Armed, End, Op};
use crate::vm::Stack;

natives! {
    /// `ngx.exit(code)` in a phase that runs to its end first.
    fn exit_later(cx, code: val<i32>) -> () {
        if let Some(ctx) = cx.request().and_then(crate::ngx::running_ctx) {
            ctx.exit.set(Some(Rc(code as isize)));
        }
    }
}

fn exit(_: Request, _: Phase, stack: &mut Stack<'_>) -> Armed {
    Armed::End(End::Exit(Rc(stack.int(3) as isize)))
}

fn exec(_: Request, _: Phase, stack: &mut Stack<'_>) -> Armed {
    let uri = stack.bytes(3).unwrap_or_default().to_vec();
    Armed::End(End::Exec { uri, args: stack.bytes(4).map(<[u8]>::to_vec) })
}

fn sleep(request: Request, _: Phase, stack: &mut Stack<'_>) -> Armed {
    let ms = stack.int(3).max(0) as u64;
    let fire: Box<dyn FnOnce()> = Box::new(move || wake(request, |_| 0));
    if ms == 0 {
        return Armed::Wait(Box::new(Posted::new(fire)));
    }
    Armed::Wait(Box::new(Timer::after(Duration::from_millis(ms), fire)))
}

pub const OPS: &[Op] =
    &[Op { name: "exit", arm: exit }, Op { name: "exec", arm: exec }, Op { name: "sleep", arm: sleep }];
