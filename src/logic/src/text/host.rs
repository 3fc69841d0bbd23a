//! The server name in a `Host` header, as nginx takes it out: without port and final dot, in lower case.
//!
//! A script may put any text into `Host`; what comes out here becomes `$host` and may end up in a file name, so the
//! rules are those of nginx's own parser (`ngx_http_validate_host`, nginx 1.22).

/// Appends the name in `host` to `out`; `false` if nginx would refuse a request with such a header.
pub fn server_name(host: &[u8], out: &mut Vec<u8>) -> bool {
    if host.windows(2).any(|two| two == b"..") || host.iter().any(|&b| b == b'/' || b <= b' ' || b == 0x7f) {
        return false;
    }
    let end = match host {
        [b'[', ..] => host.iter().position(|&b| b == b']').map_or(host.len(), |i| i + 1),
        _ => host.iter().position(|&b| b == b':').unwrap_or(host.len()),
    };
    let name = &host[..end];
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() {
        return false;
    }
    super::header::lower_case(name, out);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (host, want) in [
            ("a.test", Some("a.test")),
            ("A.Test:8080", Some("a.test")),
            ("a.test.", Some("a.test")),
            ("a.test.:80", Some("a.test")),
            ("[::1]:8080", Some("[::1]")),
            ("[::A]", Some("[::a]")),
            ("[::1", Some("[::1")),
            ("你.test", Some("你.test")),
            ("", None),
            (".", None),
            (":80", None),
            ("a..b", None),
            ("a/b", None),
            ("a b", None),
            ("a\0b", None),
        ] {
            let mut out = b"x".to_vec();
            let ok = server_name(host.as_bytes(), &mut out);
            assert_eq!(ok, want.is_some(), "{host:?}");
            assert_eq!(&out[1..], want.unwrap_or_default().as_bytes(), "{host:?}");
        }
    }
}
