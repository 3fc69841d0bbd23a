//! nginx's own peers of an upstream, looked at and counted on without its locks.
//!
//! nginx changes a list of peers only where names are resolved while it runs (`resolve`, since 1.27.3): then a counter of
//! the list changes, and a peer that has gone is freed when nobody refers to it any more. A roster refers to all of its
//! peers until it is dropped, so whoever holds the roster may use them. The counts of a peer are changed by atomic
//! operations here; nginx's own balancers, which change them under locks, do not run in an upstream that uses this.

use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use ::ngx::ffi::{
    self, ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t, ngx_str_t, sockaddr, socklen_t,
};

use super::super::text::bytes;
use super::peers::Lock;
use super::Upstream;

/// The peers of an upstream at one time: the primary ones first, then the backup ones.
pub struct Roster {
    peers: Vec<(NonNull<ngx_http_upstream_rr_peer_t>, bool)>,
    /// Primary and backup.
    groups: [Option<NonNull<ngx_http_upstream_rr_peers_t>>; 2],
    /// What the counter said.
    #[cfg(nginx_resolving_peers)]
    config: usize,
    /// Another one is in its place: what it refers to is to be let go.
    is_replaced: Cell<bool>,
}

impl Roster {
    /// Those that `upstream` has now.
    pub fn of(upstream: Upstream) -> Roster {
        let mut roster = Roster {
            peers: Vec::new(),
            groups: [false, true].map(|backup| upstream.group(backup).ok()),
            #[cfg(nginx_resolving_peers)]
            config: 0,
            is_replaced: Cell::new(false),
        };
        for (group, backup) in roster.groups.into_iter().zip([false, true]) {
            let Some(group) = group else { continue };
            let _lock = Lock::write(group);
            #[cfg(nginx_resolving_peers)]
            if !backup {
                // both groups have the same counter
                roster.config = config(group);
            }
            // SAFETY: the list is consistent under the lock.
            unsafe {
                let mut next = (*group.as_ptr()).peer;
                while let Some(peer) = NonNull::new(next) {
                    #[cfg(nginx_resolving_peers)]
                    refs(peer).fetch_add(1, Relaxed);
                    roster.peers.push((peer, backup));
                    next = (*peer.as_ptr()).next;
                }
            }
        }
        roster
    }

    /// Whether nginx's list is still this one.
    #[inline]
    pub fn is_current(&self) -> bool {
        #[cfg(nginx_resolving_peers)]
        return self.groups[0].is_none_or(|group| config(group) == self.config);
        #[cfg(not(nginx_resolving_peers))]
        true
    }

    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// How many are no backup peers.
    pub fn primaries(&self) -> usize {
        self.peers.iter().take_while(|(_, backup)| !backup).count()
    }

    /// Peer `i`.
    #[inline]
    pub fn peer(&self, i: usize) -> Option<Listed<'_>> {
        let (peer, _) = self.peers.get(i)?;
        // SAFETY: the roster's reference keeps the peer.
        Some(unsafe { Listed(&*peer.as_ptr()) })
    }

    /// From now on nobody begins to use it; when the last user drops it, nginx may free the peers.
    pub fn replace(&self) {
        self.is_replaced.set(true);
    }
}

#[cfg(nginx_resolving_peers)]
#[inline]
fn config(group: NonNull<ngx_http_upstream_rr_peers_t>) -> usize {
    // SAFETY: the list lives as long as its configuration; its counter is null or lies in the same shared memory.
    unsafe {
        let counter = (*group.as_ptr()).config;
        if counter.is_null() {
            0
        } else {
            AtomicUsize::from_ptr(counter).load(Relaxed)
        }
    }
}

/// # Safety
/// The peer must be alive.
#[cfg(nginx_resolving_peers)]
unsafe fn refs<'a>(peer: NonNull<ngx_http_upstream_rr_peer_t>) -> &'a AtomicUsize {
    // SAFETY: the caller vouches for the peer.
    unsafe { AtomicUsize::from_ptr(&raw mut (*peer.as_ptr()).refs) }
}

#[cfg(nginx_resolving_peers)]
impl Drop for Roster {
    fn drop(&mut self) {
        // at the end of a worker nginx's memory goes as a whole, and may be gone already
        if !self.is_replaced.get() {
            return;
        }
        for (group, of_backup) in self.groups.into_iter().zip([false, true]) {
            let Some(group) = group else { continue };
            let _lock = Lock::write(group);
            for (peer, _) in self.peers.iter().filter(|(_, backup)| *backup == of_backup) {
                // SAFETY: the reference that is let go here has kept the peer; the lock keeps others from the last one.
                unsafe {
                    let last = refs(*peer).fetch_sub(1, Relaxed) == 1;
                    if last && peer.as_ref().zombie() != 0 {
                        free(group, *peer);
                    }
                }
            }
        }
    }
}

/// Frees a peer that is on no list any more, with all that it owns.
///
/// # Safety
/// Nobody may refer to it, and the lock of its list must be held.
#[cfg(nginx_resolving_peers)]
unsafe fn free(group: NonNull<ngx_http_upstream_rr_peers_t>, peer: NonNull<ngx_http_upstream_rr_peer_t>) {
    // SAFETY: what a peer of a shared list owns lies in the list's slab.
    unsafe {
        let (pool, p) = ((*group.as_ptr()).shpool, peer.as_ref());
        if pool.is_null() {
            return;
        }
        let mut owned = vec![p.sockaddr.cast(), p.name.data.cast(), p.server.data.cast()];
        #[cfg(upstream_tls)]
        owned.push(p.ssl_session);
        #[cfg(upstream_sid)]
        owned.push(p.sid.data.cast());
        for memory in owned {
            if !core::ptr::eq(memory, core::ptr::null()) {
                ffi::ngx_slab_free(pool, memory);
            }
        }
        ffi::ngx_slab_free(pool, peer.as_ptr().cast());
    }
}

/// One of nginx's peers.
#[derive(Clone, Copy)]
pub struct Listed<'a>(&'a ngx_http_upstream_rr_peer_t);

impl<'a> Listed<'a> {
    #[inline]
    fn raw(self) -> *mut ngx_http_upstream_rr_peer_t {
        core::ptr::from_ref(self.0).cast_mut()
    }

    /// A count that others change.
    #[inline]
    fn count(self, field: *mut usize) -> &'a AtomicUsize {
        // SAFETY: `field` is one of the peer's, which lives for `'a`.
        unsafe { AtomicUsize::from_ptr(field) }
    }

    /// A time that others change.
    #[inline]
    fn time(self, field: *mut i64) -> &'a AtomicI64 {
        // SAFETY: as above.
        unsafe { AtomicI64::from_ptr(field) }
    }

    #[inline]
    fn fails(self) -> &'a AtomicUsize {
        // SAFETY: a field's address.
        self.count(unsafe { &raw mut (*self.raw()).fails })
    }

    #[inline]
    fn checked(self) -> &'a AtomicI64 {
        // SAFETY: a field's address.
        self.time(unsafe { &raw mut (*self.raw()).checked })
    }

    #[inline]
    fn accessed(self) -> &'a AtomicI64 {
        // SAFETY: a field's address.
        self.time(unsafe { &raw mut (*self.raw()).accessed })
    }

    #[inline]
    fn conns_count(self) -> &'a AtomicUsize {
        // SAFETY: a field's address.
        self.count(unsafe { &raw mut (*self.raw()).conns })
    }

    /// The address as text.
    pub fn name(self) -> &'a [u8] {
        // SAFETY: the text lives as long as the peer.
        unsafe { bytes(self.0.name) }
    }

    #[inline]
    pub fn weight(self) -> u16 {
        // SAFETY: a field's address.
        let weight = self.count(unsafe { (&raw mut (*self.raw()).weight).cast() }).load(Relaxed);
        weight.clamp(1, u16::MAX.into()) as u16
    }

    #[inline]
    pub fn is_down(self) -> bool {
        // SAFETY: a field's address.
        self.count(unsafe { &raw mut (*self.raw()).down }).load(Relaxed) != 0
    }

    /// Its name in `sticky`.
    #[cfg(upstream_sid)]
    pub fn sid(self) -> &'a [u8] {
        // SAFETY: the text lives as long as the peer.
        unsafe { bytes(self.0.sid) }
    }

    /// It is down for all but those clients that were with it before.
    #[cfg(upstream_sid)]
    pub fn drains(self) -> bool {
        /// What `sticky` reads in `down`.
        const DRAINING: usize = 8;
        // SAFETY: a field's address.
        self.count(unsafe { &raw mut (*self.raw()).down }).load(Relaxed) == DRAINING
    }

    /// Requests that it has, as nginx counts them: in this worker, unless the upstream is shared.
    #[inline]
    pub fn conns(self) -> usize {
        self.conns_count().load(Relaxed)
    }

    /// 0 is no limit.
    #[inline]
    pub fn max_conns(self) -> usize {
        self.0.max_conns
    }

    /// It has failed `max_fails` times, and `fail_timeout` is not over.
    #[inline]
    pub fn has_failed(self) -> bool {
        let (fails, most) = (self.fails().load(Relaxed), self.0.max_fails);
        fails != 0
            && most != 0
            && fails >= most
            && now_s() - self.checked().load(Relaxed) <= self.0.fail_timeout
    }

    /// For how long that lasts, rounded up to the second after it: nginx counts whole ones.
    pub fn fail_timeout_ms(self) -> u64 {
        (u64::try_from(self.0.fail_timeout).unwrap_or(0).saturating_add(1)).saturating_mul(1000)
    }

    /// It was chosen for an attempt.
    #[inline]
    pub(super) fn begin(self) {
        self.conns_count().fetch_add(1, Relaxed);
        let (now, checked) = (now_s(), self.checked().load(Relaxed));
        if now - checked > self.0.fail_timeout {
            // of a peer that had failed, this is the attempt that shows whether it is well again
            self.checked().store(now, Relaxed);
        }
    }

    /// The attempt is over. True when the peer had failed before, and answers again.
    #[inline]
    pub(super) fn end(self) -> bool {
        self.leave();
        let fails = self.fails().load(Relaxed);
        if fails == 0 || self.accessed().load(Relaxed) >= self.checked().load(Relaxed) {
            return false;
        }
        self.fails().store(0, Relaxed);
        self.0.max_fails != 0 && fails >= self.0.max_fails
    }

    /// The attempt has failed. True when the peer is to be spared for some time.
    #[cold]
    pub(super) fn fail(self) -> bool {
        self.leave();
        let (now, fails) = (now_s(), self.fails().fetch_add(1, Relaxed) + 1);
        self.accessed().store(now, Relaxed);
        self.checked().store(now, Relaxed);
        self.0.max_fails != 0 && fails >= self.0.max_fails
    }

    fn leave(self) {
        let less = |conns: usize| conns.checked_sub(1);
        // it was counted before the list was made anew
        let _ = self.conns_count().fetch_update(Relaxed, Relaxed, less);
    }

    /// Forgets that it failed.
    pub(super) fn forgive(self) {
        self.fails().store(0, Relaxed);
    }

    pub(super) fn address(self) -> (*mut sockaddr, socklen_t, *mut ngx_str_t) {
        // SAFETY: a field's address.
        (self.0.sockaddr, self.0.socklen, unsafe { &raw mut (*self.raw()).name })
    }

    pub(super) fn as_ptr(self) -> *mut ngx_http_upstream_rr_peer_t {
        self.raw()
    }
}

/// nginx's time of day, as its balancers have it.
#[inline]
fn now_s() -> i64 {
    // SAFETY: nginx sets its time before any module's code runs.
    unsafe { (*ffi::ngx_cached_time).sec }
}
