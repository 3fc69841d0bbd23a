//! Shared memory zones.

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;

use ::ngx::ffi::{self, ngx_int_t, ngx_shm_zone_t};

use super::conf::{Cf, ConfError};
use super::module;
use super::text::{bytes, to_pool};

/// Who uses a zone: told once the memory is there, with its predecessor when a reload kept the memory.
pub trait ZoneUser: 'static {
    /// What tells this user's zones from others: a reload keeps memory only if name, size and this stay the same.
    fn tag() -> *mut c_void {
        module::tag()
    }

    fn init(&self, zone: Zone, before: Option<&Self>) -> Result<(), String>;
}

/// A zone of shared memory, alive as long as its cycle.
#[derive(Clone, Copy)]
pub struct Zone(NonNull<ngx_shm_zone_t>);

impl Zone {
    pub fn name(&self) -> &[u8] {
        // SAFETY: the zone and its name live in the cycle's pool.
        unsafe { bytes((*self.0.as_ptr()).shm.name) }
    }

    pub fn size(&self) -> usize {
        // SAFETY: a plain field read.
        unsafe { (*self.0.as_ptr()).shm.size }
    }

    /// The size of the zone of this name in the running cycle, when it is another one: a reload that changes a zone's
    /// size gives it new memory.
    pub fn size_before(&self) -> Option<usize> {
        // SAFETY: while zones are set up, `ngx_cycle` is the cycle before, whose list of zones is complete.
        unsafe {
            let mut part = &raw const (*ffi::ngx_cycle).shared_memory.part;
            while !part.is_null() {
                let zones = (*part).elts.cast::<ngx_shm_zone_t>();
                for i in 0..(*part).nelts {
                    let other = zones.add(i);
                    if bytes((*other).shm.name) == self.name() && (*other).tag == (*self.0.as_ptr()).tag {
                        return Some((*other).shm.size).filter(|size| *size != self.size());
                    }
                }
                part = (*part).next;
            }
        }
        None
    }

    /// The zone's slab pool; only once the memory is mapped, that is from [`ZoneUser::init`] on.
    pub(super) fn slab(&self) -> *mut ffi::ngx_slab_pool_t {
        // SAFETY: nginx puts a slab pool at the start of every zone it maps.
        unsafe { (*self.0.as_ptr()).shm.addr.cast() }
    }
}

impl Cf {
    /// Asks nginx for a zone; a second one of the same name is refused.
    pub fn add_zone<T: ZoneUser>(&mut self, name: &str, size: usize, user: T) -> Result<Zone, ConfError> {
        // SAFETY: the strings and the user live in the cycle's pool, as the zone does.
        unsafe {
            let pool = ::ngx::core::Pool::from_ngx_pool((*self.raw()).pool);
            let mut text = to_pool(pool.as_ptr(), name.as_bytes()).ok_or("out of memory")?;
            let zone = ffi::ngx_shared_memory_add(self.raw(), &raw mut text, size, T::tag());
            let zone = NonNull::new(zone).ok_or_else(|| format!("zone \"{name}\" cannot be added"))?;
            if !(*zone.as_ptr()).data.is_null() {
                return Err(ConfError(format!("zone \"{name}\" is already defined")));
            }
            let user = pool.allocate(user);
            if user.is_null() {
                return Err("out of memory".into());
            }
            (*zone.as_ptr()).data = user.cast();
            (*zone.as_ptr()).init = Some(init::<T>);
            Ok(Zone(zone))
        }
    }
}

unsafe extern "C" fn init<T: ZoneUser>(zone: *mut ngx_shm_zone_t, before: *mut c_void) -> ngx_int_t {
    let result = crate::native::guard(|| {
        // SAFETY: `data` is the `T` that `add_zone` made; the zone's tag and name tie the predecessor to the same type.
        unsafe {
            let user = &*(*zone).data.cast::<T>();
            user.init(Zone(NonNull::new_unchecked(zone)), before.cast::<T>().as_ref())
        }
    });
    match result {
        Some(Ok(())) => ffi::NGX_OK as ngx_int_t,
        Some(Err(e)) => {
            // SAFETY: nginx calls zone callbacks with a live zone whose log is the new cycle's.
            unsafe { super::log::write((*zone).shm.log, super::Level::Emerg, e.as_bytes()) };
            ffi::NGX_ERROR as ngx_int_t
        }
        None => ffi::NGX_ERROR as ngx_int_t,
    }
}

impl Zone {
    /// The zone as one slice of words: zero when the zone is new, what it was before when a reload kept it.
    ///
    /// Only for zones that are used in no other way: the slab pool that nginx puts at the start of each stays unused
    /// but for its lock, and everything behind its page descriptors is ours.
    pub fn words(self) -> &'static [AtomicU64] {
        // SAFETY: the zone is mapped when its user is told, page-aligned, and stays mapped while any process of the
        // cycle runs; nobody allocates from its slab pool, so `start..end` is touched through this slice alone.
        unsafe {
            let pool = self.slab();
            let bytes = (*pool).end.offset_from_unsigned((*pool).start);
            core::slice::from_raw_parts((*pool).start.cast::<AtomicU64>(), bytes / size_of::<AtomicU64>())
        }
    }
}
