//! Addresses of peers, written as nginx prints them.

use std::net::{IpAddr, SocketAddr};

/// The longest path of a unix socket, on Linux.
const MOST_PATH: usize = 107;

/// Why a text is no address of a peer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Wrong {
    #[error("\"{0}\" is a name: write the address that it has, or \"autoscale_peers dns:NAME:PORT;\" in the upstream")]
    Name(String),
    #[error("\"{0}\" has no port: write IP:PORT")]
    NoPort(String),
    #[error("\"{0}\" is no address: write IP:PORT, [IPv6]:PORT or unix:PATH")]
    NoAddress(String),
}

/// The address in nginx's words: `IP:PORT`, `[IPv6]:PORT` or `unix:PATH`.
pub fn parse(text: &str) -> Result<String, Wrong> {
    let shown = || text.chars().filter(|c| !c.is_control()).take(100).collect::<String>();
    if let Some(path) = text.strip_prefix("unix:") {
        let legal =
            path.starts_with('/') && path.len() <= MOST_PATH && !path.contains(|c: char| c.is_control());
        return if legal { Ok(text.into()) } else { Err(Wrong::NoAddress(shown())) };
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Err(Wrong::NoPort(shown()));
    }
    match text.parse::<SocketAddr>() {
        Ok(SocketAddr::V6(v6)) if v6.scope_id() != 0 => Err(Wrong::NoAddress(shown())),
        Ok(address) if address.port() != 0 => Ok(address.to_string()),
        Ok(_) => Err(Wrong::NoAddress(shown())),
        Err(_) => {
            let name = text.rsplit_once(':').map_or(text, |(name, _)| name);
            let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let is_name = name.contains(|c: char| c.is_ascii_alphabetic()) && name.chars().all(legal);
            Err(if is_name { Wrong::Name(shown()) } else { Wrong::NoAddress(shown()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_nginx_does() {
        let table = [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[2001:DB8:0:0::1]:8080", "[2001:db8::1]:8080"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
        ];
        for (text, nginx) in table {
            assert_eq!(parse(text).as_deref(), Ok(nginx));
        }
    }

    #[test]
    fn what_is_none_is_told_what_to_write() {
        let table = [
            ("app.example.com:80", "is a name"),
            ("app", "is a name"),
            ("127.0.0.1", "has no port"),
            ("::1", "has no port"),
            ("[::1]", "has no port"),
            ("127.0.0.1:0", "is no address"),
            ("127.0.0.1:70000", "is no address"),
            ("127.0.0.256:80", "is no address"),
            ("[fe80::1%2]:80", "is no address"),
            ("unix:app.sock", "is no address"),
            ("", "is no address"),
            ("a b:80", "is no address"),
        ];
        for (text, part) in table {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(parse(&format!("unix:/{}", "x".repeat(107))).is_err());
    }
}
