//! What goes over all items: flushing, and listing keys.

use core::sync::atomic::Ordering::Relaxed;

use super::{Arena, At, Refusal, Store, Time, NONE};

impl<A: Arena> Store<A> {
    /// The items, those not used for longest first. The next is looked up before the last one may be removed.
    fn items(&self) -> impl Iterator<Item = At> + '_ {
        let mut at = self.head().oldest.load(Relaxed);
        core::iter::from_fn(move || {
            let this = (at != NONE).then_some(at)?;
            at = self.item(this).newer.load(Relaxed);
            Some(this)
        })
    }

    /// Lets all items expire now.
    pub fn flush_all(&self) {
        for at in self.items() {
            self.item(at).expires.store(1, Relaxed);
        }
    }

    /// Removes up to `max` expired items, 0 for all of them; returns how many.
    pub fn flush_expired(&self, max: usize, now: Time) -> usize {
        let mut removed = 0;
        for at in self.items() {
            if self.item(at).is_expired(now) {
                self.change(|| self.remove(at));
                removed += 1;
                if removed == max {
                    break;
                }
            }
        }
        removed
    }

    /// Up to `max` keys, 0 for all of them: each as two bytes of length (low one first) and its text.
    pub fn keys(&self, max: usize, now: Time, out: &mut Vec<u8>) -> Result<usize, Refusal> {
        let max = if max == 0 { usize::MAX } else { max };
        let alive = || self.items().filter(|at| !self.item(*at).is_expired(now)).take(max);
        out.clear();
        let bytes = alive().map(|at| 2 + self.item(at).key_len()).sum();
        out.try_reserve(bytes).map_err(|_| Refusal::NoMemory)?;
        let mut count = 0;
        for at in alive() {
            out.extend_from_slice(&(self.item(at).key_len() as u16).to_le_bytes());
            out.extend_from_slice(self.key(at));
            count += 1;
        }
        Ok(count)
    }

    /// Whether chains and queue agree with each other; says what is wrong. For tests.
    #[allow(dead_code)]
    pub fn check(&self) -> Result<usize, String> {
        let head = self.head();
        let (mut queued, mut newer) = (0, NONE);
        let mut at = head.newest.load(Relaxed);
        while at != NONE {
            let item = self.item(at);
            if item.newer.load(Relaxed) != newer {
                return Err(format!("item {at} is not linked back"));
            }
            if self.find(&self.key_for(self.key(at))) != Some(at) {
                return Err(format!("item {at} is not in its chain"));
            }
            queued += 1;
            (newer, at) = (at, item.older.load(Relaxed));
            if queued > self.arena().size() / 64 {
                return Err("the queue has a ring".into());
            }
        }
        let mut chained = 0;
        for i in 0..=self.mask {
            let mut at = self.chain(u64::from(i)).load(Relaxed);
            while at != NONE {
                chained += 1;
                at = self.item(at).next.load(Relaxed);
            }
        }
        let count = head.count.load(Relaxed) as usize;
        if head.oldest.load(Relaxed) != newer || queued != count || chained != count {
            return Err(format!("{queued} queued, {chained} chained, {count} counted"));
        }
        Ok(count)
    }
}
