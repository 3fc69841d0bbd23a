//! Two masters: a new binary was started beside the old one (`kill -USR2`), and until that one is told to go both serve.
//!
//! They share no memory, so there would be two leaders. nginx renames the old master's pid file, and the new master writes its own just
//! before it starts its workers: the old one's workers see both, let their writes end, and lead no more. The new one's wait for that
//! before the first of them leads; it takes up what the old ones wrote into the state file meanwhile. When the new master goes instead,
//! nginx renames the file back, and the old ones lead again.

use std::fs;
use std::path::Path;

use crate::ngx::process;
use crate::scale::shell::started;

/// How long the new master's workers wait, beside two ticks in which the old ones look: their writes may take so long to end.
pub const WAIT_US: u64 = 2_500_000;

/// Whether a master of another binary serves beside this worker's, which is the older one.
pub fn is_followed() -> bool {
    let Some([pid, old]) = process::pid_files() else { return false };
    let me = process::master_pid();
    // the usual answer: there is no such file
    read(&old) == Some(me) && read(&pid).is_some_and(|other| other != me && is_there(other))
}

/// Whether this worker's master was started beside an older one that is still there.
pub fn follows() -> bool {
    let Some([_, old]) = process::pid_files() else { return false };
    read(&old).is_some_and(|other| other != process::master_pid() && is_there(other))
}

fn read(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn is_there(pid: i32) -> bool {
    u32::try_from(pid).is_ok_and(|pid| started(pid).is_some())
}
