//! log_by_lua: runs after the response.

use super::Phase;
use crate::ngx::{process, Level, Rc, Request};
use crate::run;

/// After how many requests free memory goes back to the system, unless `lua_malloc_trim` says otherwise.
const TRIM_EVERY: u32 = 1000;

/// nginx's handler in the log phase; its result is ignored.
pub fn handle(request: Request) -> Rc {
    trim(request);
    let Some(handler) = request.loc_conf().handler(Phase::Log) else { return Rc::DECLINED };
    super::entered(request, "log");
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

/// `lua_malloc_trim`
fn trim(request: Request) {
    let main = request.main_conf();
    let every = main.settings.malloc_trim.unwrap_or(TRIM_EVERY);
    if every == 0 {
        if request.logs(Level::Debug) {
            request.log(Level::Debug, "malloc_trim() disabled");
        }
        return;
    }
    let n = main.requests_since_trim.get() + 1;
    if n < every {
        main.requests_since_trim.set(n);
        return;
    }
    main.requests_since_trim.set(0);
    let freed = process::trim_memory();
    if request.logs(Level::Debug) {
        request.log(Level::Debug, &format!("malloc_trim(1) returned {}", u8::from(freed)));
    }
}
