//! `dns:NAME:PORT` and `dns-srv:_SERVICE._tcp.NAME`: by nginx's own resolver, as often as the answers' time to live says.
//!
//! Of SRV records, those of the first priority that there is are taken (RFC 2782): the others are for when none of these can be
//! reached, which is not known here.

use core::time::Duration;

use logic::autoscale::conf::PeerKind;
use logic::autoscale::members::Wanted;

use super::line::Line;
use crate::ngx::{clock, sleep, Found};

/// A time to live is taken to be no shorter, and no longer.
const LEAST_S: i64 = 1;
const MOST_S: i64 = 3600;

pub async fn run(line: &Line) {
    loop {
        match ask(line).await {
            Ok(found) => {
                line.tell(wanted(&line.conf.kind, &found));
                line.is_well();
                let left = (found.valid - clock::wall_clock().0).clamp(LEAST_S, MOST_S) as u64;
                sleep(Duration::from_millis(line.conf.every_ms.unwrap_or(left * 1000))).await;
            }
            Err(why) => {
                line.fail(&why);
                line.pause().await;
            }
        }
    }
}

async fn ask(line: &Line) -> Result<Found, String> {
    let (name, service) = match &line.conf.kind {
        PeerKind::Dns { name, .. } => (name, ""),
        PeerKind::Srv { service, name } => (name, service.as_str()),
        _ => return Err("this is no name".into()),
    };
    line.location()?.look_up(name.as_bytes(), service.as_bytes()).await.map_err(|e| e.to_string())
}

fn wanted(kind: &PeerKind, found: &Found) -> Vec<Wanted> {
    let first = found.records.iter().map(|record| record.priority).min().unwrap_or_default();
    let mut wanted: Vec<Wanted> = Vec::new();
    for record in &found.records {
        let (addr, weight) = match kind {
            PeerKind::Dns { port, .. } => (core::net::SocketAddr::new(record.addr.ip(), *port), 1),
            _ if record.priority == first => (record.addr, record.weight.max(1)),
            _ => continue,
        };
        let addr = addr.to_string();
        if !wanted.iter().any(|other| other.addr == addr) {
            wanted.push(Wanted { addr, weight });
        }
    }
    wanted
}
