//! How long what takes time may take.

use core::cell::Cell;
use core::future::{poll_fn, Future};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::rc::Rc;

use super::wire::Wire;
use super::{HttpError, Part, Timeouts};
use crate::ngx::{clock, Timer};

/// The time by which a request is to be done, in milliseconds of [`clock::msec`].
#[derive(Clone, Copy, Default)]
pub struct Deadline(Option<u64>);

impl Deadline {
    /// From now; zero is none.
    pub fn after(total: Duration) -> Deadline {
        Deadline((!total.is_zero()).then(|| clock::msec() + total.as_millis() as u64))
    }
}

/// Wakes a future at a time; it is armed only if the future waits at all.
#[derive(Default)]
struct Alarm {
    timer: Option<(u64, Timer)>,
    rang: Rc<Cell<bool>>,
}

impl Alarm {
    /// Whether the first of these times is there, and if not, has the task woken then.
    fn poll(&mut self, cx: &Context<'_>, times: [Option<u64>; 2]) -> bool {
        let Some(at) = times.into_iter().flatten().min() else { return false };
        let now = clock::msec();
        if now >= at {
            return true;
        }
        if self.rang.take() || self.timer.as_ref().is_none_or(|(armed, _)| *armed > at) {
            let (rang, waker) = (Rc::clone(&self.rang), cx.waker().clone());
            let ring = Box::new(move || {
                rang.set(true);
                waker.wake();
            });
            self.timer = Some((at, Timer::after(Duration::from_millis(at - now), ring)));
        }
        false
    }
}

/// Waits for bytes to move, each time no longer than said.
pub struct Patience {
    timeouts: Timeouts,
    deadline: Deadline,
    alarm: Alarm,
    moved: u64,
    since: u64,
}

impl Patience {
    pub fn new(timeouts: Timeouts, deadline: Deadline) -> Patience {
        Patience { timeouts, deadline, alarm: Alarm::default(), moved: u64::MAX, since: 0 }
    }

    /// An error once nothing has moved on `wire` for too long.
    pub fn poll(&mut self, cx: &Context<'_>, wire: &Wire) -> Result<(), HttpError> {
        if self.moved != wire.moved() {
            self.moved = wire.moved();
            self.since = clock::msec();
        }
        let (part, limit) = match wire.is_sending() {
            true => (Part::Send, self.timeouts.send),
            false => (Part::Read, self.timeouts.read),
        };
        let idle = (!limit.is_zero()).then(|| self.since + limit.as_millis() as u64);
        if !self.alarm.poll(cx, [idle, self.deadline.0]) {
            return Ok(());
        }
        Err(HttpError::Timeout(if idle.is_some_and(|at| clock::msec() >= at) { part } else { Part::Total }))
    }
}

/// Does `work`, for which there is so much time; `part` says what it is about.
pub async fn within<T>(
    limit: Duration,
    deadline: Deadline,
    part: &Cell<Part>,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    let mut work = pin!(work);
    let mut alarm = Alarm::default();
    let own = Deadline::after(limit).0;
    poll_fn(|cx| {
        if let Poll::Ready(result) = work.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        if !alarm.poll(cx, [own, deadline.0]) {
            return Poll::Pending;
        }
        let late = own.is_some_and(|at| clock::msec() >= at);
        Poll::Ready(Err(HttpError::Timeout(if late { part.get() } else { Part::Total })))
    })
    .await
}
