//! Simulated traffic.

mod gateway;
mod methods;
mod sim;
mod stats;

use gateway::Method;
use methods::{Blind, LeastConn, Oracle, Ours};
use sim::{Mode, Scenario};

type Make = fn(&Scenario) -> Box<dyn Method>;

#[test]
#[ignore = "prints the table that the bounds of the other tests were taken from"]
fn table() {
    let slow: sim::Behaviour = |i, _| Mode::Serve(if i == 0 { 3.0 } else { 1.0 });
    let h = Scenario::HEALTHY;
    let scenarios = [
        ("healthy 0.7", h.clone()),
        ("healthy 0.9", Scenario { rate: |_| 720.0, ..h.clone() }),
        ("slow x3 0.6", Scenario { behaviour: slow, rate: |_| 480.0, ..h.clone() }),
        ("slow x3 0.7", Scenario { behaviour: slow, ..h.clone() }),
        (
            "becomes slow",
            Scenario {
                behaviour: |i, t| Mode::Serve(if i == 0 && t > 6.0 { 3.0 } else { 1.0 }),
                rate: |_| 480.0,
                ..h.clone()
            },
        ),
        (
            "all become slow x1.4",
            Scenario {
                behaviour: |_, t| Mode::Serve(if t > 6.0 { 1.4 } else { 1.0 }),
                rate: |_| 480.0,
                ..h.clone()
            },
        ),
        (
            "fails 500",
            Scenario {
                behaviour: |i, t| if i == 0 && t > 5.0 { Mode::Answer(500) } else { Mode::Serve(1.0) },
                rate: |_| 480.0,
                ..h.clone()
            },
        ),
        (
            "answers 429",
            Scenario {
                behaviour: |i, t| if i == 0 && t > 5.0 { Mode::Answer(429) } else { Mode::Serve(1.0) },
                rate: |_| 480.0,
                ..h.clone()
            },
        ),
        (
            "hangs",
            Scenario {
                behaviour: |i, t| if i == 0 && t > 5.0 { Mode::Hang } else { Mode::Serve(1.0) },
                rate: |_| 480.0,
                ..h.clone()
            },
        ),
        (
            "dead",
            Scenario {
                behaviour: |i, t| if i == 0 && t > 5.0 { Mode::Dead } else { Mode::Serve(1.0) },
                rate: |_| 480.0,
                ..h.clone()
            },
        ),
        (
            "cold x10->1",
            Scenario {
                behaviour: |i, t| {
                    Mode::Serve(if i == 0 && t > 5.0 {
                        (10.0 - (t - 5.0) * 2.0).max(1.0)
                    } else if i == 0 {
                        1.0
                    } else {
                        1.0
                    })
                },
                rate: |_| 480.0,
                ..h.clone()
            },
        ),
        ("overload 2x", Scenario { rate: |_| 1600.0, seconds: 20.0, ..h.clone() }),
        ("overload 2x fixed", Scenario { rate: |_| 1600.0, seconds: 20.0, spread: 0.0, ..h.clone() }),
        (
            "overload, then x3",
            Scenario {
                rate: |_| 1600.0,
                seconds: 20.0,
                behaviour: |_, t| Mode::Serve(if t > 4.0 { 3.0 } else { 1.0 }),
                ..h.clone()
            },
        ),
        ("2x, 2 gateways", Scenario { rate: |_| 1600.0, seconds: 20.0, gateways: 2, ..h.clone() }),
        ("0.7, 2 gateways", Scenario { gateways: 2, ..h.clone() }),
        ("0.9, 2 gateways", Scenario { gateways: 2, rate: |_| 720.0, ..h.clone() }),
        (
            "2x of 2 peers x 32",
            Scenario { rate: |_| 6400.0, peers: 2, slots: 32, seconds: 12.0, ..h.clone() },
        ),
        ("0.9 of 40 peers x 2", Scenario { rate: |_| 3600.0, peers: 40, seconds: 10.0, ..h.clone() }),
        ("2x of 8 peers x 1", Scenario { rate: |_| 800.0, slots: 1, seconds: 20.0, ..h.clone() }),
    ];
    let methods: [(&str, Make); 5] = [
        ("protect", Ours::protect),
        ("balance", Ours::balance),
        ("least_conn", LeastConn::of),
        ("oracle", Oracle::of),
        ("blind", Blind::of),
    ];
    let only = std::env::var("ONLY").unwrap_or_default();
    let seeds = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    for (name, scenario) in scenarios {
        if !name.contains(&only) {
            continue;
        }
        for (method, make) in &methods {
            let o = stats::run(&scenario, 1..1 + seeds, &make);
            println!(
                "{name:22} {method:10} wait {:7.1}  p99 {:7.1}  served {:6.2}%  capacity {:6.2}%  errors {:6} last {:.2}",
                o.wait, o.p99, o.served * 100.0, o.goodput * 100.0, o.errors, o.last_error
            );
        }
    }
}
