//! Reading, with the lock and without.

use core::sync::atomic::{fence, Ordering, Ordering::Relaxed};

use super::item::{BOOLEAN, HEAD, LIST, NUMBER, TEXT};
use super::{Arena, At, Key, Refusal, Store, Time, NONE};

/// How many items of one chain are looked at without the lock.
const STEPS: usize = 64;

/// An item's value; the bytes of a text are in the buffer that was given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found {
    Boolean(bool),
    Number(f64),
    Text,
}

/// A value with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Read {
    pub value: Found,
    pub flags: u32,
    /// Whether it has expired.
    pub stale: bool,
}

impl<A: Arena> Store<A> {
    /// The value under `key`, without the lock. `None` if that cannot be told, or the item must be put in front of
    /// the queue: then [`Store::get`] is to be asked.
    #[inline(always)]
    pub fn read(&self, key: &[u8], stale: bool, now: Time, out: &mut Vec<u8>) -> Option<Option<Read>> {
        let head = self.head();
        let seq = head.seq.load(Ordering::Acquire);
        if seq & 1 != 0 {
            return None;
        }
        let key = self.key_for(key);
        let result = match self.search(&key)? {
            None => None,
            Some(at) => {
                let item = self.item(at);
                let (expired, flags) = (item.is_expired(now), item.flags.load(Relaxed));
                if expired && !stale {
                    None
                } else {
                    if self.is_due(at, now) {
                        return None;
                    }
                    let n = || f64::from_bits(self.number(at, key.text.len()).load(Relaxed));
                    let value = match item.kind.load(Relaxed) {
                        NUMBER => Found::Number(n()),
                        TEXT => {
                            let len = item.value_len.load(Relaxed) as usize;
                            self.copy_short(at, key.text.len(), len, out)?;
                            Found::Text
                        }
                        BOOLEAN => Found::Boolean(n() != 0.0),
                        _ => return None,
                    };
                    Some(Read { value, flags, stale: expired })
                }
            }
        };
        fence(Ordering::Acquire);
        (head.seq.load(Relaxed) == seq).then_some(result)
    }

    /// Like `find`, but believes nothing: `None` if the chain makes no sense.
    #[inline(always)]
    fn search(&self, key: &Key) -> Option<Option<At>> {
        // the last place where an item with this key and a number would fit
        let last = self.arena().size().checked_sub(HEAD + key.text.len() + 16)? / 8;
        let mut at = self.chain(key.hash).load(Relaxed);
        for _ in 0..STEPS {
            if at == NONE {
                return Some(None);
            }
            if at as usize > last {
                // not necessarily a lie: an item of another key may lie there
                return None;
            }
            let item = self.item(at);
            if item.tag.load(Relaxed) == key.tag()
                && item.key_len() == key.text.len()
                && self.has_key(at, key)
            {
                return Some(Some(at));
            }
            at = item.next.load(Relaxed);
        }
        None
    }

    /// The value under `key`, with the lock.
    pub fn get(
        &self,
        key: &[u8],
        stale: bool,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Result<Option<Read>, Refusal> {
        let Some(at) = self.find(&self.key_for(key)) else { return Ok(None) };
        let item = self.item(at);
        let expired = item.is_expired(now);
        if expired && !stale {
            return Ok(None);
        }
        self.touch(at, now);
        let n = || f64::from_bits(self.number(at, key.len()).load(Relaxed));
        let value = match item.kind.load(Relaxed) {
            LIST => return Err(Refusal::IsList),
            NUMBER => Found::Number(n()),
            BOOLEAN => Found::Boolean(n() != 0.0),
            _ => {
                copy(self.text(at), out)?;
                Found::Text
            }
        };
        Ok(Some(Read { value, flags: item.flags.load(Relaxed), stale: expired }))
    }
}

/// `text` in `out`.
pub fn copy(text: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    out.clear();
    out.try_reserve(text.len()).map_err(|_| Refusal::NoMemory)?;
    out.extend_from_slice(text);
    Ok(())
}
