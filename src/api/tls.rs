//! TLS on the sockets of `ngx.socket.tcp`.

use std::rc::Rc;

use super::socket::args::this;
use super::socket::{check, failed, push_error, Answered};
use crate::native::{classics, natives, Answer, Cx, Raise};
use crate::ngx::tls::{Chain, Identity, Key, RawStore, Session, Store, TlsError};
use crate::socket::{Handshake, SocketError, Tcp};
use crate::vm::Stack;

/// A wait; nothing when the socket has shaken hands before.
fn handshake(
    cx: Cx,
    tcp: &Rc<Tcp>,
    session: Option<&Session>,
    what: Handshake,
) -> Result<Option<Answer>, SocketError> {
    let host = check(cx, tcp)?;
    let Some(busy) = tcp.begin_handshake(&what, session, &host)? else { return Ok(None) };
    let tcp = Rc::clone(tcp);
    Ok(Some(Answer::work(async move {
        let result = tcp.shake_hands(what, host).await;
        drop(busy);
        move |stack: &mut Stack<'_>| match result {
            Ok(()) => answer(stack, true),
            Err(e) => push_error(stack, &e),
        }
    })))
}

/// The socket at index 1. All of this is called by functions of the prelude.
fn own(stack: &mut Stack<'_>, name: &str) -> Result<Rc<Tcp>, Raise> {
    this(stack, name).map_err(Raise::above)
}

fn answer(stack: &mut Stack<'_>, yes: bool) -> i32 {
    stack.push_boolean(yes);
    1
}

/// What a connection that has shaken hands knows.
fn encrypted<T>(
    cx: Cx,
    tcp: &Tcp,
    of: impl FnOnce(&crate::ngx::Stream) -> Option<T>,
) -> Result<T, SocketError> {
    check(cx, tcp)?;
    of(&*tcp.stream()?).ok_or(SocketError::Tls(TlsError::Refused("not ssl connection")))
}

classics! {
    /// `(socket, session?, name, verify, ask_status)`: whether hands were shaken now, and not before.
    fn tls_handshake(cx, stack) -> Answered {
        let tcp = own(stack, "sslhandshake")?;
        let what = Handshake {
            server_name: stack.bytes(3).unwrap_or_default().to_vec(),
            verify: stack.boolean(4),
            ask_status: stack.boolean(5),
        };
        let session = stack.pointed::<Rc<Session>>(2).cloned();
        match handshake(cx, &tcp, session.as_deref(), what) {
            Ok(Some(wait)) => Ok(wait),
            Ok(None) => Ok(Answer::Values(answer(stack, false))),
            Err(e) => failed(stack, &e).map_err(Raise::above),
        }
    }

    /// `(socket)`: the address of its session, which Lua gives back by `tls_session_free`.
    fn tls_session(cx, stack) -> Answered {
        let tcp = own(stack, "sslhandshake")?;
        match encrypted(cx, &tcp, |stream| stream.session()) {
            Ok(session) => {
                stack.push_kept(session);
                Ok(Answer::Values(1))
            }
            Err(e) => failed(stack, &e).map_err(Raise::above),
        }
    }

    /// `(socket)`: the addresses of OpenSSL's objects of the connection, and of its context.
    fn tls_openssl(cx, stack) -> Answered {
        let tcp = own(stack, "getsslsession")?;
        match encrypted(cx, &tcp, |stream| stream.openssl()) {
            Ok((connection, context)) => {
                stack.push_address(connection);
                stack.push_address(context);
                Ok(Answer::Values(2))
            }
            Err(e) => failed(stack, &e).map_err(Raise::above),
        }
    }

    /// `(socket, chain, key)`: has its handshakes show a certificate; without them none.
    fn tls_certificate(cx, stack) -> Answered {
        let tcp = own(stack, "setclientcert")?;
        let identity = match (stack.pointed::<Chain>(2), stack.pointed::<Key>(3)) {
            (Some(chain), Some(key)) => Identity::new(chain, key),
            _ => None,
        };
        let done = identity.is_some() || stack.is_nil(2);
        if done {
            tcp.tls.identity.replace(identity);
        }
        Ok(Answer::Values(answer(stack, done)))
    }

    /// `(socket, store?)`: has its handshakes trust what an `X509_STORE` trusts; without one, what the location says.
    fn tls_trust(cx, stack) -> Answered {
        let tcp = own(stack, "settrustedstore")?;
        let store = stack.pointed::<RawStore>(2).and_then(Store::new);
        let done = store.is_some() || stack.is_nil(2);
        if done {
            tcp.tls.trusted.replace(store);
        }
        Ok(Answer::Values(answer(stack, done)))
    }

    /// `(socket, protocols)`: has its handshakes offer these, in the wire format of ALPN.
    fn tls_offer(cx, stack) -> Answered {
        let tcp = own(stack, "setalpn")?;
        tcp.tls.alpn.replace(stack.bytes(2).unwrap_or_default().to_vec());
        Ok(Answer::Values(answer(stack, true)))
    }

    /// `(socket)`: the protocol that was agreed on, nil when none was.
    fn tls_protocol(cx, stack) -> Answered {
        let tcp = own(stack, "getalpn")?;
        match check(cx, &tcp).and_then(|_| tcp.stream()) {
            Ok(stream) => {
                let mut protocol = Vec::new();
                stream.alpn(&mut protocol);
                if protocol.is_empty() {
                    stack.push_nil();
                } else {
                    stack.push_bytes(&protocol);
                }
                Ok(Answer::Values(1))
            }
            Err(e) => failed(stack, &e).map_err(Raise::above),
        }
    }
}

natives! {
    fn tls_session_free(cx, session: own<Rc<Session>>) -> () {
        drop(session);
    }
}
