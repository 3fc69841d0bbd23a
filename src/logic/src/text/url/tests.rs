use proptest::prelude::*;

use super::*;

#[test]
fn taken_apart() {
    for (text, host, authority, target) in [
        ("http://a.test", "a.test", "a.test", "/"),
        ("HTTP://A.Test:80/x?y=1#z", "a.test", "a.test", "/x?y=1"),
        ("http://a.test:8080?q", "a.test", "a.test:8080", "/?q"),
        ("http://a.test:/", "a.test", "a.test", "/"),
        ("http://a.test#f", "a.test", "a.test", "/"),
        ("https://a.test:443/", "a.test", "a.test", "/"),
        ("https://a.test:80/", "a.test", "a.test:80", "/"),
        ("http://127.0.0.1:1/../a", "127.0.0.1", "127.0.0.1:1", "/../a"),
        ("http://[::1]:81/", "::1", "[::1]:81", "/"),
        ("http://[0:0::1]", "::1", "[::1]", "/"),
        ("http://a_b.test/a b/\u{e4}?<\">", "a_b.test", "a_b.test", "/a%20b/%C3%A4?%3C%22%3E"),
        ("http://unix:/tmp/x.sock:/a?b", "localhost", "localhost", "/a?b"),
        ("http://unix:/tmp/x.sock", "localhost", "localhost", "/"),
        ("http://unix:/tmp/x.sock:?b", "localhost", "localhost", "/?b"),
    ] {
        let url = Url::parse(text.as_bytes()).unwrap();
        assert_eq!((url.host(), url.authority().as_str(), url.target.as_str()), (host, authority, target));
        assert_eq!(Url::parse(url.to_string().as_bytes()).unwrap(), url, "{text}");
    }
}

#[test]
fn refused() {
    for (text, why) in [
        ("", "it is to begin with http:// or https://"),
        ("a.test/", "it is to begin with http:// or https://"),
        ("ftp://a.test/", "it is to begin with http:// or https://"),
        ("http:/a.test", "it is to begin with http:// or https://"),
        ("http://", "no host"),
        ("http:///x", "no host"),
        ("http://:80/", "no host"),
        ("http://a b/", "bad host"),
        ("http://\u{e4}.test/", "bad host"),
        ("http://a.test:0/", "bad port"),
        ("http://a.test:65536/", "bad port"),
        ("http://a.test:+1/", "bad port"),
        ("http://a.test:1:2/", "bad port"),
        ("http://[::1/", "no ] behind the address"),
        ("http://[a]/", "bad address"),
        ("http://[::1]x/", "bad port"),
        ("http://u:p@a.test/", "user and password belong into a header"),
        ("http://a.test/\r\nX: y", "a control character"),
        ("http://a.test/\u{7f}", "a control character"),
        ("http://unix:", "no path of a socket"),
        ("http://unix:/s:x", "what follows the socket's path is to begin with /"),
    ] {
        let e = Url::parse(text.as_bytes()).unwrap_err();
        assert_eq!(e.why, why, "{text}");
        assert!(!e.to_string().contains(['\r', '\n']));
    }
    assert_eq!(
        Url::parse(&[b"http://a.test/".as_slice(), &[b'x'; MAX_LEN]].concat()).unwrap_err().why,
        "too long"
    );
}

/// The examples of RFC 3986, section 5.4, as far as they are of HTTP.
#[test]
fn joined() {
    let base = Url::parse(b"http://a/b/c/d;p?q").unwrap();
    for (reference, want) in [
        ("g:h", None),
        ("g", Some("http://a/b/c/g")),
        ("./g", Some("http://a/b/c/g")),
        ("g/", Some("http://a/b/c/g/")),
        ("/g", Some("http://a/g")),
        ("//g", Some("http://g/")),
        ("?y", Some("http://a/b/c/d;p?y")),
        ("g?y", Some("http://a/b/c/g?y")),
        ("#s", Some("http://a/b/c/d;p?q")),
        ("g#s", Some("http://a/b/c/g")),
        ("g?y#s", Some("http://a/b/c/g?y")),
        (";x", Some("http://a/b/c/;x")),
        ("", Some("http://a/b/c/d;p?q")),
        (".", Some("http://a/b/c/")),
        ("./", Some("http://a/b/c/")),
        ("..", Some("http://a/b/")),
        ("../g", Some("http://a/b/g")),
        ("../..", Some("http://a/")),
        ("../../../g", Some("http://a/g")),
        ("/../g", Some("http://a/g")),
        ("g.", Some("http://a/b/c/g.")),
        ("..g", Some("http://a/b/c/..g")),
        ("./../g", Some("http://a/b/g")),
        ("g/./h", Some("http://a/b/c/g/h")),
        ("g;x=1/../y", Some("http://a/b/c/y")),
        ("g?y/../x", Some("http://a/b/c/g?y/../x")),
        ("https://B.test:444/x", Some("https://b.test:444/x")),
        ("/a\tb", None),
    ] {
        let got = base.join(reference.as_bytes()).ok().map(|url| url.to_string());
        assert_eq!(got.as_deref(), want, "{reference}");
    }
    let unix = Url::parse(b"https://unix:/s:/a/b").unwrap();
    assert_eq!(unix.join(b"c").unwrap().to_string(), "https://unix:/s:/a/c");
    assert_eq!(unix.join(b"//b.test").unwrap().to_string(), "https://b.test/");
}

#[test]
fn origins() {
    let url = |text: &str| Url::parse(text.as_bytes()).unwrap();
    assert!(url("http://a/x").same_origin(&url("http://A:80/y")));
    for other in ["https://a:80/x", "http://a:81/x", "http://b/x", "http://unix:/a:/x"] {
        assert!(!url("http://a/x").same_origin(&url(other)), "{other}");
    }
}

proptest! {
    /// Whatever comes in, what stands in the request line is a path without spaces and control characters.
    #[test]
    fn safe(text in proptest::collection::vec(any::<u8>(), 0..40)) {
        let base = Url::parse(b"http://a/b/c?d").unwrap();
        for url in [Url::parse(&[b"http://a/".as_slice(), &text].concat()), base.join(&text)].into_iter().flatten() {
            prop_assert!(url.target.starts_with('/'));
            prop_assert!(url.target.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(Url::parse(url.to_string().as_bytes()).unwrap(), url);
        }
    }
}
