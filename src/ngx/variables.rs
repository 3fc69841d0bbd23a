//! The nginx variables of the loop: `$upstream_active`, `$upstream_waiting`, `$autoscale_decision`.

use ::ngx::ffi::{self, ngx_http_request_t, ngx_http_variable_value_t, ngx_int_t, ngx_str_t};

use super::conf::{Cf, ConfError};
use super::observe::{upstream_number, upstream_of};
use super::request::Request;
use super::text::to_pool;

const ACTIVE: usize = 0;
const WAITING: usize = 1;
const DECISION: usize = 2;

impl Cf {
    /// Makes the variables known; before the configuration that names them is read.
    pub fn add_metric_variables(&self) -> Result<(), ConfError> {
        let all =
            [("upstream_active", ACTIVE), ("upstream_waiting", WAITING), ("autoscale_decision", DECISION)];
        for (name, data) in all {
            let mut text = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
            // SAFETY: nginx copies the name and keeps the variable in the cycle's pool.
            unsafe {
                let flags = ffi::NGX_HTTP_VAR_NOCACHEABLE as usize;
                let v = ffi::ngx_http_add_variable(self.raw(), &raw mut text, flags).as_mut();
                let v = v.ok_or_else(|| format!("variable \"${name}\" cannot be added"))?;
                v.get_handler = Some(value);
                v.data = data;
            }
        }
        Ok(())
    }
}

/// Requests in flight, or without a first byte yet, at the upstream of this request, over all workers.
fn level(request: Request, data: usize) -> Option<String> {
    let shell = request.main_conf().shell()?;
    let levels = shell.zone.levels(upstream_of(request)?);
    Some(if data == ACTIVE { levels.active } else { levels.waiting }.to_string())
}

/// The decision that is in force for the upstream of this request.
fn decision(request: Request) -> Option<String> {
    request.main_conf().shell()?.engine()?.decision_in_force(upstream_number(request)?)
}

unsafe extern "C" fn value(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request and the value to fill; the text is copied into the request's pool.
    unsafe {
        let request = Request::new(r);
        let v = &mut *v;
        let text = crate::native::guard(|| match data {
            DECISION => decision(request),
            data => level(request, data),
        });
        let text = match text.flatten() {
            Some(text) => to_pool((*r).pool, text.as_bytes()),
            None => {
                v.set_not_found(1);
                return ffi::NGX_OK as ngx_int_t;
            }
        };
        let Some(text) = text else { return ffi::NGX_ERROR as ngx_int_t };
        v.set_valid(1);
        v.set_no_cacheable(1);
        v.set_not_found(0);
        v.set_len(text.len as u32);
        v.data = text.data;
        ffi::NGX_OK as ngx_int_t
    }
}
