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

mod amqp;
mod call;
mod cluster;
mod files;
mod kafka;
mod kubernetes;
mod pool;
mod redis;
mod stored;
mod webhook;

use core::time::Duration;
use std::rc::Rc;

use logic::autoscale::admit::Shared;
use logic::autoscale::conf::{Kind, Leader, Lock, PeerKind, PeerSource, Target};
use logic::autoscale::outward::message::{rfc3339, Message};
use logic::autoscale::policy::Replicas;
use logic::text::url::Url;

use crate::ngx::Location;

pub use call::Answer;
pub use call::Ask;
pub use cluster::{reason, refused, Cluster, Query};
pub use files::{login, token};
pub use kubernetes::Known;

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

impl Env {
    /// For calls that change nothing.
    pub fn reading(location: Location) -> Env {
        Env { location, may_write: Rc::new(|| true) }
    }
}

impl Order {
    /// What every target but Kubernetes is told.
    pub fn message(&self) -> Message {
        Message {
            id: self.key.clone(),
            policy: self.policy.clone(),
            target: self.target.clone(),
            from: self.from,
            to: self.to,
            reason: self.reason.clone(),
            time: rfc3339(self.unix_ms),
            fence: self.fence,
        }
    }

    pub fn json(&self) -> String {
        self.message().json()
    }
}

/// How many replicas there are. `None`: this kind cannot be asked, and the number that was written last counts.
pub async fn read(target: &Target, env: &Env) -> Result<Option<Replicas>, Failure> {
    match &target.kind {
        Kind::Pool { upstream } => pool::read(upstream).map(Some),
        Kind::Kubernetes { .. } => kubernetes::read(target, env).await,
        Kind::Etcd { .. } | Kind::Consul { .. } => stored::read(target, env).await,
        Kind::Webhook { .. } | Kind::Kafka { .. } | Kind::Amqp { .. } => Ok(None),
        Kind::RedisPublish { .. } | Kind::RedisStream { .. } => Ok(None),
    }
}

/// Sets them. Within the target's `timeout`, all retries included.
pub async fn write(target: &Target, order: &Order, env: &Env) -> Result<Written, Failure> {
    match &target.kind {
        Kind::Pool { upstream } => pool::write(upstream, order, env),
        Kind::Kubernetes { .. } => kubernetes::write(target, order, env).await,
        Kind::Webhook { .. } => webhook::write(target, order, env).await,
        Kind::Etcd { .. } | Kind::Consul { .. } => stored::write(target, order, env).await,
        Kind::Kafka { .. } => kafka::write(target, order, env).await,
        Kind::Amqp { .. } => amqp::write(target, order, env).await,
        Kind::RedisPublish { .. } | Kind::RedisStream { .. } => redis::write(target, order, env).await,
    }
}

/// Tells a message, an object in JSON: `do notify` and `as.notify`.
pub async fn notify(target: &Target, json: &str, env: &Env) -> Result<(), Failure> {
    match &target.kind {
        Kind::Webhook { .. } => webhook::notify(target, json, env).await,
        Kind::Kafka { .. } => kafka::notify(target, json, env).await,
        Kind::Amqp { .. } => amqp::notify(target, json, env).await,
        Kind::RedisPublish { .. } | Kind::RedisStream { .. } => redis::notify(target, json, env).await,
        kind => Err(unable(kind, "be notified")),
    }
}

/// What can be told of a target while the configuration is read: its files are there and of use. Fills in what a pod of Kubernetes has
/// where nothing is configured. The answer may be a warning.
pub fn check(target: &mut Target) -> Result<Option<String>, String> {
    match &target.kind {
        Kind::Kubernetes { .. } => {
            cluster::complete(&mut target.api, &mut target.ca_file, &mut target.token_file)
        }
        kind => {
            if let Kind::Webhook { url } = kind {
                Url::parse(url.as_bytes()).map_err(|e| e.to_string())?;
            }
            let (ca, token, secret) = (&target.ca_file, &target.token_file, &target.secret_file);
            files::check(ca.as_deref(), token.as_deref(), secret.as_deref())?;
            let takes_login = matches!(
                target.kind,
                Kind::Amqp { .. } | Kind::RedisPublish { .. } | Kind::RedisStream { .. }
            );
            if takes_login {
                check_login(secret.as_deref())?;
            }
            Ok(None)
        }
    }
}

/// The same for the lock of `autoscale_leader`.
pub fn check_leader(leader: &mut Leader) -> Result<Option<String>, String> {
    match &leader.lock {
        Lock::Kubernetes { .. } => {
            cluster::complete(&mut leader.api, &mut leader.ca_file, &mut leader.token_file)
        }
        _ => {
            let (ca, secret) = (&leader.ca_file, &leader.secret_file);
            files::check(ca.as_deref(), None, secret.as_deref())?;
            check_login(secret.as_deref()).map(|()| None)
        }
    }
}

/// The same for a limit that gateways share.
pub fn check_limit(shared: &Shared) -> Result<(), String> {
    files::check(shared.ca_file.as_deref(), None, shared.secret_file.as_deref())?;
    check_login(shared.secret_file.as_deref())
}

/// The same for a line of `autoscale_peers`.
pub fn check_source(source: &mut PeerSource) -> Result<Option<String>, String> {
    match &source.kind {
        PeerKind::Kubernetes { .. } => {
            let warning = cluster::complete(&mut source.api, &mut source.ca_file, &mut source.token_file)?;
            Ok(warning.map(|why| why.replace("writes will fail", "nobody will be found")))
        }
        _ => files::check(source.ca_file.as_deref(), source.token_file.as_deref(), None).map(|()| None),
    }
}

fn check_login(secret: Option<&str>) -> Result<(), String> {
    secret.map(login).transpose().map(drop).map_err(|e| format!("secret_file {e}"))
}

fn unable(kind: &Kind, what: &str) -> Failure {
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
    Failure::never(format!("a target of kind {word} cannot {what}"))
}
