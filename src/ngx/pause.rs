//! Futures that only wait: for a time, or for the event loop's next turn.

use core::cell::{Cell, RefCell};
use core::future::{poll_fn, Future};
use core::task::{Poll, Waker};
use core::time::Duration;
use std::any::Any;
use std::rc::Rc;

use super::event::{Posted, Timer};

/// Waits so long. A worker that stops does not wait for it: the future is dropped with the worker then.
pub fn sleep(time: Duration) -> impl Future<Output = ()> {
    until_fired(move |fire| Timer::background(time, fire).held())
}

/// Waits until the events at hand are done with.
pub fn next_turn() -> impl Future<Output = ()> {
    until_fired(|fire| Posted::now(fire).held())
}

/// Arms an event at the first poll, and waits for it; dropping the future disarms it.
fn until_fired(arm: impl FnOnce(Box<dyn FnOnce()>) -> Box<dyn Any>) -> impl Future<Output = ()> {
    let (mut arm, mut held) = (Some(arm), None);
    let fired = Rc::new(Cell::new(false));
    let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
    poll_fn(move |cx| {
        if fired.get() {
            return Poll::Ready(());
        }
        waker.replace(Some(cx.waker().clone()));
        if let Some(arm) = arm.take() {
            let (fired, waker) = (Rc::clone(&fired), Rc::clone(&waker));
            held = Some(arm(Box::new(move || {
                fired.set(true);
                let waker = waker.take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            })));
        }
        let _ = &held;
        Poll::Pending
    })
}
