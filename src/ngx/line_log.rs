//! A log of lines, in a file that nginx reopens, or by syslog. Writing never blocks.

use core::cell::Cell;
use core::ptr::NonNull;
use std::io;

use ::ngx::ffi;

use super::conf::{Cf, ConfError};
use super::text::{bytes, to_pool};

/// Longest line that is sent as a datagram.
const MOST_DATAGRAM: usize = 60_000;
/// `<191>Jan 01 00:00:00 `, a host name, a tag of at most 32, `: `.
const HEADER: usize = 256 + 128;

/// Where lines go; it lives in the cycle's pool, as what it points at does.
pub struct LineLog {
    sink: Sink,
    /// The file's descriptor when it was last written to.
    seen: Cell<i32>,
}

enum Sink {
    File(NonNull<ffi::ngx_open_file_t>),
    Syslog(NonNull<ffi::ngx_syslog_peer_t>),
}

impl Cf {
    /// A file that nginx opens with the configuration and reopens on USR1.
    pub fn line_log_file(&mut self, path: &str) -> Result<LineLog, ConfError> {
        // SAFETY: the name is copied into the cycle's pool, where the list of open files lives.
        unsafe {
            let mut name = to_pool((*self.raw()).pool, path.as_bytes()).ok_or("out of memory")?;
            let file = ffi::ngx_conf_open_file((*self.raw()).cycle, &raw mut name);
            let file = NonNull::new(file).ok_or("out of memory")?;
            Ok(LineLog { sink: Sink::File(file), seen: Cell::new(-1) })
        }
    }

    /// The syslog server that the first argument of the directive names, in nginx's own grammar; nginx logs what is wrong with it.
    pub fn line_log_syslog(&mut self) -> Result<LineLog, ConfError> {
        // SAFETY: the peer lives in the cycle's pool and nginx closes its socket with it. It reads the directive's arguments.
        unsafe {
            let peer = ffi::ngx_pcalloc((*self.raw()).pool, size_of::<ffi::ngx_syslog_peer_t>());
            let peer = NonNull::new(peer.cast::<ffi::ngx_syslog_peer_t>()).ok_or("out of memory")?;
            if !ffi::ngx_syslog_process_conf(self.raw(), peer.as_ptr()).is_null() {
                return Err("invalid syslog settings".into());
            }
            Ok(LineLog { sink: Sink::Syslog(peer), seen: Cell::new(-1) })
        }
    }
}

impl LineLog {
    /// What messages call it.
    pub fn name(&self) -> String {
        match self.sink {
            // SAFETY: the name lives in the cycle's pool.
            Sink::File(file) => String::from_utf8_lossy(unsafe { bytes((*file.as_ptr()).name) }).into_owned(),
            Sink::Syslog(peer) => {
                // SAFETY: as above.
                let server = unsafe { bytes((*peer.as_ptr()).server.name) };
                format!("syslog:server={}", String::from_utf8_lossy(server))
            }
        }
    }

    /// Whether a failure may be noticed late and for single lines only, as with datagrams.
    pub fn is_lossy(&self) -> bool {
        matches!(self.sink, Sink::Syslog(_))
    }

    /// Whether the file is another one than at the last writing: half a line is not continued there.
    pub fn was_reopened(&self) -> bool {
        match self.sink {
            // SAFETY: the record lives as long as the cycle.
            Sink::File(file) => self.seen.get() != unsafe { (*file.as_ptr()).fd },
            Sink::Syslog(_) => false,
        }
    }

    /// Writes as much of a line as there is room for now; a datagram takes all or nothing.
    pub fn write(&self, line: &[u8]) -> io::Result<usize> {
        match self.sink {
            Sink::File(file) => {
                // SAFETY: as above.
                let fd = unsafe { (*file.as_ptr()).fd };
                self.seen.set(fd);
                write_now(fd, line)
            }
            Sink::Syslog(peer) => send(peer, line),
        }
    }
}

/// Writes to a descriptor that may block, unless it would.
fn write_now(fd: i32, line: &[u8]) -> io::Result<usize> {
    let mut piece = line;
    // SAFETY: the structures are ours; the descriptor is open, and if it is not, the calls say so.
    unsafe {
        let mut info: libc::stat = core::mem::zeroed();
        if libc::fstat(fd, &raw mut info) != 0 {
            return Err(io::Error::last_os_error());
        }
        if info.st_mode & libc::S_IFMT != libc::S_IFREG {
            let mut ready = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
            if libc::poll(&raw mut ready, 1, 0) < 1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            // a pipe that is writable takes so much without waiting (pipe(7))
            piece = &line[..line.len().min(libc::PIPE_BUF)];
        }
        let n = libc::write(fd, piece.as_ptr().cast(), piece.len());
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }
}

fn send(peer: NonNull<ffi::ngx_syslog_peer_t>, line: &[u8]) -> io::Result<usize> {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let mut message = vec![0; HEADER];
    // SAFETY: the header is of bounded length: a host name has at most 255 bytes (NGX_MAXHOSTNAMELEN), the tag 32.
    let header = unsafe {
        let end = ffi::ngx_syslog_add_header(peer.as_ptr(), message.as_mut_ptr());
        end.offset_from_unsigned(message.as_ptr())
    };
    message.truncate(header);
    // what no datagram can hold is cut: a line that cannot be sent must not keep others from being sent
    message.extend_from_slice(&text[..text.len().min(MOST_DATAGRAM)]);
    let n = quietly(|| {
        // SAFETY: the peer lives as long as the cycle. nginx sends on a socket that does not block.
        unsafe { ffi::ngx_syslog_send(peer.as_ptr(), message.as_mut_ptr(), message.len()) }
    });
    match n {
        n if n > 0 => Ok(line.len()),
        n if n == ffi::NGX_AGAIN as isize => Err(io::ErrorKind::WouldBlock.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// nginx logs each datagram that is not sent; who calls this says so itself, once.
fn quietly<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: nginx sets `ngx_cycle` and its log before any module's code runs; one thread, and the level is put back.
    unsafe {
        let log = (*ffi::ngx_cycle).log;
        let before = core::mem::replace(&mut (*log).log_level, ffi::NGX_LOG_STDERR as usize);
        let result = f();
        (*log).log_level = before;
        result
    }
}
