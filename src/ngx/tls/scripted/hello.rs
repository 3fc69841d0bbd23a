//! The client's first message, while OpenSSL asks about it.

use core::ffi::{c_int, c_long};
use core::{ptr, slice};

use ::ngx::ffi::{self, SSL};
use logic::tls_hello;

use super::options;

/// An extension; `None` if the message has none of this kind.
///
/// # Safety
/// `ssl` must be live, and OpenSSL ask about the first message, or wait for the answer. What is returned lives until then.
pub unsafe fn extension<'a>(ssl: *mut SSL, kind: u32) -> Option<&'a [u8]> {
    let (mut data, mut len) = (ptr::null(), 0);
    // SAFETY: the caller vouches for the connection; what OpenSSL shows is its own copy of the message.
    unsafe {
        if ffi::SSL_client_hello_get0_ext(ssl, kind, &raw mut data, &raw mut len) == 0 {
            return None;
        }
        Some(if data.is_null() { &[] } else { slice::from_raw_parts(data, len) })
    }
}

/// The id under which OpenSSL is going to look for a session, if it is.
///
/// # Safety
/// As for [`extension`].
pub unsafe fn session_to_fetch(ssl: *mut SSL) -> Option<Vec<u8>> {
    // SAFETY: the caller vouches for the connection.
    unsafe {
        if speaks_tls_1_3(ssl) {
            return None;
        }
        let takes_tickets = ffi::SSL_get_options(ssl) & options::NO_TICKET == 0;
        let ticket = extension(ssl, ffi::TLSEXT_TYPE_session_ticket);
        if takes_tickets && ticket.is_some_and(|ticket| !ticket.is_empty()) {
            return None;
        }
        let mut id = ptr::null();
        let len = ffi::SSL_client_hello_get0_session_id(ssl, &raw mut id);
        (len > 0 && !id.is_null()).then(|| slice::from_raw_parts(id, len).to_vec())
    }
}

/// Whether client and server are going to agree on TLS 1.3.
///
/// # Safety
/// As for [`extension`].
unsafe fn speaks_tls_1_3(ssl: *mut SSL) -> bool {
    // SAFETY: the caller vouches for the connection.
    unsafe {
        let offered =
            extension(ssl, ffi::TLSEXT_TYPE_supported_versions).is_some_and(tls_hello::offers_tls_1_3);
        let allowed = ffi::SSL_get_options(ssl) & options::NO_TLS_1_3 == 0;
        let command = ffi::SSL_CTRL_GET_MAX_PROTO_VERSION as c_int;
        let newest: c_long = ffi::SSL_ctrl(ssl, command, 0, ptr::null_mut());
        offered && allowed && (newest == 0 || newest >= c_long::from(ffi::TLS1_3_VERSION))
    }
}

/// The name of the server that the client asks for; `Err` for a malformed one.
///
/// # Safety
/// As for [`extension`].
pub unsafe fn server_name<'a>(ssl: *mut SSL) -> Result<Option<&'a [u8]>, &'static str> {
    // SAFETY: the caller vouches for the connection.
    match unsafe { extension(ssl, ffi::TLSEXT_TYPE_server_name) } {
        None => Ok(None),
        Some(extension) => {
            tls_hello::server_name(extension).map(Some).ok_or("Bad SSL Client Hello Extension")
        }
    }
}

/// The numbers of the extensions, in the client's order.
///
/// # Safety
/// As for [`extension`].
pub unsafe fn extensions(ssl: *mut SSL, out: &mut Vec<u16>) -> bool {
    let (mut kinds, mut len) = (ptr::null_mut(), 0);
    // SAFETY: the caller vouches for the connection; the array is ours to free.
    unsafe {
        if ffi::SSL_client_hello_get1_extensions_present(ssl, &raw mut kinds, &raw mut len) == 0 {
            return false;
        }
        if !kinds.is_null() {
            out.extend(slice::from_raw_parts(kinds, len).iter().map(|kind| *kind as u16));
            ffi::CRYPTO_free(kinds.cast(), ptr::null(), 0);
        }
    }
    true
}

/// The numbers of the ciphers that the client offers, in its order, without those that mean nothing (RFC 8701).
///
/// # Safety
/// As for [`extension`].
pub unsafe fn ciphers(ssl: *mut SSL, out: &mut Vec<u16>) {
    let mut data = ptr::null();
    // SAFETY: the caller vouches for the connection; what OpenSSL shows is its own copy of the message.
    let all = unsafe {
        let len = ffi::SSL_client_hello_get0_ciphers(ssl, &raw mut data);
        if data.is_null() {
            return;
        }
        slice::from_raw_parts(data, len)
    };
    let numbers = all.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    out.extend(numbers.filter(|number| !tls_hello::is_grease(*number)));
}
