//! header_filter_by_lua: runs when the response header is about to be sent.

use super::Phase;
use crate::ngx::{Level, Rc, Request};
use crate::run;

/// Runs the location's script. `None` lets the header go on, anything else is how the filter ends.
pub fn handle(request: Request) -> Option<Rc> {
    let loc = request.loc_conf();
    if loc.handler(Phase::BodyFilter).is_some() {
        request.need_body_in_memory();
        super::entered(request, "header filter for user lua code");
    } else if loc.handler(Phase::HeaderFilter).is_some() {
        super::entered(request, "header filter for user lua code");
    }
    let handler = loc.handler(Phase::HeaderFilter)?;
    let Some(ctx) = request.ctx() else { return Some(Rc::ERROR) };
    let vm = ctx.vm();
    let Ok(function) = run::function(request, ctx, vm, handler) else { return Some(Rc::ERROR) };
    let before = ctx.exit.take();
    let result = {
        let Some(_scope) = crate::native::enter(Phase::HeaderFilter, Some(request)) else {
            return Some(Rc::ERROR);
        };
        vm.call(function, 0, |_| 0, |_| ())
    };
    let exit = ctx.exit.replace(before);
    if let Err(e) = result {
        request.log(Level::Error, &format!("failed to run header_filter_by_lua*: {e}"));
        return Some(Rc::ERROR);
    }
    match exit {
        None | Some(Rc::OK) => None,
        Some(Rc::ERROR) => Some(Rc::ERROR),
        // the page of an exit comes through this filter, too, and is not replaced again
        Some(_) if ctx.replaced.replace(true) => None,
        Some(code) => Some(request.replace_response(code)),
    }
}
