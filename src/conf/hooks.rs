//! The `*_by_lua*` directives.

use super::handler::Handler;
use super::upstreams::two_choosers;
use super::{set_once, LocConf, MainConf, SrvConf};
use crate::ngx::{Args, Cf, ConfError, Directive, SetVar, Setter, LOC, LOC_IF, MAIN, SRV, SRV_IF, UPSTREAM};
use crate::phase::{Phase, ALL};

type Result = core::result::Result<(), ConfError>;

const EVERYWHERE: u32 = MAIN | SRV | LOC | LOC_IF;

/// The block, file and string forms of one phase's directive.
macro_rules! hook {
    ($level:ident, $phase:ident, $name:literal, $contexts:expr, $doc:literal) => {
        [
            hook!(@form $level, $phase, concat!($name, "_by_lua_block\0"), $contexts, Block, BLOCK, $doc),
            hook!(@form $level, $phase, concat!($name, "_by_lua_file\0"), $contexts, One, FILE, $doc),
            hook!(@form $level, $phase, concat!($name, "_by_lua\0"), $contexts, One, STRING, $doc),
        ]
    };
    (@form $level:ident, $phase:ident, $name:expr, $contexts:expr, $args:ident, $form:ident, $doc:literal) => {
        Directive {
            name: match core::ffi::CStr::from_bytes_with_nul($name.as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!(),
            },
            contexts: $contexts,
            args: Args::$args,
            set: Setter::$level($level::<{ Phase::$phase as u32 }, $form>),
            doc: $doc,
        }
    };
}

pub(super) const BLOCK: u8 = 0;
pub(super) const FILE: u8 = 1;
const STRING: u8 = 2;

const HOOKS: [[Directive; 3]; 12] = [
    hook!(Main, Init, "init", MAIN, "Runs once, when the configuration is loaded, in the master process."),
    hook!(Main, InitWorker, "init_worker", MAIN, "Runs once in each worker process when it starts."),
    hook!(Main, ExitWorker, "exit_worker", MAIN, "Runs once in each worker process when it stops."),
    hook!(
        Loc,
        ServerRewrite,
        "server_rewrite",
        MAIN | SRV,
        "Runs in the server rewrite phase, before a location is chosen."
    ),
    hook!(Loc, Rewrite, "rewrite", EVERYWHERE, "Runs at the end of the rewrite phase."),
    hook!(Loc, Access, "access", EVERYWHERE, "Runs at the end of the access phase; `ngx.exit(403)` refuses."),
    hook!(
        Loc,
        Precontent,
        "precontent",
        EVERYWHERE,
        "Runs at the end of the precontent phase: after `mirror` and `try_files`, before the content."
    ),
    hook!(Loc, Content, "content", LOC | LOC_IF, "Produces the response."),
    hook!(
        Loc,
        HeaderFilter,
        "header_filter",
        EVERYWHERE,
        "Runs when the response header is about to be sent."
    ),
    hook!(
        Loc,
        BodyFilter,
        "body_filter",
        EVERYWHERE,
        "Runs for each piece of the response body, in `ngx.arg[1]`."
    ),
    hook!(Loc, Log, "log", EVERYWHERE, "Runs after the response, in the log phase."),
    hook!(Srv, Balancer, "balancer", UPSTREAM, "Chooses the upstream peer, by `ngx.balancer`."),
];

const COUNT: usize = HOOKS.len() * 3 + SETS.len();

const SETS: [Directive; 3] = [
    Directive {
        name: c"set_by_lua_block",
        contexts: SRV | SRV_IF | LOC | LOC_IF,
        args: Args::BlockOne,
        set: Setter::Loc(set_by_lua::<BLOCK>),
        doc: "Sets a variable to what the script returns.",
    },
    Directive {
        name: c"set_by_lua_file",
        contexts: SRV | SRV_IF | LOC | LOC_IF,
        args: Args::TwoOrMore,
        set: Setter::Loc(set_by_lua::<FILE>),
        doc: "Sets a variable to what the script returns; further words are `ngx.arg[n]`.",
    },
    Directive {
        name: c"set_by_lua",
        contexts: SRV | SRV_IF | LOC | LOC_IF,
        args: Args::TwoOrMore,
        set: Setter::Loc(set_by_lua::<STRING>),
        doc: "Sets a variable to what the script returns; further words are `ngx.arg[n]`.",
    },
];

pub const DIRECTIVES: &[Directive] = &flat();

const fn flat() -> [Directive; COUNT] {
    let mut out = [SETS[0]; COUNT];
    let mut i = 0;
    while i < COUNT {
        out[i] = if i < HOOKS.len() * 3 { HOOKS[i / 3][i % 3] } else { SETS[i - HOOKS.len() * 3] };
        i += 1;
    }
    out
}

/// The script that the directive being parsed gives, its text or path in word `word`.
pub(super) fn script(
    cf: &mut Cf,
    phase: Phase,
    form: u8,
    word: usize,
) -> core::result::Result<Handler, ConfError> {
    let line = cf.position().1;
    match form {
        FILE => Handler::file(cf, phase, word),
        STRING => Handler::inline(cf, phase, cf.arg(word).to_vec(), line),
        _ => {
            let code = cf.lua_block()?;
            Handler::inline(cf, phase, code, line)
        }
    }
}

fn phase_of(bit: u32) -> Phase {
    ALL[bit.trailing_zeros() as usize]
}

#[allow(non_snake_case)]
fn Main<const PHASE: u32, const FORM: u8>(cf: &mut Cf, conf: &mut MainConf) -> Result {
    let phase = phase_of(PHASE);
    let handler = script(cf, phase, FORM, 1)?;
    let place = match phase {
        Phase::Init => &mut conf.init,
        Phase::InitWorker => &mut conf.init_worker,
        _ => &mut conf.exit_worker,
    };
    set_once(place, handler)
}

#[allow(non_snake_case)]
fn Loc<const PHASE: u32, const FORM: u8>(cf: &mut Cf, conf: &mut LocConf) -> Result {
    let handler = script(cf, phase_of(PHASE), FORM, 1)?;
    cf.main_conf().use_phase(handler.phase);
    if handler.phase == Phase::Content {
        cf.handle_content();
    }
    conf.set_handler(handler)
}

#[allow(non_snake_case)]
fn Srv<const PHASE: u32, const FORM: u8>(cf: &mut Cf, conf: &mut SrvConf) -> Result {
    let handler = script(cf, phase_of(PHASE), FORM, 1)?;
    cf.main_conf().use_phase(handler.phase);
    set_once(&mut conf.balancer, handler)?;
    if conf.upstream.balance.is_some() {
        return Err(two_choosers());
    }
    cf.balance_by_script(&mut conf.balancing)
}

fn set_by_lua<const FORM: u8>(cf: &mut Cf, _: &mut LocConf) -> Result {
    let handler = script(cf, Phase::Set, FORM, 2)?;
    SetVar::compile(cf, handler)
}
