//! `ngx.ssl.session` and `ngx.ssl.proxysslverify`: what only the script of a handshake can know.

use std::rc::Rc;

use super::ssl_connection::answer;
use crate::native::{natives, Cx, Handle, Str};
use crate::ngx::tls::Handshake;

fn handshake(cx: Cx) -> Result<Rc<Handshake>, &'static str> {
    cx.background().and_then(|background| background.handshake()).ok_or("bad request")
}

natives! {
    /// `what`: 0 the session's id, 1 the session.
    fn ssl_session_read(cx, what: val<i32>, out: out<Str>) -> i32 {
        let text = cx.scratch();
        let read = handshake(cx).and_then(|handshake| match what {
            0 => handshake.session_id(text),
            _ => handshake.write_session(text),
        });
        if read.is_ok() {
            out.lend(text);
        }
        answer(read, out)
    }

    fn ssl_session_found(cx, session: bytes, out: out<Str>) -> i32 {
        answer(handshake(cx).and_then(|handshake| handshake.found_session(session)), out)
    }

    /// Where the table lies that `ngx.ctx` was while the request's client shook hands; 0 if nowhere.
    fn ssl_ctx_slot(cx) -> i32 {
        cx.request().map_or(0, |request| request.handshake_table())
    }

    /// OpenSSL's number for what is wrong with a server's certificate; -1 where nobody knows.
    fn ssl_verify_result(cx, out: out<Str>) -> i32 {
        match handshake(cx).and_then(|handshake| handshake.verify_result().ok_or("bad ssl conn")) {
            Ok(result) => result,
            Err(e) => answer(Err(e), out),
        }
    }

    fn ssl_set_verify_result(cx, result: val<i32>, out: out<Str>) -> i32 {
        answer(handshake(cx).map(|handshake| handshake.set_verify_result(result)), out)
    }

    /// A server's certificates; Lua gives them back by `ssl_chain_free`.
    fn ssl_verify_chain(cx, slot: out<Handle>, out: out<Str>) -> i32 {
        let chain = handshake(cx).and_then(|handshake| handshake.server_certificate().ok_or("bad ssl conn"));
        answer(chain.map(|address| slot.point(address)), out)
    }

    fn ssl_x509_free(cx, x509: our<crate::ngx::tls::Certificate>) -> () {
        x509.give_back();
    }

    fn ssl_session_reused(cx, ssl: our<crate::ngx::tls::RawConnection>) -> i32 {
        ssl.is_reused().into()
    }
}
