//! `as.split`: how far an `autoscale_split` is, and a new beginning for it.

use logic::autoscale::signal::hint;
use logic::autoscale::split::{Phase, WHOLE};

use super::scaling::answer;
use crate::native::classics;
use crate::scale::{split, Shell};
use crate::vm::Stack;

classics! {
    /// (variable): a table.
    fn split_state(_cx, stack) {
        let name = name(stack);
        let found = Shell::current().map_err(str::to_owned).and_then(|shell| {
            shell.splits().state(&shell.zone, &name).ok_or_else(|| unknown(shell, &name))
        });
        answer(stack, found, |stack, split::State { split, share, phase }| {
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
        })
    }

    /// (variable): true, or nil and why not.
    fn split_restart(_cx, stack) {
        let name = name(stack);
        let restarted = Shell::current().map_err(str::to_owned).and_then(|shell| {
            let restarted = shell.splits().restart(&shell.zone, &name);
            restarted.then_some(()).ok_or_else(|| unknown(shell, &name))
        });
        answer(stack, restarted, |stack, ()| stack.push_boolean(true))
    }
}

fn name(stack: &Stack<'_>) -> String {
    String::from_utf8_lossy(stack.bytes(1).unwrap_or_default()).into_owned()
}

fn unknown(shell: &Shell, name: &str) -> String {
    format!("there is no autoscale_split ${name}{}", hint(name, shell.splits().names()))
}
