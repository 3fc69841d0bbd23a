//! An address that nginx's configuration does not have, kept by us.

use core::net::SocketAddr;
use core::ptr;

use ::ngx::ffi::{ngx_str_t, sockaddr, socklen_t};

/// What every unix address begins with.
const UNIX: &[u8] = b"unix:";

/// Where to connect, and how logs and `$upstream_addr` call it. Its memory does not move.
pub struct OwnAddress(Box<Parts>);

struct Parts {
    storage: libc::sockaddr_storage,
    len: socklen_t,
    name: ngx_str_t,
    _text: Box<[u8]>,
}

impl OwnAddress {
    /// From `10.0.0.1:80`, `[::1]:80` or `unix:/path`; `None` for what is none of these.
    pub fn parse(text: &[u8]) -> Option<OwnAddress> {
        // SAFETY: zero is a valid address of no family.
        let mut storage: libc::sockaddr_storage = unsafe { core::mem::zeroed() };
        let place = &raw mut storage;
        // SAFETY: the storage is large enough, and aligned, for an address of any family.
        let len = unsafe {
            if let Some(path) = text.strip_prefix(UNIX) {
                let un = &mut *place.cast::<libc::sockaddr_un>();
                un.sun_family = libc::AF_UNIX as libc::sa_family_t;
                if path.is_empty() || path.contains(&0) || path.len() >= un.sun_path.len() {
                    return None;
                }
                ptr::copy_nonoverlapping(path.as_ptr(), un.sun_path.as_mut_ptr().cast(), path.len());
                size_of::<libc::sockaddr_un>()
            } else {
                match core::str::from_utf8(text).ok()?.parse().ok()? {
                    SocketAddr::V4(v4) => {
                        let sin = &mut *place.cast::<libc::sockaddr_in>();
                        sin.sin_family = libc::AF_INET as libc::sa_family_t;
                        sin.sin_port = v4.port().to_be();
                        sin.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                        size_of::<libc::sockaddr_in>()
                    }
                    SocketAddr::V6(v6) => {
                        let sin6 = &mut *place.cast::<libc::sockaddr_in6>();
                        sin6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                        sin6.sin6_port = v6.port().to_be();
                        sin6.sin6_addr.s6_addr = v6.ip().octets();
                        size_of::<libc::sockaddr_in6>()
                    }
                }
            }
        };
        let text: Box<[u8]> = text.into();
        let name = ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() };
        Some(OwnAddress(Box::new(Parts { storage, len: len as socklen_t, name, _text: text })))
    }

    pub(super) fn address(&self) -> (*mut sockaddr, socklen_t, *mut ngx_str_t) {
        let parts = ptr::from_ref(&*self.0).cast_mut();
        // SAFETY: addresses of fields; nginx only reads them.
        unsafe { ((&raw mut (*parts).storage).cast(), (*parts).len, &raw mut (*parts).name) }
    }
}
