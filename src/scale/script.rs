//! `by_lua_block { … }` in a policy: a rule in Lua.
//!
//! The leader runs it at each tick, in between requests, so it is given a number of instructions and may not wait. It finds `as`
//! (`require "ngx.autoscale"`), `replicas` (how many are wanted) and `ready` (how many take requests), and returns how many replicas it
//! wishes and, if it likes, why; or nil. When it fails, the other lines of the policy go on, and it is run again with the next tick.

use core::cell::RefCell;
use std::ffi::CString;
use std::rc::Rc;

use logic::autoscale::conf::Code;
use logic::autoscale::policy::{Replicas, Script, Wish};

use crate::ngx::{cycle_main_conf, log_cycle, Cf, ConfError, Level, Location, LogContext};
use crate::phase::Phase;
use crate::run::Background;
use crate::vm::{Function, Stack, Vm};

/// Instructions of a run: a few milliseconds.
const INSTRUCTIONS: i32 = 250_000;
/// What LuaJIT says of a wait outside of a coroutine.
const NO_YIELD: &str = "attempt to yield across C-call boundary";
/// In front of the code, on its first line.
const GIVEN: &str = "local as, replicas, ready = require \"ngx.autoscale\", ...; ";

/// The scripts of a policy, and what has gone wrong with each.
pub struct Scripts {
    policy: String,
    list: Vec<(Function, RefCell<String>)>,
}

impl Scripts {
    /// Compiles the scripts of a policy. The error says what is wrong with which of them.
    pub fn compile(cf: &Cf, policy: &str, code: &[Code]) -> Result<Scripts, (usize, ConfError)> {
        let compile = |(n, code): (usize, &Code)| {
            let function = load(cf, code).map_err(|e| (n, e))?;
            Ok((function, RefCell::default()))
        };
        let list = code.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        Ok(Scripts { policy: policy.to_owned(), list })
    }

    fn run(&self, vm: &Rc<Vm>, function: Function, replicas: Replicas) -> Result<Option<Wish>, String> {
        let suffix = format!(", context: by_lua_block of policy \"{}\"", self.policy).into_bytes();
        let _context = LogContext::enter(&suffix);
        let nobody = Box::new(|_: &Background, _| ());
        let background = Rc::new(Background::new(Rc::clone(vm), Location::of_http(), suffix.clone(), nobody));
        let _scope = crate::native::enter_background(Phase::Timer, &background);
        let push = |stack: &mut Stack<'_>| {
            stack.push_number(f64::from(replicas.wanted));
            stack.push_number(f64::from(replicas.ready));
            2
        };
        let result = vm.call_bounded(function, INSTRUCTIONS, 2, push, wish);
        result.map_err(|e| e.0.replace(NO_YIELD, "it must not wait, as for a socket or a sleep"))?
    }
}

fn load(cf: &Cf, code: &Code) -> Result<Function, ConfError> {
    let vm = cf.main_conf().start_vm()?;
    let name = CString::new(format!("=by_lua({}:{})", short(&code.file), code.line)).unwrap_or_default();
    let text = format!("{GIVEN}{}", code.text);
    let function = vm.load(text.as_bytes(), &name);
    let function = function.map_err(|e| ConfError(format!("failed to load inlined Lua code: {e}")))?;
    vm.interpret(function);
    Ok(function)
}

/// The end of a long path: Lua cuts names at 60 bytes.
fn short(file: &str) -> String {
    const MOST: usize = 36;
    match file.char_indices().rev().nth(MOST) {
        Some((at, _)) => format!("...{}", &file[at..]),
        None => file.to_owned(),
    }
}

/// A text of a script as part of a line of a log.
pub fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// What a script has returned.
fn wish(stack: &Stack<'_>) -> Result<Option<Wish>, String> {
    let (number, reason) = (stack.len() - 1, stack.len());
    if stack.is_nil(number) {
        return Ok(None);
    }
    let bad =
        |what: &str| format!("it returned {what}: return a number of replicas and perhaps a reason, or nil");
    let Some(n) = stack.number(number) else { return Err(bad(&format!("a {}", stack.type_name(number)))) };
    if !n.is_finite() || n < 0.0 {
        return Err(bad(&n.to_string()));
    }
    let reason = match stack.bytes(reason) {
        Some(text) => one_line(&String::from_utf8_lossy(text)),
        None if stack.is_nil(reason) => String::new(),
        None => return Err(bad(&format!("a reason that is a {}", stack.type_name(reason)))),
    };
    // half a replica serves nobody
    Ok(Some(Wish { replicas: n.ceil() as u32, reason }))
}

/// Who runs the scripts of a policy.
pub struct Runner<'a> {
    policy: &'a str,
}

impl<'a> Runner<'a> {
    pub fn new(policy: &'a str) -> Runner<'a> {
        Runner { policy }
    }
}

impl Script for Runner<'_> {
    fn wish(&mut self, number: usize, replicas: Replicas) -> Result<Option<Wish>, String> {
        let Some(main) = cycle_main_conf() else { return Err("no configuration".into()) };
        let found = main.autoscale.scripts().iter().find(|scripts| scripts.policy == self.policy);
        let found = found.and_then(|scripts| Some((scripts, scripts.list.get(number)?)));
        let Some((scripts, (function, failed))) = found else { return Err("there is no such script".into()) };
        let result = scripts.run(main.vm(), *function, replicas);
        let Err(e) = result else {
            failed.borrow_mut().clear();
            return result;
        };
        // the same failure is told once, whatever numbers are in it
        let first = e.lines().next().unwrap_or_default();
        let kind: String = first.chars().filter(|c| !c.is_ascii_digit()).collect();
        if failed.replace(kind.clone()) != kind {
            let (policy, number) = (&scripts.policy, number + 1);
            log_cycle(Level::Error, &format!("policy \"{policy}\": by_lua_block {number} failed: {e}"));
        }
        // the traceback is for the log
        Err(first.to_owned())
    }
}
