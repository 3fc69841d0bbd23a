//! Control groups, version 2.

use super::Read;

/// The directories of the groups that the process is in, the nearest first.
pub fn path(read: Read<'_>) -> Vec<String> {
    let found = || {
        let groups = read("/proc/self/cgroup")?;
        let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        let mounts = read("/proc/self/mountinfo")?;
        let (root, mount) = mounts.lines().find_map(mount)?;
        // what is mounted may be a part of the whole: a container sees its own group as the root
        let below = match root.as_str() {
            "/" => group,
            root => group.strip_prefix(root).unwrap_or("/"),
        };
        Some((mount, below.to_string()))
    };
    let Some((mount, below)) = found() else { return Vec::new() };
    let mut path = Vec::new();
    // a process outside of what is mounted is shown as "/../…"
    let mut below = if below.contains("/..") { "" } else { below.trim_end_matches('/') };
    loop {
        path.push(format!("{mount}{below}"));
        match below.rfind('/') {
            Some(at) => below = &below[..at],
            None => return path,
        }
    }
}

/// Root and mount point, if the line of mountinfo is about the groups.
fn mount(line: &str) -> Option<(String, String)> {
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = before.split(' ').skip(3);
    Some((unescape(fields.next()?), unescape(fields.next()?)))
}

/// Blanks and the like are written as octal numbers.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// `cpu.max`: quota and period in microseconds, as a number of processors.
pub fn cpus(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let cpus = quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?;
    (cpus.is_finite() && cpus > 0.0).then_some(cpus)
}

/// A size; `None` is "max".
pub fn bytes(text: &str) -> Option<f64> {
    let bytes = text.trim().parse::<u64>().ok()?;
    (bytes > 0).then_some(bytes as f64)
}

/// `cpu.stat`: the processor time that was used.
pub fn usage_us(text: &str) -> Option<u64> {
    field(text, "usage_usec")
}

/// A line of a flat keyed file.
pub fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}
