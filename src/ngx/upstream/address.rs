//! Socket addresses of peers that a script names, in the request's pool.

use core::mem::offset_of;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::ptr::{self, NonNull};
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;

use ::ngx::ffi::{self, ngx_pool_t, ngx_str_t, sockaddr, socklen_t};

use super::super::text::to_pool;

/// Longest address with a port in text: `[…]:65535`.
const TEXT: usize = 2 + 45 + 6;

/// Where to connect, and how logs and `$upstream_addr` call it.
#[derive(Clone, Copy)]
pub struct Address {
    pub sockaddr: *mut sockaddr,
    pub socklen: socklen_t,
    pub name: *mut ngx_str_t,
}

/// An IP address with the text that names it, in one allocation.
#[repr(C)]
struct Ip<S> {
    sockaddr: S,
    name: ngx_str_t,
    text: [u8; TEXT],
}

impl Address {
    /// The address that `text` and `port` give, as nginx's own configuration would read it: an IPv4 address, an IPv6
    /// one in brackets, either with a port of its own, or `unix:PATH`. Names are not resolved.
    ///
    /// # Safety
    /// `pool` must be a live pool; the address lives as long as it does.
    pub unsafe fn parse(pool: *mut ngx_pool_t, text: &[u8], port: u16) -> Result<Address, &'static str> {
        let plain = core::str::from_utf8(text).ok();
        if let Some(ip) = plain.and_then(|t| t.parse::<Ipv4Addr>().ok()) {
            // SAFETY: the caller vouches for the pool.
            return unsafe { v4(pool, ip, text, port) }.ok_or("no memory");
        }
        let inner = plain.and_then(|t| t.strip_prefix('[')?.strip_suffix(']'));
        if let Some(ip) = inner.and_then(|t| t.parse::<Ipv6Addr>().ok()) {
            // SAFETY: as above.
            return unsafe { v6(pool, ip, port) }.ok_or("no memory");
        }
        // SAFETY: as above.
        unsafe { parse_url(pool, text, port) }
    }

    /// Makes connections for `host` differ, in the eyes of nginx's keepalive module, from those for other names at the
    /// same address: it compares the bytes of socket addresses, of which the system ignores some. A TLS connection that
    /// was made for one name must not serve another.
    pub fn keep_apart(&self, host: &[u8]) -> Result<(), &'static str> {
        let mut hasher = DefaultHasher::new();
        // names are the same in capitals
        host.iter().for_each(|c| hasher.write_u8(c.to_ascii_lowercase()));
        // an address without a name has zeros there
        let mark = (hasher.finish() | 1).to_ne_bytes();
        // SAFETY: the structure behind `sockaddr` is of the family that it names, and ours alone.
        unsafe {
            match i32::from((*self.sockaddr).sa_family) {
                libc::AF_INET => (*self.sockaddr.cast::<libc::sockaddr_in>()).sin_zero = mark,
                libc::AF_INET6 => {
                    let [a, b, c, d, ..] = mark;
                    // the kernel reads a flow label only on request
                    (*self.sockaddr.cast::<libc::sockaddr_in6>()).sin6_flowinfo =
                        u32::from_ne_bytes([a, b, c, d]);
                }
                _ => {
                    let path = &mut (*self.sockaddr.cast::<libc::sockaddr_un>()).sun_path;
                    let used = path.iter().position(|c| *c == 0).unwrap_or(path.len());
                    let at = path.len() - mark.len();
                    if used >= at {
                        return Err("too long path in the unix domain socket");
                    }
                    ptr::copy_nonoverlapping(mark.as_ptr(), path.as_mut_ptr().add(at).cast(), mark.len());
                }
            }
        }
        Ok(())
    }
}

/// # Safety
/// `pool` must be a live pool.
unsafe fn alloc<S>(pool: *mut ngx_pool_t) -> Option<NonNull<Ip<S>>> {
    // SAFETY: the caller vouches for the pool.
    NonNull::new(unsafe { ffi::ngx_palloc(pool, size_of::<Ip<S>>()) }.cast())
}

/// Writes `text` behind the address and hands the whole out.
///
/// # Safety
/// `ip` must have its socket address filled.
unsafe fn named<S>(ip: NonNull<Ip<S>>, write: impl FnOnce(&mut &mut [u8])) -> Address {
    // SAFETY: the allocation is fresh and ours; the text is initialised before anybody reads it.
    unsafe {
        let data = ip.as_ptr().cast::<u8>().add(offset_of!(Ip<S>, text));
        ptr::write_bytes(data, 0, TEXT);
        let mut room = core::slice::from_raw_parts_mut(data, TEXT);
        write(&mut room);
        let len = TEXT - room.len();
        (*ip.as_ptr()).name = ngx_str_t { len, data };
        Address {
            sockaddr: ip.as_ptr().cast(),
            socklen: size_of::<S>() as socklen_t,
            name: &raw mut (*ip.as_ptr()).name,
        }
    }
}

unsafe fn v4(pool: *mut ngx_pool_t, ip: Ipv4Addr, text: &[u8], port: u16) -> Option<Address> {
    // SAFETY: the caller vouches for the pool; zero is a valid socket address.
    unsafe {
        let place = alloc::<libc::sockaddr_in>(pool)?;
        let mut sin: libc::sockaddr_in = core::mem::zeroed();
        sin.sin_family = libc::AF_INET as libc::sa_family_t;
        sin.sin_port = port.to_be();
        sin.sin_addr.s_addr = u32::from(ip).to_be();
        (&raw mut (*place.as_ptr()).sockaddr).write(sin);
        Some(named(place, |room| {
            // a strict IPv4 address is its own canonical text
            let _ = room.write_all(text);
            let mut tail = [0; 6];
            let _ = room.write_all(colon_port(port, &mut tail));
        }))
    }
}

/// `:80`
fn colon_port(port: u16, room: &mut [u8; 6]) -> &[u8] {
    let (mut at, mut rest) = (room.len(), port);
    loop {
        at -= 1;
        room[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    room[at - 1] = b':';
    &room[at - 1..]
}

unsafe fn v6(pool: *mut ngx_pool_t, ip: Ipv6Addr, port: u16) -> Option<Address> {
    // SAFETY: as in `v4`.
    unsafe {
        let place = alloc::<libc::sockaddr_in6>(pool)?;
        let mut sin6: libc::sockaddr_in6 = core::mem::zeroed();
        sin6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        sin6.sin6_port = port.to_be();
        sin6.sin6_addr.s6_addr = ip.octets();
        (&raw mut (*place.as_ptr()).sockaddr).write(sin6);
        Some(named(place, |room| {
            let _ = write!(room, "[{ip}]:{port}");
        }))
    }
}

/// Everything else, in nginx's words.
unsafe fn parse_url(pool: *mut ngx_pool_t, text: &[u8], port: u16) -> Result<Address, &'static str> {
    // SAFETY: the caller vouches for the pool; `url.err` is null or one of nginx's string constants.
    unsafe {
        let mut url: ffi::ngx_url_t = core::mem::zeroed();
        url.url = to_pool(pool, text).ok_or("no memory")?;
        url.default_port = port;
        url.set_no_resolve(1);
        if ffi::ngx_parse_url(pool, &raw mut url) != ffi::NGX_OK as isize {
            if url.err.is_null() {
                return Err("no memory");
            }
            return Err(core::ffi::CStr::from_ptr(url.err).to_str().unwrap_or("invalid address"));
        }
        match url.addrs.as_mut() {
            Some(first) if !first.sockaddr.is_null() => {
                Ok(Address { sockaddr: first.sockaddr, socklen: first.socklen, name: &raw mut first.name })
            }
            _ => Err("no host allowed"),
        }
    }
}
