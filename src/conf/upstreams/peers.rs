//! `autoscale_peers`

use logic::autoscale::conf::{PeerKind, PeerSource};
use logic::autoscale::metrics::zone::Source;

use super::{words, Result};
use crate::conf::{MainConf, SrvConf};
use crate::ngx::{Cf, ConfError, Place, Upstream};
use crate::scale::outward::check_source;

/// One line, and where it stands.
pub struct Peers {
    pub source: PeerSource,
    place: Place,
}

pub(super) fn add(cf: &mut Cf, conf: &mut SrvConf) -> Result {
    let mut source = PeerSource::parse(&words(cf)?)?;
    let peers = &mut conf.upstream.peers;
    if peers.iter().any(|other| other.source.id() == source.id()) {
        return Err(ConfError(format!("\"{}\" is there already", source.text)));
    }
    if peers.len() >= Source::MOST_LINES {
        return Err(ConfError(format!(
            "an upstream has up to {} lines of autoscale_peers",
            Source::MOST_LINES
        )));
    }
    if let Some(warning) = check_source(&mut source)? {
        cf.warn(&format!("autoscale_peers {}: {warning}", source.text));
    }
    let place = cf.place();
    cf.main_conf().autoscale_upstream.borrow_mut().get_or_insert(("autoscale_peers", place));
    peers.push(Peers { source, place });
    Ok(())
}

/// Refuses lines whose peers nobody would use, or that nobody could look up. In postconfiguration.
pub(super) fn finish(main: &MainConf, cf: &mut Cf) -> Result {
    for upstream in main.observed().iter().filter_map(|observed| observed.upstream()) {
        let Some(conf) = Upstream::conf(&upstream).map(|conf| &conf.upstream) else { continue };
        for line in &conf.peers {
            let text = &line.source.text;
            if !conf.is_balanced.get() {
                cf.stand_at(&line.place);
                let why = "nginx's own methods take no peers while it runs: write \"autoscale_balance peak_ewma;\" beside it";
                return Err(ConfError(format!("\"autoscale_peers {text}\": {why}")));
            }
            let resolves = matches!(line.source.kind, PeerKind::Dns { .. } | PeerKind::Srv { .. });
            if resolves && !cf.has_resolver() {
                cf.stand_at(&line.place);
                let right = "write \"resolver ADDRESS;\" in http {}";
                return Err(ConfError(format!(
                    "\"autoscale_peers {text}\": nobody is there to ask: {right}"
                )));
            }
        }
    }
    Ok(())
}
