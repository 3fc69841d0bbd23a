//! The `lua_*` directives that set a value.

use std::rc::Rc;

use super::{LocConf, MainConf};
use crate::ngx::dict::Dict;
use crate::ngx::{Args, Capture, Cf, ConfError, Directive, Setter, LOC, LOC_IF, MAIN, SRV};
use crate::phase::Phase;

type Result = core::result::Result<(), ConfError>;

pub const EVERYWHERE: u32 = MAIN | SRV | LOC | LOC_IF;

/// Values of `http {}`.
#[derive(Default)]
pub struct MainSettings {
    pub package_path: Option<Vec<u8>>,
    pub package_cpath: Option<Vec<u8>>,
    pub regex_cache_max_entries: Option<u32>,
    pub regex_match_limit: Option<u32>,
    pub thread_cache_max_entries: Option<u32>,
    pub max_pending_timers: Option<u32>,
    pub max_running_timers: Option<u32>,
    pub worker_thread_vm_pool_size: Option<u32>,
    pub malloc_trim: Option<u32>,
    pub sa_restart: Option<bool>,
    pub rewrite_no_postpone: Option<bool>,
    pub access_no_postpone: Option<bool>,
    pub precontent_no_postpone: Option<bool>,
    pub dicts: Vec<Rc<Dict>>,
}

impl MainSettings {
    /// Whether the requests of a location share one VM.
    pub fn code_cache(&self, loc: &LocConf) -> bool {
        loc.settings.code_cache.unwrap_or(true)
    }
}

/// Values of a location.
#[derive(Default)]
pub struct LocSettings {
    pub code_cache: Option<bool>,
    pub need_request_body: Option<bool>,
    pub use_default_type: Option<bool>,
    pub http10_buffering: Option<bool>,
    pub transform_underscores: Option<bool>,
    pub check_client_abort: Option<bool>,
}

impl LocSettings {
    pub fn merge(&mut self, above: &LocSettings) {
        let inherit = |mine: &mut Option<bool>, theirs: Option<bool>| *mine = mine.or(theirs);
        inherit(&mut self.code_cache, above.code_cache);
        inherit(&mut self.need_request_body, above.need_request_body);
        inherit(&mut self.use_default_type, above.use_default_type);
        inherit(&mut self.http10_buffering, above.http10_buffering);
        inherit(&mut self.transform_underscores, above.transform_underscores);
        inherit(&mut self.check_client_abort, above.check_client_abort);
    }
}

impl LocConf {
    pub fn use_default_type(&self) -> bool {
        self.settings.use_default_type.unwrap_or(true)
    }

    pub fn transform_underscores(&self) -> bool {
        self.settings.transform_underscores.unwrap_or(true)
    }

    pub fn check_client_abort(&self) -> bool {
        self.settings.check_client_abort.unwrap_or(false)
    }

    pub fn http10_buffering(&self) -> bool {
        self.settings.http10_buffering.unwrap_or(true)
    }
}

/// A row whose value is `on` or `off`, in the location's settings or the main ones.
macro_rules! flag {
    ($level:ident, $name:literal, $field:ident, $contexts:expr, $doc:literal) => {
        Directive {
            name: $name,
            contexts: $contexts,
            args: Args::Flag,
            set: Setter::$level(|cf, conf| once(&mut conf.settings.$field, flag(cf)?)),
            doc: $doc,
        }
    };
}

/// A row whose value is a count.
macro_rules! count {
    ($name:literal, $field:ident, $doc:literal) => {
        Directive {
            name: $name,
            contexts: MAIN,
            args: Args::One,
            set: Setter::Main(|cf, conf| once(&mut conf.settings.$field, count(cf)?)),
            doc: $doc,
        }
    };
}

pub const DIRECTIVES: &[Directive] = &[
    Directive {
        name: c"lua_package_path",
        contexts: MAIN,
        args: Args::One,
        set: Setter::Main(|cf, conf| once(&mut conf.settings.package_path, cf.arg(1).to_vec())),
        doc: "`package.path` of the scripts; `;;` stands for the built-in path, `$prefix` for nginx's.",
    },
    Directive {
        name: c"lua_package_cpath",
        contexts: MAIN,
        args: Args::One,
        set: Setter::Main(|cf, conf| once(&mut conf.settings.package_cpath, cf.arg(1).to_vec())),
        doc: "`package.cpath` of the scripts; `;;` stands for the built-in path, `$prefix` for nginx's.",
    },
    Directive {
        name: c"lua_code_cache",
        contexts: EVERYWHERE,
        args: Args::Flag,
        set: Setter::Loc(code_cache),
        doc: "`off`: each request gets a Lua VM of its own, and compiles its scripts anew. For development.",
    },
    flag!(
        Loc,
        c"lua_need_request_body",
        need_request_body,
        EVERYWHERE,
        "`on`: the body is read before a script runs."
    ),
    flag!(
        Loc,
        c"lua_use_default_type",
        use_default_type,
        EVERYWHERE,
        "`off`: no `Content-Type` from `default_type`."
    ),
    flag!(
        Loc,
        c"lua_http10_buffering",
        http10_buffering,
        EVERYWHERE,
        "`off`: HTTP/1.0 clients get output as it comes."
    ),
    flag!(
        Loc,
        c"lua_transform_underscores_in_response_headers",
        transform_underscores,
        EVERYWHERE,
        "`off`: `ngx.header.a_b` stays `a_b` instead of `a-b`."
    ),
    flag!(
        Loc,
        c"lua_check_client_abort",
        check_client_abort,
        EVERYWHERE,
        "`on`: a script that waits learns of its client's going by `ngx.on_abort`, or is ended. HTTP/1 only."
    ),
    flag!(
        Main,
        c"rewrite_by_lua_no_postpone",
        rewrite_no_postpone,
        MAIN,
        "`on`: `rewrite_by_lua` runs before the rewrite module."
    ),
    flag!(
        Main,
        c"access_by_lua_no_postpone",
        access_no_postpone,
        MAIN,
        "`on`: `access_by_lua` runs before the access modules."
    ),
    flag!(
        Main,
        c"precontent_by_lua_no_postpone",
        precontent_no_postpone,
        MAIN,
        "`on`: `precontent_by_lua` runs before `mirror` and `try_files`."
    ),
    flag!(Main, c"lua_sa_restart", sa_restart, MAIN, "`off`: signals interrupt system calls in workers."),
    Directive {
        name: c"lua_load_resty_core",
        contexts: MAIN,
        args: Args::Flag,
        set: Setter::Main(load_resty_core),
        doc: "Accepted and ignored: what lua-resty-core adds is built in.",
    },
    count!(
        c"lua_regex_cache_max_entries",
        regex_cache_max_entries,
        "How many compiled regexes a worker keeps for option `o`."
    ),
    count!(c"lua_regex_match_limit", regex_match_limit, "PCRE's match limit; 0 is PCRE's default."),
    count!(
        c"lua_thread_cache_max_entries",
        thread_cache_max_entries,
        "How many finished coroutines a worker keeps for reuse."
    ),
    count!(
        c"lua_max_pending_timers",
        max_pending_timers,
        "How many timers of a worker may wait at a time. Default 1024."
    ),
    count!(
        c"lua_max_running_timers",
        max_running_timers,
        "How many timers' functions of a worker may run at a time. Default 256."
    ),
    count!(
        c"lua_worker_thread_vm_pool_size",
        worker_thread_vm_pool_size,
        "How many VMs a worker makes for `ngx.run_worker_thread`. Default 100."
    ),
    Directive {
        name: c"lua_malloc_trim",
        contexts: MAIN,
        args: Args::One,
        set: Setter::Main(malloc_trim),
        doc: "Every so many requests, free memory goes back to the system; 0 is never. Default 1000, from `log_by_lua`.",
    },
    Directive {
        name: c"lua_capture_error_log",
        contexts: MAIN,
        args: Args::One,
        set: Setter::Main(capture_error_log),
        doc: "Size of the buffer that `ngx.errlog` reads captured log lines from.",
    },
];

pub fn once<T>(place: &mut Option<T>, value: T) -> Result {
    if place.is_some() {
        return Err("is duplicate".into());
    }
    *place = Some(value);
    Ok(())
}

pub fn flag(cf: &Cf) -> core::result::Result<bool, ConfError> {
    match cf.arg(1).to_ascii_lowercase().as_slice() {
        b"on" => Ok(true),
        b"off" => Ok(false),
        other => Err(ConfError(format!(
            "invalid value \"{}\", it must be \"on\" or \"off\"",
            other.escape_ascii()
        ))),
    }
}

fn count(cf: &Cf) -> core::result::Result<u32, ConfError> {
    cf.text(1)?.parse().map_err(|_| ConfError(format!("invalid number \"{}\"", cf.arg(1).escape_ascii())))
}

/// `512`, `12k`, `3m` as bytes.
pub fn size(word: &[u8]) -> Option<usize> {
    let (digits, unit) = match word.split_last()? {
        (b'k' | b'K', digits) => (digits, 1024),
        (b'm' | b'M', digits) => (digits, 1024 * 1024),
        _ => (word, 1),
    };
    core::str::from_utf8(digits).ok()?.parse::<usize>().ok()?.checked_mul(unit)
}

/// nginx's longest line, and some room.
const MIN_CAPTURE: usize = 4096;

fn capture_error_log(cf: &mut Cf, conf: &mut MainConf) -> Result {
    let Some(size) = size(cf.arg(1)).filter(|n| *n >= MIN_CAPTURE) else {
        return Err(ConfError(format!(
            "invalid capture error log size \"{}\", minimum size is {MIN_CAPTURE}",
            cf.arg(1).escape_ascii()
        )));
    };
    once(&mut conf.capture, Capture::new(size).ok_or("out of memory")?)
}

fn malloc_trim(cf: &mut Cf, conf: &mut MainConf) -> Result {
    let every = count(cf)?;
    if every > 0 {
        conf.use_phase(Phase::Log);
    }
    once(&mut conf.settings.malloc_trim, every)
}

/// Off is for development: each request gets a VM of its own.
fn code_cache(cf: &mut Cf, conf: &mut LocConf) -> Result {
    let on = flag(cf)?;
    if !on {
        cf.alert("lua_code_cache is off; this will hurt performance");
    }
    once(&mut conf.settings.code_cache, on)
}

fn load_resty_core(cf: &mut Cf, _: &mut MainConf) -> Result {
    flag(cf)?;
    cf.warn("lua_load_resty_core is deprecated: what lua-resty-core adds is built in, and always there");
    Ok(())
}
