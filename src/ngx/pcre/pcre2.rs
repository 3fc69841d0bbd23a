//! PCRE2 (pcre2api(3)), as nginx 1.21.5 and later use it.

use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::ptr;
use std::rc::Rc;

use ::ngx::ffi;

use super::{BadPattern, Limits, Mode, Names, ReOpts, BAD_OFFSET, NO_MATCH};

/// A compiled pattern.
pub struct Code(*mut ffi::pcre2_code_8, Option<Rc<Workplace>>);

impl Code {
    pub fn compile(pattern: &[u8], opts: &ReOpts) -> Result<Code, BadPattern> {
        let (mut error, mut offset) = (0, 0);
        // SAFETY: the pattern is given with its length; a null context is the default one, whose memory is malloc's.
        let code = unsafe {
            ffi::pcre2_compile_8(
                pattern.as_ptr(),
                pattern.len(),
                opts.pcre2(),
                &raw mut error,
                &raw mut offset,
                ptr::null_mut(),
            )
        };
        if code.is_null() {
            return Err(BadPattern { message: message(error), offset });
        }
        Ok(Code(code, None))
    }

    /// Where it matches; in the worker's place unless this was called.
    pub fn work_at(&mut self, place: Rc<Workplace>) {
        self.1 = Some(place);
    }

    /// Compiles it to machine code, if `jit` asks for it and the library can.
    pub fn prepare(&mut self, jit: bool, _: Limits) -> bool {
        // SAFETY: the code is live and nobody matches with it.
        jit && unsafe { ffi::pcre2_jit_compile_8(self.0, ffi::PCRE2_JIT_COMPLETE) } == 0
    }

    pub fn captures(&self) -> usize {
        self.info::<u32>(ffi::PCRE2_INFO_CAPTURECOUNT) as usize
    }

    pub fn names(&self) -> Names<'_> {
        let count = self.info::<u32>(ffi::PCRE2_INFO_NAMECOUNT) as usize;
        let entry = self.info::<u32>(ffi::PCRE2_INFO_NAMEENTRYSIZE) as usize;
        if count == 0 {
            return Names { table: &[], entry };
        }
        // SAFETY: the pointer is the only one of the three; zero is a valid one.
        let table = self.info::<usize>(ffi::PCRE2_INFO_NAMETABLE) as *const u8;
        // SAFETY: the table is part of the code, and as long as its count and entry size say.
        Names { table: unsafe { core::slice::from_raw_parts(table, count * entry) }, entry }
    }

    /// A number that PCRE2 keeps about the code; `T` is the type that pcre2_pattern_info(3) names for `what`.
    fn info<T: Default>(&self, what: u32) -> T {
        let mut value = T::default();
        // SAFETY: the code is live and `value` has the type that `what` asks for.
        unsafe { ffi::pcre2_pattern_info_8(self.0, what, (&raw mut value).cast()) };
        value
    }

    pub fn exec(&self, subject: &[u8], start: usize, mode: Mode, jit: bool, offsets: &mut [i32]) -> i32 {
        let place = self.1.as_ref().map_or(&PLACE, |place| &**place).0.get();
        // SAFETY: a place belongs to one thread at a time, and matching does not call back.
        let place = unsafe { &mut *place };
        let Some(data) = place.ready(offsets.len() / 2, mode.limits) else { return NO_MEMORY };
        let (s, len) = (subject.as_ptr(), subject.len());
        let options = if mode.unchecked { ffi::PCRE2_NO_UTF_CHECK } else { 0 };
        let rc = if mode.dfa {
            place.dfa(self, subject, start, options, data)
        } else if jit && mode.unchecked {
            // SAFETY: what this one leaves unchecked holds: the code has machine code, `start` is inside the
            // subject, and UTF-8 needs no check.
            unsafe { ffi::pcre2_jit_match_8(self.0, s, len, start, 0, data, place.context) }
        } else {
            // SAFETY: code, match data and context are live, and the subject is given with its length.
            unsafe { ffi::pcre2_match_8(self.0, s, len, start, options, data, place.context) }
        };
        if rc < 0 {
            return as_pcre1(rc);
        }
        // zero says that the match data has no room for all, which only the DFA matcher's shorter matches can lack
        let pairs = rc.max(1);
        // SAFETY: the data has at least as many pairs as `ready` was asked for, and those of the match are filled.
        let found = unsafe {
            let vector = ffi::pcre2_get_ovector_pointer_8(data);
            core::slice::from_raw_parts(vector, offsets.len().min(2 * pairs as usize))
        };
        for (to, from) in offsets.iter_mut().zip(found) {
            // a Lua string is shorter than 2 GiB; PCRE2_UNSET becomes -1
            *to = *from as i32;
        }
        pairs.min(offsets.len() as i32 / 2)
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: the code is ours alone.
        unsafe { ffi::pcre2_code_free_8(self.0) }
    }
}

/// What all matches of a thread share: none is kept beyond the call that needs it.
struct Place {
    data: *mut ffi::pcre2_match_data_8,
    pairs: usize,
    context: *mut ffi::pcre2_match_context_8,
    limits: Limits,
    stack: *mut ffi::pcre2_jit_stack_8,
    workspace: Vec<c_int>,
}

/// Where expressions match: the worker's, or that of a VM which a thread uses.
pub struct Workplace(UnsafeCell<Place>);

// SAFETY: the static one is nginx's, which runs on one thread.
unsafe impl Sync for Workplace {}

static PLACE: Workplace = Workplace(UnsafeCell::new(Place::EMPTY));

impl Default for Workplace {
    fn default() -> Workplace {
        Workplace(UnsafeCell::new(Place::EMPTY))
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        self.0.get_mut().free();
    }
}

/// Room for so many captures is made at once.
const PAIRS: usize = 32;
/// The DFA matcher's workspace: at first, and at most.
const WORKSPACE: (usize, usize) = (1 << 10, 1 << 20);

const NO_MEMORY: i32 = -6;

impl Place {
    const EMPTY: Place = Place {
        data: ptr::null_mut(),
        pairs: 0,
        context: ptr::null_mut(),
        limits: Limits { backtracking: 0, jit_stack: 0 },
        stack: ptr::null_mut(),
        workspace: Vec::new(),
    };

    /// The match data, with room for `pairs`, and the context set to `limits`.
    #[inline]
    fn ready(&mut self, pairs: usize, limits: Limits) -> Option<*mut ffi::pcre2_match_data_8> {
        if pairs > self.pairs || limits != self.limits || self.context.is_null() {
            self.prepare(pairs, limits)?;
        }
        Some(self.data)
    }

    #[cold]
    fn prepare(&mut self, pairs: usize, limits: Limits) -> Option<()> {
        if pairs > self.pairs {
            let room = pairs.max(PAIRS).next_power_of_two();
            // SAFETY: the old match data, which may be null, is in nobody's use.
            unsafe {
                ffi::pcre2_match_data_free_8(self.data);
                self.pairs = 0;
                self.data = ffi::pcre2_match_data_create_8(room as u32, ptr::null_mut());
            }
            if self.data.is_null() {
                return None;
            }
            self.pairs = room;
        }
        if self.context.is_null() {
            // SAFETY: a null general context is the default one.
            self.context = unsafe { ffi::pcre2_match_context_create_8(ptr::null_mut()) };
            if self.context.is_null() {
                return None;
            }
        }
        if limits.stack() != self.limits.stack() {
            self.new_stack(limits.stack())?;
        }
        let limit = if limits.backtracking == 0 { default_limit() } else { limits.backtracking };
        // SAFETY: the context is live.
        unsafe { ffi::pcre2_set_match_limit_8(self.context, limit) };
        self.limits = limits;
        Some(())
    }

    /// Gives the context a stack of `size` bytes at most, or with 0 none.
    fn new_stack(&mut self, size: usize) -> Option<()> {
        let mut stack = ptr::null_mut();
        if size > 0 {
            // SAFETY: two sizes go in, a stack or null comes out.
            stack = unsafe { ffi::pcre2_jit_stack_create_8(super::JIT_STACK, size, ptr::null_mut()) };
            if stack.is_null() {
                return None;
            }
        }
        // SAFETY: the context is live; the old stack, which may be null, is freed once the context has the new one.
        unsafe {
            ffi::pcre2_jit_stack_assign_8(self.context, None, stack.cast());
            ffi::pcre2_jit_stack_free_8(self.stack);
        }
        self.stack = stack;
        Some(())
    }

    /// Gives everything back.
    fn free(&mut self) {
        let place = core::mem::replace(self, Place::EMPTY);
        // SAFETY: the three, which may be null, are in nobody's use.
        unsafe {
            ffi::pcre2_match_data_free_8(place.data);
            ffi::pcre2_match_context_free_8(place.context);
            ffi::pcre2_jit_stack_free_8(place.stack);
        }
    }

    fn dfa(
        &mut self,
        code: &Code,
        subject: &[u8],
        start: usize,
        options: u32,
        data: *mut ffi::pcre2_match_data_8,
    ) -> c_int {
        self.workspace.resize(self.workspace.len().max(WORKSPACE.0), 0);
        loop {
            let room = &mut self.workspace;
            // SAFETY: code and match data are live; subject and workspace are given with their lengths. A null
            // context: backtracking, which the DFA matcher does not do, is what the limit limits.
            let rc = unsafe {
                ffi::pcre2_dfa_match_8(
                    code.0,
                    subject.as_ptr(),
                    subject.len(),
                    start,
                    options,
                    data,
                    ptr::null_mut(),
                    room.as_mut_ptr(),
                    room.len(),
                )
            };
            if rc != ffi::PCRE2_ERROR_DFA_WSSIZE || room.len() >= WORKSPACE.1 {
                return rc;
            }
            room.resize(2 * room.len(), 0);
        }
    }
}

/// Gives back what matches share; the next one allocates anew.
pub fn free_buffers() {
    // SAFETY: as in `exec`.
    unsafe { (*PLACE.0.get()).free() }
}

pub fn allocate(limits: Limits) -> bool {
    // SAFETY: as in `exec`.
    let place = unsafe { &mut *PLACE.0.get() };
    place.ready(1, limits).is_some()
}

/// The limit that the library was built with.
fn default_limit() -> u32 {
    let mut limit: u32 = 10_000_000;
    // SAFETY: the answer is an uint32_t; on failure the value stays.
    unsafe { ffi::pcre2_config_8(ffi::PCRE2_CONFIG_MATCHLIMIT, (&raw mut limit).cast()) };
    limit
}

/// The text for a compile error.
fn message(error: c_int) -> String {
    // where PCRE 8 says it in other words, scripts know those
    match u32::try_from(error) {
        Ok(ffi::PCRE2_ERROR_QUANTIFIER_INVALID) => return "nothing to repeat".into(),
        Ok(ffi::PCRE2_ERROR_MISSING_CLOSING_PARENTHESIS) => return "missing )".into(),
        Ok(ffi::PCRE2_ERROR_UNMATCHED_CLOSING_PARENTHESIS) => return "unmatched parentheses".into(),
        Ok(ffi::PCRE2_ERROR_DUPLICATE_SUBPATTERN_NAME) => {
            return "two named subpatterns have the same name".into()
        }
        _ => {}
    }
    let mut text = [0; 256];
    // SAFETY: the buffer is given with its length.
    let len = unsafe { ffi::pcre2_get_error_message_8(error, text.as_mut_ptr(), text.len()) };
    let len = usize::try_from(len).unwrap_or(0).min(text.len());
    String::from_utf8_lossy(&text[..len]).into_owned()
}

/// PCRE 8's number for an error of matching; those that it does not have stay.
#[cold]
fn as_pcre1(error: c_int) -> i32 {
    match error {
        ffi::PCRE2_ERROR_NOMATCH => NO_MATCH,
        ffi::PCRE2_ERROR_UTF8_ERR21..=ffi::PCRE2_ERROR_UTF8_ERR1 => -10,
        ffi::PCRE2_ERROR_BADUTFOFFSET => -11,
        ffi::PCRE2_ERROR_BADOFFSET => BAD_OFFSET,
        ffi::PCRE2_ERROR_NOMEMORY => NO_MEMORY,
        ffi::PCRE2_ERROR_MATCHLIMIT => -8,
        ffi::PCRE2_ERROR_DEPTHLIMIT | ffi::PCRE2_ERROR_HEAPLIMIT => -21,
        ffi::PCRE2_ERROR_JIT_STACKLIMIT => -27,
        ffi::PCRE2_ERROR_DFA_UITEM => -16,
        ffi::PCRE2_ERROR_DFA_UCOND => -17,
        ffi::PCRE2_ERROR_DFA_WSSIZE => -19,
        ffi::PCRE2_ERROR_DFA_RECURSE => -20,
        ffi::PCRE2_ERROR_RECURSELOOP => -26,
        other => other,
    }
}
