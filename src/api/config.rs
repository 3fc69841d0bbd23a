//! `ngx.config`: what nginx was built with, and where it stands.

use crate::native::{natives, Str};
use crate::ngx::process;

natives! {
    fn config_version(cx) -> i32 {
        process::NGINX_VERSION.cast_signed()
    }

    fn config_debug(cx) -> i32 {
        i32::from(process::NGINX_DEBUG)
    }

    fn config_prefix(cx, prefix: out<Str>) -> () {
        let buffer = cx.scratch();
        buffer.extend_from_slice(&crate::ngx::prefix());
        prefix.lend(buffer);
    }

    fn config_configure(cx, arguments: out<Str>) -> () {
        arguments.lend(process::configure_arguments());
    }
}
