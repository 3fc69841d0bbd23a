//! `ngx.ssl`, as far as it needs no connection: certificates and keys.

use core::ptr::NonNull;

use crate::native::{natives, Cx, Handle, Str};
use crate::ngx::tls::{Chain, Key};

const OK: i32 = 0;
const FAILED: i32 = -1;

fn keep<T>(parsed: Result<NonNull<T>, &'static str>, slot: &mut Handle, message: &mut Str) -> i32 {
    match parsed {
        Ok(object) => {
            slot.point(object.as_ptr() as usize);
            OK
        }
        Err(e) => {
            message.lend(e.as_bytes());
            FAILED
        }
    }
}

/// Lends `out` the DER form that `write` writes.
fn lend(cx: Cx, write: impl FnOnce(&mut Vec<u8>) -> bool, out: &mut Str, why: &'static str) -> i32 {
    let der = cx.scratch();
    if write(der) {
        out.lend(der);
        return OK;
    }
    out.lend(why.as_bytes());
    FAILED
}

natives! {
    /// Reads certificates; Lua gives them back by `ssl_chain_free`. `der`: 0 they are in PEM format.
    fn ssl_chain(cx, text: bytes, der: val<i32>, slot: out<Handle>, message: out<Str>) -> i32 {
        keep(if der != 0 { Chain::from_der(text) } else { Chain::from_pem(text) }, slot, message)
    }

    fn ssl_chain_free(cx, chain: our<Chain>) -> () {
        chain.give_back();
    }

    fn ssl_chain_der(cx, chain: our<Chain>, out: out<Str>) -> i32 {
        lend(cx, |der| chain.write_der(der), out, "i2d_X509() failed")
    }

    /// Reads a private key; Lua gives it back by `ssl_key_free`.
    fn ssl_key(cx, text: bytes, passphrase: bytes, der: val<i32>, slot: out<Handle>, message: out<Str>) -> i32 {
        keep(if der != 0 { Key::from_der(text) } else { Key::from_pem(text, passphrase) }, slot, message)
    }

    fn ssl_key_free(cx, key: our<Key>) -> () {
        key.give_back();
    }

    fn ssl_key_der(cx, key: our<Key>, out: out<Str>) -> i32 {
        lend(cx, |der| key.write_der(der), out, "i2d_PrivateKey() failed")
    }
}
