//! `ngx.semaphore`

use std::rc::Rc;

use core::time::Duration;

use crate::native::{natives, Handle};
use crate::run::{Armed, Semaphore};

const OK: i32 = 0;
const TIMED_OUT: i32 = 1;
const WAIT: i32 = 2;

natives! {
    /// A semaphore that Lua gives back by `semaphore_free`.
    fn semaphore_new(cx, resources: val<f64>, slot: out<Handle>) -> () {
        slot.keep(Semaphore::new(resources as i64));
    }

    fn semaphore_free(cx, semaphore: own<Rc<Semaphore>>) -> () {
        drop(semaphore);
    }

    fn semaphore_count(cx, semaphore: our<Rc<Semaphore>>) -> f64 {
        semaphore.count() as f64
    }

    fn semaphore_post(cx, semaphore: our<Rc<Semaphore>>, n: val<f64>) -> () {
        semaphore.post(n as i64);
    }

    /// 0 with a resource taken, 1 when there is none and no time to wait; 2 with a wait prepared.
    fn semaphore_wait(cx, semaphore: our<Rc<Semaphore>>, seconds: val<f64>) -> i32 {
        if semaphore.try_take() {
            return OK;
        }
        let ms = (seconds * 1000.0) as u64;
        if ms == 0 {
            return TIMED_OUT;
        }
        let semaphore = Rc::clone(semaphore);
        cx.prepare(Box::new(move |waker, _| {
            Armed::Wait(semaphore.wait(waker.clone(), Duration::from_millis(ms)))
        }));
        WAIT
    }
}
