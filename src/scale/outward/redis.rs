//! `redis:HOST/publish/CHANNEL` and `redis:HOST/xadd/STREAM`: orders for whoever scales by messages.
//!
//! Both carry the order's key as `id` and the leader's `fence`. A stream gets an order once, however often it is tried, and none of a
//! leader older than the last one that has written; that much Redis sees to. A channel may get it twice. What nobody subscribes to was
//! told to nobody, which is a failure: subscribers have to be on the server that is written to, which may be no part of a cluster.

use core::time::Duration;

use logic::autoscale::conf::{Endpoint, Kind, Target};
use logic::wire::resp::Reply;
use logic::wire::stream::Entry;

use super::call::{persist, retry_of};
use super::{files, Env, Failure, Order, Retry, Written};
use crate::ngx::clock;
use crate::talk::redis::Redis;
use crate::talk::{Server, Shown, TalkError, Turn};

pub async fn write(target: &Target, order: &Order, env: &Env) -> Result<Written, Failure> {
    send(target, &order.json(), &Entry::order(&order.message()), env).await?;
    Ok(Written { replicas: order.to })
}

pub async fn notify(target: &Target, json: &str, env: &Env) -> Result<(), Failure> {
    send(target, json, &Entry::note(&note_id(), json), env).await
}

/// Told from all others, and the same when it is sent again.
pub fn note_id() -> String {
    format!("notify-{:x}-{:08x}{:08x}", clock::wall_clock().0, clock::random(), clock::random())
}

/// Who this target is, and who we are to it; a secret that was changed counts from the next try on.
pub fn server<'a>(target: &'a Target, at: &'a Endpoint) -> Result<Server<'a>, Failure> {
    let login = target.secret_file.as_deref().map(files::login).transpose()?;
    Ok(Server { at, ca_file: target.ca_file.as_deref(), login })
}

/// What a conversation that came to nothing means for whoever wanted something written.
pub fn failure(kind: &str, e: &TalkError) -> Failure {
    let retry = match e {
        TalkError::Net(e) => retry_of(e),
        TalkError::Said(_, true) => Retry::Soon,
        TalkError::Said(_, false) | TalkError::Deposed => Retry::Never,
    };
    Failure { why: format!("{kind}: {e}"), retry }
}

async fn send(target: &Target, json: &str, entry: &Entry, env: &Env) -> Result<(), Failure> {
    match &target.kind {
        Kind::RedisPublish { at, channel } => {
            let words = [b"PUBLISH", channel.as_bytes(), json.as_bytes()];
            match ask(target, at, &words, env).await? {
                Reply::Int(_) => Ok(()),
                reply => Err(strange(&reply)),
            }
        }
        Kind::RedisStream { at, key } => {
            let words = entry.add_once(key);
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            match ask(target, at, &words, env).await? {
                Reply::Bulk(Some(_)) => Ok(()),
                Reply::Int(fence) => {
                    Err(Failure::never(format!("redis: a later leader has written (fence {fence})")))
                }
                reply => Err(strange(&reply)),
            }
        }
        _ => Err(Failure::never("this is no Redis")),
    }
}

/// Sends a command until there is a reply that somebody heard.
async fn ask(target: &Target, at: &Endpoint, words: &[&[u8]], env: &Env) -> Result<Reply, Failure> {
    persist(target, async |tries| {
        let reply = once(target, at, words, env, Duration::from_millis(tries.share())).await?;
        match reply {
            Reply::Int(0) => Err(Failure::soon("redis: nobody subscribes to the channel")),
            reply => Ok(reply),
        }
    })
    .await
}

/// Sends a command, if this worker still is the leader when everything else is ready.
async fn once(
    target: &Target,
    at: &Endpoint,
    words: &[&[u8]],
    env: &Env,
    limit: Duration,
) -> Result<Reply, Failure> {
    let server = server(target, at)?;
    let turn = Turn::new(env.location, limit);
    let work = async {
        let mut redis = Redis::connect(&server, &turn).await?;
        if !(env.may_write)() {
            return Err(TalkError::Deposed);
        }
        redis.ask(words).await
    };
    turn.within(work).await.map_err(|e| failure("redis", &e))
}

fn strange(reply: &Reply) -> Failure {
    Failure::never(format!("redis: unexpected reply {}", Shown::new(&format!("{reply:?}"))))
}
