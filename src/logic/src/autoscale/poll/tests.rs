use super::*;
use proptest::prelude::*;

fn named(metrics: &[&str]) -> Payload {
    Payload::Prometheus(metrics.iter().map(|name| (*name).into()).collect())
}

/// What an answer brings, fed in pieces of `size` bytes.
fn read_by(payload: &Payload, text: &[u8], size: usize) -> Brought {
    let mut collector = Collector::new(payload, &[]);
    for piece in text.chunks(size) {
        if let Err(wrong) = collector.feed(piece) {
            return Brought { values: Vec::new(), wrong: Some(wrong) };
        }
    }
    collector.finish(true)
}

fn read(payload: &Payload, text: &str) -> Brought {
    let whole = read_by(payload, text.as_bytes(), usize::MAX);
    for size in [1, 7, 64] {
        assert_eq!(read_by(payload, text.as_bytes(), size), whole, "in pieces of {size}");
    }
    whole
}

/// `name=value` of each, and what is wrong.
fn shown(brought: &Brought) -> (String, String) {
    let values = brought.values.iter().map(|v| format!("{}={}", v.field.as_deref().unwrap_or(""), v.value));
    let wrong = brought.wrong.as_ref().map_or_else(String::new, ToString::to_string);
    (values.collect::<Vec<_>>().join(" "), wrong)
}

const EXPOSITION: &str = r#"# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find } file:\n\"FILE.TXT\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf -3982045
	tabs_too	-4e-2	
rpc_duration_seconds_bucket{le="0.5"} 129389
rpc_duration_seconds_bucket{le="+Inf"} 144320
rpc_duration_seconds_sum 53423
rpc_duration_seconds_count 144320
gone NaN
"#;

#[test]
fn a_metric_is_the_sum_of_its_samples() {
    let one = |name: &str| shown(&read(&named(&[name]), EXPOSITION));
    assert_eq!(one("http_requests_total").0, "=1030 http_requests_total=1030");
    assert_eq!(
        one("msdos_file_access_time_seconds").0,
        "=1458255915 msdos_file_access_time_seconds=1458255915"
    );
    assert_eq!(one("tabs_too").0, "=-0.04 tabs_too=-0.04");
    let two = shown(&read(&named(&["rpc_duration_seconds_sum", "rpc_duration_seconds_count"]), EXPOSITION));
    let both = "rpc_duration_seconds_sum=53423 rpc_duration_seconds_count=144320";
    assert_eq!(two, (both.into(), String::new()));
}

#[test]
fn what_is_not_there_or_not_finite_is_no_value() {
    let of = |names: &[&str]| shown(&read(&named(names), EXPOSITION));
    let kept = "metric_without_timestamp_and_labels";
    let without = (format!("{kept}=12.47"), "there is no metric \"http_requests\"".to_string());
    assert_eq!(of(&["http_requests", kept]), without);
    assert_eq!(of(&["gone"]), (String::new(), "metric \"gone\" is not a finite number".into()));
    assert_eq!(of(&["something_weird"]).1, "metric \"something_weird\" is not a finite number");
    let partly = "queue{shard=\"1\"} 5\nqueue{shard=\"2\"} NaN\n";
    assert_eq!(shown(&read(&named(&["queue"]), partly)).0, "");
    assert_eq!(shown(&read(&named(&["queue"]), "")).1, "there is no metric \"queue\"");
    assert_eq!(
        shown(&read(&named(&["queue"]), "<html>502 Bad Gateway</html>\n")).1,
        "there is no metric \"queue\""
    );
}

#[test]
fn a_line_that_matters_must_be_whole() {
    for line in ["queue", "queue x", "queue {a=\"b\" 5", "queue{a=\"}", "queue 5,0", "queue{} ", "queue 0x10"]
    {
        let text = format!("other 1\n{line}\nqueue 5\n");
        let brought = read(&named(&["queue", "other"]), &text);
        let (values, wrong) = shown(&brought);
        if line == "queue" {
            // no sample at all
            assert_eq!(values, "queue=5 other=1");
        } else {
            assert_eq!(
                (values.as_str(), wrong.as_str()),
                ("", "the line of metric \"queue\" cannot be read"),
                "{line}"
            );
        }
        // ... and one that does not is not looked at
        assert_eq!(shown(&read(&named(&["other"]), &text)).0, "=1 other=1");
    }
}

#[test]
fn an_answer_without_a_certain_end_must_end_a_line() {
    let finish = |text: &[u8], framed| {
        let mut collector = Collector::new(&named(&["queue"]), &[]);
        collector.feed(text).unwrap();
        shown(&collector.finish(framed))
    };
    assert_eq!(finish(b"queue 12", true).0, "=12 queue=12");
    assert_eq!(finish(b"queue 12", false).1, "it does not end with a line feed, so it may be cut off");
    assert_eq!(finish(b"queue 12\n", false).0, "=12 queue=12");
}

#[test]
fn openmetrics_is_read_where_it_is_the_same() {
    let text = "# TYPE jobs counter\njobs_total 17.0 1520879607.789 # {trace_id=\"a\"} 0.67 1.1\n# EOF\njobs_total 9\n";
    assert_eq!(shown(&read(&named(&["jobs_total"]), text)).0, "=17 jobs_total=17");
}

#[test]
fn all_metrics_are_as_many_as_there_is_room_for() {
    let all = Payload::Prometheus(Vec::new());
    let (values, wrong) = shown(&read(&all, EXPOSITION));
    assert!(values.contains("rpc_duration_seconds_count=144320") && !values.contains("_bucket"), "{values}");
    assert!(!values.contains("gone") && wrong.is_empty());
    let many: String = (0..100).map(|n| format!("m{n} {n}\n")).collect();
    let mut collector = Collector::new(&all, &["m99".into()]);
    collector.feed(many.as_bytes()).unwrap();
    let brought = collector.finish(true);
    assert_eq!(brought.values.len(), exposition::MOST_METRICS);
    assert!(brought.values.contains(&Value { field: Some("m99".into()), value: 99.0 }));
    assert_eq!(brought.wrong, Some(Wrong::TooMany { max: 32 }));
    assert_eq!(shown(&read(&all, "# nothing\n")).1, "there are no metrics in it");
}

#[test]
fn ten_megabytes_cost_the_memory_of_a_line() {
    let mut collector = Collector::new(&named(&["first", "last"]), &[]);
    collector.feed(b"first 1\n").unwrap();
    let piece = "some_metric_that_nobody_wants{with=\"labels\",and=\"more\"} 123456\n".repeat(50);
    let mut fed = 0;
    while fed < 10 << 20 {
        collector.feed(&piece.as_bytes()[3..]).unwrap();
        fed += piece.len();
    }
    collector.feed(b"\nlast 2\n").unwrap();
    let Collector::Text(_) = &collector else { panic!("it is text") };
    assert!(format!("{collector:?}").len() < 10_000);
    assert_eq!(shown(&collector.finish(true)).0, "first=1 last=2");
}

#[test]
fn a_line_that_never_ends_is_not_kept() {
    let long = "x".repeat(200_000);
    let text = format!("# {long}\nqueue 1\nother{{a=\"{long}\"}} 2\nqueue 2\n{long}\nqueue 4\n");
    assert_eq!(shown(&read(&named(&["queue"]), &text)).0, "=7 queue=7");
    let text = format!("queue{{a=\"{long}\"}} 2\nqueue 1\n");
    for size in [1, 100, 70_000] {
        let wrong = read_by(&named(&["queue"]), text.as_bytes(), size).wrong;
        assert_eq!(wrong, Some(Wrong::LongLine("queue".into())), "in pieces of {size}");
    }
}

fn json(pointer: &str, text: &str) -> (String, String) {
    shown(&read(&Payload::Json(pointer.into()), text))
}

#[test]
fn a_pointer_leads_to_a_number() {
    // the document of RFC 6901, section 5, with numbers to find
    let text = r#"{"foo": ["bar", 7], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}"#;
    for (pointer, value) in [
        ("/foo/1", 7),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ("/k\"l", 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ] {
        assert_eq!(json(pointer, text), (format!("={value}"), String::new()), "{pointer}");
    }
    assert_eq!(json("", " -1.5e3 ").0, "=-1500");
    assert_eq!(json("/a/b", r#"{"a": {"b": "12.5", "c": 1}, "a2": {"b": 9}}"#).0, "=12.5");
    assert_eq!(json("/a", r#"{"a": 1, "a": 2}"#).0, "=2");
}

#[test]
fn no_number_is_no_value() {
    for (pointer, text, why) in [
        ("/a", "{}", "there is nothing at \"/a\""),
        ("/a/0", r#"{"a": {}}"#, "there is nothing at \"/a/0\""),
        ("/a/0/b", r#"{"a": 5}"#, "there is nothing at \"/a/0/b\""),
        ("/01", "[1, 2]", "there is nothing at \"/01\""),
        ("/-", "[1, 2]", "there is nothing at \"/-\""),
        ("/2", "[1, 2]", "there is nothing at \"/2\""),
        ("/a", r#"{"a": true}"#, "what is at \"/a\" is not a finite number"),
        ("/a", r#"{"a": null}"#, "what is at \"/a\" is not a finite number"),
        ("/a", r#"{"a": [1]}"#, "what is at \"/a\" is not a finite number"),
        ("/a", r#"{"a": {}}"#, "what is at \"/a\" is not a finite number"),
        ("/a", r#"{"a": "NaN"}"#, "what is at \"/a\" is not a finite number"),
        ("/a", r#"{"a": "many"}"#, "what is at \"/a\" is not a finite number"),
    ] {
        assert_eq!(json(pointer, text), (String::new(), why.into()), "{text}");
    }
    for text in ["", "queue 5", r#"{"a": 5"#, r#"{"a": 5} x"#, r#"{"a": 1e999}"#] {
        let (values, why) = json("/a", text);
        assert!(values.is_empty() && why.starts_with("it is not JSON: "), "{text}: {why}");
    }
}

#[test]
fn a_query_of_prometheus_may_fail_or_find_nothing() {
    let at = "/data/result/0/value/1";
    let answer = |result: &str| {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#)
    };
    let one = answer(r#"{"metric":{"job":"app"},"value":[1435781451.781,"42.5"]}"#);
    assert_eq!(json(at, &one).0, "=42.5");
    assert_eq!(json(at, &answer("")).1, "the result of the query is empty");
    let failed = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\":\n1:5: parse error"}"#;
    assert_eq!(json(at, failed).1, "the query failed: invalid parameter \"query\": 1:5: parse error");
    let mut collector = Collector::new(&Payload::Json(at.into()), &[]);
    collector.feed(failed.as_bytes()).unwrap();
    assert!(matches!(collector.refusal(), Some(Wrong::Query(_))));
    let long = format!(r#"{{"status":"error","error":"{}"}}"#, "é".repeat(5000));
    assert!(json(at, &long).1.chars().count() < 250);
}

#[test]
fn json_is_bounded() {
    let mut collector = Collector::new(&Payload::Json("/a".into()), &[]);
    let piece = vec![b' '; 1 << 20];
    let wrong = (0..5).find_map(|_| collector.feed(&piece).err());
    assert_eq!(wrong, Some(Wrong::TooLarge(MOST_JSON)));
    // deep nesting ends in an error, not in the end of the stack
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let path = "/0".repeat(500);
    assert!(json(&path, &deep).1.starts_with("it is not JSON: "));
    assert_eq!(json("/a", &format!("{{\"b\": {deep}, \"a\": 3}}")).0, "=3");
}

proptest! {
    #[test]
    fn garbage_brings_finite_numbers_or_none(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        lines in proptest::collection::vec("(a|b|ab|#)?[ \t{}\"\\\\=a,0-9.eNIf+-]{0,20}", 0..12),
        cut in 0usize..400,
        framed: bool,
    ) {
        let text = [lines.join("\n").into_bytes(), bytes].concat();
        for payload in [named(&["a", "b"]), Payload::Prometheus(vec![]), Payload::Json("/a/0".into())] {
            let (one, two) = text.split_at(cut.min(text.len()));
            let mut collector = Collector::new(&payload, &[]);
            let fed = collector.feed(one).and_then(|()| collector.feed(two));
            collector.refusal();
            let brought = collector.finish(framed);
            prop_assert!(brought.values.iter().all(|value| value.value.is_finite()));
            // how it was cut into pieces makes no difference
            if fed.is_ok() && framed {
                prop_assert_eq!(read_by(&payload, &text, 3), brought);
            }
        }
    }
}
