//! Timers and posted events that own their cancel: dropping one disarms it.

use core::any::Any;
use core::cell::{RefCell, UnsafeCell};
use core::ptr;
use core::time::Duration;

use ::ngx::ffi::{self, ngx_event_t};

/// An event, and what is called when it fires. Laid out so that nginx's debug log, which takes `data` for a connection,
/// reads -1 as its descriptor.
#[repr(C)]
struct Armed<F> {
    not_a_connection: [usize; 3],
    fd: i32,
    event: ngx_event_t,
    fire: Option<F>,
}

/// An [`Armed`] event, whatever it calls.
trait Event: Any {
    fn event(&mut self) -> &mut ngx_event_t;
    fn held(self: Box<Self>) -> Box<dyn Any>;
}

impl<F: FnOnce() + 'static> Event for Armed<F> {
    fn event(&mut self) -> &mut ngx_event_t {
        &mut self.event
    }

    fn held(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl<F: FnOnce() + 'static> Armed<F> {
    fn new(fire: F) -> Box<Armed<F>> {
        // SAFETY: all-zero is nginx's initial state of an event.
        let event = unsafe { core::mem::zeroed() };
        let mut armed = Box::new(Armed { not_a_connection: [0; 3], fd: -1, event, fire: Some(fire) });
        armed.event.handler = Some(fired::<F>);
        // SAFETY: the cycle and its log live as long as the worker.
        armed.event.log = unsafe { (*ffi::ngx_cycle).log };
        armed.event.data = (&raw mut *armed).cast();
        armed
    }
}

impl<F> Drop for Armed<F> {
    fn drop(&mut self) {
        // SAFETY: the event is where it says it is: among the timers, or on a queue.
        unsafe {
            if self.event.timer_set() != 0 {
                ffi::ngx_del_timer(&raw mut self.event);
            }
            if self.event.posted() != 0 {
                ffi::ngx_delete_posted_event(&raw mut self.event);
            }
        }
    }
}

unsafe extern "C" fn fired<F: FnOnce() + 'static>(event: *mut ngx_event_t) {
    // SAFETY: `data` is the `Armed` that owns this event; it is alive, or its drop would have disarmed the event.
    let fire = unsafe { (*(*event).data.cast::<Armed<F>>()).fire.take() };
    if let Some(fire) = fire {
        crate::native::guard(fire);
    }
}

/// A one-shot timer; dropping it disarms it.
pub struct Timer(Box<dyn Event>);

impl Timer {
    /// Calls `fire` from the event loop once `after` has passed.
    pub fn after(after: Duration, fire: impl FnOnce() + 'static) -> Timer {
        let mut armed = Armed::new(fire);
        let ms = after.as_millis().min(u128::from(u32::MAX)) as usize;
        // SAFETY: the event lives in a box, and is disarmed before that is freed.
        unsafe { ffi::ngx_add_timer(&raw mut armed.event, ms) };
        Timer(armed)
    }

    /// The same for what does not matter enough to keep a worker that is to stop.
    pub fn background(after: Duration, fire: impl FnOnce() + 'static) -> Timer {
        let mut timer = Timer::after(after, fire);
        timer.0.event().set_cancelable(1);
        timer
    }

    /// The same as something to hold.
    pub fn held(self) -> Box<dyn Any> {
        self.0.held()
    }
}

/// A call that the event loop makes soon; dropping it calls it off.
pub struct Posted(Box<dyn Event>);

impl Posted {
    /// Right after the events at hand.
    pub fn now(fire: impl FnOnce() + 'static) -> Posted {
        Posted::on(&raw mut ffi::ngx_posted_events, fire)
    }

    /// After the event loop has looked for new events: what asks for this again and again starves nobody.
    pub fn next(fire: impl FnOnce() + 'static) -> Posted {
        keep_worker();
        Posted::on(&raw mut ffi::ngx_posted_next_events, fire)
    }

    fn on(queue: *mut ffi::ngx_queue_t, fire: impl FnOnce() + 'static) -> Posted {
        let mut armed = Armed::new(fire);
        // SAFETY: the event lives in a box, and is taken off the queue before that is freed.
        unsafe { ffi::ngx_post_event(&raw mut armed.event, queue) };
        Posted(armed)
    }

    /// The same as something to hold.
    pub fn held(self) -> Box<dyn Any> {
        self.0.held()
    }
}

struct Keeper(RefCell<Option<Timer>>);

// SAFETY: a worker has one thread that arms events.
unsafe impl Sync for Keeper {}

static KEEPER: Keeper = Keeper(RefCell::new(None));

/// A worker that is to stop ends as soon as it has no timer left, whatever is posted for the next turn of its loop: one timer for all
/// of that keeps it until then.
#[inline]
fn keep_worker() {
    if KEEPER.0.borrow().is_none() {
        keep_for_a_while();
    }
}

#[cold]
fn keep_for_a_while() {
    /// How much later a worker stops than it could, once nothing is posted any more.
    const A_WHILE: Duration = Duration::from_millis(100);
    let fire = || {
        KEEPER.0.replace(None);
        // SAFETY: nginx makes the queue before it runs any event; only its head is looked at.
        let is_posted = unsafe {
            let queue = &raw mut ffi::ngx_posted_next_events;
            !ptr::eq((*queue).next, queue)
        };
        if is_posted {
            keep_for_a_while();
        }
    };
    KEEPER.0.replace(Some(Timer::after(A_WHILE, fire)));
}

/// A call that the event loop makes soon, as a part of what it is about: posting it allocates nothing.
pub struct Signal(UnsafeCell<Inlaid>);

/// Laid out as [`Armed`].
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
