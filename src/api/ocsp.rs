//! `ngx.ocsp`: asking an OCSP responder about a certificate, and showing clients what it has said.

use super::ssl_connection::{answer, with};
use crate::native::{natives, Str};
use crate::ngx::tls::Responder;

const NONE: i32 = -5;

natives! {
    /// Where to ask about the first certificate of `chain`; -5 if it does not say.
    fn ocsp_responder(cx, chain: bytes, out: out<Str>) -> i32 {
        let url = cx.scratch();
        match Responder::of_chain(chain, url) {
            Ok(true) => {
                out.lend(url);
                0
            }
            Ok(false) => NONE,
            Err(e) => answer(Err(e), out),
        }
    }

    fn ocsp_request(cx, chain: bytes, out: out<Str>) -> i32 {
        let question = cx.scratch();
        let written = Responder::question(chain, question);
        if written.is_ok() {
            out.lend(question);
        }
        answer(written, out)
    }

    /// Whether `response` says that the first certificate of `chain` is good, and until when (NaN: it does not say).
    fn ocsp_validate(cx, response: bytes, chain: bytes, until: out<f64>, out: out<Str>) -> i32 {
        match Responder::validate(response, chain) {
            Ok(next) => {
                *until = next.map_or(f64::NAN, |next| next as f64);
                0
            }
            Err(e) => {
                let text = cx.scratch();
                text.extend_from_slice(e.to_string().as_bytes());
                out.lend(text);
                -1
            }
        }
    }

    /// -5 if the client does not ask for it.
    fn ocsp_staple(cx, response: bytes, out: out<Str>) -> i32 {
        match with(cx, |connection| connection.staple(response)) {
            Ok(true) => 0,
            Ok(false) => NONE,
            Err(e) => answer(Err(e), out),
        }
    }
}
