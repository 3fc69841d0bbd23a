//! What OpenSSL asks servers while a client shakes hands.
//!
//! It cannot be told to wait for a session. But it asks about the client's first message before, where it can be, and
//! the message has the session's id: so the session is fetched there, and is at hand when it is asked for.

use core::ffi::{c_int, c_uchar, c_void};
use core::ptr;

use ::ngx::ffi::{self, SSL, SSL_SESSION};

use super::install::{originals, tls};
use super::{asked_server, connection, first_server, first_slots, hello, Answer, Handshake};
use crate::conf::SrvConf;
use crate::native::guard;
use crate::ngx::log::{debug_cycle, Level};
use crate::phase::{ssl, Phase};

/// The client's first message is there.
pub unsafe extern "C" fn client_hello(ssl: *mut SSL, alert: *mut c_int, conf: *mut c_void) -> c_int {
    const ERROR: c_int = ffi::SSL_CLIENT_HELLO_ERROR as c_int;
    const RETRY: c_int = ffi::SSL_CLIENT_HELLO_RETRY;
    const SUCCESS: c_int = ffi::SSL_CLIENT_HELLO_SUCCESS as c_int;
    guard(|| {
        // SAFETY: OpenSSL passes its live connection, and what `script_server` gave it.
        let (conf, handshake) = unsafe { (&*conf.cast::<SrvConf>(), Handshake::of(ssl)) };
        let Some(handshake) = handshake else { return ERROR };
        #[cfg(nginx_client_hello)]
        {
            // SAFETY: nginx's own function, which ours stands for; it finds its argument itself.
            let rc = unsafe { ffi::ngx_ssl_client_hello_callback(ssl, alert, ptr::null_mut()) };
            if rc != SUCCESS {
                return rc;
            }
        }
        let _ = alert;
        if let Some(handler) = &conf.tls.client_hello {
            match handshake.ask(Phase::SslClientHello, handler) {
                Answer::Later => return RETRY,
                Answer::Refuse => return ERROR,
                Answer::GoOn => {}
            }
        }
        if let Some(handler) = &conf.tls.session_fetch {
            // SAFETY: OpenSSL is in this callback.
            if let Some(id) = unsafe { hello::session_to_fetch(ssl) } {
                handshake.sessions.look_for(&id);
                if handshake.ask(Phase::SslSessionFetch, handler) == Answer::Later {
                    return RETRY;
                }
            }
        }
        SUCCESS
    })
    .unwrap_or(ERROR)
}

/// A certificate is to be shown.
pub unsafe extern "C" fn certificate(ssl: *mut SSL, _: *mut c_void) -> c_int {
    const LATER: c_int = -1;
    const FAILED: c_int = 0;
    const OK: c_int = 1;
    guard(|| {
        // SAFETY: OpenSSL passes its live connection.
        let Some(handshake) = (unsafe { Handshake::of(ssl) }) else { return FAILED };
        // a server without certificates of its own has those of the first one, and so its callback, but not its script
        // SAFETY: as above.
        let (conf, name) = unsafe { asked_server(connection(ssl)) };
        let Some(handler) = &conf.tls.certificate else {
            let name = String::from_utf8_lossy(name);
            // SAFETY: the connection's log is live.
            unsafe {
                let log = (*connection(ssl)).log;
                let text = format!("no ssl_certificate_by_lua* defined in server {name}");
                crate::ngx::log::write(log, Level::Alert, text.as_bytes());
            }
            return FAILED;
        };
        if !handshake.has_begun(Phase::SslCert) {
            // SAFETY: as above.
            let rc = unsafe { certificate_by_variables(ssl) };
            if rc != OK {
                return rc;
            }
        }
        match handshake.ask(Phase::SslCert, handler) {
            Answer::Later => LATER,
            Answer::GoOn => OK,
            Answer::Refuse => FAILED,
        }
    })
    .unwrap_or(FAILED)
}

/// `ssl_certificate` with variables in it: nginx sets these in the place that our function has taken.
///
/// # Safety
/// `ssl` must be a live client's connection that shakes hands.
unsafe fn certificate_by_variables(ssl: *mut SSL) -> c_int {
    // SAFETY: the caller vouches for the connection; the server's configuration is nginx's argument for its own function.
    unsafe {
        let hc = (*connection(ssl)).data.cast::<ffi::ngx_http_connection_t>();
        let conf = tls((*(*hc).conf_ctx).srv_conf);
        if conf.is_null() || (*conf).certificate_values.is_null() {
            return 1;
        }
        ffi::ngx_http_ssl_certificate(ssl, conf.cast())
    }
}

/// A session is looked for. In TLS 1.3 nginx's cache has them: what is looked for there is a ticket, or made like one.
pub unsafe extern "C" fn get_session(
    ssl: *mut SSL,
    id: *const c_uchar,
    len: c_int,
    copy: *mut c_int,
) -> *mut SSL_SESSION {
    // SAFETY: OpenSSL passes its live connection; nginx's own function is called as it would be.
    if unsafe { is_tls_1_3(ssl) } {
        debug_cycle(format_args!("ssl_session_fetch_by_lua*: skipped since TLS version >= 1.3 (304)"));
        // SAFETY: as above.
        return unsafe {
            match of_nginx(ssl).and_then(|o| o.get_session) {
                Some(get) => get(ssl, id, len, copy),
                None => ptr::null_mut(),
            }
        };
    }
    guard(|| {
        // SAFETY: OpenSSL passes its live connection, an id of the length it says, and a place for the answer whether it
        // is to count a reference: it is given the one that we have.
        let (handshake, id) = unsafe {
            *copy = 0;
            let id = core::slice::from_raw_parts(id, usize::try_from(len).unwrap_or(0));
            (Handshake::of(ssl)?, id)
        };
        if !handshake.sessions.is_looked_for(id) {
            // SAFETY: as above.
            let handler = unsafe { first_server(connection(ssl)) }.tls.session_fetch.as_ref()?;
            if handshake.has_begun(Phase::SslSessionFetch) {
                return None;
            }
            handshake.sessions.look_for(id);
            handshake.ask(Phase::SslSessionFetch, handler);
        }
        handshake.sessions.take_found()
    })
    .flatten()
    .map_or(ptr::null_mut(), |session| session.as_ptr())
}

/// There is a session that a later handshake may go on with. Never takes a reference.
pub unsafe extern "C" fn new_session(ssl: *mut SSL, session: *mut SSL_SESSION) -> c_int {
    // SAFETY: as in `get_session`.
    if unsafe { is_tls_1_3(ssl) } {
        debug_cycle(format_args!("ssl_session_store_by_lua*: skipped since TLS version >= 1.3 (304)"));
        // SAFETY: as above.
        return unsafe {
            match of_nginx(ssl).and_then(|o| o.new_session) {
                Some(new) => new(ssl, session),
                None => 0,
            }
        };
    }
    guard(|| {
        // SAFETY: OpenSSL passes its live connection and a session that lives until we return.
        let handler = unsafe { first_server(connection(ssl)) }.tls.session_store.as_ref();
        // SAFETY: as above.
        let (Some(handler), Some(handshake)) = (handler, unsafe { Handshake::of(ssl) }) else { return };
        // SAFETY: as above.
        let lent = unsafe { handshake.sessions.lend(session) };
        ssl::run_store(&handshake, handler);
        drop(lent);
        super::super::keys::clear_errors();
    });
    0
}

/// # Safety
/// `ssl` must be live.
unsafe fn is_tls_1_3(ssl: *const SSL) -> bool {
    // SAFETY: the caller vouches for the connection.
    unsafe { ffi::SSL_version(ssl) >= ffi::TLS1_3_VERSION as c_int }
}

/// What nginx has set where ours stands; sessions belong to the server that a client is connected to at first.
///
/// # Safety
/// `ssl` must be a live client's connection that shakes hands.
unsafe fn of_nginx<'a>(ssl: *const SSL) -> Option<&'a super::Originals> {
    // SAFETY: the caller vouches for the connection.
    unsafe { originals((*tls(first_slots(connection(ssl)))).ssl.ctx) }
}
