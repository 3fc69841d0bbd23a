//! Processes one by one.

use super::Read;

/// Processor time, and when the process started; in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub used: u64,
    pub started: u64,
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    pub own: f64,
    /// Files and shared memory.
    pub shared: f64,
}

/// Fields 4 (the parent), 14, 15 and 22 of `/proc/PID/stat`. The name of the program, in parentheses, may hold anything.
pub fn times(read: Read<'_>, pid: i32) -> Option<(i32, Times)> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let mut fields = stat.rsplit_once(") ")?.1.split_ascii_whitespace().map(|field| field.parse::<u64>());
    let parent = i32::try_from(fields.nth(1)?.ok()?).ok()?;
    let (user, system) = (fields.nth(9)?.ok()?, fields.next()?.ok()?);
    let started = fields.nth(6)?.ok()?;
    Some((parent, Times { used: user.checked_add(system)?, started }))
}

/// `/proc/PID/status`
pub fn held(read: Read<'_>, pid: i32) -> Option<(i32, Held)> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
    let own = kib(&status, "RssAnon")?;
    let shared = kib(&status, "RssFile").unwrap_or(0.0) + kib(&status, "RssShmem").unwrap_or(0.0);
    Some((parent, Held { own: own * 1024.0, shared: shared * 1024.0 }))
}

/// A line `NAME:   N kB`.
pub fn kib(text: &str, name: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib as f64)
}
