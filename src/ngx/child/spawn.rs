//! Starting a program.
//!
//! Between fork and exec only system calls are made, on what was prepared before: a worker may have threads, whose locks
//! the child could never take. The child borrows the worker's memory until it is another program (`vfork(2)` on a stack of
//! its own, as the C library's `posix_spawn` does it), so a large worker costs no more than a small one, and the reason
//! why the program could not be started is simply there.

use core::cell::Cell;
use core::ffi::{c_char, c_int, c_void, CStr};
use core::ptr;
use core::sync::atomic::{AtomicI32, Ordering};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use logic::exec::candidates;

use crate::ngx::process;

/// A program to start, with its arguments.
pub struct Command {
    /// The first one names the program.
    pub args: Vec<CString>,
    /// `NAME=value`; the worker's own environment if there is none.
    pub environ: Option<Vec<CString>>,
    /// What it says on stderr is to come with what it says on stdout.
    pub merge_stderr: bool,
}

/// A program that was started.
pub struct Spawned {
    pub pid: i32,
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: Option<OwnedFd>,
    /// Why there is no such program; its place was taken by a process that ended at once with code 1.
    pub refused: Option<io::Error>,
}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("pipe failed: {}", reason(.0))]
    Pipe(#[source] io::Error),
    #[error("fork failed: {}", reason(.0))]
    Fork(#[source] io::Error),
}

/// The system's words for a failure, without the number that the standard library adds to them.
pub fn reason(e: &io::Error) -> String {
    let mut text = e.to_string();
    text.truncate(text.find(" (os error").unwrap_or(text.len()));
    text
}

/// Starts a program whose standard descriptors are pipes.
pub fn spawn(command: &Command) -> Result<Spawned, SpawnError> {
    let (stdin_of_child, stdin) = pipe().map_err(SpawnError::Pipe)?;
    let (stdout, stdout_of_child) = pipe().map_err(SpawnError::Pipe)?;
    let (stderr, stderr_of_child) = if command.merge_stderr {
        (None, None)
    } else {
        let (stderr, of_child) = pipe().map_err(SpawnError::Pipe)?;
        (Some(stderr), Some(of_child))
    };
    for end in [Some(&stdin), Some(&stdout), stderr.as_ref()].into_iter().flatten() {
        let fd = end.as_raw_fd();
        // SAFETY: a plain system call on a descriptor of ours.
        if unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) } < 0 {
            return Err(SpawnError::Pipe(io::Error::last_os_error()));
        }
    }
    let theirs = [&stdin_of_child, &stdout_of_child, stderr_of_child.as_ref().unwrap_or(&stdout_of_child)];
    let plan = Plan::new(command, theirs.map(AsRawFd::as_raw_fd));
    leave_children_to_us();
    let pid = start(&plan).map_err(SpawnError::Fork)?;
    let refused = match plan.error.load(Ordering::Relaxed) {
        0 => None,
        error => Some(io::Error::from_raw_os_error(error)),
    };
    Ok(Spawned { pid, stdin, stdout, stderr, refused })
}

/// Sends a signal to a child that was not waited for yet.
pub fn send_signal(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: a plain system call.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Two ends, to read and to write, out of the way of the standard descriptors.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors, which are new and ours.
    let (reader, writer) = unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    };
    Ok((above_standard(reader)?, above_standard(writer)?))
}

fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(fd);
    }
    // SAFETY: a plain system call that makes a new descriptor.
    unsafe {
        let other = libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1);
        if other < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(other))
    }
}

/// From here on nobody but us waits for this worker's children.
fn leave_children_to_us() {
    // SAFETY: the action is read, and set to the default one: none.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        let known = libc::sigaction(libc::SIGCHLD, ptr::null(), &raw mut action) == 0;
        if !known || action.sa_sigaction != libc::SIG_DFL || action.sa_flags & libc::SA_NOCLDWAIT != 0 {
            action = core::mem::zeroed();
            action.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(libc::SIGCHLD, &raw const action, ptr::null_mut());
        }
    }
}

/// All that the child needs, ready to be passed to the system.
struct Plan {
    /// The child's ends, for its descriptors 0, 1 and 2.
    ends: [c_int; 3],
    /// Where the program may lie.
    paths: Pointers,
    args: Pointers,
    /// The same for the shell, if the program is one of its scripts; the path goes to the second place.
    shell_args: Pointers,
    environ: Option<Pointers>,
    /// The processors that a program of the master's might run on, when this worker is bound to some of them.
    processors: Option<libc::cpu_set_t>,
    /// What is open, where the system cannot close all at once.
    open: Vec<c_int>,
    /// Why the program could not be started; the child's answer.
    error: AtomicI32,
}

/// Texts as the system takes them: a list of pointers with null at its end.
struct Pointers {
    _texts: Vec<CString>,
    /// The child may change an entry.
    list: Vec<Cell<*const c_char>>,
}

impl Pointers {
    fn new(texts: Vec<CString>) -> Pointers {
        let mut list: Vec<_> = texts.iter().map(|text| Cell::new(text.as_ptr())).collect();
        list.push(Cell::new(ptr::null()));
        Pointers { _texts: texts, list }
    }

    fn as_ptr(&self) -> *const *const c_char {
        self.list.as_ptr().cast()
    }
}

const SHELL: &CStr = c"/bin/sh";

impl Plan {
    fn new(command: &Command, ends: [c_int; 3]) -> Plan {
        let path = std::env::var_os("PATH");
        let program = command.args.first().map_or(&b""[..], |name| name.to_bytes());
        let paths = candidates(program, path.as_ref().map(|path| path.as_bytes()));
        let shell = [SHELL.to_owned(), CString::default()];
        Plan {
            ends,
            paths: Pointers::new(paths.into_iter().filter_map(|path| CString::new(path).ok()).collect()),
            args: Pointers::new(command.args.clone()),
            shell_args: Pointers::new(
                shell.into_iter().chain(command.args.iter().skip(1).cloned()).collect(),
            ),
            environ: command.environ.clone().map(Pointers::new),
            processors: processors(),
            open: open_descriptors(),
            error: AtomicI32::new(0),
        }
    }
}

/// `worker_cpu_affinity` is not for the programs that a worker starts: they may run where the master may.
fn processors() -> Option<libc::cpu_set_t> {
    if process::worker_id().is_none() || process::master_pid() == process::pid() {
        return None;
    }
    let of = |pid| {
        // SAFETY: all-zero is an empty set; the system fills it.
        unsafe {
            let mut set: libc::cpu_set_t = core::mem::zeroed();
            (libc::sched_getaffinity(pid, size_of::<libc::cpu_set_t>(), &raw mut set) == 0).then_some(set)
        }
    };
    let (mine, masters) = (of(0)?, of(process::master_pid())?);
    // SAFETY: two sets are compared.
    let same = unsafe { libc::CPU_EQUAL(&mine, &masters) };
    (!same).then_some(masters)
}

/// What the child has to close one by one: nothing, if the system can close all (Linux 5.9).
fn open_descriptors() -> Vec<c_int> {
    // SAFETY: a plain system call on a descriptor that does not exist.
    if unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) } == 0 {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return (3..1024).collect() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|fd| *fd > libc::STDERR_FILENO).collect()
}

/// The child uses it for a few system calls.
const STACK: usize = 64 * 1024;

/// Starts the child; returns when it is another program, or has given up.
fn start(plan: &Plan) -> io::Result<c_int> {
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child runs on a stack of its own, with what `plan` points to, while this thread is stopped; no handler of
    // a signal runs in it, since all are blocked until it has set them to their defaults.
    unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = core::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let top = stack.as_mut_ptr().add(stack.capacity());
        let pid = libc::clone(child, top.cast(), flags, ptr::from_ref(plan).cast_mut().cast::<c_void>());
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        if pid < 0 {
            return Err(error);
        }
        Ok(pid)
    }
}

/// In the child. It must not allocate, lock or panic.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `start` passes its plan, which lives while its thread is stopped.
    unsafe {
        let plan = &*plan.cast::<Plan>();
        let error = become_program(plan);
        plan.error.store(error, Ordering::Relaxed);
        libc::_exit(1)
    }
}

/// What went wrong; if nothing does, it does not return.
///
/// # Safety
/// To be called in the child.
unsafe fn become_program(plan: &Plan) -> c_int {
    // SAFETY: system calls on what the plan holds.
    unsafe {
        forget_signals();
        // a worker that is killed cannot kill its children any more
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        for (number, end) in plan.ends.iter().enumerate() {
            if libc::dup2(*end, number as c_int) < 0 {
                return errno();
            }
        }
        let first = libc::STDERR_FILENO + 1;
        if libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) != 0 {
            for fd in &plan.open {
                libc::close(*fd);
            }
        }
        if let Some(processors) = &plan.processors {
            // a program that runs on fewer processors runs too
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), processors);
        }
        execute(plan)
    }
}

/// Sets all signals to their defaults, and takes them again.
///
/// # Safety
/// To be called in the child.
unsafe fn forget_signals() {
    // SAFETY: all-zero is the default action with an empty mask. Those that cannot be changed stay as they are.
    unsafe {
        let action: libc::sigaction = core::mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
        let mut none: libc::sigset_t = core::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Tries the paths as `execvp(3)` does.
///
/// # Safety
/// To be called in the child.
unsafe fn execute(plan: &Plan) -> c_int {
    // SAFETY: the lists end with null; nobody else uses them while the child does.
    unsafe {
        let environ = plan.environ.as_ref().map_or(ENVIRON, Pointers::as_ptr);
        let mut found = libc::ENOENT;
        let mut path = plan.paths.as_ptr();
        while !(*path).is_null() {
            libc::execve(*path, plan.args.as_ptr(), environ);
            match errno() {
                libc::ENOEXEC => {
                    if let Some(place) = plan.shell_args.list.get(1) {
                        place.set(*path);
                    }
                    libc::execve(SHELL.as_ptr(), plan.shell_args.as_ptr(), environ);
                    return errno();
                }
                libc::EACCES => found = libc::EACCES,
                libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ESTALE | libc::ETIMEDOUT => {}
                error => return error,
            }
            path = path.add(1);
        }
        found
    }
}

fn errno() -> c_int {
    // SAFETY: the place of this thread's last error.
    unsafe { *libc::__errno_location() }
}

extern "C" {
    #[link_name = "environ"]
    static ENVIRON: *const *const c_char;
}
