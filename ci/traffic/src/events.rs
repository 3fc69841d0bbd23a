//! Waiting for descriptors and for a time, to the microsecond: epoll's edges, and a timeout in nanoseconds.

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::Timespec;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

pub struct Events {
    epoll: OwnedFd,
    ready: Vec<Event>,
}

/// Enough for a burst; few enough that a time is looked at between batches.
const BATCH: usize = 64;

impl Events {
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, ready: Vec::with_capacity(BATCH) })
    }

    /// Reports `token` whenever more can be read or written than before. Ends with the descriptor.
    pub fn add(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }

    /// Reports `token` as long as there is somebody to accept.
    pub fn add_listener(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// What is ready, waiting for it no longer than `timeout_ns`.
    pub fn wait(&mut self, timeout_ns: Option<u64>, into: &mut Vec<u64>) -> io::Result<()> {
        let timeout = timeout_ns
            .map(|ns| Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 });
        self.ready.clear();
        into.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), timeout.as_ref()) {
            Ok(_) => into.extend(self.ready.iter().map(|event| event.data.u64())),
            Err(Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        Ok(())
    }
}
