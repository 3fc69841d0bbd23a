//! `consul:SERVICE`: the instances that pass their checks, by blocking queries.

use core::time::Duration;

use logic::autoscale::conf::PeerKind;
use logic::autoscale::members::consul::{next_index, parse, path};
use logic::autoscale::members::Wanted;

use super::line::Line;
use crate::ngx::{clock, sleep, Level};
use crate::scale::outward::{token, Ask, Env};

/// The most that an answer may hold.
const MOST: u64 = 32 << 20;
/// The agent waits up to a sixteenth longer than it was asked to; this is for everything else.
const SLACK_MS: u64 = 10_000;
/// Between two queries: what changes all the time is asked for no more often than that.
const LEAST_MS: u64 = 100;
/// The same when the agent says no index: then it answers at once.
const PLAIN_MS: u64 = 1000;

pub async fn run(line: &Line) {
    let (mut index, mut told) = (0, false);
    loop {
        match ask(line, index).await {
            Ok((next, wanted, unusable)) => {
                index = next;
                if unusable > 0 && !core::mem::replace(&mut told, true) {
                    line.log(
                        Level::Warn,
                        &format!("{unusable} instance(s) are left out: they have no address, but a name"),
                    );
                }
                line.tell(wanted);
                line.is_well();
                let wait = if index == 0 { PLAIN_MS + u64::from(clock::random()) % 500 } else { LEAST_MS };
                sleep(Duration::from_millis(wait)).await;
            }
            Err(why) => {
                index = 0;
                line.fail(&why);
                line.pause().await;
            }
        }
    }
}

/// What has changed after `index`: the index to go on with, the instances, and how many cannot be used.
async fn ask(line: &Line, index: u64) -> Result<(u64, Vec<Wanted>, usize), String> {
    let (conf, env) = (&line.conf, Env::reading(line.location()?));
    let PeerKind::Consul { service, url } = &conf.kind else { return Err("this is no service".into()) };
    let url = format!("{url}{}", path(service, conf.tag.as_deref(), index, conf.wait_ms));
    let token = conf.token_file.as_deref().map(token).transpose().map_err(|e| e.why)?;
    let mut headers = vec![("Accept", "application/json")];
    headers.extend(token.as_deref().map(|token| ("X-Consul-Token", token)));
    let ask = Ask {
        method: "GET",
        url: &url,
        headers: &headers,
        body: None,
        ca_file: conf.ca_file.as_deref(),
        writes: false,
        limit: conf.wait_ms + conf.wait_ms / 16 + SLACK_MS,
    };
    let mut response = ask.open(&env, MOST).await.map_err(|e| e.why)?;
    if !response.status.is_success() {
        return Err(format!("the agent answered {}", response.status.as_u16()));
    }
    let header = response.headers.get("X-Consul-Index").map(|value| value.as_bytes().to_vec());
    let body = response.body.whole().await.map_err(|e| e.to_string())?;
    let (wanted, unusable) = parse(&body)?;
    Ok((next_index(index, header.as_deref()), wanted, unusable))
}
