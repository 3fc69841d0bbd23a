//! `lua_shared_dict`: dictionaries in shared memory.

use core::cell::OnceCell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicUsize;
use std::rc::Rc;

use ::ngx::ffi;

use super::log::{log_cycle, log_cycle_plainly, Level};
use super::shm::{Zone, ZoneUser};

mod lock;
mod slab;
mod store;

use slab::Slab;
pub use store::{End, Found, Init, Put, Read, Refusal, Stored, Value, When};
use store::{Store, Time, Unfit};

/// Offsets count units of 8 bytes in 32 bits.
const LARGEST: usize = 32 << 30;

/// A dictionary of the configuration; usable once nginx has mapped its zone.
pub struct Dict {
    name: String,
    size: usize,
    mapped: OnceCell<Mapped>,
}

struct Mapped {
    store: Store<Slab>,
    lock: NonNull<AtomicUsize>,
}

impl Dict {
    /// A dictionary of `size` bytes; why not, if it cannot be.
    pub fn new(name: &str, size: usize) -> Result<Dict, String> {
        let least = Dict::least();
        if size < least {
            return Err(format!("it must be at least {}k", least >> 10));
        }
        if size > LARGEST {
            return Err(format!("it must be at most {}g", LARGEST >> 30));
        }
        Ok(Dict { name: name.to_owned(), size, mapped: OnceCell::new() })
    }

    /// The smallest zone: nginx's slab header, and a page each for small items and the table.
    fn least() -> usize {
        3 * slab::page_size()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the zone.
    pub fn capacity(&self) -> usize {
        self.size
    }

    /// Bytes in pages that no item has a part of.
    pub fn free_space(&self) -> usize {
        self.locked(|store, _| store.arena().free_bytes()).unwrap_or(0)
    }

    /// The value under `key`, an expired one only if `stale`; the bytes of a text are left in `out`.
    #[inline(always)]
    pub fn get(&self, key: &[u8], stale: bool, out: &mut Vec<u8>) -> Result<Option<Read>, Refusal> {
        let Some(mapped) = self.mapped.get() else { return Ok(None) };
        if let Some(read) = mapped.store.read(key, stale, now(), out) {
            return Ok(read);
        }
        self.locked(|store, now| store.get(key, stale, now, out)).unwrap_or(Ok(None))
    }

    #[inline]
    pub fn put(&self, put: &Put) -> Stored<()> {
        self.locked(|store, now| store.put(put, now)).unwrap_or(UNUSABLE)
    }

    #[inline]
    pub fn incr(&self, key: &[u8], by: f64, init: Option<&Init>) -> Stored<f64> {
        let none = Stored { result: Err(Refusal::NoMemory), forcible: false };
        self.locked(|store, now| store.incr(key, by, init, now)).unwrap_or(none)
    }

    pub fn push(&self, key: &[u8], end: End, value: Value) -> Result<u32, Refusal> {
        self.locked(|store, now| store.push(key, end, value, now)).unwrap_or(Err(Refusal::NoMemory))
    }

    pub fn pop(&self, key: &[u8], end: End, out: &mut Vec<u8>) -> Result<Option<Found>, Refusal> {
        self.locked(|store, now| store.pop(key, end, now, out)).unwrap_or(Ok(None))
    }

    pub fn len(&self, key: &[u8]) -> Result<u32, Refusal> {
        self.locked(|store, now| store.len(key, now)).unwrap_or(Ok(0))
    }

    pub fn ttl(&self, key: &[u8]) -> Option<u64> {
        self.locked(|store, now| store.ttl(key, now))?
    }

    pub fn expire(&self, key: &[u8], ttl: u64) -> bool {
        self.locked(|store, now| store.expire(key, ttl, now)).unwrap_or(false)
    }

    pub fn flush_all(&self) {
        self.locked(|store, _| store.flush_all());
    }

    pub fn flush_expired(&self, max: usize) -> usize {
        self.locked(|store, now| store.flush_expired(max, now)).unwrap_or(0)
    }

    pub fn keys(&self, max: usize, out: &mut Vec<u8>) -> Result<usize, Refusal> {
        self.locked(|store, now| store.keys(max, now, out)).unwrap_or(Ok(0))
    }

    /// Does `f` with the lock held. `None` before the zone is mapped, or if it is beyond repair.
    #[inline(always)]
    fn locked<T>(&self, f: impl FnOnce(&Store<Slab>, Time) -> T) -> Option<T> {
        let mapped = self.mapped.get()?;
        // SAFETY: the lock word lies in the zone.
        let _held = lock::lock(unsafe { mapped.lock.as_ref() });
        if mapped.store.is_torn() {
            self.recover(&mapped.store)?;
        }
        Some(f(&mapped.store, now()))
    }

    #[cold]
    fn recover(&self, store: &Store<Slab>) -> Option<()> {
        let done = store.recover().ok();
        let what = match done {
            Some(()) => "it is empty now",
            None => "it cannot be used any more",
        };
        log_cycle_plainly(
            Level::Error,
            &format!(
                "lua_shared_dict \"{}\": a process was killed while it changed the dictionary, {what}",
                self.name
            ),
        );
        done
    }
}

const UNUSABLE: Stored<()> = Stored { result: Err(Refusal::NoMemory), forcible: false };

/// nginx's idea of the time.
#[inline(always)]
fn now() -> Time {
    // SAFETY: nginx sets the pointer before anything runs; what it points to is not written again before its next 63
    // times, which is nginx's own way of letting threads and signal handlers read it.
    let time = unsafe { &*ffi::ngx_cached_time };
    Time { ms: time.sec as u64 * 1000 + time.msec as u64, seconds: time.sec as u32 }
}

impl ZoneUser for Rc<Dict> {
    fn tag() -> *mut c_void {
        static TAG: u8 = 0;
        ptr::from_ref(&TAG).cast_mut().cast()
    }

    fn init(&self, zone: Zone, before: Option<&Self>) -> Result<(), String> {
        if let (None, Some(size)) = (before, zone.size_before()) {
            log_cycle(
                Level::Warn,
                &format!(
                    "lua_shared_dict \"{}\": its size changed from {size} to {} bytes, it starts empty",
                    self.name, self.size
                ),
            );
        }
        let pool = NonNull::new(zone.slab()).ok_or("the zone is not mapped")?;
        // SAFETY: the zone is ours, and stays mapped as long as its cycle, which holds `self`, lives.
        let slab = unsafe { Slab::new(pool, self.size, self.name.as_bytes()) };
        let store = Store::open(slab, seed()).map_err(|e| match e {
            Unfit::TooSmall => {
                format!("lua_shared_dict \"{}\": {} bytes are too small", self.name, self.size)
            }
            Unfit::OtherLayout => format!(
                "lua_shared_dict \"{}\" was made by another version of this module: restart nginx",
                self.name
            ),
        })?;
        // SAFETY: the lock word is the first field of the pool, an aligned word that all processes use atomically.
        let lock = unsafe { NonNull::new_unchecked(&raw mut (*pool.as_ptr()).lock.lock) }.cast();
        // nginx maps a zone once per cycle
        let _ = self.mapped.set(Mapped { store, lock });
        Ok(())
    }
}

/// Something that clients do not know.
fn seed() -> u64 {
    let mut seed = [0; 8];
    // SAFETY: the buffer is ours.
    let n = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), libc::GRND_NONBLOCK) };
    if n != seed.len() as isize {
        // early at boot: less secret, but not constant
        let place = ptr::from_ref(&seed) as u64;
        return now().ms.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place;
    }
    u64::from_ne_bytes(seed)
}
