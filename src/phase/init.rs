//! init_by_lua, init_worker_by_lua and exit_worker_by_lua: what runs once per configuration or worker.

use crate::conf::{Handler, MainConf, Source};
use crate::native;
use crate::ngx::{log_cycle, Level, LogContext};
use crate::phase::Phase;
use crate::vm::{Function, Vm};

/// A script that failed; the text is the log line.
#[derive(Debug, thiserror::Error)]
#[error("{directive} error: {message}")]
pub struct InitError {
    directive: String,
    message: String,
}

/// Runs `handler` in `vm`. For init_by_lua, an error refuses the configuration.
pub fn run_in(vm: &Vm, handler: &Handler) -> Result<(), InitError> {
    run(vm, handler).map_err(|message| InitError { directive: handler.directive(), message })
}

fn run(vm: &Vm, handler: &Handler) -> Result<(), String> {
    let function = function(vm, handler)?;
    let Some(_scope) = native::enter(handler.phase, None) else { return Err("out of memory".into()) };
    let result = vm.call(function, 0, |_| 0, |_| ()).map_err(|e| e.0);
    // what only the script needed should not be copied into each worker
    vm.collect_garbage();
    result
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
    let suffix = format!(", context: {}*", handler.phase).into_bytes();
    let _context = (handler.phase == Phase::InitWorker).then(|| LogContext::enter(&suffix));
    if let Err(e) = run_in(main.vm(), handler) {
        log_cycle(Level::Error, &e.to_string());
    }
}

fn function(vm: &Vm, handler: &Handler) -> Result<Function, String> {
    match &handler.source {
        Source::Inline { code, name } => vm.load_script(code, name).map_err(|e| e.0),
        Source::File(path) => vm.file(&crate::ngx::full_path(path.text()), false).map_err(|e| e.to_string()),
    }
}
