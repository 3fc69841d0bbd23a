//! `ngx.thread`: threads of a script, which take turns.

use crate::native::{classics, Answer, Raise};
use crate::phase::YIELDING;
use crate::run::{KillError, Task, ThreadId};
use crate::vm::Stack;

type Answered = Result<Answer, Raise>;

const NOT_A_THREAD: &str = "attempt to wait on a coroutine that is not a user thread";
const GONE: &str = "already waited or killed";

fn refuse(stack: &mut Stack<'_>, why: &str) -> Answered {
    stack.push_nil();
    stack.push_bytes(why.as_bytes());
    Ok(Answer::Values(2))
}

/// The thread that value `i` is; or nothing when it was waited for or killed.
fn asked(task: &Task, stack: &Stack<'_>, i: i32) -> Result<Option<ThreadId>, Raise> {
    let co = stack.coroutine(i).ok_or(NOT_A_THREAD)?;
    match task.find(co) {
        Some((id, parent)) if parent == stack.identity() => Ok(Some(id)),
        Some(_) => Err("only the parent coroutine can wait on the thread".into()),
        None if task.is_gone(co) => Ok(None),
        None => Err(NOT_A_THREAD.into()),
    }
}

classics! {
    /// `(function, arguments…)`: the coroutine of a new thread.
    fn thread_spawn(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        if !stack.is_function(1) {
            let got = if stack.is_nil(1) { "no value" } else { stack.type_name(1) };
            return Err(format!("bad argument #1 to 'spawn' (function expected, got {got})").into());
        }
        let parent = stack.identity();
        Ok(Answer::wait_with(stack.len(), move |waker, stack| waker.task().spawn(parent, stack, 3)))
    }

    /// `(coroutines…)`: what the first of them that has ended returned, behind true or false.
    fn thread_wait(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        if stack.is_nil(1) {
            return Err("at least one coroutine should be specified".into());
        }
        let task = cx.task().ok_or(NOT_A_THREAD)?;
        if stack.len() == 1 {
            let Some(id) = asked(&task, stack, 1)? else { return refuse(stack, GONE) };
            if task.has_ended(id) {
                return Ok(Answer::Values(task.take_ended(&[id], stack).unwrap_or(0)));
            }
            return Ok(Answer::wait(move |waker, stack| waker.task().join(waker.thread(), vec![id], stack)));
        }
        let mut others = Vec::with_capacity(stack.len() as usize);
        for i in 1..=stack.len() {
            let Some(id) = asked(&task, stack, i)? else { return refuse(stack, GONE) };
            others.push(id);
        }
        if let Some(results) = task.take_ended(&others, stack) {
            return Ok(Answer::Values(results));
        }
        Ok(Answer::wait(move |waker, stack| waker.task().join(waker.thread(), others, stack)))
    }

    /// `(coroutine)`
    fn thread_kill(cx, stack) -> Answered {
        cx.require(YIELDING)?;
        let Some(co) = stack.coroutine(1) else {
            return Err("bad argument #1 to 'kill' (lua thread expected)".into());
        };
        let task = cx.task();
        let found = task.as_deref().and_then(|task| Some((task, task.find(co)?)));
        match found {
            Some((task, (id, parent))) if parent == stack.identity() => match task.kill(id) {
                Ok(()) => {
                    stack.push_number(1.0);
                    Ok(Answer::Values(1))
                }
                Err(KillError::Gone) => refuse(stack, GONE),
                Err(KillError::Ended) => refuse(stack, "already terminated"),
                Err(KillError::Busy) => refuse(stack, "pending subrequests"),
            },
            Some(_) => refuse(stack, "killer not parent"),
            None if task.as_deref().is_some_and(|task| task.is_gone(co)) => refuse(stack, GONE),
            None => refuse(stack, "not user thread"),
        }
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
