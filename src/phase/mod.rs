//! The phases in which Lua runs: one row of data each, and one file for what is particular to it.

use core::fmt;

pub mod access;
pub mod balancer;
pub mod body_filter;
pub mod content;
pub mod header_filter;
pub mod init;
pub mod log;
pub mod rewrite;
pub mod set;

/// Where a script runs. The discriminant is the bit that API masks in the prelude test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    Init = 1 << 0,
    InitWorker = 1 << 1,
    ExitWorker = 1 << 2,
    Set = 1 << 3,
    ServerRewrite = 1 << 4,
    Rewrite = 1 << 5,
    Access = 1 << 6,
    Content = 1 << 7,
    HeaderFilter = 1 << 8,
    BodyFilter = 1 << 9,
    Log = 1 << 10,
    Balancer = 1 << 11,
}

/// Every phase, in the order of their bits.
pub const ALL: [Phase; 12] = [
    Phase::Init,
    Phase::InitWorker,
    Phase::ExitWorker,
    Phase::Set,
    Phase::ServerRewrite,
    Phase::Rewrite,
    Phase::Access,
    Phase::Content,
    Phase::HeaderFilter,
    Phase::BodyFilter,
    Phase::Log,
    Phase::Balancer,
];

impl Phase {
    /// The phase's bit in an API mask.
    pub const fn bit(self) -> u32 {
        self as u32
    }

    /// Dense index of the phase, for tables.
    pub const fn index(self) -> usize {
        self.bit().trailing_zeros() as usize
    }

    /// What `ngx.get_phase()` answers.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Init => "init",
            Phase::InitWorker => "init_worker",
            Phase::ExitWorker => "exit_worker",
            Phase::Set => "set",
            Phase::ServerRewrite => "server_rewrite",
            Phase::Rewrite => "rewrite",
            Phase::Access => "access",
            Phase::Content => "content",
            Phase::HeaderFilter => "header_filter",
            Phase::BodyFilter => "body_filter",
            Phase::Log => "log",
            Phase::Balancer => "balancer",
        }
    }

    /// Whether a script of this phase may wait for an event.
    pub const fn yields(self) -> bool {
        matches!(self, Phase::ServerRewrite | Phase::Rewrite | Phase::Access | Phase::Content)
    }
}

/// The directive family, as error messages name it.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_by_lua", self.name())
    }
}

use crate::ngx::{Ctx, Rc, Request};
use crate::run::{End, State};

/// Goes on with a request whose script ended in an event.
pub fn resume(request: Request, ctx: &Ctx, phase: Phase, end: End) {
    if phase == Phase::Content {
        let rc = content::finish(request, end);
        request.finalize(rc);
    } else {
        // the phase's callback collects the outcome
        ctx.run.replace(State::Ended { phase, end });
        request.run_phases();
    }
}

/// What nginx is told when a script before the content phase ended; `go_on` if the request goes on.
fn finish_early(request: Request, end: End, go_on: Rc) -> Rc {
    let Some(ctx) = request.ctx() else { return Rc::ERROR };
    let goes_on = rewrite::goes_on(&end);
    match end {
        // a response that has begun cannot be made again by a later phase: it ends here
        _ if goes_on && (request.header_sent() || ctx.shared.started.get() != 0) => {
            finalized(end_response(request, ctx))
        }
        End::Jump => {
            request.set_uri_changed(true);
            ctx.forget_table();
            go_on
        }
        _ if goes_on => go_on,
        End::Exec { uri, args } => {
            let rc = exec(request, ctx, &uri, args.as_deref());
            if rc == Rc::DONE {
                // these phases' checkers do not give back the reference that the redirect took
                request.finalize(Rc::DONE);
            }
            rc
        }
        End::Exit(code) => finalized(exit(request, ctx, code)),
        End::NotLoaded(rc) => rc,
        _ => fail(request, ctx),
    }
}

/// nginx's checkers take OK and AGAIN for "go on"; a response that is complete must end the request instead.
fn finalized(rc: Rc) -> Rc {
    if rc == Rc::OK || rc == Rc::AGAIN {
        return Rc::HTTP_OK;
    }
    rc
}

/// Sends what is left of the response, and its end.
pub fn end_response(request: Request, ctx: &Ctx) -> Rc {
    // what was not read of the request must not be taken for the next one
    if !request.has_body() && request.discard_unwanted_body() != Rc::OK {
        return Rc::ERROR;
    }
    if request.holds_output() {
        request.set_content_length(ctx.output.pending());
    }
    let rc = request.send_output(&ctx.output, true, false);
    if rc.0 > Rc::OK.0 && rc.0 < 300 {
        Rc::OK
    } else {
        rc
    }
}

/// `ngx.exit(code)` in a phase that can answer.
fn exit(request: Request, ctx: &Ctx, code: Rc) -> Rc {
    let started = request.header_sent() || ctx.shared.started.get() != 0;
    if code.0 < Rc::OK.0 {
        return if started { fail_with(request, ctx, code) } else { code };
    }
    if started {
        if code.0 >= 300 && code.0 != request.status() as isize && !is_closing(code) {
            content::too_late(request, code);
        }
        if is_closing(code) {
            return code;
        }
        return end_response(request, ctx);
    }
    if code.0 >= 300 || code == Rc::OK && !request.has_status() {
        if code == Rc::OK {
            return end_response(request, ctx);
        }
        return code;
    }
    if code != Rc::OK {
        request.set_status(code.0 as usize);
    }
    end_response(request, ctx)
}

/// Codes that mean "close the connection" whatever was sent.
fn is_closing(code: Rc) -> bool {
    matches!(code.0, 408 | 444 | 499)
}

/// A script failed: 500, or a cut connection when the response has begun.
fn fail(request: Request, ctx: &Ctx) -> Rc {
    fail_with(request, ctx, Rc::INTERNAL_SERVER_ERROR)
}

fn fail_with(request: Request, ctx: &Ctx, rc: Rc) -> Rc {
    if ctx.shared.started.get() != 0 && !request.header_sent() {
        request.send_output(&ctx.output, false, false);
    }
    if request.header_sent() {
        Rc::ERROR
    } else {
        rc
    }
}

/// `ngx.exec(uri, args)`
fn exec(request: Request, ctx: &Ctx, uri: &[u8], args: Option<&[u8]>) -> Rc {
    if ctx.shared.started.get() != 0 || request.header_sent() {
        return fail(request, ctx);
    }
    let rc = request.internal_redirect(uri, args);
    if rc == Rc::ERROR || rc.0 >= 300 {
        rc
    } else {
        Rc::DONE
    }
}
