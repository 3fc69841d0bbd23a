//! `ngx.balancer`: what a balancer_by_lua script may do to the attempt it chooses a peer for.

use crate::native::{natives, Cx, Str};
use crate::ngx::{Balancing, Refusal};
use crate::phase::Phase;

const OK: i32 = 0;
/// Done, with fewer tries than asked for.
const REDUCED: i32 = 1;
/// Refused; the reason is in `error`.
const REFUSED: i32 = -2;

natives! {
    fn balancer_set_peer(cx, address: bytes, port: val<f64>, host: bytes, error: out<Str>) -> i32 {
        answer(cx, error, |attempt| {
            // not a whole number, or none at all, is out of range too
            let port = (port.fract() == 0.0 && (0.0..=65535.0).contains(&port)).then_some(port as u16);
            let port = port.ok_or(Refusal::Address("invalid port"))?;
            attempt.set_peer(address, port, host).map(|()| OK)
        })
    }

    fn balancer_set_more_tries(cx, count: val<f64>, error: out<Str>) -> i32 {
        answer(cx, error, |attempt| {
            Ok(if attempt.set_more_tries(count.max(0.0) as usize) { REDUCED } else { OK })
        })
    }

    /// nginx's flags of how the last attempt ended, 0 if there was none; its status.
    fn balancer_last_failure(cx, status: out<i32>, error: out<Str>) -> i32 {
        answer(cx, error, |attempt| Ok(match attempt.last_failure() {
            Some((flags, code)) => { *status = code as i32; flags as i32 }
            None => 0,
        }))
    }

    /// Milliseconds; 0 leaves a timeout as it is.
    fn balancer_set_timeouts(cx, connect: val<f64>, send: val<f64>, read: val<f64>, error: out<Str>) -> i32 {
        answer(cx, error, |attempt| {
            let ms = |n: f64| (n > 0.0).then(|| (n as usize).clamp(1, i32::MAX as usize));
            attempt.set_timeouts([ms(connect), ms(send), ms(read)]).map(|()| OK)
        })
    }

    /// Milliseconds, 0 for ever; requests, 0 without a limit.
    fn balancer_enable_keepalive(cx, timeout: val<f64>, requests: val<f64>, error: out<Str>) -> i32 {
        answer(cx, error, |attempt| {
            let timeout = if timeout > 0.0 { (timeout as usize).clamp(1, i32::MAX as usize) } else { 0 };
            attempt.enable_keepalive(timeout, requests as usize).map(|()| OK)
        })
    }

    fn balancer_bind(cx, address: bytes, error: out<Str>) -> i32 {
        answer(cx, error, |attempt| attempt.bind(address).map(|()| OK))
    }

    fn balancer_set_tls(cx, on: val<i32>, error: out<Str>) -> i32 {
        answer(cx, error, |attempt| attempt.set_tls(on != 0).map(|()| OK))
    }

    fn balancer_recreate_request(cx, error: out<Str>) -> i32 {
        answer(cx, error, |attempt| attempt.recreate_request().map(|()| OK))
    }
}

/// What `f` makes of the attempt whose script is running.
fn answer(cx: Cx, error: &mut Str, f: impl FnOnce(&mut Balancing) -> Result<i32, Refusal>) -> i32 {
    let refusal = match Balancing::current() {
        Some(mut attempt) if cx.is(Phase::Balancer) => match f(&mut attempt) {
            Ok(code) => return code,
            Err(refusal) => refusal.to_string(),
        },
        _ if cx.request().is_some_and(|r| r.has_upstream()) => "API disabled in the current context".into(),
        _ => "no upstream found".into(),
    };
    let scratch = cx.scratch();
    scratch.extend_from_slice(refusal.as_bytes());
    error.lend(scratch);
    REFUSED
}
