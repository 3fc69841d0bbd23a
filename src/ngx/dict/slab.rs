//! The memory of a dictionary: nginx's slab pool, which makes as much (and as little) of a zone as it does for others.

use core::cell::Cell;
use core::ptr::{self, NonNull};

use ::ngx::ffi::{self, ngx_slab_pool_t};

use super::store::Arena;

/// What the slab's own error messages end with, cut to the smallest piece of memory that the structure uses anyway.
const LABEL: usize = 64;

pub struct Slab {
    pool: NonNull<ngx_slab_pool_t>,
    size: usize,
    /// Number of free pages from which memory is scarce.
    few: Cell<usize>,
    label: [u8; LABEL],
}

impl Slab {
    /// # Safety
    /// `pool` must be the slab pool of a zone of `size` bytes, mapped as long as the value lives, and used by nobody
    /// else.
    pub unsafe fn new(pool: NonNull<ngx_slab_pool_t>, size: usize, name: &[u8]) -> Slab {
        let mut label = [0; LABEL];
        let text = [b" in lua_shared_dict zone \"", name].concat();
        let n = text.len().min(LABEL - 2);
        label[..n].copy_from_slice(&text[..n]);
        label[n] = b'"';
        Slab { pool, size, few: Cell::new(0), label }.measured()
    }

    fn measured(self) -> Slab {
        // SAFETY: nginx has initialised the pool; `pages` and `last` are an array's ends.
        let pages = unsafe {
            let p = self.pool.as_ptr();
            (*p).last.offset_from((*p).pages)
        };
        self.few.set(pages.max(0) as usize / 8);
        self
    }

    pub fn free_bytes(&self) -> usize {
        self.free_pages() * page_size()
    }

    fn free_pages(&self) -> usize {
        // SAFETY: a word that others may be changing, read as a whole.
        unsafe { ptr::read_volatile(&raw const (*self.pool.as_ptr()).pfree) }
    }
}

pub fn page_size() -> usize {
    // SAFETY: set by nginx at start.
    unsafe { ffi::ngx_pagesize }
}

impl Arena for Slab {
    fn base(&self) -> NonNull<u8> {
        self.pool.cast()
    }

    fn size(&self) -> usize {
        self.size
    }

    fn alloc(&self, n: usize) -> Option<NonNull<u8>> {
        // SAFETY: the pool is live, and locked by us.
        NonNull::new(unsafe { ffi::ngx_slab_alloc_locked(self.pool.as_ptr(), n) }.cast())
    }

    fn room(&self, n: usize) -> usize {
        let page = page_size();
        if n > page / 2 {
            n.next_multiple_of(page)
        } else {
            n.next_power_of_two().max(8)
        }
    }

    fn free(&self, p: NonNull<u8>) {
        // SAFETY: `p` came from `alloc`, and the pool is locked by us.
        unsafe { ffi::ngx_slab_free_locked(self.pool.as_ptr(), p.as_ptr().cast()) }
    }

    fn reset(&self) {
        let pool = self.pool.as_ptr();
        // SAFETY: the pool's fixed fields (its end, smallest size, lock and root) are written once, by nginx; the rest
        // is set up anew from them.
        unsafe {
            ffi::ngx_slab_init(pool);
            // running full is a dictionary's normal state: the log need not know
            (*pool).set_log_nomem(0);
            let label = ffi::ngx_slab_alloc_locked(pool, LABEL).cast::<u8>();
            if !label.is_null() {
                ptr::copy_nonoverlapping(self.label.as_ptr(), label, LABEL);
                (*pool).log_ctx = label;
            }
        }
    }

    fn scarce(&self) -> bool {
        self.free_pages() < self.few.get()
    }

    fn root(&self) -> Option<NonNull<u8>> {
        // SAFETY: a plain field, null in a fresh pool.
        NonNull::new(unsafe { (*self.pool.as_ptr()).data }.cast())
    }

    fn set_root(&self, p: NonNull<u8>) {
        // SAFETY: a plain field, for the user of the zone.
        unsafe { (*self.pool.as_ptr()).data = p.as_ptr().cast() }
    }
}
