//! `autoscale_balance`, `autoscale_eject` and `autoscale_protect`: what an `upstream {}` says about holding itself up.

use core::cell::Cell;

use super::{MainConf, SrvConf};
use crate::ngx::{Args, Cf, ConfError, Directive, Setter, UPSTREAM};

mod balance;
mod eject;
mod peers;
mod protect;

pub use balance::{two_choosers, Balance};
pub use eject::Eject;
pub use peers::Peers;
pub use protect::Protect;

type Result<T = ()> = core::result::Result<T, ConfError>;

pub const DIRECTIVES: &[Directive] = &[
    Directive {
        name: c"autoscale_balance",
        contexts: UPSTREAM,
        args: Args::OneOrMore,
        set: Setter::Srv(|cf, conf| {
            said(cf, conf, "autoscale_balance", |conf| &mut conf.balance, Balance::read)?;
            balance::install(cf, conf)
        }),
        doc: "`peak_ewma [decay=10s] | least_request | off [slow_start=30s] [feedback=$var]`: which peer gets a request, by latency and load as all workers see them.",
    },
    Directive {
        name: c"autoscale_eject",
        contexts: UPSTREAM,
        args: Args::Any,
        set: Setter::Srv(|cf, conf| {
            said(cf, conf, "autoscale_eject", |conf| &mut conf.eject, Eject::read)
        }),
        doc: "`[failures=5] [error_rate=50%] [latency=3x] [time=10s] [max=50%] [check=/uri] [every=5s]`: keeps requests away from peers that fail, for all workers at once.",
    },
    Directive {
        name: c"autoscale_protect",
        contexts: UPSTREAM,
        args: Args::Any,
        set: Setter::Srv(|cf, conf| {
            said(cf, conf, "autoscale_protect", |conf| &mut conf.protect, Protect::read)
        }),
        doc: "`[limit=auto|N] [queue=N] [timeout=1s] [priority=$var] [fair=$var] [bytes=SIZE] [retry_budget=20%]`: no more requests at a time than the peers can take; the others wait in one queue, or are refused.",
    },
    Directive {
        name: c"autoscale_peers",
        contexts: UPSTREAM,
        args: Args::OneOrMore,
        set: Setter::Srv(peers::add),
        doc: "`dns:NAME:PORT | dns-srv:_SERVICE._tcp.NAME | kubernetes:NS/SERVICE[:PORT] | consul:SERVICE[@http://HOST:PORT] | file:PATH [every=5s] [drain=30s] [wait=60s] [tag=TAG] [api=https://HOST:PORT] [ca_file=FILE] [token_file=FILE]`: peers that come and go while nginx runs, beside the `server` lines. May be written several times.",
    },
];

/// Of one upstream. Each field is `None` where its directive is not written, or says `off`: such an upstream pays nothing for it.
#[derive(Default)]
pub struct UpstreamConf {
    pub balance: Option<Balance>,
    pub eject: Option<Eject>,
    pub protect: Option<Protect>,
    /// `autoscale_balance` is the method in force: no other one stands behind it.
    pub is_balanced: Cell<bool>,
    /// Its number among the observed upstreams.
    pub number: Cell<Option<usize>>,
    /// `autoscale_peers`
    pub peers: Vec<Peers>,
    /// The names of those that were written.
    written: Vec<&'static str>,
}

/// Reads directive `name` into its field; `None` from `read` is `off`.
fn said<T>(
    cf: &mut Cf,
    conf: &mut SrvConf,
    name: &'static str,
    field: fn(&mut UpstreamConf) -> &mut Option<T>,
    read: fn(&mut Cf) -> Result<Option<T>>,
) -> Result {
    let upstream = &mut conf.upstream;
    if upstream.written.contains(&name) {
        return Err("is duplicate".into());
    }
    upstream.written.push(name);
    let place = cf.place();
    if let Some(settings) = read(cf)? {
        *field(upstream) = Some(settings);
        cf.main_conf().autoscale_upstream.borrow_mut().get_or_insert((name, place));
    }
    Ok(())
}

/// The words after the directive's name, as the readers of [`logic::autoscale`] take them.
fn words(cf: &Cf) -> Result<Vec<&str>> {
    (1..cf.args().count()).map(|i| cf.text(i)).collect()
}

impl MainConf {
    /// Refuses what cannot work: an upstream that is to be held up by what nobody knows. In postconfiguration.
    pub fn finish_upstreams(&self, cf: &mut Cf) -> Result {
        match (&self.zone, *self.autoscale_upstream.borrow()) {
            (None, Some((name, place))) => {
                cf.stand_at(&place);
                let right = "write \"autoscale_zone main:8m;\" in http {}";
                Err(ConfError(format!("\"{name}\" needs the memory that all workers share: {right}")))
            }
            _ => peers::finish(self, cf),
        }
    }
}
