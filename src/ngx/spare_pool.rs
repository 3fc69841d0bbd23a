//! nginx's memory pools of connections that were closed, for the next ones.

use core::cell::RefCell;
use core::ptr::NonNull;

use ::ngx::ffi::{self, ngx_log_t, ngx_pool_t};

/// How large they are: nginx keeps little in the pool of a connection that it has not accepted.
const SIZE: usize = 512;

/// How many are kept.
const KEPT: usize = 16;

/// A worker's empty pools.
#[derive(Default)]
pub struct SparePools(RefCell<Vec<NonNull<ngx_pool_t>>>);

impl SparePools {
    /// An empty pool; null when memory is out.
    ///
    /// # Safety
    /// `log` must live as long as the pool is used.
    pub(super) unsafe fn take(&self, log: *mut ngx_log_t) -> *mut ngx_pool_t {
        match self.0.borrow_mut().pop() {
            Some(pool) => {
                // SAFETY: the pool is live, and nobody else's.
                unsafe { (*pool.as_ptr()).log = log };
                pool.as_ptr()
            }
            // SAFETY: the caller vouches for the log.
            None => unsafe { ffi::ngx_create_pool(SIZE, log) },
        }
    }

    /// Takes a pool back that nobody uses any more.
    ///
    /// # Safety
    /// It must be one of `take`'s.
    pub(super) unsafe fn give(&self, pool: NonNull<ngx_pool_t>) {
        let mut spare = self.0.borrow_mut();
        // SAFETY: the caller hands the pool over. Emptying it would not run cleanups.
        unsafe {
            if spare.len() < KEPT && (*pool.as_ptr()).cleanup.is_null() {
                ffi::ngx_reset_pool(pool.as_ptr());
                // that of its connection may be gone before it is taken
                (*pool.as_ptr()).log = (*ffi::ngx_cycle).log;
                spare.push(pool);
            } else {
                ffi::ngx_destroy_pool(pool.as_ptr());
            }
        }
    }
}

impl Drop for SparePools {
    fn drop(&mut self) {
        for pool in self.0.get_mut().drain(..) {
            // SAFETY: the pool is live, and nobody else's.
            unsafe { ffi::ngx_destroy_pool(pool.as_ptr()) };
        }
    }
}
