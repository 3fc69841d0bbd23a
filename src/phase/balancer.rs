//! balancer_by_lua: chooses the upstream peer.

use super::Phase;
use crate::ngx::{Level, Rc, Request, Upstream};
use crate::run;

/// What came of the script.
pub enum Choice {
    /// It ran to its end, having named a peer or not.
    Made,
    /// `ngx.exit(code)`, of another code than OK.
    Exit(Rc),
    /// It failed; the error is logged.
    Failed,
}

/// Runs the script of `upstream` for the next attempt of `request`.
pub fn choose(request: Request, upstream: &Upstream) -> Choice {
    let Some(handler) = upstream.conf().and_then(|conf| conf.balancer.as_ref()) else { return Choice::Made };
    let Some(ctx) = request.ctx() else { return Choice::Failed };
    let vm = ctx.vm();
    let Ok(function) = run::function(request, ctx, vm, handler) else { return Choice::Failed };
    let Some(_scope) = crate::native::enter(Phase::Balancer, Some(request)) else { return Choice::Failed };
    ctx.exit.set(None);
    match vm.call(function, 0, |_| 0, |_| ()) {
        Ok(()) => match ctx.exit.take() {
            Some(code) if code != Rc::OK => Choice::Exit(code),
            _ => Choice::Made,
        },
        Err(e) => {
            request.log(Level::Error, &format!("failed to run balancer_by_lua*: {e}"));
            Choice::Failed
        }
    }
}
