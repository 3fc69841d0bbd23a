//! `ngx.timer`

use core::time::Duration;

use crate::native::{classics, natives, Cx};
use crate::ngx::cycle_main_conf;
use crate::run::Script;

natives! {
    fn timer_pending(cx) -> f64 {
        cycle_main_conf().map_or(0.0, |main| main.timers.pending_count() as f64)
    }

    fn timer_running(cx) -> f64 {
        cycle_main_conf().map_or(0.0, |main| main.timers.running_count() as f64)
    }
}

/// What the log lines of a timer end with: it serves no client, but one may have caused it.
fn origin(cx: Cx) -> Vec<u8> {
    let mut origin = b", context: ngx.timer".to_vec();
    match (cx.request(), cx.background()) {
        (Some(request), _) => request.describe_ends(&mut origin),
        (None, Some(background)) => match background.handshake() {
            Some(handshake) => handshake.describe_ends(&mut origin),
            None => origin.clone_from(background.log_suffix()),
        },
        (None, None) => {}
    }
    origin
}

classics! {
    /// `(milliseconds, every, function, arguments…)`: 1, or nil and why there is no timer.
    fn timer_add(cx, stack) {
        let after = Duration::from_millis(stack.int(1).max(0) as u64);
        let every = stack.boolean(2);
        let (Some(vm), Some(main)) = (cx.vm(), cycle_main_conf()) else { return 0 };
        let mut co = vm.coroutine();
        co.take_values(stack, 3);
        match main.timers.add(Script::new(vm, co, origin(cx), cx.location()), after, every) {
            Ok(()) => {
                stack.push_number(1.0);
                1
            }
            Err(e) => {
                stack.push_nil();
                stack.push_bytes(e.to_string().as_bytes());
                2
            }
        }
    }
}
