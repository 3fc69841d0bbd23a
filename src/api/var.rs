//! `ngx.var`: nginx's variables.

use crate::native::{natives, Cx, Str};
use crate::ngx::{Request, Variable};

const OK: i32 = 0;
const NONE: i32 = 1;
const NO_REQUEST: i32 = -1;
const REFUSED: i32 = -2;

natives! {
    /// The number under which `var_get` and `var_set` know this variable; -1 when it is not remembered.
    fn var_id(cx, name: bytes) -> i32 {
        let id = cx.request().and_then(|r| r.main_conf().variables.id(&r, name));
        id.map_or(-1, |id| id as i32)
    }

    /// The value of variable `id`, or of the one called `name` if that number is none.
    fn var_get(cx, id: val<i32>, name: bytes, result: out<Str>) -> i32 {
        with(cx, id, name, |request, variable| lend(request.variable(variable), result))
    }

    /// What the last regular expression captured.
    fn var_capture(cx, n: val<i32>, result: out<Str>) -> i32 {
        let Some(request) = cx.request() else { return NO_REQUEST };
        let captured = usize::try_from(n).ok().filter(|n| *n > 0).and_then(|n| request.capture(n));
        lend(captured, result)
    }

    /// Sets variable `id` (or else `name`); without `given` it is left without a value. `error` gets the reason of a
    /// refusal.
    fn var_set(cx, id: val<i32>, name: bytes, value: bytes, given: val<i32>, error: out<Str>) -> i32 {
        with(cx, id, name, |request, variable| {
            match request.set_variable(variable, (given != 0).then_some(value)) {
                Ok(()) => OK,
                Err(e) => {
                    let text = cx.scratch();
                    text.extend_from_slice(e.to_string().as_bytes());
                    error.lend(text);
                    REFUSED
                }
            }
        })
    }
}

fn with(cx: Cx, id: i32, name: &[u8], f: impl FnOnce(&Request, &Variable) -> i32) -> i32 {
    let Some(request) = cx.request() else { return NO_REQUEST };
    request.main_conf().variables.with(&request, id, name, |variable| f(&request, variable))
}

fn lend(value: Option<&[u8]>, result: &mut Str) -> i32 {
    match value {
        Some(value) => {
            result.lend(value);
            OK
        }
        None => NONE,
    }
}
