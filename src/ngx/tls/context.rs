//! OpenSSL contexts, made while the configuration is read.

use core::ptr;

use ::ngx::ffi::{self, ngx_ssl_t, ngx_str_t};

use super::ContextOptions;
use crate::ngx::conf::{Cf, ConfError};
use crate::ngx::text::to_pool;

/// The context of the client's side of TLS.
pub struct Context(Box<ngx_ssl_t>);

const OK: isize = ffi::NGX_OK as isize;

impl Context {
    /// What is wrong with a file or a value is in the log by then, in OpenSSL's words; the error says what to do.
    pub fn new(cf: &mut Cf, options: &ContextOptions) -> Result<Context, ConfError> {
        // SAFETY: the structure is plain; the log is the cycle's.
        let mut context = unsafe {
            let mut ssl: Box<ngx_ssl_t> = Box::new(core::mem::zeroed());
            ssl.log = (*cf.raw()).log;
            let data = ptr::null_mut();
            if ffi::ngx_ssl_create(&raw mut *ssl, options.protocols as usize, data) != OK {
                return Err("cannot make a TLS context".into());
            }
            Context(ssl)
        };
        context.verify_by(cf, options)?;
        context.identify_by(cf, options)?;
        context.negotiate_by(cf, options)?;
        Ok(context)
    }

    pub(super) fn raw(&self) -> *mut ngx_ssl_t {
        ptr::from_ref(&*self.0).cast_mut()
    }

    fn verify_by(&mut self, cf: &mut Cf, options: &ContextOptions) -> Result<(), ConfError> {
        let ssl = &raw mut *self.0;
        if let Some(file) = &options.trusted {
            let mut name = text(cf, file)?;
            // SAFETY: parser, context and text are live.
            let rc = unsafe {
                ffi::ngx_ssl_trusted_certificate(cf.raw(), ssl, &raw mut name, options.verify_depth as isize)
            };
            check(rc, file, "is to be a file of CA certificates in PEM format")?;
        }
        if let Some(file) = &options.crl {
            let mut name = text(cf, file)?;
            // SAFETY: as above.
            let rc = unsafe { ffi::ngx_ssl_crl(cf.raw(), ssl, &raw mut name) };
            check(rc, file, "is to be a file of certificate revocation lists in PEM format")?;
        }
        // the depth also holds for contexts without trusted certificates of their own
        // SAFETY: the context is live.
        unsafe { ffi::SSL_CTX_set_verify_depth((*ssl).ctx, options.verify_depth as i32) };
        Ok(())
    }

    fn identify_by(&mut self, cf: &mut Cf, options: &ContextOptions) -> Result<(), ConfError> {
        for (certificate, key) in &options.certificates {
            let (mut certificate_name, mut key_name) = (text(cf, certificate)?, text(cf, key)?);
            // SAFETY: parser, context and texts are live; without passwords.
            let rc = unsafe {
                ffi::ngx_ssl_certificate(
                    cf.raw(),
                    &raw mut *self.0,
                    &raw mut certificate_name,
                    &raw mut key_name,
                    ptr::null_mut(),
                )
            };
            check(rc, certificate, "and its key are to be PEM files that belong together")?;
        }
        Ok(())
    }

    fn negotiate_by(&mut self, cf: &mut Cf, options: &ContextOptions) -> Result<(), ConfError> {
        let ssl = &raw mut *self.0;
        if !options.ciphers.is_empty() {
            let mut ciphers = text(cf, &options.ciphers)?;
            // SAFETY: parser, context and text are live.
            let rc = unsafe { ffi::ngx_ssl_ciphers(cf.raw(), ssl, &raw mut ciphers, 0) };
            check(rc, &options.ciphers, "names no cipher; see \"openssl ciphers\"")?;
        }
        // SAFETY: parser and context are live. Without the cache no ticket of TLS 1.3 would be noticed.
        unsafe { ffi::ngx_ssl_client_session_cache(cf.raw(), ssl, 1) };
        for (command, value) in &options.commands {
            let mut pair = ffi::ngx_keyval_t { key: text(cf, command)?, value: text(cf, value)? };
            // SAFETY: all-zero is an empty array; nginx only reads the elements.
            let rc = unsafe {
                let mut array: ffi::ngx_array_t = core::mem::zeroed();
                array.elts = (&raw mut pair).cast();
                array.nelts = 1;
                ffi::ngx_ssl_conf_commands(cf.raw(), ssl, &raw mut array)
            };
            check(rc, command, "is no command of OpenSSL's SSL_CONF_cmd, or its value is wrong")?;
        }
        Ok(())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `ngx_ssl_create`; connections that still use OpenSSL's context hold it themselves.
        unsafe { ffi::ngx_ssl_cleanup_ctx((&raw mut *self.0).cast()) };
    }
}

/// A text that ends with a null byte, in the configuration's memory.
fn text(cf: &Cf, s: &[u8]) -> Result<ngx_str_t, ConfError> {
    let terminated = [s, b"\0"].concat();
    // SAFETY: the parser's pool is live.
    let mut text = unsafe { to_pool((*cf.raw()).pool, &terminated) }.ok_or("out of memory")?;
    text.len -= 1;
    Ok(text)
}

fn check(rc: isize, what: &[u8], advice: &str) -> Result<(), ConfError> {
    if rc == OK {
        return Ok(());
    }
    Err(ConfError(format!("\"{}\" {advice}; the line above says what is wrong", what.escape_ascii())))
}
