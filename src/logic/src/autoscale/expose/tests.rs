use super::*;
use crate::autoscale::limit::Outcome;
use crate::autoscale::metrics::columns::Owner;
use crate::autoscale::metrics::flight::Flight;
use crate::autoscale::metrics::series::Class;
use crate::autoscale::metrics::word::Word;
use crate::autoscale::metrics::zone::{Control, Layout, State};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::process::{Command, Stdio};

const SIZE: usize = 2 << 20;

pub(super) fn at(ms: u64) -> Now {
    Now::from_ms(1_000_000_000 + ms)
}

/// A zone with something of everything, some of it hard to write.
pub(super) fn with_zone(test: impl FnOnce(&Zone<'_>)) {
    let words: Vec<Word> = (0..SIZE / 8).map(|_| Word::new(0)).collect();
    let zone = Zone::create(&words, &Layout::plan(SIZE, 64, 8).unwrap(), 3, at(0));
    let app = zone.upstream(b"app", at(0)).unwrap();
    zone.upstream(b"unix:/run/idle.sock", at(0)).unwrap();
    let peers = [&b"10.0.0.1:80"[..], b"[::1]:80"].map(|addr| zone.peer(app, addr, at(0)).unwrap());
    let control = Control { state: State::Drain, forced: true, weight: 3, ..Control::default() };
    zone.set_control(peers[1], control);
    let tenant = zone.key_name(b"tenant", 32, at(0)).unwrap();
    let worker = zone.columns().claim(Owner { pid: 1, stamp: 1 });
    let hard = [&b"acme"[..], b"a\"b\\c\nd", b"\xff\xfe", "caf\u{e9}".as_bytes()];
    for ms in 0..1000u64 {
        let key = zone.key(tenant, hard[ms as usize % 4], at(ms)).unwrap();
        let mut flight = Flight::start(&zone, worker, app, std::slice::from_ref(&key), at(ms));
        flight.attempt(&zone, peers[0], at(ms));
        flight.first_byte(&zone, Some(300), false, at(ms + 20));
        flight.end(&zone, if ms % 10 == 0 { Class::ServerError } else { Class::Success }, at(ms + 40));
    }
    let learnt = zone.tenant(peers[0]).unwrap().learnt();
    (0..400).for_each(|i| {
        learnt.sample(at(i * 2), 20_000 * (1 + i as u32 % 2), 1 + i as u32 % 2, Outcome::Answered, || None)
    });
    let _open = Flight::start(&zone, worker, app, &[], at(1000));
    zone.meter(zone.counter(b"orders", Some(b"eu"), at(0)).unwrap()).unwrap().incr(at(1000), 3.0);
    zone.meter(zone.external(b"queue", Some(b"depth"), at(0)).unwrap()).unwrap().set(at(1000), -4.5);
    zone.meter(zone.gateway(b"cpu", at(0)).unwrap()).unwrap().set(at(1000), 0.25);
    zone.dist(zone.distribution(b"size", None, at(0)).unwrap()).unwrap().observe(at(1000), 17.0);
    test(&zone);
}

fn text(zone: &Zone<'_>) -> String {
    let mut out = Vec::new();
    prometheus(zone, at(2000), &Scaling::default(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn prometheus_says_what_was_counted() {
    with_zone(|zone| {
        let text = text(zone);
        for line in [
            "autoscale_upstream_requests_total{upstream=\"app\",result=\"2xx\"} 900",
            "autoscale_upstream_requests_total{upstream=\"app\",result=\"5xx\"} 100",
            "autoscale_upstream_requests_total{upstream=\"unix:/run/idle.sock\",result=\"2xx\"} 0",
            "autoscale_upstream_active_requests{upstream=\"app\"} 1",
            "autoscale_upstream_response_seconds_bucket{upstream=\"app\",le=\"0.025\"} 0",
            "autoscale_upstream_response_seconds_bucket{upstream=\"app\",le=\"0.05\"} 1000",
            "autoscale_upstream_response_seconds_bucket{upstream=\"app\",le=\"+Inf\"} 1000",
            "autoscale_upstream_response_seconds_sum{upstream=\"app\"} 40",
            "autoscale_upstream_response_seconds_count{upstream=\"app\"} 1000",
            "autoscale_peer_first_byte_seconds_sum{upstream=\"app\",peer=\"10.0.0.1:80\"} 20",
            "autoscale_peer_up{upstream=\"app\",peer=\"[::1]:80\"} 0",
            "autoscale_peer_slots{upstream=\"app\",peer=\"10.0.0.1:80\"} 1",
            "autoscale_peer_service_seconds{upstream=\"app\",peer=\"10.0.0.1:80\"} 0.020083498046875",
            "autoscale_peer_response_seconds{upstream=\"app\",peer=\"[::1]:80\",quantile=\"0.99\"} NaN",
            "autoscale_key_requests_total{key=\"tenant\",value=\"a\\\"b\\\\c\\nd\",result=\"2xx\"} 250",
            "autoscale_label_response_seconds_count{key=\"tenant\"} 1000",
            "autoscale_custom_total{name=\"orders\",key=\"eu\"} 3",
            "autoscale_signal_value{name=\"queue\",field=\"depth\"} -4.5",
            "autoscale_gateway_load_ratio{resource=\"cpu\"} 0.25",
            "autoscale_custom_observations_count{name=\"size\",key=\"\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line} in:\n{text}");
        }
    });
}

#[test]
fn names_that_print_alike_are_told_apart() {
    with_zone(|zone| {
        let tenant = zone.find_key_name(b"tenant").unwrap();
        let long = "x".repeat(64);
        let alike = [
            b"\xff".to_vec(),
            b"\xfe".to_vec(),
            format!("{long}one").into_bytes(),
            format!("{long}two").into_bytes(),
        ];
        for name in &alike {
            zone.key(tenant, name, at(1000)).unwrap();
        }
        let text = text(zone);
        let cut = text.lines().filter(|l| l.contains(&long) && l.contains("2xx")).collect::<HashSet<_>>();
        let broken =
            text.lines().filter(|l| l.contains('\u{fffd}') && l.contains("2xx")).collect::<HashSet<_>>();
        assert_eq!((cut.len(), broken.len()), (2, 3));
    });
}

/// The rules of the format that can be checked without a tool.
#[test]
fn prometheus_text_is_well_formed() {
    with_zone(|zone| {
        let text = text(zone);
        let (mut types, mut seen, mut family) = (HashMap::new(), HashSet::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(types.insert(name.to_string(), kind.to_string()).is_none(), "{name} twice");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                family = name.into();
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                assert!(rest.split_once(' ').unwrap().1.ends_with('.'));
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(seen.insert(series.to_string()), "{series} twice");
                let name = series.split('{').next().unwrap();
                let suffix =
                    name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{name} is not of {family}"));
                assert!(matches!(suffix, "" | "_sum" | "_count" | "_bucket"), "{name}");
            }
        }
        assert!(text.ends_with('\n') && types.len() > 20);
    });
}

/// Where Prometheus is installed, its own judgement counts.
#[test]
fn promtool_has_nothing_to_say() {
    with_zone(|zone| {
        let tool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut tool) = tool else { return eprintln!("promtool is not installed: not checked") };
        tool.stdin.take().unwrap().write_all(text(zone).as_bytes()).unwrap();
        let out = tool.wait_with_output().unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    });
}

#[test]
fn json_says_the_same() {
    with_zone(|zone| {
        let mut out = Vec::new();
        json(zone, at(2000), &Scaling::default(), &mut out).unwrap();
        let status: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let at =
            |path: &str| status.pointer(path).unwrap_or_else(|| panic!("no {path} in {status:#}")).clone();
        assert_eq!(at("/upstreams/0/totals/5xx"), 100);
        for (path, right) in [
            ("/uptime", 2.0),
            ("/upstreams/0/active", 1.0),
            ("/upstreams/0/windows/5s/rate", 500.5),
            ("/upstreams/0/windows/1m/error_rate", 0.1),
            ("/upstreams/0/windows/1m/latency/avg", 0.04),
            ("/upstreams/0/ewma/ttfb", 0.02),
            ("/upstreams/0/peers/0/windows/1h/connect/n", 1000.0),
            ("/upstreams/0/peers/0/learnt/slots", 1.0),
            ("/upstreams/0/peers/0/learnt/service", 0.02),
            ("/upstreams/0/peers/1/weight", 3.0),
            ("/keys/0/values/0/totals/2xx", 200.0),
            ("/counters/0/value", 3.0),
            ("/signals/0/value", -4.5),
            ("/distributions/0/p99", 17.0),
        ] {
            let value = at(path).as_f64().unwrap_or_else(|| panic!("{path} is no number"));
            let near = (value - right).abs() <= right.abs() * 0.26;
            assert!(near, "{path}: {value} against {right}");
        }
        let p99 = at("/upstreams/0/windows/1m/latency/p99").as_f64().unwrap();
        assert!((p99 / 0.04 - 1.0).abs() < 0.06, "{p99}");
        let states = ["/upstreams/0/peers/0/state", "/upstreams/0/peers/1/state"].map(at);
        assert_eq!(states, ["up", "drain"]);
        let names: HashSet<_> =
            (0..4).map(|i| at(&format!("/keys/0/values/{i}/name")).as_str().unwrap().to_string()).collect();
        assert!(names.contains("a\"b\\c\nd") && names.contains("caf\u{e9}"));
        assert_eq!(at("/upstreams/0/windows/1m/latency/max"), at("/upstreams/0/windows/5s/latency/max"));
        assert!(at("/upstreams/1/windows/1m/latency").is_null());
    });
}
