//! The directives whose scripts run while hands are shaken: `ssl_*_by_lua*` and `proxy_ssl_*_by_lua*`.

use std::rc::Rc;

use super::hooks::{BLOCK, FILE};
use super::{set_once, Handler, SrvConf};
use crate::ngx::tls::SCRIPTABLE;
use crate::ngx::{Args, Cf, ConfError, Directive, Setter, LOC, LOC_IF, MAIN, SRV};
use crate::phase::Phase;

type Result = core::result::Result<(), ConfError>;

/// Scripts of a server's handshakes.
#[derive(Default)]
pub struct Hooks {
    pub client_hello: Option<Rc<Handler>>,
    pub certificate: Option<Rc<Handler>>,
    pub session_fetch: Option<Rc<Handler>>,
    pub session_store: Option<Rc<Handler>>,
    /// The last directive that means nothing without TLS, and where it stands.
    needs_tls: Option<(String, String, usize)>,
}

impl Hooks {
    /// Takes over what `http {}` says and the server does not.
    pub fn inherit(&mut self, above: &Hooks) {
        for (mine, theirs) in [
            (&mut self.client_hello, &above.client_hello),
            (&mut self.certificate, &above.certificate),
            (&mut self.session_fetch, &above.session_fetch),
            (&mut self.session_store, &above.session_store),
        ] {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        }
    }

    /// For a level of which nothing speaks TLS.
    pub fn refuse_without_tls(&self) -> Result {
        match &self.needs_tls {
            None => Ok(()),
            Some((directive, file, line)) => Err(ConfError(format!(
                "no ssl configured for the server: \"{directive}\" at {file}:{line} needs \"listen ... ssl;\", \
                 \"ssl_certificate\" and \"ssl_certificate_key\" in the same server {{}}, even if the script sets others"
            ))),
        }
    }
}

fn set(cf: &mut Cf, conf: &mut SrvConf, phase: Phase, form: u8) -> Result {
    let (directive, (file, line)) = (String::from_utf8_lossy(cf.arg(0)).into_owned(), cf.position());
    let handler = prepare(cf, phase, form)?;
    let hooks = &mut conf.tls;
    let place = match phase {
        Phase::SslClientHello => &mut hooks.client_hello,
        Phase::SslCert => &mut hooks.certificate,
        Phase::SslSessionFetch => &mut hooks.session_fetch,
        _ => &mut hooks.session_store,
    };
    // sessions' are for all servers of `http {}`, whatever these are
    if matches!(phase, Phase::SslClientHello | Phase::SslCert) {
        hooks.needs_tls = Some((directive, file, line));
    }
    set_once(place, handler)
}

fn prepare(cf: &mut Cf, phase: Phase, form: u8) -> core::result::Result<Handler, ConfError> {
    if !SCRIPTABLE {
        return Err(
            "this nginx was built without TLS for servers: no script can take part in handshakes".into()
        );
    }
    let handler = super::hooks::script(cf, phase, form, 1)?;
    cf.main_conf().use_phase(phase);
    Ok(handler)
}

fn set_upstream(cf: &mut Cf, conf: &mut super::LocConf, phase: Phase, form: u8) -> Result {
    let handler = prepare(cf, phase, form)?;
    conf.set_handler(handler)
}

/// The block and file forms of one phase's directive.
macro_rules! handshake_hook {
    ($level:ident, $set:ident, $phase:ident, $name:literal, $contexts:expr, $doc:literal) => {
        [
            handshake_hook!(@form $level, $set, $phase, concat!($name, "_by_lua_block\0"), $contexts, Block, BLOCK, $doc),
            handshake_hook!(@form $level, $set, $phase, concat!($name, "_by_lua_file\0"), $contexts, One, FILE, $doc),
        ]
    };
    (@form $level:ident, $set:ident, $phase:ident, $name:expr, $contexts:expr, $args:ident, $form:ident, $doc:literal) => {
        Directive {
            name: match core::ffi::CStr::from_bytes_with_nul($name.as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!(),
            },
            contexts: $contexts,
            args: Args::$args,
            set: Setter::$level(|cf, conf| $set(cf, conf, Phase::$phase, $form)),
            doc: $doc,
        }
    };
}

const HOOKS: [[Directive; 2]; 6] = [
    handshake_hook!(
        Srv,
        set,
        SslClientHello,
        "ssl_client_hello",
        MAIN | SRV,
        "Runs when a client's first TLS message is there; `ngx.ssl.clienthello` reads it. May wait."
    ),
    handshake_hook!(
        Srv,
        set,
        SslCert,
        "ssl_certificate",
        MAIN | SRV,
        "Chooses the certificate that a client is shown, by `ngx.ssl`. May wait."
    ),
    handshake_hook!(
        Srv,
        set,
        SslSessionFetch,
        "ssl_session_fetch",
        MAIN,
        "Looks up a client's TLS session, up to TLS 1.2, by `ngx.ssl.session`. May wait."
    ),
    handshake_hook!(
        Srv,
        set,
        SslSessionStore,
        "ssl_session_store",
        MAIN,
        "Stores a client's TLS session, up to TLS 1.2, by `ngx.ssl.session`."
    ),
    handshake_hook!(
        Loc,
        set_upstream,
        ProxySslCert,
        "proxy_ssl_certificate",
        MAIN | SRV | LOC | LOC_IF,
        "Chooses the certificate that a proxied server is shown when it asks, by `ngx.ssl.proxysslcert`. May wait."
    ),
    handshake_hook!(
        Loc,
        set_upstream,
        ProxySslVerify,
        "proxy_ssl_verify",
        MAIN | SRV | LOC | LOC_IF,
        "Judges a proxied server's certificate, by `ngx.ssl.proxysslverify`. May wait."
    ),
];

pub const DIRECTIVES: &[Directive] = &flat();

const fn flat() -> [Directive; HOOKS.len() * 2] {
    let mut out = [HOOKS[0][0]; HOOKS.len() * 2];
    let mut i = 0;
    while i < out.len() {
        out[i] = HOOKS[i / 2][i % 2];
        i += 1;
    }
    out
}
