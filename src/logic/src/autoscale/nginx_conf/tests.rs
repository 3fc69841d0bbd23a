use super::*;
use crate::lua_lex::Feed;

struct Two;

impl Files for Two {
    fn open(&self, pattern: &str) -> Result<Vec<(String, String)>, String> {
        match pattern {
            "conf.d/*.conf" => Ok(vec![
                ("conf.d/a.conf".into(), "autoscale_target orders pool:app max=9;".into()),
                ("conf.d/b.conf".into(), "\n\nautoscale observe;".into()),
            ]),
            "loop.conf" => Ok(vec![("loop.conf".into(), "include loop.conf;".into())]),
            _ => Err(format!("cannot open \"{pattern}\"")),
        }
    }
}

fn found(text: &str) -> Result<Found, String> {
    let zones = |name: &str| Err(format!("there is no zone \"{name}\""));
    parse("nginx.conf", text, &Two).and_then(|tree| settings(&tree, &zones)).map_err(|e| e.to_string())
}

fn words(text: &str) -> Vec<String> {
    parse("x", text, &Two).unwrap().remove(0).words
}

#[test]
fn words_are_split_as_nginx_does() {
    let table: [(&str, &[&str]); 8] = [
        ("a  b\tc\n d;", &["a", "b", "c", "d"]),
        ("a 'b c' \"d;{}\";", &["a", "b c", "d;{}"]),
        (r#"a "q\"q" '\'' b\ c \t;"#, &["a", "q\"q", "'", r"b\ c", "\t"]),
        ("a b#c; # rest", &["a", "b#c"]),
        ("a ${x}y;", &["a", "${x}y"]),
        ("# first\n  a it's;", &["a", "it's"]),
        ("a \"\";", &["a", ""]),
        ("a größe;", &["a", "größe"]),
    ];
    for (text, right) in table {
        assert_eq!(words(text), right, "{text}");
    }
}

#[test]
fn a_whole_configuration_is_read() {
    let text = r#"
        load_module modules/x.so;
        events {}
        http {
            upstream app { server 127.0.0.1:9001; balancer_by_lua_block { local s = "}" --[[ } ]] } }
            include conf.d/*.conf;
            autoscale_policy orders target=orders {
                up       upstream.app.latency > 500ms for=11r by=+2;
                down     upstream.app.latency < 150ms for=10m by=-1;
                cooldown up=60s down=300s;   # as in the design
                by_lua_block { return { "}", 3 } }
            }
            server { location / { autoscale_key tenant $http_x; return 200 "a;b}"; } }
        }"#;
    let found = found(text).unwrap();
    assert_eq!((found.upstreams.len(), found.keys.clone()), (1, vec!["tenant".to_string()]));
    assert_eq!(found.settings.mode, crate::autoscale::policy::Mode::Observe);
    let policy = &found.settings.policies[0];
    assert_eq!((policy.policy.rules.len(), policy.policy.limits.max), (3, 9));
    assert_eq!(policy.scripts[0].text.trim(), r#"return { "}", 3 }"#);
}

#[test]
fn errors_have_file_and_line() {
    let http = |inside: &str| format!("events {{}}\nhttp {{\nupstream app {{ }}\n{inside}\n}}");
    let policy = |lines: &str| {
        http(&format!("autoscale_target t pool:app;\nautoscale_policy p target=t {{\n{lines}\n}}"))
    };
    let up = "up upstream.app.rate > 5 by=+1;";
    let k8s = "autoscale_target t kubernetes:a/deployment/b";
    let table = [
        (http("a b"), "nginx.conf:4: \"a\" is not ended by \";\""),
        ("http {".into(), "a block is not closed"),
        ("http { } }".into(), "nginx.conf:1: unexpected \"}\""),
        ("a \"b;".into(), "is not closed"),
        ("a \"b\"c;".into(), "unexpected \"c\" after a closing \""),
        ("{ }".into(), "a directive without a name"),
        ("include nope.conf;".into(), "nginx.conf:1: cannot open \"nope.conf\""),
        ("include loop.conf;".into(), "files include each other"),
        ("a_by_lua_block { if }} [[ ".into(), "nginx.conf:1: unexpected \"}\""),
        ("a_by_lua_block { [[ ".into(), "closing long bracket"),
        (policy("up upstream.app.latency > 5 by=+1;"), "nginx.conf:6: invalid threshold \"5\": latency is a time"),
        (policy("up { }"), "nginx.conf:6: \"up\" has no block"),
        (policy("limit max=5;"), "nginx.conf:5: policy \"p\": no line wishes"),
        (policy("up upstream.ap.rate > 5 by=+1;"), "nginx.conf:5: there is no upstream \"ap\" (did you mean \"app\"?)"),
        (policy("up ext.q > 5 by=+1;"), "there is no signal \"q\""),
        (policy("up key.t.rate > 5 by=+1;"), "there is no key \"t\""),
        (policy(&format!("{up} do notify pager;")), "there is no target \"pager\""),
        (policy(&format!("{up} do route ap;")), "there is no upstream \"ap\" (did you mean"),
        (policy(&format!("{up} do route app;")), "requests would go in a circle: app -> app"),
        (policy("up self.rate > 5 by=+1; do route app;"), "its up lines look at no upstream: name the requests"),
        (policy(&format!("{up} do shed tennant/acme;")), "there is no key \"tennant\""),
        (http("autoscale_policy p { up self.rate > 5 by=+1; do shed x; }"), "it is a value of an autoscale_key, and there is none"),
        (http(&format!("autoscale_policy p {{ {up} }}")), "neither a target nor a do line"),
        (policy("schedule \"0 9 * * *\" min=9; limit max=4;"), "nginx.conf:5: policy \"p\": a schedule asks for min=9, but max=4"),
        (http("autoscale_policy p;"), "autoscale_policy needs a block"),
        (http("autoscale_target t pool:ap;"), "there is no upstream \"ap\""),
        (http("autoscale_target t pool:app;\nautoscale_target t pool:app;"), "nginx.conf:5: target \"t\" is duplicate"),
        (http(&format!("autoscale_policy p target=tt {{ {up} }}")), "there is no target \"tt\""),
        (http(&format!("{k8s};\nautoscale_policy p target=t {{ {up} }}")), "no maximum: write max="),
        (http(&format!("{k8s} min=5 max=9;\nautoscale_policy p target=t {{ {up} limit max=4; }}")), "min=5 is more than max=4"),
        (
            http(&format!("{k8s} max=9;\nautoscale_policy p target=t {{ {up} }}\nautoscale_policy q target=t {{ {up} }}")),
            "scaled by policy \"p\" already",
        ),
        (
            http("autoscale_signal s http://h/ metric=a,b;\nautoscale_policy p { up ext.s > 5 by=+1; do shed x; }"),
            "it brings several metrics: write ext.s.METRIC",
        ),
        (
            http("autoscale_signal s http://h/ metric=depth;\nautoscale_policy p { up ext.s.dept > 5 by=+1; do shed x; }"),
            "there is no metric \"dept\" (did you mean \"depth\"?)",
        ),
    ];
    for (text, part) in table {
        let error = found(&text).expect_err(&text);
        assert!(error.contains(part), "{text}\n{error}");
    }
}

#[test]
fn a_target_may_go_to_zero_and_a_policy_may_not_let_it() {
    let least = |target: &str, lines: &str| {
        let text = format!("autoscale_target t pool:app {target}; autoscale_policy p target=t {{ track upstream.app.rate per=5; {lines} }}");
        found(&text).unwrap().settings.policies[0].policy.limits.least()
    };
    assert_eq!((least("", ""), least("min=0", ""), least("", "limit min=0;")), (1, 0, 0));
    assert_eq!((least("min=0", "limit min=3;"), least("min=4", "limit min=3;")), (3, 4));
}

#[test]
fn a_piece_may_name_what_is_elsewhere() {
    let text = "autoscale_target t kubernetes:a/deployment/b max=9; autoscale_policy p target=t { track upstream.far.rate per=5; }";
    assert_eq!(found(text).unwrap().upstreams, ["far"]);
}

/// What `RawBlock` takes of `text`, fed in pieces of `size`.
fn raw(text: &str, size: usize) -> Result<usize, String> {
    let mut block = RawBlock::new(1);
    for (n, chunk) in text.as_bytes().chunks(size).enumerate() {
        if let Feed::Done { consumed } = block.feed(chunk)? {
            return Ok(n * size + consumed);
        }
    }
    Err(block.finish())
}

#[test]
fn a_block_ends_where_nginx_ends_it() {
    let whole = [
        "}",
        "up a > 1 by=+1; }",
        "# a } in a comment\n up a > 1; }",
        "schedule \"} ; {\" min=1; }",
        "schedule '}' min=1; x \"\\\"}\"; }",
        "a}b c; }",
        "a ${x} ; }",
        "types { text/html html; } }",
        "by_lua_block { return \"}\" --[[ } ]] } }",
        "up x; by_lua_block{ local t = { a = {} } return 3 } down y; }",
        "x by_lua_block; }",
        "x\\;y; }",
    ];
    for text in whole {
        for size in [1, 3, 1000] {
            assert_eq!(raw(&format!("{text} after }}"), size), Ok(text.len()), "{text} by {size}");
        }
    }
    assert_eq!(raw("up a;\n", 2).unwrap_err(), "the block that begins in line 1 is not closed by \"}\"");
    assert!(raw("by_lua_block { if x then", 4).is_err());
}
