//! `do shed`, `do throttle` and `do route`: what happens to requests while a policy has them in force.
//!
//! Shedding and throttling are done before a location's access checks ([`handle`]), diverting where a request comes to its upstream
//! ([`Actions::divert`]). While nothing is in force a request pays one load for it, and without such lines in any policy nothing at all.

mod said;

use core::cell::Cell;

use logic::autoscale::admit::rate::Rate;
use logic::autoscale::admit::Kind;
use logic::autoscale::metrics::flight::{reject, MOST_KEYS};
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::KeyRef;
use logic::autoscale::policy::{Action, Class, Mode, Policy};

use super::collect;
use super::engine::Engine;
use super::Shell;
use crate::conf::MainConf;
use crate::ngx::{clock, Rc, Request, Slot};
use said::Said;

const TOO_MANY_REQUESTS: Rc = Rc(429);
const UNAVAILABLE: Rc = Rc(503);

/// Whether a policy has lines that refuse requests.
pub fn refuse<'p>(mut policies: impl Iterator<Item = &'p Policy>) -> bool {
    policies.any(|p| p.actions.iter().any(|a| matches!(a, Action::Shed(_) | Action::Throttle { .. })))
}

/// Whether a policy has lines that requests obey.
pub fn are_obeyed<'p>(mut policies: impl Iterator<Item = &'p Policy>) -> bool {
    policies.any(|p| p.actions.iter().any(|a| !matches!(a, Action::Notify(_))))
}

/// The lines of a worker's policies that requests obey.
pub struct Actions {
    refusals: Vec<Refusal>,
    routes: Vec<Route>,
    /// Where `$autoscale_action` is kept.
    shown: Option<Slot>,
}

struct Refusal {
    /// Whose line it is, by number of its seat.
    seat: usize,
    policy: Box<str>,
    what: What,
    /// Until when it is in force at least, and in which second that was asked.
    relief: Cell<(u64, u64)>,
    said: Said,
}

enum What {
    Shed(Class),
    /// `limit` tells its buckets from those of others.
    Throttle {
        key: Box<str>,
        rate: Rate,
        limit: u32,
    },
}

struct Route {
    seat: usize,
    policy: Box<str>,
    class: Option<Class>,
    /// By number of the observed upstream; empty is all.
    from: Box<[usize]>,
    to: usize,
    said: Said,
}

/// What is to be done with a request.
struct Found<'a> {
    refusal: &'a Refusal,
    wait_s: f64,
}

impl Actions {
    /// `None` when no policy has such a line.
    pub fn new(main: &MainConf, engine: &Engine) -> Option<Actions> {
        let number = |name: &str| main.observed().iter().position(|o| *o.name == *name);
        let (mut refusals, mut routes) = (Vec::new(), Vec::new());
        for (seat, policy) in engine.policies() {
            let name: Box<str> = policy.name.as_str().into();
            for action in &policy.actions {
                let what = match action {
                    Action::Shed(class) => What::Shed(class.clone()),
                    Action::Throttle { key, rate } => {
                        // as many as a second allows may come at once
                        let rate = Rate::new(*rate, rate.ceil().min(f64::from(u32::MAX)) as u32);
                        let limit = Kind::Rate(rate).owner(Some(&format!("do throttle {name} {key}")));
                        What::Throttle { key: key.as_str().into(), rate, limit }
                    }
                    Action::Route { to, class } => {
                        let from = policy.presses().filter_map(number).collect();
                        if let Some(to) = number(to) {
                            let (policy, class) = (name.clone(), class.clone());
                            routes.push(Route { seat, policy, class, from, to, said: Said::default() });
                        }
                        continue;
                    }
                    Action::Notify(_) => continue,
                };
                refusals.push(Refusal {
                    seat,
                    policy: name.clone(),
                    what,
                    relief: Cell::default(),
                    said: Said::default(),
                });
            }
        }
        let some = !(refusals.is_empty() && routes.is_empty());
        some.then(|| Actions { refusals, routes, shown: main.shown_action.get() })
    }

    /// The first line in force that is about this request.
    #[cold]
    fn find(&self, shell: &Shell, engine: &Engine, request: Request) -> Option<Found<'_>> {
        let in_force = |seat| engine.in_force().any(|number| number == seat);
        self.refusals.iter().filter(|refusal| in_force(refusal.seat)).find_map(|refusal| {
            let wait_s = match &refusal.what {
                What::Shed(class) => has_class(request, class).then(|| refusal.relief_s(shell, engine))?,
                What::Throttle { key, rate, limit } => throttle(shell, request, key, rate, *limit)?,
            };
            Some(Found { refusal, wait_s })
        })
    }

    /// Which upstream a request that comes to number `upstream` goes to. A request is diverted once.
    #[inline]
    pub fn divert(&self, engine: &Engine, request: Request, upstream: usize) -> usize {
        match engine.in_force().next() {
            Some(_) if !self.routes.is_empty() => self.diverted(engine, request, upstream),
            _ => upstream,
        }
    }

    #[cold]
    fn diverted(&self, engine: &Engine, request: Request, upstream: usize) -> usize {
        let is_meant = |route: &&Route| {
            engine.in_force().any(|number| number == route.seat)
                && route.to != upstream
                && (route.from.is_empty() || route.from.contains(&upstream))
                && route.class.as_ref().is_none_or(|class| has_class(request, class))
        };
        let mode = request.loc_conf().mode.unwrap_or_default();
        let Some(route) = self.routes.iter().find(is_meant).filter(|_| mode != Mode::Off) else {
            return upstream;
        };
        self.show(request, mode, "route", &route.policy);
        if mode == Mode::Observe {
            return upstream;
        }
        route
            .said
            .count(|count| format!("autoscale policy \"{}\": {count} request(s) diverted", route.policy));
        route.to
    }

    /// Has `$autoscale_action` say what was done.
    fn show(&self, request: Request, mode: Mode, what: &str, policy: &str) {
        if let Some(slot) = self.shown {
            let would = if mode == Mode::Observe { "would " } else { "" };
            // it is for a log: without memory for it there is none
            let _ = request.set_slot(slot, format!("{would}{what}:{policy}").as_bytes());
        }
    }
}

/// nginx's handler before the access phase.
pub fn handle(request: Request) -> Rc {
    let Some(shell) = request.main_conf().shell() else { return Rc::DECLINED };
    let (Some(actions), Some(engine)) = (shell.actions(), shell.engine()) else { return Rc::DECLINED };
    if engine.in_force().next().is_none() || request.is_subrequest() {
        return Rc::DECLINED;
    }
    let (mode, keys) = (request.loc_conf().mode.unwrap_or_default(), &request.loc_conf().keys);
    // a location without labels says nothing of a request; who has been judged is not judged again where it is redirected to
    if mode != Mode::Off && keys.is_empty() || actions.shown.is_some_and(|slot| request.marks_slot(slot)) {
        return Rc::DECLINED;
    }
    if mode == Mode::Off {
        return Rc::DECLINED;
    }
    match actions.find(shell, engine, request) {
        Some(found) => answer(shell, actions, request, mode, &found),
        None => Rc::DECLINED,
    }
}

fn answer(shell: &Shell, actions: &Actions, request: Request, mode: Mode, found: &Found<'_>) -> Rc {
    let refusal = found.refusal;
    let (rc, what, of) = match &refusal.what {
        What::Shed(class) => (UNAVAILABLE, "shed", class.to_string()),
        What::Throttle { key, .. } => (TOO_MANY_REQUESTS, "throttle", key.to_string()),
    };
    actions.show(request, mode, what, &refusal.policy);
    if mode == Mode::Observe {
        return Rc::DECLINED;
    }
    let mut labels = [KeyRef::NONE; MOST_KEYS];
    let count = collect::label(shell, request, &mut labels);
    reject(&shell.zone, Ref::NONE, &labels[..count], clock::monotonic());
    refusal.said.count(|count| {
        format!("autoscale policy \"{}\": {count} request(s) refused: do {what} {of}", refusal.policy)
    });
    request.say_retry_after(found.wait_s.ceil().max(1.0) as u64);
    rc
}

/// Whether a label of the request's location says that it is of the class.
fn has_class(request: Request, class: &Class) -> bool {
    let mut keys = request.loc_conf().keys.iter();
    keys.any(|key| key.value.eval(&request).is_some_and(|value| class.holds(&key.conf.name, value)))
}

impl Refusal {
    /// When the line may have ceased to be in force, a little later for some than for others: who comes back should not do so in one
    /// wave.
    fn relief_s(&self, shell: &Shell, engine: &Engine) -> f64 {
        let now = clock::monotonic();
        let (asked_s, mut until_us) = self.relief.get();
        if asked_s != now.s() {
            until_us = engine.relief_until_us(self.seat).unwrap_or(until_us);
            self.relief.set((now.s(), until_us));
        }
        let left_s = until_us.saturating_sub(now.us) as f64 / 1e6;
        left_s * (1.0 + (shell.random() >> 40) as f64 / (1u64 << 24) as f64 / 2.0)
    }
}

/// How long the request's value of the key would have to wait, in seconds.
fn throttle(shell: &Shell, request: Request, key: &str, rate: &Rate, limit: u32) -> Option<f64> {
    let mut keys = request.loc_conf().keys.iter();
    let found = keys.find(|own| own.conf.name == *key)?;
    let value = found.value.eval(&request).filter(|value| !value.is_empty())?;
    let us = shell.limits().throttle(limit, value, rate, clock::monotonic())?;
    Some(us as f64 / 1e6)
}
