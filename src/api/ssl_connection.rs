//! `ngx.ssl`, as far as it is about a client's connection, and `ngx.ssl.clienthello`.

use crate::native::{natives, Cx, Handle, Str};
use crate::ngx::tls::{Chain, Connection, Key, Random};

const OK: i32 = 0;
const FAILED: i32 = -1;
const NONE: i32 = -5;

const NOT_TLS: &str = "bad request";

/// The client's connection of the handshake, or of the request, whose script runs.
pub fn with<T>(cx: Cx, f: impl FnOnce(&Connection) -> Result<T, &'static str>) -> Result<T, &'static str> {
    if let Some(request) = cx.request() {
        return f(&request.tls().ok_or(NOT_TLS)?);
    }
    let handshake = cx.background().and_then(|background| background.handshake());
    f(&handshake.ok_or(NOT_TLS)?.connection())
}

/// 0, or -1 and why not in `message`.
pub fn answer(result: Result<(), &'static str>, message: &mut Str) -> i32 {
    match result {
        Ok(()) => OK,
        Err(e) => {
            message.lend(e.as_bytes());
            FAILED
        }
    }
}

/// Numbers on their way to Lua, two bytes each.
fn lend_numbers(cx: Cx, numbers: &[u16], out: &mut Str) {
    let bytes = cx.scratch();
    bytes.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    out.lend(bytes);
}

/// As many bytes as a script may ask for.
const LONGEST: usize = 1 << 16;

natives! {
    fn ssl_clear_certs(cx, out: out<Str>) -> i32 {
        let cleared = with(cx, |connection| {
            connection.clear_certificates();
            Ok(())
        });
        answer(cleared, out)
    }

    fn ssl_set_cert(cx, chain: our<Chain>, out: out<Str>) -> i32 {
        answer(with(cx, |connection| connection.show(chain)), out)
    }

    fn ssl_set_key(cx, key: our<Key>, out: out<Str>) -> i32 {
        answer(with(cx, |connection| connection.prove_by(key)), out)
    }

    /// The address of this side (`own` 1) or the other, in network byte order: its kind, or -1.
    fn ssl_address(cx, own: val<i32>, out: out<Str>) -> i32 {
        let address = cx.scratch();
        let kind = with(cx, |connection| {
            let (bytes, kind) = connection.address(own != 0)?;
            address.extend_from_slice(bytes);
            Ok(kind)
        });
        match kind {
            Ok(kind) => {
                out.lend(address);
                kind
            }
            Err(e) => answer(Err(e), out),
        }
    }

    fn ssl_server_port(cx, out: out<Str>) -> i32 {
        match with(cx, Connection::port) {
            Ok(port) => port.into(),
            Err(e) => answer(Err(e), out),
        }
    }

    /// The name of the server that the client asks for; -5 if it has not said. `hello`: 1 by its first message alone.
    fn ssl_server_name(cx, hello: val<i32>, out: out<Str>) -> i32 {
        let name = cx.scratch();
        let found = with(cx, |connection| {
            let found = if hello != 0 { connection.hello_server_name()? } else { connection.server_name() };
            name.extend_from_slice(found.unwrap_or_default());
            Ok(found.is_some())
        });
        match found {
            Ok(true) => {
                out.lend(name);
                OK
            }
            Ok(false) => NONE,
            Err(e) => answer(Err(e), out),
        }
    }

    fn ssl_version(cx, out: out<Str>) -> i32 {
        match with(cx, |connection| Ok(connection.version())) {
            Ok(version) => version,
            Err(e) => answer(Err(e), out),
        }
    }

    /// `which`: 0 the client's random, 1 the server's, 2 the session's master key. The number of bytes, whatever is asked for,
    /// if `most` is 0.
    fn ssl_random(cx, which: val<i32>, most: val<f64>, out: out<Str>) -> i32 {
        let which = match which {
            0 => Random::Client,
            1 => Random::Server,
            _ => Random::MasterKey,
        };
        let bytes = cx.scratch();
        bytes.resize((most.max(0.0) as usize).min(LONGEST), 0);
        match with(cx, |connection| Ok(connection.random(which, bytes))) {
            Ok(n) => {
                out.lend(&bytes[..n.min(bytes.len())]);
                i32::try_from(n).unwrap_or(0)
            }
            Err(e) => answer(Err(e), out),
        }
    }

    /// `form`: 1 early keys, 2 there is a context. -5 if there are no such keys.
    fn ssl_export(cx, length: val<f64>, label: bytes, context: bytes, form: val<i32>, out: out<Str>) -> i32 {
        if !(0.0..=LONGEST as f64).contains(&length) {
            return answer(Err("bad length"), out);
        }
        let key = cx.scratch();
        key.resize(length as usize, 0);
        let context = (form & 2 != 0).then_some(context);
        match with(cx, |connection| Ok(connection.export(form & 1 != 0, label, context, key))) {
            Ok(true) => {
                out.lend(key);
                OK
            }
            Ok(false) => NONE,
            Err(e) => answer(Err(e), out),
        }
    }

    /// A depth below 0 is that of `ssl_verify_depth`.
    fn ssl_verify_client(cx, named: maybe<Chain>, trusted: maybe<Chain>, depth: val<i32>, out: out<Str>) -> i32 {
        let depth = (depth >= 0).then_some(depth);
        answer(with(cx, |connection| connection.verify_client(named, trusted, depth)), out)
    }

    fn ssl_shared_ciphers(cx, out: out<Str>) -> i32 {
        let mut numbers = Vec::new();
        let found = with(cx, |connection| connection.shared_ciphers(&mut numbers));
        if found.is_ok() {
            lend_numbers(cx, &numbers, out);
        }
        answer(found, out)
    }

    /// The address of OpenSSL's object of the client's connection, or of the upstream's (`upstream` 1).
    fn ssl_pointer(cx, upstream: val<i32>, slot: out<Handle>, out: out<Str>) -> i32 {
        let address = match cx.request().filter(|_| upstream != 0) {
            Some(request) => request.upstream_tls().map(|c| c.address_of_ssl()).ok_or(NOT_TLS),
            None if upstream != 0 => Err(NOT_TLS),
            None => with(cx, |connection| Ok(connection.address_of_ssl())),
        };
        answer(address.map(|address| slot.point(address)), out)
    }

    /// An extension of the client's first message; -5 if it has none of this kind.
    fn hello_extension(cx, kind: val<f64>, out: out<Str>) -> i32 {
        let bytes = cx.scratch();
        let found = with(cx, |connection| {
            let found = connection.hello_extension(kind as u32);
            bytes.extend_from_slice(found.unwrap_or_default());
            Ok(found.is_some())
        });
        match found {
            Ok(true) => {
                out.lend(bytes);
                OK
            }
            Ok(false) => NONE,
            Err(e) => answer(Err(e), out),
        }
    }

    /// `which`: 0 the extensions of the client's first message, 1 its ciphers.
    fn hello_numbers(cx, which: val<i32>, out: out<Str>) -> i32 {
        let mut numbers = Vec::new();
        let found = with(cx, |connection| {
            if which == 0 {
                return Ok(connection.hello_extensions(&mut numbers));
            }
            connection.hello_ciphers(&mut numbers);
            Ok(true)
        });
        match found {
            Ok(true) => {
                lend_numbers(cx, &numbers, out);
                OK
            }
            Ok(false) => NONE,
            Err(e) => answer(Err(e), out),
        }
    }

    fn hello_set_protocols(cx, bits: val<u32>, out: out<Str>) -> i32 {
        let set = with(cx, |connection| {
            connection.set_protocols(bits);
            Ok(())
        });
        answer(set, out)
    }
}
