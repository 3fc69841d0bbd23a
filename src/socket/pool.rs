//! Connections that wait to be used again, by the name of their pool.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};
use core::time::Duration;
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};

use super::SocketError;
use crate::ngx::{cycle_main_conf, debug_cycle, process, Peer, Posted, Stream, Timer};

/// How many buffers are kept for the next sockets, and how large ones.
const BUFFERS: usize = 64;
const BUFFER_MAX: usize = 16 * 1024;

/// A worker's pools.
#[derive(Default)]
pub struct Pools {
    pools: RefCell<HashMap<Box<[u8]>, Rc<Pool>>>,
    /// What sockets no longer in use have read into.
    buffers: RefCell<Vec<Vec<u8>>>,
}

/// The connections of one name.
pub struct Pool {
    name: Box<[u8]>,
    /// How many it keeps, and, with a backlog, how many there may be in use.
    size: Cell<usize>,
    /// How many may wait for one; `None` without a limit to those in use.
    backlog: Cell<Option<usize>>,
    idle: RefCell<VecDeque<Idle>>,
    /// How many are in use that belong to the pool.
    in_use: Cell<usize>,
    waiting: RefCell<VecDeque<Weak<Turn>>>,
    next: Cell<u64>,
}

struct Idle {
    number: u64,
    stream: Rc<Stream>,
    reused: u32,
}

/// Leave to have one connection of a pool in use; dropping it passes the leave on.
pub struct Leave {
    pool: Rc<Pool>,
}

/// One that waits for its turn.
struct Turn {
    given: Cell<Option<Given>>,
    waker: Cell<Option<Waker>>,
    /// Wakes it; not from where a connection is given back, which is in the middle of another script.
    wake: Cell<Option<Posted>>,
}

struct Given {
    leave: Leave,
    idle: Option<(Rc<Stream>, u32)>,
}

/// What asking a pool comes to.
pub enum Asked {
    /// A connection that was used so many times before.
    Reused(Leave, Rc<Stream>, u32),
    /// None is idle; a new one may be made.
    Make(Leave),
    /// All are in use.
    Full(Rc<Pool>),
    /// There is no pool to ask.
    Free,
}

impl Pools {
    /// The pool of `name`, if there is one.
    pub fn find(&self, name: &[u8]) -> Option<Rc<Pool>> {
        self.pools.borrow().get(name).cloned()
    }

    /// The pool of `name`, made with these values if there is none.
    pub fn get(&self, name: &[u8], size: usize, backlog: Option<usize>) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get(name) {
            return Rc::clone(pool);
        }
        let shown = String::from_utf8_lossy(name);
        debug_cycle(format_args!("lua tcp socket keepalive create connection pool for key \"{shown}\""));
        debug_cycle(format_args!("lua tcp socket connection pool size: {size}"));
        let pool = Rc::new(Pool {
            name: name.into(),
            size: Cell::new(size),
            backlog: Cell::new(backlog),
            idle: RefCell::default(),
            in_use: Cell::new(0),
            waiting: RefCell::default(),
            next: Cell::new(0),
        });
        pools.insert(name.into(), Rc::clone(&pool));
        pool
    }

    /// Forgets a pool that holds nothing.
    fn sweep(&self, pool: &Pool) {
        if pool.in_use.get() == 0 && pool.idle.borrow().is_empty() && pool.waiting.borrow().is_empty() {
            debug_cycle(format_args!(
                "lua tcp socket keepalive: free connection pool for \"{}\"",
                pool.shown()
            ));
            let mut pools = self.pools.borrow_mut();
            // another one of this name may have taken its place
            if pools.get(&pool.name).is_some_and(|found| core::ptr::eq(&**found, pool)) {
                pools.remove(&pool.name);
            }
        }
    }

    /// Memory to read into.
    pub fn buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes memory back.
    pub fn keep_buffer(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        if (1..=BUFFER_MAX).contains(&buffer.capacity()) && buffers.len() < BUFFERS {
            buffers.push(buffer);
        }
    }
}

impl Pool {
    fn shown(&self) -> impl core::fmt::Display + '_ {
        String::from_utf8_lossy(&self.name)
    }

    /// Takes an idle connection, or leave to make one.
    pub fn ask(self: &Rc<Self>) -> Asked {
        loop {
            let last = self.idle.borrow_mut().pop_back();
            let Some(idle) = last else { break };
            idle.stream.rouse();
            if idle.stream.peek() == Peer::Quiet {
                return Asked::Reused(self.leave(), idle.stream, idle.reused + 1);
            }
        }
        if self.backlog.get().is_some() && self.in_use.get() >= self.size.get() {
            return Asked::Full(Rc::clone(self));
        }
        Asked::Make(self.leave())
    }

    /// Counts a connection as one of the pool's that is in use.
    pub fn leave(self: &Rc<Self>) -> Leave {
        self.in_use.set(self.in_use.get() + 1);
        Leave { pool: Rc::clone(self) }
    }

    /// Waits for a connection or for leave to make one.
    pub async fn wait(self: Rc<Self>, timeout: Duration) -> Result<Asked, SocketError> {
        let turn = Rc::new(Turn { given: Cell::default(), waker: Cell::default(), wake: Cell::default() });
        {
            let mut waiting = self.waiting.borrow_mut();
            waiting.retain(|turn| turn.strong_count() > 0);
            if waiting.len() >= self.backlog.get().unwrap_or(0) {
                return Err(SocketError::TooManyWaiting);
            }
            let shown = self.shown();
            debug_cycle(format_args!(
                "lua tcp socket queue connect operation for connection pool \"{shown}\""
            ));
            waiting.push_back(Rc::downgrade(&turn));
        }
        let late = Rc::new(Cell::new(false));
        let mut timer = None;
        poll_fn(|cx| {
            if let Some(given) = turn.given.take() {
                return Poll::Ready(Ok(match given.idle {
                    Some((stream, reused)) => Asked::Reused(given.leave, stream, reused),
                    None => Asked::Make(given.leave),
                }));
            }
            if late.get() {
                return Poll::Ready(Err(SocketError::Timeout));
            }
            turn.waker.set(Some(cx.waker().clone()));
            if timer.is_none() && !timeout.is_zero() {
                let (late, waker) = (Rc::clone(&late), cx.waker().clone());
                let fire = Box::new(move || {
                    late.set(true);
                    waker.wake();
                });
                timer = Some(Timer::after(timeout, fire));
            }
            Poll::Pending
        })
        .await
    }

    /// The first that waits for its turn.
    fn first_waiting(&self) -> Option<Rc<Turn>> {
        loop {
            let next = self.waiting.borrow_mut().pop_front()?;
            // one that has given up is still in the queue
            if let Some(turn) = next.upgrade() {
                return Some(turn);
            }
        }
    }
}

impl Turn {
    fn give(&self, leave: Leave, idle: Option<(Rc<Stream>, u32)>) {
        self.given.set(Some(Given { leave, idle }));
        if let Some(waker) = self.waker.take() {
            self.wake.set(Some(Posted::now(move || waker.wake())));
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.pool.in_use.set(self.pool.in_use.get() - 1);
        if let Some(turn) = self.pool.first_waiting() {
            turn.give(self.pool.leave(), None);
        } else if let Some(main) = cycle_main_conf() {
            main.pools.sweep(&self.pool);
        }
    }
}

impl Leave {
    /// Gives the connection back to its pool, to be kept for `timeout` (zero: for ever).
    pub fn keep(self, pools: &'static Pools, stream: Rc<Stream>, reused: u32, timeout: Duration) {
        let pool = Rc::clone(&self.pool);
        if let Some(turn) = pool.first_waiting() {
            turn.give(self, Some((stream, reused + 1)));
            return;
        }
        // nginx has closed what was idle, and would wait for what comes to be
        if process::exiting() {
            return;
        }
        match timeout.as_millis() {
            0 => debug_cycle(format_args!("lua tcp socket keepalive timeout: unlimited")),
            ms => debug_cycle(format_args!("lua tcp socket keepalive timeout: {ms} ms")),
        }
        let number = pool.next.get();
        pool.next.set(number + 1);
        let weak = Rc::downgrade(&pool);
        let over = Box::new(move || {
            debug_cycle(format_args!("lua tcp socket keepalive close handler"));
            if let Some(pool) = weak.upgrade() {
                pool.idle.borrow_mut().retain(|idle| idle.number != number);
                pools.sweep(&pool);
            }
        });
        if stream.rest(timeout, over) {
            let mut idle = pool.idle.borrow_mut();
            idle.push_back(Idle { number, stream, reused });
            // the one that has waited longest makes room
            let oldest = if idle.len() > pool.size.get() { idle.pop_front() } else { None };
            drop(idle);
            drop(oldest);
        }
    }
}
