//! `ngx.re.*`: regular expressions. The prelude keeps what is compiled; a match is one native call.

use logic::text::re_opts::ReOpts;
use logic::text::re_template::Template;

use crate::native::{natives, CType, Cx, Str};
use crate::ngx::{log_cycle, Level, Regex, RegexLimits, HAS_PCRE};

/// What Lua gets to know about a compiled expression. `offsets` and `names` live as long as `regex` does.
#[repr(C)]
pub struct Info {
    regex: *mut Regex,
    offsets: *const i32,
    names: Str,
    name_entry: i32,
    captures: i32,
    /// Options `o`, `D`, and `u` or `U`.
    once: i32,
    lists: i32,
    utf: i32,
}

/// What a configuration says about its expressions; 0 is the library's default.
#[repr(C)]
pub struct Limits {
    backtracking: u32,
    jit_stack: u32,
}

impl Limits {
    fn get(&self) -> RegexLimits {
        RegexLimits { backtracking: self.backtracking, jit_stack: self.jit_stack }
    }
}

/// A place for a compiled replacement text.
#[repr(C)]
pub struct Slot {
    template: *mut Template,
}

impl CType for Regex {
    const C: &'static str = "as_regex";
}
impl CType for Template {
    const C: &'static str = "as_template";
}
impl CType for Info {
    const C: &'static str = "as_regex_info";
}
impl CType for Limits {
    const C: &'static str = "as_regex_limits";
}
impl CType for Slot {
    const C: &'static str = "as_template_slot";
}

const BAD_OPTIONS: i32 = -1;
const BAD_PATTERN: i32 = -2;

natives! {
    /// Whether this nginx has PCRE.
    fn re_available(cx) -> i32 {
        i32::from(HAS_PCRE)
    }

    /// Compiles an expression, which Lua gives back by `re_free`. On error its text is in `error`.
    fn re_compile(cx, pattern: bytes, options: bytes, limits: out<Limits>, info: out<Info>, error: out<Str>) -> i32 {
        let text = cx.scratch();
        let (regex, opts) = match compile(pattern, options, limits, text) {
            Ok(compiled) => compiled,
            Err(code) => {
                error.lend(text);
                return code;
            }
        };
        if opts.jit && !opts.dfa {
            // the documented way to see that the JIT is there
            debug(cx, if regex.is_jit() { "pcre JIT compiling result: 1" } else { "pcre JIT compiling result: 0" });
        }
        info.set(regex, &opts);
        0
    }

    fn re_free(cx, regex: own<Regex>) -> () {
        drop(regex);
    }

    /// Looks for a match from byte `start` on; it is in the expression's `offsets`.
    fn re_exec(cx, regex: held<Regex>, subject: bytes, start: val<f64>) -> i32 {
        regex.exec(subject, start as usize)
    }

    /// Compiles a replacement text, which Lua gives back by `re_template_free`.
    fn re_template(cx, text: bytes, slot: out<Slot>) -> i32 {
        match Template::parse(text) {
            Ok(template) => {
                slot.set(template);
                0
            }
            Err(e) => {
                log(cx, Level::Error, &e.to_string());
                -1
            }
        }
    }

    fn re_template_free(cx, template: own<Template>) -> () {
        drop(template);
    }

    /// Replaces the first match or all: how many, or a negative error. The text is in `result`, if any were.
    fn re_replace(cx, regex: held<Regex>, subject: bytes, with: held<Template>, all: val<i32>, result: out<Str>) -> i32 {
        let out = cx.scratch();
        let count = regex.replace(subject, with, all != 0, out);
        result.lend(out);
        count
    }

    /// Whether memory can be had for these limits.
    fn re_limits(cx, limits: out<Limits>) -> i32 {
        i32::from(limits.get().are_possible())
    }
}

/// Compiles an expression; what is wrong with it is left in `text`.
pub(super) fn compile(
    pattern: &[u8],
    options: &[u8],
    limits: &Limits,
    text: &mut Vec<u8>,
) -> Result<(Regex, ReOpts), i32> {
    let opts = ReOpts::parse(options).map_err(|e| {
        text.extend_from_slice(&e.message());
        BAD_OPTIONS
    })?;
    let regex = Regex::compile(pattern, &opts, limits.get()).map_err(|bad| {
        bad_pattern(pattern, &bad.message, bad.offset, text);
        BAD_PATTERN
    })?;
    Ok((regex, opts))
}

impl Info {
    /// Tells Lua of `regex`, which is Lua's from here on.
    pub(super) fn set(&mut self, regex: Regex, opts: &ReOpts) {
        let regex = Box::new(regex);
        self.offsets = regex.offsets().as_ptr();
        self.captures = i32::try_from(regex.captures()).unwrap_or(0);
        let names = regex.names();
        self.names.lend(names.table);
        self.name_entry = i32::try_from(names.entry).unwrap_or(0);
        (self.once, self.lists, self.utf) =
            (opts.compile_once.into(), opts.dup_names.into(), opts.utf.into());
        self.regex = Box::into_raw(regex);
    }
}

impl Slot {
    /// Gives Lua a template.
    pub(super) fn set(&mut self, template: Template) {
        self.template = Box::into_raw(Box::new(template));
    }
}

fn bad_pattern(pattern: &[u8], message: &str, offset: usize, text: &mut Vec<u8>) {
    text.extend_from_slice(b"pcre_compile() failed: ");
    text.extend_from_slice(message.as_bytes());
    text.extend_from_slice(b" in \"");
    text.extend_from_slice(pattern);
    text.push(b'"');
    if let Some(rest) = pattern.get(offset..).filter(|rest| !rest.is_empty()) {
        text.extend_from_slice(b" at \"");
        text.extend_from_slice(rest);
        text.push(b'"');
    }
}

fn debug(cx: Cx, message: &str) {
    log(cx, Level::Debug, message);
}

fn log(cx: Cx, level: Level, message: &str) {
    match cx.request() {
        Some(request) => request.log(level, message),
        None => log_cycle(level, message),
    }
}
