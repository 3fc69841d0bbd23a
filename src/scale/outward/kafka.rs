//! `kafka:HOST/TOPIC`: a record through Kafka's REST proxy (Confluent, API v2).
//!
//! Its key is the target's name, so that the orders for one target stay in order. A proxy that was not heard in time may have written the
//! record: then it is there twice, with the same `id`.

use logic::autoscale::conf::{Kind, Target};
use logic::autoscale::outward::kafka;
use logic::text::uri::{escape_uri, Escape};

use super::call::{persist, url, Ask, Tries};
use super::{files, Env, Failure, Order, Written};

const JSON: &str = "application/vnd.kafka.json.v2+json";
const ANSWER: &str = "application/vnd.kafka.v2+json";

pub async fn write(target: &Target, order: &Order, env: &Env) -> Result<Written, Failure> {
    notify(target, &order.json(), env).await?;
    Ok(Written { replicas: order.to })
}

pub async fn notify(target: &Target, json: &str, env: &Env) -> Result<(), Failure> {
    let body = kafka::record(&target.name, json).ok_or_else(|| Failure::never("the message is no JSON"))?;
    persist(target, async |tries| post(target, &body, env, tries).await).await
}

async fn post(target: &Target, body: &str, env: &Env, tries: &Tries) -> Result<(), Failure> {
    let Kind::Kafka { at, topic } = &target.kind else {
        return Err(Failure::never("this is no topic of Kafka"));
    };
    let mut path = b"/topics/".to_vec();
    escape_uri(topic.as_bytes(), Escape::Component, &mut path);
    let token = target.token_file.as_deref().map(files::token).transpose()?;
    let authorization = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("Content-Type", JSON), ("Accept", ANSWER)];
    headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
    let ask = Ask {
        method: "POST",
        url: &url(at, &String::from_utf8_lossy(&path)),
        headers: &headers,
        body: Some(body.to_owned()),
        ca_file: target.ca_file.as_deref(),
        writes: true,
        limit: tries.share(),
    };
    let answer = ask.send(env).await?;
    if !answer.is_ok() {
        return Err(answer.failure("POST", None));
    }
    kafka::answer(&answer.body).map_err(|refused| match refused.again {
        true => Failure::soon(refused.why),
        false => Failure::never(refused.why),
    })
}
