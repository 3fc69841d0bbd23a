//! `ndk.set_var.DIRECTIVE(value)`: directives of the Nginx Development Kit, called from Lua.

use crate::native::{natives, Str};
use crate::ngx::ndk;

natives! {
    fn ndk_loaded(cx) -> i32 {
        i32::from(ndk::loaded())
    }

    /// Where the directive stands in nginx's tables, or -1 when there is none.
    fn ndk_find(cx, name: bytes) -> f64 {
        ndk::find(name).map_or(-1.0, |p| f64::from(p.module) * 65536.0 + f64::from(p.command))
    }

    fn ndk_call(cx, place: val<u32>, value: bytes, result: out<Str>) -> i32 {
        let Some(request) = cx.request() else { return -1 };
        let place = ndk::Place { module: (place >> 16) as u16, command: place as u16 };
        match place.call(&request, value) {
            Ok(text) => {
                result.lend(text);
                0
            }
            Err(rc) => rc as i32,
        }
    }
}
