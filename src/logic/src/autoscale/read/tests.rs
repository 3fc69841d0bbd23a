use super::*;
use crate::autoscale::metrics::columns::Owner;
use crate::autoscale::metrics::flight::{reject, Flight};
use crate::autoscale::metrics::series::Class;
use crate::autoscale::metrics::word::Word;
use crate::autoscale::metrics::zone::Layout;
use crate::autoscale::metrics::Now;

const SIZE: usize = 2 << 20;

fn at(ms: u64) -> Now {
    Now::from_ms(1_000_000_000 + ms)
}

fn with_zone(test: impl FnOnce(&Zone<'_>)) {
    let words: Vec<Word> = (0..SIZE / 8).map(|_| Word::new(0)).collect();
    let layout = Layout::plan(SIZE, 64, 8).unwrap();
    test(&Zone::create(&words, &layout, 3, at(0)));
}

fn read(zone: &Zone<'_>, signal: &str, ms: u64) -> Reading {
    let signal: Signal = signal.parse().unwrap();
    signal.resolve(zone, 1).unwrap().read(zone, at(ms)).unwrap()
}

fn value(zone: &Zone<'_>, signal: &str, ms: u64) -> f64 {
    read(zone, signal, ms).value.unwrap_or_else(|| panic!("{signal} has no value"))
}

/// One request a step to one peer with one key, of `took` milliseconds.
fn traffic(
    zone: &Zone<'_>,
    ms: std::ops::Range<u64>,
    step: usize,
    took: impl Fn(u64) -> u64,
    class: impl Fn(u64) -> Class,
) {
    let app = zone.upstream(b"app", at(0)).unwrap();
    let peer = zone.peer(app, b"10.0.0.1:80", at(0)).unwrap();
    let tenant = zone.key_name(b"tenant", 32, at(0)).unwrap();
    let worker = zone.columns().claim(Owner { pid: 1, stamp: 1 });
    for ms in ms.step_by(step) {
        let key = zone.key(tenant, b"acme", at(ms)).unwrap();
        let mut flight = Flight::start(zone, worker, app, std::slice::from_ref(&key), at(ms));
        flight.attempt(zone, peer, at(ms));
        flight.first_byte(zone, Some(700), false, at(ms + took(ms) / 2));
        flight.end(zone, class(ms), at(ms + took(ms)));
    }
    zone.columns().release(worker, Owner { pid: 1, stamp: 1 });
}

#[test]
fn every_metric_of_every_scope_reads() {
    with_zone(|zone| {
        let class = |ms| if ms >= 30_000 && ms % 400 == 0 { Class::ServerError } else { Class::Success };
        traffic(zone, 0..60_000, 100, |_| 40, class);
        let table = [
            ("upstream.app.rate@1m", 10.0),
            ("upstream.app.rate@5s", 10.0),
            ("upstream.app.latency@1m", 0.04),
            ("upstream.app.ttfb@1m", 0.02),
            ("upstream.app.connect@1m", 0.0007),
            ("upstream.app.errors@1m", 75.0),
            ("upstream.app.error_rate@1m", 75.0 / 600.0),
            ("upstream.app.rejects", 0.0),
            ("upstream.app.inflight", 0.0),
            ("upstream.app.latency@10r", 0.04),
            ("upstream.app.latency.p99@10r", 0.04),
            ("upstream.app.errors@10r", 2.0),
            ("upstream.app.error_rate@64r", 0.25),
            ("peer.app/10.0.0.1:80.rate@1m", 10.0),
            ("peer.app/10.0.0.1:80.latency.ewma", 0.04),
            ("key.tenant.rate@1m", 10.0),
            ("key.tenant/acme.errors@1m", 75.0),
            ("key.tenant/acme.latency@11r", 0.04),
            ("self.rate@1m", 10.0),
            ("self.error_rate@1m", 75.0 / 600.0),
            ("self.inflight", 0.0),
            ("slope(upstream.app.latency@1m)", 0.0),
        ];
        for (signal, right) in table {
            let value = value(zone, signal, 60_000);
            assert!((value - right).abs() <= right.abs() * 0.02 + 1e-6, "{signal}: {value} against {right}");
        }
        for signal in ["upstream.app.latency.p95@1m", "self.latency.p95@1m", "key.tenant/acme.latency.p50@1m"]
        {
            assert!((value(zone, signal, 60_000) / 0.04 - 1.0).abs() < 0.2, "{signal}");
        }
    });
}

#[test]
fn no_samples_is_no_value_and_ages() {
    with_zone(|zone| {
        traffic(zone, 0..1000, 100, |_| 40, |_| Class::Success);
        let fresh = read(zone, "upstream.app.latency", 1000);
        assert_eq!((fresh.value, fresh.samples), (Some(0.04), 10));
        assert!((fresh.age - 0.06).abs() < 1e-9, "{}", fresh.age);
        let stale = read(zone, "upstream.app.latency", 61_000);
        assert_eq!((stale.value, stale.samples), (None, 0));
        assert!((stale.age - 60.06).abs() < 1e-9, "{}", stale.age);
        let rate = read(zone, "upstream.app.rate", 61_000);
        assert_eq!((rate.value, rate.age), (Some(0.0), 0.0));
        assert_eq!(read(zone, "upstream.app.error_rate", 61_000).value, None);
    });
}

#[test]
fn climbing_latency_has_a_slope_before_it_has_a_level() {
    with_zone(|zone| {
        // 100 ms, and 10 ms more every second
        traffic(zone, 0..60_000, 50, |ms| 100 + ms / 100, |_| Class::Success);
        let slope = value(zone, "slope(upstream.app.latency@1m)", 60_000);
        assert!((slope - 0.01).abs() < 0.001, "{slope}");
        let slope = value(zone, "slope(self.latency.p95@1m)", 60_000);
        assert!((slope - 0.01).abs() < 0.003, "{slope}");
    });
}

#[test]
fn a_slope_needs_two_halves() {
    with_zone(|zone| {
        traffic(zone, 40_000..60_000, 50, |_| 100, |_| Class::Success);
        assert_eq!(read(zone, "slope(upstream.app.latency@10s)", 41_000).value, None);
        assert!(read(zone, "slope(upstream.app.latency@10s)", 60_000).value.is_some());
    });
}

#[test]
fn levels_read_now_and_over_time() {
    with_zone(|zone| {
        let app = zone.upstream(b"app", at(0)).unwrap();
        let worker = zone.columns().claim(Owner { pid: 1, stamp: 1 });
        for s in 0..60 {
            if s % 2 == 0 {
                let _stays = Flight::start(zone, worker, app, &[], at(s * 1000));
            }
            zone.sample_levels(at(s * 1000));
        }
        assert_eq!(value(zone, "upstream.app.inflight", 59_000), 30.0);
        assert_eq!(value(zone, "upstream.app.waiting", 59_000), 30.0);
        assert_eq!(value(zone, "upstream.app.inflight@1m", 59_000), 15.5);
        assert_eq!(value(zone, "upstream.app.inflight.max@1m", 59_000), 30.0);
        let slope = value(zone, "slope(upstream.app.inflight@1m)", 59_000);
        assert!((slope - 0.5).abs() < 0.05, "{slope}");
        reject(zone, app, &[], at(59_000));
        assert_eq!(value(zone, "self.rejects", 59_000), 1.0);
    });
}

#[test]
fn reported_numbers_read() {
    with_zone(|zone| {
        let cpu = zone.meter(zone.gateway(b"cpu", at(0)).unwrap()).unwrap();
        let depth = zone.meter(zone.external(b"queue", Some(b"depth"), at(0)).unwrap()).unwrap();
        let orders = zone.meter(zone.counter(b"orders", Some(b"eu"), at(0)).unwrap()).unwrap();
        let size = zone.dist(zone.distribution(b"size", None, at(0)).unwrap()).unwrap();
        for s in 0..60u32 {
            let now = at(u64::from(s) * 1000);
            cpu.set(now, 0.5 + f64::from(s % 2) * 0.2);
            depth.set(now, f64::from(s));
            orders.incr(now, 2.0);
            size.observe(now, f64::from(s + 1));
        }
        let table = [
            ("self.cpu@1m", 0.6),
            ("self.cpu.max@1m", 0.7),
            ("ext.queue.depth", 59.0),
            ("ext.queue.depth@1m", 29.5),
            ("slope(ext.queue.depth@1m)", 1.0),
            ("custom.orders/eu@1m", 120.0),
            ("custom.orders/eu.rate@1m", 2.0),
            ("custom.size.avg@1m", 30.5),
            ("custom.size.max@1m", 60.0),
            ("custom.size.rate@1m", 1.0),
            ("custom.size.p50@1m", 30.0),
        ];
        for (signal, right) in table {
            let value = value(zone, signal, 59_500);
            assert!((value / right - 1.0).abs() < 0.12, "{signal}: {value} against {right}");
        }
        assert_eq!(read(zone, "ext.queue.depth", 89_000).age, 30.0);
        assert_eq!(read(zone, "self.cpu", 89_000).value, None);
    });
}

#[test]
fn unknown_names_say_what_is_near() {
    with_zone(|zone| {
        traffic(zone, 0..100, 100, |_| 1, |_| Class::Success);
        let resolve =
            |signal: &str| signal.parse::<Signal>().unwrap().resolve(zone, 1).unwrap_err().to_string();
        let table = [
            ("upstream.ap.rate", "there is no upstream \"ap\" (did you mean \"app\"?)"),
            ("peer.app/10.0.0.1:81.rate", "there is no peer \"10.0.0.1:81\" (did you mean \"10.0.0.1:80\"?)"),
            ("peer.nope/10.0.0.1:80.rate", "there is no upstream \"nope\""),
            ("key.tenent.rate", "there is no key \"tenent\" (did you mean \"tenant\"?)"),
            ("key.tenant/acmee.rate", "there is no key value \"acmee\" (did you mean \"acme\"?)"),
            ("ext.depth", "there is no external signal \"depth\""),
            ("custom.orders/eu", "there is no custom metric \"orders/eu\""),
            ("self.cpu", "there is no sample of \"cpu\""),
        ];
        for (signal, part) in table {
            assert!(resolve(signal).contains(part), "{}", resolve(signal));
        }
        let long = "upstream.app.rate@1000x".parse::<Signal>().unwrap().resolve(zone, 5).unwrap_err();
        assert!(long.to_string().contains("1000 ticks of 5s are longer"), "{long}");
    });
}

#[test]
fn a_handle_knows_when_its_peer_is_gone() {
    with_zone(|zone| {
        traffic(zone, 0..100, 100, |_| 1, |_| Class::Success);
        let signal: Signal = "peer.app/10.0.0.1:80.rate".parse().unwrap();
        let resolved = signal.resolve(zone, 1).unwrap();
        assert!(resolved.read(zone, at(100)).is_ok());
        let app = zone.find_upstream(b"app").unwrap();
        assert!(zone.remove_peer(zone.find_peer(app, b"10.0.0.1:80").unwrap()));
        assert_eq!(resolved.read(zone, at(100)), Err(Gone));
        zone.peer(app, b"10.0.0.1:80", at(100)).unwrap();
        assert_eq!(resolved.read(zone, at(100)), Err(Gone));
        assert_eq!(value(zone, "peer.app/10.0.0.1:80.rate", 100), 0.0);
    });
}
