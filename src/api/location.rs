//! `ngx.location.capture`, `ngx.location.capture_multi`: subrequests, and their responses as values.

use std::rc::Rc;

use crate::ngx::{self, CaptureSpec, CaptureWaiter, CapturedResponse, Captures, Request, VarsFrom};
use crate::run::{Armed, Op, Waker};
use crate::vm::Stack;

/// Where on the stack the operation's arguments begin.
const FIRST: i32 = 3;

const FORWARDS_BODY: i64 = 1;
const SHARES_VARS: i64 = 2;
const COPIES_VARS: i64 = 4;

/// What the prelude has yielded, read in order: one subrequest as values of the stack, or any number as a table.
struct Plan<'a> {
    stack: &'a Stack<'a>,
    is_table: bool,
    next: i32,
}

impl<'a> Plan<'a> {
    fn of(stack: &'a Stack<'a>) -> Plan<'a> {
        let is_table = stack.bytes(FIRST).is_none();
        Plan { stack, is_table, next: if is_table { 0 } else { FIRST - 1 } }
    }

    fn count(&mut self) -> usize {
        if self.is_table {
            self.int().max(0) as usize
        } else {
            1
        }
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        self.next += 1;
        if self.is_table {
            self.stack.entry_bytes(FIRST, self.next)
        } else {
            self.stack.bytes(self.next)
        }
    }

    fn int(&mut self) -> i64 {
        self.next += 1;
        if self.is_table {
            self.stack.entry_int(FIRST, self.next)
        } else {
            self.stack.int(self.next)
        }
    }

    fn spec(&mut self) -> CaptureSpec<'a> {
        let uri = self.text().unwrap_or_default();
        let args = self.text().unwrap_or_default();
        let method = self.int() as u32;
        let body = self.text();
        let flags = self.int();
        let ctx_slot = self.int() as i32;
        let count = self.int();
        let mut vars = Vec::new();
        for _ in 0..count {
            vars.push((self.text().unwrap_or_default(), self.text().unwrap_or_default()));
        }
        let vars_from = if flags & SHARES_VARS != 0 {
            VarsFrom::Parent
        } else if flags & COPIES_VARS != 0 {
            VarsFrom::CopyOfParent
        } else {
            VarsFrom::Nowhere
        };
        let forwards_body = flags & FORWARDS_BODY != 0;
        CaptureSpec { uri, args, method, body, forwards_body, vars_from, vars, ctx_slot }
    }
}

/// `(uri, arguments, method, body, flags, slot of the context)`, all but the URI optional, or `(plan)`: a response each,
/// or nil and why there is none. A plan is an array: how many subrequests, and for each these six values (a body may be
/// false), how many variables, and their names and values.
fn capture(waker: &Waker, stack: &mut Stack<'_>) -> Armed {
    let Some(request) = waker.request() else { return Armed::Ready(0) };
    match start(request, waker.clone(), stack) {
        Ok(group) => Armed::WaitToTheEnd(Box::new(group)),
        Err(message) => {
            stack.truncate(0);
            stack.push_nil();
            stack.push_bytes(message.as_bytes());
            Armed::Ready(2)
        }
    }
}

fn start(request: Request, waker: Waker, stack: &Stack<'_>) -> Result<Rc<Captures>, String> {
    if request.http_version() >= 2000 {
        return Err(format!("http{} requests not supported yet", request.http_version() / 1000));
    }
    let mut plan = Plan::of(stack);
    let count = plan.count();
    let mut begun = 0;
    let next = || {
        begun += 1;
        plan.spec()
    };
    ngx::capture(request, count, next, CaptureWaiter { waker, push: push_all }).map_err(|e| {
        release_slots(request, stack, begun);
        e.to_string()
    })
}

/// Gives back the contexts of the subrequests that were not begun, from number `begun` on (which failed).
#[cold]
fn release_slots(request: Request, stack: &Stack<'_>, begun: usize) {
    let Some(ctx) = request.ctx_if_any() else { return };
    let mut plan = Plan::of(stack);
    let specs: Vec<CaptureSpec<'_>> = (0..plan.count()).map(|_| plan.spec()).collect();
    for spec in specs.iter().skip(begun).filter(|spec| spec.ctx_slot != 0) {
        ctx.vm().release_ctx(spec.ctx_slot);
    }
}

fn push_all(stack: &mut Stack<'_>, group: &Captures) -> i32 {
    let count = group.len() as i32;
    if !stack.has_room(count + 8) {
        return 0;
    }
    for one in group.captures() {
        push(stack, one);
    }
    count
}

fn push(stack: &mut Stack<'_>, one: &CapturedResponse) {
    stack.push_table(4);
    stack.push_number(one.status() as f64);
    stack.set_entry(b"status");
    stack.push_boolean(one.is_truncated());
    stack.set_entry(b"truncated");
    stack.push_bytes(&one.take_body());
    stack.set_entry(b"body");
    match one.request() {
        Some(request) => push_fields(stack, request),
        None => stack.push_table(0),
    }
    stack.set_entry(b"header");
}

fn push_fields(stack: &mut Stack<'_>, request: Request) {
    stack.push_table(request.field_count() as i32 + 4);
    for (name, value) in request.fields() {
        stack.add_entry(name, value);
    }
    let content_type = request.content_type();
    if !content_type.is_empty() {
        stack.push_bytes(content_type);
        stack.set_entry(b"Content-Type");
    }
    if let Some(length) = request.content_length() {
        stack.push_number(length as f64);
        stack.set_entry(b"Content-Length");
    }
    if let Some(location) = request.location_field() {
        stack.push_bytes(location);
        stack.set_entry(b"Location");
    }
    if let Some(time) = request.last_modified() {
        stack.push_bytes(&time);
        stack.set_entry(b"Last-Modified");
    }
}

pub const OPS: &[Op] = &[Op { name: "capture", arm: capture }];
