//! Connecting a socket: from its pool, at once, or after a wait for a place, a name, a peer.

use std::rc::Rc;

use super::{Doing, Tcp};
use crate::ngx::{clock, Endpoint, Interrupted, Kind, Stream};
use crate::run::{Ends, Host, Owned};
use crate::socket::error::Reason;
use crate::socket::pool::{Asked, Pools};
use crate::socket::SocketError;

/// Where to connect, and what pool the connection belongs to.
pub struct Connect<'a> {
    pub host: &'a [u8],
    pub port: u16,
    pub pool: &'a [u8],
    /// Given when the script asked for a pool of its own making.
    pub pool_size: Option<usize>,
    pub backlog: Option<usize>,
}

/// While it lives, a connection is on its way.
struct AwaitsPeer(Rc<Tcp>);

impl AwaitsPeer {
    fn begin(tcp: &Rc<Tcp>) -> AwaitsPeer {
        tcp.awaits_peer.set(true);
        AwaitsPeer(Rc::clone(tcp))
    }
}

impl Drop for AwaitsPeer {
    fn drop(&mut self) {
        self.0.awaits_peer.set(false);
    }
}

impl Tcp {
    /// Connects as far as that takes no time: true when it is done, else [`Tcp::connect_slowly`] goes on.
    pub fn connect_at_once(
        self: &Rc<Self>,
        owned: &Rc<Owned>,
        what: &Connect<'_>,
        pools: &'static Pools,
    ) -> Result<Option<Asked>, SocketError> {
        if self.place.borrow().as_ref().is_some_and(|place| !place.is_of(owned)) {
            return Err(SocketError::NotOurs);
        }
        self.refuse(&[Doing::Connecting, Doing::Reading, Doing::Writing])?;
        self.drop_stream();
        self.place.replace(Some(owned.add(Rc::downgrade(&(Rc::clone(self) as Rc<dyn Ends>)))));
        let size = match what.backlog {
            Some(_) => what.pool_size.or(Some(self.settings().pool_size())),
            None => what.pool_size,
        };
        let pool = match size {
            Some(size) => Some(pools.get(what.pool, size, what.backlog)),
            None => pools.find(what.pool),
        };
        let Some(pool) = pool else {
            self.pool_name.replace(what.pool.to_vec());
            return Ok(Some(Asked::Free));
        };
        match pool.ask() {
            Asked::Reused(leave, stream, reused) => {
                self.adopt(stream, Some(leave), reused);
                Ok(None)
            }
            asked => Ok(Some(asked)),
        }
    }

    /// Connects after what its pool has `asked`; a name is looked up.
    pub async fn connect_slowly(
        self: Rc<Self>,
        to: Result<Endpoint, (Vec<u8>, u16)>,
        asked: Asked,
        host: Host,
    ) -> Result<(), SocketError> {
        let timeout = self.connect_timeout.get().unwrap_or(self.settings().connect_timeout());
        let asked = match asked {
            Asked::Full(pool) => match pool.wait(timeout).await {
                Err(SocketError::Timeout) => {
                    let late = "lua tcp socket queued connect timed out, when trying to connect to";
                    match to {
                        Ok(to) => self.log(&host, format_args!("{late} {to}")),
                        Err((name, port)) => {
                            self.log(&host, format_args!("{late} {}:{port}", String::from_utf8_lossy(&name)));
                        }
                    }
                    return Err(SocketError::Timeout);
                }
                given => given?,
            },
            asked => asked,
        };
        let leave = match asked {
            Asked::Reused(leave, stream, reused) => {
                self.adopt(stream, Some(leave), reused);
                return Ok(());
            }
            Asked::Make(leave) => Some(leave),
            Asked::Free | Asked::Full(_) => None,
        };
        let endpoint = match to {
            Ok(endpoint) => endpoint,
            Err((name, _)) if name.is_empty() => return Err(SocketError::NoHost),
            Err((name, port)) => {
                let all = self.location.resolve(&name).await?;
                let one = all.get(clock::random() as usize % all.len().max(1)).ok_or(SocketError::Closed)?;
                Endpoint::Ip((*one, port).into())
            }
        };
        host.debug(format_args!("lua tcp socket connect timeout: {}", timeout.as_millis()));
        let (stream, done) = Stream::connect(&endpoint, self.local.borrow().as_ref(), Kind::Tcp)?;
        if !done {
            let _awaits = AwaitsPeer::begin(&self);
            match stream.writable(timeout).await {
                Ok(()) => {
                    if let Err(e) = stream.connected() {
                        let (code, why) = (e.raw_os_error().unwrap_or_default(), Reason(e));
                        let failed =
                            format_args!("connect() failed ({code}: {why}), when connecting to {endpoint}");
                        self.log(&host, failed);
                        return Err(SocketError::Io(why));
                    }
                }
                Err(Interrupted::TimedOut) => {
                    let message = "lua tcp socket connect timed out, when connecting to";
                    self.log(&host, format_args!("{message} {endpoint}"));
                    return Err(SocketError::Timeout);
                }
                Err(Interrupted::Closed) => return Err(SocketError::Closed),
            }
        }
        if self.location.tcp_nodelay() && matches!(endpoint, Endpoint::Ip(_)) {
            host.debug(format_args!("lua socket tcp_nodelay"));
            stream.set_option(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
        }
        self.adopt(stream, leave, 0);
        Ok(())
    }
}
