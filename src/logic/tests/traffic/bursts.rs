//! Bursts beside overload, in front of the queue as it is: as `ci/bench traffic` runs them, with a machine that stands still now and then.

use crate::methods::LeastConn;
use crate::sim::{Fate, Request, Run, Scenario, Stalls, DEADLINE_US};
use crate::stats::quantile;
use crate::{Make, QUEUE};

/// What one run comes to.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Of those that came, how many the gateway refused.
    pub refused: f64,
    pub wait: f64,
    pub p99: f64,
    /// The same of those that are asked for: urgent ones, or quiet tenants.
    pub their_p99: f64,
    pub their_served: f64,
    pub goodput: f64,
    /// Tenths of a second after the load fell, until all are well.
    pub recovery: f64,
}

const WARM: f64 = 2.0;
const UNTIL: f64 = 6.0;
const FEW: Stalls = Stalls { per_s: 4.0, least_us: 5_000.0, most_us: 20_000.0 };
const HARD: Stalls = Stalls { per_s: 4.0, least_us: 10_000.0, most_us: 40_000.0 };
const LONG: Stalls = Stalls { per_s: 1.0, least_us: 60_000.0, most_us: 120_000.0 };

fn base() -> Scenario {
    Scenario { warm: WARM, until: UNTIL, seconds: 8.0, ..Scenario::HEALTHY }
}

fn step(t: f64, load: f64) -> f64 {
    800.0 * if (WARM..UNTIL).contains(&t) { load } else { 0.6 }
}

pub fn named(name: &str) -> Scenario {
    let (what, stalls) = name.split_once(" stalls ").map_or((name, None), |(what, stalls)| {
        let stalls = match stalls {
            "few" => FEW,
            "hard" => HARD,
            "long" => LONG,
            _ => unreachable!("{name}"),
        };
        (what, Some(stalls))
    });
    let base = Scenario { stalls, ..base() };
    match what {
        "0.7" => Scenario { rate: |_| 560.0, ..base },
        "0.9" => Scenario { rate: |t| if t < WARM { 560.0 } else { 720.0 }, ..base },
        "0.95" => Scenario { rate: |t| if t < WARM { 560.0 } else { 760.0 }, ..base },
        "1.1" => Scenario { rate: |t| step(t, 1.1), ..base },
        "1.2" => Scenario { rate: |t| step(t, 1.2), ..base },
        "1.5" => Scenario { rate: |t| step(t, 1.5), ..base },
        "2" => Scenario { rate: |t| step(t, 2.0), ..base },
        "3" => Scenario { rate: |t| step(t, 3.0), ..base },
        "checkout" => Scenario {
            rate: |t| step(t, 2.0),
            whose: |random, _| if random < 0.2 { (0, 0) } else { (5, 0) },
            ..base
        },
        "tenant" => Scenario {
            rate: |t| step(t, 2.0),
            // seven send 0.525 of the capacity, whatever the eighth does
            whose: |random, t| {
                let quiet = if (WARM..UNTIL).contains(&t) { 0.525 / 2.0 } else { 0.875 };
                (3, if random < quiet { 1 + (random / quiet * 7.0) as u64 } else { 0 })
            },
            ..base
        },
        _ => unreachable!("{name}"),
    }
}

fn took(requests: &[&Request], of: fn(&Request) -> u64) -> f64 {
    let served = requests.iter().filter(|r| r.fate == Fate::Served);
    quantile(&mut served.map(|r| of(r) as f64 / 1000.0).collect::<Vec<_>>(), 0.99)
}

fn is_good(request: &Request) -> bool {
    request.fate == Fate::Served && request.ended - request.at <= DEADLINE_US
}

pub fn see(name: &str, make: &Make, seed: u64) -> Seen {
    let scenario = named(name);
    let run = Run::of(&scenario, seed, make);
    let all: Vec<_> = run.measured().collect();
    let is_theirs = |r: &&&Request| if name.starts_with("checkout") { r.urgency == 0 } else { r.tenant > 0 };
    let theirs: Vec<_> = all.iter().filter(is_theirs).copied().collect();
    let good = |requests: &[&Request]| requests.iter().filter(|r| is_good(r)).count() as f64;
    let mut spans = [(0.0, 0.0); 20];
    for request in &run.requests {
        let after = (Run::since_start(request.at) - UNTIL) * 10.0;
        if let Some(span) = spans.get_mut(after as usize).filter(|_| after >= 0.0) {
            span.0 += f64::from(u8::from(is_good(request)));
            span.1 += 1.0;
        }
    }
    let unwell = spans.iter().rposition(|(good, all)| *good < 0.99 * all);
    Seen {
        refused: all.iter().filter(|r| r.fate == Fate::Refused).count() as f64,
        wait: took(&all, |r| (r.ended - r.at).saturating_sub(r.work_us)),
        p99: took(&all, |r| r.ended - r.at),
        their_p99: took(&theirs, |r| r.ended - r.at),
        their_served: good(&theirs) / theirs.len().max(1) as f64,
        goodput: good(&all) / (UNTIL - WARM) / scenario.capacity(),
        recovery: unwell.map_or(0.0, |span| (span + 1) as f64 / 10.0),
    }
}

fn all(name: &str, make: Make) -> Vec<Seen> {
    (1..13).map(|seed| see(name, &make, seed)).collect()
}

fn median(seen: &[Seen], of: fn(&Seen) -> f64) -> f64 {
    quantile(&mut seen.iter().map(of).collect::<Vec<_>>(), 0.5)
}

/// Where nginx refuses nobody, nor does the queue, with any seed; and who is served waits no longer.
#[test]
fn a_machine_that_stands_still_now_and_then_is_not_overloaded() {
    for name in ["0.9", "0.9 stalls few", "0.9 stalls hard", "0.95"] {
        let (ours, theirs) = (all(name, QUEUE), all(name, |s| LeastConn::of(s)));
        assert!(ours.iter().all(|seen| seen.refused == 0.0), "{name}: {ours:?}");
        let (ours, theirs) = (median(&ours, |s| s.wait), median(&theirs, |s| s.wait));
        assert!(ours < theirs, "{name}: {ours}, {theirs}");
    }
}

#[test]
fn overload_is_as_short_as_if_there_were_no_bursts() {
    for name in ["2", "2 stalls few", "3"] {
        let seen = all(name, QUEUE);
        assert!(
            median(&seen, |s| s.goodput) >= 0.97 && median(&seen, |s| s.p99) <= 125.0,
            "{name}: {seen:?}"
        );
        assert!(median(&seen, |s| s.recovery) <= 0.1, "{name}: {seen:?}");
    }
    for (name, capacity) in [("checkout", 0.98), ("tenant", 0.97)] {
        let seen = all(name, QUEUE);
        assert!(seen.iter().all(|s| s.their_served >= 0.999), "{name}: {seen:?}");
        assert!(median(&seen, |s| s.their_p99) <= 105.0, "{name}: {seen:?}");
        assert!(median(&seen, |s| s.goodput) >= capacity, "{name}: {seen:?}");
    }
}

#[test]
#[ignore = "prints the table; SEEDS=64 takes minutes without optimisation"]
fn bursts_table() {
    let seeds = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let least_conn: Make = |s| LeastConn::of(s);
    for name in [
        "0.7 stalls few",
        "0.9",
        "0.9 stalls few",
        "0.9 stalls hard",
        "0.9 stalls long",
        "0.95",
        "1.1",
        "1.2",
        "1.5",
        "2",
        "2 stalls few",
        "3",
        "checkout",
        "tenant",
    ] {
        for (method, make) in [("queue", QUEUE), ("least_conn", least_conn)] {
            let seen: Vec<Seen> = (1..1 + seeds).map(|seed| see(name, &make, seed)).collect();
            let all = |of: fn(&Seen) -> f64| seen.iter().map(of).collect::<Vec<_>>();
            let mean = |of| all(of).iter().sum::<f64>() / seen.len() as f64;
            let worst = |of| quantile(&mut all(of), 1.0);
            println!(
                "{name:16} {method:10} refused {:6.1} most {:4} runs {:3}  wait {:6.1}  p99 {:6.1} worst {:6.1}  theirs {:6.1} worst {:6.1} served {:7.3} % least {:7.3}  capacity {:5.2} %  recovery {:.2} worst {:.1}",
                mean(|s| s.refused), worst(|s| s.refused), all(|s| s.refused).iter().filter(|n| **n > 0.0).count(), mean(|s| s.wait), mean(|s| s.p99), worst(|s| s.p99),
                mean(|s| s.their_p99), worst(|s| s.their_p99), mean(|s| s.their_served) * 100.0,
                -worst(|s| -s.their_served) * 100.0, mean(|s| s.goodput) * 100.0, mean(|s| s.recovery), worst(|s| s.recovery),
            );
        }
    }
}
