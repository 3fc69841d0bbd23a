//! `ngx.semaphore`: scripts of one worker that wait for each other.

use core::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use super::{Held, Waker};
use crate::ngx::Timer;
use crate::vm::Stack;

#[derive(Default)]
pub struct Semaphore {
    resources: Cell<i64>,
    waiting: RefCell<VecDeque<Weak<Waiting>>>,
    /// How many of `waiting` still wait.
    waiters: Cell<i64>,
}

/// One that waits; dropping it leaves the queue.
struct Waiting {
    semaphore: Rc<Semaphore>,
    waker: Cell<Option<Waker>>,
    _timeout: Timer,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.waker.take().is_some() {
            self.semaphore.waiters.set(self.semaphore.waiters.get() - 1);
        }
    }
}

impl Semaphore {
    pub fn new(resources: i64) -> Rc<Semaphore> {
        let semaphore = Semaphore::default();
        semaphore.resources.set(resources);
        Rc::new(semaphore)
    }

    /// Resources at hand, or below zero how many wait for one.
    pub fn count(&self) -> i64 {
        self.resources.get() - self.waiters.get()
    }

    /// Takes a resource if there is one that nobody waits for.
    pub fn try_take(&self) -> bool {
        if self.count() <= 0 {
            return false;
        }
        self.resources.set(self.resources.get() - 1);
        true
    }

    /// Adds `n` resources, and gives what there is to those that wait.
    pub fn post(&self, n: i64) {
        self.resources.set(self.resources.get().saturating_add(n));
        while self.resources.get() > 0 {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(next) = next else { return };
            // one that has given up is still in the queue
            let Some(waker) = next.upgrade().and_then(|waiting| waiting.waker.take()) else { continue };
            self.waiters.set(self.waiters.get() - 1);
            self.resources.set(self.resources.get() - 1);
            waker.wake_soon(|stack| {
                stack.push_boolean(true);
                1
            });
        }
    }

    /// Has `waker` woken with true once there is a resource for it, or with nil and "timeout".
    pub fn wait(self: &Rc<Self>, waker: Waker, timeout: core::time::Duration) -> Held {
        let late = waker.clone();
        let timeout = Timer::after(timeout, move || late.wake(timed_out));
        let waiting =
            Rc::new(Waiting { semaphore: Rc::clone(self), waker: Cell::new(Some(waker)), _timeout: timeout });
        self.waiters.set(self.waiters.get() + 1);
        let mut queue = self.waiting.borrow_mut();
        // those that gave up are swept out before they are many
        if queue.len() as i64 > 2 * self.waiters.get() + 16 {
            queue.retain(|w| w.strong_count() > 0);
        }
        queue.push_back(Rc::downgrade(&waiting));
        Box::new(waiting)
    }
}

fn timed_out(stack: &mut Stack<'_>) -> i32 {
    stack.push_nil();
    stack.push_bytes(b"timeout");
    2
}
