//! Waits of several steps, written as futures.

use core::future::Future;
use std::rc::Rc;

use super::wait::{Armed, Waker};
use crate::ngx::job::{Done, Job};
use crate::vm::Stack;

/// A future that has not begun, and ends in what is to be left on the thread's stack. Killing the thread drops it where it
/// stands.
pub trait Work {
    fn begin(self: Rc<Self>, waker: &Waker, stack: &mut Stack<'_>) -> Armed;
}

/// The future as one that begins when its thread has yielded.
pub fn later<R>(future: impl Future<Output = R> + 'static) -> Rc<dyn Work>
where
    R: FnOnce(&mut Stack<'_>) -> i32 + 'static,
{
    Job::<_, Waker>::new(future)
}

impl<F, R> Work for Job<F, Waker>
where
    F: Future<Output = R> + 'static,
    R: FnOnce(&mut Stack<'_>) -> i32 + 'static,
{
    fn begin(self: Rc<Self>, waker: &Waker, stack: &mut Stack<'_>) -> Armed {
        // what comes at once is not worth a wake
        match self.start(|| waker.clone()) {
            Ok(push) => {
                stack.truncate(0);
                Armed::Ready(push(stack))
            }
            Err(running) => Armed::Work(running),
        }
    }
}

impl<R> Done<R> for Waker
where
    R: FnOnce(&mut Stack<'_>) -> i32,
{
    fn done(self, push: R) {
        self.wake(push);
    }
}
