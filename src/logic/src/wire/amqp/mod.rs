//! AMQP 0-9-1, as far as publishing one message with a publisher confirm takes it (the protocol's specification 0-9-1; RabbitMQ,
//! "Consumer Acknowledgements and Publisher Confirms").
//!
//! ```text
//! header > < start, start-ok > < tune, tune-ok open > < open-ok, channel.open > < open-ok, confirm.select > < select-ok: Ready
//! publish > < [return] ack: Confirmed, close > < close-ok
//! ```
//! [`Session`] is told what came and says what to send; it reads no more than one frame of bounded size at a time.

mod frame;
mod session;

pub use session::{Fault, Message, Session, Step};

/// What a client says first.
pub const HELLO: &[u8] = b"AMQP\0\0\x09\x01";
/// The longest frame that we take, and offer to take.
pub const MAX_FRAME: usize = 128 * 1024;

#[cfg(test)]
mod tests;
