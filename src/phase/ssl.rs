//! Scripts that take part in handshakes.

use std::rc::Rc;

use super::Phase;
use crate::conf::Handler;
use crate::ngx::tls::Handshake;
use crate::ngx::{self, debug_cycle, Level};
use crate::run::{self, Background, End, Host, Progress, Task};

/// What came of starting a script.
pub enum Begun {
    /// It has ended; whether the handshake may go on.
    Ended(bool),
    /// It waits; [`Handshake::script_ended`] is called once it has ended.
    Waits(Rc<Task>),
}

/// Runs `handler` for a handshake.
pub fn start(handshake: &Rc<Handshake>, phase: Phase, handler: &Handler) -> Begun {
    let weak = Rc::downgrade(handshake);
    let ended = Box::new(move |background: &Background, end: End| {
        if let Some(handshake) = weak.upgrade() {
            handshake.take_table_back(background.shared.ctx_slot.replace(0));
            let (well, (directive, callback)) = (goes_on(&end), names(phase));
            debug_cycle(format_args!("{directive}: {callback} cb exit code: {}", u8::from(well)));
            handshake.script_ended(phase, well);
        }
    });
    let background = host(handshake, phase, ended);
    let host = Host::Background(Rc::clone(&background));
    debug_start(&host, phase);
    let function = match load(handshake, handler) {
        Ok(function) => function,
        Err(e) => {
            host.log(Level::Error, &e);
            handshake.take_table_back(background.shared.ctx_slot.replace(0));
            return Begun::Ended(false);
        }
    };
    let (task, progress) = run::start(host, phase, handshake.vm(), function);
    match (task, progress) {
        (Some(task), Progress::Waiting) => Begun::Waits(task),
        (_, progress) => {
            background.ended.take();
            handshake.take_table_back(background.shared.ctx_slot.replace(0));
            let Progress::Ended(end) = progress else { return Begun::Ended(false) };
            let well = goes_on(&end);
            let (directive, callback) = names(phase);
            debug_cycle(format_args!(
                "{directive}: handler return value: {}, {callback} cb exit code: {}",
                code(&end),
                u8::from(well)
            ));
            Begun::Ended(well)
        }
    }
}

/// Runs ssl_session_store_by_lua, which cannot wait and of which nothing depends.
pub fn run_store(handshake: &Rc<Handshake>, handler: &Handler) {
    let phase = Phase::SslSessionStore;
    let background = host(handshake, phase, Box::new(|_, _| {}));
    let result = load(handshake, handler).and_then(|function| {
        let host = Host::Background(Rc::clone(&background));
        debug_start(&host, phase);
        let Some(_entered) = host.enter(phase) else { return Err("out of memory".into()) };
        handshake
            .vm()
            .call(function, 0, |_| 0, |_| ())
            .map_err(|e| format!("failed to run session_store_by_lua*: {e}"))
    });
    match result {
        Ok(()) => debug_cycle(format_args!(
            "ssl_session_store_by_lua*: handler return value: 0, sess new cb exit code: 0"
        )),
        Err(e) => Host::Background(Rc::clone(&background)).log(Level::Error, &e),
    }
    handshake.take_table_back(background.shared.ctx_slot.replace(0));
}

fn goes_on(end: &End) -> bool {
    match end {
        End::Returned => true,
        End::Exit(code) => *code != ngx::Rc::ERROR && code.0 < 300,
        _ => false,
    }
}

// Debug logs in the words of OpenResty's module: tools and tests that read its logs know them.

/// What a phase and its callback are called there.
fn names(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::SslClientHello => ("lua_client_hello_by_lua", "client hello"),
        Phase::SslCert => ("lua_certificate_by_lua", "cert"),
        Phase::SslSessionFetch => ("ssl_session_fetch_by_lua*", "sess get"),
        Phase::ProxySslCert => ("proxy_ssl_certificate_by_lua*", "proxy ssl cert"),
        Phase::ProxySslVerify => ("proxy_ssl_verify_by_lua*", "proxy ssl verify"),
        _ => ("ssl_session_store_by_lua*", "sess new"),
    }
}

fn debug_start(host: &Host, phase: Phase) {
    let what = match phase {
        Phase::SslClientHello => "client hello",
        Phase::SslCert => "cert",
        Phase::SslSessionFetch => "session fetch",
        Phase::SslSessionStore => "session store",
        _ => return,
    };
    // a connection that shakes hands is in use
    host.debug(format_args!("ssl {what}: connection reusable: 0"));
}

fn code(end: &End) -> isize {
    match end {
        End::Returned => 0,
        End::Exit(code) | End::NotLoaded(code) => code.0,
        _ => ngx::Rc::INTERNAL_SERVER_ERROR.0,
    }
}

type Ended = Box<dyn FnOnce(&Background, End)>;

fn host(handshake: &Rc<Handshake>, phase: Phase, ended: Ended) -> Rc<Background> {
    let mut suffix = format!(", context: {phase}*").into_bytes();
    handshake.describe_ends(&mut suffix);
    let vm = Rc::clone(handshake.vm());
    let background =
        Background::new(vm, handshake.location(), suffix, ended).of_handshake(handshake, handshake.log());
    background.shared.ctx_slot.set(handshake.lend_table());
    Rc::new(background)
}

fn load(handshake: &Handshake, handler: &Handler) -> Result<crate::vm::Function, String> {
    let cached =
        handshake.location().is_none_or(|location| location.conf().settings.code_cache.unwrap_or(true));
    run::plain_function(handshake.vm(), handler, cached)
}
