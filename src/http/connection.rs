//! One connection to a server, and one request at a time over it.
//!
//! hyper splits a connection into what is asked and what moves the bytes; here both are polled by whoever waits for the
//! response, so that no task of its own is needed, and dropping the wait stops everything.

use core::future::{poll_fn, Future};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::rc::Rc;

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;

use super::body::{Body, Pipe};
use super::patience::Patience;
use super::wire::{Io, Wire};
use super::HttpError;
use crate::ngx::{Peer, Stream};

type Answer = Result<hyper::Response<Incoming>, hyper::Error>;

pub struct Connection {
    pub wire: Rc<Wire>,
    bytes: Box<http1::Connection<Io, Body>>,
    requests: http1::SendRequest<Body>,
    answer: Option<Pin<Box<dyn Future<Output = Answer>>>>,
    /// hyper is done with it.
    over: bool,
    /// How much had been read before the request.
    read_before: u64,
}

impl Connection {
    pub async fn new(stream: Rc<Stream>) -> Result<Connection, HttpError> {
        let wire = Wire::new(stream);
        let shaken = http1::Builder::new().title_case_headers(true).handshake(wire.io()).await;
        let (requests, bytes) = shaken.map_err(|e| HttpError::of_exchange(&e, &wire, false))?;
        Ok(Connection { wire, bytes: Box::new(bytes), requests, answer: None, over: false, read_before: 0 })
    }

    /// Whether the server has sent something since the request.
    pub fn has_begun(&self) -> bool {
        self.wire.read() > self.read_before
    }

    /// Begins a request; nothing is sent before somebody waits.
    pub fn begin(&mut self, request: hyper::Request<Body>) {
        self.read_before = self.wire.read();
        self.answer = Some(Box::pin(self.requests.send_request(request)));
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) {
        if !self.over {
            // what goes wrong is told to those who wait for an answer or a body
            self.over = Pin::new(&mut *self.bytes).poll(cx).is_ready();
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<hyper::Response<Incoming>, HttpError>> {
        self.poll_bytes(cx);
        let Some(answer) = &mut self.answer else { return Poll::Ready(Err(HttpError::Over)) };
        match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => {
                self.answer = None;
                Poll::Ready(answer.map_err(|e| HttpError::of_exchange(&e, &self.wire, self.has_begun())))
            }
            Poll::Pending if self.over => Poll::Ready(Err(HttpError::closed(&self.wire, self.has_begun()))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Waits for the response's header.
    pub async fn answer(&mut self, mut patience: Patience) -> Result<hyper::Response<Incoming>, HttpError> {
        poll_fn(|cx| match self.poll_answer(cx) {
            Poll::Pending => match patience.poll(cx, &self.wire) {
                Ok(()) => Poll::Pending,
                Err(e) => Poll::Ready(Err(e)),
            },
            ready => ready,
        })
        .await
    }

    /// Waits until hyper has taken the piece that `pipe` holds, or the response's header is there.
    pub async fn push(
        &mut self,
        pipe: &Pipe,
        mut patience: Patience,
    ) -> Result<Option<hyper::Response<Incoming>>, HttpError> {
        poll_fn(|cx| {
            if let Poll::Ready(answer) = self.poll_answer(cx) {
                return Poll::Ready(answer.map(Some));
            }
            if pipe.is_taken() {
                return Poll::Ready(Ok(None));
            }
            match patience.poll(cx, &self.wire) {
                Ok(()) => Poll::Pending,
                Err(e) => Poll::Ready(Err(e)),
            }
        })
        .await
    }

    /// The next piece of the response's body, `None` at its end.
    pub async fn chunk(
        &mut self,
        body: &mut Incoming,
        mut patience: Patience,
    ) -> Result<Option<Bytes>, HttpError> {
        poll_fn(|cx| {
            // a first look asks for more; then it is fetched, if it is there
            for look in 0..2 {
                while let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                    match frame {
                        None => return Poll::Ready(Ok(None)),
                        Some(Err(e)) => {
                            return Poll::Ready(Err(HttpError::of_exchange(&e, &self.wire, true)))
                        }
                        // others are trailers
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) if !data.is_empty() => return Poll::Ready(Ok(Some(data))),
                            _ => {}
                        },
                    }
                }
                if look == 0 {
                    self.poll_bytes(cx);
                }
            }
            if self.over {
                return Poll::Ready(Err(HttpError::Cut));
            }
            match patience.poll(cx, &self.wire) {
                Ok(()) => Poll::Pending,
                Err(e) => Poll::Ready(Err(e)),
            }
        })
        .await
    }

    /// Whether another request may be sent, once the response has been read to its end. From then on nobody waits.
    pub fn rest(&mut self) -> bool {
        self.poll_bytes(&mut Context::from_waker(Waker::noop()));
        self.wire.rest();
        !self.over
            && self.requests.is_ready()
            && !self.wire.has_failed()
            && self.wire.stream.peek() == Peer::Quiet
    }
}
