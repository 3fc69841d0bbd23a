//! One item: its fields, then its key, then its value, each filled up to whole words.

use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicU8, Ordering::Relaxed};

use super::{Arena, Key, Store, Time};

/// Where something lies, in units of 8 bytes from the arena's start; 0 is nowhere.
pub type At = u32;
pub const NONE: At = 0;

pub const BOOLEAN: u8 = 1;
pub const NUMBER: u8 = 3;
pub const TEXT: u8 = 4;
pub const LIST: u8 = 5;

/// Longest value that is read without the lock.
const SHORT: usize = 256;

#[repr(C)]
pub struct Item {
    /// Of its chain.
    pub next: AtomicU32,
    /// Its neighbours in the queue.
    pub newer: AtomicU32,
    pub older: AtomicU32,
    /// In bytes; of a list: how many elements.
    pub value_len: AtomicU32,
    /// Milliseconds since 1970, 0 is never.
    pub expires: AtomicU64,
    pub flags: AtomicU32,
    /// `Header::moves` and the time in seconds when it was last put in front of the queue.
    pub stamp: AtomicU32,
    pub placed: AtomicU32,
    pub key_len: AtomicU16,
    pub kind: AtomicU8,
    pub tag: AtomicU8,
}

pub const HEAD: usize = size_of::<Item>();

/// What a dictionary can hold under a key, lists aside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Nil,
    Boolean(bool),
    Number(f64),
    Text(&'a [u8]),
}

impl Value<'_> {
    pub fn kind(&self) -> u8 {
        match self {
            Value::Nil => 0,
            Value::Boolean(_) => BOOLEAN,
            Value::Number(_) => NUMBER,
            Value::Text(_) => TEXT,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Value::Text(s) => s.len(),
            _ => 8,
        }
    }
}

pub const fn words(bytes: usize) -> usize {
    (bytes + 7) & !7
}

/// How much memory an item takes.
pub const fn total(key_len: usize, value_len: usize) -> usize {
    HEAD + words(key_len) + words(value_len)
}

impl Item {
    pub fn is_expired(&self, now: Time) -> bool {
        let expires = self.expires.load(Relaxed);
        expires != 0 && expires <= now.ms
    }

    pub fn is(&self, kind: u8) -> bool {
        self.kind.load(Relaxed) == kind
    }

    pub fn key_len(&self) -> usize {
        usize::from(self.key_len.load(Relaxed))
    }
}

impl<A: Arena> Store<A> {
    /// The item at `at`.
    #[inline(always)]
    pub(super) fn item(&self, at: At) -> &Item {
        // SAFETY: under the lock, offsets lead to items; without it `read` has checked that the place is in the arena,
        // and whatever is there may be looked at as atomics.
        unsafe { self.base.add(at as usize * 8).cast().as_ref() }
    }

    /// Word `i` behind the fields of the item at `at`: first the key's, then the value's.
    #[inline(always)]
    pub(super) fn word(&self, at: At, i: usize) -> &AtomicU64 {
        // SAFETY: as for `item`; callers stay within the item's memory.
        unsafe { self.base.add(at as usize * 8 + HEAD + i * 8).cast().as_ref() }
    }

    /// The number that is the value.
    #[inline(always)]
    pub(super) fn number(&self, at: At, key_len: usize) -> &AtomicU64 {
        self.word(at, key_len.div_ceil(8))
    }

    /// The bytes of the value of the text at `at`; only under the lock.
    pub(super) fn text(&self, at: At) -> &[u8] {
        let item = self.item(at);
        let from = at as usize * 8 + HEAD + words(item.key_len());
        // SAFETY: the value lies there, and under the lock nobody changes it.
        unsafe {
            core::slice::from_raw_parts(self.base.add(from).as_ptr(), item.value_len.load(Relaxed) as usize)
        }
    }

    /// The bytes of the key of the item at `at`; only under the lock.
    pub(super) fn key(&self, at: At) -> &[u8] {
        // SAFETY: the key lies behind the fields, and is never changed.
        unsafe {
            core::slice::from_raw_parts(
                self.base.add(at as usize * 8 + HEAD).as_ptr(),
                self.item(at).key_len(),
            )
        }
    }

    /// Whether the item at `at` has this key, if its length is the same.
    #[inline(always)]
    pub(super) fn has_key(&self, at: At, key: &Key) -> bool {
        let n = key.words();
        for i in 0..n {
            if self.word(at, i).load(Relaxed) != key.word(i) {
                return false;
            }
        }
        !key.has_tail() || self.word(at, n).load(Relaxed) == key.tail
    }

    /// Writes the key of a fresh item.
    pub(super) fn write_key(&self, at: At, key: &Key) {
        let n = key.words();
        for i in 0..n {
            self.word(at, i).store(key.word(i), Relaxed);
        }
        if key.has_tail() {
            self.word(at, n).store(key.tail, Relaxed);
        }
    }

    /// Writes kind and value of an item that has room for it.
    pub(super) fn write_value(&self, at: At, value: Value) {
        let item = self.item(at);
        item.kind.store(value.kind(), Relaxed);
        item.value_len.store(value.len() as u32, Relaxed);
        let number = |n: f64| self.number(at, item.key_len()).store(n.to_bits(), Relaxed);
        match value {
            Value::Nil => {}
            Value::Boolean(b) => number(f64::from(u8::from(b))),
            Value::Number(n) => number(n),
            Value::Text(s) => {
                let from = at as usize * 8 + HEAD + words(item.key_len());
                // SAFETY: the item has room for `s`, and its change is marked: no reader believes what it sees.
                unsafe { core::ptr::copy_nonoverlapping(s.as_ptr(), self.base.add(from).as_ptr(), s.len()) }
            }
        }
    }

    /// Copies a short value to `out` without the lock: it may be garbage. `None` if it is not short, or reaches beyond
    /// the arena, or there is no memory.
    #[inline(always)]
    pub(super) fn copy_short(&self, at: At, key_len: usize, len: usize, out: &mut Vec<u8>) -> Option<()> {
        if len > SHORT || at as usize * 8 + total(key_len, len) > self.arena().size() {
            return None;
        }
        out.clear();
        if out.capacity() < SHORT {
            out.try_reserve(SHORT).ok()?;
        }
        let from = self.word(at, key_len.div_ceil(8));
        // SAFETY: in the arena and in the buffer there is room for the whole words that `len`, at most SHORT, takes.
        unsafe {
            let (from, to) = (core::ptr::from_ref(from), out.as_mut_ptr().cast::<u64>());
            for i in 0..len.div_ceil(8) {
                to.add(i).write_unaligned((*from.add(i)).load(Relaxed));
            }
            out.set_len(len);
        }
        Some(())
    }
}
