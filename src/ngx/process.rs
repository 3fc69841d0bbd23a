//! What nginx knows of its processes, and of its own build.

use core::ptr::{self, NonNull};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use ::ngx::ffi;

use super::conf::Cf;
use super::text::bytes;

/// The version of nginx that the module was built for, as `1022001`.
pub const NGINX_VERSION: u32 = ffi::nginx_version;
/// Whether that nginx writes debug logs.
pub const NGINX_DEBUG: bool = cfg!(ngx_feature = "debug");

/// The arguments of `configure` that built it.
pub fn configure_arguments() -> &'static [u8] {
    ffi::NGX_CONFIGURE.to_bytes()
}

/// What this process is, as nginx numbers it: 0 single, 1 master, 2 signaller, 3 worker, 4 helper.
pub fn kind() -> u32 {
    // SAFETY: plain reads of nginx's globals.
    unsafe {
        if ffi::ngx_process == ffi::NGX_PROCESS_SINGLE as usize
            && core_conf().is_some_and(|c| (*c).master != 0)
        {
            return ffi::NGX_PROCESS_MASTER;
        }
        ffi::ngx_process as u32
    }
}

/// Whether this process serves no requests, but keeps caches.
pub fn is_helper() -> bool {
    // SAFETY: a plain read of nginx's global.
    unsafe { ffi::ngx_process == ffi::NGX_PROCESS_HELPER as usize }
}

/// Whether nginx was started to test its configuration or to send a signal.
pub fn serves_nothing() -> bool {
    // SAFETY: plain reads of nginx's globals.
    unsafe { ffi::ngx_test_config != 0 || ffi::ngx_process == ffi::NGX_PROCESS_SIGNALLER as usize }
}

pub fn pid() -> i32 {
    // SAFETY: a plain read of nginx's global.
    unsafe { ffi::ngx_pid }
}

/// The worker's number, from 0; `None` in processes that are no workers.
pub fn worker_id() -> Option<usize> {
    let kind = kind();
    // SAFETY: a plain read of nginx's global.
    (kind == ffi::NGX_PROCESS_WORKER || kind == ffi::NGX_PROCESS_SINGLE).then_some(unsafe { ffi::ngx_worker })
}

/// How many workers the configuration asks for.
pub fn worker_count() -> usize {
    // SAFETY: the cycle's core configuration is initialized.
    core_conf().map_or(0, |c| usize::try_from(unsafe { (*c).worker_processes }).unwrap_or(0))
}

/// How many workers the configuration asks for that is being read now; known once all of it is read.
pub struct Workers(NonNull<ffi::ngx_cycle_t>);

impl Workers {
    pub fn of(cf: &Cf) -> Option<Workers> {
        // SAFETY: the parser has a cycle.
        NonNull::new(unsafe { (*cf.raw()).cycle }).map(Workers)
    }

    pub fn count(&self) -> usize {
        // SAFETY: whoever holds this lives in the cycle; the core module's configuration is that of a `ngx_core_conf_t`.
        unsafe {
            let conf = *(*self.0.as_ptr()).conf_ctx.add((*ptr::addr_of!(ffi::ngx_core_module)).index);
            let conf = conf.cast::<ffi::ngx_core_conf_t>().as_ref();
            conf.map_or(1, |c| usize::try_from(c.worker_processes).unwrap_or(1))
        }
    }
}

/// Process identifiers of the workers and helpers, as this worker learnt of them.
pub fn pids() -> Vec<i32> {
    let mut pids = Vec::new();
    // SAFETY: the table is a global of the single-threaded process; its free tail has zero pids.
    unsafe {
        let (table, me) = (ptr::addr_of!(ffi::ngx_processes), ffi::ngx_process_slot as usize);
        for slot in 0..ffi::NGX_MAX_PROCESSES as usize {
            let pid = (*table)[slot].pid;
            if slot == me {
                // the master fills our place in its own copy of the table
                pids.push(ffi::ngx_pid);
            } else if pid == 0 {
                break;
            } else if pid > 0 {
                pids.push(pid);
            }
        }
    }
    pids
}

/// Whether the worker finishes its last requests.
pub fn exiting() -> bool {
    // SAFETY: a plain read of nginx's global.
    unsafe { ffi::ngx_exiting != 0 }
}

/// The master's process identifier, or our own if there is no master.
pub fn master_pid() -> i32 {
    // SAFETY: plain reads of nginx's globals.
    unsafe {
        if ffi::ngx_process == ffi::NGX_PROCESS_SINGLE as usize {
            ffi::ngx_pid
        } else {
            ffi::ngx_parent
        }
    }
}

/// What the machine calls itself, or the pod.
pub fn hostname() -> String {
    // SAFETY: nginx sets it with its first cycle.
    let name = unsafe { bytes((*ffi::ngx_cycle).hostname) };
    String::from_utf8_lossy(name).into_owned()
}

/// Asks this process to finish its requests and exit, as SIGQUIT does.
pub fn quit() {
    // SAFETY: a plain write to the flag that nginx's own signal handler writes.
    unsafe { ffi::ngx_quit = 1 }
}

/// What an `env NAME=VALUE` directive says, for the time before the environment is set.
pub fn configured_env(name: &[u8]) -> Option<&'static [u8]> {
    // SAFETY: the words of the directives live in the cycle's pool, NUL-terminated behind their value; `len` counts up
    // to the `=` where there is one.
    unsafe {
        let vars = (*core_conf()?).env.as_slice::<ffi::ngx_str_t>();
        let var = vars.iter().find(|v| bytes(**v) == name && *v.data.add(v.len) == b'=')?;
        Some(core::ffi::CStr::from_ptr(var.data.add(var.len + 1).cast()).to_bytes())
    }
}

/// Lets system calls go on after the signals that nginx handles, instead of failing with EINTR.
pub fn restart_system_calls() {
    let signals = [
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGWINCH,
        libc::SIGTERM,
        libc::SIGQUIT,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGINT,
        libc::SIGIO,
        libc::SIGCHLD,
        libc::SIGSYS,
        libc::SIGPIPE,
    ];
    for signal in signals {
        // SAFETY: the action is read, one flag added, and written back.
        unsafe {
            let mut action: libc::sigaction = core::mem::zeroed();
            if libc::sigaction(signal, ptr::null(), &raw mut action) == 0 {
                action.sa_flags |= libc::SA_RESTART;
                libc::sigaction(signal, &raw const action, ptr::null_mut());
            }
        }
    }
}

/// Ticks of processor time a second, as /proc counts it.
pub fn clock_ticks() -> u64 {
    // SAFETY: no arguments but a number.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// How many processors this process may run on.
pub fn processors() -> usize {
    // SAFETY: the set is ours, and zero is a valid one; the kernel writes as much as it is told the set holds.
    let allowed = unsafe {
        let mut set: libc::cpu_set_t = core::mem::zeroed();
        match libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) {
            0 => usize::try_from(libc::CPU_COUNT(&set)).unwrap_or(0),
            // more processors than a set has
            _ => usize::try_from(libc::sysconf(libc::_SC_NPROCESSORS_ONLN)).unwrap_or(0),
        }
    };
    allowed.max(1)
}

/// The user that workers run as; `None` where they are not given another one.
pub fn worker_user() -> Option<String> {
    // SAFETY: the cycle's core configuration is initialized; the name, if there is one, is a string of its pool.
    unsafe {
        let name = (*core_conf()?).username;
        (!name.is_null()).then(|| core::ffi::CStr::from_ptr(name.cast()).to_string_lossy().into_owned())
    }
}

/// Gives free memory back to the system; whether there was any. Only glibc can.
pub fn trim_memory() -> bool {
    #[cfg(target_env = "gnu")]
    // SAFETY: no arguments but a size.
    return unsafe { libc::malloc_trim(1) != 0 };
    #[cfg(not(target_env = "gnu"))]
    false
}

/// The file that names the master, and the one that names it once another binary was started beside it (`kill -USR2`).
pub fn pid_files() -> Option<[PathBuf; 2]> {
    // SAFETY: the cycle's core configuration is initialized, and lives as long as the cycle; what it names is copied.
    let [pid, old] = unsafe {
        let conf = core_conf()?;
        [bytes((*conf).pid).to_vec(), bytes((*conf).oldpid).to_vec()]
    };
    // the names end with a zero, and the lengths say so in one of them
    let path = |name: Vec<u8>| {
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        PathBuf::from(OsString::from_vec(name[..end].to_vec()))
    };
    Some([path(pid), path(old)])
}

fn core_conf() -> Option<*const ffi::ngx_core_conf_t> {
    // SAFETY: each cycle has the core module's configuration at its index once it is being configured.
    unsafe {
        let ctx = (*ffi::ngx_cycle).conf_ctx;
        if ctx.is_null() {
            return None;
        }
        let conf = *ctx.add((*ptr::addr_of!(ffi::ngx_core_module)).index);
        (!conf.is_null()).then_some(conf.cast::<ffi::ngx_core_conf_t>().cast_const())
    }
}
