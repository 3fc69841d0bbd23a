//! The driver: runs a script until it is done, however often it waits.
//!
//! ```text
//! start ──> Running ──yield──> Waiting ──wake──> Running ──return, error, exit──> Ended
//! ```
//! A script is a [`Task`]: its entry thread and the threads that this one spawned, which take turns. A task belongs to a
//! request's phase, or to none ([`Background`]: timers). One that ends while its phase's callback is on the stack gives
//! its outcome to that callback; one that ends in an event leaves it in the request's state, and nginx is told to run
//! the phase again, whose callback collects it.

use std::rc::Rc as Shared;

use crate::conf::Handler;
use crate::ngx::{Ctx, Rc, Reading, Request};
use crate::phase::{self, Phase};
use crate::vm::Function;

mod abort;
mod host;
mod load;
mod owned;
mod semaphore;
mod task;
mod threads;
mod timers;
mod wait;
mod work;

use abort::Gone;
pub use host::{Background, Host};
pub use load::{function, plain_function};
pub use owned::{Ends, Owned, Place};
pub use semaphore::Semaphore;
pub use task::{run as start, Task};
pub use threads::{Crowd, KillError, ThreadId};
pub use timers::{Script, Timers};
pub use wait::{Armed, Held, Op, Prepared, Waker, PREPARED};
pub use work::later;

/// What a request's script is doing.
#[derive(Default)]
pub enum State {
    /// There is none, or it is on the stack.
    #[default]
    Idle,
    /// All its threads wait.
    Waiting(Shared<Task>),
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

impl End {
    /// Whether it ends the request at once, whatever else goes on for it.
    fn aborts(&self) -> bool {
        matches!(self, End::Exit(Rc::ERROR | Rc(408 | 444 | 499)))
    }
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
        State::Waiting(_) | State::ReadingBody(_) => {
            ctx.run.replace(state);
            request.watch_client();
            Progress::Waiting
        }
        _ => begin(request, ctx, phase, handler),
    }
}

fn begin(request: Request, ctx: &Ctx, phase: Phase, handler: &Handler) -> Progress {
    if request.loc_conf().settings.need_request_body == Some(true) {
        if let Some(progress) = read_body_first(request, ctx) {
            return progress;
        }
    }
    match function(request, ctx, ctx.vm(), handler) {
        Ok(function) => run(request, ctx, phase, function),
        Err(rc) => Progress::Ended(End::NotLoaded(rc)),
    }
}

fn run(request: Request, ctx: &Ctx, phase: Phase, function: Function) -> Progress {
    let (task, progress) = task::run(Host::Request(request), phase, ctx.vm(), function);
    match task {
        Some(task) => settle(&task, request, ctx, progress),
        None => {
            left(request, ctx, phase, &progress);
            progress
        }
    }
}

/// Notes in the request's state that its script waits.
fn settle(task: &Shared<Task>, request: Request, ctx: &Ctx, progress: Progress) -> Progress {
    if matches!(progress, Progress::Waiting) {
        ctx.run.replace(State::Waiting(Shared::clone(task)));
        if ctx.output.is_begun() {
            request.send_before_wait(&ctx.output);
        }
        request.watch_client();
    } else {
        left(request, ctx, task.phase(), &progress);
    }
    progress
}

/// A script has ended, and with it perhaps the request.
fn left(request: Request, ctx: &Ctx, phase: Phase, progress: &Progress) {
    let goes_on = matches!(
        progress,
        Progress::Ended(End::Returned | End::Jump | End::Exec { .. } | End::Exit(Rc::OK | Rc::DECLINED))
    );
    request.leave_client_body(ctx, phase == Phase::Content || !goes_on);
}

/// Goes on with a request's task, one of whose threads is ready. For events, never inside Lua.
fn go_on(task: &Shared<Task>, request: Request) {
    let Some(ctx) = request.ctx_if_any() else { return };
    ctx.run.take();
    request.log_as_current();
    let connection = request.connection();
    let progress = task.run();
    if let Progress::Ended(end) = settle(task, request, ctx, progress) {
        phase::resume(request, ctx, task.phase(), end);
    }
    Request::run_posted(connection);
}

/// The client of a request whose script waits has gone: its `ngx.on_abort` function runs, or the request ends.
pub fn client_gone(request: Request) {
    let Some(ctx) = request.ctx_if_any() else { return };
    let task = match &*ctx.run.borrow() {
        State::Waiting(task) => Shared::clone(task),
        _ => return,
    };
    match task.client_gone() {
        Gone::Wakes => go_on(&task, request),
        Gone::Told => {}
        Gone::Ends => {
            let connection = request.connection();
            ctx.run.take().abandon();
            request.finalize(Rc::CLIENT_CLOSED_REQUEST);
            Request::run_posted(connection);
        }
    }
}

/// Reads the request body; `None` once it is there.
fn read_body_first(request: Request, ctx: &Ctx) -> Option<Progress> {
    match request.read_body() {
        Rc::OK => None,
        Rc::AGAIN => {
            let reading = Reading::watch(request, Box::new(move || body_is_there(request)))?;
            ctx.run.replace(State::ReadingBody(reading));
            Some(Progress::Waiting)
        }
        rc => Some(Progress::Ended(End::NotLoaded(rc))),
    }
}

/// The request body that a script needs before it starts is there.
fn body_is_there(request: Request) {
    let Some(ctx) = request.ctx_if_any() else { return };
    ctx.run.take();
    let connection = request.connection();
    request.run_phases();
    Request::run_posted(connection);
}

impl State {
    /// Leaves what waits: cancels it.
    pub fn abandon(self) {
        if let State::Waiting(task) = self {
            task.abandon();
        }
    }
}
