//! `webhook:URL`: a `POST` of the order in JSON.
//!
//! | header | what |
//! |---|---|
//! | `Idempotency-Key`, `webhook-id` | the decision's key, the same for each repetition |
//! | `webhook-timestamp` | when this try was signed, in seconds since 1970 |
//! | `webhook-signature` | with `secret_file`: `v1,` and the base64 of HMAC-SHA256 over `ID.TIMESTAMP.BODY` (Standard Webhooks) |
//!
//! 2xx says that the order was taken; an answer `{"replicas":N}` says how far. 408, 429 and 5xx are tried again, nothing else is.

use logic::autoscale::conf::{Kind, Target};
use logic::autoscale::outward::message::replicas_of;
use logic::autoscale::outward::sign;

use super::call::{persist, Answer, Ask, Tries};
use super::{files, Env, Failure, Order, Written};
use crate::ngx::clock;

pub async fn write(target: &Target, order: &Order, env: &Env) -> Result<Written, Failure> {
    let json = order.json();
    let answer = persist(target, async |tries| post(target, &order.key, &json, env, tries).await).await?;
    Ok(Written { replicas: replicas_of(&answer.body).unwrap_or(order.to) })
}

pub async fn notify(target: &Target, json: &str, env: &Env) -> Result<(), Failure> {
    let (seconds, _) = clock::wall_clock();
    // told from all others, and the same when it is sent again
    let key = format!("notify-{seconds:x}-{:08x}{:08x}", clock::random(), clock::random());
    persist(target, async |tries| post(target, &key, json, env, tries).await).await?;
    Ok(())
}

async fn post(target: &Target, key: &str, json: &str, env: &Env, tries: &Tries) -> Result<Answer, Failure> {
    let Kind::Webhook { url } = &target.kind else {
        return Err(Failure::never("this is no webhook"));
    };
    let (seconds, _) = clock::wall_clock();
    let (timestamp, quoted) = (seconds.to_string(), format!("\"{key}\""));
    let mut headers = vec![
        ("Content-Type", "application/json"),
        ("Idempotency-Key", quoted.as_str()),
        ("webhook-id", key),
        ("webhook-timestamp", timestamp.as_str()),
    ];
    let secret = target.secret_file.as_deref().map(files::secret).transpose()?;
    let signature = secret.map(|secret| sign::webhook(&secret, key, seconds, json.as_bytes()));
    headers.extend(signature.as_deref().map(|signature| ("webhook-signature", signature)));
    let ask = Ask {
        method: "POST",
        url,
        headers: &headers,
        body: Some(json.to_owned()),
        ca_file: target.ca_file.as_deref(),
        writes: true,
        limit: tries.share(),
    };
    let answer = ask.send(env).await?;
    if answer.is_ok() {
        return Ok(answer);
    }
    Err(answer.failure("POST", None))
}
