//! init_by_lua, init_worker_by_lua and exit_worker_by_lua: what runs once per configuration or worker.

use crate::conf::{Handler, MainConf, Source};
use crate::native;
use crate::ngx::{log_cycle, Level};
use crate::vm::{Function, Vm};

/// Runs init_by_lua in `vm`; an error refuses the configuration.
pub fn run_in(vm: &Vm, handler: &Handler) -> Result<(), String> {
    let function = function(vm, handler)?;
    let Some(_scope) = native::enter(handler.phase, None) else { return Err("out of memory".into()) };
    vm.call(function, 0, |_| 0, |_| ()).map_err(|e| e.0)
}

/// A worker starts: init_worker_by_lua. An error costs the script, not the worker.
pub fn worker_started(main: &MainConf) {
    run_logged(main, main.init_worker.as_deref());
}

/// A worker stops: exit_worker_by_lua.
pub fn worker_stopping(main: &MainConf) {
    run_logged(main, main.exit_worker.as_deref());
}

fn run_logged(main: &MainConf, handler: Option<&Handler>) {
    let Some(handler) = handler else { return };
    if let Err(e) = run_in(main.vm(), handler) {
        log_cycle(Level::Error, &format!("{} error: {e}", handler.phase));
    }
}

fn function(vm: &Vm, handler: &Handler) -> Result<Function, String> {
    match &handler.source {
        Source::Inline { code, name } => {
            vm.load_script(code, name).map_err(|e| format!("failed to load inlined Lua code: {e}"))
        }
        Source::File(path) => {
            let full = crate::ngx::full_path(path.text());
            vm.file(&full, false).map_err(|e| {
                format!("failed to load external Lua file \"{}\": {e}", String::from_utf8_lossy(&full))
            })
        }
    }
}
