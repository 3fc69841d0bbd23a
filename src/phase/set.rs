//! set_by_lua: the value of a variable.

use super::Phase;
use crate::conf::Handler;
use crate::ngx::{Level, Request};
use crate::run;

/// What the script returns, as text; `None` when it failed, which is logged. `args` are its `ngx.arg[n]`.
pub fn value(request: Request, handler: &Handler, args: Vec<Box<[u8]>>) -> Option<Vec<u8>> {
    let ctx = request.ctx()?;
    let vm = ctx.vm();
    let function = run::function(request, ctx, vm, handler).ok()?;
    let _scope = crate::native::enter(Phase::Set, Some(request))?;
    ctx.set_args.replace(args);
    let result = vm.call(function, 1, |_| 0, |stack| stack.text(-1));
    match result {
        Ok(text) => Some(text),
        Err(e) => {
            request.log(Level::Error, &format!("failed to run set_by_lua*: {e}"));
            None
        }
    }
}
