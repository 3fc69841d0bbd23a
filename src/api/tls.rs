//! TLS on the sockets of `ngx.socket.tcp`.

use std::rc::Rc;

use super::socket::{check, fail, push_error, FAILED, OK, WAIT};
use crate::native::{natives, Cx, Handle, Str};
use crate::ngx::tls::{Chain, Identity, Key, RawStore, Session, Store, TlsError};
use crate::run::work;
use crate::socket::{Handshake, SocketError, Tcp};
use crate::vm::Stack;

/// The socket has shaken hands before.
const DONE: i32 = 2;

const VERIFY: i32 = 1;
const ASK_STATUS: i32 = 2;

fn handshake(cx: Cx, tcp: &Rc<Tcp>, session: Option<&Session>, what: Handshake) -> Result<i32, SocketError> {
    let host = check(cx, tcp)?;
    let Some(busy) = tcp.begin_handshake(&what, session, &host)? else { return Ok(DONE) };
    let tcp = Rc::clone(tcp);
    cx.prepare(Box::new(move |waker, stack| {
        work(waker, stack, async move {
            let result = tcp.shake_hands(what, host).await;
            drop(busy);
            move |stack: &mut Stack<'_>| match result {
                Ok(()) => {
                    stack.push_boolean(true);
                    1
                }
                Err(e) => push_error(stack, &e),
            }
        })
    }));
    Ok(WAIT)
}

natives! {
    /// Prepares a handshake. `flags`: 1 verify, 2 ask for the certificate's status.
    fn tls_handshake(cx, tcp: our<Rc<Tcp>>, session: maybe<Rc<Session>>, name: bytes, flags: val<i32>, message: out<Str>) -> i32 {
        let what = Handshake {
            server_name: name.to_vec(),
            verify: flags & VERIFY != 0,
            ask_status: flags & ASK_STATUS != 0,
        };
        handshake(cx, tcp, session.map(|s| &**s), what).unwrap_or_else(|e| fail(cx, &e, message))
    }

    /// The connection's session, which Lua gives back by `tls_session_free`.
    fn tls_session(cx, tcp: our<Rc<Tcp>>, slot: out<Handle>, message: out<Str>) -> i32 {
        let session = check(cx, tcp).and_then(|_| {
            let none = SocketError::Tls(TlsError::Refused("not ssl connection"));
            tcp.stream()?.session().ok_or(none)
        });
        match session {
            Ok(session) => {
                slot.keep(session);
                OK
            }
            Err(e) => fail(cx, &e, message),
        }
    }

    fn tls_session_free(cx, session: own<Rc<Session>>) -> () {
        drop(session);
    }

    /// The address of OpenSSL's object of the connection (0) or of its context (1).
    fn tls_openssl(cx, tcp: our<Rc<Tcp>>, which: val<i32>, slot: out<Handle>, message: out<Str>) -> i32 {
        let addresses = check(cx, tcp).and_then(|_| {
            let none = SocketError::Tls(TlsError::Refused("not ssl connection"));
            tcp.stream()?.openssl().ok_or(none)
        });
        match addresses {
            Ok((connection, context)) => {
                slot.point(if which == 0 { connection } else { context });
                OK
            }
            Err(e) => fail(cx, &e, message),
        }
    }

    /// Has the socket's handshakes show a certificate.
    fn tls_certificate(cx, tcp: our<Rc<Tcp>>, chain: our<Chain>, key: our<Key>) -> i32 {
        let Some(identity) = Identity::new(chain, key) else { return FAILED };
        tcp.tls.identity.replace(Some(identity));
        OK
    }

    fn tls_no_certificate(cx, tcp: our<Rc<Tcp>>) -> () {
        tcp.tls.identity.replace(None);
    }

    /// Has the socket's handshakes trust what an `X509_STORE` trusts; without one, what the location says.
    fn tls_trust(cx, tcp: our<Rc<Tcp>>, store: maybe<RawStore>) -> i32 {
        let store = match store.map(Store::new) {
            Some(None) => return FAILED,
            Some(store) => store,
            None => None,
        };
        tcp.tls.trusted.replace(store);
        OK
    }

    /// Has the socket's handshakes offer protocols, in the wire format of ALPN.
    fn tls_offer(cx, tcp: our<Rc<Tcp>>, protocols: bytes) -> () {
        tcp.tls.alpn.replace(protocols.to_vec());
    }

    /// The protocol that was agreed on; empty when none was.
    fn tls_protocol(cx, tcp: our<Rc<Tcp>>, out: out<Str>, message: out<Str>) -> i32 {
        match check(cx, tcp).and_then(|_| tcp.stream()) {
            Ok(stream) => {
                let protocol = cx.scratch();
                stream.alpn(protocol);
                out.lend(protocol);
                OK
            }
            Err(e) => fail(cx, &e, message),
        }
    }
}
