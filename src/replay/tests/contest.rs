//! Whole runs against traces made here.

use logic::autoscale::policy::Policy;
use replay::contest::{hpa_cpu, hpa_rate, kpa, kpa_rate, own, Bounds, Contender};
use replay::report::{place, table, Place, Series};
use replay::run::{run, Score, Tell};
use replay::service::Shape;
use replay::trace::{Taken, Trace};
use replay::{chart, conf};
use std::path::PathBuf;

const SHAPE: Shape = Shape { rate: 100.0, service_s: 0.02, start_s: 30, queue_s: 1.0, slo_s: 0.5 };
const BOUNDS: Bounds = Bounds { min: 1, max: 100 };
const TAKEN: Taken = Taken { speed: 1.0, peak: None, per_s: None, linear: false };

/// A trace of so many seconds, a rate for each.
fn trace(seconds: u64, rate: impl Fn(u64) -> f64) -> Trace {
    let lines: String = (0..seconds).map(|s| format!("{s},{}\n", rate(s))).collect();
    Trace::parse(&format!("time,rate\n{lines}"), TAKEN).unwrap()
}

fn policy(lines: &str) -> Policy {
    let text = format!("autoscale_target t pool:app max=100; autoscale_policy p target=t {{ {lines} }}");
    conf::parsed("test", &text, PathBuf::new()).unwrap().settings.policies.remove(0).policy
}

fn score(trace: &Trace, contender: &Contender) -> Score {
    run(trace, SHAPE, contender, Tell::All { points: 100 })
}

/// A day in two hours: a slow wave, with a flash of ten times in it.
fn flash(s: u64) -> f64 {
    let wave = 300.0 + 200.0 * (s as f64 / 7200.0 * std::f64::consts::TAU).sin();
    if (3000..3300).contains(&s) {
        wave * 10.0
    } else {
        wave
    }
}

#[test]
fn a_steady_load_is_served_by_what_it_needs() {
    let steady = trace(3600, |_| 700.0);
    for contender in [
        hpa_cpu(0.7, BOUNDS),
        hpa_rate(0.7, SHAPE, BOUNDS),
        kpa_rate(0.7, SHAPE, BOUNDS),
        own(&policy("track upstream.app.rate@30s per=70;"), 1.0),
    ] {
        let score = score(&steady, &contender);
        assert_eq!((score.lost, score.late, score.most), (0.0, 0.0, 10), "{}", contender.name);
        assert_eq!(score.ideal_s, 7.0 * 3600.0);
    }
}

#[test]
fn cpu_grows_by_its_goal_s_inverse_and_rate_at_once() {
    // a tenfold step: CPU saturates at 100 %, so each sync sees at most 1 / 0.7 of what there is
    let step = trace(1200, |s| if s < 300 { 350.0 } else { 3500.0 });
    let cpu = score(&step, &hpa_cpu(0.7, BOUNDS));
    let ours = score(&step, &own(&policy("track upstream.app.rate@30s per=70 panic=150%:3s;"), 1.0));
    assert!(cpu.ups >= 5, "{:?}", cpu.actions);
    for (s, from, to, _) in cpu.actions.iter().filter(|(s, ..)| *s > 300) {
        assert!(f64::from(*to) <= (f64::from(*from) / 0.7).ceil() + 1.0, "{s}: {from} to {to}");
    }
    assert_eq!(ours.actions.iter().find(|(s, ..)| *s > 300).map(|(s, ..)| *s), Some(301));
    assert!(ours.lost < cpu.lost / 3.0, "{} against {}", ours.lost, cpu.lost);
}

#[test]
fn nobody_is_faster_than_a_replica_starts() {
    let step = trace(600, |s| if s < 300 { 70.0 } else { 700.0 });
    let ours = score(&step, &own(&policy("track upstream.app.rate@30s per=70 panic=150%:3s;"), 1.0));
    // 700/s against one replica for the start time: 600/s go, but for one second of queue
    assert!((ours.lost - 600.0 * 31.0).abs() <= 700.0, "{}", ours.lost);
    let scheduled =
        policy("track upstream.app.rate@30s per=70 panic=150%:3s; schedule \"5 0 * * *\" before=1m min=10;");
    let warm = score(&step, &own(&scheduled, 1.0));
    assert_eq!(warm.lost, 0.0, "T3: what is known in advance needs no reaction");
}

#[test]
fn the_built_in_policy_is_on_the_frontier_of_a_flash() {
    let flash = trace(7200, flash);
    let found = conf::parsed("built-in", &conf::built_in(100.0, 0.7, 1, 100), PathBuf::new()).unwrap();
    let ours = score(&flash, &own(&found.settings.policies[0].policy, 1.0));
    let rivals: Vec<Score> = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
        .iter()
        .flat_map(|goal| {
            [
                hpa_cpu(*goal, BOUNDS),
                hpa_rate(*goal, SHAPE, BOUNDS),
                kpa(*goal, SHAPE, BOUNDS),
                kpa_rate(*goal, SHAPE, BOUNDS),
            ]
        })
        .map(|rival| score(&flash, &rival))
        .collect();
    assert_eq!(place(&ours, &rivals.iter().collect::<Vec<_>>()), Place::Frontier);
}

#[test]
fn a_step_policy_scales_on_what_the_gateway_sees() {
    let ramp = trace(1800, |s| 100.0 + s as f64);
    let text = "up upstream.app.latency > 40ms for=3x by=+2; down upstream.app.inflight < 1 for=5m by=-1;
                limit max=40; cooldown up=35s;";
    let ours = score(&ramp, &own(&policy(text), 1.0));
    assert!(ours.ups > 5 && ours.lost_percent() < 1.0, "{} ups, {} % lost", ours.ups, ours.lost_percent());
    assert!(ours.actions[0].3.contains("up upstream.app.latency > 40ms"), "{:?}", ours.actions[0]);
}

#[test]
fn columns_are_signals() {
    let lines: String = (0..200).map(|s| format!("{s},50,{}\n", if s < 100 { 5 } else { 500 })).collect();
    let trace = Trace::parse(&format!("time,rate,custom.jobs\n{lines}"), TAKEN).unwrap();
    let ours = score(&trace, &own(&policy("track custom.jobs@10s per=50;"), 1.0));
    let most: Vec<u32> = ours.actions.iter().map(|(_, _, to, _)| *to).collect();
    assert_eq!(most.last(), Some(&10), "{:?}", ours.actions);
}

#[test]
fn the_same_input_gives_the_same_output() {
    let flash = trace(3600, flash);
    let contender = own(&policy("track upstream.app.rate@30s per=70 panic=150%:3s;"), 1.0);
    assert_eq!(score(&flash, &contender), score(&flash, &contender));
}

#[test]
fn the_report_and_the_chart_show_everybody() {
    let flash = trace(3600, flash);
    let runs = |contender: Contender| vec![(contender.setting, score(&flash, &contender))];
    let all = [
        Series { name: "policy", runs: runs(own(&policy("track upstream.app.rate@30s per=70;"), 1.0)) },
        Series { name: "KPA", runs: runs(kpa(0.7, SHAPE, BOUNDS)) },
    ];
    let text = table(&all);
    assert_eq!(text.lines().count(), 3);
    let svg = chart::draw("a <flash>", &all, &[0, 0], SHAPE);
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("a &lt;flash&gt;"));
    assert_eq!(svg.matches("<polyline").count(), 2 + 2 * 2);
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}
