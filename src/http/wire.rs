//! A stream of nginx's as hyper reads and writes it.

use core::cell::{Cell, RefCell};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::future::Future;
use std::io;
use std::rc::Rc;

use hyper::rt::{Read, ReadBufCursor, Write};

use crate::ngx::{self, Interrupted, Stream, Wait};

/// How much is read at a time.
const READ_SIZE: usize = 16 * 1024;

/// What hyper and we both know of a connection.
pub struct Wire {
    pub stream: Rc<Stream>,
    read: Cell<u64>,
    written: Cell<u64>,
    /// The peer does not take what hyper has for it.
    sending: Cell<bool>,
    /// Why nothing can be sent any more.
    failure: RefCell<Option<io::Error>>,
    readable: RefCell<Option<Waiting>>,
    writable: RefCell<Option<Waiting>>,
}

struct Waiting {
    wait: Wait,
    waker: Waker,
}

/// hyper's end of a wire.
pub struct Io {
    wire: Rc<Wire>,
    /// What was read and hyper had no room for, from `start` on.
    buffer: Vec<u8>,
    start: usize,
}

impl Wire {
    pub fn new(stream: Rc<Stream>) -> Rc<Wire> {
        Rc::new(Wire {
            stream,
            read: Cell::new(0),
            written: Cell::new(0),
            sending: Cell::new(false),
            failure: RefCell::default(),
            readable: RefCell::default(),
            writable: RefCell::default(),
        })
    }

    pub fn io(self: &Rc<Self>) -> Io {
        Io { wire: Rc::clone(self), buffer: Vec::new(), start: 0 }
    }

    pub fn read(&self) -> u64 {
        self.read.get()
    }

    pub fn written(&self) -> u64 {
        self.written.get()
    }

    /// How many bytes have gone either way.
    pub fn moved(&self) -> u64 {
        self.read.get() + self.written.get()
    }

    pub fn is_sending(&self) -> bool {
        self.sending.get()
    }

    /// Whether something could not be sent.
    pub fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    pub fn take_failure(&self) -> Option<io::Error> {
        self.failure.borrow_mut().take()
    }

    /// Ends hyper's waits: nobody reads or writes for now, and what happens is not hyper's to know.
    pub fn rest(&self) {
        self.readable.take();
        self.writable.take();
    }

    /// Goes on with a wait for one side, if there is one.
    fn poll(&self, side: &RefCell<Option<Waiting>>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // a connection goes from one task to the next: what another one has waited for is asked anew
        let waited = side.take().filter(|waiting| waiting.waker.will_wake(cx.waker()));
        match waited {
            Some(waiting) => self.wait(side, waiting.wait, cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn wait(
        &self,
        side: &RefCell<Option<Waiting>>,
        mut wait: Wait,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut wait).poll(cx) {
            Poll::Pending => {
                side.replace(Some(Waiting { wait, waker: cx.waker().clone() }));
                Poll::Pending
            }
            Poll::Ready(result) => Poll::Ready(result.map_err(|e| match e {
                Interrupted::Closed => io::ErrorKind::NotConnected.into(),
                Interrupted::TimedOut => io::ErrorKind::TimedOut.into(),
            })),
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wait(&self.readable, self.stream.readable(Duration::ZERO), cx)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wait(&self.writable, self.stream.writable(Duration::ZERO), cx)
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut out: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.start == this.buffer.len() {
            (this.start, _) = (0, this.buffer.clear());
            this.buffer.reserve_exact(READ_SIZE);
            loop {
                core::task::ready!(this.wire.poll(&this.wire.readable, cx))?;
                match this.wire.stream.recv(&mut this.buffer) {
                    ngx::Io::Done(n) => {
                        this.wire.read.set(this.wire.read.get() + n as u64);
                        break;
                    }
                    ngx::Io::Eof => return Poll::Ready(Ok(())),
                    ngx::Io::Failed(e) => return Poll::Ready(Err(e)),
                    ngx::Io::Again => core::task::ready!(this.wire.poll_readable(cx))?,
                }
            }
        }
        let unread = &this.buffer[this.start..];
        let n = unread.len().min(out.remaining());
        out.put_slice(&unread[..n]);
        this.start += n;
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    /// What cannot be sent any more is dropped: the peer may have answered before it closed, and then its answer is
    /// worth more than the news that it did not listen to the end.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let wire = &self.wire;
        loop {
            if wire.has_failed() {
                wire.sending.set(false);
                return Poll::Ready(Ok(data.len()));
            }
            core::task::ready!(wire.poll(&wire.writable, cx))?;
            match wire.stream.send(data) {
                ngx::Io::Done(n) => {
                    wire.sending.set(false);
                    wire.written.set(wire.written.get() + n as u64);
                    return Poll::Ready(Ok(n));
                }
                ngx::Io::Again => {
                    wire.sending.set(true);
                    core::task::ready!(wire.poll_writable(cx))?;
                }
                ngx::Io::Eof => drop(wire.failure.replace(Some(io::ErrorKind::BrokenPipe.into()))),
                ngx::Io::Failed(e) => drop(wire.failure.replace(Some(e))),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The stream is closed as soon as it is dropped, which it is when hyper is done with it.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
