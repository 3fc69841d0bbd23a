//! The `ngx.*` API: one `NAME.rs` (what needs nginx) and one `NAME.lua` (semantics and argument checks) each.

use crate::native::{Classic, Native};
use crate::run::Op;

mod admit;
mod arg;
mod args;
mod autoscale;
mod balancer;
mod body;
mod codec;
mod config;
mod control;
mod dict;
mod errlog;
mod header;
mod http;
mod location;
mod log;
mod ndk;
mod ocsp;
mod output;
mod pipe;
mod re;
mod req_socket;
mod request;
mod scaling;
mod semaphore;
pub mod side;
mod socket;
mod split;
mod ssl;
mod ssl_connection;
mod ssl_session;
mod thread;
mod time;
mod timer;
mod tls;
mod udp;
mod upstream;
mod var;
mod worker;
mod worker_thread;

/// The prelude's foundation: the only file that says `ffi` or yields.
pub const BASE: &str = include_str!("base.lua");

/// One row an API, in the order in which the prelude files are loaded, with what its Rust half offers.
macro_rules! apis {
    ($( $name:ident: $($part:ident)*; )*) => {
        /// The prelude files in the order they are loaded.
        pub const PRELUDE: &[(&str, &str)] =
            &[$( (stringify!($name), include_str!(concat!(stringify!($name), ".lua"))) ),*];
        pub const NATIVES: &[&[Native]] = &[$( $( apis!(@natives $name $part), )* )*];
        pub const CLASSICS: &[&[Classic]] = &[$( $( apis!(@classics $name $part), )* )*];
        const OPS: &[&[Op]] = &[$( $( apis!(@ops $name $part), )* )*];
    };
    (@natives $name:ident natives) => { $name::NATIVES };
    (@classics $name:ident classics) => { $name::CLASSICS };
    (@ops $name:ident ops) => { $name::OPS };
    (@$list:ident $name:ident $other:ident) => { &[] };
}

apis! {
    core: ;
    log: natives;
    table: ;
    package: ;
    coroutine: ;
    config: natives;
    worker: natives;
    errlog: natives;
    ndk: natives;
    output: natives classics ops;
    control: natives classics ops;
    args: natives;
    body: natives ops;
    request: natives ops;
    dict: natives;
    codec: natives;
    time: natives;
    timer: natives classics;
    thread: classics;
    location: ops;
    semaphore: classics;
    socket: classics;
    udp: classics;
    req_socket: natives classics ops;
    pipe: classics;
    worker_thread: ops;
    ssl: natives;
    ssl_connection: natives;
    ssl_session: natives;
    ocsp: natives;
    tls: natives classics;
    http: classics;
    re: natives;
    re_module: ;
    var: natives;
    balancer: natives;
    header: natives;
    arg: natives;
    upstream: natives;
    autoscale: natives;
    scaling: classics;
    split: classics;
    admit: natives classics;
    // the last one: what libraries require, as far as no file above serves it
    libs: ;
}

/// All operations, in the order of their numbers: what a thread waits for is found here at each of its waits.
pub static ALL_OPS: [&Op; count_ops()] = {
    let mut all = [&output::OPS[0]; count_ops()];
    let (mut i, mut n) = (0, 0);
    while i < OPS.len() {
        let mut j = 0;
        while j < OPS[i].len() {
            all[n] = &OPS[i][j];
            (j, n) = (j + 1, n + 1);
        }
        i += 1;
    }
    all
};

const fn count_ops() -> usize {
    let (mut i, mut n) = (0, 0);
    while i < OPS.len() {
        n += OPS[i].len();
        i += 1;
    }
    n
}
