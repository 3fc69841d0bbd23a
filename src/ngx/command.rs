//! Directives as rows of data, and the table of `ngx_command_t` that nginx reads.

use core::ffi::{c_char, c_void, CStr};
use core::mem::offset_of;
use core::ptr;

use ::ngx::ffi::{self, ngx_command_t, ngx_conf_t, ngx_http_conf_ctx_t, ngx_str_t, ngx_uint_t};

use super::conf::{Cf, ConfError};
use crate::conf::{LocConf, MainConf, SrvConf};

pub const MAIN: u32 = ffi::NGX_HTTP_MAIN_CONF;
pub const SRV: u32 = ffi::NGX_HTTP_SRV_CONF;
pub const LOC: u32 = ffi::NGX_HTTP_LOC_CONF;
pub const SRV_IF: u32 = ffi::NGX_HTTP_SIF_CONF;
pub const LOC_IF: u32 = ffi::NGX_HTTP_LIF_CONF;
pub const UPSTREAM: u32 = ffi::NGX_HTTP_UPS_CONF;

/// How many arguments a directive takes, and whether a block follows.
#[derive(Clone, Copy)]
pub enum Args {
    Flag,
    Any,
    One,
    Two,
    OneOrMore,
    TwoOrMore,
    Block,
    BlockOne,
    BlockOneOrMore,
}

/// What a directive does with its level of our configuration.
#[derive(Clone, Copy)]
pub enum Setter {
    Main(fn(&mut Cf, &mut MainConf) -> Result<(), ConfError>),
    Srv(fn(&mut Cf, &mut SrvConf) -> Result<(), ConfError>),
    Loc(fn(&mut Cf, &mut LocConf) -> Result<(), ConfError>),
}

/// One directive.
#[derive(Clone, Copy)]
pub struct Directive {
    pub name: &'static CStr,
    /// Where it may stand: [`MAIN`], [`SRV`], … or-ed.
    pub contexts: u32,
    pub args: Args,
    pub set: Setter,
    /// One line for the reference in the README.
    #[expect(dead_code, reason = "ci/reference reads it in the source")]
    pub doc: &'static str,
}

/// A table that nginx, single-threaded while it configures, may write to.
#[repr(transparent)]
pub struct Table<const N: usize>(core::cell::UnsafeCell<[ngx_command_t; N]>);

// SAFETY: only nginx's configuration parser, on one thread, reads the table.
unsafe impl<const N: usize> Sync for Table<N> {}

impl<const N: usize> Table<N> {
    pub const fn as_ptr(&self) -> *mut ngx_command_t {
        self.0.get().cast()
    }
}

const NULL: ngx_command_t = ngx_command_t {
    name: ngx_str_t { len: 0, data: ptr::null_mut() },
    type_: 0,
    set: None,
    conf: 0,
    offset: 0,
    post: ptr::null_mut(),
};

/// How many rows the table of `families` needs, with nginx's closing null row.
pub const fn rows(families: &[&'static [Directive]]) -> usize {
    let (mut n, mut i) = (1, 0);
    while i < families.len() {
        n += families[i].len();
        i += 1;
    }
    n
}

/// The nginx table of all directives of `families`.
pub const fn table<const N: usize>(families: &[&'static [Directive]]) -> Table<N> {
    let mut out = [NULL; N];
    let (mut n, mut i) = (0, 0);
    while i < families.len() {
        let mut j = 0;
        while j < families[i].len() {
            out[n] = command(&families[i][j]);
            n += 1;
            j += 1;
        }
        i += 1;
    }
    Table(core::cell::UnsafeCell::new(out))
}

const fn command(d: &'static Directive) -> ngx_command_t {
    let args = match d.args {
        Args::Flag => ffi::NGX_CONF_FLAG,
        Args::Any => ffi::NGX_CONF_ANY,
        Args::One => ffi::NGX_CONF_TAKE1,
        Args::Two => ffi::NGX_CONF_TAKE2,
        Args::OneOrMore => ffi::NGX_CONF_1MORE,
        Args::TwoOrMore => ffi::NGX_CONF_2MORE,
        Args::Block => ffi::NGX_CONF_BLOCK | ffi::NGX_CONF_NOARGS,
        Args::BlockOne => ffi::NGX_CONF_BLOCK | ffi::NGX_CONF_TAKE1,
        Args::BlockOneOrMore => ffi::NGX_CONF_BLOCK | ffi::NGX_CONF_1MORE,
    };
    let conf = match d.set {
        Setter::Main(_) => offset_of!(ngx_http_conf_ctx_t, main_conf),
        Setter::Srv(_) => offset_of!(ngx_http_conf_ctx_t, srv_conf),
        Setter::Loc(_) => offset_of!(ngx_http_conf_ctx_t, loc_conf),
    };
    ngx_command_t {
        name: ngx_str_t { len: d.name.count_bytes(), data: d.name.as_ptr() as *mut u8 },
        type_: (d.contexts | args) as ngx_uint_t,
        set: Some(set),
        conf,
        offset: 0,
        post: ptr::from_ref(d) as *mut c_void,
    }
}

/// Every directive's `set`: finds the row behind `post` and hands it its level of the configuration.
unsafe extern "C" fn set(cf: *mut ngx_conf_t, cmd: *mut ngx_command_t, conf: *mut c_void) -> *mut c_char {
    // SAFETY: `post` of each of our commands is the `Directive` that `command` put there.
    let row = unsafe { &*(*cmd).post.cast::<Directive>() };
    // SAFETY: nginx passes its live parsing state.
    let mut cf = unsafe { Cf::new(cf) };
    let result = crate::native::guard(|| {
        // SAFETY: `conf` is what our create_*_conf made for the level that `command` asked for.
        unsafe {
            match row.set {
                Setter::Main(f) => f(&mut cf, &mut *conf.cast::<MainConf>()),
                Setter::Srv(f) => f(&mut cf, &mut *conf.cast::<SrvConf>()),
                Setter::Loc(f) => f(&mut cf, &mut *conf.cast::<LocConf>()),
            }
        }
    });
    match result {
        Some(Ok(())) => ptr::null_mut(),
        Some(Err(e)) => {
            // as nginx completes what its own directives return
            if e.0.starts_with("is ") {
                cf.emerg(&format!("\"{}\" directive {}", row.name.to_string_lossy(), e.0));
            } else {
                cf.emerg(&e.0);
            }
            ::ngx::core::NGX_CONF_ERROR
        }
        None => ::ngx::core::NGX_CONF_ERROR,
    }
}
