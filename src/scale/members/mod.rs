//! Peers that come and go while nginx runs: `as.peer_add`, `as.peer_remove`, and the lines of `autoscale_peers`.
//!
//! A line is watched by one worker for all: a word of shared memory says by which ([`lease`]), and another one takes over when it stops
//! or dies. What it learns goes into the zone, where every worker finds it at its next request. A worker of an earlier configuration
//! leaves the lines to those of the later one.

mod consul;
mod dns;
mod file;
mod kubernetes;
mod line;

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::rc::{Rc, Weak};

use logic::autoscale::members::{address, lease};
use logic::autoscale::metrics::series::Upstream as Group;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{Source, Terms, Zone};
use logic::autoscale::metrics::Now;

use self::line::Line;
use super::Shell;
use crate::conf::{MainConf, UpstreamConf};
use crate::ngx::job::{spawn, Running};
use crate::ngx::{clock, process, ExitWatch, Timer, Upstream};

/// A line that finds no place in its upstream is looked at again after so long.
const LOST_MS: u64 = 10_000;

/// The lines that this worker may watch.
pub struct Members {
    watches: Rc<[Watch]>,
    _exit: Option<ExitWatch>,
}

struct Watch {
    line: Rc<Line>,
    timer: RefCell<Option<Timer>>,
    running: RefCell<Option<Running>>,
    over: Cell<bool>,
}

/// What `upstream {}` says of an observed upstream; `None` of one that has no block.
fn conf_of(main: &MainConf, number: usize) -> Option<&UpstreamConf> {
    main.observed().get(number)?.conf().map(|conf| &conf.upstream)
}

/// Forgets what the configuration that begins does not have: upstreams, lines, and what scripts have added to an upstream that takes no
/// peers any more.
pub fn begin(main: &MainConf, zone: &Zone<'_>, upstreams: &[Ref<Group>], now: Now) {
    zone.keep_members_of(upstreams, now);
    for (number, entry) in upstreams.iter().enumerate() {
        let conf = conf_of(main, number);
        let lines: Vec<u64> =
            conf.map_or(&[][..], |conf| &conf.peers).iter().map(|line| line.source.id()).collect();
        zone.keep_sources(*entry, &lines, conf.is_some_and(|conf| conf.is_balanced.get()), now);
    }
}

impl Members {
    pub fn start(shell: &Shell, main: &MainConf) -> Members {
        let mut watches = Vec::new();
        for (number, entry) in shell.upstreams.iter().enumerate() {
            let Some(conf) = conf_of(main, number) else { continue };
            let name = &main.observed()[number].name;
            for peers in &conf.peers {
                watches.push(Watch {
                    line: Rc::new(Line::new(&shell.zone, *entry, name, &peers.source, main.read_us.get())),
                    timer: RefCell::default(),
                    running: RefCell::default(),
                    over: Cell::new(false),
                });
            }
        }
        let watches: Rc<[Watch]> = watches.into();
        (0..watches.len()).for_each(|i| arm(&watches, i, 0));
        let weak = Rc::downgrade(&watches);
        let exit = if watches.is_empty() {
            None
        } else {
            ExitWatch::new(move || weak.upgrade().iter().for_each(|watches| stop(watches)))
        };
        Members { watches, _exit: exit }
    }

    /// The worker ends.
    pub fn end(&self) {
        stop(&self.watches);
    }
}

fn stop(watches: &[Watch]) {
    for watch in watches {
        watch.over.set(true);
        watch.timer.take();
        if watch.running.take().is_some() {
            if let Some(word) = watch.line.word() {
                lease::give_back(word, process::pid() as u32);
            }
        }
    }
}

/// Looks at line `i` in so many milliseconds.
fn arm(watches: &Rc<[Watch]>, i: usize, wait_ms: u64) {
    let Some(watch) = watches.get(i).filter(|watch| !watch.over.get()) else { return };
    let weak = Rc::downgrade(watches);
    let wait = Duration::from_millis(wait_ms.max(1));
    watch.timer.replace(Some(Timer::background(wait, move || look(&weak, i))));
}

/// Holds the line's lease, or sees whether somebody else still does.
fn look(watches: &Weak<[Watch]>, i: usize) {
    let Some(watches) = watches.upgrade() else { return };
    let watch = &watches[i];
    // first, so that a fault in one look is not the end of all
    arm(&watches, i, lease::LOOK_MS);
    if !watch.line.is_newest() {
        return stop(core::slice::from_ref(watch));
    }
    let Some(word) = watch.line.word() else { return arm(&watches, i, LOST_MS) };
    let holds = lease::hold(word, process::pid() as u32, clock::monotonic().us / 1000);
    let runs = watch.running.borrow().is_some();
    if holds && !runs {
        let running = spawn(run(Rc::clone(&watch.line)), |()| ());
        watch.running.replace(Some(running));
    } else if holds {
        watch.line.remind();
    } else if runs {
        // it stood still for so long that another one has it
        watch.running.take();
        watch.line.forget();
    }
}

async fn run(line: Rc<Line>) {
    use logic::autoscale::conf::PeerKind;
    match &line.conf.kind {
        PeerKind::Dns { .. } | PeerKind::Srv { .. } => dns::run(&line).await,
        PeerKind::Kubernetes { .. } => kubernetes::run(&line).await,
        PeerKind::Consul { .. } => consul::run(&line).await,
        PeerKind::File { path } => file::run(&line, path).await,
    }
}

/// `as.peer_add`
pub fn add(shell: &Shell, main: &MainConf, number: usize, addr: &str, terms: Terms) -> Result<(), String> {
    let entry = taking(shell, main, number)?;
    let addr = address::parse(addr).map_err(|e| e.to_string())?;
    let zone = &shell.zone;
    // the balancers learn of it with the next request, and of a thousand at once as of one
    zone.add_peer(entry, addr.as_bytes(), Source::SCRIPT, terms, clock::monotonic())
        .map_err(|e| e.to_string())?;
    Ok(())
}

/// `as.peer_remove`
pub fn remove(shell: &Shell, main: &MainConf, number: usize, addr: &str, drain_s: u64) -> Result<(), String> {
    let entry = taking(shell, main, number)?;
    let addr = address::parse(addr).map_err(|e| e.to_string())?;
    let (zone, name) = (&shell.zone, &main.observed()[number].name);
    let unknown = || format!("upstream \"{name}\" has no peer \"{addr}\"");
    let peer = zone.find_peer(entry, addr.as_bytes()).ok_or_else(unknown)?;
    if zone.withdraw_peer(peer, Source::SCRIPT, drain_s, clock::monotonic()) {
        return Ok(());
    }
    if zone.is_configured(peer) {
        return Err(format!(
            "\"{addr}\" is of a \"server\" line: write set(\"{name}\", \"{addr}\", {{ state = \"drain\" }})"
        ));
    }
    let others = sources(shell, main, number, addr.as_bytes());
    match zone.member(peer) {
        Some(member) if !member.draining => {
            Err(format!("\"{addr}\" is there because \"autoscale_peers {others}\" names it"))
        }
        // it is on its way already
        Some(_) => Ok(()),
        None => Err(unknown()),
    }
}

/// The entry of an upstream, if it takes peers.
fn taking(shell: &Shell, main: &MainConf, number: usize) -> Result<Ref<Group>, String> {
    let takes = conf_of(main, number).is_some_and(|conf| conf.is_balanced.get());
    let name = main.observed().get(number).map_or("", |observed| &*observed.name);
    if !takes {
        return Err(format!(
            "upstream \"{name}\" takes no peers while nginx runs: write \"autoscale_balance peak_ewma;\" in its block"
        ));
    }
    let entry = shell.upstreams.get(number).copied().filter(|entry| !entry.is_none());
    entry.ok_or_else(|| format!("no room for upstream \"{name}\" in the zone: make it larger"))
}

/// Who names a peer that was added: `script`, and what stands in lines of `autoscale_peers`. Nothing for others.
pub fn sources(shell: &Shell, main: &MainConf, number: usize, addr: &[u8]) -> String {
    let Some(entry) = shell.upstreams.get(number).copied() else { return String::new() };
    let zone = &shell.zone;
    let Some(member) = zone.find_peer(entry, addr).and_then(|peer| zone.member(peer)) else {
        return String::new();
    };
    let script = member.is_named_by(Source::SCRIPT).then_some("script");
    let lines = conf_of(main, number).map_or(&[][..], |conf| &conf.peers).iter().filter_map(|line| {
        let source = zone.source(entry, line.source.id())?;
        member.is_named_by(source).then_some(line.source.text.as_str())
    });
    script.into_iter().chain(lines).collect::<Vec<_>>().join(", ")
}

/// Whether peers may be added to an upstream.
pub fn takes_peers(upstream: Upstream) -> bool {
    upstream.conf().is_some_and(|conf| conf.upstream.is_balanced.get())
}
