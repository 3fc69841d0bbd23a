//! A request as a script holds it: prepared, sent, its body written and read step by step.

use core::cell::RefCell;
use std::rc::Rc;

use hyper::body::Bytes;
use hyper::{HeaderMap, StatusCode, Version};
use logic::text::url::Url;

use super::{send, HttpError, Reader, Request, Response, Upload};
use crate::ngx::Location;
use crate::run::{Ends, Owned, Place};

pub struct Call {
    state: RefCell<State>,
    /// In the list of what ends with the script's host.
    place: RefCell<Option<Place>>,
    location: Location,
}

enum State {
    Preparing(Box<Request>),
    Uploading(Box<Upload>),
    Reading(Box<Reader>),
    /// A thread waits for it.
    Busy,
    Over,
}

/// What a script gets; the body is left to be read unless it is here.
pub struct Answer {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub url: Url,
    pub body: Option<Vec<u8>>,
}

/// A thread's turn with a call. If it ends early, because the thread does, so does the call.
struct Turn(Rc<Call>);

impl Turn {
    fn end(self, next: State) {
        let mut state = self.0.state.borrow_mut();
        if matches!(*state, State::Busy) {
            *state = next;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.state.borrow_mut();
        if matches!(*state, State::Busy) {
            *state = State::Over;
        }
    }
}

impl Call {
    pub fn new(request: Request, location: Location, owned: &Rc<Owned>) -> Rc<Call> {
        let state = RefCell::new(State::Preparing(Box::new(request)));
        let call = Rc::new(Call { state, place: RefCell::default(), location });
        let ends = Rc::downgrade(&(Rc::clone(&call) as Rc<dyn Ends>));
        call.place.replace(Some(owned.add(ends)));
        call
    }

    /// Whether it was made by the script of this host.
    pub fn check(&self, owned: &Rc<Owned>) -> Result<(), HttpError> {
        match &*self.place.borrow() {
            Some(place) if place.is_of(owned) => Ok(()),
            _ => Err(HttpError::NotOurs),
        }
    }

    /// Changes the request before it is sent.
    pub fn prepare<T>(&self, f: impl FnOnce(&mut Request) -> T) -> Result<T, HttpError> {
        match &mut *self.state.borrow_mut() {
            State::Preparing(request) => Ok(f(request)),
            State::Busy => Err(HttpError::Busy),
            _ => Err(HttpError::Over),
        }
    }

    fn take(self: &Rc<Self>) -> Result<(Turn, State), HttpError> {
        let mut state = self.state.borrow_mut();
        match core::mem::replace(&mut *state, State::Busy) {
            State::Busy => Err(HttpError::Busy),
            State::Over => {
                *state = State::Over;
                Err(HttpError::Over)
            }
            taken => Ok((Turn(Rc::clone(self)), taken)),
        }
    }

    /// Sends the request, or the end of its body, and waits for the response; with `streams` its body is left.
    pub async fn send(self: Rc<Self>, streams: bool) -> Result<Answer, HttpError> {
        let (turn, state) = self.take()?;
        let mut response = match state {
            State::Preparing(request) => send(*request, self.location).await?,
            State::Uploading(upload) => upload.finish().await?,
            _ => return Err(HttpError::Over),
        };
        let body = if streams { None } else { Some(response.body.whole().await?) };
        let Response { status, version, headers, url, body: reader } = response;
        turn.end(if streams { State::Reading(Box::new(reader)) } else { State::Over });
        Ok(Answer { status, version, headers, url, body })
    }

    /// Begins a request whose body is written.
    pub async fn begin(self: Rc<Self>) -> Result<(), HttpError> {
        let (turn, state) = self.take()?;
        let State::Preparing(request) = state else { return Err(HttpError::Over) };
        let upload = Upload::begin(*request, self.location).await?;
        turn.end(State::Uploading(Box::new(upload)));
        Ok(())
    }

    /// Writes a piece of the body; false when the server has answered already.
    pub async fn write(self: Rc<Self>, piece: Bytes) -> Result<bool, HttpError> {
        let (turn, state) = self.take()?;
        let State::Uploading(mut upload) = state else { return Err(HttpError::Over) };
        let goes_on = upload.write(piece).await?;
        turn.end(State::Uploading(upload));
        Ok(goes_on)
    }

    /// The next piece of the response's body, `None` at the end.
    pub async fn read(self: Rc<Self>) -> Result<Option<Bytes>, HttpError> {
        let (turn, state) = self.take()?;
        let State::Reading(mut reader) = state else { return Err(HttpError::Over) };
        let piece = reader.chunk().await?;
        turn.end(State::Reading(reader));
        Ok(piece)
    }

    /// Gives up what is left of it; false when a thread waits for it.
    pub fn close(&self) -> bool {
        if matches!(*self.state.borrow(), State::Busy) {
            return false;
        }
        drop(self.state.replace(State::Over));
        true
    }
}

impl Ends for Call {
    fn host_ended(&self) {
        drop(self.state.replace(State::Over));
    }
}
