use super::*;
use proptest::prelude::*;

#[test]
fn a_name_is_the_signal_where_kubernetes_allows_it() {
    for (signal, name) in [
        ("upstream.app.rate@1m", "upstream.app.rate@1m"),
        ("peer.app/10.0.0.1:80.latency", "peer.app~110.0.0.1:80.latency"),
        ("key.tenant/ACME 50%.rate", "key.tenant~1~a~c~m~e 50~2.rate"),
        ("custom.a/~x", "custom.a~1~0x"),
        ("slope(upstream.app.rate@1m)", "slope(upstream.app.rate@1m)"),
        ("key.town/Århus.rate", "key.town~1~3c5~rhus.rate"),
    ] {
        assert_eq!(name::of_signal(signal), name);
        assert_eq!(name::to_signal(name).as_deref(), Ok(signal));
    }
}

#[test]
fn what_need_not_be_escaped_is_taken_as_it_is() {
    assert_eq!(name::to_signal("peer.App/10.0.0.1:80.rate").as_deref(), Ok("peer.App/10.0.0.1:80.rate"));
}

#[test]
fn an_escape_that_is_none_is_refused() {
    for (name, escape) in
        [("a~", "~"), ("a~9b", "~9"), ("a~3zz~", "~3"), ("~3d800~", "~3"), ("~3c5", "~3"), ("~A", "~A")]
    {
        assert_eq!(name::to_signal(name), Err(escape.to_string()), "{name}");
    }
}

proptest! {
    #[test]
    fn names_survive_the_way_there(signal in "\\PC{0,40}") {
        let name = name::of_signal(&signal);
        prop_assert!(!name.contains(['/', '%']));
        // what the Go client does to it
        prop_assert_eq!(name.to_lowercase(), name.clone());
        prop_assert_eq!(name::to_signal(&name), Ok(signal));
    }

    #[test]
    fn no_name_is_too_strange(name in "\\PC{0,40}") {
        let _ = name::to_signal(&name);
    }

    #[test]
    fn quantities_are_close(value in -1e6..1e6f64) {
        let text = quantity::of(value);
        let digits = text.trim_end_matches(['m', 'u']);
        let unit = match &text[digits.len()..] { "m" => 1e-3, "u" => 1e-6, _ => 1.0 };
        let number = digits.parse::<i64>().unwrap() as f64 * unit;
        prop_assert!((number - value).abs() <= 0.000_501, "{value} is {text}");
    }

    #[test]
    fn no_selector_is_too_strange(text in "[a-c =!<>(),1-3]{0,20}") {
        let _ = Selector::parse(&text);
    }
}

#[test]
fn quantities_are_integers_with_a_suffix() {
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "0"),
        (42.0, "42"),
        (-3.0, "-3"),
        (1.5, "1500m"),
        (0.25, "250m"),
        (0.000_25, "250u"),
        (0.030_5, "30500u"),
        (1e-9, "0"),
        (12.345_678, "12346m"),
        (0.999_999_9, "1"),
        (1e15, "1000000000000000"),
        (1e300, "9200000000000000"),
        (-1e300, "-9200000000000000"),
        (2.000_000_1, "2"),
    ] {
        assert_eq!(quantity::of(value), text, "{value}");
    }
}

#[test]
fn paths_say_what_is_asked_for() {
    let base = "/apis/external.metrics.k8s.io/v1beta1";
    assert_eq!(Asked::of("/apis"), Some(Asked::Groups));
    assert_eq!(Asked::of("/apis/external.metrics.k8s.io"), Some(Asked::Group));
    assert_eq!(Asked::of(base), Some(Asked::Resources));
    assert_eq!(Asked::of(&format!("{base}/")), Some(Asked::Resources));
    let metric = |namespace, name| Some(Asked::Metric { namespace, name });
    assert_eq!(Asked::of(&format!("{base}/namespaces/shop/self.rate")), metric("shop", "self.rate"));
    assert_eq!(Asked::of(&format!("{base}/namespaces/a/peer.b/c:1.rate")), metric("a", "peer.b/c:1.rate"));
    for none in
        ["/", "/apisx", "/apis/other", "/apis/external.metrics.k8s.iox", "/apis/external.metrics.k8s.io/v1"]
    {
        assert_eq!(Asked::of(none), None, "{none}");
    }
    for none in ["/namespaces", "/namespaces/shop", "/namespaces/shop/", "/namespaces//x", "x", "/pods/a/b"] {
        assert_eq!(Asked::of(&format!("{base}{none}")), None, "{none}");
    }
}

fn chosen(selector: &str) -> bool {
    let signal = "peer.app/10.0.0.1:80.latency.p99@5m".parse().unwrap();
    Selector::parse(selector).unwrap().matches(&labels(&signal))
}

#[test]
fn selectors_choose_by_the_parts_of_a_signal() {
    for yes in [
        "",
        "scope=peer",
        "upstream == app",
        "upstream=app,metric=latency,stat=p99,window=5m",
        "metric in (rate, latency),upstream",
        "metric notin (rate)",
        "color notin (red)",
        "color != red",
        "!color",
    ] {
        assert!(chosen(yes), "{yes}");
    }
    for no in [
        "scope=upstream",
        "upstream!=app",
        "color",
        "!upstream",
        "upstream in (a,b)",
        "upstream notin (app)",
        "upstream>1",
    ] {
        assert!(!chosen(no), "{no}");
    }
}

#[test]
fn numbers_are_compared_as_numbers() {
    let labels = Labels::from([("n", "10".to_string())]);
    let holds = |text: &str| Selector::parse(text).unwrap().matches(&labels);
    assert!(holds("n>9") && holds("n < 11") && !holds("n>10") && !holds("n<10"));
}

#[test]
fn a_selector_that_is_none_is_refused() {
    for wrong in
        [",", "a=b,", "=a", "a in b", "a in (b", "a is (b)", "a=b c", "a b", "!", "a>b", "ä=1", "a in (b(c))"]
    {
        assert!(Selector::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_value_comes_as_a_list() {
    let signal: Signal = "upstream.app.rate@1m".parse().unwrap();
    let reading = Reading { value: Some(12.5), age: 2.0, samples: 7 };
    let list = |selector: &str| {
        let selector = Selector::parse(selector).unwrap();
        values("upstream.app.rate@1m", &signal, &reading, 12.5, &selector, 1_700_000_001)
    };
    let item = json!({
        "metricName": "upstream.app.rate@1m",
        "metricLabels": { "scope": "upstream", "upstream": "app", "metric": "rate", "stat": "avg", "window": "1m" },
        "timestamp": "2023-11-14T22:13:19Z", "windowSeconds": 60, "value": "12500m",
    });
    let mut whole = json!({
        "kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "metadata": {}, "items": [item],
    });
    assert_eq!(list("upstream=app"), whole);
    whole["items"] = json!([]);
    assert_eq!(list("upstream=other"), whole);
}

#[test]
fn every_listed_metric_can_be_read() {
    crate::autoscale::expose::tests::with_zone(|zone| {
        let list = resources(zone);
        let names: Vec<_> =
            list["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
        for name in [
            "upstream.app.rate@1m",
            "ext.queue.depth",
            "self.cpu@1m",
            "custom.orders~1eu.rate@1m",
            "custom.size.avg@1m",
            "key.tenant~1acme.rate@1m",
        ] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        for name in names {
            let signal: Signal = name::to_signal(name).unwrap().parse().unwrap();
            signal.resolve(zone, 1).unwrap();
        }
    });
}

#[test]
fn an_error_is_a_status() {
    let status = status(Reason::NotFound, "there is no such thing");
    assert_eq!((&status["reason"], &status["code"]), (&json!("NotFound"), &json!(404)));
    assert_eq!((&status["kind"], &status["status"]), (&json!("Status"), &json!("Failure")));
}

#[test]
fn another_form_of_an_object_is_not_acceptable() {
    let other = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    assert!(!is_acceptable(other));
    assert!(!is_acceptable(&format!("{other}, application/json; v=v2beta1; as=APIGroupDiscoveryList")));
    for accept in
        [&format!("{other},application/json"), "application/vnd.kubernetes.protobuf, */*", "*/*", ""]
    {
        assert!(is_acceptable(accept), "{accept}");
    }
}
