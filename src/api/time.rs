//! Dates and `ngx.update_time`. `ngx.now` and `ngx.time` read nginx's clock through the FFI.

use logic::text::date;

use crate::native::{natives, Str};
use crate::ngx::clock;

const TODAY: i32 = 0;
const LOCAL: i32 = 1;

natives! {
    fn time_update(cx) -> () {
        clock::update();
    }

    /// Now as text: 0 the local date, 1 the local date and time, 2 those of UTC.
    fn time_text(cx, what: val<i32>, out: out<Str>) -> () {
        let (seconds, offset) = clock::wall_clock();
        let buffer = cx.scratch();
        match what {
            TODAY => date::today(seconds, offset, buffer),
            LOCAL => date::localtime(seconds, offset, buffer),
            _ => date::localtime(seconds, 0, buffer),
        }
        out.lend(buffer);
    }

    fn time_http(cx, seconds: val<f64>, out: out<Str>) -> () {
        let buffer = cx.scratch();
        date::http_time(seconds as i64, buffer);
        out.lend(buffer);
    }

    fn time_cookie(cx, seconds: val<f64>, out: out<Str>) -> () {
        let buffer = cx.scratch();
        date::cookie_time(seconds as i64, buffer);
        out.lend(buffer);
    }

    /// Seconds since 1970, or NaN for what is no date.
    fn time_parse(cx, s: bytes) -> f64 {
        date::parse_http_time(s).map_or(f64::NAN, |seconds| seconds as f64)
    }
}
