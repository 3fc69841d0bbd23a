//! `amqp:HOST/EXCHANGE/ROUTING_KEY`: a persistent message for RabbitMQ, written once the server has confirmed it.
//!
//! It is mandatory: what no queue gets is a failure. The order's key is its `message-id`, by which a repetition is known; there may be
//! one when a confirmation was lost.

use core::time::Duration;

use logic::autoscale::conf::{Kind, Target};
use logic::wire::amqp::Message;

use super::call::{persist, Tries};
use super::redis::{failure, note_id, server};
use super::{Env, Failure, Order, Written};
use crate::ngx::clock;
use crate::talk::{amqp, Turn};

pub async fn write(target: &Target, order: &Order, env: &Env) -> Result<Written, Failure> {
    let json = order.json();
    persist(target, async |tries| publish(target, &order.key, &json, env, tries).await).await?;
    Ok(Written { replicas: order.to })
}

pub async fn notify(target: &Target, json: &str, env: &Env) -> Result<(), Failure> {
    let id = note_id();
    persist(target, async |tries| publish(target, &id, json, env, tries).await).await
}

async fn publish(target: &Target, id: &str, json: &str, env: &Env, tries: &Tries) -> Result<(), Failure> {
    let Kind::Amqp { at, exchange, routing_key } = &target.kind else {
        return Err(Failure::never("this is no exchange"));
    };
    let server = server(target, at)?;
    let unix_s = u64::try_from(clock::wall_clock().0).unwrap_or(0);
    let message = Message { exchange, routing_key, id, unix_s, json };
    let turn = Turn::new(env.location, Duration::from_millis(tries.share()));
    amqp::publish(&server, &turn, &message, &*env.may_write).await.map_err(|e| failure("amqp", &e))
}
