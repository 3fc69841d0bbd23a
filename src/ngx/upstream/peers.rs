//! What nginx's balancers know of their peers, and the two things about a peer that may change at run time: whether it
//! is down, and its weight.
//!
//! With `zone` the peers lie in shared memory and all workers see a change; without, it holds for this worker.
//! Consistent hashing and `random` lay out weights when they start: they see a peer go down, but not a new weight.

use core::ptr::NonNull;

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
    pub id: PeerId,
    /// The address, as `$upstream_addr` shows it.
    pub name: &'a [u8],
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
            let mut index = 0;
            while let Some(p) = next {
                f(&view(p, PeerId { backup, index }));
                next = p.next.as_ref();
                index += 1;
            }
        }
        Ok(())
    }

    /// Takes a peer out of balancing, or puts it back with a clean record.
    pub fn set_down(&self, id: PeerId, down: bool) -> Result<(), PeerError> {
        self.change(id, |_, peer| {
            peer.down = ngx_uint_t::from(down);
            if !down {
                peer.fails = 0;
            }
        })
    }

    /// Has a peer take no more than so many requests at a time; 0 is as many as come.
    pub fn set_max_conns(&self, id: PeerId, most: usize) -> Result<(), PeerError> {
        self.change(id, |_, peer| peer.max_conns = most)
    }

    /// Gives a peer another weight.
    pub fn set_weight(&self, id: PeerId, weight: u16) -> Result<(), PeerError> {
        if weight == 0 {
            return Err(PeerError::BadWeight);
        }
        self.change(id, |group, peer| {
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
        id: PeerId,
        f: impl FnOnce(&mut ngx_http_upstream_rr_peers_t, &mut ngx_http_upstream_rr_peer_t),
    ) -> Result<(), PeerError> {
        let group = self.group(id.backup)?;
        let _lock = Lock::write(group);
        // SAFETY: the write lock keeps all others off the list and its peers.
        unsafe {
            let mut next = (*group.as_ptr()).peer;
            for _ in 0..id.index {
                next = next.as_ref().ok_or(PeerError::BadId)?.next;
            }
            f(&mut *group.as_ptr(), next.as_mut().ok_or(PeerError::BadId)?);
        }
        Ok(())
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
unsafe fn view<'a>(p: &ngx_http_upstream_rr_peer_t, id: PeerId) -> Peer<'a> {
    // SAFETY: the caller vouches for the texts.
    let name = unsafe { bytes(p.name) };
    Peer {
        id,
        name,
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
