//! Protocols of servers that autoscaling writes to, without sockets: bytes in, bytes out.
//!
//! Both are spoken as far as one idempotent write needs. The crates that fit were judged heavier than that: `redis-protocol` brings a
//! parser library for the replies of three scripts, `amq-protocol` a TLS stack and a URL library for nine methods; neither bounds
//! what it reads.

pub mod amqp;
pub mod lock;
pub mod login;
pub mod resp;
pub mod stream;
