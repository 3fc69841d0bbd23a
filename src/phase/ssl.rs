//! Scripts that take part in handshakes.

use std::rc::Rc;

use super::Phase;
use crate::conf::Handler;
use crate::ngx::tls::Handshake;
use crate::ngx::{self, Level};
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
            handshake.script_ended(phase, goes_on(&end));
        }
    });
    let background = host(handshake, phase, ended);
    let host = Host::Background(Rc::clone(&background));
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
            Begun::Ended(matches!(progress, Progress::Ended(end) if goes_on(&end)))
        }
    }
}

/// Runs ssl_session_store_by_lua, which cannot wait and of which nothing depends.
pub fn run_store(handshake: &Rc<Handshake>, handler: &Handler) {
    let phase = Phase::SslSessionStore;
    let background = host(handshake, phase, Box::new(|_, _| {}));
    let result = load(handshake, handler).and_then(|function| {
        let host = Host::Background(Rc::clone(&background));
        let Some(_entered) = host.enter(phase) else { return Err("out of memory".into()) };
        handshake.vm().call(function, 0, |_| 0, |_| ()).map_err(|e| format!("failed to run {phase}*: {e}"))
    });
    if let Err(e) = result {
        Host::Background(Rc::clone(&background)).log(Level::Error, &e);
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
