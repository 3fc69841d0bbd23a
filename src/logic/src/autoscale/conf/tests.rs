//! The grammar, line by line, and what bad lines are told.

use super::*;
use crate::autoscale::policy::behavior::{Amount, Behavior, Rule, Select};
use crate::autoscale::policy::hpa::Share;
use crate::autoscale::policy::{
    Action, Condition, Cooldown, Does, Hold, Line, Mode, Op, Policy, Step, Threshold,
};

/// Splits at blanks; a part in single quotes is one word.
fn words(text: &str) -> Vec<&str> {
    let parts = text.split('\'').enumerate();
    parts
        .flat_map(|(n, part)| if n % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
        .collect()
}

fn policy(lines: &[&str]) -> Result<Policy> {
    let mut builder = PolicyBuilder::new(&["p", "target=t"])?;
    for line in lines {
        builder.line(&words(line), &|name| Err(format!("there is no zone \"{name}\"")))?;
    }
    builder.finish()
}

fn rule(line: &str) -> Does {
    policy(&[line]).unwrap_or_else(|e| panic!("{line}: {e}")).rules[0].does.clone()
}

fn refused(lines: &[&str]) -> String {
    policy(lines).expect_err(&lines.join("; ")).to_string()
}

#[test]
fn step_lines_of_the_design_parse() {
    let table = [
        (
            "up upstream.app.latency > 500ms for=11r by=+2",
            Op::Above,
            0.5,
            Hold::Requests(11),
            Step::Replicas(2),
        ),
        ("up upstream.app.latency > 500ms by=+2", Op::Above, 0.5, Hold::Now, Step::Replicas(2)),
        (
            "up upstream.app.latency@5s >= 200ms for=3x by=+50%",
            Op::AtLeast,
            0.2,
            Hold::Ticks(3),
            Step::Part(0.5),
        ),
        ("up self.cpu@5m > 70% for=5m by=+1", Op::Above, 0.7, Hold::Time(300_000_000), Step::Replicas(1)),
        ("up upstream.app.rate > 1.5k by=+1", Op::Above, 1500.0, Hold::Now, Step::Replicas(1)),
        ("up ext.queue.depth > 2M for=500ms by=+1", Op::Above, 2e6, Hold::Time(500_000), Step::Replicas(1)),
        ("up slope(upstream.app.latency@30s) > 10ms by=+1", Op::Above, 0.01, Hold::Now, Step::Replicas(1)),
        ("up upstream.app.queue > 100 for=1r by=+4", Op::Above, 100.0, Hold::Requests(1), Step::Replicas(4)),
        (
            "up key.tenant/acme.error_rate > 5% for=16r by=+1",
            Op::Above,
            0.05,
            Hold::Requests(16),
            Step::Replicas(1),
        ),
    ];
    for (line, op, value, hold, by) in table {
        let Does::Up(got) = rule(line) else { panic!("{line}") };
        let Threshold::Fixed(than) = got.condition.threshold else { panic!("{line}") };
        assert!((than - value).abs() < 1e-12, "{line}: {than}");
        assert_eq!((got.condition.op, got.hold, got.by), (op, hold, by), "{line}");
    }
    let down = rule("down upstream.app.latency < 150ms for=10m by=-25%");
    let condition = Condition { slot: 0, op: Op::Below, threshold: Threshold::Fixed(0.15) };
    assert_eq!(down, Does::Down(Line { condition, hold: Hold::Time(600_000_000), by: Step::Part(-0.25) }));
    let Does::Up(adaptive) = rule("up upstream.app.latency > 2x baseline@1d by=+1") else { panic!() };
    assert_eq!(adaptive.condition.threshold, Threshold::Baseline { factor: 2.0, window_s: 86_400.0 });
}

#[test]
fn the_other_lines_parse() {
    let Does::Track(track) = rule("track upstream.app.rate@1m per=80") else { panic!() };
    assert_eq!((track.per, track.share, track.tolerance, track.panic), (80.0, Share::Total, 0.1, None));
    let Does::Track(track) = rule("track self.cpu@1m per=60% tolerance=5%") else { panic!() };
    assert_eq!((track.per, track.share, track.tolerance), (0.6, Share::Mean, 0.05));
    let panics = policy(&["track upstream.app.rate@1m per=80 panic=200%:6s"]).unwrap();
    let names: Vec<String> = panics.signals.iter().map(|watched| watched.signal.to_string()).collect();
    assert_eq!(names, ["upstream.app.rate.avg@6s", "upstream.app.rate.avg@1m"]);
    assert_eq!((panics.down.window_s, panics.cooldown), (0, Cooldown::default()));

    let policy = policy(&[
        "track upstream.app.rate@1m per=80",
        "limit min=2 max=1k rate=50% stale=6",
        "cooldown up=90s",
        "behavior up 4/15s 100%/1m select=min window=30s",
        "forecast period=1d lead=5m observe",
        "schedule '0 9 * * mon-fri' before=15m for=2h tz=CET-1CEST,M3.5.0,M10.5.0/3 min=20",
        "do shed batch",
        "do route spare",
        "do throttle tenant 50r/s",
        "do notify pager",
        "mode observe",
    ])
    .unwrap();
    assert_eq!((policy.limits.min, policy.limits.max, policy.limits.stale), (Some(2), 1000, 6));
    assert_eq!(policy.limits.rate, Some(Amount::Part(0.5)));
    assert_eq!(policy.cooldown, Cooldown { up_us: 90_000_000, down_us: 300_000_000 });
    let rules = vec![
        Rule { amount: Amount::Replicas(4), period_s: 15 },
        Rule { amount: Amount::Part(1.0), period_s: 60 },
    ];
    assert_eq!(policy.up, Behavior { window_s: 30, select: Select::Min, rules });
    assert_eq!(policy.down.window_s, 300, "Kubernetes' default, for tracking");
    let Does::Schedule(schedule) = &policy.rules[1].does else { panic!() };
    assert_eq!((schedule.before_s, schedule.for_s, schedule.min), (900, 7200, 20));
    assert!(
        matches!(&policy.rules[2].does, Does::Forecast(ahead) if ahead.observe && ahead.lead_ms == 300_000)
    );
    let throttle = Action::Throttle { key: "tenant".into(), rate: 50.0 };
    assert_eq!(policy.actions[2..], [throttle, Action::Notify("pager".into())]);
    assert!(policy.observe);
}

#[test]
fn bad_lines_are_told_what_to_write() {
    let table = [
        ("upp upstream.app.rate > 5 by=+1", "unknown line of a policy \"upp\" (did you mean \"up\"?)"),
        ("up upstream.app.latency > 500 by=+2", "latency is a time: write for example 500ms or 2s"),
        ("up self.cpu > 0.8 by=+2", "cpu is a ratio: write for example 80%"),
        ("up upstream.app.rate > 5ms by=+2", "rate is a plain number"),
        ("up upstream.app.latncy > 5ms by=+2", "unknown metric \"latncy\" (did you mean \"latency\"?)"),
        ("up upstream.app.latency = 5ms by=+2", "write >, >=, < or <="),
        ("up upstream.app.latency >500ms by=+2", "invalid comparison \">500ms\""),
        ("up upstream.app.latency > fast by=+2", "\"fast\" is not a number"),
        ("up upstream.app.latency > 500ms", "\"up\" needs by=+N or by=+N%"),
        ("up upstream.app.latency > 500ms by=2", "write by=+N or by=+N%"),
        ("up upstream.app.latency > 500ms by=-2", "write by=+N or by=+N%"),
        ("down upstream.app.latency < 500ms by=-200%", "write by=-N or by=-N%"),
        ("up upstream.app.latency > 500ms by=+0", "write by=+N or by=+N%"),
        ("up upstream.app.latency > 500ms for=65r by=+1", "the last 64 requests are remembered"),
        ("up key.t/a.latency > 500ms for=17r by=+1", "the last 16 requests are remembered"),
        (
            "up upstream.app.rate > 5 for=3r by=+1",
            "single requests are remembered of latency, errors and error_rate",
        ),
        ("up upstream.app.rate > 5 for=3 by=+1", "\"3\" has no unit"),
        ("up upstream.app.rate > 5 for=0x by=+1", "such as for=3x"),
        ("up upstream.app.rate > 5 fro=3x by=+1", "unknown parameter \"fro=\"; known are for=, by="),
        ("up upstream.app.rate > 5 by=+1 by=+2", "parameter \"by=\" is duplicate"),
        ("up upstream.app.rate > 5 soon by=+1", "write name=value"),
        ("up upstream.app.latency > 2x by=+1", "write what it multiplies: 2x baseline@1d"),
        ("up upstream.app.latency > 2 baseline@1d by=+1", "write for example 2x baseline@1d"),
        ("up upstream.app.latency > 2x baseline@5s by=+1", "too short"),
        ("up", "is written \"up SIGNAL > VALUE"),
        ("track upstream.app.rate", "needs per=: what one replica takes"),
        ("track upstream.app.rate tolerence=5%", "(did you mean \"tolerance\"?)"),
        ("track upstream.app.rate per=0", "write more than 0"),
        ("track slope(upstream.app.rate) per=5", "a slope is not divided among replicas"),
        ("track upstream.app.rate per=5 panic=200%", "write a threshold and a window"),
        ("track upstream.app.rate per=5 panic=200%:6s", "must be shorter than the signal's own, 5s"),
        ("track upstream.app.rate@1m per=5 panic=90%:6s", "110% to 1000%"),
        ("track upstream.app.inflight per=5 panic=200%:6s", "needs a window of time"),
        ("track upstream.app.latency@1m per=5ms panic=200%:6s", "a signal that is a total"),
        ("limit", "is written limit [min=N]"),
        ("limit min=-1", "\"-1\" is not a number"),
        ("limit rate=fast", "how many replicas"),
        ("limit stale=maybe", "write hold, or how many"),
        ("limit min=5 max=2", "limit min=5 is more than max=2"),
        ("cooldown up=5", "\"5\" has no unit; write 5ms, 5s"),
        ("behavior sideways 4/15s", "is written behavior up|down"),
        ("behavior up 4/15", "\"15\" has no unit"),
        ("behavior up 4/1h", "the longest is 30m"),
        ("behavior up window=2h", "the longest is 1h"),
        ("behavior up select=most 4/15s", "write max, min or disabled"),
        ("schedule 0 9 * * * min=5", "quote the cron expression"),
        ("schedule '0 25 * * *' min=5", "cron hour \"25\" is outside 0-23"),
        ("schedule '0 9 * * *'", "needs min=: how many replicas"),
        (
            "schedule '0 9 * * *' tz=Europe/Berlim min=5",
            "there is no zone \"Europe/Berlim\"; write a name such as",
        ),
        ("schedule '0 9 * * *' tz=../../etc/passwd min=5", "not the name of a zone"),
        ("forecast lead=5m", "needs period="),
        ("forecast period=1d lead=2d", "with this period write up to 18600 s"),
        ("forecast period=1d lead=5m", "write one track line"),
        ("do nothing", "is written \"do shed CLASS\""),
        ("do throttle tenant 5ms", "write requests a second"),
        ("mode off", "is written \"mode observe\""),
    ];
    for (line, part) in table {
        let error = if line.starts_with("limit") || line.starts_with("cooldown") {
            refused(&["up upstream.app.rate > 5 by=+1", line])
        } else {
            refused(&[line])
        };
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn whole_policies_are_checked() {
    let up = "up upstream.app.latency > 300ms by=+1";
    let table: [(&[&str], &str); 6] = [
        (&["limit max=5"], "no line wishes anything"),
        (&[up, "down upstream.app.latency < 400ms by=-1"], "can both be true; leave a gap"),
        (&[up, "down upstream.app.latency > 100ms by=-1"], "can both be true"),
        (&[up, "limit max=5", "limit max=6"], "line \"limit\" is duplicate"),
        (&[up, "behavior up 4/15s", "behavior up 5/15s"], "line \"behavior up\" is duplicate"),
        (&[up, "limit min=0 max=0"], "limit max=0 leaves nothing"),
    ];
    for (lines, part) in table {
        let error = refused(lines);
        assert!(error.contains(part), "{error}");
    }
    let many = vec![up; 25];
    assert!(refused(&many).contains("more than 24 lines"));
    assert!(policy(&[up, "down upstream.app.latency < 300ms by=-1"]).is_ok());
}

#[test]
fn targets_parse_and_complain() {
    let target = |text: &str| Target::parse(&words(text));
    let ok = |text: &str| target(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let at = |host: &str, port, tls| Endpoint { host: host.into(), port, tls };
    let table = [
        ("t pool:app", Kind::Pool { upstream: "app".into() }),
        (
            "t kubernetes:shop/deployment/order-processing min=2 max=40 api=https://10.0.0.1:6443 ca_file=ca.pem token_file=/t timeout=2s",
            Kind::Kubernetes { namespace: "shop".into(), kind: "deployment".into(), name: "order-processing".into() },
        ),
        ("t webhook:https://h.example/x?y=1 secret_file=s", Kind::Webhook { url: "https://h.example/x?y=1".into() }),
        ("t redis:127.0.0.1/publish/scale", Kind::RedisPublish { at: at("127.0.0.1", 6379, false), channel: "scale".into() }),
        ("t redis:[::1]:7000/xadd/a/b", Kind::RedisStream { at: at("::1", 7000, false), key: "a/b".into() }),
        ("t etcd:https://etcd.local/scale/app", Kind::Etcd { at: at("etcd.local", 2379, true), key: "scale/app".into() }),
        ("t consul:c:85/k token_file=t", Kind::Consul { at: at("c", 85, false), key: "k".into() }),
        ("t amqp:mq//scale", Kind::Amqp { at: at("mq", 5672, false), exchange: String::new(), routing_key: "scale".into() }),
        ("t amqp:tls://mq/x/y", Kind::Amqp { at: at("mq", 5671, true), exchange: "x".into(), routing_key: "y".into() }),
        ("t amqp:https://mq:5/x/y", Kind::Amqp { at: at("mq", 5, true), exchange: "x".into(), routing_key: "y".into() }),
        ("t redis:tls://r/publish/c", Kind::RedisPublish { at: at("r", 6379, true), channel: "c".into() }),
        ("t kafka:http://rest:8082/scale", Kind::Kafka { at: at("rest", 8082, false), topic: "scale".into() }),
    ];
    for (text, kind) in table {
        assert_eq!(ok(text).kind, kind, "{text}");
    }
    assert_eq!((ok("t pool:a").timeout_ms, ok("t pool:a timeout=9s").timeout_ms), (60_000, 9000));
    assert_eq!((ok("t pool:a min=2 max=9").min, ok("t pool:a max=9").max), (Some(2), Some(9)));
    let bad = [
        ("t", "is written autoscale_target NAME KIND:ADDRESS"),
        ("t kubernets:a/deployment/b", "unknown target \"kubernets\" (did you mean \"kubernetes\"?)"),
        ("t kubernetes:a/b", "write kubernetes:NAMESPACE/deployment/NAME"),
        ("t kubernetes:a/daemonset/b", "write kubernetes:NAMESPACE/deployment/NAME"),
        ("t pool:", "write pool:UPSTREAM"),
        ("t pool:a token_file=x", "unknown parameter \"token_file=\""),
        ("t pool:a min=5 max=2", "write min <= max"),
        ("t webhook:ftp://x/", "write http://HOST"),
        ("t redis:h/send/x", "write redis:HOST[:PORT]/publish/CHANNEL"),
        ("t redis:h:0/publish/x", "write redis:HOST"),
        ("t etcd:h", "write etcd:HOST[:PORT]/KEY"),
        ("t consul:h/k timeout=5h", "write 1ms to 60s"),
        ("a.b pool:app", "letters, digits"),
    ];
    for (text, part) in bad {
        let error = target(text).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let secret = target("t webhook:https://user:secret@host/").unwrap_err().to_string();
    assert!(secret.contains("secret_file=") && !secret.contains("user:secret"), "{secret}");
}

#[test]
fn the_small_directives_parse_and_complain() {
    assert_eq!(
        (mode(&["on"]), mode(&["observe"]), mode(&["off"])),
        (Ok(Mode::On), Ok(Mode::Observe), Ok(Mode::Off))
    );
    assert!(mode(&["maybe"]).unwrap_err().to_string().contains("on | observe | off"));

    let signal =
        External::parse(&words("queue http://127.0.0.1:9/metrics every=2s stale=10s metric=depth,age"))
            .unwrap();
    assert_eq!((signal.every_ms, signal.stale_s), (2000, 10.0));
    assert_eq!(signal.payload, Payload::Prometheus(vec!["depth".into(), "age".into()]));
    let signal =
        External::parse(&words("q https://p/api/v1/query?query=up path=/data/result/0/value/1 every=20s"))
            .unwrap();
    assert_eq!((signal.payload, signal.stale_s), (Payload::Json("/data/result/0/value/1".into()), 40.0));
    let bad = [
        ("q", "is written autoscale_signal NAME URL"),
        ("q ftp://x/", "write http://HOST"),
        ("q http://x/ every=1h stale=30s", "it must outlast every="),
        ("q http://x/ metric=a path=/b", "not both"),
        ("q http://x/ path=b", "write a JSON pointer"),
        ("q http://x/ metric=a,", "write names of Prometheus metrics"),
        ("q http://x/ every=1ms", "write 100ms to 1h"),
    ];
    for (text, part) in bad {
        let error = External::parse(&words(text)).expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }

    assert_eq!(Leader::parse(&["local"]), Ok(Leader::default()));
    let lease = Lock::Kubernetes { namespace: "ns".into(), lease: "gateway".into() };
    assert_eq!(
        Leader::parse(&["kubernetes:ns/gateway", "ttl=20s"]),
        Ok(Leader { lock: lease, ttl_ms: 20_000, ..Leader::default() })
    );
    let away =
        Leader::parse(&words("kubernetes:ns/gateway api=https://k:6443 ca_file=ca token_file=t")).unwrap();
    assert_eq!(away.api.as_deref(), Some("https://k:6443"));
    assert_eq!((away.ca_file.as_deref(), away.token_file.as_deref()), (Some("ca"), Some("t")));
    let at = Endpoint { host: "r".into(), port: 6380, tls: false };
    assert_eq!(Leader::parse(&["redis:r:6380/lock"]).unwrap().lock, Lock::Redis { at, key: "lock".into() });
    let leader = Leader::parse(&words("redis:tls://r/lock ca_file=ca.pem secret_file=s")).unwrap();
    assert_eq!((leader.ca_file.as_deref(), leader.secret_file.as_deref()), (Some("ca.pem"), Some("s")));
    assert!(matches!(leader.lock, Lock::Redis { at: Endpoint { port: 6379, tls: true, .. }, .. }));
    for (text, part) in [
        ("local ca_file=x", "unknown parameter \"ca_file=\""),
        ("redis:r/lock secret_file=", "write the path of a file"),
        ("me", "autoscale_leader local |"),
        ("redis:r", "write redis:HOST"),
        ("local ttl=1s", "write 2s to 10m"),
        ("local ca_file=x", "ttl="),
        ("redis:r/lock token_file=x", "secret_file="),
        ("kubernetes:ns/gateway secret_file=x", "token_file="),
        ("kubernetes:ns/gateway api=k:6443", "http"),
        ("kubernetes:ns/../secrets", "write kubernetes:NAMESPACE/LEASE"),
        ("kubernetes:ns/..", "write kubernetes:NAMESPACE/LEASE"),
        ("kubernetes:NS/x", "write kubernetes:NAMESPACE/LEASE"),
        ("kubernetes:ns/gateway ca_file=", "write the path of a file"),
    ] {
        assert!(Leader::parse(&words(text)).unwrap_err().to_string().contains(part), "{text}");
    }

    let log = Log::parse(&["logs/decisions.log", "level=all"]).unwrap();
    assert_eq!((log.sink, log.level), (Sink::File("logs/decisions.log".into()), Level::All));
    assert_eq!(Log::parse(&["syslog:server=unix:/dev/log"]).unwrap().level, Level::Held);
    for (text, part) in [("f level=debug", "write acted, held"), ("syslog:x", "write syslog:server=")] {
        assert!(Log::parse(&words(text)).unwrap_err().to_string().contains(part), "{text}");
    }
}
