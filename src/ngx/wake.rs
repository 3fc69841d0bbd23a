//! Waking another worker: a descriptor for each place among the workers, made before they are forked.
//!
//! The master makes them once and keeps them over reloads, so that a worker of the former configuration, which still ends its requests,
//! can wake one of the new. What is to be done is not said here: whoever is woken looks into shared memory.

use core::cell::{Cell, RefCell};
use core::ptr;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};

use std::rc::{Rc, Weak};

use ::ngx::ffi::{self, ngx_connection_t, ngx_event_t};

/// Workers beyond find their work with the next tick.
const MOST: usize = 256;

/// Descriptors plus one; 0 is none.
static SEATS: [AtomicI32; MOST] = [const { AtomicI32::new(0) }; MOST];

/// Makes a descriptor for each of `count` workers that has none yet. To be called where they are forked from.
pub fn prepare(count: usize) {
    for seat in SEATS.iter().take(count).filter(|seat| seat.load(Relaxed) == 0) {
        // SAFETY: a plain system call; the descriptor is new, and closed on exec.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd >= 0 {
            seat.store(fd + 1, Relaxed);
        }
    }
}

fn descriptor(seat: usize) -> Option<i32> {
    Some(SEATS.get(seat)?.load(Relaxed) - 1).filter(|fd| *fd >= 0)
}

/// Wakes the worker with this number.
pub fn wake(seat: usize) {
    if let Some(fd) = descriptor(seat) {
        let one = 1u64;
        // SAFETY: the descriptor is ours; a counter that is full wakes as well.
        let _ = unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
    }
}

/// Wakes every worker.
pub fn wake_all() {
    (0..MOST).for_each(wake);
}

/// Has this worker be woken. Dropping the last one ends that, and the descriptor with it: to be dropped when the worker exits.
pub struct Listener {
    heard: Rc<Heard>,
    number: u64,
}

type Room = (u64, Rc<dyn Fn()>);

struct Heard {
    connection: Cell<*mut ngx_connection_t>,
    seat: usize,
    deaf: Cell<bool>,
    /// Whoever listens, with a number of its own.
    rooms: RefCell<Vec<Room>>,
    given: Cell<u64>,
}

thread_local! {
    /// What this process hears, for the next one who listens.
    static HEARD: RefCell<Weak<Heard>> = const { RefCell::new(Weak::new()) };
}

impl Listener {
    /// Calls `tell` from the event loop whenever somebody wakes the worker with this number; `None` when that cannot be. Several may
    /// listen: all are told.
    pub fn new(seat: usize, tell: impl Fn() + 'static) -> Option<Listener> {
        let known = HEARD.with_borrow(Weak::upgrade).filter(|heard| heard.seat == seat && !heard.deaf.get());
        let heard = match known {
            Some(heard) => heard,
            None => Heard::new(seat)?,
        };
        HEARD.set(Rc::downgrade(&heard));
        let number = heard.given.get();
        heard.given.set(number + 1);
        heard.rooms.borrow_mut().push((number, Rc::new(tell)));
        Some(Listener { heard, number })
    }

    /// Hears nothing any more, nor does any other of this worker, and leaves what is said to the worker that listens under the same
    /// number. The descriptor stays: this worker may still wake others.
    pub fn deafen(&self) {
        if self.heard.deaf.replace(true) {
            return;
        }
        // SAFETY: the connection is ours as long as we live; an event that was taken off is closed like any other.
        unsafe {
            // epoll has it; what nginx has in its place elsewhere closes with the connection
            if let Some(del) = ffi::ngx_event_actions.del_conn {
                del(self.heard.connection.get(), 0);
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.heard.rooms.borrow_mut().retain(|(number, _)| *number != self.number);
    }
}

impl Heard {
    fn new(seat: usize) -> Option<Rc<Heard>> {
        let fd = descriptor(seat)?;
        // SAFETY: the cycle is running; the connection is ours until closed, and the box stays where it is until then.
        unsafe {
            let connection = ffi::ngx_get_connection(fd, (*ffi::ngx_cycle).log);
            let c = connection.as_mut()?;
            let heard = Rc::new(Heard {
                connection: Cell::new(connection),
                seat,
                deaf: Cell::new(false),
                rooms: RefCell::default(),
                given: Cell::new(0),
            });
            c.data = Rc::as_ptr(&heard).cast_mut().cast();
            (*c.read).handler = Some(readable);
            (*c.read).log = c.log;
            (*c.write).log = c.log;
            if ffi::ngx_handle_read_event(c.read, 0) == ffi::NGX_OK as isize {
                return Some(heard);
            }
            heard.connection.set(ptr::null_mut());
            ffi::ngx_free_connection(connection);
            (*connection).fd = -1;
            None
        }
    }

    /// Each of those who listened when this began.
    fn tell(&self) {
        let numbers: Vec<u64> = self.rooms.borrow().iter().map(|(number, _)| *number).collect();
        for number in numbers {
            let room =
                self.rooms.borrow().iter().find(|(n, _)| *n == number).map(|(_, tell)| Rc::clone(tell));
            if let Some(tell) = room {
                tell();
            }
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let connection = self.connection.get();
        if !connection.is_null() {
            // SAFETY: the connection is ours, and forgotten from here on; with it goes the descriptor, whose number must not be
            // used any more.
            unsafe {
                let fd = (*connection).fd;
                SEATS
                    .iter()
                    .filter(|seat| seat.load(Relaxed) == fd + 1)
                    .for_each(|seat| seat.store(0, Relaxed));
                ffi::ngx_close_connection(connection);
            }
        }
    }
}

unsafe extern "C" fn readable(event: *mut ngx_event_t) {
    // SAFETY: `data` of a connection's event is the connection, whose `data` is what lives as long as it does; it is kept while others
    // are told.
    let (heard, fd) = unsafe {
        let connection = (*event).data.cast::<ngx_connection_t>();
        let heard = (*connection).data.cast::<Heard>().cast_const();
        Rc::increment_strong_count(heard);
        (Rc::from_raw(heard), (*connection).fd)
    };
    let mut count = 0u64;
    // SAFETY: the descriptor is the connection's, and there is room for what is read.
    let _ = unsafe { libc::read(fd, (&raw mut count).cast(), size_of::<u64>()) };
    crate::native::guard(|| heard.tell());
    // SAFETY: as above.
    unsafe {
        // an event that says it is ready would be taken off by what is no epoll
        (*event).set_ready(0);
        if !heard.deaf.get() && ffi::ngx_handle_read_event(event, 0) != ffi::NGX_OK as isize {
            super::log_cycle(super::Level::Error, "this worker cannot be woken any more");
        }
    }
}
