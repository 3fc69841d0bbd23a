//! Waiting for one side of a stream, and what nginx's events wake.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::rc::Rc;

use ::ngx::ffi::{self, ngx_connection_t, ngx_event_t};

use super::{Peer, Stream};

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    TimedOut,
    /// The stream was closed meanwhile, or nginx cannot watch it.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::ngx) enum Side {
    Read,
    Write,
}

/// A wait for one side of a stream; dropping it ends the wait.
pub struct Wait {
    pub(super) stream: Rc<Stream>,
    pub(super) side: Side,
    pub(super) timeout: Duration,
    pub(super) armed: bool,
}

impl Future for Wait {
    type Output = Result<(), Interrupted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(event) = self.stream.event(self.side) else { return Poll::Ready(Err(Interrupted::Closed)) };
        let waker = self.stream.waker(self.side);
        if self.armed {
            if let Some(same) = waker.take() {
                // woken by something else
                waker.set(Some(same));
                return Poll::Pending;
            }
            // SAFETY: the event belongs to a live connection.
            let timed_out = unsafe { (*event).timedout() != 0 };
            if timed_out {
                // SAFETY: as above.
                unsafe { (*event).set_timedout(0) };
                return Poll::Ready(Err(Interrupted::TimedOut));
            }
            return Poll::Ready(Ok(()));
        }
        waker.set(Some(cx.waker().clone()));
        // SAFETY: as above.
        let watched = unsafe {
            let rc = match self.side {
                Side::Read => ffi::ngx_handle_read_event(event, 0),
                Side::Write => ffi::ngx_handle_write_event(event, 0),
            };
            if !self.timeout.is_zero() {
                ffi::ngx_add_timer(event, self.timeout.as_millis() as usize);
            }
            rc == ffi::NGX_OK as isize
        };
        self.armed = true;
        if watched {
            Poll::Pending
        } else {
            Poll::Ready(Err(Interrupted::Closed))
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        self.stream.waker(self.side).take();
        if let Some(event) = self.stream.event(self.side) {
            // SAFETY: the event belongs to a live connection.
            unsafe {
                if (*event).timer_set() != 0 {
                    ffi::ngx_del_timer(event);
                }
            }
        }
    }
}

pub(super) unsafe extern "C" fn readable(event: *mut ngx_event_t) {
    // SAFETY: nginx passes the event of a live connection.
    unsafe { happened(event, Side::Read) }
}

pub(super) unsafe extern "C" fn writable(event: *mut ngx_event_t) {
    // SAFETY: as above.
    unsafe { happened(event, Side::Write) }
}

/// # Safety
/// `event` must belong to the connection of a live stream.
unsafe fn happened(event: *mut ngx_event_t, side: Side) {
    crate::native::guard(|| {
        // SAFETY: the caller vouches for the event; `adopt` has put the stream there. A count is taken, because what is
        // woken may let go of the stream.
        let stream = unsafe {
            let stream = (*(*event).data.cast::<ngx_connection_t>()).data.cast::<Stream>().cast_const();
            Rc::increment_strong_count(stream);
            Rc::from_raw(stream)
        };
        if let Some(waker) = stream.waker(side).take() {
            // a script may go on now, and let go of the stream
            drop(stream);
            waker.wake();
        } else if side == Side::Read {
            let Some(fire) = stream.idle.take() else { return };
            // SAFETY: as above.
            let over =
                unsafe { (*event).timedout() != 0 } || stream.peek() != Peer::Quiet || stopping(&stream);
            if over {
                fire();
            } else {
                stream.idle.set(Some(fire));
            }
        }
    });
}

/// Whether nginx closes idle connections because the worker is to stop.
fn stopping(stream: &Stream) -> bool {
    // SAFETY: an open stream's connection is live.
    stream.connection.get().is_some_and(|c| unsafe { (*c.as_ptr()).close() != 0 })
}
