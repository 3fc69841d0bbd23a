//! PCRE 8 (pcreapi(3)), as nginx before 1.21.5 uses it, and later ones where there is no PCRE2.
//!
//! Its memory comes from two global functions, which nginx points at a pool of its own that exists only while it
//! compiles. So they are ours for as long as one of our calls allocates or frees.

use core::cell::Cell;
use core::ffi::{c_char, c_int, c_ulong, c_void, CStr};
use core::ptr;
use std::rc::Rc;

use super::{BadPattern, Limits, Mode, Names, ReOpts};

/// `pcre_extra`: what the library found out about a pattern beforehand.
#[repr(C)]
struct Extra {
    flags: c_ulong,
    study_data: *mut c_void,
    match_limit: c_ulong,
    callout_data: *mut c_void,
    tables: *const u8,
    match_limit_recursion: c_ulong,
    mark: *mut *mut u8,
    executable_jit: *mut c_void,
}

type Malloc = Option<unsafe extern "C" fn(usize) -> *mut c_void>;
type Free = Option<unsafe extern "C" fn(*mut c_void)>;

extern "C" {
    static mut pcre_malloc: Malloc;
    static mut pcre_free: Free;

    fn pcre_compile(
        pattern: *const c_char,
        options: c_int,
        error: *mut *const c_char,
        offset: *mut c_int,
        tables: *const u8,
    ) -> *mut c_void;
    fn pcre_study(code: *const c_void, options: c_int, error: *mut *const c_char) -> *mut Extra;
    fn pcre_free_study(extra: *mut Extra);
    fn pcre_fullinfo(code: *const c_void, extra: *const Extra, what: c_int, value: *mut c_void) -> c_int;
    fn pcre_exec(
        code: *const c_void,
        extra: *const Extra,
        subject: *const c_char,
        len: c_int,
        start: c_int,
        options: c_int,
        offsets: *mut c_int,
        count: c_int,
    ) -> c_int;
    fn pcre_dfa_exec(
        code: *const c_void,
        extra: *const Extra,
        subject: *const c_char,
        len: c_int,
        start: c_int,
        options: c_int,
        offsets: *mut c_int,
        count: c_int,
        workspace: *mut c_int,
        room: c_int,
    ) -> c_int;
    fn pcre_jit_stack_alloc(start: c_int, max: c_int) -> *mut c_void;
    fn pcre_assign_jit_stack(extra: *mut Extra, callback: *const c_void, stack: *mut c_void);
}

const EXTRA_MATCH_LIMIT: c_ulong = 0x2;
const STUDY_JIT_COMPILE: c_int = 0x1;
const STUDY_EXTRA_NEEDED: c_int = 0x8;
const NO_UTF8_CHECK: c_int = 0x2000;
const INFO_CAPTURECOUNT: c_int = 2;
const INFO_NAMEENTRYSIZE: c_int = 7;
const INFO_NAMECOUNT: c_int = 8;
const INFO_NAMETABLE: c_int = 9;
const INFO_JIT: c_int = 16;

/// The DFA matcher's workspace, on the stack.
const WORKSPACE: usize = 4096;
const NO_MEMORY: i32 = -6;

/// The library's memory is malloc's until this is dropped.
struct OurMemory(Malloc, Free);

impl OurMemory {
    fn take() -> OurMemory {
        // SAFETY: nginx runs on one thread, so nobody else is using the two.
        unsafe {
            let before = OurMemory(pcre_malloc, pcre_free);
            pcre_malloc = Some(libc::malloc);
            pcre_free = Some(libc::free);
            before
        }
    }
}

impl Drop for OurMemory {
    fn drop(&mut self) {
        // SAFETY: as in `take`.
        unsafe { (pcre_malloc, pcre_free) = (self.0, self.1) }
    }
}

/// The stack of machine code, and its size. As compiled code refers to it, one that is replaced is not freed; it is
/// replaced only by a new configuration with another size.
struct JitStack(Cell<(usize, *mut c_void)>);

// SAFETY: nginx runs on one thread.
unsafe impl Sync for JitStack {}

static JIT_STACK: JitStack = JitStack(Cell::new((0, ptr::null_mut())));

fn jit_stack(size: usize) -> *mut c_void {
    let (before, stack) = JIT_STACK.0.get();
    if before == size {
        return stack;
    }
    let _memory = OurMemory::take();
    let max = c_int::try_from(size).unwrap_or(c_int::MAX);
    // SAFETY: two sizes go in, a stack or null comes out.
    let stack = unsafe { pcre_jit_stack_alloc(super::JIT_STACK as c_int, max) };
    if !stack.is_null() {
        JIT_STACK.0.set((size, stack));
    }
    stack
}

/// Threads do not match.
#[derive(Default)]
pub struct Workplace;

/// Nothing is shared by matches but the stack, which compiled code may refer to.
pub fn free_buffers() {}

pub fn allocate(limits: Limits) -> bool {
    limits.jit_stack == 0 || !jit_stack(limits.stack()).is_null()
}

/// A compiled pattern.
pub struct Code {
    code: *mut c_void,
    extra: *mut Extra,
}

impl Code {
    pub fn work_at(&mut self, _: Rc<Workplace>) {}

    pub fn compile(pattern: &[u8], opts: &ReOpts) -> Result<Code, BadPattern> {
        let mut zeroed = pattern.to_vec();
        zeroed.push(0);
        if let Some(offset) = pattern.iter().position(|b| *b == 0) {
            // the library would take it for the pattern's end
            return Err(BadPattern { message: "pattern contains a null character".into(), offset });
        }
        let (mut error, mut offset) = (ptr::null(), 0);
        let _memory = OurMemory::take();
        // SAFETY: the pattern ends with a zero.
        let code = unsafe {
            pcre_compile(
                zeroed.as_ptr().cast(),
                opts.pcre1() as c_int,
                &raw mut error,
                &raw mut offset,
                ptr::null(),
            )
        };
        if code.is_null() {
            // SAFETY: the library's messages are constant strings.
            let message = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
            return Err(BadPattern { message, offset: usize::try_from(offset).unwrap_or(0) });
        }
        Ok(Code { code, extra: ptr::null_mut() })
    }

    /// Studies it, and compiles it to machine code, if `jit` asks for it and the library can.
    pub fn prepare(&mut self, jit: bool, limits: Limits) -> bool {
        let mut error = ptr::null();
        let options = STUDY_EXTRA_NEEDED | if jit { STUDY_JIT_COMPILE } else { 0 };
        {
            let _memory = OurMemory::take();
            // SAFETY: the code is live.
            self.extra = unsafe { pcre_study(self.code, options, &raw mut error) };
        }
        if !self.extra.is_null() && limits.jit_stack > 0 {
            // SAFETY: the extra is live, and the stack, or null for the library's own, is for ever.
            unsafe { pcre_assign_jit_stack(self.extra, ptr::null(), jit_stack(limits.stack())) };
        }
        jit && self.info::<c_int>(INFO_JIT) == 1
    }

    pub fn captures(&self) -> usize {
        usize::try_from(self.info::<c_int>(INFO_CAPTURECOUNT)).unwrap_or(0)
    }

    pub fn names(&self) -> Names<'_> {
        let count = usize::try_from(self.info::<c_int>(INFO_NAMECOUNT)).unwrap_or(0);
        let entry = usize::try_from(self.info::<c_int>(INFO_NAMEENTRYSIZE)).unwrap_or(0);
        if count == 0 {
            return Names { table: &[], entry };
        }
        let table = self.info::<usize>(INFO_NAMETABLE) as *const u8;
        // SAFETY: the table is part of the code, and as long as its count and entry size say.
        Names { table: unsafe { core::slice::from_raw_parts(table, count * entry) }, entry }
    }

    /// What the library knows about the code; `T` is the type that pcre_fullinfo(3) names for `what`.
    fn info<T: Default>(&self, what: c_int) -> T {
        let mut value = T::default();
        // SAFETY: the code is live and `value` has the type that `what` asks for.
        unsafe { pcre_fullinfo(self.code, self.extra, what, (&raw mut value).cast()) };
        value
    }

    pub fn exec(&self, subject: &[u8], start: usize, mode: Mode, _: bool, offsets: &mut [i32]) -> i32 {
        let (Ok(len), Ok(start)) = (c_int::try_from(subject.len()), c_int::try_from(start)) else {
            return super::BAD_OFFSET;
        };
        // an option that patterns without `u` do not know
        let options = if mode.utf && mode.unchecked { NO_UTF8_CHECK } else { 0 };
        let s = subject.as_ptr().cast();
        if mode.dfa {
            let mut room = [0; WORKSPACE];
            // SAFETY: code and extra are live; subject, offsets and workspace are given with their lengths.
            let rc = unsafe {
                let (at, count) = (offsets.as_mut_ptr(), offsets.len() as c_int);
                let (ws, room) = (room.as_mut_ptr(), WORKSPACE as c_int);
                pcre_dfa_exec(self.code, self.extra, s, len, start, options, at, count, ws, room)
            };
            return if rc == 0 { 1 } else { rc };
        }
        if !self.extra.is_null() && mode.limits.backtracking > 0 {
            // SAFETY: the extra is live, and ours.
            unsafe {
                (*self.extra).flags |= EXTRA_MATCH_LIMIT;
                (*self.extra).match_limit = mode.limits.backtracking.into();
            }
        }
        // the library wants a third more than it fills, to work in
        let mut room = Vec::new();
        if room.try_reserve_exact(offsets.len() / 2 * 3).is_err() {
            return NO_MEMORY;
        }
        room.resize(offsets.len() / 2 * 3, -1);
        // SAFETY: code and extra are live; subject and offsets are given with their lengths.
        let rc = unsafe {
            let (at, count) = (room.as_mut_ptr(), room.len() as c_int);
            pcre_exec(self.code, self.extra, s, len, start, options, at, count)
        };
        if rc >= 0 {
            offsets.copy_from_slice(&room[..offsets.len()]);
        }
        rc
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        let _memory = OurMemory::take();
        // SAFETY: code and extra are ours alone, and were allocated by malloc.
        unsafe {
            if !self.extra.is_null() {
                pcre_free_study(self.extra);
            }
            if let Some(free) = pcre_free {
                free(self.code);
            }
        }
    }
}
