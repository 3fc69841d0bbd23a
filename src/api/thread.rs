//! `ngx.thread`: threads of a script, which take turns.

use crate::native::classics;
use crate::run::{Armed, KillError, Op, Waker};
use crate::vm::Stack;

const NOT_A_THREAD: f64 = -1.0;
const NOT_YOURS: f64 = -2.0;
const GONE: f64 = -3.0;
const ENDED: f64 = -4.0;
const BUSY: f64 = -5.0;
const WAIT: f64 = 1.0;

/// `(parent, function, arguments…)`: the coroutine of a new thread.
fn spawn(waker: &Waker, stack: &mut Stack<'_>) -> Armed {
    match stack.coroutine(3) {
        Some(parent) => waker.task().spawn(parent, stack, 4),
        None => Armed::Ready(0),
    }
}

classics! {
    /// `(coroutines…)`: what the first of them that has ended returned, behind true or false; or one number: -1 when one
    /// is no thread, -2 when it is another's, -3 when it was waited for or killed, 1 with a wait prepared.
    fn thread_wait(cx, stack) {
        let (me, asked) = (stack.identity(), stack.len());
        let Some(task) = cx.task() else { return answer(stack, NOT_A_THREAD) };
        if let (1, Some(co)) = (asked, stack.coroutine(1)) {
            match task.find(co) {
                Some((id, parent)) if parent == me && task.has_ended(id) => {
                    return task.take_ended(&[id], stack).unwrap_or(0);
                }
                _ => {}
            }
        }
        let mut others = Vec::with_capacity(asked as usize);
        for i in 1..=asked {
            let Some(co) = stack.coroutine(i) else { return answer(stack, NOT_A_THREAD) };
            match task.find(co) {
                Some((id, parent)) if parent == me => others.push(id),
                Some(_) => return answer(stack, NOT_YOURS),
                None => return answer(stack, if task.is_gone(co) { GONE } else { NOT_A_THREAD }),
            }
        }
        if others.is_empty() {
            return answer(stack, NOT_A_THREAD);
        }
        if let Some(results) = task.take_ended(&others, stack) {
            return results;
        }
        cx.prepare(Box::new(move |waker, stack| waker.task().join(waker.thread(), others, stack)));
        answer(stack, WAIT)
    }

    /// `(coroutine)`: 0 when it was killed, else one of the numbers of `thread_wait`, -4 when it has ended, -5 when it
    /// waits for what cannot be cancelled.
    fn thread_kill(cx, stack) {
        let found = stack.coroutine(1).and_then(|co| Some((cx.task()?, co)));
        let Some((task, co)) = found else { return answer(stack, NOT_A_THREAD) };
        let code = match task.find(co) {
            Some((id, parent)) if parent == stack.identity() => match task.kill(id) {
                Ok(()) => 0.0,
                Err(KillError::Gone) => GONE,
                Err(KillError::Ended) => ENDED,
                Err(KillError::Busy) => BUSY,
            },
            Some(_) => NOT_YOURS,
            None if task.is_gone(co) => GONE,
            None => NOT_A_THREAD,
        };
        answer(stack, code)
    }

    /// `(coroutine)`: 1 for a thread that has not ended, 2 for one that nobody has waited for, 3 for one that is gone, 0
    /// for other coroutines.
    fn thread_state(cx, stack) {
        let found = stack.coroutine(1).and_then(|co| Some((cx.task()?, co)));
        let state = match found {
            None => 0.0,
            Some((task, co)) => match task.find(co) {
                Some((id, _)) if task.has_ended(id) => 2.0,
                Some(_) => 1.0,
                None if task.is_gone(co) => 3.0,
                None => 0.0,
            },
        };
        answer(stack, state)
    }
}

fn answer(stack: &mut Stack<'_>, code: f64) -> i32 {
    stack.push_number(code);
    1
}

pub const OPS: &[Op] = &[Op { name: "thread_spawn", arm: spawn }];
