//! The `lua_socket_*` directives.

use core::time::Duration;

use super::settings::{flag, once, size, EVERYWHERE};
use crate::ngx::{Args, Cf, ConfError, Directive, Setter};

/// A row whose value is a time.
macro_rules! time {
    ($name:literal, $field:ident, $doc:literal) => {
        Directive {
            name: $name,
            contexts: EVERYWHERE,
            args: Args::One,
            set: Setter::Loc(|cf, conf| once(&mut conf.sockets.$field, time(cf)?)),
            doc: $doc,
        }
    };
}

pub const DIRECTIVES: &[Directive] = &[
    time!(
        c"lua_socket_connect_timeout",
        connect_timeout,
        "How long a socket's `connect` may take. Default 60s."
    ),
    time!(
        c"lua_socket_send_timeout",
        send_timeout,
        "How long a socket may take nothing of what is sent. Default 60s."
    ),
    time!(
        c"lua_socket_read_timeout",
        read_timeout,
        "How long a socket may stay silent while something is awaited. Default 60s."
    ),
    time!(
        c"lua_socket_keepalive_timeout",
        keepalive_timeout,
        "How long an idle connection stays in its pool; 0 is for ever. Default 60s."
    ),
    Directive {
        name: c"lua_socket_buffer_size",
        contexts: EVERYWHERE,
        args: Args::One,
        set: Setter::Loc(|cf, conf| {
            let size = size(cf.arg(1)).filter(|n| *n > 0).ok_or_else(|| invalid(cf))?;
            once(&mut conf.sockets.buffer_size, size)
        }),
        doc: "How much a socket reads at a time. Default 4k.",
    },
    Directive {
        name: c"lua_socket_pool_size",
        contexts: EVERYWHERE,
        args: Args::One,
        set: Setter::Loc(|cf, conf| {
            let n = cf.text(1)?.parse().ok().filter(|n| *n > 0).ok_or_else(|| invalid(cf))?;
            once(&mut conf.sockets.pool_size, n)
        }),
        doc: "How many idle connections a pool keeps. Default 30.",
    },
    Directive {
        name: c"lua_socket_log_errors",
        contexts: EVERYWHERE,
        args: Args::Flag,
        set: Setter::Loc(|cf, conf| once(&mut conf.sockets.log_errors, flag(cf)?)),
        doc: "`off`: what a socket's operations return as an error is not logged too.",
    },
    Directive {
        name: c"lua_socket_send_lowat",
        contexts: EVERYWHERE,
        args: Args::One,
        set: Setter::Loc(|cf, _| size(cf.arg(1)).map(drop).ok_or_else(|| invalid(cf))),
        doc: "Accepted for compatibility; Linux has no such limit for sending.",
    },
];

fn invalid(cf: &Cf) -> ConfError {
    ConfError(format!("invalid value \"{}\"", cf.arg(1).escape_ascii()))
}

fn time(cf: &Cf) -> Result<Duration, ConfError> {
    cf.milliseconds(1).map(Duration::from_millis).ok_or_else(|| invalid(cf))
}
