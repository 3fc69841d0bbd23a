use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Signal {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn message(text: &str) -> String {
    match text.parse::<Signal>() {
        Ok(signal) => panic!("{text} parsed to {signal}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn names_with_dots_colons_slashes_have_one_reading() {
    // (text, canonical spelling)
    let table = [
        ("upstream.app.latency", "upstream.app.latency.avg@5s"),
        ("upstream.app.latency.p99@1m", "upstream.app.latency.p99@1m"),
        ("upstream.shop.example.com.error_rate@60s", "upstream.shop.example.com.error_rate.avg@1m"),
        ("upstream.max.latency.latency.max", "upstream.max.latency.latency.max@5s"),
        ("upstream.app.active", "upstream.app.inflight"),
        ("upstream.app.inflight.max@1m", "upstream.app.inflight.max@1m"),
        ("upstream.app.ttfb.ewma", "upstream.app.ttfb.ewma"),
        ("upstream.app.latency@11r", "upstream.app.latency.avg@11r"),
        ("upstream.app.queue", "upstream.app.queue"),
        ("upstream.unix:/run/a.sock.rate", "upstream.unix:/run/a.sock.rate.avg@5s"),
        ("peer.app/10.0.0.1:80.latency.p95", "peer.app/10.0.0.1:80.latency.p95@5s"),
        ("peer.app/[::1]:80.rate@1h", "peer.app/[::1]:80.rate.avg@1h"),
        ("peer.app/unix:/run/b.c/d.sock.connect", "peer.app/unix:/run/b.c/d.sock.connect.avg@5s"),
        ("peer.unix:/a/b.sock/unix:/a/b.sock.rate", "peer.unix:/a/b.sock/unix:/a/b.sock.rate.avg@5s"),
        ("peer.app/unix:/tmp/a@b.sock.rate", "peer.app/unix:/tmp/a@b.sock.rate.avg@5s"),
        ("key.tenant.rate", "key.tenant.rate.avg@5s"),
        ("key.tenant/a.b/c@d.rate@5s", "key.tenant/a.b/c@d.rate.avg@5s"),
        ("key.tenant/acme.latency@11r", "key.tenant/acme.latency.avg@11r"),
        ("ext.depth", "ext.depth"),
        ("ext.prom.vllm:num_waiting", "ext.prom.vllm:num_waiting"),
        ("ext.prom.depth.max@5m", "ext.prom.depth.max@5m"),
        ("custom.cart_size.p95@1m", "custom.cart_size.p95@1m"),
        ("custom.orders.rate", "custom.orders.rate.avg@5s"),
        ("custom.orders/eu", "custom.orders/eu.avg@5s"),
        ("self.cpu@5m", "self.cpu.avg@5m"),
        ("self.cpu", "self.cpu.avg@5s"),
        ("self.inflight", "self.inflight"),
        ("slope(upstream.app.latency)", "slope(upstream.app.latency.avg@5s)"),
        ("slope(upstream.app.inflight@1m)", "slope(upstream.app.inflight.avg@1m)"),
        ("slope(upstream.app.latency.p99)@1m", "slope(upstream.app.latency.p99@1m)"),
        (" upstream.app.latency@3x ", "upstream.app.latency.avg@3x"),
    ];
    for (text, canonical) in table {
        assert_eq!(parse(text).to_string(), canonical, "{text}");
        assert_eq!(parse(canonical), parse(text), "{text}");
    }
}

#[test]
fn peer_parts_are_told_apart() {
    let Scope::Peer { upstream, addr } = parse("peer.a.b/unix:/x/y.latency").scope else { panic!() };
    assert_eq!((upstream.as_str(), addr.as_str()), ("a.b", "unix:/x/y"));
}

#[test]
fn errors_name_the_part_and_the_right_one() {
    let table = [
        ("", "signal is empty"),
        ("upstraem.app.latency", "unknown scope \"upstraem\" (did you mean \"upstream\"?)"),
        ("upstream", "no name after the scope; write upstream.NAME.METRIC"),
        ("upstream.latency", "no name after the scope"),
        ("upstream.latency.max", "no name after the scope"),
        ("upstream.app", "unknown metric \"app\"; an upstream has rate, inflight"),
        ("upstream.app.latncy", "unknown metric \"latncy\" (did you mean \"latency\"?)"),
        ("upstream.app.cpu", "unknown metric \"cpu\"; an upstream has rate"),
        ("upstream.app.latency.p90", "unknown stat \"p90\" (did you mean \"p50\"?)"),
        ("upstream.app.latency@5", "window \"5\" has no unit; time is 5s"),
        ("upstream.app.latency@5q", "unknown unit \"q\""),
        ("upstream.app.latency@s", "window \"s\" is not a number and a unit"),
        ("upstream.app.latency@", "window \"\" is not a number and a unit"),
        ("upstream.app.latency@0s", "window \"0s\" is empty"),
        ("upstream.app.latency@1d", "window \"1d\" is longer than what is kept; the longest is 1h"),
        ("upstream.app.latency@99999999999h", "is longer than what is kept"),
        ("upstream.app.latency@65r", "the longest is 64r"),
        ("upstream.app.rate@10r", "last requests are kept for latency, errors and error_rate"),
        ("upstream.app.rate.p99", "rate has no p99; it is one number a window"),
        ("upstream.app.inflight.p99", "inflight has no p99; a level has avg and max"),
        ("upstream.app.latency.ewma@1m", "ewma forgets by itself"),
        ("peer.app.latency", "peer \"app\" needs an upstream and an address"),
        ("peer.app/.latency", "needs an upstream and an address"),
        ("peer.unix:/a/b.sock.latency", "needs an upstream and an address"),
        ("key./x.rate", "no name after the scope"),
        ("key.tenant/a.ttfb.p99", "of a key only avg is kept"),
        ("key.tenant/a.inflight@1m", "of a key it is known only now"),
        ("key.tenant/a.latency@17r", "a key remembers its last 16 requests"),
        ("ext", "no name after the scope"),
        ("custom.", "no name after the scope"),
        ("self", "no metric; write self.METRIC"),
        ("self.cppu", "unknown metric \"cppu\" (did you mean \"cpu\"?)"),
        ("self.latency.ewma", "each upstream has one"),
        ("slope(upstream.app.latency", "slope( is not closed"),
        ("slope(upstream.app.latency@1m)@1m", "slope( is not closed"),
        ("slope(upstream.app.latency@10r)", "a slope needs a window of time"),
    ];
    for (text, part) in table {
        let message = message(text);
        assert!(message.contains(part), "{text}: {message}");
    }
}

proptest! {
    #[test]
    fn what_parses_prints_and_parses_again(
        scope in prop::sample::select(vec!["upstream", "peer", "key", "ext", "custom", "self"]),
        name in "[a-z.:/\\[\\]@0-9]{0,20}",
        tail in prop::sample::select(vec!["", ".latency", ".rate", ".inflight.max", ".latency.p99@1m", ".errors@10r", "@5s"]),
    ) {
        if let Ok(signal) = format!("{scope}.{name}{tail}").parse::<Signal>() {
            let again: Signal = signal.to_string().parse().unwrap();
            prop_assert_eq!(again, signal);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = text.parse::<Signal>();
        let _ = format!("slope({text}").parse::<Signal>();
    }
}
