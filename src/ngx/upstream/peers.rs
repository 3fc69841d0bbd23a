//! What nginx's balancers know of their peers, and the two things about a peer that may change at run time: whether it
//! is down, and its weight.
//!
//! With `zone` the peers lie in shared memory and all workers see a change; without, it holds for this worker.
//! Consistent hashing and `random` lay out weights when they start: they see a peer go down, but not a new weight.

use core::ops::Range;
use core::ptr::NonNull;
use std::collections::HashMap;

use ::ngx::ffi::{
    self, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t, ngx_http_upstream_server_t, ngx_uint_t,
};

use super::super::text::bytes;
use super::Upstream;

/// A `server` line.
#[derive(Clone, Copy)]
pub struct Server<'a>(&'a ngx_http_upstream_server_t);

impl<'a> Server<'a> {
    /// As the configuration has it.
    pub fn name(&self) -> &'a [u8] {
        // SAFETY: the text lives in the configuration's pool.
        unsafe { bytes(self.0.name) }
    }

    /// The addresses that the name had when the configuration was read.
    pub fn addresses(&self) -> impl Iterator<Item = &'a [u8]> {
        let s = self.0;
        // SAFETY: `naddrs` addresses, which live in the configuration's pool.
        (0..s.naddrs).map(|i| unsafe { bytes((*s.addrs.add(i)).name) })
    }

    pub fn weight(&self) -> usize {
        self.0.weight
    }

    pub fn max_conns(&self) -> usize {
        self.0.max_conns
    }

    pub fn max_fails(&self) -> usize {
        self.0.max_fails
    }

    /// Seconds.
    pub fn fail_timeout(&self) -> i64 {
        self.0.fail_timeout
    }

    pub fn is_backup(&self) -> bool {
        self.0.backup() != 0
    }

    pub fn is_down(&self) -> bool {
        self.0.down != 0
    }
}

/// Which peer of an upstream: its place among the primary or the backup ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerId {
    pub backup: bool,
    pub index: usize,
}

/// One peer, at the moment of the call. Its texts must be copied before the call that lent it returns.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The address, as `$upstream_addr` shows it.
    pub name: &'a [u8],
    /// What its `server` line says, or the name that an SRV record has for it.
    pub server: &'a [u8],
    pub weight: i64,
    pub effective_weight: i64,
    pub current_weight: i64,
    /// Requests that it has now; in this worker, unless the upstream is shared.
    pub conns: usize,
    pub max_conns: usize,
    pub fails: usize,
    pub max_fails: usize,
    /// Seconds.
    pub fail_timeout: i64,
    /// When it last failed, and when it was last tried after that; Unix seconds, 0 for never.
    pub accessed: i64,
    pub checked: i64,
    pub down: bool,
}

/// Which peer of an upstream, whatever its place is meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Whose {
    pub backup: bool,
    pub name: Box<[u8]>,
    /// Of several with that address, which one.
    pub nth: usize,
}

/// A peer, as it was.
pub struct Known {
    pub whose: Whose,
    pub weight: u16,
    pub max_conns: usize,
    pub down: bool,
    /// It has failed too often: until when nginx sends it nothing, in Unix seconds.
    pub rests_until: Option<i64>,
    server: Box<[u8]>,
}

/// A peer that is to change: by its place at this moment, or by its address.
pub enum Which<'a> {
    At(PeerId),
    Named(&'a Whose),
}

impl From<PeerId> for Which<'_> {
    fn from(id: PeerId) -> Self {
        Which::At(id)
    }
}

impl<'a> From<&'a Whose> for Which<'a> {
    fn from(whose: &'a Whose) -> Self {
        Which::Named(whose)
    }
}

/// Why a peer cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("no peer data")]
    NoPeers,
    #[error("no backup peers")]
    NoBackup,
    #[error("bad peer id")]
    BadId,
    #[error("a weight is at least 1")]
    BadWeight,
}

impl Upstream {
    /// Its `server` lines.
    pub fn servers(&self) -> impl Iterator<Item = Server<'_>> {
        // SAFETY: the array is null or complete, and lives in the configuration's pool.
        let servers = unsafe {
            match (*self.raw()).servers.as_ref() {
                Some(array) => array.as_slice::<ngx_http_upstream_server_t>(),
                None => &[],
            }
        };
        servers.iter().map(Server)
    }

    /// Calls `f` for each peer of one kind, in the order of their ids, with nobody changing them meanwhile. `f` must be
    /// short and must not come back here: other workers wait.
    pub fn peers(&self, backup: bool, mut f: impl FnMut(&Peer<'_>)) -> Result<(), PeerError> {
        let group = self.group(backup)?;
        let _lock = Lock::read(group);
        // SAFETY: the list is consistent under the lock; its texts live at least as long.
        unsafe {
            let mut next = (*group.as_ptr()).peer.as_ref();
            while let Some(p) = next {
                f(&view(p));
                next = p.next.as_ref();
            }
        }
        Ok(())
    }

    /// Copies of the peers of one kind, to be worked with while nobody waits. An upstream without peers of that kind, or of a balancer
    /// that keeps its own, has none here.
    pub fn known(&self, backup: bool) -> Vec<Known> {
        let (mut count, mut len) = (0, 0);
        let _ = self.peers(backup, |p| {
            count += 1;
            len += p.name.len() + p.server.len();
        });
        // room for all that is copied under the lock
        let (mut text, mut rows) = (Vec::with_capacity(len), Vec::with_capacity(count));
        let _ = self.peers(backup, |p| {
            let start = text.len();
            text.extend_from_slice(p.name);
            let middle = text.len();
            text.extend_from_slice(p.server);
            let has_failed = p.max_fails > 0 && p.fails >= p.max_fails;
            let rests_until = has_failed.then_some(p.checked + p.fail_timeout);
            rows.push((start..middle, middle..text.len(), (p.weight, p.max_conns, p.down, rests_until)));
        });
        let mut seen: HashMap<&[u8], usize> = HashMap::with_capacity(rows.len());
        let known =
            |(name, server, (weight, max_conns, down, rests_until)): (Range<usize>, Range<usize>, _)| {
                let name = &text[name];
                let count = seen.entry(name).or_default();
                let whose = Whose { backup, name: name.into(), nth: *count };
                *count += 1;
                let weight = u16::try_from(i64::max(weight, 1)).unwrap_or(u16::MAX);
                Known { whose, weight, max_conns, down, rests_until, server: Box::from(&text[server]) }
            };
        rows.into_iter().map(known).collect()
    }

    /// The `server` line that a peer comes from: by its address, or by the name that is resolved while nginx runs.
    pub fn server_of(&self, peer: &Known) -> Option<Server<'_>> {
        let whose = &peer.whose;
        let of_kind = || self.servers().filter(|s| s.is_backup() == whose.backup);
        let by_addr = || of_kind().flat_map(|s| s.addresses().filter(|a| **a == *whose.name).map(move |_| s));
        let by_name = || of_kind().find(|s| !peer.server.is_empty() && *s.name() == *peer.server);
        by_addr().nth(whose.nth).or_else(|| by_addr().next()).or_else(by_name)
    }

    /// Takes a peer out of balancing, or puts it back with a clean record.
    pub fn set_down<'a>(&self, which: impl Into<Which<'a>>, down: bool) -> Result<(), PeerError> {
        self.change(which.into(), |_, peer| {
            peer.down = ngx_uint_t::from(down);
            if !down {
                peer.fails = 0;
            }
        })
    }

    /// Has a peer take no more than so many requests at a time; 0 is as many as come.
    pub fn set_max_conns<'a>(&self, which: impl Into<Which<'a>>, most: usize) -> Result<(), PeerError> {
        self.change(which.into(), |_, peer| peer.max_conns = most)
    }

    /// Gives a peer another weight.
    pub fn set_weight<'a>(&self, which: impl Into<Which<'a>>, weight: u16) -> Result<(), PeerError> {
        if weight == 0 {
            return Err(PeerError::BadWeight);
        }
        self.change(which.into(), |group, peer| {
            let (before, now) = (peer.weight as usize, usize::from(weight));
            // hashing methods walk the peers until this sum is used up: both change together
            group.total_weight = group.total_weight - before + now;
            group.set_weighted(u32::from(group.total_weight != group.number));
            peer.weight = now as isize;
            peer.effective_weight = now as isize;
        })
    }

    fn change(
        &self,
        which: Which<'_>,
        f: impl FnOnce(&mut ngx_http_upstream_rr_peers_t, &mut ngx_http_upstream_rr_peer_t),
    ) -> Result<(), PeerError> {
        let backup = match which {
            Which::At(id) => id.backup,
            Which::Named(whose) => whose.backup,
        };
        let group = self.group(backup)?;
        let _lock = Lock::write(group);
        // SAFETY: the write lock keeps all others off the list and its peers.
        unsafe {
            let (mut next, mut index, mut alike) = ((*group.as_ptr()).peer, 0, 0);
            while let Some(peer) = next.as_mut() {
                let is_it = match which {
                    Which::At(id) => index == id.index,
                    Which::Named(whose) => {
                        let is_alike = *bytes(peer.name) == *whose.name;
                        alike += usize::from(is_alike);
                        is_alike && alike > whose.nth
                    }
                };
                if is_it {
                    f(&mut *group.as_ptr(), peer);
                    return Ok(());
                }
                (next, index) = (peer.next, index + 1);
            }
        }
        Err(PeerError::BadId)
    }

    /// Round robin's list, which all stock methods share.
    pub(super) fn group(&self, backup: bool) -> Result<NonNull<ngx_http_upstream_rr_peers_t>, PeerError> {
        // SAFETY: once upstreams are initialised, `peer.data` is null or round robin's peers: other methods keep their
        // own data elsewhere, and `zone` puts a copy in its place.
        unsafe {
            let primary = (*self.raw()).peer.data.cast::<ngx_http_upstream_rr_peers_t>();
            let primary = NonNull::new(primary).ok_or(PeerError::NoPeers)?;
            if !backup {
                return Ok(primary);
            }
            NonNull::new(primary.as_ref().next).ok_or(PeerError::NoBackup)
        }
    }
}

/// # Safety
/// The texts of `p` must live, unchanged, for `'a`.
unsafe fn view<'a>(p: &ngx_http_upstream_rr_peer_t) -> Peer<'a> {
    // SAFETY: the caller vouches for the texts.
    let (name, server) = unsafe { (bytes(p.name), bytes(p.server)) };
    Peer {
        name,
        server,
        weight: p.weight as i64,
        effective_weight: p.effective_weight as i64,
        current_weight: p.current_weight as i64,
        conns: p.conns,
        max_conns: p.max_conns,
        fails: p.fails,
        max_fails: p.max_fails,
        fail_timeout: p.fail_timeout,
        accessed: p.accessed,
        checked: p.checked,
        down: p.down != 0,
    }
}

/// nginx's own lock on a list of peers, where workers share it.
pub(super) struct Lock(#[allow(dead_code)] NonNull<ngx_http_upstream_rr_peers_t>);

#[cfg(ngx_feature = "http_upstream_zone")]
impl Lock {
    pub(super) fn read(group: NonNull<ngx_http_upstream_rr_peers_t>) -> Lock {
        // SAFETY: the list lives as long as its configuration; only shared ones have a lock that others use.
        unsafe {
            if !(*group.as_ptr()).shpool.is_null() {
                ffi::ngx_rwlock_rlock(&raw mut (*group.as_ptr()).rwlock);
            }
        }
        Lock(group)
    }

    pub(super) fn write(group: NonNull<ngx_http_upstream_rr_peers_t>) -> Lock {
        // SAFETY: as in `read`.
        unsafe {
            if !(*group.as_ptr()).shpool.is_null() {
                ffi::ngx_rwlock_wlock(&raw mut (*group.as_ptr()).rwlock);
            }
        }
        Lock(group)
    }
}

#[cfg(ngx_feature = "http_upstream_zone")]
impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: taken in `read` or `write`.
        unsafe {
            if !(*self.0.as_ptr()).shpool.is_null() {
                ffi::ngx_rwlock_unlock(&raw mut (*self.0.as_ptr()).rwlock);
            }
        }
    }
}

#[cfg(not(ngx_feature = "http_upstream_zone"))]
impl Lock {
    pub(super) fn read(group: NonNull<ngx_http_upstream_rr_peers_t>) -> Lock {
        Lock(group)
    }

    pub(super) fn write(group: NonNull<ngx_http_upstream_rr_peers_t>) -> Lock {
        Lock(group)
    }
}
