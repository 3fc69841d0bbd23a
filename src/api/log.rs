//! `ngx.log`, `print`: the error log.

use crate::native::{natives, Cx};
use crate::ngx::{cycle_log_level, log_cycle_bytes, Level};

fn logs(cx: Cx, level: Level) -> bool {
    cx.request().map_or_else(|| cycle_log_level() >= level, |r| r.logs(level))
}

natives! {
    /// Whether a message of this level would be written: saves composing those that would not.
    fn log_takes(cx, level: val<i32>) -> i32 {
        match Level::new(level) {
            Some(level) => i32::from(logs(cx, level)),
            None => -1,
        }
    }

    fn log_write(cx, level: val<i32>, message: bytes) -> () {
        let Some(level) = Level::new(level) else { return };
        match cx.request() {
            Some(r) => r.log_bytes(level, message),
            None => log_cycle_bytes(level, message),
        }
    }
}
