use super::*;
use proptest::prelude::*;

const MACHINE: Machine = Machine { cpus: 4.0, hz: 100.0 };
const MOUNTINFO: &str = "23 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
";

/// A tree of files.
#[derive(Default)]
struct Files(HashMap<String, String>);

impl Files {
    fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect())
    }

    fn set(&mut self, name: &str, text: impl Into<String>) {
        self.0.insert(name.into(), text.into());
    }

    /// A process with so many ticks of processor time and KiB of memory.
    fn process(&mut self, pid: i32, parent: i32, started: u64, ticks: u64, kib: [u64; 2]) {
        let (user, system) = (ticks / 2, ticks - ticks / 2);
        let stat = format!(
            "{pid} (nginx: a) b) S {parent} 1 1 0 -1 4194624 9 0 0 0 {user} {system} 5 5 20 0 1 0 {started} 1000 10 1"
        );
        self.set(&format!("/proc/{pid}/stat"), stat);
        let [own, shared] = kib;
        let status = format!("Name:\tnginx\nPPid:\t{parent}\nVmRSS:\t 1 kB\nRssAnon:\t   {own} kB\nRssFile:\t{shared} kB\nRssShmem:\t0 kB\n");
        self.set(&format!("/proc/{pid}/status"), status);
    }

    fn find(&self) -> Gauge {
        Gauge::find(&|name| self.0.get(name).cloned(), MACHINE)
    }

    fn sample(&self, gauge: &mut Gauge, children: &[i32], s: u64) -> Usage {
        let family = Family { master: 10, children: children.to_vec() };
        gauge.sample(&|name| self.0.get(name).cloned(), &family, s * 1_000_000, MACHINE)
    }
}

fn container() -> Files {
    Files::of(&[
        ("/proc/self/cgroup", "0::/\n"),
        ("/proc/self/mountinfo", MOUNTINFO),
        ("/proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\n"),
        ("/sys/fs/cgroup/cpu.max", "50000 100000\n"),
        ("/sys/fs/cgroup/cpu.stat", "usage_usec 1000000\nuser_usec 1\n"),
        ("/sys/fs/cgroup/memory.max", "1000000\n"),
        ("/sys/fs/cgroup/memory.current", "900000\n"),
        ("/sys/fs/cgroup/memory.stat", "anon 5\ninactive_file 400000\nactive_file 7\n"),
    ])
}

#[test]
fn in_a_container_its_limits_are_all_there_is() {
    let mut files = container();
    let mut gauge = files.find();
    // half of the memory is more than the page cache could give back
    assert_eq!(files.sample(&mut gauge, &[], 1), Usage { cpu: None, mem: Some(0.5) });
    // 0.7 s of half a processor's 2 s: 70 %
    files.set("/sys/fs/cgroup/cpu.stat", "usage_usec 1700000\n");
    let usage = files.sample(&mut gauge, &[], 3);
    assert!((usage.cpu.unwrap() - 0.7).abs() < 1e-9, "{usage:?}");
}

#[test]
fn a_burst_is_all_of_it_and_no_more() {
    let mut files = container();
    let mut gauge = files.find();
    files.sample(&mut gauge, &[], 1);
    files.set("/sys/fs/cgroup/cpu.stat", "usage_usec 9000000\n");
    assert_eq!(files.sample(&mut gauge, &[], 2).cpu, Some(1.0));
    // counters that went back say nothing
    files.set("/sys/fs/cgroup/cpu.stat", "usage_usec 5\n");
    assert_eq!(files.sample(&mut gauge, &[], 3).cpu, None);
}

#[test]
fn the_nearest_limit_counts_wherever_it_is() {
    let mut files = Files::of(&[
        ("/proc/self/cgroup", "1:name=systemd:/x\n0::/system.slice/nginx.service\n"),
        ("/proc/self/mountinfo", MOUNTINFO),
        ("/proc/meminfo", "MemTotal: 1000 kB\n"),
        ("/sys/fs/cgroup/system.slice/nginx.service/cpu.max", "max 100000\n"),
        ("/sys/fs/cgroup/system.slice/nginx.service/cpu.stat", "usage_usec 1\n"),
        ("/sys/fs/cgroup/system.slice/cpu.max", "800000 100000\n"),
        ("/sys/fs/cgroup/system.slice/cpu.stat", "usage_usec 0\n"),
        ("/sys/fs/cgroup/system.slice/nginx.service/memory.max", "max\n"),
        ("/sys/fs/cgroup/system.slice/memory.max", "max\n"),
    ]);
    let mut gauge = files.find();
    // more processors than there are are not to be had
    assert_eq!(gauge.cpu, Cpu::Group("/sys/fs/cgroup/system.slice".into(), 4.0));
    assert_eq!(gauge.mem, Mem::Processes(Some(1_024_000.0)));
    files.sample(&mut gauge, &[], 1);
    files.set("/sys/fs/cgroup/system.slice/cpu.stat", "usage_usec 2000000\n");
    assert_eq!(files.sample(&mut gauge, &[], 2).cpu, Some(0.5));
}

#[test]
fn a_part_of_the_tree_may_be_mounted_under_any_name() {
    let mut files = container();
    files.set("/proc/self/cgroup", "0::/kubepods/pod1/c1\n");
    files.set(
        "/proc/self/mountinfo",
        "5 4 0:28 /kubepods/pod1 /mnt/c\\040g ro,relatime shared:9 - cgroup2 none rw\n",
    );
    files.set("/mnt/c g/c1/memory.max", "4000");
    files.set("/mnt/c g/c1/memory.current", "1000");
    assert_eq!(files.find().mem, Mem::Group("/mnt/c g/c1".into(), 4000.0));
}

#[test]
fn without_a_limit_the_processes_are_measured() {
    let unlimited = [("/sys/fs/cgroup/cpu.max", "max 100000"), ("/sys/fs/cgroup/memory.max", "max")];
    let v1 = [
        ("/proc/self/cgroup", "4:memory:/docker/1\n1:cpu:/docker/1\n"),
        ("/proc/self/mountinfo", "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"),
    ];
    for changes in [unlimited, v1] {
        let mut files = container();
        changes.iter().for_each(|(name, text)| files.set(name, *text));
        let gauge = files.find();
        assert_eq!((&gauge.cpu, &gauge.mem), (&Cpu::Processes, &Mem::Processes(Some(8_192_000_000.0))));
    }
    assert_eq!(Files::default().find().mem, Mem::Processes(None));
}

#[test]
fn processes_add_up_over_all_processors() {
    let mut files = Files::of(&[("/proc/meminfo", "MemTotal: 1000000 kB\n")]);
    let mut gauge = files.find();
    files.process(10, 1, 500, 5, [10_000, 50_000]);
    files.process(11, 10, 600, 1000, [100_000, 60_000]);
    files.process(12, 10, 600, 2000, [120_000, 40_000]);
    // somebody else who has the number of a worker that died
    files.process(13, 1, 999, 70_000, [500_000, 500_000]);
    let usage = files.sample(&mut gauge, &[11, 12, 13, 14], 1);
    // own memory of all, and what the one has that shares most
    assert_eq!(usage, Usage { cpu: None, mem: Some(0.29) });
    files.process(11, 10, 600, 1100, [100_000, 60_000]);
    files.process(12, 10, 600, 2050, [120_000, 40_000]);
    // a worker that began meanwhile has 50 ticks, all of them new
    files.process(14, 10, 700, 50, [0, 0]);
    // 2 s of four processors: 8 s, of which 2 s were used
    assert_eq!(files.sample(&mut gauge, &[11, 12, 13, 14], 3).cpu, Some(0.25));
    // an old process that is seen for the first time brings none of its past
    files.process(15, 10, 550, 9000, [0, 0]);
    assert_eq!(files.sample(&mut gauge, &[11, 12, 14, 15], 5).cpu, Some(0.0));
    // the same number, another process
    files.process(12, 10, 900, 80, [0, 0]);
    assert_eq!(files.sample(&mut gauge, &[11, 12, 14, 15], 7).cpu, Some(0.1));
}

#[test]
fn samples_that_are_too_close_say_nothing() {
    let mut files = Files::default();
    files.process(10, 1, 500, 0, [1, 1]);
    let mut gauge = files.find();
    let read = |name: &str| files.0.get(name).cloned();
    let family = Family { master: 10, children: vec![] };
    let mut sample = |us| gauge.sample(&read, &family, us, MACHINE).cpu;
    assert_eq!([sample(0), sample(100_000), sample(200_000)], [None, None, Some(0.0)]);
    // a clock that went back, and nobody to measure
    assert_eq!(sample(100_000), None);
    assert_eq!(Files::default().sample(&mut gauge, &[], 9).cpu, None);
}

#[test]
fn the_same_limits_keep_the_last_sample() {
    let files = container();
    let mut gauge = files.find();
    files.sample(&mut gauge, &[], 1);
    assert!(files.find().takes_over(gauge).before.is_some());
    let mut gauge = files.find();
    files.sample(&mut gauge, &[], 1);
    let mut other = container();
    other.set("/sys/fs/cgroup/cpu.max", "200000 100000");
    assert!(other.find().takes_over(gauge).before.is_none());
}

proptest! {
    #[test]
    fn garbage_is_survived(texts in proptest::collection::vec(".{0,60}", 11)) {
        let mut files = container();
        files.process(10, 1, 1, 1, [1, 1]);
        let mut names: Vec<String> = files.0.keys().cloned().collect();
        names.sort();
        names.iter().zip(texts).for_each(|(name, text)| files.set(name, text));
        let mut gauge = files.find();
        for s in 1..3 {
            let usage = files.sample(&mut gauge, &[11], s);
            let sane = |share: Option<f64>| share.is_none_or(|share| (0.0..=1.0).contains(&share));
            prop_assert!(sane(usage.cpu) && sane(usage.mem), "{usage:?}");
        }
    }
}
