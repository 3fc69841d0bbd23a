//! The threads of a task: who runs, who waits for what, who waits for whom.

use core::sync::atomic::{AtomicU32, Ordering};
use std::collections::VecDeque;

use slab::Slab;

use super::wait::Held;
use crate::ngx::job::Running;
use crate::vm::{Coroutine, Identity};

/// Names a thread of a task. A slot is used again, a serial number is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadId {
    slot: u32,
    serial: u32,
}

/// More slots than a task can have threads.
const SLOTS: u32 = 1 << 20;

impl ThreadId {
    /// The thread that runs the script itself.
    pub const ENTRY: ThreadId = ThreadId { slot: SLOTS, serial: 0 };
}

/// How many threads that are gone are remembered.
const GONE: usize = 64;

/// The most threads for which memory is kept.
const SPARE_MAX: usize = 64;

/// Why a thread cannot be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillError {
    /// It was waited for, or killed before.
    Gone,
    /// It has ended.
    Ended,
    /// What it waits for must run to its end.
    Busy,
}

#[derive(Default)]
pub enum Doing {
    /// It is on the stack.
    #[default]
    Running,
    /// It has its turn soon, and is resumed with so many values of its stack.
    Ready(i32),
    Waiting {
        held: Held,
        /// Whether it may be killed.
        cancels: bool,
    },
    /// It waits for a future; it may be killed.
    Working(#[allow(dead_code)] Running),
    /// It waits for the first of these to end.
    Joining(Vec<ThreadId>),
    /// It has ended, well or not; its results lie on its stack until it is waited for.
    Ended { well: bool },
}

#[derive(Default)]
pub struct Thread {
    serial: u32,
    /// Its coroutine, and the one that has spawned it.
    identity: Option<(Identity, Identity)>,
    /// On the Rust stack while it runs.
    pub co: Option<Coroutine>,
    pub doing: Doing,
    /// How often it has waited: tells a late waker from a current one.
    pub waits: u32,
    /// The thread that waits for this one to end.
    pub joiner: Option<ThreadId>,
}

#[derive(Default)]
pub struct Threads {
    entry: Thread,
    /// How many have not ended.
    pub alive: usize,
    /// From the first spawned thread on: most scripts have none.
    crowd: Option<Box<Crowd>>,
}

/// The threads beside the entry thread.
#[derive(Default)]
pub struct Crowd {
    spawned: Slab<Thread>,
    /// Whose turn is next.
    ready: VecDeque<ThreadId>,
    /// The coroutines of the last threads that were waited for or killed: not to be told from others any more, but for
    /// better error messages.
    gone: VecDeque<Identity>,
}

impl Crowd {
    /// The same without threads, for another task, if it holds memory worth keeping, and not too much.
    fn emptied(mut self: Box<Self>) -> Option<Box<Crowd>> {
        let capacity = self.ready.capacity().max(self.spawned.capacity());
        (1..=SPARE_MAX).contains(&capacity).then(|| {
            self.spawned.clear();
            self.ready.clear();
            self.gone.clear();
            self
        })
    }
}

impl Threads {
    pub fn get(&mut self, id: ThreadId) -> Option<&mut Thread> {
        if id == ThreadId::ENTRY {
            return Some(&mut self.entry);
        }
        let crowd = self.crowd.as_deref_mut()?;
        crowd.spawned.get_mut(id.slot as usize).filter(|t| t.serial == id.serial)
    }

    /// Adds a thread that is resumed with `args` values; `None` when there are too many. `spare` may have memory for it.
    pub fn add(
        &mut self,
        co: Coroutine,
        parent: Identity,
        args: i32,
        spare: impl FnOnce() -> Option<Box<Crowd>>,
    ) -> Option<ThreadId> {
        // of the worker, so that a thread is not taken for one of another task
        static SERIAL: AtomicU32 = AtomicU32::new(1);
        let entry_is_ready = matches!(self.entry.doing, Doing::Ready(_));
        let crowd = self.crowd.get_or_insert_with(|| {
            let mut crowd = spare().unwrap_or_default();
            crowd.ready.extend(entry_is_ready.then_some(ThreadId::ENTRY));
            crowd
        });
        if crowd.spawned.len() >= SLOTS as usize {
            return None;
        }
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let identity = Some((co.identity(), parent));
        let doing = Doing::Ready(args);
        let thread = Thread { serial, identity, co: Some(co), doing, ..Thread::default() };
        let slot = crowd.spawned.insert(thread) as u32;
        self.alive += 1;
        Some(ThreadId { slot, serial })
    }

    /// Forgets a spawned thread.
    pub fn remove(&mut self, id: ThreadId) -> Option<Thread> {
        self.get(id)?;
        if id == ThreadId::ENTRY {
            return None;
        }
        let crowd = self.crowd.as_deref_mut()?;
        let thread = crowd.spawned.remove(id.slot as usize);
        if crowd.gone.len() == GONE {
            crowd.gone.pop_front();
        }
        crowd.gone.extend(thread.identity.map(|(co, _)| co));
        Some(thread)
    }

    /// The thread in coroutine `co`, and the coroutine that has spawned it.
    pub fn find(&self, co: Identity) -> Option<(ThreadId, Identity)> {
        self.crowd.as_deref()?.spawned.iter().find_map(|(slot, thread)| match thread.identity {
            Some((own, parent)) if own == co => {
                Some((ThreadId { slot: slot as u32, serial: thread.serial }, parent))
            }
            _ => None,
        })
    }

    /// Whether `co` was the coroutine of a thread that was removed not long ago.
    pub fn is_gone(&self, co: Identity) -> bool {
        self.crowd.as_deref().is_some_and(|crowd| crowd.gone.contains(&co))
    }

    /// Lets `id`, which is ready, have a turn after all that are.
    pub fn enqueue(&mut self, id: ThreadId) {
        // the entry thread alone needs no queue
        if let Some(crowd) = &mut self.crowd {
            crowd.ready.push_back(id);
        }
    }

    /// Lets `id` have its turn next.
    pub fn enqueue_first(&mut self, id: ThreadId) {
        if let Some(crowd) = &mut self.crowd {
            crowd.ready.push_front(id);
        }
    }

    /// The next that is ready: its coroutine, to be resumed with so many values.
    pub fn next(&mut self) -> Option<(ThreadId, Coroutine, i32)> {
        loop {
            let id = match &mut self.crowd {
                Some(crowd) => crowd.ready.pop_front()?,
                None => return self.take(ThreadId::ENTRY).map(|(co, args)| (ThreadId::ENTRY, co, args)),
            };
            // a thread may have been killed since it was put there
            if let Some((co, args)) = self.take(id) {
                return Some((id, co, args));
            }
        }
    }

    fn take(&mut self, id: ThreadId) -> Option<(Coroutine, i32)> {
        let thread = self.get(id)?;
        let Doing::Ready(args) = thread.doing else { return None };
        thread.doing = Doing::Running;
        Some((thread.co.take()?, args))
    }

    /// Whether no thread is left, neither waiting nor waited for.
    pub fn is_empty(&self) -> bool {
        self.entry.co.is_none() && self.crowd.as_deref().is_none_or(|crowd| crowd.spawned.is_empty())
    }

    /// The memory of its spawned threads, for another task, if it is worth keeping.
    pub fn into_spare(self) -> Option<Box<Crowd>> {
        self.crowd.and_then(Crowd::emptied)
    }

    pub fn any(&self, is: impl Fn(&Thread) -> bool) -> bool {
        let among = |crowd: &Crowd| crowd.spawned.iter().any(|(_, thread)| is(thread));
        is(&self.entry) || self.crowd.as_deref().is_some_and(among)
    }

    /// Empties it: the spawned ones, and the entry thread.
    pub fn take_all(&mut self) -> (Vec<Thread>, Thread) {
        self.alive = 0;
        let spawned = self.crowd.as_deref_mut().map(|crowd| {
            crowd.ready.clear();
            crowd.spawned.drain().collect()
        });
        (spawned.unwrap_or_default(), core::mem::take(&mut self.entry))
    }
}
