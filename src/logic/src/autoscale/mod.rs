//! The loop, decided: what is measured, how it is named, how it is read and shown, which peer it prefers.
//!
//! A *zone* ([`metrics`]) holds what all workers know, in shared memory. A *signal* ([`signal`]) names one number of it with a
//! window; [`read`] evaluates it. [`expose`] shows everything, [`balance`] chooses a peer, [`eject`] says which may not be chosen,
//! and [`limit`] learns how many requests one takes at a time. [`conf`] reads what the configuration says
//! about scaling, out of nginx's parser or out of a file ([`nginx_conf`]); [`policy`] decides, [`pool`] says which peers stand by,
//! [`members`] who joins and leaves,
//! [`outward`] what others are told, [`admit`] whom a limit lets in, [`board`] is what workers share of it, and [`decisions`] keeps what was decided.

pub mod admit;
pub mod balance;
pub mod board;
pub mod conf;
pub mod decisions;
pub mod eject;
pub mod expose;
pub mod limit;
pub mod log;
pub mod members;
pub mod metrics;
pub mod nginx_conf;
pub mod outward;
pub mod policy;
pub mod poll;
pub mod pool;
pub mod queue;
pub mod read;
pub mod saved;
pub mod signal;
pub mod split;
