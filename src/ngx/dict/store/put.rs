//! Storing: set, add, replace, delete and incr.

use core::sync::atomic::Ordering::Relaxed;

use super::item::{total, words, LIST, NUMBER};
use super::{Arena, At, Key, Refusal, Store, Time, Value, NONE};

/// How often the oldest item is given up for a new one before there is no memory.
const EVICTIONS: u32 = 30;

/// When a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    Absent,
    Present,
}

/// What to store.
pub struct Put<'a> {
    pub key: &'a [u8],
    pub value: Value<'a>,
    /// Milliseconds until it expires, 0 is never.
    pub ttl: u64,
    pub flags: u32,
    pub when: When,
    /// Whether items that have not expired stay, at the price of refusing this one.
    pub safe: bool,
}

/// What `incr` starts from when there is no number yet.
pub struct Init {
    pub from: f64,
    pub ttl: u64,
}

/// What was stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stored<T> {
    pub result: Result<T, Refusal>,
    /// Whether items that had not expired had to go.
    pub forcible: bool,
}

fn plain<T>(result: Result<T, Refusal>) -> Stored<T> {
    Stored { result, forcible: false }
}

fn expires(now: Time, ttl: u64) -> u64 {
    match ttl {
        0 => 0,
        // far enough, and exact as a Lua number of milliseconds
        _ => now.ms.saturating_add(ttl).min(1 << 53),
    }
}

impl<A: Arena> Store<A> {
    pub fn put(&self, put: &Put, now: Time) -> Stored<()> {
        if put.value == Value::Nil && (put.when != When::Always || put.safe) {
            return plain(Err(Refusal::NilValue));
        }
        let key = self.key_for(put.key);
        self.reap(now);
        let found = self.find(&key);
        let alive = found.filter(|at| !self.item(*at).is_expired(now));
        match (put.when, alive) {
            (When::Absent, Some(at)) => {
                self.touch(at, now);
                return plain(Err(Refusal::Exists));
            }
            (When::Present, None) => return plain(Err(Refusal::NotFound)),
            _ => {}
        }
        match (found, put.value) {
            (None, Value::Nil) => plain(Ok(())),
            (Some(at), Value::Nil) => {
                self.change(|| self.remove(at));
                plain(Ok(()))
            }
            (Some(at), _) if self.overwrite(at, put, now) => plain(Ok(())),
            _ => self.change(|| self.place(found, &key, put, now)),
        }
    }

    /// Puts the value into the item at `at`, if that has room for it.
    fn overwrite(&self, at: At, put: &Put, now: Time) -> bool {
        let (item, key_len) = (self.item(at), put.key.len());
        if item.is(LIST) {
            return false;
        }
        let expires = expires(now, put.ttl);
        let same = (item.expires.load(Relaxed), item.flags.load(Relaxed)) == (expires, put.flags);
        if let (Value::Number(n), true, true) = (put.value, same, item.is(NUMBER)) {
            // one word: nothing can be torn
            self.number(at, key_len).store(n.to_bits(), Relaxed);
            self.touch(at, now);
            return true;
        }
        let (old, new) = (item.value_len.load(Relaxed) as usize, put.value.len());
        let room = |value_len| self.arena().room(total(key_len, value_len));
        if words(old) != words(new) && room(old) != room(new) {
            return false;
        }
        self.change(|| {
            item.expires.store(expires, Relaxed);
            item.flags.store(put.flags, Relaxed);
            self.write_value(at, put.value);
        });
        self.touch(at, now);
        true
    }

    /// Puts the value into an item of its own, in place of `old`. Inside a change.
    fn place(&self, old: Option<At>, key: &Key, put: &Put, now: Time) -> Stored<()> {
        if let Some(at) = old {
            self.remove(at);
        }
        let n = total(put.key.len(), put.value.len());
        let (at, forcible) = self.alloc_item(n, put.safe, now);
        let Some(at) = at else { return Stored { result: Err(Refusal::NoMemory), forcible } };
        self.fill(at, key, put.value, expires(now, put.ttl), put.flags);
        self.insert(at, key, now);
        Stored { result: Ok(()), forcible }
    }

    /// Memory for an item of `n` bytes, and whether others had to go for it. Inside a change.
    fn alloc_item(&self, n: usize, safe: bool, now: Time) -> (Option<At>, bool) {
        let mut at = self.alloc(n);
        let mut forcible = false;
        if at.is_some() || safe {
            return (at, forcible);
        }
        for _ in 0..EVICTIONS {
            // one by force, and up to two more that have expired
            for i in 0..3 {
                let oldest = self.head().oldest.load(Relaxed);
                if oldest == NONE {
                    break;
                }
                let expired = self.item(oldest).is_expired(now);
                if i > 0 && !expired {
                    break;
                }
                forcible |= !expired;
                self.remove(oldest);
            }
            at = self.alloc(n);
            if at.is_some() || self.head().oldest.load(Relaxed) == NONE {
                break;
            }
        }
        (at, forcible)
    }

    pub(super) fn fill(&self, at: At, key: &Key, value: Value, expires: u64, flags: u32) {
        let item = self.item(at);
        item.key_len.store(key.text.len() as u16, Relaxed);
        item.tag.store(key.tag(), Relaxed);
        item.expires.store(expires, Relaxed);
        item.flags.store(flags, Relaxed);
        self.write_key(at, key);
        self.write_value(at, value);
    }

    /// Adds `by` to the number under `key`; without one, to what `init` says.
    pub fn incr(&self, key: &[u8], by: f64, init: Option<&Init>, now: Time) -> Stored<f64> {
        let hashed = self.key_for(key);
        self.reap(now);
        let found = self.find(&hashed);
        if let Some(at) = found.filter(|at| !self.item(*at).is_expired(now)) {
            if !self.item(at).is(NUMBER) {
                return plain(Err(Refusal::NotNumber));
            }
            let number = self.number(at, key.len());
            let sum = f64::from_bits(number.load(Relaxed)) + by;
            // one word: nothing can be torn
            number.store(sum.to_bits(), Relaxed);
            self.touch(at, now);
            return plain(Ok(sum));
        }
        let Some(init) = init else { return plain(Err(Refusal::NotFound)) };
        let sum = init.from + by;
        let put =
            Put { key, value: Value::Number(sum), ttl: init.ttl, flags: 0, when: When::Always, safe: false };
        if found.is_some_and(|at| self.overwrite(at, &put, now)) {
            return plain(Ok(sum));
        }
        let stored = self.change(|| self.place(found, &hashed, &put, now));
        Stored { result: stored.result.map(|()| sum), forcible: stored.forcible }
    }

    /// Milliseconds until the item under `key` expires; 0 is never, `None` that there is none.
    pub fn ttl(&self, key: &[u8], now: Time) -> Option<u64> {
        let at = self.find_alive(key, now)?;
        match self.item(at).expires.load(Relaxed) {
            0 => Some(0),
            expires => Some(expires - now.ms),
        }
    }

    /// Sets how many milliseconds from now the item under `key` expires, 0 is never. Whether there is one.
    pub fn expire(&self, key: &[u8], ttl: u64, now: Time) -> bool {
        let Some(at) = self.find_alive(key, now) else { return false };
        self.item(at).expires.store(expires(now, ttl), Relaxed);
        true
    }

    pub(super) fn find_alive(&self, key: &[u8], now: Time) -> Option<At> {
        self.find(&self.key_for(key)).filter(|at| !self.item(*at).is_expired(now))
    }
}
