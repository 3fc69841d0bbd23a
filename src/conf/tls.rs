//! The `lua_ssl_*` directives: how scripts' sockets speak TLS.
//!
//! What is wrong with one directive is found where it stands; the context is made when levels are merged, and locations
//! that say the same as the level above share its context.

use core::cell::OnceCell;
use std::rc::Rc;

use super::settings::once;
use super::LocConf;
use crate::ngx::tls::{Context, ContextOptions, AVAILABLE, PROTOCOLS};
use crate::ngx::{Args, Cf, ConfError, Directive, Setter, LOC, MAIN, SRV};

type Result<T = ()> = core::result::Result<T, ConfError>;

/// TLS 1.0 and later, of which OpenSSL's security level decides in the end.
const DEFAULT_PROTOCOLS: u32 = 8 | 16 | 32 | 64;

/// What a location says; what it leaves open is inherited.
#[derive(Default)]
pub struct Settings {
    protocols: Option<u32>,
    ciphers: Option<Vec<u8>>,
    verify_depth: Option<u32>,
    trusted: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
    keys: Vec<Vec<u8>>,
    commands: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the last of this level's directives stands.
    position: Option<(String, usize)>,
    context: OnceCell<Rc<Context>>,
}

impl Settings {
    /// Takes over what the level above says and this one does not; both have a context afterwards.
    pub fn merge(&mut self, above: &Settings, cf: &mut Cf) -> Result {
        above.make_context(cf)?;
        self.protocols = self.protocols.or(above.protocols);
        self.verify_depth = self.verify_depth.or(above.verify_depth);
        inherit(&mut self.ciphers, &above.ciphers);
        inherit(&mut self.trusted, &above.trusted);
        inherit(&mut self.crl, &above.crl);
        if self.certificates.is_empty() && self.keys.is_empty() {
            self.certificates.clone_from(&above.certificates);
            self.keys.clone_from(&above.keys);
        }
        if self.commands.is_empty() {
            self.commands.clone_from(&above.commands);
        }
        if let (Some(context), true) = (above.context.get(), self.options()? == above.options()?) {
            // it is empty: a level is merged once
            let _ = self.context.set(Rc::clone(context));
        }
        self.make_context(cf)
    }

    pub fn make_context(&self, cf: &mut Cf) -> Result {
        if self.context.get().is_some() || !AVAILABLE {
            return Ok(());
        }
        let context = Context::new(cf, &self.options()?).map_err(|e| self.located(&e.0))?;
        let _ = self.context.set(Rc::new(context));
        Ok(())
    }

    /// What sockets shake hands by; none in an nginx without TLS.
    pub fn context(&self) -> Option<&Context> {
        self.context.get().map(|context| &**context)
    }

    /// Whether it says whom to trust.
    pub fn trusts_some(&self) -> bool {
        self.trusted.as_ref().is_some_and(|file| !file.is_empty())
    }

    fn located(&self, message: &str) -> ConfError {
        ConfError(match &self.position {
            Some((file, line)) => format!("{message}; see lua_ssl_* up to {file}:{line}"),
            None => message.to_owned(),
        })
    }

    fn options(&self) -> Result<ContextOptions> {
        if self.certificates.len() != self.keys.len() {
            let e = "each \"lua_ssl_certificate\" needs a \"lua_ssl_certificate_key\" at the same level, and the other way round";
            return Err(self.located(e));
        }
        let certificates = self.certificates.iter().cloned().zip(self.keys.iter().cloned()).collect();
        Ok(ContextOptions {
            protocols: self.protocols.unwrap_or(DEFAULT_PROTOCOLS),
            ciphers: self.ciphers.clone().unwrap_or_else(|| b"DEFAULT".to_vec()),
            verify_depth: self.verify_depth.unwrap_or(1),
            trusted: self.trusted.clone().filter(|file| !file.is_empty()),
            crl: self.crl.clone().filter(|file| !file.is_empty()),
            certificates,
            commands: self.commands.clone(),
        })
    }
}

fn inherit<T: Clone>(mine: &mut Option<T>, theirs: &Option<T>) {
    if mine.is_none() {
        mine.clone_from(theirs);
    }
}

/// A row of these.
const fn row(
    name: &'static core::ffi::CStr,
    args: Args,
    set: fn(&mut Cf, &mut LocConf) -> Result,
    doc: &'static str,
) -> Directive {
    Directive { name, contexts: MAIN | SRV | LOC, args, set: Setter::Loc(set), doc }
}

pub const DIRECTIVES: &[Directive] = &[
    row(
        c"lua_ssl_protocols",
        Args::OneOrMore,
        protocols,
        "Protocols of sockets' `sslhandshake`. Default `TLSv1 TLSv1.1 TLSv1.2 TLSv1.3`.",
    ),
    row(
        c"lua_ssl_ciphers",
        Args::One,
        ciphers,
        "Ciphers of sockets' `sslhandshake`, as OpenSSL writes them. Default `DEFAULT`.",
    ),
    row(
        c"lua_ssl_verify_depth",
        Args::One,
        verify_depth,
        "How many CA certificates may stand between a server's and a trusted one. Default 1.",
    ),
    row(
        c"lua_ssl_trusted_certificate",
        Args::One,
        trusted_certificate,
        "A PEM file of CA certificates that `sslhandshake` trusts when it is to verify.",
    ),
    row(c"lua_ssl_crl", Args::One, crl, "A PEM file of revoked certificates."),
    row(
        c"lua_ssl_certificate",
        Args::One,
        certificate,
        "A PEM file of a client certificate, with its chain, that servers are shown when they ask.",
    ),
    row(
        c"lua_ssl_certificate_key",
        Args::One,
        certificate_key,
        "The PEM file of the key of `lua_ssl_certificate`.",
    ),
    row(
        c"lua_ssl_conf_command",
        Args::Two,
        conf_command,
        "A command for OpenSSL (`SSL_CONF_cmd`) and its value, after all others.",
    ),
];

/// Notes the directive's place, and tries what it says alone: what is wrong is reported with its own line.
fn begin(cf: &mut Cf, conf: &mut LocConf, alone: ContextOptions) -> Result {
    conf.tls.position = Some(cf.position());
    Context::new(cf, &ContextOptions { protocols: DEFAULT_PROTOCOLS, verify_depth: 1, ..alone }).map(drop)
}

fn protocols(cf: &mut Cf, conf: &mut LocConf) -> Result {
    begin(cf, conf, ContextOptions::default())?;
    let mut bits = 0;
    for word in cf.args().skip(1) {
        let known = PROTOCOLS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
        let Some((_, bit)) = known else {
            let names = PROTOCOLS.map(|(name, _)| name).join(", ");
            return Err(ConfError(format!(
                "unknown protocol \"{}\": there are {names}",
                word.escape_ascii()
            )));
        };
        bits |= bit;
    }
    once(&mut conf.tls.protocols, bits)
}

fn ciphers(cf: &mut Cf, conf: &mut LocConf) -> Result {
    let ciphers = cf.arg(1).to_vec();
    begin(cf, conf, ContextOptions { ciphers: ciphers.clone(), ..ContextOptions::default() })?;
    once(&mut conf.tls.ciphers, ciphers)
}

fn verify_depth(cf: &mut Cf, conf: &mut LocConf) -> Result {
    begin(cf, conf, ContextOptions::default())?;
    let depth = cf.text(1)?.parse().ok().filter(|n| *n <= 100);
    let depth = depth.ok_or_else(|| format!("invalid number \"{}\": 0 to 100", cf.arg(1).escape_ascii()))?;
    once(&mut conf.tls.verify_depth, depth)
}

fn file(cf: &Cf) -> Option<Vec<u8>> {
    Some(cf.arg(1).to_vec()).filter(|file| !file.is_empty())
}

fn trusted_certificate(cf: &mut Cf, conf: &mut LocConf) -> Result {
    let trusted = file(cf);
    begin(cf, conf, ContextOptions { trusted: trusted.clone(), ..ContextOptions::default() })?;
    once(&mut conf.tls.trusted, trusted.unwrap_or_default())
}

fn crl(cf: &mut Cf, conf: &mut LocConf) -> Result {
    let crl = file(cf);
    begin(cf, conf, ContextOptions { crl: crl.clone(), ..ContextOptions::default() })?;
    once(&mut conf.tls.crl, crl.unwrap_or_default())
}

fn certificate(cf: &mut Cf, conf: &mut LocConf) -> Result {
    begin(cf, conf, ContextOptions::default())?;
    conf.tls.certificates.push(cf.arg(1).to_vec());
    Ok(())
}

fn certificate_key(cf: &mut Cf, conf: &mut LocConf) -> Result {
    begin(cf, conf, ContextOptions::default())?;
    conf.tls.keys.push(cf.arg(1).to_vec());
    Ok(())
}

fn conf_command(cf: &mut Cf, conf: &mut LocConf) -> Result {
    let command = (cf.arg(1).to_vec(), cf.arg(2).to_vec());
    begin(cf, conf, ContextOptions { commands: vec![command.clone()], ..ContextOptions::default() })?;
    conf.tls.commands.push(command);
    Ok(())
}
