//! Lists: an item whose value is the two ends of a chain of elements.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::item::{total, LIST, NUMBER, TEXT};
use super::read::copy;
use super::{Arena, At, Found, Refusal, Store, Time, Value, NONE};

#[repr(C)]
struct Element {
    /// Its neighbours, towards the head and the tail of the list.
    before: AtomicU32,
    after: AtomicU32,
    len: AtomicU32,
    kind: AtomicU32,
}

/// The value of a list item.
#[repr(C)]
struct Ends {
    first: AtomicU32,
    last: AtomicU32,
}

/// Which end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Head,
    Tail,
}

impl<A: Arena> Store<A> {
    fn element(&self, at: At) -> &Element {
        // SAFETY: under the lock, the links of a list lead to elements.
        unsafe { self.base.add(at as usize * 8).cast().as_ref() }
    }

    fn ends(&self, list: At) -> &Ends {
        let word = self.number(list, self.item(list).key_len());
        // SAFETY: the value of a list is one word with these two halves; both are aligned atomics.
        unsafe { &*core::ptr::from_ref(word).cast() }
    }

    /// Adds an element; returns how many there are now. `value` is a number or a text.
    pub fn push(&self, key: &[u8], end: End, value: Value, now: Time) -> Result<u32, Refusal> {
        let hashed = self.key_for(key);
        self.reap(now);
        let found = self.find(&hashed);
        let alive = found.filter(|at| !self.item(*at).is_expired(now));
        if let Some(list) = alive {
            if !self.item(list).is(LIST) {
                return Err(Refusal::NotList);
            }
            self.change(|| self.add(list, end, value))?;
            self.touch(list, now);
            return Ok(self.item(list).value_len.load(Relaxed));
        }
        self.change(|| {
            if let Some(old) = found {
                self.remove(old);
            }
            let list = self.alloc(total(key.len(), 8)).ok_or(Refusal::NoMemory)?;
            self.fill(list, &hashed, Value::Number(0.0), 0, 0);
            self.item(list).kind.store(LIST, Relaxed);
            self.item(list).value_len.store(0, Relaxed);
            self.insert(list, &hashed, now);
            self.add(list, end, value).inspect_err(|_| self.remove(list))?;
            Ok(1)
        })
    }

    fn add(&self, list: At, end: End, value: Value) -> Result<(), Refusal> {
        let (number, bytes) = match value {
            Value::Text(s) => ([0; 8], s),
            Value::Number(n) => (n.to_ne_bytes(), &[][..]),
            _ => return Err(Refusal::NilValue),
        };
        let bytes = if value.kind() == NUMBER { &number[..] } else { bytes };
        let at = self.alloc(size_of::<Element>() + bytes.len()).ok_or(Refusal::NoMemory)?;
        let (element, ends, count) = (self.element(at), self.ends(list), &self.item(list).value_len);
        element.kind.store(u32::from(value.kind()), Relaxed);
        element.len.store(bytes.len() as u32, Relaxed);
        // SAFETY: the element has room for the bytes, and its change is marked.
        unsafe {
            let to = self.base.add(at as usize * 8 + size_of::<Element>());
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len());
        }
        let (near, far) = match end {
            End::Head => (&ends.first, &ends.last),
            End::Tail => (&ends.last, &ends.first),
        };
        let second = near.load(Relaxed);
        let (outward, inward) = self.links(at, end);
        outward.store(NONE, Relaxed);
        inward.store(second, Relaxed);
        match second {
            NONE => far.store(at, Relaxed),
            _ => self.links(second, end).0.store(at, Relaxed),
        }
        near.store(at, Relaxed);
        count.store(count.load(Relaxed) + 1, Relaxed);
        Ok(())
    }

    /// An element's links towards and away from `end`.
    fn links(&self, at: At, end: End) -> (&AtomicU32, &AtomicU32) {
        let e = self.element(at);
        match end {
            End::Head => (&e.before, &e.after),
            End::Tail => (&e.after, &e.before),
        }
    }

    /// Takes an element out; the bytes of a text go to `out`. A list that has become empty is removed.
    pub fn pop(&self, key: &[u8], end: End, now: Time, out: &mut Vec<u8>) -> Result<Option<Found>, Refusal> {
        self.reap(now);
        let Some(list) = self.find_alive(key, now) else { return Ok(None) };
        if !self.item(list).is(LIST) {
            return Err(Refusal::NotList);
        }
        let ends = self.ends(list);
        let (near, far) = match end {
            End::Head => (&ends.first, &ends.last),
            End::Tail => (&ends.last, &ends.first),
        };
        let at = near.load(Relaxed);
        let value = self.element_value(at, out)?;
        let rest = self.change(|| {
            let second = self.links(at, end).1.load(Relaxed);
            near.store(second, Relaxed);
            match second {
                NONE => far.store(NONE, Relaxed),
                _ => self.links(second, end).0.store(NONE, Relaxed),
            }
            self.free(at);
            let count = &self.item(list).value_len;
            let rest = count.load(Relaxed) - 1;
            count.store(rest, Relaxed);
            if rest == 0 {
                self.remove(list);
            }
            rest
        });
        if rest != 0 {
            self.touch(list, now);
        }
        Ok(Some(value))
    }

    fn element_value(&self, at: At, out: &mut Vec<u8>) -> Result<Found, Refusal> {
        let e = self.element(at);
        // SAFETY: the bytes lie behind the fields, and under the lock nobody changes them.
        let bytes = unsafe {
            let from = self.base.add(at as usize * 8 + size_of::<Element>());
            core::slice::from_raw_parts(from.as_ptr(), e.len.load(Relaxed) as usize)
        };
        copy(bytes, out)?;
        if e.kind.load(Relaxed) == u32::from(TEXT) {
            return Ok(Found::Text);
        }
        let mut n = [0; 8];
        n.copy_from_slice(bytes);
        Ok(Found::Number(f64::from_ne_bytes(n)))
    }

    /// How many elements the list has; a missing list has none.
    pub fn len(&self, key: &[u8], now: Time) -> Result<u32, Refusal> {
        self.reap(now);
        let Some(list) = self.find_alive(key, now) else { return Ok(0) };
        if !self.item(list).is(LIST) {
            return Err(Refusal::NotList);
        }
        self.touch(list, now);
        Ok(self.item(list).value_len.load(Relaxed))
    }

    pub(super) fn free_elements(&self, list: At) {
        let mut at = self.ends(list).first.load(Relaxed);
        while at != NONE {
            let after = self.element(at).after.load(Relaxed);
            self.free(at);
            at = after;
        }
    }
}
