//! `autoscale_balance`

use logic::autoscale::balance::Settings;

use super::{words, Result};
use crate::conf::SrvConf;
use crate::ngx::{Cf, ConfError, Path};

/// By which rule an upstream chooses among its peers.
pub struct Balance {
    pub settings: Settings,
    /// Where a peer says how busy it is.
    pub feedback: Option<Path>,
}

impl Balance {
    pub(super) fn read(cf: &mut Cf) -> Result<Option<Self>> {
        let Some(settings) = Settings::parse(&words(cf)?)? else { return Ok(None) };
        let feedback = settings.feedback.as_ref().map(|text| cf.compile(text.as_bytes())).transpose()?;
        Ok(Some(Self { settings, feedback }))
    }
}

/// Makes the rule that was read the method of the upstream; `off` leaves nginx's own.
pub(super) fn install(cf: &mut Cf, conf: &mut SrvConf) -> Result {
    if conf.upstream.balance.is_none() {
        return Ok(());
    }
    if conf.balancer.is_some() {
        return Err(two_choosers());
    }
    cf.balance_by_rule()
}

/// What there is to say of an upstream whose peers a script and a rule are to choose.
pub fn two_choosers() -> ConfError {
    let right = "write one of them; in a script, \"pick\" of \"ngx.autoscale\" chooses by the same rule";
    ConfError(format!("\"autoscale_balance\" and \"balancer_by_lua\" both choose the peer: {right}"))
}
