//! The phases in which Lua runs: one row of data each, and one file for what is particular to it.

use core::fmt;

pub mod access;
pub mod balancer;
pub mod body_filter;
pub mod content;
pub mod header_filter;
pub mod init;
pub mod log;
pub mod precontent;
pub mod rewrite;
pub mod set;
#[cfg(ngx_feature = "http_ssl")]
pub mod ssl;

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
    Timer = 1 << 12,
    Precontent = 1 << 13,
    SslClientHello = 1 << 14,
    SslCert = 1 << 15,
    SslSessionFetch = 1 << 16,
    SslSessionStore = 1 << 17,
    ProxySslCert = 1 << 18,
    ProxySslVerify = 1 << 19,
}

/// Every phase, in the order of their bits.
pub const ALL: [Phase; 20] = [
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
    Phase::Timer,
    Phase::Precontent,
    Phase::SslClientHello,
    Phase::SslCert,
    Phase::SslSessionFetch,
    Phase::SslSessionStore,
    Phase::ProxySslCert,
    Phase::ProxySslVerify,
];

/// The phases of a request whose script may wait.
pub const REQUEST_YIELDING: u32 = Phase::ServerRewrite.bit()
    | Phase::Rewrite.bit()
    | Phase::Access.bit()
    | Phase::Precontent.bit()
    | Phase::Content.bit();

/// All phases whose script may wait.
pub const YIELDING: u32 = REQUEST_YIELDING
    | Phase::Timer.bit()
    | Phase::SslClientHello.bit()
    | Phase::SslCert.bit()
    | Phase::SslSessionFetch.bit()
    | Phase::ProxySslCert.bit()
    | Phase::ProxySslVerify.bit();

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
            Phase::Precontent => "precontent",
            Phase::Content => "content",
            Phase::HeaderFilter => "header_filter",
            Phase::BodyFilter => "body_filter",
            Phase::Log => "log",
            Phase::Balancer => "balancer",
            Phase::Timer => "timer",
            Phase::SslClientHello => "ssl_client_hello",
            Phase::SslCert => "ssl_cert",
            Phase::SslSessionFetch => "ssl_session_fetch",
            Phase::SslSessionStore => "ssl_session_store",
            Phase::ProxySslCert => "proxy_ssl_cert",
            Phase::ProxySslVerify => "proxy_ssl_verify",
        }
    }
}

/// The directive family, as error messages name it.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Timer => f.write_str("ngx.timer"),
            Phase::SslCert => f.write_str("ssl_certificate_by_lua"),
            Phase::ProxySslCert => f.write_str("proxy_ssl_certificate_by_lua"),
            _ => write!(f, "{}_by_lua", self.name()),
        }
    }
}

use crate::ngx::{Ctx, Level, Rc, Request};
use crate::run::{End, State};

/// For whoever debugs: the handler or filter `what` has come to a request that has a script for it.
#[inline]
pub fn entered(request: Request, what: &str) {
    if request.logs(Level::Debug) {
        describe_entry(request, what);
    }
}

#[cold]
fn describe_entry(request: Request, what: &str) {
    let uri = String::from_utf8_lossy(request.uri());
    let line = if what.contains("filter") {
        format!("lua {what}, uri \"{uri}\"")
    } else {
        format!("lua {what} handler, uri:\"{uri}\" c:{}", request.references())
    };
    request.log(Level::Debug, &line);
}

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
    if let End::NotLoaded(rc) = end {
        return rc;
    }
    let Some(ctx) = request.ctx() else { return Rc::ERROR };
    match end {
        End::Returned | End::Jump | End::Exit(Rc::OK | Rc::DECLINED) => {
            if !is_begun(request, ctx) && !ctx.output.is_held() {
                if matches!(end, End::Jump) {
                    request.set_uri_changed(true);
                    ctx.forget_table();
                }
                return go_on;
            }
            // a response that has begun cannot be made again by a later phase: it ends here
            match end_response(request, ctx) {
                Rc::OK => Rc::HTTP_OK,
                rc => rc,
            }
        }
        End::Exec { uri, args } => {
            let rc = exec(request, ctx, &uri, args.as_deref());
            if rc == Rc::DONE {
                // these phases' checkers do not give back the reference that the redirect took
                request.finalize(Rc::DONE);
            }
            rc
        }
        End::Exit(code) => exit(request, ctx, code, Rc::HTTP_OK),
        End::NotLoaded(_) | End::Failed => fail(request, ctx),
    }
}

/// Whether the response's header counts as sent: part of the response has left, or will before anything else happens.
fn is_begun(request: Request, ctx: &Ctx) -> bool {
    request.header_sent() || ctx.shared.started.get() != 0
}

/// Sends what is left of the response, and its end.
pub fn end_response(request: Request, ctx: &Ctx) -> Rc {
    let rc = request.send_output(&ctx.output, true, false);
    if rc == Rc::ERROR || rc.0 >= 300 {
        rc
    } else {
        Rc::OK
    }
}

/// `ngx.exit(code)` in a phase that can answer; `complete` tells nginx that the response is.
fn exit(request: Request, ctx: &Ctx, code: Rc, complete: Rc) -> Rc {
    let mut code = code;
    if closes(code) {
        return code;
    }
    if is_begun(request, ctx) {
        if code.0 >= 300 {
            too_late(request, code);
            code = Rc::HTTP_OK;
        }
    } else if code.0 >= 200 && !request.has_status() {
        request.set_status(code.0 as usize);
    }
    let answers = code == Rc::OK || (200..300).contains(&code.0) && code.0 != 204;
    if answers || is_begun(request, ctx) || ctx.output.is_held() {
        let rc = end_response(request, ctx);
        if rc != Rc::OK {
            return rc;
        }
    }
    if code != Rc::OK && is_begun(request, ctx) || ctx.output.is_ended() {
        return complete;
    }
    code
}

/// A status that can no longer be set, because another one has been sent.
fn too_late(request: Request, code: Rc) {
    if code.0 != request.status() as isize {
        let message = format!(
            "attempt to set status {} via ngx.exit after sending out the response status {}",
            code.0,
            request.status()
        );
        request.log(Level::Error, &message);
    }
}

/// Codes that end the connection whatever was sent.
fn closes(code: Rc) -> bool {
    code == Rc::ERROR || matches!(code.0, 408 | 444 | 499)
}

/// A script failed: 500, or a cut connection when the response has begun.
fn fail(request: Request, ctx: &Ctx) -> Rc {
    if !is_begun(request, ctx) {
        return Rc::INTERNAL_SERVER_ERROR;
    }
    request.send_output(&ctx.output, false, false);
    Rc::ERROR
}

/// `ngx.exec(uri, args)`
fn exec(request: Request, ctx: &Ctx, uri: &[u8], args: Option<&[u8]>) -> Rc {
    if is_begun(request, ctx) {
        return fail(request, ctx);
    }
    if let (Some(b'@'), Some([_, ..])) = (uri.first(), args) {
        let ignored = String::from_utf8_lossy(args.unwrap_or_default());
        let uri = String::from_utf8_lossy(uri);
        request
            .log(Level::Warn, &format!("query strings {ignored} ignored when exec'ing named location {uri}"));
    }
    let rc = request.internal_redirect(uri, args);
    if rc == Rc::ERROR || rc.0 >= 300 {
        rc
    } else {
        Rc::DONE
    }
}
