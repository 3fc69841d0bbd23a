//! A request from its first byte to the response's header: over a connection of the pool or a new one, and once more
//! where a redirect leads.

use core::cell::Cell;
use std::rc::Rc;

use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{StatusCode, Uri};
use logic::text::url::Server;

use super::body::{Body, Pipe};
use super::connect::connect;
use super::connection::Connection;
use super::patience::{within, Deadline, Patience};
use super::pool::{Kept, Key, Place};
use super::request::{Payload, Request};
use super::response::{Reader, Response};
use super::{redirect, HttpError, Part};
use crate::ngx::{cycle_main_conf, Location};

/// How much of a redirect's body is read to keep its connection.
const MAX_REDIRECT_BODY: u64 = 16 * 1024;

/// Sends a request under a location's configuration; its body is none or whole.
pub async fn send(mut request: Request, location: Location) -> Result<Response, HttpError> {
    request.complete()?;
    let client = Client::new(location, &request)?;
    let (connection, answer) = client.exchange(&request).await?;
    client.follow(request, connection, answer).await
}

/// A request whose body comes piece by piece.
pub struct Upload {
    client: Client,
    request: Request,
    connection: Connection,
    pipe: Rc<Pipe>,
    answer: Option<hyper::Response<Incoming>>,
}

impl Upload {
    /// Begins it: there is a connection then.
    pub async fn begin(mut request: Request, location: Location) -> Result<Upload, HttpError> {
        request.body = Payload::Pieces(None);
        request.complete()?;
        let client = Client::new(location, &request)?;
        let (mut connection, _) = client.connection(&client.key(&request), &request).await?;
        request.pass_gate()?;
        let (message, pipe) = message(&request)?;
        let pipe = pipe.ok_or(HttpError::Over)?;
        connection.begin(message);
        // the header leaves before the first piece is there
        let answer = connection.push(&pipe, client.patience(&request)).await?;
        Ok(Upload { client, request, connection, pipe, answer })
    }

    /// Sends a piece; false when the server has answered, and more is of no use.
    pub async fn write(&mut self, piece: Bytes) -> Result<bool, HttpError> {
        if self.answer.is_none() && !piece.is_empty() {
            self.pipe.put(piece)?;
            self.answer = self.connection.push(&self.pipe, self.client.patience(&self.request)).await?;
        }
        Ok(self.answer.is_none())
    }

    /// Sends the end, and waits for the response.
    pub async fn finish(mut self) -> Result<Response, HttpError> {
        let answer = match self.answer.take() {
            Some(answer) => answer,
            None => {
                self.pipe.end()?;
                self.connection.answer(self.client.patience(&self.request)).await?
            }
        };
        self.client.follow(self.request, self.connection, answer).await
    }
}

struct Client {
    location: Location,
    kept: Rc<Kept>,
    deadline: Deadline,
}

impl Client {
    fn new(location: Location, request: &Request) -> Result<Client, HttpError> {
        let kept = Rc::clone(&cycle_main_conf().ok_or(HttpError::Over)?.http);
        Ok(Client { location, kept, deadline: Deadline::after(request.timeouts.total) })
    }

    fn patience(&self, request: &Request) -> Patience {
        Patience::new(request.timeouts, self.deadline)
    }

    /// What connections for this request have in common.
    fn key(&self, request: &Request) -> Key {
        let context = self.location.conf().tls.context().map_or(0, |c| core::ptr::from_ref(c).addr());
        let proxy = request.proxy.as_ref().filter(|_| matches!(request.url.server, Server::Net { .. }));
        let tls = request.url.secure.then(|| (Rc::clone(&request.tls), context));
        let server = match proxy {
            // in the clear, one connection to the proxy serves for all servers
            Some(proxy) if tls.is_none() => Server::Net { host: proxy.host.clone(), port: proxy.port },
            _ => request.url.server.clone(),
        };
        Key { server, proxy: proxy.cloned(), tls }
    }

    /// A connection, and whether it was used before.
    async fn connection(&self, key: &Key, request: &Request) -> Result<(Connection, bool), HttpError> {
        if request.keepalive.is_some() {
            if let Some(connection) = self.kept.take(key) {
                return Ok((connection, true));
            }
        }
        Ok((self.connect(key, request).await?, false))
    }

    async fn connect(&self, key: &Key, request: &Request) -> Result<Connection, HttpError> {
        let (part, limit) = (Cell::new(Part::Connect), request.timeouts.connect);
        let work = connect(key, request.url.host(), self.location, &self.kept, limit, &part);
        // a place of its own, so that requests on kept connections are small
        let stream = Box::pin(within(limit, self.deadline, &part, work)).await?;
        Connection::new(stream).await
    }

    /// Sends the request, and waits for the response's header.
    async fn exchange(
        &self,
        request: &Request,
    ) -> Result<(Connection, hyper::Response<Incoming>), HttpError> {
        let key = self.key(request);
        let (mut connection, used) = self.connection(&key, request).await?;
        let written = connection.wire.written();
        request.pass_gate()?;
        connection.begin(message(request)?.0);
        match connection.answer(self.patience(request)).await {
            Ok(answer) => return Ok((connection, answer)),
            // RFC 9112, section 9.3.1: the server may have closed an idle connection just then. A request that is not
            // idempotent is sent again only if nothing of it has left.
            Err(e) if used && e.is_of_connection() && !connection.has_begun() => {
                if connection.wire.written() > written && !request.is_idempotent() {
                    return Err(e);
                }
            }
            Err(e) => return Err(e),
        }
        drop(connection);
        let mut connection = self.connect(&key, request).await?;
        request.pass_gate()?;
        connection.begin(message(request)?.0);
        let answer = connection.answer(self.patience(request)).await?;
        Ok((connection, answer))
    }

    /// Goes where redirects lead, as far as the request allows.
    async fn follow(
        &self,
        mut request: Request,
        mut connection: Connection,
        mut answer: hyper::Response<Incoming>,
    ) -> Result<Response, HttpError> {
        let mut left = request.redirects;
        loop {
            let (head, body) = answer.into_parts();
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(HttpError::BadResponse("status 101 was not asked for".to_owned()));
            }
            let to = redirect::location(head.status, &head.headers).filter(|_| request.redirects > 0);
            let max = if to.is_some() { MAX_REDIRECT_BODY } else { request.max_body };
            let place = request.keepalive.map(|keepalive| Place {
                kept: Rc::clone(&self.kept),
                key: self.key(&request),
                keepalive,
            });
            let mut reader = Reader::new(connection, body, place, request.timeouts, self.deadline, max);
            let Some(to) = to else {
                let url = request.url;
                return Ok(Response {
                    status: head.status,
                    version: head.version,
                    headers: head.headers,
                    url,
                    body: reader,
                });
            };
            left = left.checked_sub(1).ok_or(HttpError::TooManyRedirects(request.redirects))?;
            // read to its end where that is near, so that the connection serves again
            if reader.length().is_some_and(|length| length <= MAX_REDIRECT_BODY) {
                let _ = reader.whole().await;
            }
            drop(reader);
            redirect::follow(&mut request, head.status, to)?;
            request.complete()?;
            (connection, answer) = self.exchange(&request).await?;
        }
    }
}

/// The request as hyper takes it, and where its pieces go if it has some.
fn message(request: &Request) -> Result<(hyper::Request<Body>, Option<Rc<Pipe>>), HttpError> {
    let (body, pipe) = Body::new(&request.body);
    let through = request.proxy.as_ref().filter(|_| !request.url.secure);
    let through = through.filter(|_| matches!(request.url.server, Server::Net { .. }));
    let target = match through {
        Some(_) => request.url.to_string(),
        None => request.url.target.clone(),
    };
    let unfit = |e: &dyn core::fmt::Display| HttpError::Unfit(e.to_string());
    let mut message = hyper::Request::new(body);
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = Uri::try_from(target).map_err(|e| unfit(&e))?;
    let headers = message.headers_mut();
    if !request.headers.contains_key(header::HOST) {
        let host = HeaderValue::try_from(request.url.authority()).map_err(|e| unfit(&e))?;
        headers.insert(header::HOST, host);
    }
    headers.extend(request.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    if let Some(value) = through.and_then(|proxy| proxy.authorization.as_ref()) {
        let value = HeaderValue::from_bytes(value).map_err(|e| unfit(&e))?;
        headers.insert(header::PROXY_AUTHORIZATION, value);
    }
    if request.keepalive.is_none() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok((message, pipe))
}
