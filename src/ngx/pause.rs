//! Futures that only wait: for a time, or for the event loop's next turn.

use core::cell::{Cell, RefCell};
use core::future::{poll_fn, Future};
use core::pin::pin;
use core::task::{Poll, Waker};
use core::time::Duration;
use std::any::Any;
use std::rc::Rc;

use super::event::{Posted, Timer};

/// Waits so long. A worker that stops does not wait for it: the future is dropped with the worker then.
pub fn sleep(time: Duration) -> impl Future<Output = ()> {
    until_fired(move |fire| Timer::background(time, fire).held())
}

/// What the future comes to within the time; it is dropped after it.
pub async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    race(future, sleep(time)).await
}

/// The same for what a request waits for: a worker that is to stop waits for it, too.
pub async fn within_request<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    race(future, until_fired(move |fire| Timer::after(time, fire).held())).await
}

async fn race<T>(future: impl Future<Output = T>, over: impl Future<Output = ()>) -> Option<T> {
    let (mut future, mut over) = (pin!(future), pin!(over));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => over.as_mut().poll(cx).map(|()| None),
    })
    .await
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
