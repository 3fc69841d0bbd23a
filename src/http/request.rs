//! What is asked, and how.

use core::time::Duration;
use std::rc::Rc;

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::Method;
use logic::text::base64;
use logic::text::url::{self, Server, Url};

use super::HttpError;
use crate::socket::Settings;

/// The most of a body that is read into memory, unless said otherwise.
const MAX_BODY: u64 = 16 * 1024 * 1024;

const MAX_HEADERS: usize = 1000;

const USER_AGENT: &str = concat!("autoscale-lua/", env!("CARGO_PKG_VERSION"));

#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Payload,
    pub timeouts: Timeouts,
    pub tls: Rc<TlsOptions>,
    pub proxy: Option<Rc<Proxy>>,
    /// `None`: the connection is made for this request alone.
    pub keepalive: Option<Keepalive>,
    /// How many redirects are followed.
    pub redirects: u32,
    /// How large a body may be; a larger one is an error.
    pub max_body: u64,
    /// Asked right before the request leaves: whether it still may.
    pub gate: Option<Gate>,
}

pub type Gate = Rc<dyn Fn() -> bool>;

#[derive(Clone)]
pub enum Payload {
    None,
    Whole(Bytes),
    /// It comes piece by piece; how long it will be, if that is known.
    Pieces(Option<u64>),
}

/// How long a connection may take, and how long nothing may move; zero is for ever.
#[derive(Clone, Copy)]
pub struct Timeouts {
    pub connect: Duration,
    pub send: Duration,
    pub read: Duration,
    /// For everything, from the first name that is looked up to the last byte of the body.
    pub total: Duration,
}

/// How TLS is spoken with the server. Names of files are as nginx's directives take them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsOptions {
    pub verify: bool,
    /// In place of the URL's: what is asked for, and what the certificate must be for.
    pub server_name: Option<String>,
    /// CA certificates to trust, in place of what the location says and of the system's.
    pub ca: Option<Vec<u8>>,
    /// A client certificate with its chain, and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Default for TlsOptions {
    fn default() -> TlsOptions {
        TlsOptions { verify: true, server_name: None, ca: None, identity: None }
    }
}

/// A proxy that speaks HTTP in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proxy {
    pub host: String,
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<Vec<u8>>,
}

/// How a connection is kept for later requests.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// Zero is for ever.
    pub idle: Duration,
    /// How many to the same server.
    pub size: usize,
}

impl Request {
    /// With a location's `lua_socket_*` values.
    pub fn new(method: &[u8], url: &[u8], settings: &Settings) -> Result<Request, HttpError> {
        let bad = || HttpError::Method(method.escape_ascii().to_string());
        let method = Method::from_bytes(method).map_err(|_| bad())?;
        if method == Method::CONNECT {
            return Err(bad());
        }
        Ok(Request {
            method,
            url: Url::parse(url)?,
            headers: HeaderMap::new(),
            body: Payload::None,
            timeouts: Timeouts {
                connect: settings.connect_timeout(),
                send: settings.send_timeout(),
                read: settings.read_timeout(),
                total: Duration::ZERO,
            },
            tls: Rc::default(),
            proxy: None,
            keepalive: Some(Keepalive { idle: settings.keepalive_timeout(), size: settings.pool_size() }),
            redirects: 0,
            max_body: MAX_BODY,
            gate: None,
        })
    }

    /// Adds a header; one of the same name stays.
    pub fn header(&mut self, name: &[u8], value: &[u8]) -> Result<(), HttpError> {
        let shown = || name.escape_ascii().to_string();
        let name = HeaderName::from_bytes(name).map_err(|_| HttpError::HeaderName(shown()))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| HttpError::HeaderValue(shown()))?;
        if name == header::CONNECTION {
            // both are decided elsewhere, and common in scripts
            if value.as_bytes().eq_ignore_ascii_case(b"close") {
                self.keepalive = None;
                return Ok(());
            } else if value.as_bytes().eq_ignore_ascii_case(b"keep-alive") {
                return Ok(());
            }
        }
        if is_own(&name) {
            return Err(HttpError::OwnHeader(shown()));
        }
        if self.headers.len() >= MAX_HEADERS {
            return Err(HttpError::TooManyHeaders);
        }
        // what is said twice of these would be read in two ways
        if matches!(name, header::HOST | header::CONTENT_LENGTH) {
            self.headers.insert(name, value);
        } else {
            self.headers.append(name, value);
        }
        Ok(())
    }

    /// The body as a whole.
    pub fn set_body(&mut self, body: Bytes) {
        self.body = if body.is_empty() { Payload::None } else { Payload::Whole(body) };
    }

    /// Checks what the headers say of the body, and adds what is left out.
    pub fn complete(&mut self) -> Result<(), HttpError> {
        let bad = || HttpError::HeaderValue("content-length".to_owned());
        let said = self.headers.remove(header::CONTENT_LENGTH);
        let said: Option<u64> = match &said {
            Some(value) => Some(value.to_str().ok().and_then(|n| n.parse().ok()).ok_or_else(bad)?),
            None => None,
        };
        let length = match &mut self.body {
            Payload::None => 0,
            Payload::Whole(bytes) => bytes.len() as u64,
            Payload::Pieces(length) => {
                *length = said;
                said.unwrap_or(0)
            }
        };
        if said.is_some_and(|said| said != length) {
            return Err(bad());
        }
        // RFC 9110, section 8.6: where a body is usual, one says that there is none
        if matches!(self.body, Payload::None)
            && matches!(self.method, Method::POST | Method::PUT | Method::PATCH)
        {
            self.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if !self.headers.contains_key(header::USER_AGENT) {
            self.headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        }
        Ok(())
    }

    /// An error when the request may not leave any more.
    pub fn pass_gate(&self) -> Result<(), HttpError> {
        match &self.gate {
            Some(gate) if !gate() => Err(HttpError::Barred),
            _ => Ok(()),
        }
    }

    /// Whether the request may be sent again, or is the same when it is sent twice (RFC 9110, section 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        matches!(
            self.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
        )
    }
}

/// Headers of the connection (RFC 9110, section 7.6.1), and those that say how a message ends.
fn is_own(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::TE
            | header::TRAILER
            | header::EXPECT
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

impl Proxy {
    /// `http://HOST:PORT`, with `USER:PASSWORD@` before the host for the basic scheme.
    pub fn parse(text: &[u8]) -> Result<Proxy, HttpError> {
        let prefix = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case(b"http://"));
        let rest = prefix.map(|_| &text[7..]).ok_or(HttpError::BadProxy("it is to begin with http://"))?;
        let rest = rest.strip_suffix(b"/").unwrap_or(rest);
        let (user, authority) = match rest.iter().rposition(|b| *b == b'@') {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        let Server::Net { host, port } = url::server(authority, 80).map_err(HttpError::BadProxy)? else {
            return Err(HttpError::BadProxy("no host"));
        };
        let authorization = user.map(|user| {
            let mut value = b"Basic ".to_vec();
            base64::encode(user, true, &mut value);
            value
        });
        Ok(Proxy { host, port, authorization })
    }
}
