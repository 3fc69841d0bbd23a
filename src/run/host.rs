//! Whose script a task is: a request's, or nobody's.

use core::cell::Cell;
use std::rc::{Rc, Weak};

use super::{go_on, End, Owned, Progress, Task};
use crate::native::{self, Scope};
use crate::ngx::tls::Handshake;
use crate::ngx::{debug_cycle, log_cycle, Level, Location, LogContext, Request, ServerLog, Shared};
use crate::phase::Phase;
use crate::scale::Tickets;
use crate::vm::Vm;

/// Whose script it is.
#[derive(Clone)]
pub enum Host {
    Request(Request),
    Background(Rc<Background>),
}

/// What a script without a request has in place of the request's state.
pub struct Background {
    pub shared: Shared,
    /// What its log lines end with.
    log_suffix: Vec<u8>,
    /// Where they go, if not to the cycle's log.
    log: Option<ServerLog>,
    /// The TLS handshake that the script is a part of.
    handshake: Option<Weak<Handshake>>,
    /// Under which it was made.
    location: Option<Location>,
    owned: Rc<Owned>,
    /// What `as.admit` has let it have.
    tickets: Tickets,
    pub vm: Rc<Vm>,
    /// Called once when the script has ended.
    pub ended: Cell<Option<Ended>>,
}

type Ended = Box<dyn FnOnce(&Background, End)>;

/// While it lives, natives are called in the name of a host.
pub struct Entered<'a> {
    _scope: Scope,
    _context: Option<LogContext<'a>>,
}

impl Host {
    pub fn request(&self) -> Option<Request> {
        match self {
            Host::Request(request) => Some(*request),
            Host::Background(_) => None,
        }
    }

    /// What ends with this host; `None` when memory is out.
    pub fn owned(&self) -> Option<Rc<Owned>> {
        match self {
            Host::Request(request) => request.ctx().map(|ctx| Rc::clone(ctx.owned.get_or_init(Rc::default))),
            Host::Background(background) => Some(Rc::clone(&background.owned)),
        }
    }

    /// What `as.admit` has let it have; `None` when memory is out.
    pub fn tickets(&self) -> Option<&Tickets> {
        match self {
            Host::Request(request) => request.ctx().map(|ctx| &ctx.tickets),
            Host::Background(background) => Some(&background.tickets),
        }
    }

    /// The configuration that the script runs under.
    pub fn location(&self) -> Option<Location> {
        match self {
            Host::Request(request) => Some(request.location()),
            Host::Background(background) => background.location,
        }
    }

    /// Lets Lua run in the name of this host; `None` when memory is out.
    pub fn enter(&self, phase: Phase) -> Option<Entered<'_>> {
        Some(match self {
            Host::Request(request) => {
                Entered { _scope: native::enter(phase, Some(*request))?, _context: None }
            }
            Host::Background(background) => Entered {
                _scope: native::enter_background(phase, background),
                _context: Some(background.log_context()),
            },
        })
    }

    pub fn log(&self, level: Level, message: &str) {
        match self {
            Host::Request(request) => request.log(level, message),
            Host::Background(background) => {
                let _context = background.log_context();
                log_cycle(level, message);
            }
        }
    }

    /// Logs for those who debug.
    pub fn debug(&self, message: core::fmt::Arguments<'_>) {
        match self {
            Host::Request(request) if request.logs(Level::Debug) => {
                request.log(Level::Debug, &message.to_string());
            }
            Host::Request(_) => {}
            Host::Background(background) => {
                let _context = background.log_context();
                debug_cycle(message);
            }
        }
    }

    /// Goes on with `task`, one of whose threads is ready. For events, never inside Lua.
    pub(super) fn go_on(&self, task: &Rc<Task>) {
        match self {
            Host::Request(request) => go_on(task, *request),
            Host::Background(background) => background.settle(task.run()),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // in the words of OpenResty, which gives its timers a connection: tools that read its debug logs know them
        debug_cycle(format_args!("http lua close fake http connection"));
        let slot = self.shared.ctx_slot.replace(0);
        if slot != 0 {
            self.vm.release_ctx(slot);
        }
    }
}

impl Background {
    pub fn new(vm: Rc<Vm>, location: Option<Location>, log_suffix: Vec<u8>, ended: Ended) -> Background {
        Background {
            shared: Shared::default(),
            vm,
            location,
            log_suffix,
            owned: Rc::default(),
            tickets: Tickets::default(),
            ended: Cell::new(Some(ended)),
            log: None,
            handshake: None,
        }
    }

    /// For a script that is a part of a handshake.
    pub fn of_handshake(mut self, handshake: &Rc<Handshake>, log: Option<ServerLog>) -> Background {
        self.handshake = Some(Rc::downgrade(handshake));
        self.log = log;
        self
    }

    /// The handshake that the script is a part of.
    pub fn handshake(&self) -> Option<Rc<Handshake>> {
        self.handshake.as_ref()?.upgrade()
    }

    fn log_context(&self) -> LogContext<'_> {
        match &self.log {
            Some(log) => LogContext::enter_server(log, &self.log_suffix),
            None => LogContext::enter(&self.log_suffix),
        }
    }

    pub fn log_suffix(&self) -> &Vec<u8> {
        &self.log_suffix
    }

    /// Tells whoever started the script when it has ended.
    pub fn settle(&self, progress: Progress) {
        if let Progress::Ended(end) = progress {
            if let Some(ended) = self.ended.take() {
                ended(self, end);
            }
        }
    }
}
