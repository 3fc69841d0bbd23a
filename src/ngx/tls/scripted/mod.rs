//! TLS handshakes that scripts take part in: those of clients with a server, and of nginx with an upstream.
//!
//! OpenSSL asks for certificates, sessions and the like by callbacks, and lets these answer "later": the handshake
//! stops there and says why. nginx knows only the reasons "cannot read" and "cannot write", and takes others for
//! failures. So where a script may have to wait, nginx does not call OpenSSL itself: [`pilot`] does, until there is
//! nothing left that a script could be asked for, and hands the handshake back.

use core::cell::{Cell, OnceCell, RefCell};
use core::ffi::{c_int, c_void};
use core::ptr::{self, NonNull};
use std::rc::{Rc, Weak};

use ::ngx::ffi::{self, ngx_connection_t, ngx_http_connection_t, ngx_http_request_t, SSL};
use slab::Slab;

use crate::conf::{MainConf, SrvConf};
use crate::ngx::location::Location;
use crate::ngx::log::{Level, ServerLog};
use crate::ngx::module;
use crate::ngx::text::bytes;
use crate::phase::ssl::{self, Begun};
use crate::phase::Phase;
use crate::run::Task;
use crate::vm::Vm;

mod callbacks;
mod connection;
mod failure;
mod hello;
mod install;
mod ocsp;
mod pilot;
mod session;
mod upstream;

pub use connection::{Connection, Random};
pub use install::Originals;
pub use ocsp::Responder;

use pilot::Pilot;
use session::Sessions;

/// A handshake and what its scripts have come to. It ends with the connection.
pub struct Handshake {
    connection: NonNull<ngx_connection_t>,
    ssl: NonNull<SSL>,
    vm: Rc<Vm>,
    pilot: OnceCell<Pilot>,
    steps: RefCell<Vec<(Phase, Step)>>,
    /// Where the table lies that `ngx.ctx` is in all its scripts.
    ctx_slot: Cell<i32>,
    sessions: Sessions,
    verify: upstream::Verify,
    /// A script has given what an OCSP responder says of the certificate.
    staples: Cell<bool>,
    /// Where the worker's list has it.
    key: Cell<Option<usize>>,
    list: *const Handshakes,
}

/// How far a phase's script is.
enum Step {
    Waits(Rc<Task>),
    /// Whether the handshake may go on.
    Done(bool),
}

/// What a callback of OpenSSL is to answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Later,
    GoOn,
    Refuse,
}

/// The handshakes of a worker that have begun.
#[derive(Default)]
pub struct Handshakes(RefCell<Slab<Weak<Handshake>>>);

impl Handshakes {
    /// The worker ends, and leaves its connections as they are: their scripts end while all that they use is still there.
    pub fn end(&self) {
        let all = self.0.take();
        for (_, handshake) in all {
            if let Some(handshake) = handshake.upgrade() {
                handshake.key.set(None);
                handshake.cancel();
                handshake.forget_table();
            }
        }
    }
}

/// Whose handshake it is: what a connection's `data` is meanwhile.
enum Side {
    Server(NonNull<ngx_http_connection_t>),
    Upstream(NonNull<ngx_http_request_t>),
}

impl Handshake {
    /// The handshake of `ssl`, noted on first use; `None` when memory is out.
    ///
    /// # Safety
    /// `ssl` must be live and shaking hands, for a server of `http {}` or for an upstream of one.
    unsafe fn of(ssl: *mut SSL) -> Option<Rc<Handshake>> {
        // SAFETY: the caller vouches for the connection.
        unsafe { Handshake::known(ssl).or_else(|| Handshake::begin(NonNull::new(ssl)?)) }
    }

    /// The handshake of `ssl`, if it was noted.
    ///
    /// # Safety
    /// `ssl` must be live.
    unsafe fn known(ssl: *const SSL) -> Option<Rc<Handshake>> {
        // SAFETY: the caller vouches for the connection; what is under our index is what `begin` put there, which lives
        // as long as the connection's pool, and OpenSSL's object does not outlive that.
        unsafe {
            let handshake = ffi::SSL_get_ex_data(ssl, index()?).cast::<Handshake>().cast_const();
            if handshake.is_null() {
                return None;
            }
            Rc::increment_strong_count(handshake);
            Some(Rc::from_raw(handshake))
        }
    }

    /// # Safety
    /// As [`Handshake::of`].
    unsafe fn begin(ssl: NonNull<SSL>) -> Option<Rc<Handshake>> {
        let index = index()?;
        // SAFETY: the caller vouches for the connection; its pool's cleanup drops the reference once, before the memory
        // goes, and with it OpenSSL's object has gone.
        unsafe {
            let connection = NonNull::new(connection(ssl.as_ptr()))?;
            let main = main_conf(connection.as_ptr(), ssl.as_ptr())?;
            let cleanup = ffi::ngx_pool_cleanup_add((*connection.as_ptr()).pool, 0);
            if cleanup.is_null() {
                return None;
            }
            let handshake = Rc::new(Handshake {
                connection,
                ssl,
                vm: Rc::clone(main.vm()),
                pilot: OnceCell::new(),
                steps: RefCell::default(),
                ctx_slot: Cell::new(0),
                sessions: Sessions::default(),
                verify: upstream::Verify::default(),
                staples: Cell::new(false),
                key: Cell::new(None),
                list: &raw const main.handshakes,
            });
            if ffi::SSL_set_ex_data(ssl.as_ptr(), index, Rc::as_ptr(&handshake).cast_mut().cast()) == 0 {
                return None;
            }
            handshake.key.set(Some(main.handshakes.0.borrow_mut().insert(Rc::downgrade(&handshake))));
            (*cleanup).data = Rc::into_raw(Rc::clone(&handshake)).cast_mut().cast();
            (*cleanup).handler = Some(connection_ends);
            Some(handshake)
        }
    }

    fn raw(&self) -> *mut SSL {
        self.ssl.as_ptr()
    }

    fn side(&self) -> Side {
        // SAFETY: the connection is live and shakes hands, which decides what its data is.
        unsafe { side(self.connection.as_ptr(), self.raw()) }
    }

    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// The configuration of the server that the client asks for, or of the request that is proxied.
    pub fn location(&self) -> Option<Location> {
        // SAFETY: both have their configurations.
        unsafe {
            Location::of_slots(match self.side() {
                Side::Server(server) => (*(*server.as_ptr()).conf_ctx).loc_conf,
                Side::Upstream(request) => (*request.as_ptr()).loc_conf,
            })
        }
    }

    /// Where scripts' lines go.
    pub fn log(&self) -> Option<ServerLog> {
        let log = self.location()?.error_log()?;
        // SAFETY: the log is that of a configuration that outlives its connections.
        Some(unsafe { ServerLog::new(log, (*self.connection.as_ptr()).number as _) })
    }

    /// The client's address and the server's, as log lines show them.
    pub fn describe_ends(&self, out: &mut Vec<u8>) {
        // SAFETY: a request's connection is the client's; texts of addresses live as long as their connections.
        let (client, server) = unsafe {
            let c = match self.side() {
                Side::Server(_) => self.connection.as_ptr(),
                Side::Upstream(request) => (*request.as_ptr()).connection,
            };
            (bytes((*c).addr_text), (*c).listening.as_ref().map_or(&b""[..], |l| bytes(l.addr_text)))
        };
        for (name, text) in [(&b", client: "[..], client), (b", server: ", server)] {
            if !text.is_empty() {
                out.extend_from_slice(name);
                out.extend_from_slice(text);
            }
        }
    }

    /// Where the table of `ngx.ctx` lies, for the script that runs next; it gives it back.
    pub fn lend_table(&self) -> i32 {
        self.ctx_slot.replace(0)
    }

    pub fn take_table_back(&self, slot: i32) {
        self.ctx_slot.set(slot);
    }

    fn forget_table(&self) {
        let slot = self.ctx_slot.replace(0);
        if slot != 0 {
            self.vm.release_ctx(slot);
        }
    }

    /// What OpenSSL is told in `phase`, for whose script this is asked each time until there is an answer.
    fn ask(self: &Rc<Self>, phase: Phase, handler: &crate::conf::Handler) -> Answer {
        match self.steps.borrow().iter().find(|(p, _)| *p == phase) {
            Some((_, Step::Waits(_))) => return Answer::Later,
            Some((_, Step::Done(well))) => return self.answer(*well),
            None => {}
        }
        super::keys::clear_errors();
        let begun = ssl::start(self, phase, handler);
        super::keys::clear_errors();
        match begun {
            Begun::Ended(well) => {
                self.note(phase, Step::Done(well));
                self.answer(well)
            }
            Begun::Waits(task) if self.may_wait() => {
                self.note(phase, Step::Waits(task));
                Answer::Later
            }
            Begun::Waits(task) => {
                task.host().log(
                    Level::Error,
                    &format!(
                        "attempt to wait in {phase}* of a handshake that cannot: QUIC's, or one that goes on"
                    ),
                );
                task.abandon();
                self.note(phase, Step::Done(false));
                Answer::Refuse
            }
        }
    }

    fn answer(&self, well: bool) -> Answer {
        match (well, self.pilot.get()) {
            (true, _) => Answer::GoOn,
            // nginx is to meet the failure, so that it is logged as any other
            (false, Some(pilot)) if pilot.drives() => {
                pilot.leave();
                Answer::Later
            }
            (false, _) => Answer::Refuse,
        }
    }

    fn note(&self, phase: Phase, step: Step) {
        let mut steps = self.steps.borrow_mut();
        match steps.iter_mut().find(|(p, _)| *p == phase) {
            Some((_, place)) => *place = step,
            None => steps.push((phase, step)),
        }
    }

    /// A script that has waited has ended.
    pub fn script_ended(self: &Rc<Self>, phase: Phase, well: bool) {
        let waited =
            self.steps.borrow().iter().any(|(p, step)| *p == phase && matches!(step, Step::Waits(_)));
        if waited {
            self.note(phase, Step::Done(well));
            self.go_on_soon();
        }
    }

    fn has_begun(&self, phase: Phase) -> bool {
        self.steps.borrow().iter().any(|(p, _)| *p == phase)
    }

    fn is_waiting(&self) -> bool {
        self.steps.borrow().iter().any(|(_, step)| matches!(step, Step::Waits(_)))
    }

    /// Ends the scripts that wait.
    fn cancel(&self) {
        let steps = core::mem::take(&mut *self.steps.borrow_mut());
        for (_, step) in steps {
            if let Step::Waits(task) = step {
                task.abandon();
            }
        }
        if let Some(pilot) = self.pilot.get() {
            pilot.forget_plans();
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.forget_table();
    }
}

impl crate::ngx::Request {
    /// Where the table lies that `ngx.ctx` was when the client shook hands; 0 if nowhere.
    pub fn handshake_table(&self) -> i32 {
        // SAFETY: the request's connection is live.
        unsafe {
            let tls = (*(*self.raw()).connection).ssl;
            if tls.is_null() || (*tls).connection.is_null() {
                return 0;
            }
            let Some(handshake) = Handshake::known((*tls).connection) else { return 0 };
            // a VM of its own has tables of its own
            let is_ours = self.ctx().is_some_and(|ctx| Rc::ptr_eq(ctx.vm(), &handshake.vm));
            if is_ours {
                handshake.ctx_slot.get()
            } else {
                0
            }
        }
    }
}

unsafe extern "C" fn connection_ends(handshake: *mut c_void) {
    crate::native::guard(|| {
        // SAFETY: the reference is the one that `begin` left here; nginx runs a cleanup once.
        let handshake = unsafe { Rc::from_raw(handshake.cast::<Handshake>().cast_const()) };
        if let Some(key) = handshake.key.take() {
            // SAFETY: the list is a part of the configuration that the connection holds; when that ends first, it takes
            // the key away.
            unsafe { (*handshake.list).0.borrow_mut().try_remove(key) };
        }
        handshake.cancel();
        handshake.forget_table();
    });
}

/// OpenSSL's options, which bindings leave out: bits of `SSL_get_options`.
mod options {
    pub const NO_TICKET: u64 = 1 << 14;
    pub const NO_SSL_3: u64 = 1 << 25;
    pub const NO_TLS_1: u64 = 1 << 26;
    pub const NO_TLS_1_1: u64 = 1 << 28;
    pub const NO_TLS_1_2: u64 = 1 << 27;
    pub const NO_TLS_1_3: u64 = 1 << 29;
}

/// OpenSSL's number for what we keep with its connections.
fn index() -> Option<c_int> {
    static INDEX: Index = Index::new(ffi::CRYPTO_EX_INDEX_SSL);
    INDEX.get()
}

/// A number under which OpenSSL keeps something of ours with each object of a kind.
struct Index {
    kind: u32,
    number: core::sync::atomic::AtomicI32,
}

impl Index {
    const fn new(kind: u32) -> Index {
        Index { kind, number: core::sync::atomic::AtomicI32::new(-1) }
    }

    fn get(&self) -> Option<c_int> {
        use core::sync::atomic::Ordering::Relaxed;
        let mut number = self.number.load(Relaxed);
        if number < 0 {
            // SAFETY: no functions are given that OpenSSL could call after we are gone.
            number = unsafe {
                ffi::CRYPTO_get_ex_new_index(self.kind as c_int, 0, ptr::null_mut(), None, None, None)
            };
            self.number.store(number, Relaxed);
        }
        (number >= 0).then_some(number)
    }
}

/// nginx's connection of an OpenSSL connection.
///
/// # Safety
/// `ssl` must be a live connection that nginx has made.
unsafe fn connection(ssl: *const SSL) -> *mut ngx_connection_t {
    // SAFETY: nginx puts its connection under this index before anything is read or sent.
    unsafe { ffi::SSL_get_ex_data(ssl, ffi::ngx_ssl_connection_index).cast() }
}

/// # Safety
/// Both must be live and shaking hands.
unsafe fn side(c: *mut ngx_connection_t, ssl: *const SSL) -> Side {
    // SAFETY: until a client has shaken hands, its connection's data is nginx's state of a connection without a request;
    // an upstream's is the request.
    unsafe {
        if ffi::SSL_is_server(ssl) == 1 {
            Side::Server(NonNull::new_unchecked((*c).data.cast()))
        } else {
            Side::Upstream(NonNull::new_unchecked((*c).data.cast()))
        }
    }
}

/// # Safety
/// As for `side`.
unsafe fn main_conf<'a>(c: *mut ngx_connection_t, ssl: *const SSL) -> Option<&'a MainConf> {
    // SAFETY: the configurations live as long as their connections; `create_main_conf` filled our slot.
    unsafe {
        let slots = match side(c, ssl) {
            Side::Server(server) => (*(*server.as_ptr()).conf_ctx).main_conf,
            Side::Upstream(request) => (*request.as_ptr()).main_conf,
        };
        (*slots.add(module::ctx_index())).cast::<MainConf>().as_ref()
    }
}

/// Our configuration of the server that a client is connected to before it has said which one it wants.
///
/// # Safety
/// `c` must be a client's connection that shakes hands.
unsafe fn first_server<'a>(c: *mut ngx_connection_t) -> &'a SrvConf {
    // SAFETY: each address has a default server, whose configurations live as long as their connections.
    unsafe { &*first_slots(c).add(module::ctx_index()).read().cast::<SrvConf>() }
}

/// Our configuration of the server that a client asks for, and that server's name.
///
/// # Safety
/// As for `first_server`.
unsafe fn asked_server<'a>(c: *mut ngx_connection_t) -> (&'a SrvConf, &'a [u8]) {
    // SAFETY: as there.
    unsafe {
        let slots = (*(*(*c).data.cast::<ngx_http_connection_t>()).conf_ctx).srv_conf;
        let core = *slots.add((*ptr::addr_of!(ffi::ngx_http_core_module)).ctx_index);
        let name = bytes((*core.cast::<ffi::ngx_http_core_srv_conf_t>()).server_name);
        (&*slots.add(module::ctx_index()).read().cast::<SrvConf>(), name)
    }
}

/// # Safety
/// As for `first_server`.
unsafe fn first_slots(c: *mut ngx_connection_t) -> *mut *mut c_void {
    // SAFETY: as there.
    unsafe { (*(*(*(*(*c).data.cast::<ngx_http_connection_t>()).addr_conf).default_server).ctx).srv_conf }
}
