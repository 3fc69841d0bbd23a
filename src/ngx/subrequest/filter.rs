//! Where the response of a captured subrequest stops: right behind the filters that scripts have put in its way.

use ::ngx::ffi::{self, ngx_chain_t};

use super::{Capture, Captured};
use crate::ngx::bits::bits;
use crate::ngx::body_filter::{buffers, consume, content, ends};
use crate::ngx::log::Level;
use crate::ngx::request::{Rc, Request};

/// Memory that a declared length is believed for; beyond, it is taken as the body comes.
const BELIEVED: usize = 1 << 20;

impl Request {
    /// Takes the header of a captured response; `false` if the response is none.
    pub(in crate::ngx) fn capture_header(&self) -> bool {
        let Some(captured) = self.captured() else { return false };
        // SAFETY: plain field writes to a live request.
        unsafe {
            (*bits(self.raw())).set_header_sent(1);
            // of a page that takes a response's place: nginx would close the connection at its end, being a client's
            (*bits(self.raw())).set_filter_finalize(0);
            (*bits(self.raw())).set_filter_need_in_memory(1);
        }
        if self.is_head() {
            self.set_header_only();
        }
        self.take_as_it_comes();
        if let Captured::For(capture) = captured {
            let declared = self.content_length().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            // without it, the body has to grow step by step
            let _ = capture.body.borrow_mut().try_reserve_exact(declared.min(BELIEVED));
        }
        true
    }

    /// Has an upstream pass a body on as it comes that its buffers cannot hold. nginx would write the rest to a file and
    /// read it again at the end, as for a slow client; where it may use no file it would wait for ever.
    fn take_as_it_comes(&self) {
        // SAFETY: plain field accesses of a live request's upstream and its configuration.
        unsafe {
            let Some(u) = (*self.raw()).upstream.as_mut() else { return };
            let Some(conf) = u.conf.as_ref() else { return };
            if u.buffering() == 0 || u.store() != 0 {
                return;
            }
            #[cfg(ngx_feature = "http_cache")]
            if u.cacheable() != 0 {
                return;
            }
            let room =
                i64::try_from(conf.bufs.size.saturating_mul(conf.bufs.num as usize)).unwrap_or(i64::MAX);
            let is_large = self.content_length().is_some_and(|n| n > room);
            // a limit of the rate works on buffered responses only; nginx 1.27 made it a pointer
            let limit = (&raw const conf.limit_rate).cast::<u8>();
            let limit = core::slice::from_raw_parts(limit, size_of_val(&conf.limit_rate));
            if conf.max_temp_file_size == 0 || is_large && limit.iter().all(|b| *b == 0) {
                u.set_buffering(0);
            }
        }
    }

    /// Takes a part of a captured body; `None` if the response is none.
    pub(in crate::ngx) fn capture_body(&self, chain: *mut ngx_chain_t) -> Option<Rc> {
        let captured = self.captured()?;
        let kept = match captured {
            // SAFETY: nginx passes a well-formed chain, or null.
            Captured::For(capture) if !capture.ended.get() => unsafe { capture.add(chain) },
            _ => true,
        };
        consume(chain);
        if kept {
            return Some(Rc::OK);
        }
        self.log(Level::Error, "no memory for the response of a subrequest");
        Some(Rc::ERROR)
    }
}

impl Capture {
    /// # Safety
    /// `chain` must be well-formed.
    unsafe fn add(&self, chain: *mut ngx_chain_t) -> bool {
        let mut body = self.body.borrow_mut();
        for b in buffers(chain) {
            // SAFETY: a buffer of the chain; we asked for buffers in memory.
            let (text, last) = unsafe { (content(&*b), ends(&*b)) };
            if body.try_reserve(text.len()).is_err() {
                return false;
            }
            body.extend_from_slice(text);
            if last {
                self.complete.set(true);
            }
        }
        true
    }
}

/// nginx writes to logs in the name of the request that runs.
pub(in crate::ngx) fn log_as(request: &Request) {
    // SAFETY: the log of a request's connection has nginx's description of who is logging.
    unsafe {
        let log = (*(*request.raw()).connection).log;
        if let Some(who) = (*log).data.cast::<ffi::ngx_http_log_ctx_t>().as_mut() {
            who.current_request = request.raw();
        }
    }
}
