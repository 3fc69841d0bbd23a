//! `ngx.autoscale`, the outer loop: what scripts ask the leader for, and what was decided.

use logic::autoscale::board::Command;
use logic::autoscale::decisions::Entry;

use crate::native::{classics, Cx};
use crate::scale::script::one_line;
use crate::scale::{Engine, PolicyState, Shell};
use crate::vm::Stack;

classics! {
    /// (kind, name, number, text): the number of the command that the leader is to carry out, or nil and why not.
    fn scaling_command(cx, stack) {
        let (name, text) = (text(stack, 2), text(stack, 4));
        let number = stack.number(3).unwrap_or_default();
        let command = match stack.int(1) {
            1 => Command::Scale { target: name, replicas: number as u32, reason: one_line(&text) },
            2 => Command::Change { target: name, delta: number as i32, reason: one_line(&text) },
            3 => Command::Notify { target: name, json: text },
            _ => Command::Hold { policy: name, seconds: number },
        };
        let ticket = engine(cx).and_then(|engine| engine.command(&command));
        answer(stack, ticket, |stack, ticket| stack.push_number(ticket as f64))
    }

    /// (policy): true, or nil and what to write instead.
    fn scaling_policy(cx, stack) {
        let known = engine(cx).and_then(|engine| engine.knows(&text(stack, 1)));
        answer(stack, known, |stack, ()| stack.push_boolean(true))
    }

    /// (policy): a table.
    fn scaling_state(cx, stack) {
        let state = engine(cx).and_then(|engine| engine.policy_state(&text(stack, 1)));
        answer(stack, state, push_state)
    }

    /// (policy): the last evaluation, as a table.
    fn scaling_explain(cx, stack) {
        let entry = engine(cx).and_then(|engine| engine.last_evaluation(&text(stack, 1)));
        answer(stack, entry, |stack, entry| push_entry(stack, &entry))
    }

    /// (policy or nil, how many): tables, the newest first.
    fn scaling_decisions(cx, stack) {
        let policy = stack.bytes(1).map(|name| String::from_utf8_lossy(name).into_owned());
        let most = usize::try_from(stack.int(2)).unwrap_or_default();
        let found = engine(cx).map(|engine| engine.decisions().newest(policy.as_deref(), false, most));
        answer(stack, found, |stack, entries| {
            push_all(stack, &entries, push_entry);
        })
    }
}

fn text(stack: &Stack<'_>, i: i32) -> String {
    String::from_utf8_lossy(stack.bytes(i).unwrap_or_default()).into_owned()
}

/// The worker's part in the outer loop.
fn engine(cx: Cx) -> Result<&'static Engine, String> {
    let _ = cx;
    let engine = Shell::current()?.engine();
    engine.ok_or_else(|| "no autoscale_policy and no autoscale_target in http {}".into())
}

/// What `push` makes of the value, or nil and why there is none.
pub(super) fn answer<T>(
    stack: &mut Stack<'_>,
    result: Result<T, String>,
    push: impl FnOnce(&mut Stack<'_>, T),
) -> i32 {
    match result {
        Ok(value) => {
            push(stack, value);
            1
        }
        Err(why) => {
            stack.push_nil();
            stack.push_bytes(why.as_bytes());
            2
        }
    }
}

fn push_all<T>(stack: &mut Stack<'_>, items: &[T], push: fn(&mut Stack<'_>, &T)) {
    stack.push_list(items.len() as i32);
    for (item, n) in items.iter().zip(1..) {
        push(stack, item);
        stack.set_item(n);
    }
}

fn set_number(stack: &mut Stack<'_>, key: &str, value: Option<f64>) {
    if let Some(value) = value {
        stack.push_number(value);
        stack.set_entry(key.as_bytes());
    }
}

fn set_text(stack: &mut Stack<'_>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        stack.push_bytes(value.as_bytes());
        stack.set_entry(key.as_bytes());
    }
}

fn set_true(stack: &mut Stack<'_>, key: &str, value: bool) {
    if value {
        stack.push_boolean(true);
        stack.set_entry(key.as_bytes());
    }
}

/// The names are those of the decision log.
fn push_entry(stack: &mut Stack<'_>, entry: &Entry) {
    let decision = &entry.decision;
    stack.push_table(16);
    set_text(stack, "time", Some(&decision.time));
    set_number(stack, "unix", Some(entry.unix_ms as f64 / 1e3));
    set_text(stack, "policy", Some(&decision.policy));
    set_text(stack, "target", decision.target.as_deref());
    set_number(stack, "id", decision.id.map(|id| id as f64));
    set_text(stack, "action", Some(decision.action));
    set_text(stack, "reason", Some(&decision.reason));
    set_text(stack, "rule", decision.rule.as_deref());
    set_number(stack, "current", decision.current.map(f64::from));
    set_number(stack, "ready", decision.ready.map(f64::from));
    set_number(stack, "wish", Some(decision.wish.into()));
    set_number(stack, "after_limits", Some(decision.after_limits.into()));
    set_number(stack, "after_cooldown", Some(decision.after_cooldown.into()));
    set_text(stack, "result", decision.result.as_deref());
    set_number(stack, "latency_ms", decision.latency_ms);
    set_true(stack, "cut", entry.cut);
    push_all(stack, &decision.signals, |stack, input| {
        stack.push_table(5);
        set_text(stack, "signal", Some(&input.signal));
        set_number(stack, "value", input.value);
        set_number(stack, "age", Some(input.age));
        set_number(stack, "samples", Some(input.samples as f64));
        set_true(stack, "stale", input.stale);
    });
    stack.set_entry(b"signals");
    push_all(stack, &decision.rules, |stack, said| {
        stack.push_table(2);
        set_text(stack, "rule", Some(&said.rule));
        set_text(stack, "says", Some(&said.says));
    });
    stack.set_entry(b"rules");
}

fn push_state(stack: &mut Stack<'_>, state: PolicyState) {
    stack.push_table(16);
    set_text(stack, "policy", Some(&state.policy));
    set_text(stack, "target", state.target.as_deref());
    set_text(stack, "mode", Some(state.mode));
    set_number(stack, "replicas", state.replicas.map(|replicas| replicas.wanted.into()));
    set_number(stack, "ready", state.replicas.map(|replicas| replicas.ready.into()));
    set_number(stack, "min", Some(state.min.into()));
    set_number(stack, "max", state.max.map(f64::from));
    set_number(stack, "decisions", Some(state.decisions as f64));
    set_number(stack, "in_force", state.in_force.map(|id| id as f64));
    set_number(stack, "cooldown_up", state.cooldown_up_s);
    set_number(stack, "cooldown_down", state.cooldown_down_s);
    set_number(stack, "held", state.held_s);
    set_number(stack, "pending", state.pending.map(f64::from));
    set_number(stack, "evaluated", state.evaluated_s);
    set_true(stack, "acting", state.acting);
    set_true(stack, "leader", state.leads);
}
