//! How busy the gateway itself is: `self.cpu` and `self.mem`, each between 0 and 1 of what it may use.
//!
//! Where the process lives in a control group (cgroup v2) that limits it, the group is what is measured, for at its limit the kernel
//! slows it down or kills in it: processor time against `cpu.max`, memory without what the page cache could give back
//! (`memory.current` less `inactive_file`, the working set as the kubelet counts it) against `memory.max`. Of limits along the path,
//! the nearest one counts. All that is in the group is counted, sidecars of the same container included.
//!
//! Without a limit (also where only cgroup v1 is there), the gateway's own processes are measured against the machine: user and system
//! time of master and workers over the processors that they may run on, and their resident memory over all memory. Memory that they
//! share is counted once, as much as the one that has most of it.
//!
//! Reading files is the caller's: here are their names and what is in them (proc(5), and *Control Group v2* in the kernel's
//! documentation).

mod cgroup;
mod proc;

use std::collections::HashMap;

/// Between two samples closer than this, ticks of ten milliseconds say too little.
const LEAST_US: u64 = 200_000;

/// Reads a file; `None` when it is not there or not for us.
pub type Read<'r> = &'r dyn Fn(&str) -> Option<String>;

/// Where the numbers come from.
#[derive(Debug)]
pub struct Gauge {
    cpu: Cpu,
    mem: Mem,
    before: Option<Before>,
}

#[derive(Debug, PartialEq)]
enum Cpu {
    /// The directory, and how many processors its limit amounts to.
    Group(String, f64),
    Processes,
}

#[derive(Debug, PartialEq)]
enum Mem {
    /// The directory and its limit in bytes.
    Group(String, f64),
    /// Of so many bytes.
    Processes(Option<f64>),
}

#[derive(Debug)]
struct Before {
    at_us: u64,
    /// Processor time of the group in microseconds.
    group: Option<u64>,
    /// Processor time of each process, with when it started, in ticks.
    processes: HashMap<i32, proc::Times>,
}

/// The gateway's processes: the master, and its children as far as they are known. A number that another program has meanwhile is passed
/// over.
#[derive(Clone, Debug)]
pub struct Family {
    pub master: i32,
    pub children: Vec<i32>,
}

impl Family {
    fn each<'f, T: 'f>(
        &'f self,
        f: impl Fn(i32) -> Option<(i32, T)> + 'f,
    ) -> impl Iterator<Item = (i32, T)> + 'f {
        let children = self.children.iter().filter(|pid| **pid != self.master);
        core::iter::once(&self.master).chain(children).filter_map(move |pid| {
            let (parent, found) = f(*pid)?;
            (*pid == self.master || parent == self.master).then_some((*pid, found))
        })
    }
}

/// What the machine says about itself.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Processors that the gateway may run on.
    pub cpus: f64,
    /// Ticks of processor time a second (`sysconf(_SC_CLK_TCK)`).
    pub hz: f64,
}

/// `None` is what could not be measured (yet).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub cpu: Option<f64>,
    pub mem: Option<f64>,
}

impl Gauge {
    /// Looks for limits.
    pub fn find(read: Read<'_>, machine: Machine) -> Self {
        let groups = cgroup::path(read);
        let cpu = groups.iter().find_map(|dir| {
            let cpus = cgroup::cpus(&read(&format!("{dir}/cpu.max"))?)?;
            read(&format!("{dir}/cpu.stat"))?;
            // more than there are it cannot use
            Some(Cpu::Group(dir.clone(), cpus.min(machine.cpus)))
        });
        let total =
            read("/proc/meminfo").and_then(|text| proc::kib(&text, "MemTotal")).map(|kib| kib * 1024.0);
        let mem = groups.iter().find_map(|dir| {
            let limit = cgroup::bytes(&read(&format!("{dir}/memory.max"))?)?;
            read(&format!("{dir}/memory.current"))?;
            Some(Mem::Group(dir.clone(), total.map_or(limit, |total| limit.min(total))))
        });
        Self { cpu: cpu.unwrap_or(Cpu::Processes), mem: mem.unwrap_or(Mem::Processes(total)), before: None }
    }

    /// The same limits as another one: then its samples can be compared with.
    pub fn takes_over(self, other: Self) -> Self {
        if (&self.cpu, &self.mem) == (&other.cpu, &other.mem) {
            other
        } else {
            self
        }
    }

    /// Measures. Processor time needs a sample to compare with: the first one has none.
    pub fn sample(&mut self, read: Read<'_>, family: &Family, now_us: u64, machine: Machine) -> Usage {
        let mem = self.memory(read, family);
        let close = self.before.as_ref().is_some_and(|before| now_us < before.at_us + LEAST_US);
        if close {
            return Usage { cpu: None, mem };
        }
        let group = match &self.cpu {
            Cpu::Group(dir, _) => read(&format!("{dir}/cpu.stat")).and_then(|text| cgroup::usage_us(&text)),
            Cpu::Processes => None,
        };
        let processes: HashMap<_, _> = match &self.cpu {
            Cpu::Group(..) => HashMap::new(),
            Cpu::Processes => family.each(|pid| proc::times(read, pid)).collect(),
        };
        let now = Before { at_us: now_us, group, processes };
        let before = self.before.replace(now);
        let cpu = before.zip(self.before.as_ref()).and_then(|(before, now)| self.busy(&before, now, machine));
        Usage { cpu, mem }
    }

    fn busy(&self, before: &Before, now: &Before, machine: Machine) -> Option<f64> {
        let seconds = (now.at_us - before.at_us) as f64 / 1e6;
        let (used, cpus) = match &self.cpu {
            Cpu::Group(_, cpus) => (now.group?.checked_sub(before.group?)? as f64 / 1e6, *cpus),
            Cpu::Processes if now.processes.is_empty() => return None,
            Cpu::Processes => {
                let ticks = now.processes.iter().map(|(pid, times)| match before.processes.get(pid) {
                    Some(then) if then.started == times.started => times.used.saturating_sub(then.used),
                    // one that began since: all its time is of this interval. One that is only seen for the first time tells nothing
                    _ if times.started > newest(before) => times.used,
                    _ => 0,
                });
                (ticks.sum::<u64>() as f64 / machine.hz, machine.cpus)
            }
        };
        let share = used / seconds / cpus;
        share.is_finite().then(|| share.min(1.0))
    }

    fn memory(&self, read: Read<'_>, family: &Family) -> Option<f64> {
        let share = match &self.mem {
            Mem::Group(dir, limit) => {
                let current = cgroup::bytes(&read(&format!("{dir}/memory.current"))?)?;
                let stat = read(&format!("{dir}/memory.stat"));
                let idle = stat.and_then(|text| cgroup::field(&text, "inactive_file")).unwrap_or(0);
                (current - idle as f64).max(0.0) / limit
            }
            Mem::Processes(total) => {
                let held: Vec<_> = family.each(|pid| proc::held(read, pid)).map(|(_, held)| held).collect();
                let shared = held.iter().map(|held| held.shared).reduce(f64::max)?;
                (held.iter().map(|held| held.own).sum::<f64>() + shared) / (*total)?
            }
        };
        share.is_finite().then(|| share.min(1.0))
    }
}

/// When the youngest of the processes of a sample started.
fn newest(sample: &Before) -> u64 {
    sample.processes.values().map(|times| times.started).max().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
