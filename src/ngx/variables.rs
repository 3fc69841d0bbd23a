//! The nginx variables of the metrics: `$upstream_active`, `$upstream_waiting`.

use ::ngx::ffi::{self, ngx_http_request_t, ngx_http_variable_value_t, ngx_int_t, ngx_str_t};

use super::conf::{Cf, ConfError};
use super::observe::upstream_of;
use super::request::Request;
use super::text::to_pool;

const ACTIVE: usize = 0;
const WAITING: usize = 1;

impl Cf {
    /// Makes the variables known; before the configuration that names them is read.
    pub fn add_metric_variables(&self) -> Result<(), ConfError> {
        for (name, data) in [("upstream_active", ACTIVE), ("upstream_waiting", WAITING)] {
            let mut text = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
            // SAFETY: nginx copies the name and keeps the variable in the cycle's pool.
            unsafe {
                let flags = ffi::NGX_HTTP_VAR_NOCACHEABLE as usize;
                let v = ffi::ngx_http_add_variable(self.raw(), &raw mut text, flags).as_mut();
                let v = v.ok_or_else(|| format!("variable \"${name}\" cannot be added"))?;
                v.get_handler = Some(level);
                v.data = data;
            }
        }
        Ok(())
    }
}

/// Requests in flight, or without a first byte yet, at the upstream of this request, over all workers.
unsafe extern "C" fn level(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: nginx passes a live request and the value to fill; the text is copied into the request's pool.
    unsafe {
        let request = Request::new(r);
        let v = &mut *v;
        let levels = crate::native::guard(|| {
            let shell = request.main_conf().shell()?;
            Some(shell.zone.levels(upstream_of(request)?))
        });
        let text = match levels.flatten() {
            Some(levels) => to_pool(
                (*r).pool,
                if data == ACTIVE { levels.active } else { levels.waiting }.to_string().as_bytes(),
            ),
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
