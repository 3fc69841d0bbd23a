//! The natives of VMs beside the worker's: `ngx.re` and `ngx.shared` in a thread.
//!
//! What a native leaves for Lua lies in a buffer that it shares with others, and an expression matches in a place that it
//! shares with others. For the worker both are global; a VM that a thread uses has its own, and natives that take it.

use std::rc::Rc;

use logic::text::re_template::Template;

use super::re::{compile, Info, Limits, Slot};
use super::{dict, re};
use crate::native::{natives, CType, DictValue, Native, Str};
use crate::ngx::dict::Dict;
use crate::ngx::{Regex, RegexPlace};

/// What such a VM has in place of the worker's.
#[derive(Default)]
pub struct Side {
    buffer: Vec<u8>,
    place: Rc<RegexPlace>,
}

impl CType for Side {
    const C: &'static str = "void";
}

impl Side {
    fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer.clear();
        &mut self.buffer
    }
}

natives! {
    fn side_dict_get(cx, side: held<Side>, dict: our<Dict>, key: bytes, stale: val<i32>, value: out<DictValue>) -> i32 {
        dict::get(dict, key, stale != 0, value, side.buffer())
    }

    fn side_dict_pop(cx, side: held<Side>, dict: our<Dict>, head: val<i32>, key: bytes, value: out<DictValue>) -> i32 {
        dict::pop(dict, head, key, value, side.buffer())
    }

    fn side_dict_keys(cx, side: held<Side>, dict: our<Dict>, max: val<f64>, value: out<DictValue>) -> f64 {
        dict::keys(dict, max, value, side.buffer())
    }

    fn side_re_available(cx) -> i32 {
        i32::from(crate::ngx::PCRE_IN_THREADS)
    }

    fn side_re_compile(cx, side: held<Side>, pattern: bytes, options: bytes, limits: out<Limits>, info: out<Info>, error: out<Str>) -> i32 {
        let place = Rc::clone(&side.place);
        let text = side.buffer();
        match compile(pattern, options, limits, text) {
            Ok((mut regex, opts)) => {
                regex.work_at(place);
                info.set(regex, &opts);
                0
            }
            Err(code) => {
                error.lend(text);
                code
            }
        }
    }

    /// -1 for a text that is no template; why is not told.
    fn side_re_template(cx, text: bytes, slot: out<Slot>) -> i32 {
        match Template::parse(text) {
            Ok(template) => {
                slot.set(template);
                0
            }
            Err(_) => -1,
        }
    }

    fn side_re_replace(cx, side: held<Side>, regex: held<Regex>, subject: bytes, with: held<Template>, all: val<i32>, result: out<Str>) -> i32 {
        let out = side.buffer();
        let count = regex.replace(subject, with, all != 0, out);
        result.lend(out);
        count
    }
}

/// Natives of the worker's VM that use nothing of the worker's: the regular expression they are given knows its place.
const SAME: [&str; 16] = [
    "dict_put_text",
    "dict_put_other",
    "dict_incr",
    "dict_incr_init",
    "dict_push_text",
    "dict_push_number",
    "dict_len",
    "dict_ttl",
    "dict_expire",
    "dict_flush_all",
    "dict_flush_expired",
    "dict_capacity",
    "dict_free_space",
    "re_free",
    "re_exec",
    "re_template_free",
];

/// The natives of a VM beside the worker's.
pub fn natives() -> impl Iterator<Item = &'static Native> {
    let same = dict::NATIVES.iter().chain(re::NATIVES).filter(|native| SAME.contains(&native.name));
    NATIVES.iter().chain(same)
}

/// The prelude files that it has from the worker's.
pub const FILES: [(&str, &str); 2] = [("dict", include_str!("dict.lua")), ("re", include_str!("re.lua"))];
