//! body_filter_by_lua: runs for each piece of the response body.

use super::Phase;
use crate::conf::Handler;
use crate::ngx::{Ctx, Level, Rc, Request};
use crate::run;

/// Runs the script on what `ctx.body` holds; `false` ends the response there.
pub fn run(request: Request, ctx: &Ctx, handler: &Handler) -> bool {
    super::entered(request, "body filter for user lua code");
    let vm = ctx.vm();
    let Ok(function) = run::function(request, ctx, vm, handler) else { return false };
    let Some(_scope) = crate::native::enter(Phase::BodyFilter, Some(request)) else { return false };
    match vm.call(function, 1, |_| 0, |stack| stack.number(-1)) {
        Ok(Some(code)) => code as isize != Rc::ERROR.0 && code < 300.0,
        Ok(None) => true,
        Err(e) => {
            request.log(Level::Error, &format!("failed to run body_filter_by_lua*: {e}"));
            false
        }
    }
}
