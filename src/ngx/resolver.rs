//! Names to addresses, by nginx's own resolver.

use core::cell::RefCell;
use core::ffi::{c_void, CStr};
use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll, Waker};
use std::rc::Rc;

use ::ngx::ffi::{self, ngx_resolver_ctx_t};

use super::location::Location;

/// Why a name has no address.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("no resolver defined to resolve \"{0}\"")]
    NoResolver(String),
    #[error("{name} could not be resolved ({code}: {reason})")]
    Failed { name: String, code: isize, reason: String },
    #[error("no memory")]
    NoMemory,
}

type Answer = Result<Found, ResolveError>;

/// What name servers have said.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub records: Vec<Record>,
    /// Until when it holds, in seconds since 1970.
    pub valid: i64,
}

/// An address; of a service, with its port and what its SRV record says.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub addr: SocketAddr,
    pub priority: u16,
    pub weight: u16,
}

/// A name that is being looked up; dropping it cancels.
struct Lookup {
    state: Rc<RefCell<State>>,
}

struct State {
    /// Null once nginx is done with it.
    ctx: *mut ngx_resolver_ctx_t,
    name: Vec<u8>,
    service: Vec<u8>,
    answer: Option<Answer>,
    waker: Option<Waker>,
}

impl Location {
    /// The addresses of `name`.
    pub async fn resolve(self, name: &[u8]) -> Result<Vec<IpAddr>, ResolveError> {
        let found = self.look_up(name, b"").await?;
        Ok(found.records.iter().map(|record| record.addr.ip()).collect())
    }

    /// What there is to say of `name`, or of its service (`_http._tcp`) where one is given: that is what SRV records are for (RFC 2782).
    pub async fn look_up(self, name: &[u8], service: &[u8]) -> Answer {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let Some((resolver, timeout)) = self.resolver() else {
            return Err(ResolveError::NoResolver(shown()));
        };
        start(resolver, timeout.as_millis() as usize, name, service)?.await
    }
}

fn start(
    resolver: NonNull<ffi::ngx_resolver_t>,
    timeout: usize,
    name: &[u8],
    service: &[u8],
) -> Result<Lookup, ResolveError> {
    let (ctx, name, service) = (ptr::null_mut(), name.to_vec(), service.to_vec());
    let shown = String::from_utf8_lossy(&name).into_owned();
    let state = Rc::new(RefCell::new(State { ctx, name, service, answer: None, waker: None }));
    // SAFETY: the resolver belongs to the cycle. nginx copies or holds the name, which the state keeps in place; the
    // context is given back when it has answered or the lookup is dropped, whichever comes first.
    unsafe {
        let ctx = ffi::ngx_resolve_start(resolver.as_ptr(), ptr::null_mut());
        if ctx.is_null() {
            return Err(ResolveError::NoMemory);
        }
        if ctx == usize::MAX as *mut ngx_resolver_ctx_t {
            return Err(ResolveError::NoResolver(shown));
        }
        {
            let mut state = state.borrow_mut();
            state.ctx = ctx;
            (*ctx).name = ffi::ngx_str_t { len: state.name.len(), data: state.name.as_mut_ptr() };
            if !state.service.is_empty() {
                (*ctx).service =
                    ffi::ngx_str_t { len: state.service.len(), data: state.service.as_mut_ptr() };
            }
        }
        (*ctx).handler = Some(answered);
        (*ctx).data = Rc::as_ptr(&state).cast_mut().cast::<c_void>();
        (*ctx).timeout = timeout;
        let lookup = Lookup { state: Rc::clone(&state) };
        if ffi::ngx_resolve_name(ctx) != ffi::NGX_OK as isize {
            // nginx has freed the context
            state.borrow_mut().ctx = ptr::null_mut();
            return Err(ResolveError::NoMemory);
        }
        Ok(lookup)
    }
}

unsafe extern "C" fn answered(ctx: *mut ngx_resolver_ctx_t) {
    let wake = || {
        // SAFETY: `data` is the state, which lives until it has answered or has cancelled the lookup.
        let waker = unsafe {
            let state = (*ctx).data.cast::<RefCell<State>>();
            let mut state = (*state).borrow_mut();
            state.answer = Some(read(ctx, &state.name));
            state.ctx = ptr::null_mut();
            state.waker.take()
        };
        // SAFETY: nginx has answered, and nobody else gives the context back.
        unsafe { ffi::ngx_resolve_name_done(ctx) };
        if let Some(waker) = waker {
            waker.wake();
        }
    };
    crate::native::guard(wake);
}

/// # Safety
/// `ctx` must be a context that nginx has answered.
unsafe fn read(ctx: *mut ngx_resolver_ctx_t, name: &[u8]) -> Answer {
    // SAFETY: the caller vouches for the context, whose addresses are of the families that they name.
    unsafe {
        if (*ctx).state != 0 {
            let reason = CStr::from_ptr(ffi::ngx_resolver_strerror((*ctx).state).cast());
            return Err(ResolveError::Failed {
                name: String::from_utf8_lossy(name).into_owned(),
                code: (*ctx).state,
                reason: reason.to_string_lossy().into_owned(),
            });
        }
        let addresses = match NonNull::new((*ctx).addrs) {
            Some(addrs) => core::slice::from_raw_parts(addrs.as_ptr(), (*ctx).naddrs),
            None => &[],
        };
        let record = |a: &ffi::ngx_resolver_addr_t| {
            let addr = socket(a.sockaddr.cast())?;
            Some(Record { addr, priority: a.priority, weight: a.weight })
        };
        Ok(Found { records: addresses.iter().filter_map(record).collect(), valid: (*ctx).valid })
    }
}

/// # Safety
/// `sockaddr` must be a socket address of the family that it names.
unsafe fn socket(sockaddr: *const libc::sockaddr) -> Option<SocketAddr> {
    // SAFETY: the caller vouches for it.
    unsafe {
        match i32::from((*sockaddr).sa_family) {
            libc::AF_INET => {
                let sin = &*sockaddr.cast::<libc::sockaddr_in>();
                let ip = IpAddr::from(sin.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::new(ip, u16::from_be(sin.sin_port)))
            }
            libc::AF_INET6 => {
                let sin6 = &*sockaddr.cast::<libc::sockaddr_in6>();
                Some(SocketAddr::new(IpAddr::from(sin6.sin6_addr.s6_addr), u16::from_be(sin6.sin6_port)))
            }
            _ => None,
        }
    }
}

impl Future for Lookup {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.state.borrow_mut();
        match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let ctx = core::mem::replace(&mut self.state.borrow_mut().ctx, ptr::null_mut());
        if !ctx.is_null() {
            // SAFETY: nginx has not answered yet, and will not any more.
            unsafe { ffi::ngx_resolve_name_done(ctx) };
        }
    }
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Ip(SocketAddr),
    /// The path of a unix socket.
    Unix(Vec<u8>),
}

impl Endpoint {
    /// What `host` and `port` say without asking a name server: an IP address, IPv6 with or without brackets, or
    /// `unix:PATH`.
    pub fn parse(host: &[u8], port: u16) -> Option<Endpoint> {
        if let Some(path) = host.strip_prefix(b"unix:") {
            return Some(Endpoint::Unix(path.to_vec()));
        }
        let text = core::str::from_utf8(host).ok()?;
        let text = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        text.parse::<IpAddr>().ok().map(|ip| Endpoint::Ip(SocketAddr::new(ip, port)))
    }
}

impl Endpoint {
    /// The address without the port.
    pub fn host(&self) -> String {
        match self {
            Endpoint::Ip(ip) => ip.ip().to_string(),
            Endpoint::Unix(_) => self.to_string(),
        }
    }
}

impl core::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Endpoint::Ip(ip) => ip.fmt(f),
            Endpoint::Unix(path) => write!(f, "unix:{}", String::from_utf8_lossy(path)),
        }
    }
}
