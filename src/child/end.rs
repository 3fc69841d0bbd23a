//! The worker's end of one of a child's pipes.

use core::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use logic::receive::Unread;

use super::{Child, ChildError, Side};
use crate::ngx::{debug_cycle, Interrupted, Stream};

pub struct End {
    pipe: RefCell<Pipe>,
    /// What was read and not asked for yet.
    pub unread: RefCell<Unread>,
    /// The child's end is closed.
    pub is_over: Cell<bool>,
    is_busy: Cell<bool>,
    /// It is to be closed when it is not busy any more.
    is_doomed: Cell<bool>,
    /// It was closed while a thread waited for it.
    was_aborted: Cell<bool>,
}

enum Pipe {
    Closed,
    /// Nobody has read or written yet, so it costs none of nginx's connections.
    Untouched(OwnedFd),
    Open(Rc<Stream>),
}

/// While it lives, a thread reads or writes.
pub struct Busy {
    child: Rc<Child>,
    side: Side,
    /// What it was there for is done: dropping it is nothing to be noted.
    pub is_done: Cell<bool>,
}

impl End {
    pub fn new(fd: Option<OwnedFd>) -> End {
        End {
            pipe: RefCell::new(fd.map_or(Pipe::Closed, Pipe::Untouched)),
            unread: RefCell::default(),
            is_over: Cell::default(),
            is_busy: Cell::default(),
            is_doomed: Cell::default(),
            was_aborted: Cell::default(),
        }
    }

    pub fn begin(child: &Rc<Child>, side: Side) -> Result<Busy, ChildError> {
        let end = &child.ends[side as usize];
        if matches!(*end.pipe.borrow(), Pipe::Closed) && !end.is_busy.get() {
            return Err(ChildError::Closed);
        }
        if end.is_busy.replace(true) {
            return Err(ChildError::Busy(if side == Side::Stdin { "writing" } else { "reading" }));
        }
        end.was_aborted.set(false);
        Ok(Busy { child: Rc::clone(child), side, is_done: Cell::new(false) })
    }

    pub fn stream(&self) -> Result<Rc<Stream>, ChildError> {
        let mut pipe = self.pipe.borrow_mut();
        match core::mem::replace(&mut *pipe, Pipe::Closed) {
            Pipe::Closed => Err(self.why_closed()),
            Pipe::Open(stream) => {
                *pipe = Pipe::Open(Rc::clone(&stream));
                Ok(stream)
            }
            Pipe::Untouched(fd) => match Stream::pipe(fd) {
                Ok(stream) => {
                    *pipe = Pipe::Open(Rc::clone(&stream));
                    Ok(stream)
                }
                Err(fd) => {
                    *pipe = Pipe::Untouched(fd);
                    Err(ChildError::NoConnection)
                }
            },
        }
    }

    /// Why a wait for it ended without what was waited for.
    pub fn interrupted(&self, e: Interrupted) -> ChildError {
        match e {
            Interrupted::TimedOut => ChildError::Timeout,
            Interrupted::Closed => self.why_closed(),
        }
    }

    fn why_closed(&self) -> ChildError {
        if self.was_aborted.get() {
            ChildError::Aborted
        } else {
            ChildError::Closed
        }
    }

    /// Closes it; a thread that waits for it is told.
    pub fn abort(&self) {
        self.was_aborted.set(self.is_busy.get());
        let pipe = self.pipe.replace(Pipe::Closed);
        if let Pipe::Open(stream) = pipe {
            stream.close();
        }
    }

    /// Closes it when nobody uses it any more.
    pub fn close(&self) {
        if self.is_busy.get() {
            self.is_doomed.set(true);
        } else {
            self.abort();
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let end = &self.child.ends[self.side as usize];
        end.is_busy.set(false);
        if !self.is_done.get() {
            let what = match self.side {
                Side::Stdin => "write",
                Side::Stdout => "read stdout",
                Side::Stderr => "read stderr",
            };
            debug_cycle(format_args!("lua pipe proc {what} cleanup"));
        }
        if end.is_doomed.get() {
            end.abort();
        }
    }
}
