//! `ngx.on_abort`: the thread of a task that begins when the request's client goes.

use super::Task;
use crate::vm::{Coroutine, Identity, Stack};

/// What happens when the client goes.
#[derive(Default)]
pub enum Abort {
    /// The task ends.
    #[default]
    Ends,
    /// This function runs in a thread of its own, as one of the thread that has asked for it.
    Runs(Box<(Coroutine, Identity)>),
    /// It has begun to run.
    Told,
}

/// What came of the client's going.
pub(super) enum Gone {
    /// A thread is ready to run.
    Wakes,
    /// There is nothing to do any more.
    Told,
    /// The task is to end.
    Ends,
}

impl Task {
    /// Has the function at `from` on `stack` run when the client goes; false when there is such a function already.
    pub fn on_abort(&self, stack: &mut Stack<'_>, from: i32) -> bool {
        match self.abort.replace(Abort::Told) {
            Abort::Ends => {}
            before => {
                self.abort.set(before);
                return false;
            }
        }
        let mut co = self.vm.fresh_coroutine();
        co.take_values(stack, from);
        self.abort.set(Abort::Runs(Box::new((co, stack.identity()))));
        true
    }

    /// The client has gone.
    pub(super) fn client_gone(&self) -> Gone {
        match self.abort.replace(Abort::Told) {
            Abort::Ends => Gone::Ends,
            Abort::Told => Gone::Told,
            Abort::Runs(one) => {
                let (co, parent) = *one;
                self.has_spawned.set(true);
                let mut threads = self.threads.borrow_mut();
                match threads.add(co, parent, 0, super::task::spare_crowd) {
                    Some(id) => {
                        threads.enqueue(id);
                        Gone::Wakes
                    }
                    None => Gone::Ends,
                }
            }
        }
    }

    pub(super) fn forget_abort(&self) {
        if let Abort::Runs(one) = self.abort.replace(Abort::Told) {
            self.vm.recycle(one.0, false);
        }
    }
}
