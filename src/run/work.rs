//! Waits of several steps, written as futures.

use core::cell::Cell;
use core::future::Future;
use std::rc::Rc;

use super::wait::{Armed, Waker};
use crate::vm::Stack;

/// Runs `work` for the thread that `waker` wakes; it ends in what is to be left on the thread's stack. Killing the
/// thread drops the future where it stands.
pub fn work<R>(waker: &Waker, stack: &mut Stack<'_>, work: impl Future<Output = R> + 'static) -> Armed
where
    R: FnOnce(&mut Stack<'_>) -> i32 + 'static,
{
    // what comes at once is not worth a wake
    let at_once: Rc<Cell<AtOnce<R>>> = Rc::new(Cell::new(AtOnce::Possible));
    let (waker, here) = (waker.clone(), Rc::clone(&at_once));
    let task = ::ngx::async_::spawn(async move {
        let push = work.await;
        match here.replace(AtOnce::Past) {
            AtOnce::Possible => here.set(AtOnce::Happened(push)),
            _ => waker.wake(push),
        }
    });
    match at_once.replace(AtOnce::Past) {
        AtOnce::Happened(push) => {
            stack.truncate(0);
            Armed::Ready(push(stack))
        }
        _ => Armed::Wait(Box::new(task)),
    }
}

enum AtOnce<R> {
    Possible,
    Happened(R),
    Past,
}
