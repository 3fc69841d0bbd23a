//! What the log says of a handshake that failed in our hands: what it would say of one in nginx's.

use core::ffi::c_int;

use ::ngx::ffi::{self, ngx_connection_t};

/// Writes what nginx would have written of a failed handshake.
///
/// # Safety
/// `c` must be live.
pub(super) unsafe fn log(c: *mut ngx_connection_t, error: c_int, system: c_int) {
    let system = if error == ffi::SSL_ERROR_SYSCALL as c_int { system } else { 0 };
    // SAFETY: the caller vouches for the connection; both texts are constants without anything to be filled in.
    unsafe {
        let first = ffi::ERR_peek_error();
        if error == 0 || error == ffi::SSL_ERROR_ZERO_RETURN as c_int || first == 0 {
            let text = c"peer closed connection in SSL handshake".as_ptr().cast_mut();
            ffi::ngx_connection_error(c, system, text);
            return;
        }
        let level = if error == ffi::SSL_ERROR_SSL as c_int && is_peers_fault(first as u32) {
            match (*c).log_error() {
                ffi::ngx_connection_log_error_e_NGX_ERROR_ERR => ffi::NGX_LOG_ERR,
                ffi::ngx_connection_log_error_e_NGX_ERROR_ALERT => ffi::NGX_LOG_CRIT,
                _ => ffi::NGX_LOG_INFO,
            }
        } else {
            ffi::NGX_LOG_CRIT
        };
        let text = c"SSL_do_handshake() failed".as_ptr().cast_mut();
        ffi::ngx_ssl_error(level as usize, (*c).log, system, text);
    }
}

/// Whether a failure is one that anybody who connects can cause. The list follows nginx's.
fn is_peers_fault(error: u32) -> bool {
    const REASONS: &[u32] = &[
        ffi::SSL_R_BAD_CHANGE_CIPHER_SPEC,
        ffi::SSL_R_NO_SUITABLE_KEY_SHARE,
        ffi::SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM,
        ffi::SSL_R_BLOCK_CIPHER_PAD_IS_WRONG,
        ffi::SSL_R_DIGEST_CHECK_FAILED,
        ffi::SSL_R_ERROR_IN_RECEIVED_CIPHER_LIST,
        ffi::SSL_R_EXCESSIVE_MESSAGE_SIZE,
        ffi::SSL_R_HTTPS_PROXY_REQUEST,
        ffi::SSL_R_HTTP_REQUEST,
        ffi::SSL_R_LENGTH_MISMATCH,
        ffi::SSL_R_NO_CIPHERS_SPECIFIED,
        ffi::SSL_R_NO_COMPRESSION_SPECIFIED,
        ffi::SSL_R_NO_SHARED_CIPHER,
        ffi::SSL_R_RECORD_LENGTH_MISMATCH,
        ffi::SSL_R_CLIENTHELLO_TLSEXT,
        ffi::SSL_R_PARSE_TLSEXT,
        ffi::SSL_R_CALLBACK_FAILED,
        ffi::SSL_R_NO_APPLICATION_PROTOCOL,
        ffi::SSL_R_UNEXPECTED_MESSAGE,
        ffi::SSL_R_UNEXPECTED_RECORD,
        ffi::SSL_R_UNKNOWN_ALERT_TYPE,
        ffi::SSL_R_UNKNOWN_PROTOCOL,
        ffi::SSL_R_UNSUPPORTED_PROTOCOL,
        ffi::SSL_R_WRONG_VERSION_NUMBER,
        ffi::SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC,
        ffi::SSL_R_RENEGOTIATE_EXT_TOO_LONG,
        ffi::SSL_R_RENEGOTIATION_ENCODING_ERR,
        ffi::SSL_R_RENEGOTIATION_MISMATCH,
        ffi::SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED,
        ffi::SSL_R_SCSV_RECEIVED_WHEN_RENEGOTIATING,
        ffi::SSL_R_INAPPROPRIATE_FALLBACK,
        ffi::SSL_R_CERT_CB_ERROR,
        ffi::SSL_R_VERSION_TOO_LOW,
    ];
    // from here on reasons are alerts that the other side has sent
    const ALERTS: u32 = ffi::SSL_AD_REASON_OFFSET;
    let reason = error & 0xfff;
    reason >= ALERTS || REASONS.contains(&reason)
}
