//! `ngx.semaphore`

use std::rc::Rc;

use core::time::Duration;

use super::socket::push_with_metatable;
use crate::native::{classics, Answer, Raise};
use crate::phase::YIELDING;
use crate::run::{Armed, Semaphore};
use crate::vm::Stack;

type Answered = Result<Answer, Raise>;

fn this(stack: &mut Stack<'_>) -> Result<Rc<Semaphore>, Raise> {
    stack.own(1).ok_or_else(|| "not a semaphore object".into())
}

fn yes(stack: &mut Stack<'_>) -> Answered {
    stack.push_boolean(true);
    Ok(Answer::Values(1))
}

classics! {
    /// `(n?)`: a semaphore with so many resources, and upvalue 1 as its metatable.
    fn semaphore_new(cx, stack) -> Answered {
        let n = if stack.is_nil(1) { Some(0.0) } else { stack.number(1) };
        match n {
            Some(n) if n >= 0.0 && n.fract() == 0.0 => {
                push_with_metatable(stack, Semaphore::new(n as i64), 1)
            }
            _ => Err("no negative number".into()),
        }
    }

    /// `(semaphore)`: resources at hand, or below zero how many wait for one.
    fn semaphore_count(cx, stack) -> Answered {
        let count = this(stack)?.count();
        stack.push_number(count as f64);
        Ok(Answer::Values(1))
    }

    /// `(semaphore, n?)`
    fn semaphore_post(cx, stack) -> Answered {
        let semaphore = this(stack)?;
        let n = if stack.is_nil(2) { Some(1.0) } else { stack.number(2) };
        match n {
            Some(n) if n >= 1.0 && n.fract() == 0.0 => {
                semaphore.post(n as i64);
                yes(stack)
            }
            _ => Err("no resource: the number must be a positive integer".into()),
        }
    }

    /// `(semaphore, seconds)`: true with a resource taken, or nil and "timeout".
    fn semaphore_wait(cx, stack) -> Answered {
        let semaphore = this(stack)?;
        let Some(seconds) = stack.number(2).filter(|n| *n >= 0.0) else {
            return Err("invalid timeout: a number of seconds, zero or more, is expected".into());
        };
        if seconds > 0.0 {
            cx.require(YIELDING)?;
        }
        if semaphore.try_take() {
            return yes(stack);
        }
        let ms = (seconds * 1000.0) as u64;
        if ms == 0 {
            stack.push_nil();
            stack.push_bytes(b"timeout");
            return Ok(Answer::Values(2));
        }
        Ok(Answer::wait(move |waker, _| {
            Armed::Wait(semaphore.wait(waker.clone(), Duration::from_millis(ms)))
        }))
    }
}
