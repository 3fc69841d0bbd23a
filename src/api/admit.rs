//! `as.admit` and `as.settle`: limits by key.

use core::time::Duration;
use std::rc::Rc;

use logic::autoscale::admit::{Ask, Refusal};

use crate::native::{classics, natives, Answer, Cx, Raise, Str};
use crate::ngx::{clock, Timer};
use crate::phase::YIELDING;
use crate::run::{Armed, Host};
use crate::scale::admit::{described, Admission, Refused, Wanted};
use crate::scale::Shell;
use crate::vm::Stack;

/// It stands in line, or has a time of its own to wait for.
const QUEUES: i32 = 1;
const WAITS: i32 = 2;
/// Refused by the limit.
const REJECTED: i32 = -1;
const TOO_LARGE: i32 = -3;
const FULL: i32 = -4;
/// There is no such thing; the reason is in `error`.
const UNKNOWN: i32 = -2;

natives! {
    /// The number of a limit: `what` 0 is called `text`, 1 is a rate with a burst, 2 a window with a limit, 3 a concurrency.
    fn admit_limit(cx, what: val<i32>, text: bytes, number: val<f64>, error: out<Str>) -> i32 {
        let found = admission(cx).map_err(str::to_owned).and_then(|admission| {
            let text = String::from_utf8_lossy(text);
            match what {
                0 => admission.named(&text),
                what => admission.described(described(what, &text, number as u32)?),
            }
        });
        found.map_or_else(|why| {
            let scratch = cx.scratch();
            scratch.extend_from_slice(why.as_bytes());
            error.lend(scratch);
            UNKNOWN
        }, |number| number as i32)
    }

    /// In `values` the ticket and the seconds that it has to wait, or those after which to try again.
    fn admit_take(
        cx, limit: val<i32>, key: bytes, cost: val<f64>, priority: val<i32>, max_wait: val<f64>, values: slice<f64>,
    ) -> i32 {
        let (Ok(admission), [ticket, seconds, ..]) = (admission(cx), values) else { return UNKNOWN };
        let wanted = wanted(limit, key, cost, priority, max_wait);
        // what runs has its host until the native returns
        let host = cx.host();
        match admission.admit(&wanted, host.as_ref().and_then(Host::tickets)) {
            Ok(Some((number, wait))) => {
                (*ticket, *seconds) = (number, wait);
                if wait > 0.0 { WAITS } else { 0 }
            }
            Ok(None) => QUEUES,
            Err(Refusal::Later { us }) => {
                *seconds = us as f64 / 1e6;
                REJECTED
            }
            Err(Refusal::TooLarge) => TOO_LARGE,
            Err(Refusal::Full) => FULL,
        }
    }

    /// A negative cost is as it was. 0, or that there is no such ticket.
    fn admit_settle(cx, ticket: val<f64>, cost: val<f64>) -> i32 {
        let Ok(admission) = admission(cx) else { return UNKNOWN };
        let cost = (cost >= 0.0).then_some(cost as u32);
        if admission.settle(ticket, cost) { 0 } else { UNKNOWN }
    }
}

classics! {
    /// `(ticket, seconds)`: waits for its time.
    fn admit_sleep(cx, stack) -> Result<Answer, Raise> {
        let reserved = Reserved { admission: Rc::clone(admission(cx)?), ticket: Some(stack.number(1).unwrap_or_default()) };
        let seconds = stack.number(2).unwrap_or_default();
        Ok(Answer::wait(move |waker, _| {
            let waker = waker.clone();
            // not before its time: nginx's timers are of milliseconds, from when it last looked
            clock::update();
            let time = Duration::from_millis((seconds * 1e3).ceil() as u64);
            let fire = move || {
                let ticket = reserved.keep();
                waker.wake(|stack| push(stack, ticket, seconds));
            };
            Armed::Wait(Timer::after(time, fire).held())
        }))
    }

    /// `(limit, key, cost, priority, max_wait)`: stands in line.
    fn admit_queue(cx, stack) -> Result<Answer, Raise> {
        cx.require(YIELDING)?;
        let admission = Rc::clone(admission(cx)?);
        let key = stack.bytes(2).unwrap_or_default().to_vec();
        let (limit, priority) = (stack.int(1) as i32, stack.int(4) as i32);
        let [cost, max_wait] = [3, 5].map(|i| stack.number(i).unwrap_or_default());
        let host = cx.host();
        Ok(Answer::work(async move {
            let result = admission.wait(wanted(limit, &key, cost, priority, max_wait), host).await;
            move |stack: &mut Stack<'_>| match result {
                Ok((ticket, waited)) => push(stack, ticket, waited),
                Err(refused) => push_refused(stack, &refused),
            }
        }))
    }
}

/// A time in a leaky bucket that has not come yet; who does not wait for it leaves it to others.
struct Reserved {
    admission: Rc<Admission>,
    ticket: Option<f64>,
}

impl Reserved {
    fn keep(mut self) -> f64 {
        self.ticket.take().unwrap_or_default()
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.admission.settle(ticket, Some(0));
        }
    }
}

fn wanted(limit: i32, key: &[u8], cost: f64, priority: i32, max_wait: f64) -> Wanted<'_> {
    let ask = Ask { cost: cost as u32, priority: priority as u8, max_wait_us: (max_wait * 1e6) as u64 };
    Wanted { limit: limit as usize, key, ask }
}

fn push(stack: &mut Stack<'_>, ticket: f64, waited: f64) -> i32 {
    stack.push_number(ticket);
    stack.push_number(waited);
    2
}

/// As the prelude says it.
fn push_refused(stack: &mut Stack<'_>, refused: &Refused) -> i32 {
    stack.push_nil();
    match refused.why {
        Refusal::Later { us } => {
            stack.push_bytes(if refused.late { b"timeout" } else { b"rejected" });
            stack.push_number(us as f64 / 1e6);
            return 3;
        }
        Refusal::TooLarge => stack.push_bytes(b"too large"),
        Refusal::Full => stack.push_bytes(b"no memory"),
    }
    2
}

/// The worker's part in limits by key.
fn admission(cx: Cx) -> Result<&'static Rc<Admission>, &'static str> {
    let _ = cx;
    Shell::current().map(Shell::admission)
}
