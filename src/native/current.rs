//! What is running now: set by the driver around each piece of Lua, read by every native.

use core::cell::UnsafeCell;
use core::ptr;
use std::rc::Rc;

use crate::ngx::{Location, Request, Shared};
use crate::phase::Phase;
use crate::run::{Background, Host, Prepared, Task};
use crate::vm::Vm;

/// Read by the prelude through the FFI as `base.cur`.
#[repr(C)]
pub struct Cur {
    /// The phase's bit.
    pub phase: u32,
    /// Whether the script that runs has spawned threads.
    pub threads: u32,
    /// The part of the request's state that the prelude may touch; null outside requests.
    pub req: *const Shared,
    /// The same of whatever runs, be it a request or not; null in the phases of a worker's start and end.
    pub host: *const Shared,
}

impl Cur {
    const NONE: Cur = Cur { phase: 0, threads: 0, req: ptr::null(), host: ptr::null() };
}

struct State {
    cur: Cur,
    request: Option<Request>,
    background: Option<Rc<Background>>,
    task: Option<Rc<Task>>,
}

impl State {
    const NONE: State = State { cur: Cur::NONE, request: None, background: None, task: None };
}

struct Place(UnsafeCell<State>);

// SAFETY: a worker runs Lua on one thread.
unsafe impl Sync for Place {}

static CURRENT: Place = Place(UnsafeCell::new(State::NONE));

/// Where the prelude finds [`Cur`].
pub fn address() -> *const Cur {
    // SAFETY: no reference is made.
    unsafe { &raw const (*CURRENT.0.get()).cur }
}

/// Marks `request` (if any) as running in `phase` until the scope ends; scopes nest, as filters run inside scripts.
pub fn enter(phase: Phase, request: Option<Request>) -> Option<Scope> {
    let req = match request {
        Some(r) => ptr::from_ref(&r.ctx()?.shared),
        None => ptr::null(),
    };
    Some(replace(State {
        cur: Cur { phase: phase.bit(), threads: 0, req, host: req },
        request,
        ..State::NONE
    }))
}

/// The same for a script without a request.
pub fn enter_background(phase: Phase, background: &Rc<Background>) -> Scope {
    let cur = Cur { phase: phase.bit(), threads: 0, req: ptr::null(), host: &raw const background.shared };
    replace(State { cur, background: Some(Rc::clone(background)), ..State::NONE })
}

/// Says whose threads take turns in the scope that was entered last.
pub fn enter_task(task: &Rc<Task>) {
    // SAFETY: one thread, and no reference into the place outlives the block.
    unsafe {
        let state = &mut *CURRENT.0.get();
        state.cur.threads = task.has_spawned().into();
        state.task = Some(Rc::clone(task));
    }
}

fn replace(next: State) -> Scope {
    Scope(replace_raw(next))
}

fn replace_raw(next: State) -> State {
    // SAFETY: one thread, and no reference into the place outlives a statement.
    unsafe { ptr::replace(CURRENT.0.get(), next) }
}

/// Restores what ran before when dropped.
pub struct Scope(State);

impl Drop for Scope {
    fn drop(&mut self) {
        drop(replace_raw(core::mem::replace(&mut self.0, State::NONE)));
    }
}

/// The first argument of every native: who is asking.
#[derive(Clone, Copy)]
pub struct Cx(());

impl Cx {
    /// For the macros: natives are only called by scripts that [`enter`] surrounds.
    pub fn current() -> Cx {
        Cx(())
    }

    /// The running request; scripts outside requests (init, timers) have none.
    pub fn request(self) -> Option<Request> {
        // SAFETY: a copy of a plain value; one thread.
        unsafe { (*CURRENT.0.get()).request }
    }

    /// What stands in for the request of a script that has none.
    pub fn background(self) -> Option<Rc<Background>> {
        // SAFETY: as above.
        unsafe { (*CURRENT.0.get()).background.clone() }
    }

    /// The script that runs, if it has waited before.
    pub fn task(self) -> Option<Rc<Task>> {
        // SAFETY: as above.
        unsafe { (*CURRENT.0.get()).task.clone() }
    }

    /// Whose script runs; `None` in the phases of a worker's start and end.
    pub fn host(self) -> Option<Host> {
        match self.request() {
            Some(request) => Some(Host::Request(request)),
            None => self.background().map(Host::Background),
        }
    }

    /// The configuration that the script runs under.
    pub fn location(self) -> Option<Location> {
        match self.host() {
            Some(host) => host.location(),
            None => Location::of_http(),
        }
    }

    /// The VM of whatever runs.
    pub fn vm(self) -> Option<Rc<Vm>> {
        if let Some(request) = self.request() {
            return request.ctx().map(|ctx| Rc::clone(ctx.vm()));
        }
        match self.background() {
            Some(background) => Some(Rc::clone(&background.vm)),
            None => crate::ngx::cycle_main_conf().map(|main| Rc::clone(main.vm())),
        }
    }

    /// The running phase's bit.
    pub fn phase_bit(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*CURRENT.0.get()).cur.phase }
    }

    pub fn is(self, phase: Phase) -> bool {
        self.phase_bit() == phase.bit()
    }

    /// A buffer for bytes on their way to Lua; what a native leaves in it is read before the next native runs.
    pub fn scratch(self) -> &'static mut Vec<u8> {
        // SAFETY: one thread, and natives do not nest, so each has the buffer alone until it returns.
        let buffer = unsafe { &mut *SCRATCH.0.get() };
        buffer.clear();
        if buffer.capacity() > LARGE {
            buffer.shrink_to(KEPT);
        }
        buffer
    }

    /// Makes an operation ready, which is yielded as soon as the classic has returned.
    pub fn prepare(self, operation: Prepared) {
        // SAFETY: one thread, and no reference into the place outlives a statement.
        let before = unsafe { (*PREPARED.0.get()).replace(operation) };
        drop(before);
    }

    /// Drops an operation that was yielded to somebody who has not passed it on to the driver (a resumer that is not
    /// ours): what it keeps busy is free again.
    pub fn forget_prepared(self) {
        drop(self.prepared());
    }

    pub fn prepared(self) -> Option<Prepared> {
        // SAFETY: as in `prepare`.
        unsafe { (*PREPARED.0.get()).take() }
    }

    /// A buffer that the natives which write one text together keep between them.
    pub fn written(self) -> &'static mut Vec<u8> {
        // SAFETY: as in `scratch`.
        unsafe { &mut *WRITTEN.0.get() }
    }

    /// The same, emptied for a new text.
    pub fn begin_written(self) {
        let buffer = self.written();
        buffer.clear();
        if buffer.capacity() > LARGE {
            buffer.shrink_to(KEPT);
        }
    }
}

/// A buffer that grew beyond this is made this small again, so that one large text does not cost for ever.
const LARGE: usize = 1 << 20;
const KEPT: usize = 1 << 16;

struct Buffer(UnsafeCell<Vec<u8>>);
// SAFETY: a worker runs Lua on one thread.
unsafe impl Sync for Buffer {}

struct NextOperation(UnsafeCell<Option<Prepared>>);
// SAFETY: a worker runs Lua on one thread.
unsafe impl Sync for NextOperation {}

static PREPARED: NextOperation = NextOperation(UnsafeCell::new(None));
static SCRATCH: Buffer = Buffer(UnsafeCell::new(Vec::new()));
static WRITTEN: Buffer = Buffer(UnsafeCell::new(Vec::new()));

/// Gives the memory of the buffers back: the process ends, and the library may be unloaded before.
pub fn free_buffers() {
    for buffer in [&SCRATCH, &WRITTEN] {
        // SAFETY: one thread, and no native runs.
        unsafe { *buffer.0.get() = Vec::new() }
    }
}
