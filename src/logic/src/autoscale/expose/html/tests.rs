use super::*;
use crate::autoscale::expose::tests::{at, with_zone};
use crate::autoscale::policy::decision::Input;

fn shown(beyond: &Loop<'_>) -> String {
    let mut shown = String::new();
    with_zone(|zone| shown = page(zone, at(2000), beyond));
    shown
}

#[test]
fn the_page_has_everything_of_the_zone() {
    let page = shown(&Loop::default());
    for part in [
        "<!doctype html>",
        "http-equiv=\"refresh\"",
        "<td>app<td>1<td>",
        "<td>10.0.0.1:80<",
        "<td>[::1]:80<",
        "<td class=\"dim\">drain",
        "<td>tenant<",
        "<td>acme<",
        "<td>orders/eu<td>3<",
        "<td>queue.depth<td>-4.5<",
        "<td>cpu<td>0.25<",
        "<td>size<td>1<td>17<",
        "10.0 %",
        "40 ms",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    assert!(!page.contains("Policies") && !page.contains("Last decisions"));
}

#[test]
fn a_peer_that_nginx_leaves_out_is_down() {
    let down = [("app".to_string(), "10.0.0.1:80".to_string())];
    let page = shown(&Loop { down: &down, ..Loop::default() });
    assert!(page.contains("<td class=\"bad\">down") && !page.contains("<td class=\"good\">up"), "{page}");
}

#[test]
fn figures_are_short() {
    use super::tables::figure;
    for (value, text) in [
        (0.0, "0"),
        (-4.5, "-4.5"),
        (3.0, "3"),
        (100.0, "100"),
        (0.1 + 0.2, "0.3"),
        (0.000_123_456, "0.0001235"),
        (1234.5, "1234"),
        (123.456, "123.5"),
        (9.999_99, "10"),
        (1e-9, "1.000e-9"),
        (1e20, "100000000000000000000"),
    ] {
        assert_eq!(figure(value), text);
    }
}

fn decision(policy: &str, reason: &str) -> Decision {
    Decision {
        time: "2026-11-22T10:00:00.000Z".into(),
        policy: policy.into(),
        target: Some("orders".into()),
        id: Some(4),
        action: "scale",
        reason: reason.into(),
        rule: None,
        current: Some(2),
        ready: None,
        wish: 5,
        after_limits: 5,
        after_cooldown: 4,
        signals: vec![
            Input {
                signal: "upstream.app.latency.avg@5s".into(),
                value: Some(0.25),
                age: 0.04,
                samples: 9,
                stale: false,
            },
            Input { signal: "ext.queue".into(), value: None, age: 31.0, samples: 0, stale: true },
        ],
        rules: Vec::new(),
        result: Some("4 replicas".into()),
        latency_ms: Some(12.0),
    }
}

fn row(name: &str) -> PolicyRow {
    PolicyRow {
        name: name.into(),
        target: None,
        mode: "on",
        replicas: Some(3),
        rules: Vec::new(),
        last: None,
    }
}

#[test]
fn policies_say_why_and_decisions_what_became_of_them() {
    let told = PolicyRow { last: Some(decision("a", "from 2 to 4")), ..row("a") };
    let page =
        shown(&Loop { policies: &[told, row("b")], decisions: &[decision("a", "from 2 to 4")], down: &[] });
    for part in [
        "<td>a<td>–<td>on<td>3<td class=\"t\">from 2 to 4<td class=\"t\">upstream.app.latency.avg@5s = 0.25 (0.0 s old); ext.queue = – (31.0 s old, stale)<",
        "<td>b<td>–<td>on<td>3<td class=\"t\">–<",
        "<td>2026-11-22T10:00:00.000Z<td class=\"l\">a<td>scale<td>2<td>4<td class=\"l\">4 replicas<td class=\"t\">from 2 to 4",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
}

#[test]
fn names_are_text_and_nothing_else() {
    let row = PolicyRow {
        target: Some("a\" onload=\"x".into()),
        last: Some(decision("x", "5 > 3 & 2 < 4\u{202e}\u{0}")),
        ..row("<script>alert('1')</script>")
    };
    let page = shown(&Loop { policies: &[row], ..Loop::default() });
    let name = "<td>&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;<td>a&quot; onload=&quot;x<td>on<td>3";
    assert!(page.contains(name), "{page}");
    assert!(page.contains("5 &gt; 3 &amp; 2 &lt; 4\u{fffd}\u{fffd}"));
    assert!(!page.contains("<script") && !page.contains("onload=\"x"));
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    let page = shown(&Loop::default());
    for foreign in ["src=", "href=", "url(", "@import", "://"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}
