//! Bodies of requests, as hyper asks for them.

use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::rc::Rc;

use hyper::body::{Bytes, Frame, SizeHint};

use super::request::Payload;
use super::HttpError;

/// How much hyper is given at a time: it copies small pieces behind the header.
const PIECE: usize = 64 * 1024;

pub enum Body {
    Whole(Bytes),
    Pieces(Rc<Pipe>),
}

/// The next piece of a body, on its way from whoever makes it to hyper.
pub struct Pipe {
    next: RefCell<Bytes>,
    ended: Cell<bool>,
    /// How many bytes are still to come, if that was said.
    left: Cell<Option<u64>>,
}

impl Body {
    pub fn new(payload: &Payload) -> (Body, Option<Rc<Pipe>>) {
        match payload {
            Payload::None => (Body::Whole(Bytes::new()), None),
            Payload::Whole(bytes) => (Body::Whole(bytes.clone()), None),
            Payload::Pieces(length) => {
                let pipe = Rc::new(Pipe {
                    next: RefCell::default(),
                    ended: Cell::new(*length == Some(0)),
                    left: Cell::new(*length),
                });
                (Body::Pieces(Rc::clone(&pipe)), Some(pipe))
            }
        }
    }
}

impl Pipe {
    /// Puts a piece where hyper finds it; the one before must be gone.
    pub fn put(&self, piece: Bytes) -> Result<(), HttpError> {
        if let Some(left) = self.left.get() {
            let left = left.checked_sub(piece.len() as u64).ok_or(HttpError::BodyLength("longer"))?;
            self.left.set(Some(left));
            self.ended.set(left == 0);
        }
        self.next.replace(piece);
        Ok(())
    }

    /// Nothing more will be put.
    pub fn end(&self) -> Result<(), HttpError> {
        if self.left.get().is_some_and(|left| left > 0) {
            return Err(HttpError::BodyLength("shorter"));
        }
        self.ended.set(true);
        Ok(())
    }

    /// Whether hyper has taken what was put.
    pub fn is_taken(&self) -> bool {
        self.next.borrow().is_empty()
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    /// Whoever puts a piece polls the connection, so that nobody is to be woken.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Body::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Body::Pieces(pipe) if pipe.is_taken() => match pipe.ended.get() {
                true => Poll::Ready(None),
                false => Poll::Pending,
            },
            Body::Pieces(pipe) => Poll::Ready(Some(Ok(Frame::data(pipe.next.take())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(bytes) => bytes.is_empty(),
            Body::Pieces(pipe) => pipe.ended.get() && pipe.is_taken(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Pieces(pipe) => match pipe.left.get() {
                Some(left) => SizeHint::with_exact(left + pipe.next.borrow().len() as u64),
                None => SizeHint::default(),
            },
        }
    }
}
