//! Scripts in the handshake with an upstream: which certificate nginx shows, and whether to believe the server's.

use core::cell::{Cell, RefCell};
use core::ffi::{c_int, c_void};
use core::ptr::{self, NonNull};

use ::ngx::ffi::{self, ngx_http_upstream_conf_t, SSL, SSL_CTX, X509_STORE_CTX};

use super::{connection, Answer, Handshake};
use crate::native::guard;
use crate::ngx::conf::Cf;
use crate::ngx::Request;
use crate::phase::Phase;

/// What OpenSSL, and then a script, make of a server's certificate.
#[derive(Default)]
pub struct Verify {
    result: Cell<Option<c_int>>,
    certificate: RefCell<Option<NonNull<ffi::X509>>>,
}

impl Drop for Verify {
    fn drop(&mut self) {
        if let Some(x509) = self.certificate.take() {
            // SAFETY: the reference is ours.
            unsafe { ffi::X509_free(x509.as_ptr()) };
        }
    }
}

impl Handshake {
    /// OpenSSL's number for what is wrong with the server's certificate, or what a script has said; 0 for nothing.
    pub fn verify_result(&self) -> Option<i32> {
        self.verify.result.get()
    }

    pub fn set_verify_result(&self, result: i32) {
        self.verify.result.set(Some(result));
    }

    /// A counted reference to the server's certificate.
    pub fn server_certificate(&self) -> Option<usize> {
        let x509 = (*self.verify.certificate.borrow())?;
        // SAFETY: the certificate is live.
        unsafe { ffi::X509_up_ref(x509.as_ptr()) };
        Some(x509.as_ptr() as usize)
    }
}

/// OpenSSL's context of what a location proxies to, if that speaks TLS.
///
/// # Safety
/// `slots` must be the location's configurations, merged up to our module.
pub unsafe fn context(cf: &Cf, slots: *mut *mut c_void) -> Option<*mut SSL_CTX> {
    let index = cf.module_index(c"ngx_http_proxy_module")?;
    // SAFETY: the caller vouches for the slots. The module's configuration begins with that of its upstream, as those of all
    // modules that proxy do.
    unsafe {
        let upstream = (*slots.add(index)).cast::<ngx_http_upstream_conf_t>();
        let context = upstream.as_ref()?.ssl.as_ref()?.ctx;
        (!context.is_null()).then_some(context)
    }
}

/// A server asks for a certificate.
pub unsafe extern "C" fn certificate(ssl: *mut SSL, _: *mut c_void) -> c_int {
    guard(|| {
        // SAFETY: OpenSSL passes its live connection, whose data is the request that is proxied.
        let request = unsafe { Request::new((*connection(ssl)).data.cast()) };
        let Some(handler) = request.loc_conf().handler(Phase::ProxySslCert) else { return 1 };
        // SAFETY: as above.
        let Some(handshake) = (unsafe { Handshake::of(ssl) }) else { return 0 };
        match handshake.ask(Phase::ProxySslCert, handler) {
            Answer::Later => -1,
            Answer::GoOn => 1,
            Answer::Refuse => 0,
        }
    })
    .unwrap_or(0)
}

/// A server has shown its certificate. OpenSSL judges it first, as it would without us.
pub unsafe extern "C" fn verify(store: *mut X509_STORE_CTX, _: *mut c_void) -> c_int {
    guard(|| {
        // SAFETY: OpenSSL passes a live store, which knows the connection that it is for.
        let (ssl, request) = unsafe {
            let index = ffi::SSL_get_ex_data_X509_STORE_CTX_idx();
            let ssl = ffi::X509_STORE_CTX_get_ex_data(store, index).cast::<SSL>();
            (ssl, Request::new((*connection(ssl)).data.cast()))
        };
        let Some(handler) = request.loc_conf().handler(Phase::ProxySslVerify) else {
            // SAFETY: as above.
            return unsafe { ffi::X509_verify_cert(store) };
        };
        // SAFETY: as above.
        let Some(handshake) = (unsafe { Handshake::of(ssl) }) else { return 0 };
        let verify = &handshake.verify;
        if verify.result.get().is_none() {
            // SAFETY: as above; the reference is counted.
            unsafe {
                ffi::X509_verify_cert(store);
                verify.result.set(Some(ffi::X509_STORE_CTX_get_error(store)));
                let x509 = ffi::X509_STORE_CTX_get0_cert(store);
                if !x509.is_null() {
                    ffi::X509_up_ref(x509);
                    verify.certificate.replace(NonNull::new(x509));
                }
            }
        }
        let answer = handshake.ask(Phase::ProxySslVerify, handler);
        let result = verify.result.get().unwrap_or(ffi::X509_V_OK as c_int);
        // SAFETY: as above.
        unsafe {
            match answer {
                Answer::Later => {
                    // to be asked again is a kind of success
                    ffi::SSL_ctrl(ssl, ffi::SSL_CTRL_SET_RETRY_VERIFY as c_int, 0, ptr::null_mut());
                    1
                }
                Answer::GoOn => {
                    ffi::X509_STORE_CTX_set_error(store, result);
                    c_int::from(result == ffi::X509_V_OK as c_int)
                }
                Answer::Refuse => {
                    // with `proxy_ssl_verify off` nobody would mind
                    let callback = ffi::SSL_get_verify_callback(ssl);
                    ffi::SSL_set_verify(ssl, ffi::SSL_VERIFY_PEER as c_int, callback);
                    ffi::X509_STORE_CTX_set_error(store, ffi::X509_V_ERR_APPLICATION_VERIFICATION as c_int);
                    0
                }
            }
        }
    })
    .unwrap_or(0)
}
