//! `ngx.exit(status)` in balancer_by_lua.
//!
//! nginx knows one answer to a balancer that fails: 500. So the status waits in the request's state until the header of
//! that 500 comes by; then the answer is made again, with the right status, its error page and all. nginx is told
//! that there is no more to the 500 than its header.

use ::ngx::ffi::{self, ngx_http_request_t, ngx_int_t};

use super::super::bits::bits;
use super::super::ctx::Ctx;
use super::super::event::Posted;
use super::super::request::{Rc, Request};

/// An exit that the header filter is to carry out.
#[derive(Clone, Copy)]
pub struct PendingExit {
    status: Rc,
    keepalive: u32,
    error_page: u32,
}

static mut NEXT: ffi::ngx_http_output_header_filter_pt = None;

/// Puts the filter in place; once, while configuring.
pub fn install() {
    // SAFETY: the filter chain is a plain global, built on one thread.
    unsafe {
        NEXT = ffi::ngx_http_top_header_filter;
        ffi::ngx_http_top_header_filter = Some(filter);
    }
}

/// Remembers that the 500 to come is to be `status`.
pub fn exit_with(request: Request, ctx: &Ctx, status: Rc) {
    let r = request.raw();
    // SAFETY: plain field access of a live request.
    unsafe {
        let (keepalive, error_page) = ((*bits(r)).keepalive(), (*bits(r)).error_page());
        ctx.balancer_exit.set(Some(PendingExit { status, keepalive, error_page }));
        // the 500 itself has no error page
        (*bits(r)).set_error_page(1);
    }
}

unsafe extern "C" fn filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the live request of the response.
    let request = unsafe { Request::new(r) };
    let pending = request.ctx_if_any().and_then(|ctx| Some((ctx, ctx.balancer_exit.take()?)));
    match pending {
        Some((ctx, exit)) => crate::native::guard(|| answer(request, ctx, exit)).unwrap_or(Rc::ERROR).0,
        // SAFETY: set in `install`, before any request.
        None => unsafe { NEXT.map_or(0, |next| next(r)) },
    }
}

fn answer(request: Request, ctx: &Ctx, exit: PendingExit) -> Rc {
    if matches!(exit.status.0, 408 | 444 | 499) {
        // these close the connection without an answer
        return Rc::ERROR;
    }
    let r = request.raw();
    // SAFETY: the header of the 500 is not sent; it is taken back as nginx's filters do that change an answer to an
    // error.
    unsafe {
        let header_only = (*bits(r)).header_only();
        (*bits(r)).set_keepalive(exit.keepalive);
        (*bits(r)).set_error_page(exit.error_page);
        ffi::ngx_http_clean_header(r);
        let rc = Rc(ffi::ngx_http_special_response_handler(r, exit.status.0));
        // whoever sends the 500 stops here
        (*bits(r)).set_header_only(1);
        if rc == Rc::DONE && header_only == 0 {
            // the error page is another location, whose body may come later
            let posted = Posted::now(Box::new(move || (*bits(request.raw())).set_header_only(0)));
            ctx.after_exit.replace(Some(posted));
        }
        rc
    }
}
