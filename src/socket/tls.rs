//! TLS on a TCP socket.

use core::cell::{Cell, RefCell};
use std::rc::Rc;

use super::tcp::{Busy, Doing, Tcp};
use super::SocketError;
use crate::ngx::tls::{self, Identity, Session, Store, TlsError, Wish};
use crate::ngx::Stream;
use crate::run::Host;

/// What a script has set for the socket's handshakes.
#[derive(Default)]
pub struct Own {
    pub identity: RefCell<Option<Identity>>,
    pub trusted: RefCell<Option<Store>>,
    /// Protocols in the wire format of ALPN.
    pub alpn: RefCell<Vec<u8>>,
}

/// What a handshake is to do.
#[derive(Default)]
pub struct Handshake {
    pub server_name: Vec<u8>,
    pub verify: bool,
    pub ask_status: bool,
}

/// Closes a socket when what its thread does is ended early: what is sent in the middle of a handshake would go out as
/// it is, and what is sent in the middle of a record in that one's place.
pub struct Unfinished {
    tcp: Rc<Tcp>,
    finished: Cell<bool>,
}

impl Unfinished {
    fn new(tcp: &Rc<Tcp>) -> Unfinished {
        Unfinished { tcp: Rc::clone(tcp), finished: Cell::new(false) }
    }

    pub fn if_encrypted(tcp: &Rc<Tcp>) -> Option<Unfinished> {
        tcp.stream().is_ok_and(|stream| stream.is_encrypted()).then(|| Unfinished::new(tcp))
    }

    pub fn finish(&self) {
        self.finished.set(true);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished.get() {
            self.tcp.drop_stream_only();
        }
    }
}

impl Tcp {
    /// Begins a handshake; `None` when there has been one.
    pub fn begin_handshake(
        self: &Rc<Self>,
        what: &Handshake,
        session: Option<&Session>,
        host: &Host,
    ) -> Result<Option<Busy>, SocketError> {
        self.refuse(&[Doing::Connecting, Doing::Reading, Doing::Writing])?;
        let stream = self.stream()?;
        if stream.is_encrypted() {
            // a pooled connection may have been made by one who did not care
            if what.verify {
                if let Err(e) = self.verify(&stream, what, host) {
                    self.drop_stream_only();
                    return Err(e.into());
                }
            }
            return Ok(None);
        }
        // what came in the clear must not pass for what TLS protects
        if self.has_unread() {
            return Err(SocketError::UnreadData);
        }
        let location = self.location();
        let context = location.conf().tls.context();
        let context = context.ok_or(TlsError::Refused("this nginx was built without TLS"))?;
        if !what.server_name.is_empty() {
            host.debug(format_args!("lua ssl server name: \"{}\"", what.server_name.escape_ascii()));
        }
        if let Some(session) = session {
            host.debug(format_args!("lua ssl set session: {session}"));
        }
        let (identity, trusted) = (self.tls.identity.borrow(), self.tls.trusted.borrow());
        let wish = Wish {
            session,
            server_name: &what.server_name,
            ask_status: what.ask_status,
            identity: identity.as_ref(),
            trusted: trusted.as_ref(),
            alpn: &self.tls.alpn.borrow(),
        };
        if let Err(e) = stream.begin_tls(context, &wish) {
            self.drop_stream_only();
            return Err(e.into());
        }
        self.begin(Doing::Connecting).map(Some)
    }

    /// Goes on with a handshake that has begun. A socket whose handshake fails is closed.
    pub async fn shake_hands(self: Rc<Self>, what: Handshake, host: Host) -> Result<(), SocketError> {
        let unfinished = Unfinished::new(&self);
        let timeout = self.connect_timeout.get().unwrap_or(self.settings().connect_timeout());
        let stream = self.stream()?;
        tls::handshake(Rc::clone(&stream), timeout).await?;
        if what.verify {
            self.verify(&stream, &what, &host)?;
        }
        unfinished.finish();
        Ok(())
    }

    fn verify(&self, stream: &Stream, what: &Handshake, host: &Host) -> Result<(), TlsError> {
        let name = &what.server_name;
        stream.verify_peer(name).inspect_err(|e| match e {
            TlsError::WrongName => {
                let name = name.escape_ascii();
                self.log(host, format_args!("lua ssl certificate does not match host \"{name}\""));
            }
            e => self.log(host, format_args!("lua ssl certificate verify error: ({e})")),
        })
    }
}
