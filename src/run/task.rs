//! A running script.

use core::cell::{Cell, RefCell};
use std::rc::Rc;

use super::abort::Abort;
use super::threads::{Crowd, Doing, KillError, Thread, ThreadId, Threads};
use super::wait::{self, Armed, Waker};
use super::{End, Host, Progress};
use crate::native;
use crate::ngx::{self, Level};
use crate::phase::Phase;
use crate::vm::{Coroutine, Function, Identity, Outcome, Stack, Vm};

/// After so many turns in a row the event loop has one: threads that yield to each other must not starve it.
const TURNS: u32 = 256;

pub struct Task {
    host: Host,
    phase: Phase,
    pub(super) vm: Rc<Vm>,
    pub(super) threads: RefCell<Threads>,
    /// A thread of it is on the stack.
    runs: Cell<bool>,
    pub(super) abort: Cell<Abort>,
    /// It was cancelled: a thread of it that is on the stack is not to go on.
    over: Cell<bool>,
    pub(super) has_spawned: Cell<bool>,
}

/// Runs `function` for `host`. A script that never waits needs no task.
pub fn run(host: Host, phase: Phase, vm: &Rc<Vm>, function: Function) -> (Option<Rc<Task>>, Progress) {
    let mut co = vm.coroutine();
    co.load(function);
    let outcome = {
        let Some(_entered) = host.enter(phase) else { return (None, Progress::Ended(End::Failed)) };
        co.resume(vm, 0)
    };
    if matches!(outcome, Outcome::Returned) {
        vm.recycle(co, true);
        return (None, Progress::Ended(End::Returned));
    }
    let task = Task::new(host, phase, Rc::clone(vm));
    let progress = task.go_on_from(co, outcome);
    (Some(task), progress)
}

impl Task {
    pub fn new(host: Host, phase: Phase, vm: Rc<Vm>) -> Rc<Task> {
        let (threads, abort) = (RefCell::default(), Cell::default());
        let no = || Cell::new(false);
        Rc::new(Task { host, phase, vm, threads, runs: no(), abort, over: no(), has_spawned: no() })
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn has_spawned(&self) -> bool {
        self.has_spawned.get()
    }

    /// Whether a thread of it is on the stack, and the others have their turn after it anyway.
    pub fn runs(&self) -> bool {
        self.runs.get()
    }

    /// Runs `co`, a function with `args` arguments on its stack, as the entry thread.
    pub fn start_with(self: &Rc<Self>, mut co: Coroutine, args: i32) -> Progress {
        let Some(outcome) = self.resume(&mut co, args) else { return Progress::Ended(End::Failed) };
        self.go_on_from(co, outcome)
    }

    /// Goes on with the entry thread, whose first turn came to `outcome`.
    fn go_on_from(self: &Rc<Self>, co: Coroutine, outcome: Outcome) -> Progress {
        self.threads.borrow_mut().alive = 1;
        match self.turn(ThreadId::ENTRY, co, outcome) {
            Some(end) => self.end(end),
            None => self.run(),
        }
    }

    /// Lets the threads take turns until all wait or the task ends.
    pub fn run(self: &Rc<Self>) -> Progress {
        let mut turns = 0;
        loop {
            let next = self.threads.borrow_mut().next();
            let Some((id, mut co, args)) = next else {
                let waits = self.threads.borrow().alive > 0;
                return if waits { Progress::Waiting } else { self.end(End::Returned) };
            };
            if turns == TURNS {
                self.rest(id, co, args);
                return Progress::Waiting;
            }
            turns += 1;
            let ended = match self.resume(&mut co, args) {
                Some(outcome) => self.turn(id, co, outcome),
                None => Some(End::Failed),
            };
            if let Some(end) = ended {
                return self.end(end);
            }
        }
    }

    /// Lets the event loop have a turn before a thread that is ready goes on with the `args` values on its stack.
    fn rest(self: &Rc<Self>, id: ThreadId, co: Coroutine, args: i32) {
        let held = self.begin_wait(id).post_next(move |_| args).held();
        self.park(id, co, Doing::Waiting { held, cancels: true });
    }

    /// Lets Lua run; `None` when memory is out.
    fn resume(self: &Rc<Self>, co: &mut Coroutine, args: i32) -> Option<Outcome> {
        let _entered = self.host.enter(self.phase)?;
        native::enter_task(self);
        self.runs.set(true);
        let outcome = co.resume(&self.vm, args);
        self.runs.set(false);
        Some(outcome)
    }

    /// One thread's turn, which has come to `outcome`: until it waits or ends. `Some` ends the task.
    fn turn(self: &Rc<Self>, id: ThreadId, mut co: Coroutine, mut outcome: Outcome) -> Option<End> {
        loop {
            if self.over.get() {
                self.vm.recycle(co, matches!(outcome, Outcome::Returned));
                return Some(End::Failed);
            }
            match outcome {
                Outcome::Returned => {
                    self.ended(id, co, true);
                    return None;
                }
                Outcome::Failed(message) => return self.failed(id, co, &message),
                Outcome::Yielded => match wait::arm(self, id, &mut co.stack()) {
                    Armed::Ready(n) => match self.resume(&mut co, n) {
                        Some(next) => outcome = next,
                        None => return Some(End::Failed),
                    },
                    Armed::End(end) if !end.aborts() && self.waits_to_the_end() => {
                        let mut stack = co.stack();
                        stack.truncate(0);
                        stack.push_nil();
                        stack.push_bytes(b"attempt to abort with pending subrequests");
                        match self.resume(&mut co, 2) {
                            Some(next) => outcome = next,
                            None => return Some(End::Failed),
                        }
                    }
                    Armed::End(end) => {
                        self.vm.recycle(co, false);
                        return Some(end);
                    }
                    Armed::Wait(held) => {
                        self.park(id, co, Doing::Waiting { held, cancels: true });
                        return None;
                    }
                    Armed::Work(running) => {
                        self.park(id, co, Doing::Working(running));
                        return None;
                    }
                    Armed::WaitToTheEnd(held) => {
                        self.park(id, co, Doing::Waiting { held, cancels: false });
                        return None;
                    }
                    Armed::Join(others) => {
                        self.park(id, co, Doing::Joining(others));
                        return None;
                    }
                    Armed::Later(n) => {
                        self.park(id, co, Doing::Ready(n));
                        self.threads.borrow_mut().enqueue(id);
                        return None;
                    }
                },
            }
        }
    }

    /// Whether a thread waits for what must run to its end: until then the script may only be cut off.
    pub fn waits_to_the_end(&self) -> bool {
        self.threads.borrow().any(|thread| matches!(thread.doing, Doing::Waiting { cancels: false, .. }))
    }

    fn park(&self, id: ThreadId, co: Coroutine, doing: Doing) {
        let mut threads = self.threads.borrow_mut();
        match threads.get(id) {
            Some(thread) => {
                thread.co = Some(co);
                thread.doing = doing;
            }
            // it was killed by what it has just asked for
            None => self.vm.recycle(co, false),
        }
    }

    #[cold]
    fn failed(&self, id: ThreadId, co: Coroutine, message: &str) -> Option<End> {
        let what = if id == ThreadId::ENTRY { "entry" } else { "user" };
        let message = format!("lua {what} thread aborted: runtime error: {message}");
        self.host.log(Level::Error, &message);
        if id == ThreadId::ENTRY {
            self.vm.recycle(co, false);
            // subrequests have no use without their parent: they go with the connection
            return Some(if self.waits_to_the_end() {
                End::Exit(crate::ngx::Rc::ERROR)
            } else {
                End::Failed
            });
        }
        self.ended(id, co, false);
        None
    }

    /// A thread has ended; its results are given to the one that waits for it, or kept for one that will.
    fn ended(&self, id: ThreadId, co: Coroutine, well: bool) {
        let mut threads = self.threads.borrow_mut();
        threads.alive -= 1;
        if id == ThreadId::ENTRY {
            drop(threads);
            self.vm.recycle(co, true);
            return;
        }
        let Some(thread) = threads.get(id) else { return };
        thread.co = Some(co);
        thread.doing = Doing::Ended { well };
        let Some(joiner) = thread.joiner else { return };
        let Some(waiting) = threads.get(joiner) else { return };
        let Doing::Joining(others) = core::mem::take(&mut waiting.doing) else { return };
        let Some(mut co) = waiting.co.take() else { return };
        let args = self.deliver(&mut threads, &others, id, &mut co.stack());
        if let Some(waiting) = threads.get(joiner) {
            waiting.co = Some(co);
            waiting.doing = Doing::Ready(args);
        }
        threads.enqueue(joiner);
    }

    /// Moves what `ended` returned to `stack`, behind whether it ended well.
    fn deliver(
        &self,
        threads: &mut Threads,
        asked: &[ThreadId],
        ended: ThreadId,
        stack: &mut Stack<'_>,
    ) -> i32 {
        for id in asked {
            if let Some(thread) = threads.get(*id) {
                thread.joiner = None;
            }
        }
        let Some(Thread { co: Some(mut co), doing: Doing::Ended { well }, .. }) = threads.remove(ended)
        else {
            return 0;
        };
        stack.push_boolean(well);
        let moved = co.move_results(stack, if well { None } else { Some(1) });
        self.vm.recycle(co, false);
        moved + 1
    }

    /// Starts a thread with the function and the arguments behind `from` on `stack`: it runs at once, and whoever
    /// spawned it, `parent`, goes on afterwards.
    pub fn spawn(&self, parent: Identity, stack: &mut Stack<'_>, from: i32) -> Armed {
        let mut co = self.vm.fresh_coroutine();
        let args = co.take_values(stack, from) - 1;
        stack.truncate(0);
        self.has_spawned.set(true);
        stack.push_coroutine(&co);
        let mut threads = self.threads.borrow_mut();
        match threads.add(co, parent, args, spare_crowd) {
            Some(id) => {
                threads.enqueue_first(id);
                Armed::Later(1)
            }
            None => {
                stack.truncate(0);
                Armed::Ready(0)
            }
        }
    }

    /// The thread that runs in coroutine `co`, and the coroutine that has spawned it.
    pub fn find(&self, co: Identity) -> Option<(ThreadId, Identity)> {
        self.threads.borrow_mut().find(co)
    }

    /// Whether `co` was a thread that somebody has waited for or killed.
    pub fn is_gone(&self, co: Identity) -> bool {
        self.threads.borrow().is_gone(co)
    }

    /// If one of `others` has ended: leaves on `stack` whether it ended well, and what it returned.
    pub fn take_ended(&self, others: &[ThreadId], stack: &mut Stack<'_>) -> Option<i32> {
        let mut threads = self.threads.borrow_mut();
        let ended = others
            .iter()
            .find(|id| threads.get(**id).is_some_and(|t| matches!(t.doing, Doing::Ended { .. })))
            .copied()?;
        Some(self.deliver(&mut threads, others, ended, stack))
    }

    /// Waits, in thread `me`, for the first of `others` to end.
    pub fn join(&self, me: ThreadId, others: Vec<ThreadId>, stack: &mut Stack<'_>) -> Armed {
        stack.truncate(0);
        let mut threads = self.threads.borrow_mut();
        for id in &others {
            if let Some(thread) = threads.get(*id) {
                thread.joiner = Some(me);
            }
        }
        Armed::Join(others)
    }

    /// Whether a thread has ended that nobody has waited for.
    pub fn has_ended(&self, id: ThreadId) -> bool {
        self.threads.borrow_mut().get(id).is_some_and(|t| matches!(t.doing, Doing::Ended { .. }))
    }

    /// Ends a thread that waits.
    pub fn kill(&self, id: ThreadId) -> Result<(), KillError> {
        let mut threads = self.threads.borrow_mut();
        match threads.get(id).map(|t| &t.doing) {
            None | Some(Doing::Running) => return Err(KillError::Gone),
            Some(Doing::Ended { .. }) => return Err(KillError::Ended),
            Some(Doing::Waiting { cancels: false, .. }) => return Err(KillError::Busy),
            Some(_) => {}
        }
        let killed = threads.remove(id);
        threads.alive -= 1;
        drop(threads);
        if let Some(thread) = killed {
            self.drop_thread(thread);
        }
        Ok(())
    }

    fn drop_thread(&self, thread: Thread) {
        // what it waits for is cancelled before its coroutine goes
        drop(thread.doing);
        if let Some(co) = thread.co {
            self.vm.recycle(co, false);
        }
    }

    /// Ends a thread's wait with what `push` leaves on its stack; `false` if it does not wait for this any more.
    pub(super) fn ready(&self, id: ThreadId, waits: u32, push: impl FnOnce(&mut Stack<'_>) -> i32) -> bool {
        let (held, mut co) = {
            let mut threads = self.threads.borrow_mut();
            let Some(thread) = threads.get(id).filter(|t| t.waits == waits) else { return false };
            if !matches!(thread.doing, Doing::Waiting { .. } | Doing::Working(_)) {
                return false;
            }
            let Some(co) = thread.co.take() else { return false };
            (core::mem::take(&mut thread.doing), co)
        };
        drop(held);
        let args = push(&mut co.stack());
        let mut threads = self.threads.borrow_mut();
        let Some(thread) = threads.get(id) else {
            self.vm.recycle(co, false);
            return false;
        };
        thread.co = Some(co);
        thread.doing = Doing::Ready(args);
        threads.enqueue(id);
        true
    }

    /// Puts what is to wake a waiting thread in the place of what it has waited for.
    pub(super) fn hold(&self, id: ThreadId, waits: u32, next: wait::Held) {
        let before = {
            let mut threads = self.threads.borrow_mut();
            match threads.get(id).filter(|t| t.waits == waits).map(|t| &mut t.doing) {
                Some(Doing::Waiting { held, .. }) => core::mem::replace(held, next),
                _ => next,
            }
        };
        drop(before);
    }

    /// A new wait of `id` begins.
    pub(super) fn begin_wait(self: &Rc<Self>, id: ThreadId) -> Waker {
        let mut threads = self.threads.borrow_mut();
        let waits = threads.get(id).map_or(0, |thread| {
            thread.waits = thread.waits.wrapping_add(1);
            thread.waits
        });
        Waker::new(self, id, waits)
    }

    /// The task ends: the threads that wait are cancelled.
    fn end(&self, end: End) -> Progress {
        self.drop_all();
        Progress::Ended(end)
    }

    /// Cancels the task.
    pub fn abandon(&self) {
        self.over.set(true);
        self.drop_all();
    }

    fn drop_all(&self) {
        self.forget_abort();
        if self.threads.borrow().is_empty() {
            return;
        }
        let (spawned, entry) = self.threads.borrow_mut().take_all();
        for thread in spawned {
            self.drop_thread(thread);
        }
        self.drop_thread(entry);
    }
}

/// For how many tasks memory is kept.
const SPARE: usize = 16;

/// Memory for the threads of a task.
pub(super) fn spare_crowd() -> Option<Box<Crowd>> {
    ngx::cycle_main_conf().and_then(|main| main.spare_threads.borrow_mut().pop())
}

impl Drop for Task {
    fn drop(&mut self) {
        self.drop_all();
        let Some(crowd) = self.threads.take().into_spare() else { return };
        let Some(main) = ngx::cycle_main_conf() else { return };
        let mut spare = main.spare_threads.borrow_mut();
        if spare.len() < SPARE {
            spare.push(crowd);
        }
    }
}
