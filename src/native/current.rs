//! What is running now: set by the driver around each piece of Lua, read by every native.

use core::cell::UnsafeCell;
use core::ptr;

use crate::ngx::{Request, Shared};
use crate::phase::Phase;

/// Read by the prelude through the FFI as `base.cur`.
#[repr(C)]
pub struct Cur {
    /// The phase's bit.
    pub phase: u32,
    /// The part of the request's state that the prelude may touch; null outside requests.
    pub req: *const Shared,
}

struct State {
    cur: Cur,
    request: Option<Request>,
}

struct Place(UnsafeCell<State>);

// SAFETY: a worker runs Lua on one thread.
unsafe impl Sync for Place {}

static CURRENT: Place =
    Place(UnsafeCell::new(State { cur: Cur { phase: 0, req: ptr::null() }, request: None }));

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
    let next = State { cur: Cur { phase: phase.bit(), req }, request };
    // SAFETY: one thread, and no reference into the place outlives a statement.
    let before = unsafe { ptr::replace(CURRENT.0.get(), next) };
    Some(Scope(before))
}

/// Restores what ran before when dropped.
pub struct Scope(State);

impl Drop for Scope {
    fn drop(&mut self) {
        let before =
            State { cur: Cur { phase: self.0.cur.phase, req: self.0.cur.req }, request: self.0.request };
        // SAFETY: as in `enter`.
        unsafe { *CURRENT.0.get() = before }
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
        if buffer.capacity() > 1 << 20 {
            buffer.shrink_to(1 << 16);
        }
        buffer
    }
}

struct Buffer(UnsafeCell<Vec<u8>>);

// SAFETY: a worker runs Lua on one thread.
unsafe impl Sync for Buffer {}

static SCRATCH: Buffer = Buffer(UnsafeCell::new(Vec::new()));

/// Gives back the memory of [`Cx::scratch`]: it must not outlive the module, which nginx unloads. Never inside a native.
pub fn release_scratch() {
    // SAFETY: no native runs, so nobody has the buffer.
    unsafe { *SCRATCH.0.get() = Vec::new() }
}
