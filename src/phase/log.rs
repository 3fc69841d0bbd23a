//! log_by_lua: runs after the response.

use super::Phase;
use crate::ngx::{Level, Rc, Request};
use crate::run;

/// nginx's handler in the log phase; its result is ignored.
pub fn handle(request: Request) -> Rc {
    let Some(handler) = request.loc_conf().handler(Phase::Log) else { return Rc::DECLINED };
    let Some(ctx) = request.ctx() else { return Rc::ERROR };
    let vm = ctx.vm();
    let Ok(function) = run::function(request, ctx, vm, handler) else { return Rc::ERROR };
    let Some(_scope) = crate::native::enter(Phase::Log, Some(request)) else { return Rc::ERROR };
    match vm.call(function, 0, |_| 0, |_| ()) {
        Ok(()) => Rc::OK,
        Err(e) => {
            request.log(Level::Error, &format!("failed to run log_by_lua*: {e}"));
            Rc::ERROR
        }
    }
}
