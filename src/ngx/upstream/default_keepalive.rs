//! nginx's own `keepalive` where a script names the peers, and the block does not write it.
//!
//! Since 1.29.7 every block keeps connections unless it says otherwise. Which one serves an attempt goes by the peer's
//! address alone; a script may name another host at the same address, turn TLS off or choose another certificate, and
//! says itself what is to be kept. So it is as if such a block had written `keepalive 0`.

use core::ffi::CStr;
use core::mem::zeroed;
use core::ptr;

use ::ngx::ffi::{
    ngx_array_t, ngx_command_t, ngx_conf_t, ngx_http_upstream_srv_conf_t, ngx_module_t, ngx_str_t,
};

use super::super::text::bytes;

/// Turns it off, unless the block has said something about it.
///
/// # Safety
/// To be called with nginx's live parser while upstreams are initialised, for an `upstream {}` block: the keepalive
/// module comes after all of them.
pub(super) unsafe fn turn_off(cf: *mut ngx_conf_t, us: *mut ngx_http_upstream_srv_conf_t) {
    // SAFETY: the caller vouches for the parser; a module's `keepalive` reads the two words, writes into its own
    // configuration of the block, and keeps nothing of what it was given.
    unsafe {
        let Some((module, command)) = find(cf) else { return };
        let (Some(set), false) = ((*command).set, (*us).srv_conf.is_null()) else { return };
        let mut words = [word(b"keepalive"), word(b"0")];
        let mut args: ngx_array_t = zeroed();
        args.elts = words.as_mut_ptr().cast();
        args.nelts = words.len();
        args.size = size_of::<ngx_str_t>();
        args.nalloc = words.len();
        let before = ptr::replace(&raw mut (*cf).args, &raw mut args);
        // what it refuses is a second `keepalive`: then the block has its own
        let _ = set(cf, command, *(*us).srv_conf.add((*module).ctx_index));
        (*cf).args = before;
    }
}

const fn word(text: &'static [u8]) -> ngx_str_t {
    ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() }
}

/// The keepalive module of this nginx, which may have been built without, and its directive.
///
/// # Safety
/// As [`turn_off`].
unsafe fn find(cf: *mut ngx_conf_t) -> Option<(*mut ngx_module_t, *mut ngx_command_t)> {
    // SAFETY: a cycle's list of modules ends with null, a module's list of directives with an empty name.
    unsafe {
        let mut at = (*(*cf).cycle).modules;
        let module = loop {
            let module = (*at).as_mut()?;
            let is_it = |name| CStr::from_ptr(name) == c"ngx_http_upstream_keepalive_module";
            if !module.name.is_null() && is_it(module.name) {
                break module;
            }
            at = at.add(1);
        };
        let mut command = module.commands;
        while !command.is_null() && (*command).name.len > 0 {
            if bytes((*command).name) == b"keepalive" {
                return Some((module, command));
            }
            command = command.add(1);
        }
        None
    }
}
