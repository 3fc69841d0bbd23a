//! Our configuration: what the directives leave behind for the phases to use.

use core::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use logic::autoscale::policy::Mode;

use crate::ngx::{BalancerConf, Capture, Cf, ConfError, Directive, Observed, Place, Slot, Variables};
use crate::phase::{Phase, ALL};
use crate::scale::status::Format;
use crate::scale::{KeyConf, Shell, ZoneConf};
use crate::vm::{Vm, VmError};

mod balancer;
mod dict;
mod handler;
mod handshakes;
mod hooks;
mod limits;
mod policies;
mod scale;
mod settings;
mod sockets;
mod split;
mod tls;
mod upstreams;

pub use handler::{Handler, Source};
pub use policies::Autoscale;
pub use settings::{LocSettings, MainSettings};
pub use split::SplitConf;
pub use upstreams::{Balance, Protect, UpstreamConf};

/// Every directive family.
pub const DIRECTIVES: &[&[Directive]] = &[
    hooks::DIRECTIVES,
    balancer::DIRECTIVES,
    settings::DIRECTIVES,
    sockets::DIRECTIVES,
    tls::DIRECTIVES,
    handshakes::DIRECTIVES,
    dict::DIRECTIVES,
    scale::DIRECTIVES,
    policies::DIRECTIVES,
    split::DIRECTIVES,
    upstreams::DIRECTIVES,
    limits::DIRECTIVES,
];

/// Of `http {}`: one per cycle.
#[derive(Default)]
pub struct MainConf {
    pub settings: MainSettings,
    pub init: Option<Rc<Handler>>,
    pub init_worker: Option<Rc<Handler>>,
    pub exit_worker: Option<Rc<Handler>>,
    /// The nginx variables that scripts have named.
    pub variables: Variables,
    /// Where `lua_capture_error_log` keeps the lines.
    pub capture: Option<Capture>,
    /// Requests since memory was last given back to the system.
    pub requests_since_trim: Cell<u32>,
    /// The upstreams whose attempts are counted, once the configuration is read.
    pub observed: OnceCell<Vec<Observed>>,
    /// `autoscale_zone`
    pub zone: Option<Rc<ZoneConf>>,
    /// The names of all `autoscale_key` directives.
    pub keys: RefCell<Vec<Rc<KeyConf>>>,
    /// When the configuration was read, by the clock of the zone: set before there are workers.
    pub read_us: Cell<u64>,
    /// `autoscale_policy` and its neighbours.
    pub autoscale: Autoscale,
    /// The first directive of an `upstream {}` that needs the zone.
    pub autoscale_upstream: RefCell<Option<(&'static str, Place)>>,
    /// Where `$autoscale_action` is kept, if a policy acts on requests.
    pub shown_action: Cell<Option<Slot>>,
    /// `autoscale_split`
    pub splits: RefCell<Vec<Rc<SplitConf>>>,
    /// `autoscale_limit`
    pub limits: limits::Limits,
    /// Some location shows the status.
    pub shows_status: Cell<bool>,
    /// Handshakes whose scripts may wait. Dropped before what their scripts use.
    pub handshakes: crate::ngx::tls::Handshakes,
    /// `ngx.timer`. The first of the rest to be dropped: what ends with the timers gives back to the others.
    pub timers: crate::run::Timers,
    /// Idle connections of the scripts' sockets.
    pub pools: crate::socket::Pools,
    /// The programs that scripts have started.
    pub children: crate::child::Children,
    /// What HTTP requests leave for later ones.
    pub http: Rc<crate::http::Kept>,
    /// What was learnt about clusters of Kubernetes.
    pub clusters: crate::scale::outward::Known,
    /// Memory of closed connections: dropped after all that may close one.
    pub spare_pools: crate::ngx::SparePools,
    /// Memory of tasks that have ended, for the next ones.
    #[allow(clippy::vec_box, reason = "they move in and out of tasks as boxes")]
    pub spare_threads: RefCell<Vec<Box<crate::run::Crowd>>>,
    /// VMs of `ngx.run_worker_thread`.
    pub side_vms: crate::vm::SideVms,
    /// Where datagrams are received; made for the first one.
    pub datagram: RefCell<Vec<u8>>,
    shell: OnceCell<Shell>,
    used_phases: Cell<u32>,
    vm: OnceCell<Rc<Vm>>,
}

impl MainConf {
    pub fn observed(&self) -> &[Observed] {
        self.observed.get().map_or(&[], Vec::as_slice)
    }

    /// This worker's part in the zone.
    #[inline]
    pub fn shell(&self) -> Option<&Shell> {
        self.shell.get()
    }

    /// The worker that starts here joins the zone.
    pub fn join_zone(&self) {
        if let Some(shell) = Shell::join(self) {
            let shell = self.shell.get_or_init(|| shell);
            shell.start_ticking();
            shell.protect.start();
            if let Some(engine) = shell.engine() {
                engine.start();
            }
            shell.start_polling(self);
            shell.admission().start(self.limits.declared());
        }
    }

    /// The key called `name`, for all locations that use it; the largest `top` counts.
    pub fn key(&self, name: &str, top: usize) -> Rc<KeyConf> {
        let mut keys = self.keys.borrow_mut();
        if let Some(key) = keys.iter().find(|k| k.name == name) {
            key.top.set(key.top.get().max(top));
            return Rc::clone(key);
        }
        let key = Rc::new(KeyConf { name: name.to_owned(), top: Cell::new(top), entry: Cell::new(None) });
        keys.push(Rc::clone(&key));
        key
    }

    /// Notes that some location has a script for `phase`.
    pub fn use_phase(&self, phase: Phase) {
        self.used_phases.set(self.used_phases.get() | phase.bit());
    }

    pub fn uses_phase(&self, phase: Phase) -> bool {
        self.used_phases.get() & phase.bit() != 0
    }

    /// The cycle's VM, started by the first directive that needs it.
    pub fn start_vm(&self) -> Result<&Rc<Vm>, VmError> {
        if self.vm.get().is_none() {
            // a second thread could not have filled it: nginx has none
            let _ = self.vm.set(Rc::new(Vm::new()?));
        }
        Ok(self.vm())
    }

    /// The cycle's VM.
    pub fn vm(&self) -> &Rc<Vm> {
        // `postconfiguration` starts the VM, and nothing that runs scripts runs before that
        #[allow(clippy::expect_used)]
        self.vm.get().expect("postconfiguration starts the VM")
    }

    /// A VM of its own for one request, as `lua_code_cache off` asks.
    pub fn new_vm(&self) -> Result<Vm, VmError> {
        let vm = Vm::new()?;
        vm.prepare(&self.settings)?;
        if let Some(init) = &self.init {
            crate::phase::init::run_in(&vm, init).map_err(|e| VmError(e.to_string()))?;
        }
        Ok(vm)
    }
}

/// Of `server {}` and `upstream {}`.
#[derive(Default)]
pub struct SrvConf {
    pub balancer: Option<Rc<Handler>>,
    /// What the upstream's attempts need beyond the script.
    pub balancing: BalancerConf,
    /// `autoscale_balance` and its neighbours
    pub upstream: UpstreamConf,
    /// `ssl_*_by_lua*`
    pub tls: handshakes::Hooks,
}

/// Of a location; `http {}` and `server {}` have one too, for inheritance.
#[derive(Default)]
pub struct LocConf {
    pub settings: LocSettings,
    /// `lua_socket_*`
    pub sockets: crate::socket::Settings,
    /// `lua_ssl_*`
    pub tls: tls::Settings,
    /// The location's keys, its own or inherited.
    pub keys: Vec<Rc<scale::Key>>,
    /// `autoscale`
    pub mode: Option<Mode>,
    /// `autoscale_status`; not inherited.
    pub status: Option<Format>,
    handlers: [Option<Rc<Handler>>; ALL.len()],
}

impl LocConf {
    /// The script of `phase`, the location's own or inherited.
    pub fn handler(&self, phase: Phase) -> Option<&Rc<Handler>> {
        self.handlers[phase.index()].as_ref()
    }

    /// Sets the script of `phase`; a second one at the same level is refused.
    pub fn set_handler(&mut self, handler: Handler) -> Result<(), ConfError> {
        set_once(&mut self.handlers[handler.phase.index()], handler)
    }

    /// Takes over from the level above what this one leaves open.
    pub fn merge(&mut self, above: &LocConf, cf: &mut Cf) -> Result<(), ConfError> {
        self.settings.merge(&above.settings);
        self.sockets.merge(&above.sockets);
        self.mode = self.mode.or(above.mode);
        if self.keys.is_empty() {
            self.keys.clone_from(&above.keys);
        }
        for (mine, theirs) in self.handlers.iter_mut().zip(&above.handlers) {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        }
        self.tls.merge(&above.tls, cf)?;
        cf.script_upstream(self)
    }
}

/// Puts `handler` into an empty place.
pub fn set_once(place: &mut Option<Rc<Handler>>, handler: Handler) -> Result<(), ConfError> {
    if place.is_some() {
        return Err(ConfError("is duplicate".into()));
    }
    *place = Some(Rc::new(handler));
    Ok(())
}
