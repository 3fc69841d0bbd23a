//! What a decision does outside nginx: one absolute number, written to a target.
//!
//! One worker of one gateway does this, off every request's path: in a future of [`job::spawn`](crate::ngx::job::spawn). Each kind of
//! target is one file with the same three functions, which this one chooses between:
//!
//! | function | what |
//! |---|---|
//! | [`read`] | how many replicas there are; `None` for what cannot be asked |
//! | [`write`] | sets them to a number, within the target's `timeout` with all its retries |
//! | [`notify`] | tells a message that is no number |
//!
//! Everything written is absolute and carries the key of its decision, so that whoever gets it twice has got it once. Whoever writes asks
//! [`Env::may_write`] right before bytes leave, because to lose the lead takes less time than to connect.
#![allow(dead_code, clippy::match_single_binding, reason = "the kinds and the engine are about to come")]

use core::time::Duration;
use std::rc::Rc;

use logic::autoscale::conf::{Kind, Target};
use logic::autoscale::policy::Replicas;

use crate::ngx::Location;

/// One absolute number for a target; writing it twice does no harm.
#[derive(Clone, Debug)]
pub struct Order {
    /// Unique for a decision, and the same for its repetitions.
    pub key: String,
    pub policy: String,
    pub target: String,
    pub from: u32,
    pub to: u32,
    pub reason: String,
    /// When it was decided, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The leader's token: a later leader's is greater.
    pub fence: u64,
}

/// What the target has been told, or had been already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub replicas: u32,
}

/// Why a target was not read or written; `Display` is for logs and names no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    pub why: String,
    pub retry: Retry,
}

/// Whether it is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same again would come to the same.
    Never,
    /// After a pause of the caller's choice.
    Soon,
    /// Not before so long, the target says.
    After(Duration),
}

impl Failure {
    pub fn never(why: impl Into<String>) -> Failure {
        Failure { why: why.into(), retry: Retry::Never }
    }

    pub fn soon(why: impl Into<String>) -> Failure {
        Failure { why: why.into(), retry: Retry::Soon }
    }
}

/// What a call needs of its worker; cheap to clone into a future.
#[derive(Clone)]
pub struct Env {
    /// `http {}`'s configuration: resolver, TLS, timeouts.
    pub location: Location,
    /// Whether this worker still is the leader.
    pub may_write: Rc<dyn Fn() -> bool>,
}

/// How many replicas there are. `None`: this kind cannot be asked, and the number that was written last counts.
pub async fn read(target: &Target, env: &Env) -> Result<Option<Replicas>, Failure> {
    let _ = env;
    match &target.kind {
        kind => Err(unable(kind)),
    }
}

/// Sets them. Within the target's `timeout`, all retries included.
pub async fn write(target: &Target, order: &Order, env: &Env) -> Result<Written, Failure> {
    let _ = (order, env);
    match &target.kind {
        kind => Err(unable(kind)),
    }
}

/// Tells a message, an object in JSON: `do notify` and `as.notify`.
pub async fn notify(target: &Target, json: &str, env: &Env) -> Result<(), Failure> {
    let _ = (json, env);
    match &target.kind {
        kind => Err(unable(kind)),
    }
}

/// What can be told of a target before there is a worker: its files are there and of use.
pub fn check(target: &Target) -> Result<(), String> {
    let _ = target;
    Ok(())
}

fn unable(kind: &Kind) -> Failure {
    let word = match kind {
        Kind::Pool { .. } => "pool",
        Kind::Kubernetes { .. } => "kubernetes",
        Kind::Webhook { .. } => "webhook",
        Kind::RedisPublish { .. } | Kind::RedisStream { .. } => "redis",
        Kind::Etcd { .. } => "etcd",
        Kind::Consul { .. } => "consul",
        Kind::Amqp { .. } => "amqp",
        Kind::Kafka { .. } => "kafka",
    };
    Failure::never(format!("a target of kind {word} cannot do this"))
}
