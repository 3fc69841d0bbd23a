//! Regular expressions, by the PCRE library that nginx itself was built with.
//!
//! [`Regex`] is one face over three engines: PCRE2, PCRE 8, and none. Scripts must not see which one runs, so error
//! numbers and the wording of the commonest mistakes are those of PCRE 8 (pcreapi(3)), which scripts know.
//!
//! No memory here comes from nginx's pools: compiled expressions live as long as Lua keeps them.

use std::rc::Rc;

use logic::text::re_opts::ReOpts;
use logic::text::re_template::Template;

#[cfg(ngx_feature = "pcre2")]
mod pcre2;
#[cfg(ngx_feature = "pcre2")]
use pcre2 as engine;

#[cfg(all(ngx_feature = "pcre", not(ngx_feature = "pcre2")))]
mod pcre1;
#[cfg(all(ngx_feature = "pcre", not(ngx_feature = "pcre2")))]
use pcre1 as engine;

#[cfg(not(ngx_feature = "pcre"))]
mod none;
#[cfg(not(ngx_feature = "pcre"))]
use none as engine;

pub use engine::Workplace;

/// Nothing matched.
pub const NO_MATCH: i32 = -1;
/// Matching is to start past the subject's end.
pub const BAD_OFFSET: i32 = -24;

/// Whether this nginx has a PCRE library.
pub const AVAILABLE: bool = cfg!(ngx_feature = "pcre");
/// Whether threads may use it. PCRE 8 takes its memory by functions that the whole process shares.
pub const IN_THREADS: bool = cfg!(ngx_feature = "pcre2");

/// PCRE's own stack for machine code, on the machine's, and the smallest that replaces it.
const JIT_STACK: usize = 32 * 1024;

/// What a configuration says about all its expressions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How much backtracking is allowed; 0 is the library's default.
    pub backtracking: u32,
    /// Bytes of stack for machine code; 0 is the library's own, 32 KiB.
    pub jit_stack: u32,
}

impl Limits {
    fn stack(self) -> usize {
        match self.jit_stack {
            0 => 0,
            size => (size as usize).max(JIT_STACK),
        }
    }

    /// Whether memory can be had for the stack.
    pub fn are_possible(self) -> bool {
        engine::allocate(self)
    }
}

/// Gives back the memory that matches share: the process ends, and the library may be unloaded before.
pub fn free_buffers() {
    engine::free_buffers();
}

/// Why a pattern is none: PCRE's words, and at which byte.
pub struct BadPattern {
    pub message: String,
    pub offset: usize,
}

/// How to match: fixed when the expression is compiled.
#[derive(Clone, Copy)]
struct Mode {
    dfa: bool,
    utf: bool,
    /// The subject is known to be UTF-8, or need not be.
    unchecked: bool,
    limits: Limits,
}

/// The names of captures as PCRE lists them, in records of `entry` bytes: the capture's number in two (big-endian),
/// then the name and a zero.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    pub table: &'a [u8],
    pub entry: usize,
}

/// A compiled expression, and where the last match was.
pub struct Regex {
    code: engine::Code,
    mode: Mode,
    jit: bool,
    /// Start and end of the whole match and of each capture; -1 for one that took no part.
    offsets: Box<[i32]>,
}

impl Regex {
    pub fn compile(pattern: &[u8], opts: &ReOpts, limits: Limits) -> Result<Regex, BadPattern> {
        let mut code = engine::Code::compile(pattern, opts)?;
        let mode = Mode { dfa: opts.dfa, utf: opts.utf, unchecked: !opts.utf || opts.no_utf_check, limits };
        let jit = !opts.dfa && code.prepare(opts.jit, limits);
        // the DFA matcher knows no captures
        let captures = if opts.dfa { 0 } else { code.captures() };
        Ok(Regex { code, mode, jit, offsets: vec![-1; 2 * (captures + 1)].into() })
    }

    /// Has it match in a place that is not the worker's: a thread's.
    pub fn work_at(&mut self, place: Rc<Workplace>) {
        self.code.work_at(place);
    }

    /// Whether it was compiled to machine code.
    pub fn is_jit(&self) -> bool {
        self.jit
    }

    /// How many captures it has, the whole match not counted.
    pub fn captures(&self) -> usize {
        self.offsets.len() / 2 - 1
    }

    pub fn names(&self) -> Names<'_> {
        self.code.names()
    }

    /// Where the last match was; the slice stays in place for the life of the expression.
    pub fn offsets(&self) -> &[i32] {
        &self.offsets
    }

    /// Looks for a match from byte `start` on: how many of the offsets' pairs are filled, counted to the last one that
    /// took part, or a negative error of PCRE 8.
    pub fn exec(&mut self, subject: &[u8], start: usize) -> i32 {
        if start > subject.len() {
            return BAD_OFFSET;
        }
        let rc = self.code.exec(subject, start, self.mode, self.jit, &mut self.offsets);
        let filled = 2 * usize::try_from(rc).unwrap_or(0);
        if let Some(rest) = self.offsets.get_mut(filled..) {
            rest.fill(-1);
        }
        rc
    }

    /// Appends `subject` to `out` with its first match replaced, or each. How many were, or a negative error.
    pub fn replace(&mut self, subject: &[u8], with: &Template, all: bool, out: &mut Vec<u8>) -> i32 {
        let (mut count, mut copied, mut start) = (0, 0, 0);
        loop {
            let rc = self.exec(subject, start);
            if rc == NO_MATCH {
                break;
            }
            if rc < 0 {
                return rc;
            }
            let range = |n: usize| {
                let at = |i| usize::try_from(*self.offsets.get(i)?).ok();
                Some(at(2 * n)?..at(2 * n + 1)?)
            };
            // with \K a match may start before what was copied, or after its own end
            let Some(found) = range(0) else { break };
            out.extend_from_slice(subject.get(copied..found.start).unwrap_or_default());
            with.expand(subject, range, out);
            count += 1;
            copied = found.end;
            let stuck = found.is_empty() || found.end <= start;
            start = found.end.max(start);
            if stuck {
                start = self.after_char(subject, start);
            }
            if !all || start > subject.len() {
                break;
            }
        }
        if count > 0 {
            out.extend_from_slice(subject.get(copied..).unwrap_or_default());
        }
        count
    }

    /// The byte after the character at `at`.
    fn after_char(&self, subject: &[u8], at: usize) -> usize {
        let mut next = at + 1;
        while self.mode.utf && subject.get(next).is_some_and(|b| b & 0xc0 == 0x80) {
            next += 1;
        }
        next
    }
}
