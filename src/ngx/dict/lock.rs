//! The lock of a zone: the word of nginx's slab mutex, which holds the process id of who has it.
//!
//! Not `ngx_shmtx_lock`: that one sleeps on a semaphore until somebody unlocks, so a process that is killed between its
//! unlocking and its waking of a sleeper leaves it asleep. Here a waiter sleeps for a bounded time, and looks whether the
//! holder is still alive. nginx's master, when it reaps a worker, frees the same word if the worker had it; the look is
//! for when there is no master any more, or when the master itself is waiting.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use ::ngx::ffi;

/// Rounds of the processor's pause, then how often the processor is given away before sleeping.
const SPINS: u32 = 1024;
const YIELDS: u32 = 16;
const NAP: Duration = Duration::from_micros(100);

/// Holds the lock until dropped.
pub struct Held<'a>(&'a AtomicUsize);

impl Drop for Held<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Waits for the lock.
#[inline(always)]
pub fn lock(word: &AtomicUsize) -> Held<'_> {
    // SAFETY: a plain global, set when the process starts.
    let me = unsafe { ffi::ngx_pid } as usize;
    if word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_err() {
        wait(word, me);
    }
    Held(word)
}

#[cold]
fn wait(word: &AtomicUsize, me: usize) {
    let free = |from| word.compare_exchange(from, me, Ordering::Acquire, Ordering::Relaxed).is_ok();
    // SAFETY: a plain global, set when nginx starts.
    if unsafe { ffi::ngx_ncpu } > 1 {
        for _ in 0..SPINS {
            spin_loop();
            if word.load(Ordering::Relaxed) == 0 && free(0) {
                return;
            }
        }
    }
    for _ in 0..YIELDS {
        std::thread::yield_now();
        if word.load(Ordering::Relaxed) == 0 && free(0) {
            return;
        }
    }
    loop {
        let holder = word.load(Ordering::Relaxed);
        if holder == 0 || is_dead(holder) {
            if free(holder) {
                return;
            }
            continue;
        }
        std::thread::sleep(NAP);
    }
}

/// Whether process `pid` has ended, be it that its parent does not know yet.
fn is_dead(pid: usize) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return true };
    // SAFETY: signal 0 only asks.
    let gone = unsafe { libc::kill(pid, 0) } != 0
        && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
    gone || is_ended_child(pid) || is_zombie(pid)
}

/// The master may be the one that waits, before it could reap.
fn is_ended_child(pid: libc::pid_t) -> bool {
    // SAFETY: all-zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is ours; WNOWAIT leaves the child to nginx's own waiting.
    unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &raw mut info, how) == 0 && info.si_pid() == pid }
}

/// Where the first process of a container does not reap orphans, they stay zombies. Linux only.
fn is_zombie(pid: libc::pid_t) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.iter().rposition(|c| *c == b')').and_then(|i| stat.get(i + 2));
    matches!(state, Some(b'Z' | b'X'))
}
