//! Addresses as the system takes them.

use core::ptr;

use super::resolver::Endpoint;

/// A socket address as the system takes it.
pub(super) struct Address {
    pub(super) storage: libc::sockaddr_storage,
    pub(super) len: libc::socklen_t,
}

impl Address {
    /// One that the system chooses: unix datagrams need one to be answered to.
    pub(super) fn unnamed_unix() -> Address {
        // SAFETY: all-zero is a valid address storage.
        let mut storage: libc::sockaddr_storage = unsafe { core::mem::zeroed() };
        storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
        Address { storage, len: size_of::<libc::sa_family_t>() as libc::socklen_t }
    }

    pub(super) fn new(endpoint: &Endpoint) -> Option<Address> {
        // SAFETY: all-zero is a valid address storage.
        let mut storage: libc::sockaddr_storage = unsafe { core::mem::zeroed() };
        let place = ptr::from_mut(&mut storage);
        // SAFETY: the storage is large enough for each kind of address, and aligned for all.
        let len = unsafe {
            match endpoint {
                Endpoint::Ip(core::net::SocketAddr::V4(v4)) => {
                    let sin = &mut *place.cast::<libc::sockaddr_in>();
                    sin.sin_family = libc::AF_INET as libc::sa_family_t;
                    sin.sin_port = v4.port().to_be();
                    sin.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                    size_of::<libc::sockaddr_in>()
                }
                Endpoint::Ip(core::net::SocketAddr::V6(v6)) => {
                    let sin6 = &mut *place.cast::<libc::sockaddr_in6>();
                    sin6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                    sin6.sin6_port = v6.port().to_be();
                    sin6.sin6_addr.s6_addr = v6.ip().octets();
                    size_of::<libc::sockaddr_in6>()
                }
                Endpoint::Unix(path) => {
                    let sun = &mut *place.cast::<libc::sockaddr_un>();
                    if path.is_empty() || path.len() >= sun.sun_path.len() {
                        return None;
                    }
                    sun.sun_family = libc::AF_UNIX as libc::sa_family_t;
                    ptr::copy_nonoverlapping(path.as_ptr(), sun.sun_path.as_mut_ptr().cast(), path.len());
                    size_of::<libc::sockaddr_un>()
                }
            }
        };
        Some(Address { storage, len: len as libc::socklen_t })
    }
}
