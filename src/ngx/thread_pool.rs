//! nginx's thread pools: work that would keep the event loop waiting.
#![cfg(ngx_feature = "threads")]

use core::ffi::c_void;
use core::ptr::NonNull;

use ::ngx::ffi::{self, ngx_event_t, ngx_log_t, ngx_thread_task_t};

/// A `thread_pool` of the configuration.
#[derive(Clone, Copy)]
pub struct ThreadPool(NonNull<ffi::ngx_thread_pool_t>);

/// Some work on its way. nginx holds the address of its task, which is the first field.
#[repr(C)]
struct Job<T> {
    task: ngx_thread_task_t,
    work: Option<Box<dyn FnOnce() -> T + Send>>,
    result: Option<T>,
    /// Called in the event loop.
    done: Option<Box<dyn FnOnce(Option<T>)>>,
}

impl ThreadPool {
    pub fn find(name: &[u8]) -> Option<ThreadPool> {
        let mut name = ffi::ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
        // SAFETY: the cycle is running; the name is only compared.
        let pool = unsafe { ffi::ngx_thread_pool_get(ffi::ngx_cycle, &raw mut name) };
        NonNull::new(pool).map(ThreadPool)
    }

    /// Has a thread do `work`; `done` learns of its result in the event loop (nothing, when it panicked). False when the
    /// pool's queue is full.
    pub fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(Option<T>) + 'static,
    ) -> bool {
        // SAFETY: all-zero is nginx's initial state of a task. It stays where it is until `finished` frees it.
        unsafe {
            let job = Box::into_raw(Box::new(Job {
                task: core::mem::zeroed(),
                work: Some(Box::new(work)),
                result: None,
                done: Some(Box::new(done)),
            }));
            (*job).task.ctx = job.cast();
            (*job).task.handler = Some(work_in_thread::<T>);
            (*job).task.event.handler = Some(finished::<T>);
            (*job).task.event.data = job.cast();
            (*job).task.event.log = (*ffi::ngx_cycle).log;
            if ffi::ngx_thread_task_post(self.0.as_ptr(), &raw mut (*job).task) == ffi::NGX_OK as isize {
                return true;
            }
            drop(Box::from_raw(job));
            false
        }
    }
}

/// In the thread: nothing of nginx may be touched here.
unsafe extern "C" fn work_in_thread<T>(job: *mut c_void, _: *mut ngx_log_t) {
    // SAFETY: the job is the thread's alone until nginx says in the event loop that it is done.
    unsafe {
        let job = &mut *job.cast::<Job<T>>();
        if let Some(work) = job.work.take() {
            job.result = std::panic::catch_unwind(core::panic::AssertUnwindSafe(work)).ok();
        }
    }
}

/// In the event loop.
unsafe extern "C" fn finished<T>(event: *mut ngx_event_t) {
    // SAFETY: `data` is the job that `run` made, and nginx calls this once.
    let mut job = unsafe { Box::from_raw((*event).data.cast::<Job<T>>()) };
    if let Some(done) = job.done.take() {
        let result = job.result.take();
        crate::native::guard(|| done(result));
    }
}
