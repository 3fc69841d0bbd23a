//! `ngx.errlog`: the lines that `lua_capture_error_log` kept.

use crate::native::{natives, Cx, Str};
use crate::ngx::{cycle_log_level, cycle_main_conf, Capture, Level};

const NOT_SET: i32 = -1;
const BAD_LEVEL: i32 = -2;

fn capture() -> Option<&'static Capture> {
    cycle_main_conf()?.capture.as_ref()
}

natives! {
    /// Takes the oldest line out: 1, or 0 when there is none.
    fn errlog_take(cx, level: out<i32>, time: out<f64>, line: out<Str>) -> i32 {
        let Some(capture) = capture() else { return NOT_SET };
        let buffer = cx.scratch();
        match capture.take(buffer) {
            Some(kept) => {
                *level = i32::from(kept.level);
                *time = kept.time;
                line.lend(buffer);
                1
            }
            None => 0,
        }
    }

    fn errlog_filter(cx, level: val<i32>) -> i32 {
        let Some(capture) = capture() else { return NOT_SET };
        let Some(level) = Level::new(level) else { return BAD_LEVEL };
        capture.set_filter(level);
        0
    }

    /// The level of the `error_log` directive that holds here.
    fn errlog_level(cx) -> i32 {
        level(cx) as i32
    }
}

fn level(cx: Cx) -> Level {
    cx.request().map_or_else(cycle_log_level, |r| r.log_level())
}
