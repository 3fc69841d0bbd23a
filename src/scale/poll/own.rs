//! `self.cpu` and `self.mem`: once a tick, by one worker, out of cgroup v2 or /proc.

use core::cell::RefCell;
use std::fs;

use logic::autoscale::metrics::zone::Zone;
use logic::autoscale::poll::usage::{Family, Gauge, Machine};

use crate::ngx::{clock, process};

/// As the zone has them.
pub const METRICS: [&[u8]; 2] = [b"cpu", b"mem"];
/// After how many samples limits are looked up again.
const LOOK_UP: u32 = 30;

/// What a worker compares the next sample with.
#[derive(Default)]
pub struct Sampler(RefCell<Option<(Gauge, u32)>>);

impl Sampler {
    pub fn sample(&self, zone: &Zone<'_>) {
        let machine = Machine { cpus: process::processors() as f64, hz: process::clock_ticks() as f64 };
        let read = |name: &str| fs::read_to_string(name).ok();
        let (mut gauge, count) = match self.0.take() {
            Some((gauge, count)) if count < LOOK_UP => (gauge, count + 1),
            Some((gauge, _)) => (Gauge::find(&read, machine).takes_over(gauge), 0),
            None => (Gauge::find(&read, machine), 0),
        };
        let now = clock::monotonic();
        let family = Family { master: process::master_pid(), children: process::pids() };
        let usage = gauge.sample(&read, &family, now.us, machine);
        self.0.replace(Some((gauge, count)));
        for (metric, value) in METRICS.into_iter().zip([usage.cpu, usage.mem]) {
            let meter = zone.gateway(metric, now).ok().and_then(|entry| zone.meter(entry));
            meter.zip(value).into_iter().for_each(|(meter, value)| meter.set(now, value));
        }
    }
}
