//! `ngx.thread`: threads of a script, which take turns.

use crate::run::{Armed, KillError, Op, ThreadId, Waker};
use crate::vm::Stack;

/// `(function, arguments…)`: the coroutine and the thread's number.
fn spawn(waker: &Waker, stack: &mut Stack<'_>) -> Armed {
    waker.task().spawn(stack, 3)
}

/// `(numbers…)`: which of them ended first, whether it ended well, and what it returned.
fn wait(waker: &Waker, stack: &mut Stack<'_>) -> Armed {
    let threads = (3..=stack.len()).map(|i| ThreadId::from_number(stack.int(i))).collect();
    waker.task().join(waker.thread(), threads, stack)
}

/// `(number)`: 1, as on OpenResty, or nil and why not.
fn kill(waker: &Waker, stack: &mut Stack<'_>) -> Armed {
    let result = waker.task().kill(ThreadId::from_number(stack.int(3)));
    stack.truncate(0);
    let why: &[u8] = match result {
        Ok(()) => {
            stack.push_number(1.0);
            return Armed::Ready(1);
        }
        Err(KillError::Gone) => b"already waited or killed",
        Err(KillError::Ended) => b"already terminated",
        Err(KillError::Busy) => b"pending sub-requests",
    };
    stack.push_nil();
    stack.push_bytes(why);
    Armed::Ready(2)
}

/// `(number)`: whether it has ended and nobody has waited for it yet.
fn has_ended(waker: &Waker, stack: &mut Stack<'_>) -> Armed {
    let ended = waker.task().has_ended(ThreadId::from_number(stack.int(3)));
    stack.truncate(0);
    stack.push_boolean(ended);
    Armed::Ready(1)
}

pub const OPS: &[Op] = &[
    Op { name: "thread_spawn", arm: spawn },
    Op { name: "thread_wait", arm: wait },
    Op { name: "thread_kill", arm: kill },
    Op { name: "thread_has_ended", arm: has_ended },
];
