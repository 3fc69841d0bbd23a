//! What happens in each scenario, and when: DESIGN's table.
//!
//! Each begins with a while of ordinary traffic, so that a gateway has learnt what it learns; then comes what the
//! scenario is about, and from there on it is measured.

use crate::CAPACITY;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mix {
    /// Eight tenants that send alike, no classes.
    Plain,
    /// One request in five is a checkout, the others are related products.
    Checkout,
    /// Seven tenants send what they always send, the eighth all that is above the ordinary load.
    Noisy,
}

/// A while of one load, a share of the capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    pub seconds: f64,
    pub load: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    pub name: &'static str,
    pub phases: Vec<Phase>,
    /// What the peers are told, and when, in seconds.
    pub faults: Vec<(f64, String)>,
    /// From when to when it is measured: the fault, the overload.
    pub window: (f64, f64),
    pub mix: Mix,
}

/// How long things take, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub warm: f64,
    pub measured: f64,
    /// Ordinary load again, after an overload.
    pub after: f64,
}

pub const NAMES: [&str; 13] = [
    "healthy-0.7",
    "healthy-0.9",
    "slow",
    "failing",
    "brownout",
    "hang",
    "dead",
    "flapping",
    "cold",
    "busy",
    "overload",
    "checkout",
    "tenant",
];
/// The load beside a fault, and before an overload.
pub const ORDINARY: f64 = 0.6;
const OVERLOAD: f64 = 2.0;
/// Whom it hits.
const VICTIM: usize = 3;

impl Scenario {
    pub fn named(name: &str, times: Times) -> Option<Self> {
        let name = NAMES.into_iter().find(|known| *known == name)?;
        let load = match name {
            "healthy-0.7" => 0.7,
            "healthy-0.9" => 0.9,
            "overload" | "checkout" | "tenant" => OVERLOAD,
            _ => ORDINARY,
        };
        let end = times.warm + times.measured;
        let warm = if load < ORDINARY { load } else { load.min(0.7) };
        let mut phases = vec![
            Phase { seconds: times.warm, load: if load == OVERLOAD { ORDINARY } else { warm } },
            Phase { seconds: times.measured, load },
        ];
        if load == OVERLOAD {
            phases.push(Phase { seconds: times.after, load: ORDINARY });
        }
        let mix = match name {
            "checkout" => Mix::Checkout,
            "tenant" => Mix::Noisy,
            _ => Mix::Plain,
        };
        Some(Self { name, phases, faults: faults(name, times.warm, end), window: (times.warm, end), mix })
    }

    pub fn seconds(&self) -> f64 {
        self.phases.iter().map(|phase| phase.seconds).sum()
    }

    /// How many of a noisy tenant's phase come from the noisy one: all that is above the others' ordinary share.
    pub fn noise(load: f64, tenants: usize) -> f64 {
        let others = ORDINARY * (tenants - 1) as f64 / tenants as f64;
        (1.0 - others / load).max(1.0 / tenants as f64)
    }
}

/// Requests a second of a load.
pub fn rate(load: f64) -> f64 {
    load * CAPACITY
}

fn faults(name: &str, from: f64, end: f64) -> Vec<(f64, String)> {
    let to = |what: &str| format!("{VICTIM} {what}");
    match name {
        "slow" => vec![(from, to("slow 3"))],
        "failing" => vec![(from, to("fail 1"))],
        "brownout" => vec![(from, to("fail 0.5"))],
        "hang" => vec![(from, to("hang"))],
        "dead" => vec![(from, to("dead"))],
        "busy" => vec![(from, to("busy"))],
        // gone for a second, back for a second
        "flapping" => (0..)
            .map(|turn| (from + turn as f64, to(if turn % 2 == 0 { "dead" } else { "well" })))
            .take_while(|(at, _)| *at < end)
            .collect(),
        // not there at first; five times slower when it comes, and warm after two seconds
        "cold" => vec![(0.0, to("dead")), (from, to("cold 5 2"))],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { warm: 2.0, measured: 5.0, after: 2.0 };

    #[test]
    fn every_name_is_a_scenario() {
        for name in NAMES {
            let scenario = Scenario::named(name, TIMES).unwrap();
            assert_eq!(scenario.window, (2.0, 7.0), "{name}");
            assert!(scenario.seconds() >= 7.0);
            assert!(scenario.faults.iter().all(|(at, _)| *at < 7.0));
        }
        assert_eq!(Scenario::named("other", TIMES), None);
    }

    #[test]
    fn a_flapping_peer_comes_and_goes_every_second() {
        let faults = Scenario::named("flapping", TIMES).unwrap().faults;
        let said: Vec<_> = faults.iter().map(|(at, what)| (*at, what.as_str())).collect();
        assert_eq!(
            said,
            [(2.0, "3 dead"), (3.0, "3 well"), (4.0, "3 dead"), (5.0, "3 well"), (6.0, "3 dead")]
        );
    }

    #[test]
    fn a_noisy_tenant_sends_all_above_the_others_ordinary_share() {
        // seven of eight send 0.525 of the capacity; of 2.0 that leaves 1.475
        assert!((Scenario::noise(2.0, 8) - 0.7375).abs() < 1e-9);
        assert_eq!(Scenario::noise(ORDINARY, 8), 0.125);
    }
}
