//! Timers and posted events that own their cancel: dropping one disarms it.

use core::cell::UnsafeCell;
use core::ptr;
use core::time::Duration;

use ::ngx::ffi::{self, ngx_event_t};

/// Laid out so that nginx's debug log, which takes `data` for a connection, reads -1 as its descriptor.
#[repr(C)]
struct Armed {
    not_a_connection: [usize; 3],
    fd: i32,
    event: ngx_event_t,
    fire: Option<Box<dyn FnOnce()>>,
}

impl Armed {
    fn new(fire: Box<dyn FnOnce()>) -> Box<Armed> {
        // SAFETY: all-zero is nginx's initial state of an event.
        let event = unsafe { core::mem::zeroed() };
        let mut armed = Box::new(Armed { not_a_connection: [0; 3], fd: -1, event, fire: Some(fire) });
        armed.event.handler = Some(fired);
        // SAFETY: the cycle and its log live as long as the worker.
        armed.event.log = unsafe { (*ffi::ngx_cycle).log };
        armed.event.data = (&raw mut *armed).cast();
        armed
    }
}

unsafe extern "C" fn fired(event: *mut ngx_event_t) {
    // SAFETY: `data` is the `Armed` that owns this event; it is alive, or its drop would have disarmed the event.
    let fire = unsafe { (*(*event).data.cast::<Armed>()).fire.take() };
    if let Some(fire) = fire {
        crate::native::guard(fire);
    }
}

/// A one-shot timer.
pub struct Timer(Box<Armed>);

impl Timer {
    /// Calls `fire` from the event loop once `after` has passed.
    pub fn after(after: Duration, fire: Box<dyn FnOnce()>) -> Timer {
        let mut armed = Armed::new(fire);
        let ms = after.as_millis().min(u128::from(u32::MAX)) as usize;
        // SAFETY: the event lives in a box that its drop disarms before freeing.
        unsafe { ffi::ngx_add_timer(&raw mut armed.event, ms) };
        Timer(armed)
    }

    /// The same for what does not matter enough to keep a worker that is to stop.
    pub fn background(after: Duration, fire: Box<dyn FnOnce()>) -> Timer {
        let mut timer = Timer::after(after, fire);
        timer.0.event.set_cancelable(1);
        timer
    }
}

impl Timer {
    /// Whether it has neither fired nor been dropped.
    pub fn is_armed(&self) -> bool {
        self.0.event.timer_set() != 0
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if self.0.event.timer_set() != 0 {
            // SAFETY: the event is armed.
            unsafe { ffi::ngx_del_timer(&raw mut self.0.event) };
        }
    }
}

/// A call that the event loop makes soon.
pub struct Posted(Box<Armed>);

impl Posted {
    /// Right after the events at hand.
    pub fn now(fire: Box<dyn FnOnce()>) -> Posted {
        Posted::on(&raw mut ffi::ngx_posted_events, fire)
    }

    /// After the event loop has looked for new events: what asks for this again and again starves nobody.
    pub fn next(fire: Box<dyn FnOnce()>) -> Posted {
        Posted::on(&raw mut ffi::ngx_posted_next_events, fire)
    }

    fn on(queue: *mut ffi::ngx_queue_t, fire: Box<dyn FnOnce()>) -> Posted {
        let mut armed = Armed::new(fire);
        // SAFETY: the event lives in a box that its drop takes off the queue before freeing.
        unsafe { ffi::ngx_post_event(&raw mut armed.event, queue) };
        Posted(armed)
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        if self.0.event.posted() != 0 {
            // SAFETY: the event is on the queue.
            unsafe { ffi::ngx_delete_posted_event(&raw mut self.0.event) };
        }
    }
}

/// A call that the event loop makes soon, as a part of what it is about: posting it allocates nothing.
pub struct Signal(UnsafeCell<Inlaid>);

/// As [`Armed`].
#[repr(C)]
struct Inlaid {
    not_a_connection: [usize; 3],
    fd: i32,
    event: ngx_event_t,
    fire: Option<unsafe fn(*const Signal)>,
}

impl Signal {
    pub fn new() -> Signal {
        // SAFETY: all-zero is nginx's initial state of an event.
        let event = unsafe { core::mem::zeroed() };
        Signal(UnsafeCell::new(Inlaid { not_a_connection: [0; 3], fd: -1, event, fire: None }))
    }

    /// Has `fire` called right after the events at hand.
    ///
    /// # Safety
    /// The signal must stay where it is until then, or be dropped; `fire` must be safe to call with it.
    pub unsafe fn post(&self, fire: unsafe fn(*const Signal)) {
        let inlaid = self.0.get();
        // SAFETY: one thread, and nobody has a reference to what is inside.
        unsafe {
            (*inlaid).fire = Some(fire);
            let event = &raw mut (*inlaid).event;
            (*event).handler = Some(signalled);
            (*event).log = (*ffi::ngx_cycle).log;
            (*event).data = ptr::from_ref(self).cast_mut().cast();
            ffi::ngx_post_event(event, &raw mut ffi::ngx_posted_events);
        }
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        let event = &mut self.0.get_mut().event;
        if event.posted() != 0 {
            // SAFETY: the event is on the queue.
            unsafe { ffi::ngx_delete_posted_event(event) };
        }
    }
}

unsafe extern "C" fn signalled(event: *mut ngx_event_t) {
    // SAFETY: `data` is the signal that owns this event; it is alive, or its drop would have taken the event off.
    let signal = unsafe { (*event).data.cast::<Signal>() };
    // SAFETY: as above; whoever posted it vouches for the function.
    let fire = unsafe { (*(*signal).0.get()).fire };
    if let Some(fire) = fire {
        // SAFETY: as above.
        crate::native::guard(|| unsafe { fire(signal) });
    }
}
