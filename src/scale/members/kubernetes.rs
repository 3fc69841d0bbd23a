//! `kubernetes:NAMESPACE/SERVICE`: the EndpointSlices of a service, by a list and a watch that goes on from it.
//!
//! A watch lasts a minute and is made anew from the version that it has come to; so a connection that died without a word is found out
//! soon. What the API server has forgotten (410) is listed anew. What is known stays while it cannot be reached.

use core::time::Duration;

use logic::autoscale::conf::PeerKind;
use logic::autoscale::members::feed::Lines;
use logic::autoscale::members::slices::{list_path, watch_path, Event, Slices};

use super::line::Line;
use crate::http::Response;
use crate::ngx::{clock, sleep};
use crate::scale::outward::{reason, Cluster, Env};

/// A list may take so long, and a page of it hold so much.
const LIST_MS: u64 = 20_000;
const MOST_PAGE: u64 = 16 << 20;
/// How many pages there may be, and how much all of them may hold.
const MOST_PAGES: usize = 1000;
const MOST_LIST: usize = 64 << 20;
/// A line of a watch is one slice.
const MOST_LINE: usize = 2 << 20;
/// How much longer than it was asked to a watch may last.
const SLACK_MS: u64 = 5000;
/// Watches that end at once are made no more often than that.
const LEAST_MS: u64 = 1000;

/// How a watch ended, when it did not fail.
enum End {
    /// Its time was over.
    Over,
    /// The version is too old.
    Gone,
}

pub async fn run(line: &Line) {
    let mut slices = Slices::default();
    let mut listed = false;
    loop {
        let began = clock::msec();
        match step(line, &mut slices, &mut listed).await {
            Ok(()) => {
                let lasted = clock::msec().saturating_sub(began);
                let rest = LEAST_MS.saturating_sub(lasted);
                sleep(Duration::from_millis(rest + u64::from(clock::random()) % 100)).await;
            }
            Err(why) => {
                line.fail(&why);
                line.pause().await;
            }
        }
    }
}

/// A list if there is none yet, and one watch.
async fn step(line: &Line, slices: &mut Slices, listed: &mut bool) -> Result<(), String> {
    if !*listed {
        list(line, slices).await?;
        *listed = true;
        tell(line, slices)?;
    }
    match watch(line, slices).await {
        Ok(End::Over) => Ok(()),
        Ok(End::Gone) => {
            *listed = false;
            Ok(())
        }
        Err((why, is_lost)) => {
            *listed = !is_lost;
            Err(why)
        }
    }
}

fn tell(line: &Line, slices: &Slices) -> Result<(), String> {
    let PeerKind::Kubernetes { port, .. } = &line.conf.kind else { return Ok(()) };
    line.tell(slices.peers(port)?);
    Ok(())
}

async fn open(line: &Line, path: &str, limit_ms: u64, most: u64) -> Result<Response, String> {
    let conf = &line.conf;
    let (api, ca, token) = (conf.api.as_deref(), conf.ca_file.as_deref(), conf.token_file.as_deref());
    let cluster = Cluster::new(api, ca, token).map_err(|e| e.why)?;
    cluster.open(path, limit_ms, most, &Env::reading(line.location()?)).await.map_err(|e| e.why)
}

fn subject(line: &Line) -> Result<(&str, &str), String> {
    match &line.conf.kind {
        PeerKind::Kubernetes { namespace, service, .. } => Ok((namespace, service)),
        _ => Err("this is no service".into()),
    }
}

async fn list(line: &Line, slices: &mut Slices) -> Result<(), String> {
    let (namespace, service) = subject(line)?;
    slices.begin();
    let (mut rest, mut held) = (None, 0);
    for _ in 0..MOST_PAGES {
        let path = list_path(namespace, service, rest.as_deref());
        let mut response = open(line, &path, LIST_MS, MOST_PAGE).await?;
        let status = response.status.as_u16();
        let body = response.body.whole().await.map_err(|e| e.to_string())?;
        if status != 200 {
            return Err(reason(status, &body, "LIST endpointslices"));
        }
        held += body.len();
        if held > MOST_LIST {
            return Err(format!("the list holds more than {} MB", MOST_LIST >> 20));
        }
        rest = slices.page(&body)?;
        if rest.is_none() {
            return Ok(());
        }
    }
    Err("the list has no end".into())
}

/// The error is the end of a log line, and whether what is known is not to be gone on from.
async fn watch(line: &Line, slices: &mut Slices) -> Result<End, (String, bool)> {
    let stay = |why: String| (why, false);
    let lost = |why: String| (why, true);
    let (namespace, service) = subject(line).map_err(stay)?;
    let path = watch_path(namespace, service, slices.version(), line.conf.wait_ms.div_ceil(1000));
    let limit = line.conf.wait_ms.div_ceil(1000) * 1000 + SLACK_MS;
    let mut response = open(line, &path, limit, u64::MAX).await.map_err(stay)?;
    match response.status.as_u16() {
        200 => {}
        410 => return Ok(End::Gone),
        status => {
            // of a refusal, no more than is worth reading
            let body = response.body.chunk().await.ok().flatten().unwrap_or_default();
            return Err(lost(reason(status, &body, "WATCH endpointslices")));
        }
    }
    line.is_well();
    let mut lines = Lines::new(MOST_LINE);
    while let Some(piece) = response.body.chunk().await.map_err(|e| stay(e.to_string()))? {
        let (mut changed, mut end) = (false, None);
        let fed = lines.feed(&piece, |text| {
            match slices.event(text) {
                Event::Changed => changed = true,
                Event::Bookmark => {}
                other => end = Some(other),
            }
            end.is_none()
        });
        if changed {
            tell(line, slices).map_err(stay)?;
        }
        match (fed, end) {
            (_, Some(Event::Gone)) => return Ok(End::Gone),
            (_, Some(Event::Failed(why))) => return Err(lost(why)),
            (Err(e), _) => return Err(lost(e.to_string())),
            _ => {}
        }
    }
    match lines.is_cut() {
        true => Err(stay("the watch was cut in the middle of a line".into())),
        false => Ok(End::Over),
    }
}
