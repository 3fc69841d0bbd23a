//! Redirects (RFC 9110, section 15.4): the request that follows a response.

use hyper::header::{self, HeaderMap};
use hyper::{Method, StatusCode};
use std::rc::Rc;

use logic::text::url::Server;

use super::request::{Payload, Request, TlsOptions};
use super::HttpError;

/// Where a response sends us, if it does.
pub fn location(status: StatusCode, headers: &HeaderMap) -> Option<&[u8]> {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
        .then(|| headers.get(header::LOCATION).map(header::HeaderValue::as_bytes))
        .flatten()
}

/// Makes `request` the one that follows.
pub fn follow(request: &mut Request, status: StatusCode, location: &[u8]) -> Result<(), HttpError> {
    let next = request.url.join(location).map_err(HttpError::RedirectUrl)?;
    let leaves = !next.same_origin(&request.url);
    if leaves && matches!(next.server, Server::Unix(_)) {
        return Err(HttpError::Redirect("to a unix socket"));
    }
    if becomes_get(status, &request.method) {
        request.method = Method::GET;
        request.body = Payload::None;
        forget_body(&mut request.headers);
    } else if matches!(request.body, Payload::Pieces(_)) {
        return Err(HttpError::Redirect("the body cannot be sent again"));
    }
    if leaves {
        forget_secrets(request);
    }
    request.url = next;
    Ok(())
}

/// Sections 15.4.2 to 15.4.4: what browsers have always done with POST is allowed, and 303 asks for it.
fn becomes_get(status: StatusCode, method: &Method) -> bool {
    match status.as_u16() {
        303 => !matches!(*method, Method::GET | Method::HEAD),
        301 | 302 => *method == Method::POST,
        _ => false,
    }
}

fn forget_body(headers: &mut HeaderMap) {
    for name in [
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_LOCATION,
    ] {
        headers.remove(name);
    }
}

/// What was meant for one server only.
fn forget_secrets(request: &mut Request) {
    for name in [
        header::AUTHORIZATION,
        header::COOKIE,
        header::HOST,
        header::PROXY_AUTHORIZATION,
        header::WWW_AUTHENTICATE,
    ] {
        request.headers.remove(name);
    }
    let tls = &*request.tls;
    if tls.server_name.is_some() || tls.identity.is_some() {
        request.tls = Rc::new(TlsOptions { server_name: None, identity: None, ..tls.clone() });
    }
}
