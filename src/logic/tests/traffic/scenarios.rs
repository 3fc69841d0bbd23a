//! The scenarios by name.

use crate::sim::{Mode, Scenario};

pub const NAMES: [&str; 20] = [
    "healthy 0.7",
    "healthy 0.9",
    "slow peer",
    "slow peer 0.7",
    "becomes slow",
    "slow for 4 s",
    "fails",
    "refuses",
    "hangs",
    "dead",
    "cold peer",
    "overload",
    "overload, even work",
    "overload, slower",
    "overload, 2 gateways",
    "overload, 1 slot",
    "2 peers of 32",
    "40 peers 0.9",
    "early 0.9",
    "early overload",
];

/// The first peer does that from second 3 on.
fn first(t: f64, i: usize, mode: Mode) -> Mode {
    if i == 0 && t > 3.0 {
        mode
    } else {
        Mode::Serve(1.0)
    }
}

pub fn named(name: &str) -> Scenario {
    let healthy = Scenario::HEALTHY;
    let faulty = Scenario { rate: |_| 480.0, ..healthy.clone() };
    let overload = Scenario { rate: |_| 1600.0, seconds: 10.0, ..healthy.clone() };
    match name {
        "healthy 0.7" => healthy,
        "healthy 0.9" => Scenario { rate: |_| 720.0, ..healthy },
        "slow peer" => Scenario { behaviour: |i, _| Mode::Serve(if i == 0 { 3.0 } else { 1.0 }), ..faulty },
        "slow peer 0.7" => {
            Scenario { behaviour: |i, _| Mode::Serve(if i == 0 { 3.0 } else { 1.0 }), ..healthy }
        }
        "becomes slow" => Scenario { behaviour: |i, t| first(t, i, Mode::Serve(3.0)), ..faulty },
        "slow for 4 s" => Scenario {
            behaviour: |i, t| Mode::Serve(if i == 0 && t > 2.0 { 3.0 } else { 1.0 }),
            seconds: 6.0,
            ..faulty
        },
        "fails" => Scenario { behaviour: |i, t| first(t, i, Mode::Answer(500)), ..faulty },
        "refuses" => Scenario { behaviour: |i, t| first(t, i, Mode::Answer(429)), ..faulty },
        "hangs" => Scenario { behaviour: |i, t| first(t, i, Mode::Hang), ..faulty },
        "dead" => Scenario { behaviour: |i, t| first(t, i, Mode::Dead), ..faulty },
        // ten times as slow at first, well after four and a half seconds
        "cold peer" => Scenario {
            behaviour: |i, t| first(t, i, Mode::Serve((10.0 - (t - 3.0) * 2.0).max(1.0))),
            ..faulty
        },
        "overload" => overload,
        "overload, even work" => Scenario { spread: 0.0, ..overload },
        "overload, slower" => {
            Scenario { behaviour: |_, t| Mode::Serve(if t > 3.0 { 3.0 } else { 1.0 }), ..overload }
        }
        "overload, 2 gateways" => Scenario { gateways: 2, ..overload },
        "overload, 1 slot" => Scenario { slots: 1, rate: |_| 800.0, ..overload },
        "2 peers of 32" => Scenario { peers: 2, slots: 32, rate: |_| 6400.0, seconds: 5.0, ..overload },
        "40 peers 0.9" => Scenario { peers: 40, rate: |_| 3600.0, seconds: 6.0, ..healthy },
        // little is known of the peers yet
        "early 0.9" => {
            Scenario { warm: 1.2, seconds: 5.2, rate: |t| if t < 1.2 { 560.0 } else { 720.0 }, ..healthy }
        }
        "early overload" => {
            Scenario { warm: 1.2, seconds: 5.2, rate: |t| if t < 1.2 { 480.0 } else { 1600.0 }, ..healthy }
        }
        _ => unreachable!("{name}"),
    }
}
