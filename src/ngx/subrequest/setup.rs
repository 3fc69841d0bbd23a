//! What a subrequest gets from its parent, and what a script wants it to have.

use core::ptr;

use ::ngx::ffi::{self, ngx_http_variable_value_t};

use super::{Capture, CaptureError};
use crate::ngx::headers_in::Change;
use crate::ngx::log::Level;
use crate::ngx::request::{Rc, Request};
use crate::ngx::var::SetError;

/// A subrequest that is to be made.
pub struct Spec<'a> {
    pub uri: &'a [u8],
    /// Further arguments, besides those of the URI.
    pub args: &'a [u8],
    /// As nginx numbers it; 0 is GET, too.
    pub method: u32,
    pub body: Option<&'a [u8]>,
    /// Whether it has its parent's body whatever its method.
    pub forwards_body: bool,
    pub vars_from: VarsFrom,
    /// Variables to be set.
    pub vars: Vec<(&'a [u8], &'a [u8])>,
    /// The slot of its `ngx.ctx` table; 0 for a table of its own.
    pub ctx_slot: i32,
}

/// Where a subrequest's variables come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum VarsFrom {
    Nowhere,
    CopyOfParent,
    Parent,
}

/// What `Content-Length` is to say.
enum Length {
    Kept,
    None,
    Is(u64),
}

const FAILED: CaptureError = CaptureError::Setup(Rc::ERROR.0);

impl Request {
    /// Makes a fresh subrequest what `spec` asks for.
    pub(super) fn set_up(
        &self,
        parent: Request,
        spec: &Spec<'_>,
        capture: &Capture,
    ) -> Result<(), CaptureError> {
        let length = self.choose_body(parent, spec, capture)?;
        // SAFETY: plain field accesses of live requests.
        unsafe {
            (*self.raw()).header_in = (*parent.raw()).header_in;
            (*self.raw()).headers_in.set_chunked(0);
        }
        if let Some(ctx) = parent.ctx_if_any() {
            // until one of them changes it
            ctx.lends_headers.set(true);
        }
        match length {
            Length::Kept => {}
            Length::None => self.change_length(b"", Change::Remove)?,
            Length::Is(n) => self.change_length(n.to_string().as_bytes(), Change::Replace)?,
        }
        // 0: GET, which it has already
        if spec.method != 0 && !self.set_method(spec.method) {
            self.log(Level::Error, &format!("unsupported HTTP method: {}", spec.method));
            return Err(FAILED);
        }
        self.choose_variables(spec.vars_from)?;
        for (name, value) in &spec.vars {
            self.set_captured_variable(name, value)?;
        }
        if spec.ctx_slot != 0 {
            self.ctx().ok_or(CaptureError::NoMemory)?.shared.ctx_slot.set(spec.ctx_slot);
        }
        Ok(())
    }

    fn change_length(&self, text: &[u8], change: Change) -> Result<(), CaptureError> {
        self.change_header_in(b"Content-Length", text, change).map_err(|_| FAILED)
    }

    fn choose_body(
        &self,
        parent: Request,
        spec: &Spec<'_>,
        capture: &Capture,
    ) -> Result<Length, CaptureError> {
        if let Some(data) = spec.body {
            capture.owns_body.set(true);
            self.give_body(data).ok_or(CaptureError::NoMemory)?;
            return Ok(Length::Is(data.len() as u64));
        }
        // SAFETY: plain field accesses of live requests.
        unsafe {
            let (length, chunked) =
                ((*parent.raw()).headers_in.content_length_n, (*parent.raw()).headers_in.chunked() != 0);
            let takes = spec.forwards_body || matches!(spec.method, ffi::NGX_HTTP_PUT | ffi::NGX_HTTP_POST);
            if !takes && length > 0 {
                (*self.raw()).request_body = ptr::null_mut();
                return Ok(Length::None);
            }
            let size = self.borrow_body().ok_or(CaptureError::NoMemory)?;
            if let Some(ctx) = parent.ctx_if_any().filter(|_| size.is_some()) {
                ctx.lends_body.set(true);
            }
            Ok(size.filter(|_| chunked).map_or(Length::Kept, Length::Is))
        }
    }

    fn choose_variables(&self, from: VarsFrom) -> Result<(), CaptureError> {
        if from == VarsFrom::Parent {
            return Ok(());
        }
        let r = self.raw();
        // SAFETY: a request has a value for each of nginx's indexed variables; the subrequest still has its parent's.
        unsafe {
            let index = (*ptr::addr_of!(ffi::ngx_http_core_module)).ctx_index;
            let core = *(*r).main_conf.add(index);
            let n = (*core.cast::<ffi::ngx_http_core_main_conf_t>()).variables.nelts;
            let size = n * size_of::<ngx_http_variable_value_t>();
            let own = ffi::ngx_pcalloc((*r).pool, size).cast::<ngx_http_variable_value_t>();
            if own.is_null() {
                return Err(CaptureError::NoMemory);
            }
            if from == VarsFrom::CopyOfParent {
                ptr::copy_nonoverlapping((*r).variables, own, n);
            }
            (*r).variables = own;
        }
        Ok(())
    }

    fn set_captured_variable(&self, name: &[u8], value: &[u8]) -> Result<(), CaptureError> {
        let variables = &self.main_conf().variables;
        let id = variables.id(self, name).and_then(|id| i32::try_from(id).ok()).unwrap_or(-1);
        let Err(e) = variables.with(self, id, name, |v| self.set_variable(v, Some(value))) else {
            return Ok(());
        };
        let (text, rc) = match e {
            SetError::Fixed(_) => (e.to_string(), Rc::INTERNAL_SERVER_ERROR),
            SetError::NoMemory => return Err(CaptureError::NoMemory),
            SetError::Unknown(name) | SetError::NoPlace(name) => (
                format!(
                    "variable \"{name}\" cannot be assigned a value (maybe you forgot to define it first?)"
                ),
                Rc::ERROR,
            ),
        };
        self.log(Level::Error, &text);
        Err(CaptureError::Setup(rc.0))
    }
}
