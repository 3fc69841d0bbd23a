//! Cosockets: `ngx.socket` on nginx's event loop.
//!
//! Each operation is tried at once; only what cannot be done yet becomes a future that its thread waits for.

mod error;
mod pool;
mod settings;
mod tcp;
mod tls;
mod udp;

pub use error::SocketError;
pub use pool::Pools;
pub use settings::Settings;
pub use tcp::{Ask, Connect, Doing, Outcome, Tcp};
pub use tls::Handshake;
pub use udp::{Udp, MAX_DATAGRAM};
