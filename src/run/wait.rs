//! What a script can wait for: operations, as the prelude yields them.

use core::any::Any;

use super::{wake, End};
use crate::api;
use crate::ngx::{Posted, Request};
use crate::phase::Phase;
use crate::vm::Stack;

/// What a waiting script holds; dropping it cancels the wait.
pub type Held = Box<dyn Any>;

/// What came of an operation.
pub enum Armed {
    /// It takes time: the holder wakes the script.
    Wait(Held),
    /// It is done already; so many results are on the stack.
    Ready(i32),
    /// It ends the script.
    End(End),
}

/// An operation that scripts yield: `yield(tag, base.ops.NAME, arguments…)`, from stack index 3 on.
pub struct Op {
    pub name: &'static str,
    pub arm: fn(Request, Phase, &mut Stack<'_>) -> Armed,
}

/// Arms what the script has just yielded.
pub fn arm(request: Request, phase: Phase, stack: &mut Stack<'_>) -> Armed {
    if !stack.is_tag(1) {
        // a plain coroutine.yield(): others have their turn, then it goes on
        stack.truncate(0);
        return Armed::Wait(Box::new(Posted::new(Box::new(move || wake(request, |_| 0)))));
    }
    let index = usize::try_from(stack.int(2)).unwrap_or(usize::MAX);
    match api::ops().nth(index) {
        Some(op) => {
            let armed = (op.arm)(request, phase, stack);
            if let Armed::Wait(_) = armed {
                stack.truncate(0);
            }
            armed
        }
        None => Armed::Ready(0),
    }
}
