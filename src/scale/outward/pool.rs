//! `pool:UPSTREAM`: the peers of one of this nginx's own upstreams. Nothing leaves the process, so nothing can time out.

use logic::autoscale::policy::Replicas;

use super::{Env, Failure, Order, Written};
use crate::conf::MainConf;
use crate::ngx::{clock, cycle_main_conf};

/// As many as are wanted, and as many of them as answer.
pub fn read(upstream: &str) -> Result<Replicas, Failure> {
    let shell = cycle_main_conf().and_then(MainConf::shell);
    let read = shell.and_then(|shell| Some(shell.pool(upstream)?.read(&shell.zone, clock::monotonic())));
    read.ok_or_else(|| gone(upstream))
}

/// At once; the number is that of the peers there are when more are asked for, and 1 for 0 unless `min=0` allows none.
pub fn write(upstream: &str, order: &Order, env: &Env) -> Result<Written, Failure> {
    if !(env.may_write)() {
        return Err(Failure::never("this worker leads no more"));
    }
    let Some(shell) = cycle_main_conf().and_then(MainConf::shell) else { return Err(gone(upstream)) };
    let pool = shell.pool(upstream).ok_or_else(|| gone(upstream))?;
    let written = pool.write(&shell.zone, order.to, clock::monotonic());
    shell.sync();
    let replicas = written.ok_or_else(|| {
        Failure::soon(format!("the zone has no room for the number of upstream \"{upstream}\""))
    })?;
    Ok(Written { replicas })
}

fn gone(upstream: &str) -> Failure {
    Failure::never(format!("upstream \"{upstream}\" is no pool here"))
}
