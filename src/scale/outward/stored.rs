//! `etcd:HOST/KEY` and `consul:HOST/KEY`: the last order, kept under a key for whoever watches it.
//!
//! The value is replaced by compare-and-swap, and not if it carries the token of a later leader. A repetition finds its own order there,
//! and is done.

use core::time::Duration;

use logic::autoscale::conf::{Endpoint, Kind, Target};
use logic::autoscale::outward::message::Message;
use logic::autoscale::outward::retry::Backoff;
use logic::autoscale::outward::stored::{consul, etcd, Next, Stored};
use logic::autoscale::policy::Replicas;
use logic::text::uri::{escape_uri, Escape};

use super::call::{persist, url, Answer, Ask, Tries};
use super::{files, Env, Failure, Order, Written};
use crate::ngx::{clock, sleep};

/// What was ordered last, by whomever; `None` when nothing was.
pub async fn read(target: &Target, env: &Env) -> Result<Option<Replicas>, Failure> {
    let store = Store::of(target, env)?;
    let stored = persist(target, async |tries| store.get(tries).await).await?;
    // who carries it out is not known, nor how far that is
    Ok(stored.message.map(|there| Replicas { wanted: there.to, ready: there.to }))
}

pub async fn write(target: &Target, order: &Order, env: &Env) -> Result<Written, Failure> {
    let (store, message) = (Store::of(target, env)?, order.message());
    persist(target, async |tries| store.write(&message, tries).await).await?;
    Ok(Written { replicas: order.to })
}

struct Store<'a> {
    target: &'a Target,
    at: &'a Endpoint,
    key: &'a str,
    is_etcd: bool,
    env: &'a Env,
}

impl<'a> Store<'a> {
    fn of(target: &'a Target, env: &'a Env) -> Result<Store<'a>, Failure> {
        match &target.kind {
            Kind::Etcd { at, key } => Ok(Store { target, at, key, is_etcd: true, env }),
            Kind::Consul { at, key } => Ok(Store { target, at, key, is_etcd: false, env }),
            _ => Err(Failure::never("this is neither etcd nor Consul")),
        }
    }

    async fn write(&self, message: &Message, tries: &Tries) -> Result<(), Failure> {
        let mut conflicts = Backoff::of_conflicts(clock::msec(), tries.left());
        loop {
            let stored = self.get(tries).await?;
            match stored.next(message) {
                Next::Done => return Ok(()),
                Next::Overtaken(fence) => {
                    return Err(Failure::never(format!("a later leader has written (fence {fence})")));
                }
                Next::Write => {}
            }
            if self.put(&stored, &message.json(), tries).await? {
                return Ok(());
            }
            match conflicts.pause(clock::msec(), None, clock::random().into()) {
                Some(pause) => sleep(Duration::from_millis(pause)).await,
                None => return Err(Failure::soon("others change it all the time")),
            }
        }
    }

    async fn get(&self, tries: &Tries) -> Result<Stored, Failure> {
        let answer = if self.is_etcd {
            self.ask("POST", "/v3/kv/range", Some(etcd::range(self.key)), false, tries).await?
        } else {
            self.ask("GET", &self.consul_path(), None, false, tries).await?
        };
        if !self.is_etcd && answer.status == 404 {
            return Ok(Stored::default());
        }
        let answer = done(answer, "the read")?;
        let stored = if self.is_etcd { etcd::stored(&answer.body) } else { consul::stored(&answer.body) };
        stored.ok_or_else(|| Failure::never("the answer to the read is none of this store"))
    }

    /// Whether it was put: not when it has changed since it was read.
    async fn put(&self, stored: &Stored, json: &str, tries: &Tries) -> Result<bool, Failure> {
        let answer = if self.is_etcd {
            let body = etcd::put(self.key, stored.version, json);
            self.ask("POST", "/v3/kv/txn", Some(body), true, tries).await?
        } else {
            let path = format!("{}?cas={}", self.consul_path(), stored.version);
            self.ask("PUT", &path, Some(json.to_owned()), true, tries).await?
        };
        let answer = done(answer, "the write")?;
        let put = if self.is_etcd { etcd::was_put(&answer.body) } else { consul::was_put(&answer.body) };
        put.ok_or_else(|| Failure::never("the answer to the write is none of this store"))
    }

    fn consul_path(&self) -> String {
        let mut path = b"/v1/kv/".to_vec();
        for (i, part) in self.key.split('/').enumerate() {
            if i > 0 {
                path.push(b'/');
            }
            escape_uri(part.as_bytes(), Escape::Component, &mut path);
        }
        String::from_utf8_lossy(&path).into_owned()
    }

    async fn ask(
        &self,
        method: &'static str,
        path: &str,
        body: Option<String>,
        writes: bool,
        tries: &Tries,
    ) -> Result<Answer, Failure> {
        let token = self.target.token_file.as_deref().map(files::token).transpose()?;
        let name = if self.is_etcd { "Authorization" } else { "X-Consul-Token" };
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(token.as_deref().map(|token| (name, token)));
        let (url, ca_file) = (url(self.at, path), self.target.ca_file.as_deref());
        let limit = tries.share();
        Ask { method, url: &url, headers: &headers, body, ca_file, writes, limit }.send(self.env).await
    }
}

fn done(answer: Answer, what: &str) -> Result<Answer, Failure> {
    if answer.is_ok() {
        return Ok(answer);
    }
    Err(answer.failure(what, None))
}
