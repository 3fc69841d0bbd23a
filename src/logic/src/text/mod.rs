//! Text formats: what Lua scripts escape, encode, parse and print.
//!
//! Scripts written for OpenResty depend on its exact output, so each function here gives what its API documentation
//! and test suite promise (lua-nginx-module 0.10.23, lua-resty-core 0.1.25), down to what it does with bad input.
//!
//! Input is `&[u8]`; bytes produced are appended to a `Vec<u8>` of the caller. A caller that reserves the bound that
//! a function names, and keeps the vector, pays for no allocation in a call.

pub mod args;
pub mod base64;
pub mod byte_set;
pub mod date;
pub mod hash;
pub mod header;
pub mod host;
pub mod raw_header;
pub mod re_opts;
pub mod re_template;
pub mod sql;
pub mod uri;
pub mod url;
