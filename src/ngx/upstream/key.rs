//! What makes one connection to a peer as good as another.
//!
//! An address is not enough: a connection that was made with TLS for one name, without verifying the peer, with one
//! client certificate or from one local address must not carry what is meant for another.

use core::ptr::NonNull;

use ::ngx::ffi::{self, ngx_addr_t, ngx_http_upstream_t, ngx_str_t};

use super::super::request::Request;
use super::super::text::bytes;
use super::address::Address;
#[cfg(upstream_tls)]
use crate::phase::Phase;

/// A key and its hash; the text lives in the request's pool.
#[derive(Clone, Copy)]
pub struct Key {
    pub hash: u64,
    text: NonNull<[u8]>,
    /// Where in it the name is that logs show, and how long.
    name: (usize, usize),
}

impl Key {
    /// The key for `request` to connect to `address` from `local` (null: from any), for `host`.
    ///
    /// # Safety
    /// The request must have an upstream, and the addresses live; the key lives as long as the request.
    pub unsafe fn new(
        request: Request,
        address: &Address,
        local: *const ngx_addr_t,
        host: &[u8],
    ) -> Option<Key> {
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            let u = (*request.raw()).upstream;
            let socket = core::slice::from_raw_parts(address.sockaddr.cast::<u8>(), address.socklen as usize);
            let local = match local.as_ref() {
                Some(from) => core::slice::from_raw_parts(from.sockaddr.cast::<u8>(), from.socklen as usize),
                None => &[],
            };
            let tls = Tls::of(request, u)?;
            let (certificate, name) = (bytes(tls.certificate), bytes(tls.name));
            let head = [tls.context, tls.flags, socket.len(), local.len(), certificate.len(), name.len()];
            let head = head.map(usize::to_ne_bytes);
            let parts = [head.as_flattened(), socket, local, certificate, name, host];

            let len = parts.iter().map(|part| part.len()).sum();
            let start = NonNull::new(ffi::ngx_pnalloc((*request.raw()).pool, len).cast::<u8>())?;
            let mut at = start;
            for part in parts {
                at.copy_from_nonoverlapping(NonNull::from(part).cast(), part.len());
                at = at.add(part.len());
            }
            let mut text = NonNull::slice_from_raw_parts(start, len);
            // names are the same in capitals
            let names = len - host.len() - name.len();
            text.as_mut()[names..].make_ascii_lowercase();
            let shown = if host.is_empty() { (names, name.len()) } else { (names + name.len(), host.len()) };
            Some(Key { hash: hash(text.as_ref()), text, name: shown })
        }
    }

    /// # Safety
    /// The request that the key was made for must be alive.
    pub unsafe fn text(&self) -> &[u8] {
        // SAFETY: the text is written once, before anybody reads it; the caller vouches for its pool.
        unsafe { self.text.as_ref() }
    }

    /// # Safety
    /// As [`Key::text`].
    pub unsafe fn name(&self) -> &[u8] {
        let (at, len) = self.name;
        // SAFETY: the caller vouches for the text.
        unsafe { &self.text()[at..at + len] }
    }
}

/// As in Firefox and rustc; who finds keys that collide gains a comparison.
fn hash(text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks::<8>();
    let last = rest.iter().fold(text.len() as u64, |word, byte| word << 8 | u64::from(*byte));
    let add = |h: u64, word: u64| (h.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    words.iter().map(|word| u64::from_ne_bytes(*word)).chain([last]).fold(0, add)
}

/// What TLS adds; all of it is empty without.
struct Tls {
    /// Where the settings of the location's handshakes are.
    context: usize,
    /// Whether the name is sent, and whether the peer is verified.
    flags: usize,
    name: ngx_str_t,
    /// The client's certificate, where it depends on the request.
    certificate: ngx_str_t,
}

impl Tls {
    const NONE: Tls = Tls { context: 0, flags: 0, name: ngx_str_t::empty(), certificate: ngx_str_t::empty() };

    /// # Safety
    /// `u` must be the upstream of the live request.
    #[cfg(upstream_tls)]
    unsafe fn of(request: Request, u: *mut ngx_http_upstream_t) -> Option<Tls> {
        // SAFETY: the caller vouches for the request; a configuration lives as long as its requests.
        unsafe {
            if (*u).ssl() == 0 {
                return Some(Tls::NONE);
            }
            // a script may choose another certificate for each request: no connection is as good as another
            if request.loc_conf().handler(Phase::ProxySslCert).is_some() {
                return None;
            }
            let conf = &*(*u).conf;
            let mut tls = Tls {
                context: conf.ssl as usize,
                flags: usize::from(conf.ssl_server_name != 0) | usize::from(conf.ssl_verify != 0) << 1,
                name: (*u).ssl_name,
                ..Tls::NONE
            };
            let r = request.raw();
            let evaluate =
                |value, place| ffi::ngx_http_complex_value(r, value, place) == ffi::NGX_OK as isize;
            // nginx does the same when it shakes hands
            if !conf.ssl_name.is_null() && !evaluate(conf.ssl_name, &raw mut tls.name) {
                return None;
            }
            if conf.ssl_certificate.as_ref().is_some_and(|value| !value.lengths.is_null())
                && !evaluate(conf.ssl_certificate, &raw mut tls.certificate)
            {
                return None;
            }
            Some(tls)
        }
    }

    #[cfg(not(upstream_tls))]
    #[allow(clippy::unnecessary_wraps)]
    unsafe fn of(_: Request, _: *mut ngx_http_upstream_t) -> Option<Tls> {
        Some(Tls::NONE)
    }
}
