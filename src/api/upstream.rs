//! `ngx.upstream`: what nginx's balancers know. Lists go to Lua as rows of numbers, and the texts behind them.

use crate::native::{natives, Cx, Str};
use crate::ngx::{PeerError, PeerId, Upstream, Upstreams};

const NO_UPSTREAM: i32 = -1;
const NO_PEERS: i32 = -2;
const NO_BACKUP: i32 = -3;
const BAD_ID: i32 = -4;
const NO_CONFIGURATION: i32 = -5;

natives! {
    /// Rows of name, port; implied upstreams too.
    fn upstream_names(cx, rows: out<Str>) -> i32 {
        let Some(upstreams) = upstreams(cx) else { return NO_CONFIGURATION };
        let mut list = Rows::default();
        for upstream in upstreams.iter() {
            list.push(&[upstream.name()], [f64::from(upstream.port())]);
        }
        list.lend(cx, rows)
    }

    /// Rows of name, addresses (a line each), weight, max_conns, max_fails, fail_timeout, backup, down.
    fn upstream_servers(cx, name: bytes, rows: out<Str>) -> i32 {
        find(cx, name, |upstream| {
            let mut list = Rows::default();
            for s in upstream.servers() {
                let addresses = s.addresses().collect::<Vec<_>>().join(&b'\n');
                list.push(&[s.name(), &addresses], [
                    s.weight() as f64, s.max_conns() as f64, s.max_fails() as f64, s.fail_timeout() as f64,
                    flag(s.is_backup()), flag(s.is_down()),
                ]);
            }
            Ok(list.lend(cx, rows))
        })
    }

    /// Rows of name, weight, effective_weight, current_weight, conns, max_conns, fails, max_fails, fail_timeout,
    /// accessed, checked, down.
    fn upstream_peers(cx, name: bytes, backup: val<i32>, rows: out<Str>) -> i32 {
        find(cx, name, |upstream| {
            let mut list = Rows::default();
            let listed = upstream.peers(backup != 0, |p| list.push(&[p.name], [
                p.weight as f64, p.effective_weight as f64, p.current_weight as f64, p.conns as f64,
                p.max_conns as f64, p.fails as f64, p.max_fails as f64, p.fail_timeout as f64,
                p.accessed as f64, p.checked as f64, flag(p.down),
            ]));
            match listed {
                // without backup servers the list of them is empty
                Err(PeerError::NoBackup) | Ok(()) => Ok(list.lend(cx, rows)),
                Err(e) => Err(e),
            }
        })
    }

    fn upstream_set_down(cx, name: bytes, backup: val<i32>, index: val<f64>, down: val<i32>) -> i32 {
        find(cx, name, |upstream| {
            let whole = index.fract() == 0.0 && index >= 0.0;
            let index = if whole { index as usize } else { usize::MAX };
            upstream.set_down(PeerId { backup: backup != 0, index }, down != 0).map(|()| 0)
        })
    }

    /// The name of the upstream that answers the request; its port is the result, or -1 when there is none.
    fn upstream_current(cx, name: out<Str>) -> i32 {
        match cx.request().and_then(|r| r.upstream()) {
            Some(upstream) => {
                let scratch = cx.scratch();
                scratch.extend_from_slice(upstream.name());
                name.lend(scratch);
                i32::from(upstream.port())
            }
            None => -1,
        }
    }
}

fn flag(b: bool) -> f64 {
    f64::from(u8::from(b))
}

/// The upstreams of the request's configuration, or of the running one.
fn upstreams(cx: Cx) -> Option<Upstreams> {
    match cx.request() {
        Some(request) => Upstreams::of(&request),
        None => Upstreams::running(),
    }
}

fn find(cx: Cx, name: &[u8], f: impl FnOnce(Upstream) -> Result<i32, PeerError>) -> i32 {
    let Some(upstreams) = upstreams(cx) else { return NO_CONFIGURATION };
    let Some(upstream) = upstreams.find(name) else { return NO_UPSTREAM };
    match f(upstream) {
        Ok(code) => code,
        Err(PeerError::NoPeers) => NO_PEERS,
        Err(PeerError::NoBackup) => NO_BACKUP,
        Err(PeerError::BadId | PeerError::BadWeight) => BAD_ID,
    }
}

/// A list on its way to Lua: of each row first the place and length of its texts, then its numbers.
#[derive(Default)]
struct Rows {
    numbers: Vec<f64>,
    texts: Vec<u8>,
    count: i32,
}

impl Rows {
    fn push<const N: usize>(&mut self, texts: &[&[u8]], numbers: [f64; N]) {
        for text in texts {
            self.numbers.extend([self.texts.len() as f64, text.len() as f64]);
            self.texts.extend_from_slice(text);
        }
        self.numbers.extend(numbers);
        self.count += 1;
    }

    /// All numbers, then all texts; the result is the number of rows.
    fn lend(&self, cx: Cx, rows: &mut Str) -> i32 {
        let scratch = cx.scratch();
        scratch.extend(self.numbers.iter().flat_map(|n| n.to_ne_bytes()));
        scratch.extend_from_slice(&self.texts);
        rows.lend(scratch);
        self.count
    }
}
