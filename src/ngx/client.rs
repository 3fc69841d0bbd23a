//! The client's connection as scripts use it: reading the request body as it comes, the raw connection, and learning
//! that the client has gone.

use core::cell::{Cell, RefCell};
use core::ptr::{self, NonNull};
use std::io;
use std::rc::{Rc as Shared, Weak};

use ::ngx::ffi::{self, ngx_http_request_body_t, ngx_http_request_t};

use super::bits::bits;
use super::ctx::Ctx;
use super::event::Posted;
use super::log::Level;
use super::request::Request;
use super::socket::{result, Io, Side, Stream};
use super::text::bytes;
use crate::run;

/// Why a script gets no socket of its request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("attempt to read the request body in a subrequest")]
    Subrequest,
    #[error("http v{0} not supported yet")]
    Streams(usize),
    #[error("chunked request bodies not supported yet")]
    Chunked,
    #[error("request body already exists")]
    Exists,
    #[error("request body discarded")]
    Discarded,
    #[error("no body")]
    NoBody,
    #[error("test expect failed")]
    Expect,
    #[error("pending request body reading in some other thread")]
    Reading,
    #[error("pending data to write")]
    Unsent,
    #[error("http 1.0 buffering")]
    Held,
    #[error("duplicate call")]
    Duplicate,
    #[error("no memory")]
    NoMemory,
}

type ReadAhead = Box<dyn Fn() -> Vec<u8>>;

/// What a request's scripts have to do with its connection.
pub struct Clients {
    /// The socket that reads, or did.
    stream: RefCell<Weak<Stream>>,
    /// Gives back what that one has read ahead, when a script ends.
    ahead: RefCell<Option<ReadAhead>>,
    /// The buffer that nginx has read the header into, while one with what was given back is in its place.
    header: Cell<*mut ffi::ngx_buf_t>,
    /// Takes the place of the body that nginx would have read, while a script reads it.
    body: Cell<*mut ngx_http_request_body_t>,
    /// Looks for a client that had gone before anybody watched.
    check: Cell<Option<Posted>>,
    /// Its going was noticed.
    gone: Cell<bool>,
    /// Whether the connection was to be used again, before a part of the body was left in it.
    keepalive: Cell<Option<u32>>,
}

impl Clients {
    fn of(ctx: &Ctx) -> &Clients {
        ctx.client.get_or_init(|| {
            Box::new(Clients {
                stream: RefCell::new(Weak::new()),
                ahead: RefCell::default(),
                header: Cell::new(ptr::null_mut()),
                body: Cell::new(ptr::null_mut()),
                check: Cell::default(),
                gone: Cell::new(false),
                keepalive: Cell::default(),
            })
        })
    }
}

/// What a stream may read of its client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Body,
    Raw,
}

/// The client behind a stream.
pub struct Client {
    request: Request,
    part: Part,
}

impl Client {
    /// Reads what comes next: first what nginx has read behind the header.
    pub fn recv(&self, out: &mut Vec<u8>) -> Io {
        let most = match self.part {
            Part::Raw => usize::MAX,
            Part::Body => match self.request.claim_body() {
                Some(rest) => usize::try_from(rest).unwrap_or(usize::MAX),
                None => 0,
            },
        };
        let room = out.spare_capacity_mut();
        let most = most.min(room.len());
        if most == 0 {
            return Io::Eof;
        }
        let r = self.request.raw();
        // SAFETY: the stream is closed before the request goes; `pos..last` of the header's buffer is what nginx has read.
        // The room is as long as said, and what was written to it is initialized.
        let got = unsafe {
            let place = room.as_mut_ptr().cast::<u8>();
            let header = &mut *(*r).header_in;
            let n = header.last.offset_from_unsigned(header.pos).min(most);
            let got = if n > 0 {
                ptr::copy_nonoverlapping(header.pos, place, n);
                header.pos = header.pos.add(n);
                self.request.use_up_returned();
                Io::Done(n)
            } else {
                let c = (*r).connection;
                let recv = (*c).recv;
                result(recv.map_or(ffi::NGX_ERROR as isize, |recv| recv(c, place, most)))
            };
            if let Io::Done(n) = got {
                out.set_len(out.len() + n);
            }
            got
        };
        match got {
            Io::Done(n) if self.part == Part::Body => {
                // SAFETY: as above; `claim_body` has seen to the body.
                unsafe {
                    (*r).request_length += n as ffi::off_t;
                    (*(*r).request_body).rest -= n as ffi::off_t;
                }
                Io::Done(n)
            }
            // the end of a raw connection is one like others, unless its going is watched for
            Io::Eof if self.part == Part::Body || self.request.loc_conf().check_client_abort() => {
                Io::Failed(io::Error::new(io::ErrorKind::ConnectionAborted, "client aborted"))
            }
            io => io,
        }
    }
}

impl Request {
    /// Whether the request shares its connection with others (HTTP/2, HTTP/3).
    fn is_stream(&self) -> bool {
        self.http_version() >= 2000
    }

    fn check_client(&self) -> Result<(), ClientError> {
        if self.is_subrequest() {
            return Err(ClientError::Subrequest);
        }
        if self.is_stream() {
            return Err(ClientError::Streams(self.http_version() / 1000));
        }
        Ok(())
    }

    /// A stream that ends where the request body does.
    pub fn body_stream(&self, ctx: &Ctx) -> Result<Shared<Stream>, ClientError> {
        self.check_client()?;
        let r = self.raw();
        // SAFETY: field reads of a live request.
        unsafe {
            if (*r).headers_in.chunked() != 0 {
                return Err(ClientError::Chunked);
            }
            if !(*r).request_body.is_null() {
                return Err(ClientError::Exists);
            }
            if (*bits(r)).discard_body() != 0 {
                return Err(ClientError::Discarded);
            }
            if (*r).headers_in.content_length_n <= 0 {
                return Err(ClientError::NoBody);
            }
        }
        self.test_expect()?;
        let clients = Clients::of(ctx);
        if clients.body.get().is_null() {
            clients.body.set(self.empty_body()?);
        }
        self.claim_body();
        Ok(self.stream_of(clients, Part::Body))
    }

    /// The connection itself, for reading and writing.
    pub fn raw_stream(&self, ctx: &Ctx) -> Result<Shared<Stream>, ClientError> {
        self.check_client()?;
        let (r, out) = (self.raw(), &ctx.output);
        // SAFETY: field accesses of a live request and its connection.
        unsafe {
            match (*r).request_body.as_ref() {
                Some(body) if body.rest > 0 => return Err(ClientError::Reading),
                Some(_) => {}
                None => (*r).request_body = self.empty_body()?,
            }
            if self.has_unsent() {
                return Err(ClientError::Unsent);
            }
            if out.is_held() {
                return Err(ClientError::Held);
            }
            if out.is_taken() {
                return Err(ClientError::Duplicate);
            }
            (*bits(r)).set_header_sent(1);
            (*bits(r)).set_keepalive(0);
            (*bits(r)).set_lingering_close(1);
            let c = (*r).connection;
            for event in [(*c).read, (*c).write] {
                if (*event).timer_set() != 0 {
                    ffi::ngx_del_timer(event);
                }
            }
            if self.location().tcp_nodelay() {
                self.log(Level::Debug, "lua socket tcp_nodelay");
                // where that fails, packets are only sent later
                let _ = ffi::ngx_tcp_nodelay(c);
            }
        }
        out.set_begun();
        out.set_ended();
        out.set_taken();
        ctx.shared.started.set(1);
        Ok(self.stream_of(Clients::of(ctx), Part::Raw))
    }

    fn stream_of(&self, clients: &Clients, part: Part) -> Shared<Stream> {
        // SAFETY: a request has a connection, which lives as long as it; what is owned by the request's scripts is closed
        // before that.
        let stream = unsafe {
            let connection = NonNull::new_unchecked((*self.raw()).connection);
            Stream::of_client(connection, Client { request: *self, part })
        };
        clients.stream.replace(Shared::downgrade(&stream));
        stream
    }

    fn empty_body(&self) -> Result<*mut ngx_http_request_body_t, ClientError> {
        // SAFETY: the pool is the request's, and all-zero is an empty body.
        let body = unsafe {
            ffi::ngx_pcalloc((*self.raw()).pool, size_of::<ngx_http_request_body_t>())
                .cast::<ngx_http_request_body_t>()
        };
        if body.is_null() {
            return Err(ClientError::NoMemory);
        }
        Ok(body)
    }

    /// Makes the body that is still to come the script's to read; how much of it there is. `None` when somebody else
    /// has read it or thrown it away.
    fn claim_body(&self) -> Option<ffi::off_t> {
        let ours = self.ctx_if_any()?.client.get()?.body.get();
        let r = self.raw();
        // SAFETY: the request is live; `ours` is null or lives in its pool.
        unsafe {
            if (*r).request_body.is_null() && (*bits(r)).discard_body() == 0 && !ours.is_null() {
                (*ours).rest = (*r).headers_in.content_length_n.max(0);
                (*r).request_body = ours;
            }
            ((*r).request_body == ours && !ours.is_null()).then(|| (*ours).rest)
        }
    }

    /// A script has ended. What it has not read of the body is nginx's to discard if the request `ends` with it; else it
    /// is there for a later script, or for the upstream, which is told its length. The connection is not used again if
    /// nobody reads it.
    pub fn leave_client_body(&self, ctx: &Ctx, ends: bool) {
        let Some(clients) = ctx.client.get() else { return };
        clients.check.take();
        let (r, ours) = (self.raw(), clients.body.get());
        // SAFETY: as in `claim_body`.
        unsafe {
            if let (true, Some(keepalive)) = (ends, clients.keepalive.take()) {
                (*bits(r)).set_keepalive(keepalive);
            }
            if self.claim_body().is_none() {
                return;
            }
            if !ends {
                self.return_ahead(clients, ours);
            }
            let rest = (*ours).rest;
            // the script has made another body in its place
            let replaced = !(*ours).bufs.is_null();
            if !ends && !replaced && rest < (*r).headers_in.content_length_n {
                if let Err(e) = self.set_body_length(rest.unsigned_abs()) {
                    self.log(Level::Error, &e.to_string());
                }
            }
            if rest <= 0 {
                return;
            }
            if ends && (*bits(r)).keepalive() != 0 {
                (*r).headers_in.content_length_n = rest;
                (*r).request_body = ptr::null_mut();
            } else if ends {
                // nobody waits for it, but a connection that is closed with unread data is reset
                (*bits(r)).set_lingering_close(1);
            } else {
                if clients.keepalive.get().is_none() {
                    clients.keepalive.set(Some((*bits(r)).keepalive()));
                    (*bits(r)).set_keepalive(0);
                    (*bits(r)).set_lingering_close(1);
                }
                if !replaced {
                    (*r).request_body = ptr::null_mut();
                }
            }
        }
    }

    /// Once what was given back is read again, nginx's own buffer takes its place.
    fn use_up_returned(&self) {
        let Some(clients) = self.ctx_if_any().and_then(|ctx| ctx.client.get()) else { return };
        let before = clients.header.get();
        // SAFETY: both buffers live as long as the request.
        unsafe {
            if !before.is_null() && (*(*self.raw()).header_in).pos == (*(*self.raw()).header_in).last {
                (*self.raw()).header_in = before;
                clients.header.set(ptr::null_mut());
            }
        }
    }

    /// Has the function give back what the socket of this request's body has read, and nobody has asked it for.
    pub fn on_return(&self, ctx: &Ctx, give_back: Box<dyn Fn() -> Vec<u8>>) {
        Clients::of(ctx).ahead.replace(Some(give_back));
    }

    /// Puts what was read ahead back in front of what nginx has read behind the header.
    ///
    /// # Safety
    /// `ours` must be the request's body.
    unsafe fn return_ahead(&self, clients: &Clients, ours: *mut ngx_http_request_body_t) {
        let ahead = clients.ahead.borrow().as_ref().map(|give_back| give_back()).unwrap_or_default();
        if ahead.is_empty() {
            return;
        }
        let r = self.raw();
        // SAFETY: the request is live, and its header's buffer is; the new one lives in the request's pool, and has only
        // what is of its body: nginx keeps no empty buffer for the connection's next request.
        unsafe {
            let header = &mut *(*r).header_in;
            let behind = header.last.offset_from_unsigned(header.pos);
            let n = behind.min(usize::try_from((*ours).rest).unwrap_or(0));
            let both = ffi::ngx_create_temp_buf((*r).pool, ahead.len() + n);
            let Some(b) = both.as_mut() else {
                return self.log(Level::Error, "no memory for a part of the body");
            };
            ptr::copy_nonoverlapping(ahead.as_ptr(), b.pos, ahead.len());
            ptr::copy_nonoverlapping(header.pos, b.pos.add(ahead.len()), n);
            b.last = b.end;
            header.pos = header.pos.add(n);
            if clients.header.get().is_null() {
                clients.header.set(header);
            }
            (*r).header_in = both;
            (*ours).rest += ahead.len() as ffi::off_t;
            (*r).request_length -= ahead.len() as ffi::off_t;
            if n < behind {
                // the next request lies where nginx will not look for it
                clients.keepalive.set(Some(0));
                (*bits(r)).set_keepalive(0);
                (*bits(r)).set_lingering_close(1);
            }
        }
    }

    /// Tells a client that waits for it (`Expect: 100-continue`) to send its body.
    fn test_expect(&self) -> Result<(), ClientError> {
        const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let r = self.raw();
        // SAFETY: field accesses of a live request and its connection.
        unsafe {
            if (*bits(r)).expect_tested() != 0 || self.http_version() < 1001 {
                return Ok(());
            }
            let Some(expect) = (*r).headers_in.expect.as_ref() else { return Ok(()) };
            (*bits(r)).set_expect_tested(1);
            if !bytes(expect.value).eq_ignore_ascii_case(b"100-continue") {
                return Ok(());
            }
            let c = (*r).connection;
            let sent = (*c).send.map_or(0, |send| send(c, GO_ON.as_ptr().cast_mut(), GO_ON.len()));
            if sent == GO_ON.len() as isize {
                Ok(())
            } else {
                Err(ClientError::Expect)
            }
        }
    }

    /// Whether its scripts are to learn that the client goes.
    fn watches_client(&self) -> bool {
        self.loc_conf().check_client_abort()
    }

    /// While a script waits: what the client sends is for a socket of the script or stays where it is, and its going is
    /// noticed if `lua_check_client_abort` asks for that.
    pub fn watch_client(&self) {
        let Some(ctx) = self.ctx_if_any() else { return };
        // nginx reads a body for somebody, or to throw it away
        if ctx.body_read.borrow().as_ref().is_some_and(|waiter| waiter.waits()) || self.body_discarded() {
            return;
        }
        // SAFETY: field accesses of a live request and its connection's event.
        let noticed = unsafe {
            (*self.raw()).read_event_handler = Some(readable);
            let c = (*self.raw()).connection;
            let read = (*c).read;
            if self.is_stream() {
                // what comes for it, comes over a connection that nginx watches
                (*c).error() != 0
            } else {
                if self.watches_client() && (*read).active() == 0 {
                    ffi::ngx_handle_read_event(read, 0);
                }
                (*read).ready() != 0 || (*read).pending_eof() != 0
            }
        };
        if noticed && self.watches_client() {
            let request = *self;
            let check = Posted::now(Box::new(move || request.look_for_client()));
            Clients::of(ctx).check.set(Some(check));
        }
    }

    /// Wakes the thread that waits to write to the client; whether there is one.
    pub(super) fn wake_client_writer(&self) -> bool {
        self.client_stream().is_some_and(|stream| stream.wake(Side::Write))
    }

    fn client_stream(&self) -> Option<Shared<Stream>> {
        self.ctx_if_any()?.client.get()?.stream.borrow().upgrade()
    }

    fn look_for_client(self) {
        let Some(ctx) = self.ctx_if_any() else { return };
        if self.watches_client() && !Clients::of(ctx).gone.get() && self.client_is_gone() {
            Clients::of(ctx).gone.set(true);
            self.log(Level::Info, "client prematurely closed connection");
            run::client_gone(self);
        }
    }

    /// Whether the client has closed its side, and sent nothing before that was not read.
    fn client_is_gone(&self) -> bool {
        // SAFETY: field accesses of a live connection and its event; the byte is only looked at.
        unsafe {
            let c = (*self.raw()).connection;
            if (*c).error() != 0 {
                return true;
            }
            if self.is_stream() {
                return false;
            }
            let mut byte = 0u8;
            let n = libc::recv((*c).fd, ptr::from_mut(&mut byte).cast(), 1, libc::MSG_PEEK);
            match n {
                0 => (*(*c).read).set_eof(1),
                1 => return false,
                _ if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => return false,
                _ => (*(*c).read).set_error(1),
            }
            true
        }
    }
}

/// The read event handler of requests whose script waits.
unsafe extern "C" fn readable(r: *mut ngx_http_request_t) {
    // SAFETY: nginx calls a request's handler while the request lives.
    let request = unsafe { Request::new(r) };
    crate::native::guard(|| {
        if request.client_stream().is_some_and(|stream| stream.wake(Side::Read)) {
            return;
        }
        if request.watches_client() {
            request.look_for_client();
        } else {
            // SAFETY: as above.
            unsafe { ffi::ngx_http_block_reading(r) };
        }
    });
}
