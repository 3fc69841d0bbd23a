//! The module as nginx loads it, and the callbacks it is called by.

use core::ffi::{c_char, c_void, CStr};
use core::ptr;

use ::ngx::ffi::{
    self, ngx_chain_t, ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_handler_pt, ngx_http_module_t,
    ngx_http_request_t, ngx_int_t, ngx_module_t,
};

use super::command::{rows, table, Table};
use super::conf::Cf;
use super::request::{Rc, Request};
use super::shm::{Zone, ZoneUser};
use crate::conf::{LocConf, MainConf, SrvConf, DIRECTIVES};
use crate::native::guard;
use crate::phase::{self, Phase};

static COMMANDS: Table<{ rows(DIRECTIVES) }> = table(DIRECTIVES);

static CONTEXT: Context = Context(ngx_http_module_t {
    preconfiguration: Some(preconfiguration),
    postconfiguration: Some(postconfiguration),
    create_main_conf: Some(create::<MainConf>),
    init_main_conf: None,
    create_srv_conf: Some(create::<SrvConf>),
    merge_srv_conf: None,
    create_loc_conf: Some(create::<LocConf>),
    merge_loc_conf: Some(merge_loc_conf),
});

#[allow(dead_code)] // nginx reads it
struct Context(ngx_http_module_t);

// SAFETY: nginx only reads it.
unsafe impl Sync for Context {}

#[no_mangle]
#[allow(non_upper_case_globals)]
pub static mut ngx_http_autoscale_lua_module: ngx_module_t = ngx_module_t {
    ctx: ptr::addr_of!(CONTEXT) as *mut c_void,
    commands: COMMANDS.as_ptr() as *mut ngx_command_t,
    type_: ffi::NGX_HTTP_MODULE as usize,
    init_process: Some(init_process),
    exit_process: Some(exit_process),
    exit_master: Some(exit_master),
    ..ngx_module_t::default()
};

#[no_mangle]
#[allow(non_upper_case_globals)]
static mut ngx_modules: [*const ngx_module_t; 2] =
    [ptr::addr_of!(ngx_http_autoscale_lua_module), ptr::null()];

#[no_mangle]
#[allow(non_upper_case_globals)]
static mut ngx_module_names: [*const c_char; 2] = [c"ngx_http_autoscale_lua_module".as_ptr(), ptr::null()];

/// Our filters run where those of third-party modules do: after `copy`, before `headers`. Without this a dynamic
/// module's filters see the response last, compressed and chunked.
#[no_mangle]
#[allow(non_upper_case_globals)]
static mut ngx_module_order: [*const c_char; 3] =
    [c"ngx_http_autoscale_lua_module".as_ptr(), c"ngx_http_copy_filter_module".as_ptr(), ptr::null()];

/// Where our structures lie in nginx's per-module arrays.
#[inline]
pub fn ctx_index() -> usize {
    // SAFETY: written by nginx while it loads modules, before anything runs.
    unsafe { (*ptr::addr_of!(ngx_http_autoscale_lua_module)).ctx_index }
}

/// Marks buffers and zones as ours.
pub fn tag() -> *mut c_void {
    ptr::addr_of!(ngx_http_autoscale_lua_module) as *mut c_void
}

unsafe extern "C" fn create<T: Default>(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx passes its live parser; the pool drops the value with the cycle.
    guard(|| unsafe { ::ngx::core::Pool::from_ngx_pool((*cf).pool).allocate(T::default()) })
        .unwrap_or(ptr::null_mut())
        .cast()
}

unsafe extern "C" fn merge_loc_conf(
    cf: *mut ngx_conf_t,
    above: *mut c_void,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx passes its live parser.
    let mut cf = unsafe { Cf::new(cf) };
    if let Some(capture) = &cf.main_conf().capture {
        capture.add(cf.level_log());
    }
    // SAFETY: both are what `create::<LocConf>` made.
    let merged = guard(|| unsafe { (*conf.cast::<LocConf>()).merge(&*above.cast::<LocConf>(), &mut cf) });
    match merged {
        Some(Ok(())) => ptr::null_mut(),
        Some(Err(e)) => {
            cf.emerg(&e.0);
            ::ngx::core::NGX_CONF_ERROR
        }
        None => ::ngx::core::NGX_CONF_ERROR,
    }
}

unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes its live parser.
    let cf = unsafe { Cf::new(cf) };
    if cf.has_module(c"ngx_http_lua_module") {
        cf.emerg(
            "ngx_http_autoscale_lua_module and ngx_http_lua_module provide the same directives: \
             remove one of the two load_module lines",
        );
        return Rc::ERROR.0;
    }
    match cf.add_metric_variables() {
        Ok(()) => Rc::OK.0,
        Err(e) => {
            cf.emerg(&e.0);
            Rc::ERROR.0
        }
    }
}

unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx passes its live parser.
    let mut cf = unsafe { Cf::new(cf) };
    match guard(|| configure(&mut cf)) {
        Some(Ok(())) => Rc::OK.0,
        Some(Err(e)) => {
            cf.emerg(&e.0);
            Rc::ERROR.0
        }
        None => Rc::ERROR.0,
    }
}

/// Everything that waits for the whole configuration to be read.
fn configure(cf: &mut Cf) -> Result<(), super::ConfError> {
    // where no server {} has asked for it yet
    cf.http_conf().tls.make_context(cf)?;
    cf.main_conf().start_vm()?.prepare(&cf.main_conf().settings)?;
    // added last, so that every other zone is ready when init_by_lua runs
    let user = InitByLua { main: ptr::from_ref(cf.main_conf()), cycle: cf.cycle() };
    cf.add_zone("autoscale_lua:init", 8 * ffi_pagesize(), user)?;

    if cf.main_conf().zone.is_none() && cf.main_conf().shows_status.get() {
        return Err(
            "\"autoscale_status\" has nothing to show: write \"autoscale_zone main:8m;\" in http {}".into()
        );
    }
    if cf.main_conf().zone.is_some() {
        let observed = cf.observe_upstreams();
        // a second set could only come from a second postconfiguration
        let _ = cf.main_conf().observed.set(observed);
    }
    let main = ptr::from_ref(cf.main_conf());
    let mode = cf.http_conf().mode.unwrap_or_default();
    // SAFETY: the main configuration lives as long as the cycle.
    let main = unsafe { &*main };
    main.finish_upstreams(cf)?;
    main.finish_limits(cf)?;
    main.finish_autoscale(cf, mode)?;
    main.finish_splits(cf)?;
    cf.script_handshakes()?;
    let main = cf.main_conf();
    let policies =
        || main.autoscale.settings().into_iter().flat_map(|s| s.policies.iter().map(|p| &p.policy));
    if crate::scale::actions::are_obeyed(policies()) {
        main.shown_action.set(cf.action_slot());
    }
    if crate::scale::actions::refuse(policies()) {
        cf.add_handler(ffi::ngx_http_phases_NGX_HTTP_PREACCESS_PHASE, Some(preaccess), true)?;
    }
    let first = |no_postpone: Option<bool>| no_postpone == Some(true);
    let rewrite_first = first(main.settings.rewrite_no_postpone);
    let access_first = first(main.settings.access_no_postpone);
    let precontent_first = first(main.settings.precontent_no_postpone);
    let uses = |phase| main.uses_phase(phase);
    if uses(Phase::ServerRewrite) {
        cf.add_handler(ffi::ngx_http_phases_NGX_HTTP_SERVER_REWRITE_PHASE, Some(server_rewrite), true)?;
    }
    if uses(Phase::Rewrite) {
        cf.add_handler(ffi::ngx_http_phases_NGX_HTTP_REWRITE_PHASE, Some(rewrite), rewrite_first)?;
    }
    if uses(Phase::Access) {
        cf.add_handler(ffi::ngx_http_phases_NGX_HTTP_ACCESS_PHASE, Some(access), access_first)?;
    }
    if uses(Phase::Precontent) {
        let phase = ffi::ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE;
        cf.add_handler(phase, Some(precontent), precontent_first)?;
    }
    if uses(Phase::Log) {
        cf.add_handler(ffi::ngx_http_phases_NGX_HTTP_LOG_PHASE, Some(log), true)?;
    }
    if uses(Phase::Balancer) {
        super::upstream::install_exit_filter();
    }
    let captures = captures(main);
    // SAFETY: the filter chains are plain globals, built on one thread while configuring.
    unsafe {
        if uses(Phase::HeaderFilter) || uses(Phase::BodyFilter) || captures || main.zone.is_some() {
            NEXT_HEADER_FILTER = ffi::ngx_http_top_header_filter;
            ffi::ngx_http_top_header_filter = Some(header_filter);
        }
        if uses(Phase::BodyFilter) || captures {
            NEXT_BODY_FILTER = ffi::ngx_http_top_body_filter;
            ffi::ngx_http_top_body_filter = Some(body_filter);
        }
    }
    Ok(())
}

fn ffi_pagesize() -> usize {
    // SAFETY: set by nginx at start.
    unsafe { ffi::ngx_pagesize }
}

/// The zone whose only content is the moment at which it is ready.
struct InitByLua {
    main: *const MainConf,
    cycle: *mut ngx_cycle_t,
}

impl ZoneUser for InitByLua {
    fn init(&self, _: Zone, _: Option<&Self>) -> Result<(), String> {
        if super::process::serves_nothing() {
            return Ok(());
        }
        // SAFETY: the configuration lives in the same cycle's pool as the zone.
        let main = unsafe { &*self.main };
        crate::scale::register(main);
        if let Some(capture) = &main.capture {
            // SAFETY: the cycle is being initialized, and owns the configuration.
            unsafe { capture.start(self.cycle) }.ok_or("out of memory")?;
        }
        let Some(handler) = &main.init else { return Ok(()) };
        // the script is to see the configuration it belongs to, and its log
        // SAFETY: the variable is nginx's own, on one thread.
        let before = unsafe { ptr::replace(&raw mut ffi::ngx_cycle, self.cycle) };
        let result = phase::init::run_in(main.vm(), handler);
        // SAFETY: as above.
        unsafe { ffi::ngx_cycle = before };
        result.map_err(|e| e.to_string())
    }
}

impl Cf {
    fn cycle(&self) -> *mut ngx_cycle_t {
        // SAFETY: the parser has a cycle.
        unsafe { (*self.raw()).cycle }
    }

    /// What `http {}` itself says; in postconfiguration.
    fn http_conf<'c>(&self) -> &'c LocConf {
        // SAFETY: the parser is back at the level of `http {}`, whose slot for us `create_loc_conf` filled; it lives as
        // long as the cycle.
        unsafe {
            let ctx = (*self.raw()).ctx.cast::<ffi::ngx_http_conf_ctx_t>();
            &*(*(*ctx).loc_conf.add(ctx_index())).cast::<LocConf>()
        }
    }

    /// Whether `http {}` names a name server; in postconfiguration.
    pub fn has_resolver(&self) -> bool {
        // SAFETY: the parser is back at the level of `http {}`, whose configurations live as long as the cycle.
        let slots = unsafe { (*(*self.raw()).ctx.cast::<ffi::ngx_http_conf_ctx_t>()).loc_conf };
        // SAFETY: as above.
        unsafe { super::Location::of_slots(slots) }.is_some_and(|location| location.has_resolver())
    }

    /// The error log of the configuration level being merged.
    fn level_log(&self) -> *mut ffi::ngx_log_t {
        // SAFETY: while levels are merged, the context is that of the level, and the core module merged it before us.
        unsafe {
            let ctx = (*self.raw()).ctx.cast::<ffi::ngx_http_conf_ctx_t>();
            let core = *(*ctx).loc_conf.add((*ptr::addr_of!(ffi::ngx_http_core_module)).ctx_index);
            (*core.cast::<ffi::ngx_http_core_loc_conf_t>()).error_log
        }
    }

    fn has_module(&self, name: &CStr) -> bool {
        self.module_index(name).is_some()
    }

    /// Where the structures of the HTTP module with this name lie.
    pub(super) fn module_index(&self, name: &CStr) -> Option<usize> {
        // SAFETY: the cycle's list of modules ends with null; each has a name once modules are counted.
        unsafe {
            let mut m = (*(*self.raw()).cycle).modules;
            while !(*m).is_null() {
                if !(**m).name.is_null() && CStr::from_ptr((**m).name) == name {
                    return Some((**m).ctx_index);
                }
                m = m.add(1);
            }
        }
        None
    }

    /// Adds a phase handler. nginx runs those added last first; `first` is the usual place, in front of the modules
    /// configured so far, otherwise the handler runs after all others of its phase.
    fn add_handler(
        &self,
        phase: u32,
        handler: ngx_http_handler_pt,
        first: bool,
    ) -> Result<(), super::ConfError> {
        // SAFETY: the core module's main configuration and its arrays exist in postconfiguration.
        unsafe {
            let ctx = (*self.raw()).ctx.cast::<ffi::ngx_http_conf_ctx_t>();
            let core = *(*ctx).main_conf.add((*ptr::addr_of!(ffi::ngx_http_core_module)).ctx_index);
            let handlers =
                &raw mut (*core.cast::<ffi::ngx_http_core_main_conf_t>()).phases[phase as usize].handlers;
            let place = ffi::ngx_array_push(handlers).cast::<ngx_http_handler_pt>();
            if place.is_null() {
                return Err("out of memory".into());
            }
            *place = handler;
            if !first {
                let all = (*handlers).as_slice_mut::<ngx_http_handler_pt>();
                all.rotate_right(1);
            }
        }
        Ok(())
    }
}

/// The body of a request callback: a panic becomes a 500.
fn handle(r: *mut ngx_http_request_t, f: impl FnOnce(Request) -> Rc) -> ngx_int_t {
    // SAFETY: nginx passes the live request of the callback.
    let request = unsafe { Request::new(r) };
    guard(|| f(request)).unwrap_or(Rc::INTERNAL_SERVER_ERROR).0
}

pub unsafe extern "C" fn content_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    handle(r, phase::content::handle)
}

pub unsafe extern "C" fn status_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    handle(r, crate::scale::status::handle)
}

unsafe extern "C" fn server_rewrite(r: *mut ngx_http_request_t) -> ngx_int_t {
    handle(r, |r| phase::rewrite::handle(r, Phase::ServerRewrite))
}

unsafe extern "C" fn rewrite(r: *mut ngx_http_request_t) -> ngx_int_t {
    handle(r, |r| phase::rewrite::handle(r, Phase::Rewrite))
}

unsafe extern "C" fn preaccess(r: *mut ngx_http_request_t) -> ngx_int_t {
    handle(r, crate::scale::actions::handle)
}

unsafe extern "C" fn access(r: *mut ngx_http_request_t) -> ngx_int_t {
    handle(r, phase::access::handle)
}

unsafe extern "C" fn precontent(r: *mut ngx_http_request_t) -> ngx_int_t {
    handle(r, phase::precontent::handle)
}

unsafe extern "C" fn log(r: *mut ngx_http_request_t) -> ngx_int_t {
    handle(r, phase::log::handle)
}

/// For whoever debugs: a response has come to where those of `ngx.location.capture` end.
fn note_capture(request: Request, what: &str) {
    if request.logs(super::Level::Debug) && captures(request.main_conf()) {
        phase::entered(request, what);
    }
}

/// Whether some script may make subrequests, whose responses stop at our filters.
fn captures(main: &MainConf) -> bool {
    [Phase::Rewrite, Phase::Access, Phase::Precontent, Phase::Content].into_iter().any(|p| main.uses_phase(p))
}

static mut NEXT_HEADER_FILTER: ffi::ngx_http_output_header_filter_pt = None;
static mut NEXT_BODY_FILTER: ffi::ngx_http_output_body_filter_pt = None;

unsafe extern "C" fn header_filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the live request of the callback.
    let request = unsafe { Request::new(r) };
    let run = || {
        super::observe::header_sent(request);
        request.check_retry_after();
        match phase::header_filter::handle(request) {
            None => {
                note_capture(request, "capture header filter");
                request.capture_header().then_some(Rc::OK)
            }
            rc => rc,
        }
    };
    match guard(run).unwrap_or(Some(Rc::ERROR)) {
        // SAFETY: set in `configure`, before any request.
        None => unsafe { NEXT_HEADER_FILTER.map_or(0, |next| next(r)) },
        Some(rc) => rc.0,
    }
}

unsafe extern "C" fn body_filter(r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    super::body_filter::filter(r, chain, |chain| {
        // SAFETY: nginx passes the live request of the callback.
        let request = unsafe { Request::new(r) };
        let capture = || {
            note_capture(request, "capture body filter");
            request.capture_body(chain)
        };
        let captured = guard(capture).unwrap_or(Some(Rc::ERROR));
        match captured {
            // SAFETY: set in `configure`, before any request.
            None => unsafe { NEXT_BODY_FILTER.map_or(0, |next| next(r, chain)) },
            Some(rc) => rc.0,
        }
    })
}

/// The main configuration of the running cycle, if it has an `http {}`.
pub fn cycle_main_conf() -> Option<&'static MainConf> {
    // SAFETY: the cycle outlives whoever asks; a cycle without `http {}` has a null context, and that of a process which
    // exits, while it frees what it has, none at all.
    unsafe {
        if (*ffi::ngx_cycle).conf_ctx.is_null() {
            return None;
        }
        let ctx = *(*ffi::ngx_cycle).conf_ctx.add((*ptr::addr_of!(ffi::ngx_http_module)).index);
        let ctx = ctx.cast::<ffi::ngx_http_conf_ctx_t>().as_ref()?;
        (*ctx.main_conf.add(ctx_index())).cast::<MainConf>().as_ref()
    }
}

unsafe extern "C" fn init_process(_: *mut ngx_cycle_t) -> ngx_int_t {
    guard(|| {
        let Some(main) = cycle_main_conf().filter(|_| !super::process::is_helper()) else { return };
        if main.settings.sa_restart.unwrap_or(true) {
            super::process::restart_system_calls();
        }
        main.join_zone();
        if let Some(capture) = &main.capture {
            capture.clear();
        }
        phase::init::worker_started(main);
    });
    Rc::OK.0
}

unsafe extern "C" fn exit_process(_: *mut ngx_cycle_t) {
    guard(|| {
        let Some(main) = cycle_main_conf().filter(|_| !super::process::is_helper()) else { return };
        main.handshakes.end();
        phase::init::worker_stopping(main);
        main.children.end();
        main.timers.end();
        if let Some(shell) = main.shell() {
            shell.leave();
        }
    });
    guard(free_buffers);
}

unsafe extern "C" fn exit_master(_: *mut ngx_cycle_t) {
    guard(free_buffers);
}

/// What the process keeps between calls, before nginx unloads the module.
fn free_buffers() {
    crate::native::free_buffers();
    super::pcre::free_buffers();
}

/// nginx's prefix, for the running cycle or the one being configured.
pub fn prefix() -> Vec<u8> {
    // SAFETY: the cycle's strings live as long as it does.
    unsafe { super::text::bytes((*ffi::ngx_cycle).prefix) }.to_vec()
}

/// `path`, made absolute with nginx's prefix.
pub fn full_path(path: &[u8]) -> Vec<u8> {
    if path.first() == Some(&b'/') {
        return path.to_vec();
    }
    let mut full = prefix();
    full.extend_from_slice(path);
    full
}
