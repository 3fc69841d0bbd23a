//! The driver: runs a phase's script until it is done, however often it waits.
//!
//! ```text
//! enter ──> Running ──yield──> Waiting ──wake──> Running ──return, error, exit──> Ended
//! ```
//! A script that ends while its phase's callback is on the stack gives its outcome to that callback. One that ends in
//! an event leaves it in the request's state, and nginx is told to run the phase again, whose callback collects it.

use crate::conf::{Handler, Source};
use crate::native;
use crate::ngx::{Ctx, Level, Rc, Reading, Request};
use crate::phase::{self, Phase};
use crate::vm::{Coroutine, FileError, Function, Outcome, Stack, Vm};

mod wait;

pub use wait::{Armed, Held, Op};

/// What a request's script is doing.
#[derive(Default)]
pub enum State {
    #[default]
    Idle,
    /// It is on the stack, or was abandoned there by an exit.
    Running,
    /// It waits; dropping `held` cancels what it waits for.
    Waiting { phase: Phase, co: Coroutine, held: Held },
    /// Before it starts, the request body is read, as `lua_need_request_body` asks.
    ReadingBody(#[allow(dead_code)] Reading),
    /// It ended in an event; the phase's callback has not collected this yet.
    Ended { phase: Phase, end: End },
}

/// How a script ended.
#[derive(Debug)]
pub enum End {
    Returned,
    /// It failed; the error is logged.
    Failed,
    /// It could not be loaded, or the body that it needs not be read; the reason is logged.
    NotLoaded(Rc),
    /// `ngx.exit(code)`
    Exit(Rc),
    /// `ngx.exec(uri, args)`
    Exec {
        uri: Vec<u8>,
        args: Option<Vec<u8>>,
    },
    /// `ngx.req.set_uri(uri, true)`: a location is to be chosen again.
    Jump,
}

/// What a phase's callback learns.
pub enum Progress {
    Waiting,
    Ended(End),
}

/// Runs `handler` for `request`, or says what has become of it since.
pub fn enter(request: Request, phase: Phase, handler: &Handler) -> Progress {
    let Some(ctx) = request.ctx() else {
        return Progress::Ended(End::NotLoaded(Rc::INTERNAL_SERVER_ERROR));
    };
    let state = ctx.run.take();
    match state {
        State::Ended { phase: p, end } if p == phase => Progress::Ended(end),
        State::Waiting { .. } | State::ReadingBody(_) => {
            ctx.run.replace(state);
            Progress::Waiting
        }
        _ => start(request, ctx, phase, handler),
    }
}

fn start(request: Request, ctx: &Ctx, phase: Phase, handler: &Handler) -> Progress {
    if request.loc_conf().settings.need_request_body == Some(true) {
        if let Some(progress) = read_body_first(request, ctx) {
            return progress;
        }
    }
    let vm = ctx.vm();
    match function(request, ctx, vm, handler) {
        Ok(function) => {
            let mut co = vm.coroutine();
            co.load(function);
            drive(request, ctx, phase, co, 0)
        }
        Err(rc) => Progress::Ended(End::NotLoaded(rc)),
    }
}

/// Continues `request`'s waiting script with what `push` leaves on its stack. For events, never inside Lua.
pub fn wake(request: Request, push: impl FnOnce(&mut Stack<'_>) -> i32) {
    let Some(ctx) = request.ctx_if_any() else { return };
    let State::Waiting { phase, mut co, held } = ctx.run.take() else { return };
    drop(held);
    let connection = request.connection();
    let args = push(&mut co.stack());
    if let Progress::Ended(end) = drive(request, ctx, phase, co, args) {
        phase::resume(request, ctx, phase, end);
    }
    Request::run_posted(connection);
}

/// Reads the request body; `None` once it is there.
fn read_body_first(request: Request, ctx: &Ctx) -> Option<Progress> {
    match request.read_body() {
        Rc::OK => None,
        Rc::AGAIN => {
            ctx.run.replace(State::ReadingBody(Reading::watch(request)?));
            Some(Progress::Waiting)
        }
        rc => Some(Progress::Ended(End::NotLoaded(rc))),
    }
}

/// The request body is there: goes on with the script that waits for it, or starts it. For events.
pub fn body_read(request: Request) {
    let Some(ctx) = request.ctx_if_any() else { return };
    match ctx.run.take() {
        State::ReadingBody(reading) => {
            drop(reading);
            let connection = request.connection();
            request.run_phases();
            Request::run_posted(connection);
        }
        state => {
            ctx.run.replace(state);
            wake(request, |_| 0);
        }
    }
}

/// Resumes `co` until it ends or has to wait.
fn drive(request: Request, ctx: &Ctx, phase: Phase, mut co: Coroutine, mut args: i32) -> Progress {
    let vm = ctx.vm();
    loop {
        ctx.run.replace(State::Running);
        let outcome = {
            let Some(_scope) = native::enter(phase, Some(request)) else {
                return Progress::Ended(End::Failed);
            };
            co.resume(vm, args)
        };
        match outcome {
            Outcome::Returned => {
                vm.recycle(co, true);
                ctx.run.replace(State::Idle);
                return Progress::Ended(End::Returned);
            }
            Outcome::Failed(message) => {
                vm.recycle(co, false);
                ctx.run.replace(State::Idle);
                request.log(Level::Error, &format!("lua entry thread aborted: runtime error: {message}"));
                return Progress::Ended(End::Failed);
            }
            Outcome::Yielded => match wait::arm(request, phase, &mut co.stack()) {
                Armed::Ready(n) => args = n,
                Armed::Wait(held) => {
                    ctx.run.replace(State::Waiting { phase, co, held });
                    if ctx.output.is_begun() {
                        request.send_before_wait(&ctx.output);
                    }
                    return Progress::Waiting;
                }
                Armed::End(end) => {
                    vm.recycle(co, false);
                    ctx.run.replace(State::Idle);
                    return Progress::Ended(end);
                }
            },
        }
    }
}

impl State {
    /// Leaves what waits: cancels it, and gives its coroutine back to `vm`.
    pub fn abandon(self, vm: &Vm) {
        if let State::Waiting { co, held, .. } = self {
            drop(held);
            vm.recycle(co, false);
        }
    }
}

/// The function of `handler`, compiled now if need be; on failure what to answer, the reason being logged.
pub fn function(request: Request, ctx: &Ctx, vm: &Vm, handler: &Handler) -> Result<Function, Rc> {
    let shared = !ctx.has_own_vm.get();
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
