//! Waits of several steps, written as futures.

use core::future::Future;
use std::rc::Rc;

use super::wait::{Armed, Waker};
use crate::ngx::job::{Done, Job};
use crate::vm::Stack;

/// Runs `future` for the thread that `waker` wakes; it ends in what is to be left on the thread's stack. Killing the
/// thread drops the future where it stands. For operations of the prelude; a classic answers with the future itself.
#[allow(dead_code)]
pub fn work<R>(waker: &Waker, stack: &mut Stack<'_>, future: impl Future<Output = R> + 'static) -> Armed
where
    R: FnOnce(&mut Stack<'_>) -> i32 + 'static,
{
    Job::new(future).begin(waker, stack)
}

/// Such a future that has not begun.
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
