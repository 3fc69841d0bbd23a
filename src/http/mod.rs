//! An HTTP client on nginx's event loop: `hyper` speaks the protocol, over our own non-blocking sockets and nginx's TLS.
//!
//! It knows nothing of Lua: what a worker does in the background calls [`send`] in a future of its own
//! (`ngx::async_::spawn`). Dropping that future cancels; whoever keeps it does so when the worker stops. `call` is the
//! same as scripts hold it.
//!
//! ```text
//! Request ──send──> client ──pool, connect──> Connection (hyper over a Wire) ──> Response ──chunk──> … ──> pool
//!                     └─ a stale connection: once more; a redirect: the next request
//! ```
//! ```ignore
//! let mut request = Request::new(b"PATCH", url, &location.conf().sockets)?;
//! request.header(b"Authorization", token)?;
//! request.set_body(json.into());
//! request.timeouts.total = Duration::from_secs(5);
//! let mut response = send(request, location).await?;
//! let answer = response.body.whole().await?;
//! ```
//! Bounds: every wait has a timeout, redirects are counted, a body is read up to a size, idle connections are few.

mod body;
mod call;
mod client;
mod connect;
mod connection;
mod error;
mod patience;
mod pool;
mod redirect;
mod request;
mod response;
mod tls;
mod wire;

pub use call::{Answer, Call};
pub use client::{send, Upload};
pub use connect::dial;
pub use error::{words, HttpError, Part};
pub use patience::{within, Deadline};
pub use pool::Kept;
pub use request::{Keepalive, Proxy, Request, Timeouts, TlsOptions};
pub use response::{Reader, Response};
