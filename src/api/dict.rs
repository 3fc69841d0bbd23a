//! `ngx.shared.DICT`.
//!
//! A dictionary comes from Lua as the address that the VM was given at start. What an operation cannot do, it says as a
//! [`Refusal`]'s number, which `dict.lua` turns into words.

use crate::native::{natives, DictValue};
use crate::ngx::dict::{Dict, End, Found, Init, Put, Read, Refusal, Stored, Value, When};

const BOOLEAN: i32 = 1;
const NUMBER: i32 = 3;
const TEXT: i32 = 4;
/// Added when the value has flags or has expired.
const MORE: i32 = 8;

const EMPTY_KEY: i32 = 8;
const LONG_KEY: i32 = 9;

fn code(refusal: Refusal) -> i32 {
    match refusal {
        Refusal::NoMemory => 1,
        Refusal::Exists => 2,
        Refusal::NotFound => 3,
        Refusal::NotNumber => 4,
        Refusal::NotList => 5,
        Refusal::IsList => 6,
        Refusal::NilValue => 7,
    }
}

/// What is wrong with `key`, or 0.
#[inline(always)]
fn bad(key: &[u8]) -> i32 {
    match key.len() {
        0 => EMPTY_KEY,
        1..=0xffff => 0,
        _ => LONG_KEY,
    }
}

/// Refusal and whether others had to go, in one number; 0 is neither.
#[inline(always)]
fn stored<T>(stored: Stored<T>) -> i32 {
    stored.result.err().map_or(0, code) * 2 + i32::from(stored.forcible)
}

/// Seconds as milliseconds: whole ones, but what is to expire does.
#[inline(always)]
fn ttl(seconds: f64) -> u64 {
    if seconds == 0.0 {
        return 0;
    }
    // a cast saturates, and NaN becomes 0
    match (seconds * 1000.0) as u64 {
        0 if seconds > 0.0 => 1,
        ms => ms,
    }
}

/// Flags as unsigned 32 bits; negative numbers wrap as they do in C.
#[inline(always)]
fn flags(n: f64) -> u32 {
    if n == 0.0 {
        return 0;
    }
    n as i64 as u32
}

/// `op` as Lua counts: 0 set, 1 add, 2 replace; plus 4 for the safe ones.
#[inline(always)]
fn put(dict: &Dict, op: i32, key: &[u8], value: Value, seconds: f64, user_flags: f64) -> i32 {
    let refused = bad(key);
    if refused != 0 {
        return refused * 2;
    }
    let when = match op & 3 {
        0 => When::Always,
        1 => When::Absent,
        _ => When::Present,
    };
    let put = Put { key, value, ttl: ttl(seconds), flags: flags(user_flags), when, safe: op & 4 != 0 };
    stored(dict.put(&put))
}

fn end(head: i32) -> End {
    if head != 0 {
        End::Head
    } else {
        End::Tail
    }
}

fn push(dict: &Dict, head: i32, key: &[u8], value: Value) -> i32 {
    match bad(key) {
        0 => match dict.push(key, end(head), value) {
            Ok(n) => i32::try_from(n).unwrap_or(i32::MAX),
            Err(e) => -code(e),
        },
        refused => -refused,
    }
}

/// The kind of the value under `key`; its text is left in `text`.
#[inline(always)]
pub(super) fn get(dict: &Dict, key: &[u8], stale: bool, value: &mut DictValue, text: &mut Vec<u8>) -> i32 {
    let refused = bad(key);
    if refused != 0 {
        return -refused;
    }
    let read = match dict.get(key, stale, text) {
        Ok(Some(read)) => read,
        Ok(None) => return 0,
        Err(e) => return -code(e),
    };
    let Read { value: found, flags, stale } = read;
    let kind = value.set(found, text);
    if flags == 0 && !stale {
        return kind;
    }
    (value.flags, value.stale) = (flags, u32::from(stale));
    kind + MORE
}

pub(super) fn pop(dict: &Dict, head: i32, key: &[u8], value: &mut DictValue, text: &mut Vec<u8>) -> i32 {
    match bad(key) {
        0 => match dict.pop(key, end(head), text) {
            Ok(Some(found)) => value.set(found, text),
            Ok(None) => 0,
            Err(e) => -code(e),
        },
        refused => -refused,
    }
}

pub(super) fn keys(dict: &Dict, max: f64, value: &mut DictValue, keys: &mut Vec<u8>) -> f64 {
    match dict.keys(max as usize, keys) {
        Ok(n) => {
            value.set(Found::Text, keys);
            n as f64
        }
        Err(e) => -f64::from(code(e)),
    }
}

natives! {
    /// The kind of the value under `key`, the value itself in `value`.
    fn dict_get(cx, dict: our<Dict>, key: bytes, stale: val<i32>, value: out<DictValue>) -> i32 {
        get(dict, key, stale != 0, value, cx.scratch())
    }

    fn dict_put_text(cx, dict: our<Dict>, op: val<i32>, key: bytes, text: bytes, seconds: val<f64>, user_flags: val<f64>) -> i32 {
        put(dict, op, key, Value::Text(text), seconds, user_flags)
    }

    /// For the values that are a number, or can be told as one.
    fn dict_put_other(cx, dict: our<Dict>, op: val<i32>, key: bytes, kind: val<i32>, number: val<f64>, seconds: val<f64>, user_flags: val<f64>) -> i32 {
        let value = match kind {
            NUMBER => Value::Number(number),
            BOOLEAN => Value::Boolean(number != 0.0),
            _ => Value::Nil,
        };
        put(dict, op, key, value, seconds, user_flags)
    }

    fn dict_incr(cx, dict: our<Dict>, key: bytes, by: val<f64>, number: out<f64>) -> i32 {
        incr(dict, key, by, None, number)
    }

    fn dict_incr_init(cx, dict: our<Dict>, key: bytes, by: val<f64>, from: val<f64>, seconds: val<f64>, number: out<f64>) -> i32 {
        incr(dict, key, by, Some(&Init { from, ttl: ttl(seconds) }), number)
    }

    fn dict_push_text(cx, dict: our<Dict>, head: val<i32>, key: bytes, text: bytes) -> i32 {
        push(dict, head, key, Value::Text(text))
    }

    fn dict_push_number(cx, dict: our<Dict>, head: val<i32>, key: bytes, number: val<f64>) -> i32 {
        push(dict, head, key, Value::Number(number))
    }

    /// Like `dict_get`, for the element that is taken out.
    fn dict_pop(cx, dict: our<Dict>, head: val<i32>, key: bytes, value: out<DictValue>) -> i32 {
        pop(dict, head, key, value, cx.scratch())
    }

    fn dict_len(cx, dict: our<Dict>, key: bytes) -> i32 {
        match bad(key) {
            0 => dict.len(key).map_or_else(|e| -code(e), |n| i32::try_from(n).unwrap_or(i32::MAX)),
            refused => -refused,
        }
    }

    /// Seconds, 0 is never; negative is a refusal.
    fn dict_ttl(cx, dict: our<Dict>, key: bytes) -> f64 {
        match bad(key) {
            0 => dict.ttl(key).map_or_else(|| -f64::from(code(Refusal::NotFound)), |ms| ms as f64 / 1000.0),
            refused => -f64::from(refused),
        }
    }

    fn dict_expire(cx, dict: our<Dict>, key: bytes, seconds: val<f64>) -> i32 {
        match bad(key) {
            0 if dict.expire(key, ttl(seconds)) => 0,
            0 => code(Refusal::NotFound),
            refused => refused,
        }
    }

    fn dict_flush_all(cx, dict: our<Dict>) -> () {
        dict.flush_all();
    }

    fn dict_flush_expired(cx, dict: our<Dict>, max: val<f64>) -> f64 {
        dict.flush_expired(max as usize) as f64
    }

    /// How many keys there are in `keys`: each as two bytes of length, low one first, and its text.
    fn dict_keys(cx, dict: our<Dict>, max: val<f64>, value: out<DictValue>) -> f64 {
        keys(dict, max, value, cx.scratch())
    }

    fn dict_capacity(cx, dict: our<Dict>) -> f64 {
        dict.capacity() as f64
    }

    fn dict_free_space(cx, dict: our<Dict>) -> f64 {
        dict.free_space() as f64
    }
}

#[inline(always)]
fn incr(dict: &Dict, key: &[u8], by: f64, init: Option<&Init>, number: &mut f64) -> i32 {
    let refused = bad(key);
    if refused != 0 {
        return refused * 2;
    }
    let incremented = dict.incr(key, by, init);
    *number = incremented.result.unwrap_or(0.0);
    stored(incremented)
}

impl DictValue {
    /// Hands `found` to Lua, whose bytes (if it is a text) are `text`; returns its kind.
    #[inline(always)]
    fn set(&mut self, found: Found, text: &[u8]) -> i32 {
        match found {
            Found::Number(n) => {
                self.number = n;
                NUMBER
            }
            Found::Boolean(b) => {
                self.number = f64::from(u8::from(b));
                BOOLEAN
            }
            Found::Text => {
                self.text.lend(text);
                TEXT
            }
        }
    }
}
