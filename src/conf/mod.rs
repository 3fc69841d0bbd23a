//! Our configuration: what the directives leave behind for the phases to use.

use core::cell::{Cell, OnceCell};
use std::rc::Rc;

use crate::ngx::{ConfError, Directive, Variables, Watches};
use crate::phase::Phase;
use crate::vm::{Vm, VmError};

mod handler;
mod hooks;
mod settings;

pub use handler::{Handler, Source};
pub use settings::{LocSettings, MainSettings};

/// Every directive family.
pub const DIRECTIVES: &[&[Directive]] = &[hooks::DIRECTIVES, settings::DIRECTIVES];

/// Of `http {}`: one per cycle.
#[derive(Default)]
pub struct MainConf {
    pub settings: MainSettings,
    pub init: Option<Rc<Handler>>,
    pub init_worker: Option<Rc<Handler>>,
    pub exit_worker: Option<Rc<Handler>>,
    /// The nginx variables that scripts have named.
    pub variables: Variables,
    /// Who is told of the attempts to reach upstream peers.
    pub watches: Watches,
    /// Bits of the phases that some location has a script for.
    used_phases: Cell<u32>,
    vm: OnceCell<Vm>,
}

impl MainConf {
    /// Notes that some location has a script for `phase`.
    pub fn use_phase(&self, phase: Phase) {
        self.used_phases.set(self.used_phases.get() | phase.bit());
    }

    pub fn uses_phase(&self, phase: Phase) -> bool {
        self.used_phases.get() & phase.bit() != 0
    }

    /// The cycle's VM, started by the first directive that needs it.
    pub fn start_vm(&self) -> Result<&Vm, VmError> {
        if self.vm.get().is_none() {
            // a second thread could not have filled it: nginx has none
            let _ = self.vm.set(Vm::new()?);
        }
        Ok(self.vm())
    }

    /// The cycle's VM.
    pub fn vm(&self) -> &Vm {
        // `postconfiguration` starts the VM, and nothing that runs scripts runs before that
        #[allow(clippy::expect_used)]
        self.vm.get().expect("postconfiguration starts the VM")
    }

    /// A VM of its own for one request, as `lua_code_cache off` asks.
    pub fn new_vm(&self) -> Result<Vm, VmError> {
        let vm = Vm::new()?;
        vm.prepare(&self.settings)?;
        if let Some(init) = &self.init {
            crate::phase::init::run_in(&vm, init).map_err(VmError)?;
        }
        Ok(vm)
    }
}

/// Of `server {}` and `upstream {}`.
#[derive(Default)]
pub struct SrvConf {
    pub balancer: Option<Rc<Handler>>,
}

/// Of a location; `http {}` and `server {}` have one too, for inheritance.
#[derive(Default)]
pub struct LocConf {
    pub settings: LocSettings,
    handlers: [Option<Rc<Handler>>; 12],
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
    pub fn merge(&mut self, above: &LocConf) {
        self.settings.merge(&above.settings);
        for (mine, theirs) in self.handlers.iter_mut().zip(&above.handlers) {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        }
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
