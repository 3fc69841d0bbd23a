//! header_filter_by_lua: runs when the response header is about to be sent.

use super::Phase;
use crate::ngx::{Level, Rc, Request};
use crate::run;

/// Runs the location's script; what it returns is the next step: OK to go on, else how the request ends.
pub fn handle(request: Request) -> Rc {
    let Some(handler) = request.loc_conf().handler(Phase::HeaderFilter) else { return Rc::OK };
    let Some(ctx) = request.ctx() else { return Rc::ERROR };
    let vm = ctx.vm();
    let function = match run::function(request, ctx, vm, handler) {
        Ok(f) => f,
        Err(_) => return Rc::ERROR,
    };
    let Some(_scope) = crate::native::enter(Phase::HeaderFilter, Some(request)) else { return Rc::ERROR };
    ctx.exit.set(None);
    match vm.call(function, 0, |_| 0, |_| ()) {
        Ok(()) => match ctx.exit.take() {
            Some(code) if code == Rc::ERROR || code.0 > 300 => code,
            _ => Rc::OK,
        },
        Err(e) => {
            request.log(Level::Error, &format!("failed to run header_filter_by_lua*: {e}"));
            Rc::ERROR
        }
    }
}
