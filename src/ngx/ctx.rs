//! What we keep per request: one structure in the request's pool, dropped with it.

use core::cell::{Cell, OnceCell, RefCell};
use core::ffi::c_void;

use ::ngx::ffi;

use super::body_filter::Body;
use super::chain::Output;
use super::client::Clients;
use super::event::Posted;
use super::module;
use super::request::{Rc, Request};
use super::request_body::BodyWaiter;
use super::upstream::PendingExit;
use crate::run::{Owned, State};
use crate::scale::Tickets;
use crate::vm::Vm;

/// The part that the prelude reads and writes through the FFI.
#[repr(C)]
#[derive(Default)]
pub struct Shared {
    /// Where the request's `ngx.ctx` table lies in the VM's slots; 0 when it has none.
    pub ctx_slot: Cell<i32>,
    /// Whether output was produced: from then on the response header counts as sent.
    pub started: Cell<i32>,
}

/// State of one request.
#[repr(C)]
pub struct Ctx {
    pub shared: Shared,
    pub run: RefCell<State>,
    /// What ends with the request.
    pub owned: OnceCell<std::rc::Rc<Owned>>,
    pub output: Output,
    pub body: Body,
    /// `ngx.exit(code)` in a phase that cannot be left in the middle.
    pub exit: Cell<Option<Rc>>,
    /// While the request body is being read for a script: whom to tell when it is there.
    pub body_read: RefCell<Option<std::rc::Rc<BodyWaiter>>>,
    /// What scripts have to do with the client's connection itself.
    pub client: OnceCell<Box<Clients>>,
    /// `ngx.exit(status)` in balancer_by_lua, on its way to the header filter.
    pub balancer_exit: Cell<Option<PendingExit>>,
    /// Runs once the header filter is done with that exit.
    pub after_exit: RefCell<Option<Posted>>,
    /// Whether a header filter's exit has replaced the response.
    pub replaced: Cell<bool>,
    /// The further words of the set_by_lua directive that runs.
    pub set_args: RefCell<Vec<Box<[u8]>>>,
    /// How long the request was held in front of its upstream.
    pub queued_us: Cell<u64>,
    /// Whether subrequests have this request's headers, too, as long as none of them changes them.
    pub lends_headers: Cell<bool>,
    /// Whether subrequests have looked at this request's body, and may still: its memory and file stay.
    pub lends_body: Cell<bool>,
    /// What `as.admit` has let it have.
    pub tickets: Tickets,
    vm: std::rc::Rc<Vm>,
    has_own_vm: bool,
}

impl Ctx {
    fn new(vm: std::rc::Rc<Vm>, has_own_vm: bool) -> Ctx {
        Ctx {
            vm,
            has_own_vm,
            shared: Shared::default(),
            run: RefCell::default(),
            owned: OnceCell::new(),
            output: Output::default(),
            body: Body::default(),
            exit: Cell::default(),
            body_read: RefCell::default(),
            client: OnceCell::new(),
            balancer_exit: Cell::default(),
            after_exit: RefCell::default(),
            replaced: Cell::default(),
            set_args: RefCell::default(),
            queued_us: Cell::default(),
            lends_headers: Cell::default(),
            lends_body: Cell::default(),
            tickets: Tickets::default(),
        }
    }

    /// The VM that this request's scripts run on.
    pub fn vm(&self) -> &std::rc::Rc<Vm> {
        &self.vm
    }

    /// Whether the VM is this request's alone, as `lua_code_cache off` asks.
    pub fn has_own_vm(&self) -> bool {
        self.has_own_vm
    }
}

impl Ctx {
    /// Gives the request's `ngx.ctx` table up: the next use finds an empty one.
    pub fn forget_table(&self) {
        let slot = self.shared.ctx_slot.replace(0);
        if slot != 0 {
            self.vm().release_ctx(slot);
            super::log::debug_cycle(format_args!("lua release ngx.ctx at ref {slot}"));
        }
    }
}

impl Drop for Ctx {
    fn drop(&mut self) {
        self.run.take().abandon();
        self.forget_table();
        if self.has_own_vm {
            super::log::debug_cycle(format_args!("lua close the global Lua VM of this request"));
        }
    }
}

impl Request {
    /// The request's state, if it has one.
    pub fn ctx_if_any(&self) -> Option<&Ctx> {
        // SAFETY: the slot holds null or the structure that `ctx` put there, which lives as long as the pool.
        unsafe { (*(*self.raw()).ctx.add(module::ctx_index())).cast::<Ctx>().as_ref() }
    }

    /// The request's state, made on first use; `None` when memory is out or a VM of its own cannot start.
    pub fn ctx(&self) -> Option<&Ctx> {
        match self.ctx_if_any() {
            Some(ctx) => Some(ctx),
            None => self.new_ctx(),
        }
    }

    #[cold]
    fn new_ctx(&self) -> Option<&Ctx> {
        let (vm, is_own) = self.choose_vm()?;
        let ctx = Ctx::new(vm, is_own);
        // SAFETY: the pool is the request's; the cleanup drops the value once, before the memory goes.
        unsafe {
            let pool = (*self.raw()).pool;
            let cleanup = ffi::ngx_pool_cleanup_add(pool, size_of::<Ctx>());
            if cleanup.is_null() {
                return None;
            }
            let place = (*cleanup).data.cast::<Ctx>();
            place.write(ctx);
            (*cleanup).handler = Some(drop_ctx);
            *(*self.raw()).ctx.add(module::ctx_index()) = place.cast();
            Some(&*place)
        }
    }
}

impl Request {
    /// The VM for this request's scripts, and whether it is for this request alone.
    fn choose_vm(&self) -> Option<(std::rc::Rc<Vm>, bool)> {
        // a subrequest may have been given one of its parent's tables
        let parent = self.captured_by();
        if let Some(ctx) = parent.as_ref().and_then(Request::ctx_if_any) {
            return Some((std::rc::Rc::clone(&ctx.vm), ctx.has_own_vm));
        }
        let main = self.main_conf();
        if main.settings.code_cache(self.loc_conf()) {
            return Some((std::rc::Rc::clone(main.vm()), false));
        }
        match main.new_vm() {
            Ok(vm) => Some((std::rc::Rc::new(vm), true)),
            Err(e) => {
                self.log(super::Level::Error, &format!("failed to start a Lua VM for this request: {e}"));
                None
            }
        }
    }
}

unsafe extern "C" fn drop_ctx(data: *mut c_void) {
    // SAFETY: `data` is the place that `new_ctx` wrote; nginx runs a cleanup once.
    crate::native::guard(|| unsafe { core::ptr::drop_in_place(data.cast::<Ctx>()) });
}

/// The state of the request whose script is running: it outlives the script's call into us.
pub fn running_ctx(request: Request) -> Option<&'static Ctx> {
    // SAFETY: natives and classics run inside the request's script, while the request's pool is alive; the reference is
    // used until they return.
    unsafe { request.ctx().map(|ctx| &*core::ptr::from_ref(ctx)) }
}
