//! Shaking hands: from a connected stream to an encrypted one.

use core::cell::RefCell;
use core::ffi::{c_int, c_long, CStr};
use core::net::IpAddr;
use core::ptr::{self, NonNull};
use std::ffi::CString;
use std::rc::{Rc, Weak};

use ::ngx::ffi::{self, ngx_connection_t, SSL};

use super::keys::clear_errors;
use super::{Context, Session, Shaken, TlsError, Wish};
use crate::ngx::cycle_main_conf;
use crate::ngx::socket::{Peer, Stream};

const OK: isize = ffi::NGX_OK as isize;

/// What TLS adds to a stream.
#[derive(Default)]
pub struct Tls {
    /// The session that a script holds, to be kept up to date.
    session: RefCell<Weak<Session>>,
    /// The name for which the peer was verified.
    verified: RefCell<Option<Box<[u8]>>>,
}

impl Stream {
    /// Prepares a connected stream for a handshake.
    pub fn begin_tls(&self, context: &Context, wish: &Wish<'_>) -> Result<(), TlsError> {
        let c = self.connection().ok_or(TlsError::Closed)?.as_ptr();
        // SAFETY: the connection is live; what is made here ends with it.
        unsafe {
            if (*c).pool.is_null() {
                let main = cycle_main_conf().ok_or(TlsError::Closed)?;
                (*c).pool = main.spare_pools.take((*c).log);
            }
            if (*c).pool.is_null()
                || ffi::ngx_ssl_create_connection(context.raw(), c, ffi::NGX_SSL_CLIENT as usize) != OK
            {
                return Err(TlsError::Refused("failed to create ssl connection"));
            }
            (*(*c).ssl).save_session = Some(save_session);
            let ssl = (*(*c).ssl).connection;
            // what is sent again after a wait may lie elsewhere by then
            let moving = ffi::SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | ffi::SSL_MODE_ENABLE_PARTIAL_WRITE;
            ffi::SSL_ctrl(ssl, ffi::SSL_CTRL_MODE as c_int, c_long::from(moving), ptr::null_mut());
            if let Some(session) = wish.session {
                if ffi::ngx_ssl_set_session(c, session.raw()) != OK {
                    return Err(TlsError::Refused("ssl set session failed"));
                }
            }
            if let Some(identity) = wish.identity {
                identity.use_by(ssl)?;
            }
            if let Some(trusted) = wish.trusted {
                trusted.use_by(ssl)?;
            }
            name(ssl, wish.server_name)?;
            if wish.ask_status {
                let (command, ocsp) = (
                    ffi::SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE as c_int,
                    c_long::from(ffi::TLSEXT_STATUSTYPE_ocsp),
                );
                ffi::SSL_ctrl(ssl, command, ocsp, ptr::null_mut());
            }
            let alpn = wish.alpn;
            if !alpn.is_empty() && ffi::SSL_set_alpn_protos(ssl, alpn.as_ptr(), alpn.len() as u32) != 0 {
                return Err(TlsError::Refused("ssl set application protocols failed"));
            }
        }
        Ok(())
    }

    /// Goes on with the handshake.
    pub(super) fn shake(&self) -> Result<Shaken, TlsError> {
        let c = self.connection().ok_or(TlsError::Closed)?.as_ptr();
        // SAFETY: the connection is live, and `begin_tls` has prepared it.
        let (rc, wanted) = unsafe {
            let rc = ffi::ngx_ssl_handshake(c);
            (rc, ffi::SSL_want((*(*c).ssl).connection))
        };
        // nginx has put itself in our place
        self.take_events();
        match rc {
            OK => Ok(Shaken::Done),
            rc if rc != ffi::NGX_AGAIN as isize => Err(TlsError::Failed),
            _ if wanted == ffi::SSL_WRITING as c_int => Ok(Shaken::Writes),
            _ => Ok(Shaken::Reads),
        }
    }

    /// Whether the peer has shown a certificate that is trusted, and that is for `name` unless this is empty.
    pub fn verify_peer(&self, name: &[u8]) -> Result<(), TlsError> {
        let c = self.connection().ok_or(TlsError::Closed)?.as_ptr();
        if self.tls.verified.borrow().as_deref() == Some(name) {
            return Ok(());
        }
        // SAFETY: the connection is live and has shaken hands; OpenSSL's texts are constants.
        unsafe {
            let ssl = (*(*c).ssl).connection;
            let result = ffi::SSL_get_verify_result(ssl);
            if result != c_long::from(ffi::X509_V_OK) {
                let why = CStr::from_ptr(ffi::X509_verify_cert_error_string(result));
                return Err(TlsError::Unverified(result, why.to_string_lossy().into_owned()));
            }
            // ciphers without certificates leave nothing to find fault with
            let chain = ffi::SSL_get_peer_cert_chain(ssl);
            if chain.is_null() || ffi::OPENSSL_sk_num(chain.cast()) < 1 {
                return Err(TlsError::NoCertificate);
            }
            let mut text = ffi::ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
            if !name.is_empty() && ffi::ngx_ssl_check_host(c, &raw mut text) != OK {
                let address = address(name).and_then(|_| CString::new(name).ok());
                let own = ffi::OPENSSL_sk_value(chain.cast(), 0).cast();
                if address.is_none_or(|text| ffi::X509_check_ip_asc(own, text.as_ptr(), 0) != 1) {
                    return Err(TlsError::WrongName);
                }
            }
        }
        self.tls.verified.replace(Some(name.into()));
        Ok(())
    }

    /// Whether the stream has shaken hands.
    pub fn is_encrypted(&self) -> bool {
        // SAFETY: the connection is live.
        self.connection()
            .is_some_and(|c| unsafe { is_tls(c.as_ptr()) && (*(*c.as_ptr()).ssl).handshaked() != 0 })
    }

    /// The session, for a later handshake with the same peer.
    pub fn session(&self) -> Option<Rc<Session>> {
        let c = self.connection().filter(|_| self.is_encrypted())?.as_ptr();
        // SAFETY: the connection has shaken hands; the reference that OpenSSL counts is taken over.
        let session = unsafe { NonNull::new(ffi::SSL_get1_session((*(*c).ssl).connection)) }?;
        let session = Rc::new(Session::adopt(session));
        self.tls.session.replace(Rc::downgrade(&session));
        Some(session)
    }

    /// The protocol of the application that both sides speak.
    pub fn alpn(&self, out: &mut Vec<u8>) {
        let Some(c) = self.connection().filter(|_| self.is_encrypted()) else { return };
        let (mut data, mut len) = (ptr::null(), 0);
        // SAFETY: the connection has shaken hands; what OpenSSL shows is copied at once.
        unsafe {
            let ssl = (*(*c.as_ptr()).ssl).connection;
            ffi::SSL_get0_alpn_selected(ssl, &raw mut data, &raw mut len);
            if !data.is_null() {
                out.extend_from_slice(core::slice::from_raw_parts(data, len as usize));
            }
        }
    }

    /// The addresses of OpenSSL's objects of this connection, for Lua libraries that know OpenSSL.
    pub fn openssl(&self) -> Option<(usize, usize)> {
        let c = self.connection()?.as_ptr();
        // SAFETY: the connection is live.
        unsafe {
            if !is_tls(c) {
                return None;
            }
            let ssl = (*(*c).ssl).connection;
            Some((ssl as usize, ffi::SSL_get_SSL_CTX(ssl) as usize))
        }
    }
}

fn address(name: &[u8]) -> Option<IpAddr> {
    core::str::from_utf8(name).ok()?.parse().ok()
}

/// Tells the peer which server is meant. Addresses are not told: RFC 6066, section 3, has none.
///
/// # Safety
/// `ssl` must be live.
unsafe fn name(ssl: *mut SSL, name: &[u8]) -> Result<(), TlsError> {
    if name.is_empty() || address(name).is_some() {
        return Ok(());
    }
    const REFUSED: TlsError = TlsError::Refused("SSL_set_tlsext_host_name failed");
    // with a zero byte at its end; longer ones OpenSSL refuses
    let mut text = [0; 256];
    if name.len() >= text.len() || name.contains(&0) {
        return Err(REFUSED);
    }
    text[..name.len()].copy_from_slice(name);
    let command = ffi::SSL_CTRL_SET_TLSEXT_HOSTNAME as c_int;
    // SAFETY: the caller vouches for the connection, which copies the name; 0 is the kind "host name".
    if unsafe { ffi::SSL_ctrl(ssl, command, 0, text.as_mut_ptr().cast()) } == 0 {
        clear_errors();
        return Err(REFUSED);
    }
    Ok(())
}

/// The peer has sent a session that may be used once more.
unsafe extern "C" fn save_session(c: *mut ngx_connection_t) {
    crate::native::guard(|| {
        // SAFETY: nginx passes the connection of a live stream, whose address is its data.
        unsafe {
            let stream = &*(*c).data.cast::<Stream>().cast_const();
            let Some(held) = stream.tls.session.borrow().upgrade() else { return };
            if let Some(session) = NonNull::new(ffi::ngx_ssl_get_session(c)) {
                held.replace(session);
            }
        }
    });
}

/// Whether a connection has begun to speak TLS.
///
/// # Safety
/// `c` must be live.
pub unsafe fn is_tls(c: *mut ngx_connection_t) -> bool {
    // SAFETY: the caller vouches for the connection.
    unsafe { !(*c).ssl.is_null() }
}

/// What the peer of a connection that speaks TLS does while nothing is asked of it. What TLS itself has to say, tickets
/// for one, is read.
///
/// # Safety
/// `c` must be live and speak TLS.
pub unsafe fn peek(c: *mut ngx_connection_t) -> Peer {
    let mut byte = 0u8;
    // SAFETY: the caller vouches for the connection.
    unsafe {
        if (*(*c).ssl).handshaked() == 0 {
            return Peer::Gone;
        }
        let ssl = (*(*c).ssl).connection;
        clear_errors();
        let n = ffi::SSL_peek(ssl, ptr::from_mut(&mut byte).cast(), 1);
        let quiet = n <= 0 && ffi::SSL_get_error(ssl, n) == ffi::SSL_ERROR_WANT_READ as c_int;
        clear_errors();
        if quiet {
            (*(*c).read).set_ready(0);
            return Peer::Quiet;
        }
        if n > 0 {
            Peer::Talks
        } else {
            Peer::Gone
        }
    }
}

/// Tells the peer that nothing more will be sent, as far as that takes no time; it may go on sending.
///
/// # Safety
/// `c` must be live.
pub unsafe fn say_goodbye(c: *mut ngx_connection_t) {
    // SAFETY: the caller vouches for the connection.
    unsafe {
        if is_tls(c) && (*(*c).ssl).handshaked() != 0 {
            clear_errors();
            ffi::SSL_shutdown((*(*c).ssl).connection);
            clear_errors();
        }
    }
}

/// Says goodbye, as far as that takes no time, and ends TLS on a connection that is about to be closed.
///
/// # Safety
/// `c` must be live.
pub unsafe fn shut_down(c: *mut ngx_connection_t) {
    // SAFETY: the caller vouches for the connection.
    unsafe {
        if !is_tls(c) {
            return;
        }
        let ssl = &mut *(*c).ssl;
        ssl.set_no_wait_shutdown(1);
        let gone = (*(*c).read).eof() != 0 || (*(*c).read).error() != 0 || (*(*c).write).error() != 0;
        ssl.set_no_send_shutdown(u32::from(gone || ssl.handshaked() == 0));
        // a peer that is gone by now is none of the administrator's worries
        (*c).set_log_error(ffi::ngx_connection_log_error_e_NGX_ERROR_INFO);
        if ffi::ngx_ssl_shutdown(c) == ffi::NGX_AGAIN as isize && is_tls(c) {
            (*(*c).ssl).set_no_send_shutdown(1);
            ffi::ngx_ssl_shutdown(c);
        }
    }
}
