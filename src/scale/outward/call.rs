//! One HTTP call of a target, and tries of several.

use core::time::Duration;
use std::rc::Rc;

use hyper::header::RETRY_AFTER;
use logic::autoscale::conf::{Endpoint, Target};
use logic::autoscale::outward::retry::{retry_after, Backoff};

use super::{Env, Failure, Retry};
use crate::http::{self, HttpError, Request, Response, TlsOptions};
use crate::ngx::{clock, sleep};

/// The most that an answer may hold.
const MAX_ANSWER: u64 = 1024 * 1024;

/// The time that is left for an operation, all tries included.
pub struct Tries(Backoff);

impl Tries {
    pub fn left(&self) -> u64 {
        self.0.left(clock::msec())
    }

    /// How long one call of a try may take.
    pub fn share(&self) -> u64 {
        self.0.share(clock::msec())
    }
}

/// Tries until it is done, for good or in vain, or the target's time is over.
pub async fn persist<T>(
    target: &Target,
    mut attempt: impl AsyncFnMut(&Tries) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut tries = Tries(Backoff::of_errors(clock::msec(), target.timeout_ms));
    loop {
        let failure = match attempt(&tries).await {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        let asked = match failure.retry {
            Retry::Never => return Err(failure),
            Retry::Soon => None,
            Retry::After(asked) => Some(asked.as_millis() as u64),
        };
        match tries.0.pause(clock::msec(), asked, clock::random().into()) {
            Some(pause) => sleep(Duration::from_millis(pause)).await,
            None => return Err(failure),
        }
    }
}

/// What is asked.
pub struct Ask<'a> {
    pub method: &'static str,
    pub url: &'a str,
    pub headers: &'a [(&'static str, &'a str)],
    pub body: Option<String>,
    pub ca_file: Option<&'a str>,
    /// Only the leader may ask this.
    pub writes: bool,
    /// In milliseconds.
    pub limit: u64,
}

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    retry_after: Option<u64>,
}

impl Ask<'_> {
    /// Asks once. An answer is one whatever it says.
    pub async fn send(self, env: &Env) -> Result<Answer, Failure> {
        let failed = |e: HttpError| Failure { retry: retry_of(&e), why: format!("{}: {e}", self.method) };
        let mut request = self.request(env).map_err(failed)?;
        if let Some(body) = &self.body {
            request.set_body(body.clone().into());
        }
        let mut response = http::send(request, env.location).await.map_err(failed)?;
        let body = response.body.whole().await.map_err(failed)?;
        let value = response.headers.get(RETRY_AFTER);
        let retry_after = value.and_then(|value| retry_after(value.as_bytes(), clock::wall_clock().0));
        Ok(Answer { status: response.status.as_u16(), body, retry_after })
    }

    /// Asks once for what comes bit by bit: the body, of `most` bytes at most, is the caller's to read.
    pub async fn open(self, env: &Env, most: u64) -> Result<Response, Failure> {
        let failed = |e: HttpError| Failure { retry: retry_of(&e), why: format!("{}: {e}", self.method) };
        let mut request = self.request(env).map_err(failed)?;
        request.max_body = most;
        http::send(request, env.location).await.map_err(failed)
    }

    fn request(&self, env: &Env) -> Result<Request, HttpError> {
        let settings = &env.location.conf().sockets;
        let mut request = Request::new(self.method.as_bytes(), self.url.as_bytes(), settings)?;
        for (name, value) in self.headers {
            request.header(name.as_bytes(), value.as_bytes())?;
        }
        let limit = Duration::from_millis(self.limit);
        let timeouts = &mut request.timeouts;
        (timeouts.connect, timeouts.send, timeouts.read, timeouts.total) = (limit, limit, limit, limit);
        request.max_body = MAX_ANSWER;
        if let Some(ca) = self.ca_file {
            request.tls = Rc::new(TlsOptions { ca: Some(ca.into()), ..TlsOptions::default() });
        }
        if self.writes {
            request.gate = Some(Rc::clone(&env.may_write));
        }
        Ok(request)
    }
}

/// What is wrong with the network may pass; what is wrong with a request, a file or a certificate stays.
pub fn retry_of(e: &HttpError) -> Retry {
    match e {
        HttpError::Timeout(_)
        | HttpError::Closed(_)
        | HttpError::Cut
        | HttpError::Io(..)
        | HttpError::Resolve(_)
        | HttpError::NoMemory => Retry::Soon,
        _ => Retry::Never,
    }
}

impl Answer {
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What an answer that is no success comes to: 408, 429 and 5xx are worth another try, when the server says or soon.
    pub fn failure(&self, what: &str, reason: Option<String>) -> Failure {
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let retry = match (self.status, self.retry_after) {
            (408 | 429 | 500..=599, Some(ms)) => Retry::After(Duration::from_millis(ms)),
            (408 | 429 | 500..=599, None) => Retry::Soon,
            _ => Retry::Never,
        };
        Failure { why: format!("{what} was answered {}{reason}", self.status), retry }
    }
}

/// The URL of a path on a server.
pub fn url(at: &Endpoint, path: &str) -> String {
    let scheme = if at.tls { "https" } else { "http" };
    format!("{scheme}://{}:{}{path}", logic::text::url::bracketed(&at.host), at.port)
}
