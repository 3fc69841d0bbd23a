//! `as.split`: how far an `autoscale_split` is, and a new beginning for it.

use logic::autoscale::signal::hint;
use logic::autoscale::split::{Phase, WHOLE};

use crate::native::classics;
use crate::ngx::cycle_main_conf;
use crate::scale::{split, Shell};

classics! {
    /// (variable): a table.
    fn split_state(_cx, stack) {
        let name = stack.bytes(1).map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
        let shell = shell();
        let found = shell.as_ref().map_err(Clone::clone).and_then(|shell| {
            shell.splits().state(&shell.zone, &name).ok_or_else(|| unknown(shell, &name))
        });
        match found {
            Ok(split::State { split, share, phase }) => {
                stack.push_table(3);
                stack.push_bytes(match phase {
                    Phase::Running => b"running",
                    Phase::Done => b"done",
                    Phase::RolledBack => b"rolled_back",
                });
                stack.set_entry(b"phase");
                stack.push_bytes(split.arms[split.moving].upstream.as_bytes());
                stack.set_entry(b"upstream");
                stack.push_number(f64::from(share) / f64::from(WHOLE));
                stack.set_entry(b"share");
                1
            }
            Err(why) => {
                stack.push_nil();
                stack.push_bytes(why.as_bytes());
                2
            }
        }
    }

    /// (variable): true, or nil and why not.
    fn split_restart(_cx, stack) {
        let name = stack.bytes(1).map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
        let restarted = shell().and_then(|shell| match shell.splits().restart(&shell.zone, &name) {
            true => Ok(()),
            false => Err(unknown(shell, &name)),
        });
        match restarted {
            Ok(()) => {
                stack.push_boolean(true);
                1
            }
            Err(why) => {
                stack.push_nil();
                stack.push_bytes(why.as_bytes());
                2
            }
        }
    }
}

fn shell() -> Result<&'static Shell, String> {
    let main = cycle_main_conf().ok_or("no configuration yet")?;
    if main.zone.is_none() {
        return Err("no autoscale_zone in http {}".into());
    }
    main.shell().ok_or_else(|| "no zone yet: workers have it, from init_worker_by_lua on".into())
}

fn unknown(shell: &Shell, name: &str) -> String {
    format!("there is no autoscale_split ${name}{}", hint(name, shell.splits().names()))
}
