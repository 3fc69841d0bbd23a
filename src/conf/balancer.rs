//! The directives of an `upstream {}` whose peers a script chooses, beyond the script itself.

use super::SrvConf;
use crate::ngx::{Args, Cf, ConfError, Directive, Setter, UPSTREAM};

pub const DIRECTIVES: &[Directive] = &[Directive {
    name: c"balancer_keepalive",
    contexts: UPSTREAM,
    args: Args::One,
    set: Setter::Srv(balancer_keepalive),
    doc: "How many idle connections of `enable_keepalive` each worker keeps for the upstream. Default 32.",
}];

fn balancer_keepalive(cf: &mut Cf, conf: &mut SrvConf) -> Result<(), ConfError> {
    let size = &mut conf.balancing.idle.size;
    if size.is_some() {
        return Err("is duplicate".into());
    }
    let Some(count) = cf.text(1)?.parse().ok().filter(|n| *n > 0) else {
        let value = cf.arg(1).escape_ascii();
        return Err(ConfError(format!("invalid value \"{value}\" in \"balancer_keepalive\" directive")));
    };
    *size = Some(count);
    Ok(())
}
