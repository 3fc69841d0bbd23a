//! What a script can wait for: operations, as the prelude yields them.

use core::any::Any;
use std::rc::Rc;

use super::work::Work;
use super::{End, Host, Task, ThreadId};
use crate::api;
use crate::native::Cx;
use crate::ngx::job::Running;
use crate::ngx::{Posted, Request};
use crate::vm::Stack;

/// What a waiting thread holds; dropping it cancels the wait.
pub type Held = Box<dyn Any>;

/// What came of an operation.
pub enum Armed {
    /// It takes time: the waker wakes the thread.
    Wait(Held),
    /// The same, and the thread cannot be killed meanwhile.
    WaitToTheEnd(Held),
    /// The future wakes the thread.
    Work(Running),
    /// The first of these threads to end wakes this one.
    Join(Vec<ThreadId>),
    /// It is done already; so many results are on the stack.
    Ready(i32),
    /// The same, after the other threads that are ready.
    Later(i32),
    /// It ends the script.
    End(End),
}

/// An operation that scripts yield: `yield(tag, base.ops.NAME, arguments…)`, from stack index 3 on.
pub struct Op {
    pub name: &'static str,
    pub arm: fn(&Waker, &mut Stack<'_>) -> Armed,
}

/// The number with which a classic yields the operation that it has made ready.
pub const PREPARED: i32 = -1;

/// An operation that a classic has made ready, and yields.
pub enum Prepared {
    /// It finds the values it was yielded with from stack index 3 on.
    #[allow(clippy::type_complexity)]
    Call(Box<dyn FnOnce(&Waker, &mut Stack<'_>) -> Armed>),
    Work(Rc<dyn Work>),
}

impl Prepared {
    fn arm(self, waker: &Waker, stack: &mut Stack<'_>) -> Armed {
        match self {
            Prepared::Call(call) => call(waker, stack),
            Prepared::Work(work) => work.begin(waker, stack),
        }
    }
}

/// Goes on with a thread that waits. One that is woken late, because its thread was cancelled, does nothing.
#[derive(Clone)]
pub struct Waker {
    task: Rc<Task>,
    thread: ThreadId,
    /// Which of the thread's waits this one is for.
    waits: u32,
}

impl Waker {
    pub(super) fn new(task: &Rc<Task>, thread: ThreadId, waits: u32) -> Waker {
        Waker { task: Rc::clone(task), thread, waits }
    }

    pub fn task(&self) -> &Rc<Task> {
        &self.task
    }

    pub fn thread(&self) -> ThreadId {
        self.thread
    }

    pub fn host(&self) -> &Host {
        self.task.host()
    }

    /// The request whose script waits, unless it is one of none.
    pub fn request(&self) -> Option<Request> {
        self.task.host().request()
    }

    /// Goes on with what `push` leaves on the thread's stack. For events, never inside Lua.
    pub fn wake(self, push: impl FnOnce(&mut Stack<'_>) -> i32) {
        if self.task.ready(self.thread, self.waits, push) && !self.task.runs() {
            self.task.host().go_on(&self.task);
        }
    }

    /// An event that wakes the thread once the event loop has had a turn.
    pub fn post_next(self, push: impl FnOnce(&mut Stack<'_>) -> i32 + 'static) -> Posted {
        Posted::next(move || self.wake(push))
    }

    /// An event that wakes the thread right after those at hand.
    pub fn post(self, push: impl FnOnce(&mut Stack<'_>) -> i32 + 'static) -> Posted {
        Posted::now(move || self.wake(push))
    }

    /// The same as [`Waker::wake`], from anywhere: the thread goes on right after the events at hand. What it has
    /// waited for so far is dropped.
    pub fn wake_soon(self, push: impl FnOnce(&mut Stack<'_>) -> i32 + 'static) {
        let (task, thread, waits) = (Rc::clone(&self.task), self.thread, self.waits);
        let posted = self.post(push);
        task.hold(thread, waits, posted.held());
    }
}

/// Arms what a thread has just yielded.
pub(super) fn arm(task: &Rc<Task>, thread: ThreadId, stack: &mut Stack<'_>) -> Armed {
    if !stack.is_tag(1) {
        // a plain coroutine.yield(): others have their turn, then it goes on
        stack.truncate(0);
        return Armed::Later(0);
    }
    let number = stack.int(2);
    let waker = task.begin_wait(thread);
    let armed = if number == i64::from(PREPARED) {
        Cx::current().prepared().map(|operation| operation.arm(&waker, stack))
    } else {
        let op = usize::try_from(number).ok().and_then(|index| api::ALL_OPS.get(index));
        op.map(|op| (op.arm)(&waker, stack))
    };
    let armed = armed.unwrap_or(Armed::Ready(0));
    if let Armed::Wait(_) | Armed::WaitToTheEnd(_) | Armed::Work(_) = armed {
        stack.truncate(0);
    }
    armed
}
