//! The nginx variables of the loop: `$upstream_active`, `$upstream_waiting`, `$autoscale_decision`, `$autoscale_action`,
//! `$autoscale_queue_time`, and those of `autoscale_split`.

use ::ngx::ffi::{self, ngx_http_request_t, ngx_http_variable_value_t, ngx_int_t, ngx_str_t};

use super::conf::{Cf, ConfError};
use super::observe::{upstream_number, upstream_of};
use super::request::Request;
use super::text::to_pool;

const ACTIVE: usize = 0;
const WAITING: usize = 1;
const DECISION: usize = 2;
const ACTION: usize = 3;
const QUEUE_TIME: usize = 4;

const SHOWN: &str = "autoscale_action";

/// Where a request keeps the value of a variable.
#[derive(Clone, Copy)]
pub struct Slot(usize);

impl Cf {
    /// Gives `$autoscale_action` a place in every request; in postconfiguration.
    pub fn action_slot(&self) -> Option<Slot> {
        let mut text = ngx_str_t { len: SHOWN.len(), data: SHOWN.as_ptr().cast_mut() };
        // SAFETY: nginx counts its variables after postconfiguration, and reads the name only.
        let index = unsafe { ffi::ngx_http_get_variable_index(self.raw(), &raw mut text) };
        usize::try_from(index).ok().map(Slot)
    }

    /// Makes the variables known; before the configuration that names them is read.
    pub fn add_metric_variables(&self) -> Result<(), ConfError> {
        let all = [
            ("upstream_active", ACTIVE),
            ("upstream_waiting", WAITING),
            ("autoscale_decision", DECISION),
            (SHOWN, ACTION),
            ("autoscale_queue_time", QUEUE_TIME),
        ];
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

impl Cf {
    /// Adds the variable of split number `number`.
    pub fn add_split_variable(&mut self, name: &str, number: usize) -> Result<(), ConfError> {
        let mut text = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
        // SAFETY: nginx copies the name and keeps the variable in the cycle's pool.
        unsafe {
            let flags = ffi::NGX_HTTP_VAR_CHANGEABLE as usize;
            let v = ffi::ngx_http_add_variable(self.raw(), &raw mut text, flags).as_mut();
            let v = v.ok_or_else(|| format!("variable \"${name}\" cannot be added"))?;
            v.get_handler = Some(split);
            v.data = number;
        }
        Ok(())
    }
}

impl Request {
    /// Marks a slot that has no value, for the rest of the request and over redirects; true when it was marked, or had a value.
    pub fn marks_slot(&self, slot: Slot) -> bool {
        // SAFETY: the slot was given out by nginx for the configuration that the request holds.
        unsafe {
            let v = &mut *(*self.raw()).variables.add(slot.0);
            // what whoever asked for the variable found is not kept, and no mark
            let is_marked = (v.valid() != 0 || v.not_found() != 0) && v.no_cacheable() == 0;
            if !is_marked {
                v.set_not_found(1);
                v.set_no_cacheable(0);
            }
            is_marked
        }
    }

    /// Keeps a value for the rest of the request, over redirects too; `None` without memory for it.
    pub fn set_slot(&self, slot: Slot, text: &[u8]) -> Option<()> {
        // SAFETY: the slot was given out by nginx for the configuration that the request holds; the text is in its pool.
        unsafe {
            let text = to_pool((*self.raw()).pool, text)?;
            let mut v: ngx_http_variable_value_t = core::mem::zeroed();
            v.set_len(text.len as u32);
            v.set_valid(1);
            v.data = text.data;
            *(*self.raw()).variables.add(slot.0) = v;
        }
        Some(())
    }
}

/// Requests in flight, or without a first byte yet (those in the queue, too), at the upstream of this request, over all workers.
fn level(request: Request, data: usize) -> Option<String> {
    let shell = request.main_conf().shell()?;
    let levels = shell.zone.levels(upstream_of(request)?);
    Some(if data == ACTIVE { levels.active } else { levels.waiting + levels.queued }.to_string())
}

/// The decision that is in force for the upstream of this request.
fn decision(request: Request) -> Option<String> {
    request.main_conf().shell()?.engine()?.decision_in_force(upstream_number(request)?)
}

/// How long this request was held in front of its upstream: seconds, as nginx writes `$upstream_connect_time`.
fn queue_time(request: Request) -> Option<String> {
    let us = request.main_conf().shell()?.protect.queued_us(request, upstream_number(request))?;
    Some(format!("{}.{:03}", us / 1_000_000, us / 1000 % 1000))
}

unsafe extern "C" fn split(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    number: usize,
) -> ngx_int_t {
    // SAFETY: as in `value`; nginx keeps the answer for the rest of the request.
    unsafe {
        let request = Request::new(r);
        let text = crate::native::guard(|| crate::scale::split::value(request, number)).flatten();
        fill(request, &mut *v, text.as_deref())
    }
}

/// Gives a variable's value to nginx.
fn fill(request: Request, v: &mut ngx_http_variable_value_t, text: Option<&[u8]>) -> ngx_int_t {
    let Some(text) = text else {
        v.set_not_found(1);
        return ffi::NGX_OK as ngx_int_t;
    };
    // SAFETY: the request is alive.
    let Some(text) = (unsafe { to_pool((*request.raw()).pool, text) }) else {
        return ffi::NGX_ERROR as ngx_int_t;
    };
    v.set_valid(1);
    v.set_not_found(0);
    v.set_len(text.len as u32);
    v.data = text.data;
    ffi::NGX_OK as ngx_int_t
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
            // there is one once something was done, and then nobody asks here
            ACTION => None,
            QUEUE_TIME => queue_time(request),
            data => level(request, data),
        });
        v.set_no_cacheable(1);
        fill(request, v, text.flatten().as_deref().map(str::as_bytes))
    }
}
