//! What was answered.

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::{StatusCode, Version};
use logic::text::url::Url;

use super::connection::Connection;
use super::patience::{Deadline, Patience};
use super::pool::Place;
use super::{HttpError, Timeouts};

pub struct Response {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    /// Of the last request, if there were redirects.
    pub url: Url,
    pub body: Reader,
}

/// The body of a response that is read as it comes. Dropping it before its end closes the connection; at its end the
/// connection is kept for other requests.
pub struct Reader {
    connection: Option<(Connection, Incoming)>,
    place: Option<Place>,
    timeouts: Timeouts,
    deadline: Deadline,
    /// How much may still come, and may have come in all.
    left: u64,
    max: u64,
}

impl Reader {
    pub(super) fn new(
        connection: Connection,
        body: Incoming,
        place: Option<Place>,
        timeouts: Timeouts,
        deadline: Deadline,
        max: u64,
    ) -> Reader {
        let mut reader =
            Reader { connection: Some((connection, body)), place, timeouts, deadline, left: max, max };
        if reader.connection.as_ref().is_some_and(|(_, body)| body.is_end_stream()) {
            reader.end();
        }
        reader
    }

    /// How long the body is, as far as the server has said.
    pub fn length(&self) -> Option<u64> {
        match &self.connection {
            Some((_, body)) => body.size_hint().exact(),
            None => Some(0),
        }
    }

    /// The next piece; `None` at the end, and after it.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        let Some((connection, body)) = &mut self.connection else { return Ok(None) };
        let too_large = HttpError::TooLarge(self.max);
        if body.size_hint().exact().is_some_and(|size| size > self.left) {
            self.connection = None;
            return Err(too_large);
        }
        let result = connection.chunk(body, Patience::new(self.timeouts, self.deadline)).await;
        match result {
            Ok(Some(data)) => match self.left.checked_sub(data.len() as u64) {
                Some(left) => {
                    self.left = left;
                    // the end may be known already, and then the connection is free
                    if self.connection.as_ref().is_some_and(|(_, body)| body.is_end_stream()) {
                        self.end();
                    }
                    Ok(Some(data))
                }
                None => {
                    self.connection = None;
                    Err(too_large)
                }
            },
            Ok(None) => {
                self.end();
                Ok(None)
            }
            Err(e) => {
                self.connection = None;
                Err(e)
            }
        }
    }

    /// All of it.
    pub async fn whole(&mut self) -> Result<Vec<u8>, HttpError> {
        let mut whole = Vec::new();
        if let Some(length) = self.length().filter(|length| *length <= self.max) {
            // as much as is sure to be of use: a server may promise more than it has
            whole.reserve_exact(length.min(1 << 20) as usize);
        }
        while let Some(data) = self.chunk().await? {
            whole.try_reserve(data.len()).map_err(|_| HttpError::NoMemory)?;
            whole.extend_from_slice(&data);
        }
        Ok(whole)
    }

    fn end(&mut self) {
        let (Some((connection, body)), place) = (self.connection.take(), self.place.take()) else { return };
        drop(body);
        if let Some(place) = place {
            place.keep(connection);
        }
    }
}
