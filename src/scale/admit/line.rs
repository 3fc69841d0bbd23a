//! Those who wait for room under a limit, in this worker: one line a key, by priority and then by arrival.
//!
//! Who stands first asks again when a place is given back in this worker, and now and then, for what others give back. Over all
//! workers the order is only as good as that.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::ngx::Posted;

type Spot = (u64, u8, u64);

#[derive(Default)]
pub struct Line {
    standing: Rc<RefCell<BTreeMap<Spot, Rc<Bell>>>>,
    arrivals: Cell<u64>,
}

/// How one that waits is told to look again.
#[derive(Default)]
struct Bell {
    rung: Cell<bool>,
    waker: Cell<Option<Waker>>,
    posted: Cell<Option<Posted>>,
}

impl Bell {
    /// For natives, too: nobody goes on before the event loop has its turn.
    fn ring(self: &Rc<Self>) {
        if self.rung.replace(true) {
            return;
        }
        let bell = Rc::downgrade(self);
        self.posted.set(Some(Posted::now(move || {
            if let Some(waker) = bell.upgrade().and_then(|bell| bell.waker.take()) {
                waker.wake();
            }
        })));
    }
}

/// A place in a line; dropping it leaves the line, and the next one looks.
pub struct Standing {
    all: Rc<RefCell<BTreeMap<Spot, Rc<Bell>>>>,
    spot: Spot,
    bell: Rc<Bell>,
}

impl Line {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.standing.borrow().is_empty()
    }

    pub fn join(&self, line: u64, priority: u8) -> Standing {
        let spot = (line, priority, self.arrivals.replace(self.arrivals.get() + 1));
        let bell = Rc::<Bell>::default();
        self.standing.borrow_mut().insert(spot, Rc::clone(&bell));
        Standing { all: Rc::clone(&self.standing), spot, bell }
    }

    /// Whether somebody stands in line whom one of this priority may not pass.
    pub fn is_before(&self, line: u64, priority: u8) -> bool {
        first(&self.standing.borrow(), line).is_some_and(|((_, first, _), _)| first <= priority)
    }

    /// There may be room.
    pub fn poke(&self, line: u64) {
        let next = first(&self.standing.borrow(), line).map(|(_, bell)| bell);
        if let Some(bell) = next {
            bell.ring();
        }
    }
}

fn first(all: &BTreeMap<Spot, Rc<Bell>>, line: u64) -> Option<(Spot, Rc<Bell>)> {
    let (spot, bell) = all.range((line, 0, 0)..=(line, u8::MAX, u64::MAX)).next()?;
    Some((*spot, Rc::clone(bell)))
}

impl Standing {
    pub fn is_first(&self) -> bool {
        first(&self.all.borrow(), self.spot.0).is_some_and(|(spot, _)| spot == self.spot)
    }

    /// Waits until somebody thinks that there is room.
    pub async fn poked(&self) {
        poll_fn(|cx| {
            if self.bell.rung.replace(false) {
                return Poll::Ready(());
            }
            self.bell.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.all.borrow_mut().remove(&self.spot);
        let next = first(&self.all.borrow(), self.spot.0).map(|(_, bell)| bell);
        if let Some(bell) = next {
            bell.ring();
        }
    }
}
