//! `autoscale_limit`.

use logic::autoscale::admit::{Declared, MOST_SHARED};

use super::MainConf;
use crate::ngx::{Args, Cf, ConfError, Directive, Place, Setter, MAIN};
use crate::scale::outward::check_limit;

pub const DIRECTIVES: &[Directive] = &[Directive {
    name: c"autoscale_limit",
    contexts: MAIN,
    args: Args::TwoOrMore,
    set: Setter::Main(limit),
    doc: "`NAME rate=N/s [burst=N] | window=TIME limit=N [global=redis:HOST[:PORT]/PREFIX [on_failure=local|allow|deny] [ca_file=FILE] [secret_file=FILE]] | concurrency=N`: a limit by key, for `as.admit{limit=NAME, key=…}`.",
}];

/// What `http {}` says about limits by key.
#[derive(Default)]
pub struct Limits {
    declared: Vec<Declared>,
    /// Where the first one stands.
    place: Option<Place>,
}

impl Limits {
    pub fn declared(&self) -> &[Declared] {
        &self.declared
    }
}

fn limit(cf: &mut Cf, conf: &mut MainConf) -> Result<(), ConfError> {
    let words = (1..cf.args().count()).map(|i| cf.text(i)).collect::<Result<Vec<_>, _>>()?;
    let declared = Declared::parse(&words)?;
    let limits = &mut conf.limits;
    if limits.declared.iter().any(|other| other.name == declared.name) {
        return Err(ConfError(format!("limit \"{}\" is duplicate", declared.name)));
    }
    let shared = limits.declared.iter().filter(|other| other.shared.is_some()).count();
    if declared.shared.is_some() && shared >= MOST_SHARED {
        return Err(ConfError(format!("there may be {MOST_SHARED} limits with global=")));
    }
    declared.shared.as_ref().map_or(Ok(()), check_limit)?;
    limits.place.get_or_insert_with(|| cf.place());
    limits.declared.push(declared);
    Ok(())
}

impl MainConf {
    /// Refuses limits that no worker could share. In postconfiguration.
    pub fn finish_limits(&self, cf: &mut Cf) -> Result<(), ConfError> {
        match (&self.zone, &self.limits.place) {
            (None, Some(place)) => {
                cf.stand_at(place);
                let right = "write \"autoscale_zone main:8m;\" in http {}";
                let what = "\"autoscale_limit\" needs the memory that all workers share";
                Err(ConfError(format!("{what}: {right}")))
            }
            _ => Ok(()),
        }
    }
}
