//! Futures that nginx's events drive, each in one piece of memory.

use core::cell::{Cell, UnsafeCell};
use core::future::Future;
use core::mem::ManuallyDrop;
use core::pin::Pin;
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::rc::Rc;

/// Who is told what a future has come to.
pub trait Done<T> {
    fn done(self, value: T);
}

/// A future, and whom to tell.
pub struct Job<F, D> {
    /// Never moved once it was polled: it is dropped where it lies.
    future: UnsafeCell<Option<F>>,
    done: Cell<Option<D>>,
    turn: Cell<Turn>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Idle,
    Polling,
    /// It was woken while it was polled.
    Again,
    /// It has ended, or was cancelled.
    Over,
}

/// A future that is under way; dropping this drops the future where it stands.
pub struct Running(Rc<dyn Cancel>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs a future that belongs to no script: on the event loop, from its next turn on, and then tells `done` what it has come to.
/// Dropping what is returned drops the future where it stands; `done` may do that too.
pub fn spawn<F>(future: F, done: impl FnOnce(F::Output) + 'static) -> Running
where
    F: Future + 'static,
{
    let job = Job::new(async move {
        super::pause::next_turn().await;
        future.await
    });
    match Rc::clone(&job).start(|| Tell(done)) {
        Err(running) => running,
        // a first poll does not get past the turn
        Ok(_) => Running(job),
    }
}

/// The same without anybody to tell, and from now on; `None` when it has come to its end at once.
pub fn start<F>(future: F) -> Option<Running>
where
    F: Future<Output = ()> + 'static,
{
    Job::new(future).start(|| Tell(|()| ())).err()
}

struct Tell<D>(D);

impl<T, D: FnOnce(T)> Done<T> for Tell<D> {
    fn done(self, value: T) {
        (self.0)(value);
    }
}

trait Cancel {
    fn cancel(&self);
}

impl<F, D> Cancel for Job<F, D> {
    fn cancel(&self) {
        self.done.take();
        match self.turn.replace(Turn::Over) {
            // whoever polls it drops it
            Turn::Polling | Turn::Again => {}
            Turn::Idle | Turn::Over => self.drop_future(),
        }
    }
}

impl<F, D> Job<F, D> {
    pub fn new(future: F) -> Rc<Job<F, D>> {
        let (done, turn) = (Cell::new(None), Cell::new(Turn::Idle));
        Rc::new(Job { future: UnsafeCell::new(Some(future)), done, turn })
    }

    fn drop_future(&self) {
        // SAFETY: it is over: nobody polls it, nor looks at it any more.
        unsafe { *self.future.get() = None }
    }
}

impl<F, D> Job<F, D>
where
    F: Future + 'static,
    D: Done<F::Output> + 'static,
{
    /// Polls it for the first time. What it comes to at once is returned, and the rest is `done`'s to learn.
    pub fn start(self: Rc<Self>, done: impl FnOnce() -> D) -> Result<F::Output, Running> {
        match self.poll() {
            Some(value) => Ok(value),
            None => {
                self.done.set(Some(done()));
                Err(Running(self))
            }
        }
    }

    fn poll(self: &Rc<Self>) -> Option<F::Output> {
        match self.turn.get() {
            Turn::Idle => {}
            Turn::Polling | Turn::Again => {
                self.turn.set(Turn::Again);
                return None;
            }
            Turn::Over => return None,
        }
        // SAFETY: the count that the waker stands for is this reference's, which outlives it.
        let waker = ManuallyDrop::new(unsafe { Waker::from_raw(Self::raw(Rc::as_ptr(self))) });
        let mut cx = Context::from_waker(&waker);
        loop {
            self.turn.set(Turn::Polling);
            // SAFETY: only who has set the turn to `Polling` comes here, and the future is dropped after that alone. It
            // lies in the count's memory and is not moved out of it.
            let polled = unsafe {
                let future = (*self.future.get()).as_mut()?;
                Pin::new_unchecked(future).poll(&mut cx)
            };
            match (polled, self.turn.get()) {
                (Poll::Pending, Turn::Again) => {}
                (Poll::Pending, Turn::Over) => {
                    self.drop_future();
                    return None;
                }
                (Poll::Pending, _) => {
                    self.turn.set(Turn::Idle);
                    return None;
                }
                (Poll::Ready(value), _) => {
                    self.turn.set(Turn::Over);
                    self.drop_future();
                    return Some(value);
                }
            }
        }
    }

    fn wake(self: &Rc<Self>) {
        if let Some(value) = self.poll() {
            if let Some(done) = self.done.take() {
                done.done(value);
            }
        }
    }

    /// `data` of these is a counted reference. Wakers stay in the one thread of their worker.
    const WAKER: RawWakerVTable =
        RawWakerVTable::new(Self::clone_raw, Self::wake_raw, Self::wake_by_ref_raw, Self::drop_raw);

    fn raw(job: *const Self) -> RawWaker {
        RawWaker::new(job.cast(), &Self::WAKER)
    }

    unsafe fn clone_raw(data: *const ()) -> RawWaker {
        // SAFETY: `data` is a counted reference.
        unsafe { Rc::increment_strong_count(data.cast::<Self>()) };
        Self::raw(data.cast())
    }

    unsafe fn wake_raw(data: *const ()) {
        // SAFETY: as above; the waker's count is given up.
        unsafe { Rc::from_raw(data.cast::<Self>()) }.wake();
    }

    unsafe fn wake_by_ref_raw(data: *const ()) {
        // SAFETY: as above; the waker keeps its count.
        let job = ManuallyDrop::new(unsafe { Rc::from_raw(data.cast::<Self>()) });
        // what is woken may drop the waker
        Rc::clone(&job).wake();
    }

    unsafe fn drop_raw(data: *const ()) {
        // SAFETY: as in `wake_raw`.
        drop(unsafe { Rc::from_raw(data.cast::<Self>()) });
    }
}
