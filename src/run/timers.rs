//! `ngx.timer`: scripts that the event loop starts later, outside of any request.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::rc::Rc;

use slab::Slab;

use super::{Background, Held, Host, Task};
use crate::ngx::{self, debug_cycle, log_cycle, ExitWatch, Level, Location, Posted, Timer};
use crate::phase::Phase;
use crate::vm::{Coroutine, Vm};

const MAX_PENDING: usize = 1024;
const MAX_RUNNING: usize = 256;

/// Why a timer is not made; the text is what Lua is told.
#[derive(Debug, thiserror::Error)]
pub enum TimerError {
    #[error("process exiting")]
    Exiting,
    #[error("too many pending timers")]
    TooMany,
}

/// The timers of a worker.
#[derive(Default)]
pub struct Timers {
    pending: RefCell<Slab<Pending>>,
    running: RefCell<Slab<Rc<Task>>>,
    /// Tells that the worker is to stop, from the first timer on.
    watch: RefCell<Option<ExitWatch>>,
    /// Tells a worker that stops that its time is over, while timers run.
    last: RefCell<Option<ExitWatch>>,
    stopping: Cell<bool>,
}

/// A timer that has not fired.
struct Pending {
    _event: Held,
    script: Script,
    every: Option<Duration>,
}

/// A function and its arguments on a coroutine that has not begun.
pub struct Script {
    vm: Rc<Vm>,
    co: Option<Coroutine>,
    /// Who made the timer, for the log.
    origin: Vec<u8>,
    location: Option<Location>,
}

impl Script {
    pub fn new(vm: Rc<Vm>, co: Coroutine, origin: Vec<u8>, location: Option<Location>) -> Script {
        Script { vm, co: Some(co), origin, location }
    }

    /// The same once more.
    fn again(&mut self) -> Script {
        let mut copy = self.vm.coroutine();
        if let Some(co) = &mut self.co {
            copy.copy_values(&mut co.stack());
        }
        Script::new(Rc::clone(&self.vm), copy, self.origin.clone(), self.location)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if let Some(co) = self.co.take() {
            self.vm.recycle(co, false);
        }
    }
}

fn timers() -> Option<&'static Timers> {
    ngx::cycle_main_conf().map(|main| &main.timers)
}

impl Timers {
    /// Runs `script` in `after`, or each time so much has passed.
    pub fn add(&'static self, script: Script, after: Duration, every: bool) -> Result<(), TimerError> {
        if self.stopping.get() && !after.is_zero() {
            return Err(TimerError::Exiting);
        }
        let max = ngx::cycle_main_conf().and_then(|main| main.settings.max_pending_timers);
        if self.pending.borrow().len() >= max.map_or(MAX_PENDING, |n| n as usize) {
            return Err(TimerError::TooMany);
        }
        if self.watch.borrow().is_none() {
            self.watch.replace(ExitWatch::new(|| {
                if let Some(timers) = timers() {
                    timers.stop();
                }
            }));
        }
        self.arm(script, after, every.then_some(after));
        Ok(())
    }

    fn arm(&'static self, script: Script, after: Duration, every: Option<Duration>) {
        let mut pending = self.pending.borrow_mut();
        let entry = pending.vacant_entry();
        let key = entry.key();
        let fire = move || self.fire(key);
        // a timer without delay would fire in the same turn of the event loop, and could make another one for ever
        let _event: Held =
            if after.is_zero() { Posted::next(fire).held() } else { Timer::after(after, fire).held() };
        entry.insert(Pending { _event, script, every });
    }

    fn fire(&'static self, key: usize) {
        let removed = self.pending.borrow_mut().try_remove(key);
        let Some(mut pending) = removed else { return };
        let script = match pending.every {
            None => pending.script,
            Some(every) => {
                let script = pending.script.again();
                self.arm(pending.script, every, Some(every));
                script
            }
        };
        let max = ngx::cycle_main_conf().and_then(|main| main.settings.max_running_timers);
        let max = max.map_or(MAX_RUNNING, |n| n as usize);
        if self.running.borrow().len() >= max {
            let place = script.co.as_ref().map(Coroutine::definition).unwrap_or_default();
            log_cycle(
                Level::Alert,
                &format!(
                    "lua failed to run timer with function defined at {place}: {max} lua_max_running_timers are not enough"
                ),
            );
            return;
        }
        debug_cycle(format_args!("lua ngx.timer expired"));
        self.run(script, false);
    }

    fn run(&'static self, mut script: Script, premature: bool) {
        let Some(mut co) = script.co.take() else { return };
        let mut running = self.running.borrow_mut();
        let entry = running.vacant_entry();
        let key = entry.key();
        let ended = Box::new(move |_: &Background, _| drop(self.running.borrow_mut().try_remove(key)));
        let background = Rc::new(Background::new(
            Rc::clone(&script.vm),
            script.location,
            core::mem::take(&mut script.origin),
            ended,
        ));
        let task = Task::new(Host::Background(Rc::clone(&background)), Phase::Timer, Rc::clone(&script.vm));
        entry.insert(Rc::clone(&task));
        drop(running);
        let args = co.stack().insert_boolean(2, premature) - 1;
        background.settle(task.start_with(co, args));
    }

    pub fn pending_count(&self) -> usize {
        self.pending.borrow().len()
    }

    pub fn running_count(&self) -> usize {
        self.running.borrow().len()
    }

    /// The worker is to stop: what is pending runs at once, and is told so.
    fn stop(&'static self) {
        self.stopping.set(true);
        let pending: Vec<Pending> = self.pending.borrow_mut().drain().collect();
        for one in pending {
            self.run(one.script, true);
        }
        self.last.replace(ExitWatch::last(|| {
            if let Some(timers) = timers() {
                timers.end();
            }
        }));
    }

    /// The worker ends: what runs is cancelled.
    pub fn end(&self) {
        self.last.take();
        // some may make others while they go
        loop {
            let running: Vec<Rc<Task>> = self.running.borrow_mut().drain().collect();
            if running.is_empty() {
                return;
            }
            for task in running {
                task.abandon();
            }
        }
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.end();
    }
}
