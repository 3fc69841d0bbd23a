use super::*;
use crate::autoscale::expose::tests::{at, with_zone};

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

#[test]
fn names_are_text_and_nothing_else() {
    let row = PolicyRow {
        name: "<script>alert('1')</script>".into(),
        target: Some("a\" onload=\"x".into()),
        mode: "on",
        replicas: Some(3),
        explanation: "5 > 3 & 2 < 4\u{202e}\u{0}".into(),
        rules: vec!["up upstream.app.latency > 1s by=+1".into()],
    };
    let page = shown(&Loop { policies: &[row], decisions: &[] });
    assert!(page.contains(
        "<td>&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;<td>a&quot; onload=&quot;x<td>on<td>3"
    ));
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
