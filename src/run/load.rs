//! From a handler to the function that it was compiled to.

use crate::conf::{Handler, Source};
use crate::ngx::{Ctx, Level, Rc, Request};
use crate::vm::{FileError, Function, Vm};

/// The function of `handler` for what has no request; `cached`: one that was compiled once serves for ever.
pub fn plain_function(vm: &Vm, handler: &Handler, cached: bool) -> Result<Function, String> {
    if let (true, Some(function)) = (cached, handler.function.get()) {
        return Ok(function);
    }
    let loaded = match &handler.source {
        Source::Inline { code, name } => {
            vm.load_script(code, name).map_err(|e| format!("failed to load inlined Lua code: {e}"))?
        }
        Source::File(path) => {
            let full = crate::ngx::full_path(path.text());
            let shown = String::from_utf8_lossy(&full);
            vm.file(&full, !cached)
                .map_err(|e| format!("failed to load external Lua file \"{shown}\": {e}"))?
        }
    };
    if cached {
        handler.function.set(Some(loaded));
    }
    Ok(loaded)
}

/// The function of `handler`, compiled now if need be; on failure what to answer, the reason being logged.
pub fn function(request: Request, ctx: &Ctx, vm: &Vm, handler: &Handler) -> Result<Function, Rc> {
    let shared = !ctx.has_own_vm();
    if let (true, Some(function)) = (shared, handler.function.get()) {
        return Ok(function);
    }
    match &handler.source {
        Source::Inline { code, name } => {
            let loaded = vm.load_script(code, name).map_err(|e| {
                request.log(Level::Error, &format!("failed to load inlined Lua code: {e}"));
                Rc::INTERNAL_SERVER_ERROR
            })?;
            if shared {
                handler.function.set(Some(loaded));
            }
            Ok(loaded)
        }
        Source::File(path) => {
            let name = path.eval(&request).ok_or(Rc::ERROR)?;
            let full = crate::ngx::full_path(name);
            let loaded = vm.file(&full, !shared).map_err(|e| {
                let shown = String::from_utf8_lossy(&full);
                request.log(Level::Error, &format!("failed to load external Lua file \"{shown}\": {e}"));
                match e {
                    FileError::Unreadable { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => {
                        Rc::NOT_FOUND
                    }
                    FileError::Unreadable { .. } => Rc::SERVICE_UNAVAILABLE,
                    FileError::Invalid(_) => Rc::INTERNAL_SERVER_ERROR,
                }
            })?;
            if shared && path.constant {
                handler.function.set(Some(loaded));
            }
            Ok(loaded)
        }
    }
}
