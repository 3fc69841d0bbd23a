//! A future whose panic is an answer.
//!
//! Whoever drives a future on behalf of others waits for what it comes to. One that panics would never come to anything: what waits for
//! it would wait for ever.

use core::any::Any;
use core::future::{poll_fn, Future};
use core::task::Poll;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// What `future` comes to, or what it panicked with. What it held is dropped either way; what it shares with others is as the panic left
/// it, so it should share little.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = Box::pin(future);
    poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(cause) => Poll::Ready(Err(message(&*cause))),
    })
    .await
}

fn message(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no message").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use core::pin::pin;
    use core::task::{Context, Waker};

    struct Held<'a>(&'a Cell<u32>);

    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    /// Waits so many times, and then panics or not.
    async fn errand(dropped: &Cell<u32>, waits: u32, panics: bool) -> u32 {
        let _held = Held(dropped);
        for left in (0..waits).rev() {
            let mut polled = false;
            poll_fn(|_| match core::mem::replace(&mut polled, true) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            assert!(!panics || left > 0, "at {left}");
        }
        assert!(!panics, "at once");
        waits
    }

    #[test]
    fn a_panic_at_any_poll_is_an_answer() {
        let mut cx = Context::from_waker(Waker::noop());
        for (waits, panics, expected) in
            [(0, false, Ok(0)), (3, false, Ok(3)), (0, true, Err("at once")), (3, true, Err("at 0"))]
        {
            let dropped = Cell::new(0);
            let mut future = pin!(caught(errand(&dropped, waits, panics)));
            for _ in 0..waits {
                assert!(future.as_mut().poll(&mut cx).is_pending());
            }
            let answer = future.as_mut().poll(&mut cx);
            assert_eq!(answer, Poll::Ready(expected.map_err(String::from)));
            assert_eq!(dropped.get(), 1);
        }
        // a message that is made when it happens
        let mut future = pin!(caught(async { panic!("{} of {}", 1, 2) }));
        assert_eq!(future.as_mut().poll(&mut cx), Poll::<Result<(), _>>::Ready(Err("1 of 2".into())));
    }
}
