//! Chains and the queue by last use: finding, placing and removing items.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::item::LIST;
use super::{Arena, At, Key, Store, Time, NONE};

impl<A: Arena> Store<A> {
    /// The item with this key, expired or not.
    #[inline(always)]
    pub(super) fn find(&self, key: &Key) -> Option<At> {
        let mut at = self.chain(key.hash).load(Relaxed);
        while at != NONE {
            let item = self.item(at);
            if item.tag.load(Relaxed) == key.tag()
                && item.key_len() == key.text.len()
                && self.has_key(at, key)
            {
                return Some(at);
            }
            at = item.next.load(Relaxed);
        }
        None
    }

    pub(super) fn key_for<'a>(&self, text: &'a [u8]) -> Key<'a> {
        Key::new(text, self.head().seed.load(Relaxed))
    }

    /// Whether the item is so far from the front of the queue that using it should put it there.
    #[inline(always)]
    pub(super) fn is_due(&self, at: At, now: Time) -> bool {
        let (head, item) = (self.head(), self.item(at));
        let since = head.moves.load(Relaxed).wrapping_sub(item.stamp.load(Relaxed));
        since > head.count.load(Relaxed) / 4
            && (item.placed.load(Relaxed) != now.seconds || self.arena().scarce())
    }

    /// The item was used.
    #[inline(always)]
    pub(super) fn touch(&self, at: At, now: Time) {
        if self.is_due(at, now) {
            self.change(|| {
                self.dequeue(at);
                self.enqueue(at, now);
            });
        }
    }

    /// Puts an item in front of the queue.
    pub(super) fn enqueue(&self, at: At, now: Time) {
        let (head, item) = (self.head(), self.item(at));
        let moves = head.moves.load(Relaxed).wrapping_add(1);
        head.moves.store(moves, Relaxed);
        item.stamp.store(moves, Relaxed);
        item.placed.store(now.seconds, Relaxed);

        let second = head.newest.load(Relaxed);
        item.newer.store(NONE, Relaxed);
        item.older.store(second, Relaxed);
        if second == NONE {
            head.oldest.store(at, Relaxed);
        } else {
            self.item(second).newer.store(at, Relaxed);
        }
        head.newest.store(at, Relaxed);
    }

    fn dequeue(&self, at: At) {
        let (head, item) = (self.head(), self.item(at));
        let (newer, older) = (item.newer.load(Relaxed), item.older.load(Relaxed));
        match newer {
            NONE => head.newest.store(older, Relaxed),
            _ => self.item(newer).older.store(older, Relaxed),
        }
        match older {
            NONE => head.oldest.store(newer, Relaxed),
            _ => self.item(older).newer.store(newer, Relaxed),
        }
    }

    /// Makes a fresh item, whose fields are filled in, findable.
    pub(super) fn insert(&self, at: At, key: &Key, now: Time) {
        let (head, chain) = (self.head(), self.chain(key.hash));
        self.item(at).next.store(chain.load(Relaxed), Relaxed);
        chain.store(at, Relaxed);
        head.count.store(head.count.load(Relaxed) + 1, Relaxed);
        // as if a second ago: the first use after this counts as one
        self.enqueue(at, Time { seconds: now.seconds.wrapping_sub(1), ..now });
    }

    /// Removes an item and frees its memory. Inside a change.
    pub(super) fn remove(&self, at: At) {
        let (head, item) = (self.head(), self.item(at));
        let hash = self.key_for(self.key(at)).hash;
        let mut link = self.chain(hash);
        while link.load(Relaxed) != at {
            link = &self.item(link.load(Relaxed)).next;
        }
        link.store(item.next.load(Relaxed), Relaxed);
        self.dequeue(at);
        head.count.store(head.count.load(Relaxed) - 1, Relaxed);
        if item.is(LIST) {
            self.free_elements(at);
        }
        self.free(at);
    }

    pub(super) fn alloc(&self, n: usize) -> Option<At> {
        let p = self.arena().alloc(n)?;
        let place = p.as_ptr() as usize - self.base.as_ptr() as usize;
        // open() refuses arenas whose places do not fit
        Some((place / 8) as At)
    }

    pub(super) fn free(&self, at: At) {
        // SAFETY: `at` came from `alloc`.
        let p: NonNull<u8> = unsafe { self.base.add(at as usize * 8) };
        self.arena().free(p);
    }

    /// Removes up to two items from the end of the queue, if they have expired.
    #[inline(always)]
    pub(super) fn reap(&self, now: Time) {
        for _ in 0..2 {
            let oldest = self.head().oldest.load(Relaxed);
            if oldest == NONE || !self.item(oldest).is_expired(now) {
                return;
            }
            self.change(|| self.remove(oldest));
        }
    }
}
