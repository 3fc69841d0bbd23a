//! Puts our functions where OpenSSL's contexts of servers and upstreams have nginx's.

use core::ffi::{c_int, c_uchar, c_void};
use core::ptr;

use ::ngx::ffi::{self, SSL, SSL_CTX, SSL_SESSION};

use super::pilot::{on_begin, Info};
use super::{callbacks, connection, upstream, Index};
use crate::conf::{LocConf, SrvConf};
use crate::ngx::conf::{Cf, ConfError};
use crate::ngx::module;
use crate::phase::Phase;

pub type GetSession =
    Option<unsafe extern "C" fn(*mut SSL, *const c_uchar, c_int, *mut c_int) -> *mut SSL_SESSION>;
pub type Status = Option<unsafe extern "C" fn(*mut SSL, *mut c_void) -> c_int>;
pub type NewSession = Option<unsafe extern "C" fn(*mut SSL, *mut SSL_SESSION) -> c_int>;

/// nginx's own functions of a context.
pub struct Originals {
    pub(super) info: Info,
    pub(super) get_session: GetSession,
    pub(super) new_session: NewSession,
    pub(super) status: Status,
}

/// OpenSSL's number for what we keep with its contexts.
static INDEX: Index = Index::new(ffi::CRYPTO_EX_INDEX_SSL_CTX);

/// What nginx has set of a context of ours.
///
/// # Safety
/// `context` must be live.
pub unsafe fn originals<'a>(context: *const SSL_CTX) -> Option<&'a Originals> {
    // SAFETY: the caller vouches for the context; what is under our number is what `take_over` put there, which lives as
    // long as the configuration that has the context.
    unsafe { ffi::SSL_CTX_get_ex_data(context, INDEX.get()?).cast::<Originals>().as_ref() }
}

impl Cf {
    /// Has the handshakes of all servers run their scripts; in postconfiguration.
    pub fn script_handshakes(&mut self) -> Result<(), ConfError> {
        let phases = [Phase::SslClientHello, Phase::SslCert, Phase::SslSessionFetch, Phase::SslSessionStore];
        if !phases.into_iter().any(|phase| self.main_conf().uses_phase(phase)) {
            return Ok(());
        }
        // SAFETY: in postconfiguration the core module has the list of all servers, each with the configurations of all
        // modules, ours included; they live as long as the cycle.
        unsafe {
            let ctx = (*self.raw()).ctx.cast::<ffi::ngx_http_conf_ctx_t>();
            let above = &*(*(*ctx).srv_conf.add(module::ctx_index())).cast::<SrvConf>();
            let core = *(*ctx).main_conf.add((*ptr::addr_of!(ffi::ngx_http_core_module)).ctx_index);
            let servers = &(*core.cast::<ffi::ngx_http_core_main_conf_t>()).servers;
            let mut any = servers.nelts == 0;
            for server in servers.as_slice::<*mut ffi::ngx_http_core_srv_conf_t>() {
                let slots = (*(**server).ctx).srv_conf;
                let conf = &mut *(*slots.add(module::ctx_index())).cast::<SrvConf>();
                let context = (*tls(slots)).ssl.ctx;
                if context.is_null() {
                    conf.tls.refuse_without_tls()?;
                }
                conf.tls.inherit(&above.tls);
                if !context.is_null() {
                    any = true;
                    self.script_server(conf, context)?;
                }
            }
            if !any {
                above.tls.refuse_without_tls()?;
            }
        }
        Ok(())
    }

    /// # Safety
    /// Both must belong to the same server of the configuration that is read.
    unsafe fn script_server(&self, conf: &SrvConf, context: *mut SSL_CTX) -> Result<(), ConfError> {
        let given = ptr::from_ref(conf).cast_mut().cast::<c_void>();
        self.take_over(context)?;
        let hooks = &conf.tls;
        let status: Status = Some(connection::status);
        // SAFETY: the caller vouches for the context; the functions are ours, and what they are given lives as long as
        // the context.
        unsafe {
            // from one kind of function to OpenSSL's general one, as its own macro does
            let status = core::mem::transmute::<Status, Option<unsafe extern "C" fn()>>(status);
            let command = ffi::SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB as c_int;
            ffi::SSL_CTX_callback_ctrl(context, command, status);
            // sessions are looked up where nothing can wait, so it is done before: see `callbacks`
            if hooks.client_hello.is_some() || hooks.session_fetch.is_some() {
                ffi::SSL_CTX_set_client_hello_cb(context, Some(callbacks::client_hello), given);
            }
            if hooks.certificate.is_some() {
                ffi::SSL_CTX_set_cert_cb(context, Some(callbacks::certificate), given);
            }
            if hooks.session_fetch.is_some() {
                ffi::SSL_CTX_sess_set_get_cb(context, Some(callbacks::get_session));
            }
            if hooks.session_store.is_some() {
                ffi::SSL_CTX_sess_set_new_cb(context, Some(callbacks::new_session));
            }
        }
        Ok(())
    }

    /// Keeps what nginx has set of a context, and learns of its handshakes from then on.
    fn take_over(&self, context: *mut SSL_CTX) -> Result<(), ConfError> {
        // SAFETY: callers pass a context of the configuration that is read; what is kept lives in its pool.
        unsafe {
            if originals(context).is_some() {
                return Ok(());
            }
            let mut status: Status = None;
            let command = ffi::SSL_CTRL_GET_TLSEXT_STATUS_REQ_CB as c_int;
            ffi::SSL_CTX_ctrl(context, command, 0, (&raw mut status).cast());
            let kept = Originals {
                status,
                info: ffi::SSL_CTX_get_info_callback(context),
                get_session: ffi::SSL_CTX_sess_get_get_cb(context),
                new_session: ffi::SSL_CTX_sess_get_new_cb(context),
            };
            let pool = ::ngx::core::Pool::from_ngx_pool((*self.raw()).pool);
            let kept = pool.allocate(kept);
            let index = INDEX.get().ok_or("out of memory")?;
            if kept.is_null() || ffi::SSL_CTX_set_ex_data(context, index, kept.cast()) == 0 {
                return Err("out of memory".into());
            }
            ffi::SSL_CTX_set_info_callback(context, Some(on_begin));
        }
        Ok(())
    }

    /// Has the handshakes with a location's upstream run its scripts; while the location is merged.
    pub fn script_upstream(&mut self, conf: &LocConf) -> Result<(), ConfError> {
        let phases = [Phase::ProxySslCert, Phase::ProxySslVerify];
        if !phases.into_iter().any(|phase| conf.handler(phase).is_some()) {
            return Ok(());
        }
        // SAFETY: while levels are merged, the context is that of the level.
        let context = unsafe {
            let ctx = (*self.raw()).ctx.cast::<ffi::ngx_http_conf_ctx_t>();
            upstream::context(self, (*ctx).loc_conf)
        };
        if let Some(context) = context {
            self.take_over(context)?;
            // SAFETY: the context belongs to the configuration that is read.
            unsafe {
                ffi::SSL_CTX_set_cert_cb(context, Some(upstream::certificate), ptr::null_mut());
                ffi::SSL_CTX_set_cert_verify_callback(context, Some(upstream::verify), ptr::null_mut());
            }
        }
        Ok(())
    }
}

/// nginx's TLS configuration of a server.
///
/// # Safety
/// `slots` must be the server's configurations.
pub unsafe fn tls(slots: *mut *mut c_void) -> *mut ffi::ngx_http_ssl_srv_conf_t {
    // SAFETY: the caller vouches for the slots, of which the TLS module has one.
    unsafe { (*slots.add((*ptr::addr_of!(ffi::ngx_http_ssl_module)).ctx_index)).cast() }
}
