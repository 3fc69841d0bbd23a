//! `ngx.autoscale`: metrics as values, and a hand on the peers.

use logic::autoscale::metrics::zone::{Health, State, Terms};
use logic::autoscale::signal::{Metric, Scope, Signal, Stat};

use crate::conf::MainConf;
use crate::native::{natives, Cx, Str};
use crate::ngx::{clock, cycle_main_conf};
use crate::scale::{members, Answer, Choice, Row, Shell};

/// There is no value: nothing was sampled, or nobody is left.
const NONE: i32 = -1;
/// Refused; the reason is in `error`.
const REFUSED: i32 = -2;
/// What the number meant is not known any more: ask for a new one.
const STALE: i32 = -3;

const STATES: [State; 3] = [State::Up, State::Down, State::Drain];

natives! {
    /// The number of a signal for [`as_read`].
    fn as_signal(cx, text: bytes, error: out<Str>) -> i32 {
        answer(cx, error, |shell| shell.signals.number(&shell.zone, text).map(|n| n as i32))
    }

    /// Value, age, samples.
    fn as_read(cx, number: val<i32>, values: slice<f64>, error: out<Str>) -> i32 {
        answer(cx, error, |shell| {
            let [value, age, samples, ..] = values else { return Ok(NONE) };
            match shell.signals.read(&shell.zone, number as u32, clock::monotonic()) {
                Answer::Value(reading) => {
                    (*value, *age) = (reading.value.unwrap_or(f64::NAN), reading.age);
                    *samples = reading.samples as f64;
                    Ok(if reading.value.is_some() { 0 } else { NONE })
                }
                Answer::Unknown(why) => Err(why),
                Answer::Stale => Ok(STALE),
            }
        })
    }

    /// Adds `n` to a counter; an empty key is none.
    fn as_incr(cx, name: bytes, n: val<f64>, key: bytes, error: out<Str>) -> i32 {
        answer(cx, error, |shell| {
            if !(n.is_finite() && n >= 0.0) {
                return Err("a counter takes a finite number of 0 or more".into());
            }
            let (zone, key, now) = (&shell.zone, some(key), clock::monotonic());
            let entry = match zone.known_counter(name, key, now) {
                Some(entry) => entry,
                None => check_name(name).and_then(|()| zone.counter(name, key, now).map_err(|e| e.to_string()))?,
            };
            if let Some(meter) = zone.meter(entry) {
                meter.incr(now, n);
            }
            Ok(0)
        })
    }

    /// Adds a value to a distribution; an empty key is none.
    fn as_observe(cx, name: bytes, value: val<f64>, key: bytes, error: out<Str>) -> i32 {
        answer(cx, error, |shell| {
            if !value.is_finite() {
                return Err("an observed value is a finite number".into());
            }
            let (zone, key, now) = (&shell.zone, some(key), clock::monotonic());
            let entry = match zone.known_distribution(name, key, now) {
                Some(entry) => entry,
                None => check_name(name).and_then(|()| zone.distribution(name, key, now).map_err(|e| e.to_string()))?,
            };
            if let Some(dist) = zone.dist(entry) {
                dist.observe(now, value);
            }
            Ok(0)
        })
    }

    /// The number of an upstream for the natives below.
    fn as_upstream(cx, name: bytes, error: out<Str>) -> i32 {
        answer(cx, error, |shell| shell.upstream(name).map(|n| n as i32))
    }

    /// The addresses of its peers, a line each; the result is the generation of that list.
    fn as_addresses(cx, upstream: val<i32>, list: out<Str>) -> i32 {
        let (zone, fleet) = match shell(cx).map(|s| (&s.zone, s.fleet(upstream as usize))) {
            Ok((zone, Some(fleet))) => (zone, fleet),
            _ => return NONE,
        };
        let scratch = cx.scratch();
        let generation = fleet.addresses(zone, clock::monotonic(), |addr| {
            scratch.extend_from_slice(addr);
            scratch.push(b'\n');
        });
        list.lend(scratch);
        generation
    }

    /// The number, in the list of that generation, of the peer for the next request.
    fn as_pick(cx, upstream: val<i32>, generation: val<i32>, excluded: slice<i32>, error: out<Str>) -> i32 {
        answer(cx, error, |shell| {
            let Some(fleet) = shell.fleet(upstream as usize) else { return Ok(STALE) };
            shell.sync();
            shell.rouse(upstream as usize);
            match fleet.choose(&shell.zone, generation, excluded, shell.random(), clock::monotonic()) {
                Choice::Member(i) => Ok(i as i32),
                Choice::Nobody => Err(format!("no peer of upstream \"{}\" is left", fleet.name)),
                Choice::Stale => Ok(STALE),
            }
        })
    }

    /// Lists all peers for [`as_peer`]; the result is their number.
    fn as_list(cx, upstream: val<i32>, error: out<Str>) -> i32 {
        answer(cx, error, |shell| {
            shell.sync();
            let fleet = shell.fleet(upstream as usize);
            Ok(fleet.map_or(0, |fleet| fleet.list(&shell.zone, clock::monotonic()) as i32))
        })
    }

    /// Of peer `i`: active, waiting, latency, error_rate, weight, state, backup, down; what is not known is NaN.
    fn as_peer(cx, upstream: val<i32>, i: val<i32>, values: slice<f64>, addr: out<Str>) -> i32 {
        let row = shell(cx)
            .ok()
            .and_then(|s| s.fleet(upstream as usize)?.row(&s.zone, i as usize, clock::monotonic()));
        let Some(row) = row else { return NONE };
        let row_values = [
            f64::from(row.active),
            f64::from(row.waiting),
            row.latency.unwrap_or(f64::NAN),
            row.error_rate.unwrap_or(f64::NAN),
            f64::from(row.weight),
            f64::from(state(&row)),
            f64::from(u8::from(row.backup)),
            f64::from(u8::from(row.down)),
        ];
        values.iter_mut().zip(row_values).for_each(|(to, from)| *to = from);
        let scratch = cx.scratch();
        scratch.extend_from_slice(&row.addr);
        addr.lend(scratch);
        0
    }

    /// Who names peer `addr` of an upstream, if it was added.
    fn as_sources(cx, upstream: val<i32>, addr: bytes, sources: out<Str>) -> i32 {
        let found = cycle_main_conf().and_then(|main| {
            Some(members::sources(main.shell()?, main, upstream as usize, addr))
        });
        let scratch = cx.scratch();
        scratch.extend_from_slice(found.unwrap_or_default().as_bytes());
        sources.lend(scratch);
        0
    }

    /// Adds a peer; a slow start below zero is left to the upstream.
    fn as_peer_add(
        cx, upstream: val<i32>, addr: bytes, weight: val<i32>, slow_start: val<f64>, error: out<Str>,
    ) -> i32 {
        change(cx, error, |shell, main| {
            let weight = u16::try_from(weight).unwrap_or(1);
            let slow_start_ms = (slow_start >= 0.0).then_some((slow_start * 1000.0) as u32);
            let terms = Terms { weight, slow_start_ms };
            members::add(shell, main, upstream as usize, &String::from_utf8_lossy(addr), terms)
        })
    }

    /// Takes it back; it drains for so many seconds at most.
    fn as_peer_remove(cx, upstream: val<i32>, addr: bytes, drain: val<f64>, error: out<Str>) -> i32 {
        change(cx, error, |shell, main| {
            let drain_s = drain.ceil() as u64;
            members::remove(shell, main, upstream as usize, &String::from_utf8_lossy(addr), drain_s)
        })
    }

    /// Changes what is not negative of a peer's override; a weight of 0 and state number 3 take theirs back.
    fn as_set(
        cx, upstream: val<i32>, addr: bytes, weight: val<i32>, state: val<i32>, limit: val<i32>, error: out<Str>,
    ) -> i32 {
        answer(cx, error, |shell| {
            let Some(fleet) = shell.fleet(upstream as usize) else { return Ok(STALE) };
            fleet.set(&shell.zone, addr, clock::monotonic(), |mut control| {
                if let Ok(weight) = u16::try_from(weight) {
                    control.weight = weight;
                }
                if let Ok(state) = usize::try_from(state) {
                    let set = STATES.get(state);
                    (control.state, control.forced) = (set.copied().unwrap_or_default(), set.is_some());
                }
                if let Ok(limit) = u32::try_from(limit) {
                    control.limit = limit;
                }
                control
            })?;
            if state == State::Up as i32 {
                shell.pardon(upstream as usize, addr);
            }
            shell.sync();
            Ok(0)
        })
    }
}

/// The number of a peer's state in the list of the Lua side.
fn state(row: &Row) -> u8 {
    match (row.control.says(), row.health) {
        (State::Up, Health::Ejected) => 4,
        (State::Up, Health::Probation) => 5,
        (state, _) => state as u8,
    }
}

/// The worker's part in the zone.
fn shell(cx: Cx) -> Result<&'static Shell, &'static str> {
    let _ = cx;
    Shell::current()
}

/// What `f` makes of the zone.
fn answer(cx: Cx, error: &mut Str, f: impl FnOnce(&Shell) -> Result<i32, String>) -> i32 {
    let result = shell(cx).map_err(str::to_owned).and_then(f);
    result.unwrap_or_else(|why| {
        let scratch = cx.scratch();
        scratch.extend_from_slice(why.as_bytes());
        error.lend(scratch);
        REFUSED
    })
}

/// What `f` changes of who is there.
fn change(cx: Cx, error: &mut Str, f: impl FnOnce(&Shell, &MainConf) -> Result<(), String>) -> i32 {
    answer(cx, error, |shell| {
        let main = cycle_main_conf().ok_or("no configuration yet")?;
        f(shell, main).map(|()| 0)
    })
}

fn some(key: &[u8]) -> Option<&[u8]> {
    (!key.is_empty()).then_some(key)
}

/// A metric must be readable by the signal `custom.NAME`.
fn check_name(name: &[u8]) -> Result<(), String> {
    let bad = || {
        let name = String::from_utf8_lossy(name);
        format!("invalid metric name \"{name}\": write letters, digits, \"_\" and \"-\", and not a stat such as p95")
    };
    let text = core::str::from_utf8(name).map_err(|_| bad())?;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let signal = format!("custom.{text}").parse::<Signal>().map_err(|_| bad())?;
    let whole = signal.scope == Scope::Custom { name: text.into(), key: None };
    let plain = signal.metric == Metric::Value && signal.stat == Stat::Avg;
    (whole && plain && text.len() <= 64 && text.chars().all(legal)).then_some(()).ok_or_else(bad)
}
