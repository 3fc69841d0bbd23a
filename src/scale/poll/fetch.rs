//! One poll of an external signal.

use core::time::Duration;

use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::StatusCode;
use logic::autoscale::conf::{External, Payload};
use logic::autoscale::poll::{Brought, Collector, Wrong};

use crate::http::{send, Reader, Request};
use crate::ngx::Location;

/// A poll takes no longer than this, nor than four fifths of the time to the next one.
const MOST_TIME: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const MOST_BODY: u64 = 64 << 20;
/// How much of one that tells of a failure.
const MOST_REFUSAL: u64 = 64 << 10;

/// Asks for the signal; the error is the end of a log line.
pub async fn fetch(signal: External, watched: Vec<String>) -> Result<Brought, String> {
    let location = Location::of_http().ok_or("there is no http {}")?;
    let mut request = request(&signal, location).map_err(|e| e.to_string())?;
    request.timeouts.total = Duration::from_millis(signal.every_ms / 5 * 4).min(MOST_TIME);
    let mut response = send(request, location).await.map_err(|e| e.to_string())?;
    let mut collector = Collector::new(&signal.payload, &watched);
    if response.status != StatusCode::OK {
        let said = match read(&mut response.body, &mut collector, MOST_REFUSAL).await {
            Ok(()) => collector.refusal().map(|why| format!(", {why}")),
            Err(_) => None,
        };
        return Err(format!("it answered {}{}", response.status.as_u16(), said.unwrap_or_default()));
    }
    let framed =
        response.headers.contains_key(CONTENT_LENGTH) || response.headers.contains_key(TRANSFER_ENCODING);
    match read(&mut response.body, &mut collector, MOST_BODY).await {
        Ok(()) => Ok(collector.finish(framed)),
        Err(why) => Err(why),
    }
}

fn request(signal: &External, location: Location) -> Result<Request, crate::http::HttpError> {
    let mut request = Request::new(b"GET", signal.url.as_bytes(), &location.conf().sockets)?;
    request.max_body = MOST_BODY;
    request.header(
        b"Accept",
        match signal.payload {
            Payload::Prometheus(_) => b"text/plain;version=0.0.4;q=1,*/*;q=0.1",
            Payload::Json(_) => b"application/json",
        },
    )?;
    Ok(request)
}

/// Reads the body as it comes.
async fn read(body: &mut Reader, collector: &mut Collector, most: u64) -> Result<(), String> {
    let mut left = most;
    while let Some(piece) = body.chunk().await.map_err(|e| e.to_string())? {
        left =
            left.checked_sub(piece.len() as u64).ok_or_else(|| Wrong::TooLarge(most as usize).to_string())?;
        collector.feed(&piece).map_err(|wrong| wrong.to_string())?;
    }
    Ok(())
}
