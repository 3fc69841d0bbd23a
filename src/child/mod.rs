//! Child processes as scripts hold them (`ngx.pipe`): their ends of the pipes, and how they ended.
//!
//! Each operation is tried at once; only what cannot be done yet becomes a wait. A child belongs to the request, or the
//! timer, whose script has made it, and is killed with it.

mod end;
mod error;
mod list;

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::rc::Rc;

use logic::receive::{Found, Unread, Wanted};

pub use end::Busy;
use end::End;
pub use error::ChildError;
pub use list::Children;

use crate::ngx::child::{reap, reason, send_signal, spawn, ChildWatch, Command, Ended, SpawnError};
use crate::ngx::{cycle_main_conf, debug_cycle, log_cycle, Interrupted, Io, Level, Timer};
use crate::run::{Ends, Held, Host, Place, Waker};
use crate::vm::Stack;

/// The most that is read at a time when much is asked for.
const MOST: usize = 256 * 1024;

pub struct Child {
    pid: i32,
    merged: bool,
    buffer_size: usize,
    /// In the order of [`Side`], and last the one of waiting; zero is for ever.
    timeouts: [Cell<Duration>; 4],
    ends: [End; 3],
    ended: Cell<Option<Ended>>,
    /// Somebody has learnt how it ended, or it was given up: there is nothing more to be had from it.
    closed: Cell<bool>,
    watch: RefCell<Option<ChildWatch>>,
    waiter: RefCell<Option<Waker>>,
    /// The places in the lists of its host and of the worker.
    places: RefCell<Vec<Place>>,
}

/// One of a child's three pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Stdin,
    Stdout,
    Stderr,
}

/// The number of the timeout of waiting.
pub const WAITING: usize = 3;

impl Child {
    /// Starts a program for `host`, or for the worker if there is none.
    pub fn spawn(
        command: &Command,
        buffer_size: usize,
        host: Option<&Host>,
    ) -> Result<Rc<Child>, SpawnError> {
        let spawned = spawn(command)?;
        if let Some(e) = &spawned.refused {
            let program = command.args.first().map(|name| name.to_string_lossy()).unwrap_or_default();
            let call = if command.environ.is_some() { "execvpe" } else { "execvp" };
            let (code, why) = (e.raw_os_error().unwrap_or_default(), reason(e));
            let message = format!("lua pipe child {call}() failed while executing {program} ({code}: {why})");
            match host {
                Some(host) => host.log(Level::Error, &message),
                None => log_cycle(Level::Error, &message),
            }
        }
        let pid = spawned.pid;
        let child = Rc::new(Child {
            pid,
            merged: command.merge_stderr,
            buffer_size,
            timeouts: Default::default(),
            ends: [Some(spawned.stdin), Some(spawned.stdout), spawned.stderr].map(End::new),
            ended: Cell::default(),
            closed: Cell::default(),
            watch: RefCell::default(),
            waiter: RefCell::default(),
            places: RefCell::default(),
        });
        let weak = Rc::downgrade(&child);
        let tell = move |ended| {
            if let Some(child) = weak.upgrade() {
                child.has_ended(ended);
            }
        };
        child.watch.replace(Some(ChildWatch::new(pid, Box::new(tell))));
        let owners = [host.and_then(Host::owned), cycle_main_conf().map(|main| main.children.all())];
        for owned in owners.into_iter().flatten() {
            let place = owned.add(Rc::downgrade(&(Rc::clone(&child) as Rc<dyn Ends>)));
            child.places.borrow_mut().push(place);
        }
        debug_cycle(format_args!(
            "lua pipe spawn process:{:X} pid:{pid} merge_stderr:{} buffer_size:{buffer_size}",
            child.id(),
            u8::from(command.merge_stderr)
        ));
        Ok(child)
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// What stands for it in debug logs.
    fn id(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }

    pub fn set_timeout(&self, n: usize, timeout: Duration) {
        self.timeouts[n].set(timeout);
    }

    /// How it has ended, if it has.
    fn look(&self) -> Option<Ended> {
        if self.ended.get().is_none() {
            if let Some(ended) = reap(self.pid) {
                self.has_ended(ended);
            }
        }
        self.ended.get()
    }

    fn has_ended(&self, ended: Ended) {
        let message = format!("signal {} (SIGCHLD) received from {}", libc::SIGCHLD, self.pid);
        log_cycle(Level::Notice, &message);
        self.ended.set(Some(ended));
        self.watch.take();
        if let Some(waker) = self.waiter.take() {
            debug_cycle(format_args!("lua pipe resume process:{:X} waiting for {}", self.id(), self.pid));
            self.close();
            waker.wake_soon(move |stack| push_ended(ended, stack));
        }
    }

    /// How it has ended, if it has: this is told once, and then nothing more is to be had from it.
    pub fn wait_at_once(&self) -> Result<Option<Ended>, ChildError> {
        debug_cycle(format_args!("lua pipe wait process:{:X} pid:{}", self.id(), self.pid));
        if self.closed.get() {
            return Err(ChildError::Exited);
        }
        if self.waiter.borrow().is_some() {
            return Err(ChildError::Busy("waiting"));
        }
        let ended = self.look();
        if ended.is_some() {
            self.close();
        }
        Ok(ended)
    }

    /// Has `waker` woken when it has ended, or late.
    pub fn wait(self: &Rc<Self>, waker: &Waker) -> Held {
        let timeout = self.timeouts[WAITING].get();
        let late = waker.clone();
        let timer = (!timeout.is_zero()).then(|| {
            debug_cycle(format_args!(
                "lua pipe add timer for waiting: {}(ms) process:{:X} pid:{}",
                timeout.as_millis(),
                self.id(),
                self.pid
            ));
            Timer::after(
                timeout,
                Box::new(move || late.wake(|stack| push_error(&ChildError::Timeout, stack))),
            )
        });
        debug_cycle(format_args!("lua pipe wait yielding process:{:X} pid:{}", self.id(), self.pid));
        self.waiter.replace(Some(waker.clone()));
        Box::new(Waiting { child: Rc::clone(self), _timer: timer })
    }

    /// Sends it a signal.
    pub fn kill(&self, signal: i32) -> Result<(), ChildError> {
        if self.closed.get() || self.look().is_some() {
            return Err(ChildError::Exited);
        }
        send_signal(self.pid, signal).map_err(|e| match e.raw_os_error() {
            Some(libc::EINVAL) => ChildError::InvalidSignal,
            Some(libc::ESRCH) => ChildError::Exited,
            _ => ChildError::Io(e),
        })
    }

    /// Closes one of its pipes; a thread that waits for it is told.
    pub fn shutdown(&self, side: Side) -> Result<(), ChildError> {
        self.check(side)?;
        self.ends[side as usize].abort();
        Ok(())
    }

    fn check(&self, side: Side) -> Result<(), ChildError> {
        if self.closed.get() {
            return Err(ChildError::Closed);
        }
        if self.merged && side == Side::Stderr {
            return Err(ChildError::Merged);
        }
        Ok(())
    }

    /// Marks a pipe as busy; an error when another thread is at it.
    pub fn begin(self: &Rc<Self>, side: Side) -> Result<Busy, ChildError> {
        self.check(side)?;
        let what = if side == Side::Stdin { "write" } else { "read" };
        debug_cycle(format_args!("lua pipe {what} process:{:X} pid:{}", self.id(), self.pid));
        End::begin(self, side)
    }

    /// Reads as far as that takes no time; `None` when more must come.
    pub fn read_at_once(&self, side: Side, wanted: &mut Wanted) -> Result<Option<Found>, ChildError> {
        let end = &self.ends[side as usize];
        loop {
            let mut unread = end.unread.borrow_mut();
            if let Some(found) = wanted.find(unread.bytes()) {
                return Ok(Some(found));
            }
            if end.is_over.get() {
                return wanted.at_end(unread.bytes()).map(Some).ok_or(ChildError::Closed);
            }
            let stream = end.stream()?;
            let room = wanted.missing(unread.len()).clamp(self.buffer_size.min(MOST), MOST);
            let Some(room) = unread.room(room) else {
                *unread = Unread::default();
                end.is_over.set(true);
                return Err(ChildError::no_memory());
            };
            match stream.recv(room) {
                Io::Done(_) => {}
                Io::Again => return Ok(None),
                Io::Eof => end.is_over.set(true),
                Io::Failed(e) => return Err(ChildError::Io(e)),
            }
        }
    }

    /// Reads what was not there at once, however long that takes.
    pub async fn read(&self, side: Side, wanted: &mut Wanted) -> Result<Found, ChildError> {
        let end = &self.ends[side as usize];
        loop {
            let timeout = self.timeout(side);
            end.stream()?.readable(timeout).await.map_err(|e| end.interrupted(e))?;
            if let Some(found) = self.read_at_once(side, wanted)? {
                return Ok(found);
            }
        }
    }

    /// Shows what was found to `f`; `spare` is for what cannot be shown as it lies there.
    pub fn take<T>(
        &self,
        side: Side,
        wanted: &Wanted,
        found: Found,
        spare: &mut Vec<u8>,
        f: impl FnOnce(&[u8]) -> T,
    ) -> T {
        let mut unread = self.ends[side as usize].unread.borrow_mut();
        unread.take(found.used);
        f(wanted.shown(&unread.taken(found.used)[..found.keep], spare))
    }

    /// What had come when reading failed.
    pub fn take_partial<T>(&self, side: Side, f: impl FnOnce(&[u8]) -> T) -> T {
        let mut unread = self.ends[side as usize].unread.borrow_mut();
        let n = unread.len();
        unread.take(n);
        f(unread.taken(n))
    }

    /// Writes as much as takes no time.
    pub fn write_at_once(&self, data: &[u8]) -> Result<usize, ChildError> {
        let stream = self.ends[Side::Stdin as usize].stream()?;
        let mut written = 0;
        while written < data.len() {
            match stream.send(&data[written..]) {
                Io::Done(n) => written += n,
                Io::Again => break,
                Io::Eof => return Err(ChildError::Closed),
                Io::Failed(e) => {
                    let code = e.raw_os_error().unwrap_or_default();
                    debug_cycle(format_args!(
                        "lua pipe write data error pipe:{:X} ({code}: {})",
                        self.id(),
                        reason(&e)
                    ));
                    return Err(if code == libc::EPIPE { ChildError::Closed } else { ChildError::Io(e) });
                }
            }
        }
        Ok(written)
    }

    /// Writes the rest of `data`, of which `written` bytes are on their way.
    pub async fn write(&self, data: &[u8], mut written: usize) -> Result<usize, ChildError> {
        let end = &self.ends[Side::Stdin as usize];
        while written < data.len() {
            let timeout = self.timeout(Side::Stdin);
            end.stream()?.writable(timeout).await.map_err(|e| end.interrupted(e))?;
            written += self.write_at_once(&data[written..])?;
        }
        Ok(written)
    }

    fn timeout(&self, side: Side) -> Duration {
        let timeout = self.timeouts[side as usize].get();
        let what = if side == Side::Stdin { "write" } else { "read" };
        if !timeout.is_zero() {
            let doing = if side == Side::Stdin { "writing" } else { "reading" };
            debug_cycle(format_args!(
                "lua pipe add timer for {doing}: {}(ms) process:{:X} pid:{}",
                timeout.as_millis(),
                self.id(),
                self.pid
            ));
        }
        debug_cycle(format_args!("lua pipe {what} yielding process:{:X} pid:{}", self.id(), self.pid));
        timeout
    }

    /// Lets go of its pipes. A thread that still reads gets what is there.
    fn close(&self) {
        if !self.closed.replace(true) {
            debug_cycle(format_args!("lua pipe finalize process:{:X} pid:{}", self.id(), self.pid));
            self.ends.iter().for_each(End::close);
        }
    }

    /// Gives it up: it is killed, if it runs.
    fn destroy(&self) {
        self.places.take();
        debug_cycle(format_args!("lua pipe destroy process:{:X} pid:{}", self.id(), self.pid));
        self.closed.set(true);
        self.ends.iter().for_each(End::abort);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake_soon(|stack| push_error(&ChildError::Exited, stack));
        }
        if self.ended.get().is_some() {
            return;
        }
        debug_cycle(format_args!("lua pipe kill process:{:X} pid:{}", self.id(), self.pid));
        if let Err(e) = self.kill_now() {
            let message = format!("lua pipe failed to kill pid:{}: {}", self.pid, reason(&e));
            log_cycle(Level::Error, &message);
        }
        if let (Some(watch), Some(main)) = (self.watch.take(), cycle_main_conf()) {
            main.children.await_end(watch);
        }
        self.ended.set(Some(Ended::Signal(libc::SIGKILL)));
    }

    fn kill_now(&self) -> std::io::Result<()> {
        match send_signal(self.pid, libc::SIGKILL) {
            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => Err(e),
            _ => Ok(()),
        }
    }
}

impl Ends for Child {
    fn host_ended(&self) {
        self.destroy();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // a place is left when it was destroyed
        if !self.places.get_mut().is_empty() || self.watch.get_mut().is_some() {
            self.destroy();
        }
    }
}

/// A thread waits for the child's end; dropping it ends the wait.
struct Waiting {
    child: Rc<Child>,
    _timer: Option<Timer>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.child.waiter.take().is_some() {
            debug_cycle(format_args!("lua pipe proc wait cleanup"));
        }
    }
}

/// Leaves what `proc:wait()` answers on a thread's stack.
pub fn push_ended(ended: Ended, stack: &mut Stack<'_>) -> i32 {
    let (how, code) = match ended {
        Ended::Exit(code) => ("exit", code),
        Ended::Signal(signal) => ("signal", signal),
        Ended::Lost => return push_error(&ChildError::Lost, stack),
    };
    stack.push_boolean(ended == Ended::Exit(0));
    stack.push_bytes(how.as_bytes());
    stack.push_number(f64::from(code));
    3
}

/// Leaves nil and a text on a thread's stack.
pub fn push_error(e: &ChildError, stack: &mut Stack<'_>) -> i32 {
    stack.push_nil();
    stack.push_bytes(e.to_string().as_bytes());
    2
}

impl From<Interrupted> for ChildError {
    fn from(e: Interrupted) -> Self {
        match e {
            Interrupted::TimedOut => ChildError::Timeout,
            Interrupted::Closed => ChildError::Closed,
        }
    }
}
