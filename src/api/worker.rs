//! `ngx.worker`, `ngx.process`, and `os.getenv` before the environment is set.

use crate::native::{natives, Str};
use crate::ngx::process;

natives! {
    fn worker_exiting(cx) -> i32 {
        i32::from(process::exiting())
    }

    fn worker_pid(cx) -> i32 {
        process::pid()
    }

    /// -1 in processes that are no workers.
    fn worker_id(cx) -> i32 {
        process::worker_id().and_then(|n| i32::try_from(n).ok()).unwrap_or(-1)
    }

    fn worker_count(cx) -> i32 {
        i32::try_from(process::worker_count()).unwrap_or(i32::MAX)
    }

    /// How many identifiers there are; those that fit are in `pids`.
    fn worker_pids(cx, pids: slice<i32>) -> i32 {
        let all = process::pids();
        for (place, pid) in pids.iter_mut().zip(&all) {
            *place = *pid;
        }
        i32::try_from(all.len()).unwrap_or(i32::MAX)
    }

    fn process_kind(cx) -> i32 {
        process::kind().cast_signed()
    }

    fn process_master_pid(cx) -> i32 {
        process::master_pid()
    }

    fn process_quit(cx) -> () {
        process::quit();
    }

    /// Whether the configuration says `env NAME=VALUE`.
    fn process_env(cx, name: bytes, value: out<Str>) -> i32 {
        match process::configured_env(name) {
            Some(text) => {
                value.lend(text);
                1
            }
            None => 0,
        }
    }
}
