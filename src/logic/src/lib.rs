//! Everything that can be decided without nginx: no nginx, no Lua, no clock.
//!
//! Time, randomness and input come in as arguments, so `cargo test -p logic` takes seconds and needs no nginx.
#![forbid(unsafe_code)]

pub mod autoscale;
pub mod bytecode;
pub mod caught;
pub mod exec;
pub mod log_ring;
pub mod lua_lex;
pub mod receive;
pub mod text;
pub mod tls_hello;
pub mod wire;
