//! One evaluation of a policy.

use super::behavior::{Amount, Behavior, Rule as Speed};
use super::forecast::Silent;
use super::hpa::{self, Share};
use super::line::Look;
use super::state::{Pending, State};
use super::verdict::{Actions, Evaluation, Outcome, Seen, Verdict, Why};
use super::{Does, Policy, Track};
use crate::autoscale::metrics::Now;
use crate::autoscale::read::Reading;

/// The signals of a policy, by slot.
pub trait View {
    fn read(&self, slot: usize) -> Reading;
    /// The values of the last requests, the newest first: how many there were for `into`, and how many have ended since ever (0 when
    /// the signal has no value for a single request).
    fn last(&self, slot: usize, into: &mut [f64]) -> (usize, u64);
}

/// The replicas of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// As many as were asked for.
    pub wanted: u32,
    /// As many as take requests.
    pub ready: u32,
}

/// A script's wish; the reason may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub replicas: u32,
    pub reason: String,
}

/// The `by_lua_block` rules of a policy.
pub trait Script {
    /// The wish of the n-th block, `None` when it has none, or its error.
    fn wish(&mut self, number: usize, replicas: Replicas) -> Result<Option<Wish>, String>;
}

/// Why the policy is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The tick of the zone.
    Tick,
    /// A request ended: only the rules that look at requests, and only upwards.
    Request,
}

/// `autoscale on | observe | off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    On,
    Observe,
    /// `on`, but another gateway is the one that writes, or nobody knows who: what is decided is pending as well, until
    /// [`Policy::leave`] leaves it to that one, or this gateway leads and writes it.
    Follow,
    Off,
}

/// What an evaluation is made of.
pub struct Input<'a> {
    /// The clock that never steps, for ages and cooldowns.
    pub now: Now,
    /// The wall clock in milliseconds since 1970, for the calendar and the seasons.
    pub unix_ms: u64,
    pub event: Event,
    pub mode: Mode,
    /// `None` when it could not be learnt.
    pub replicas: Option<Replicas>,
    pub view: &'a dyn View,
    pub script: Option<&'a mut dyn Script>,
}

impl<'a> Input<'a> {
    /// The same with someone who runs scripts.
    pub fn with_script<'b>(self, script: &'b mut dyn Script) -> Input<'b>
    where
        'a: 'b,
    {
        Input { script: Some(script), ..self }
    }
}

const NOBODY: Replicas = Replicas { wanted: 0, ready: 0 };

/// A gateway that leads has looked at its signals, and carried out what it decided, within so many ticks.
const LEAVE_TICKS: u64 = 2;

/// A write that was not settled for so long has no writer any more (a write may take 60 s): it counts as failed.
pub const LOST_US: u64 = 120_000_000;

/// What becomes of a wish on its way.
struct Path {
    wish: u32,
    rule: Option<usize>,
    limited: u32,
    why: Option<Why>,
    /// By a script, whose wishes add up.
    asked: bool,
}

impl Policy {
    /// Evaluates the policy once. `state` is changed; with [`Outcome::Scale`] it holds the decision as pending until
    /// [`Policy::settle`].
    pub fn step(&self, state: &mut State, mut input: Input<'_>) -> Evaluation {
        let seen = self.look(&input);
        let known = self.replicas(&input).unwrap_or(NOBODY);
        self.begin(state, known, &input);
        let mut reasons = Vec::new();
        let mut judge = |n: usize| self.judge(n, state, &seen, known, &mut input, &mut reasons);
        let verdicts: Vec<Verdict> = (0..self.rules.len()).map(&mut judge).collect();
        let path = self.wish(&verdicts, known.wanted, &input);
        let evaluation = self.conclude(state, path, seen, verdicts, &input);
        let reason = reasons.into_iter().find(|(n, _)| evaluation.rule == Some(*n));
        Evaluation { reason: reason.map(|(_, reason)| reason), ..evaluation }
    }

    /// A script asks for a number of replicas, outside of the rules. It is braked, bounded and cooled down as any wish, and as a request
    /// is: no tick is counted.
    pub fn ask(&self, state: &mut State, input: Input<'_>, replicas: u32, reason: &str) -> Evaluation {
        let input = Input { event: Event::Request, ..input };
        let verdicts = vec![Verdict::NotNow; self.rules.len()];
        let path = Path { wish: replicas, rule: None, limited: replicas, why: None, asked: true };
        let seen = self.look(&input);
        let evaluation = self.conclude(state, path, seen, verdicts, &input);
        Evaluation { asked: Some(reason.into()), news: true, ..evaluation }
    }

    /// Another gateway was last known to lead, and to be alive, at `seen_us`. What was pending here for two ticks before that is left to
    /// it, as if it had been written at once: that gateway has seen the same load. What it had no time for stays pending: if it has
    /// died meanwhile, whoever leads after it has an order to carry out. Returns what was left.
    pub fn leave(&self, state: &mut State, seen_us: u64, tick_us: u64) -> Option<Pending> {
        let pending = state.pending;
        let left = pending.id != 0 && seen_us >= pending.at_us.saturating_add(LEAVE_TICKS * tick_us);
        left.then(|| self.settle(state, pending.at_us, pending.id, Some(pending.to)))?;
        Some(pending)
    }

    /// While another gateway leads, the target has moved: that is taken for the answer to the load that this gateway has seen, too, so
    /// it begins the same cooldown here, and what is pending and not beyond it is done.
    pub fn moved(&self, state: &mut State, now_us: u64, from: u32, to: u32) {
        if from == to {
            return;
        }
        let pending = state.pending;
        if pending.id != 0 && pending.is_reached(to) {
            return self.settle(state, now_us, pending.id, Some(to));
        }
        state.events.push(now_us, i64::from(to) - i64::from(from));
        state.changed(to > from, now_us);
    }

    /// What there is, `None` when it could not be learnt.
    fn replicas(&self, input: &Input<'_>) -> Option<Replicas> {
        match (input.replicas, &self.target) {
            (None, None) => Some(NOBODY),
            (known, _) => known,
        }
    }

    /// From the wish to what becomes of it.
    fn conclude(
        &self,
        state: &mut State,
        mut path: Path,
        seen: Vec<Seen>,
        verdicts: Vec<Verdict>,
        input: &Input<'_>,
    ) -> Evaluation {
        let replicas = self.replicas(input);
        let known = replicas.unwrap_or(NOBODY);
        let outcome = match (input.mode, &self.target, replicas) {
            (Mode::Off, ..) => Outcome::Stay(Why::Off),
            (_, None, _) => Outcome::Stay(Why::NoTarget),
            (.., None) => Outcome::Stay(Why::Unknown),
            (.., Some(Replicas { wanted: 0, .. })) if self.limits.least() > 0 => Outcome::Stay(Why::Paused),
            (.., Some(replicas)) => self.outcome(state, &mut path, replicas.wanted, input),
        };
        if matches!(outcome, Outcome::Scale { .. } | Outcome::Would { .. }) {
            self.spend(state, &verdicts, input.view);
        }
        let actions = self.actions(state, &verdicts, &path, known.wanted, outcome, input);
        let (wish, rule, after_limits) = (path.wish, path.rule, path.limited);
        let after_cooldown = match outcome {
            Outcome::Scale { to, .. } | Outcome::Would { to, .. } => to,
            Outcome::Stay(_) => known.wanted,
        };
        let code = outcome.code() | rule.map_or(0, |rule| rule as u32 + 1) << 8;
        let news = input.event == Event::Tick && code != state.reason || after_cooldown != known.wanted;
        if news {
            state.reason = code;
        }
        let id = if after_cooldown == known.wanted { 0 } else { state.decisions };
        Evaluation {
            id,
            verdicts,
            seen,
            replicas,
            wish,
            rule,
            reason: None,
            after_limits,
            after_cooldown,
            outcome,
            actions,
            asked: None,
            news,
        }
    }

    fn look(&self, input: &Input<'_>) -> Vec<Seen> {
        let read = |(slot, watched): (usize, &super::Watched)| {
            let reading = input.view.read(slot);
            Seen { reading, stale: watched.is_stale(&reading) }
        };
        self.signals.iter().enumerate().map(read).collect()
    }

    /// What a controller that just started assumes: that what there is was needed.
    fn begin(&self, state: &mut State, replicas: Replicas, input: &Input<'_>) {
        if state.tick_us == 0 && input.event == Event::Tick {
            for (rule, state) in self.rules.iter().zip(&mut state.rules) {
                // Knative starts in panic with more than one pod
                if matches!(&rule.does, Does::Track(track) if track.panic.is_some()) && replicas.ready > 1 {
                    (state.panic.at_us, state.panic.most) = (input.now.us.max(1), replicas.ready);
                }
            }
            // Kubernetes begins the window with the current number
            if self.window_s() > 0 && input.replicas.is_some() {
                state.past.record(input.now.us, self.window_s(), replicas.wanted);
            }
        }
        if input.event == Event::Tick {
            state.tick_us = input.now.us.max(1);
        }
    }

    fn window_s(&self) -> u32 {
        self.up.window_s.max(self.down.window_s)
    }

    fn judge(
        &self,
        number: usize,
        state: &mut State,
        seen: &[Seen],
        replicas: Replicas,
        input: &mut Input<'_>,
        reasons: &mut Vec<(usize, String)>,
    ) -> Verdict {
        let rule = &self.rules[number];
        let tick = input.event == Event::Tick;
        if !tick && !rule.watches_requests(self) {
            return Verdict::NotNow;
        }
        match &rule.does {
            Does::Up(line) | Does::Down(line) => {
                let Seen { reading, stale } = seen[line.condition.slot];
                let window = self.signals[line.condition.slot].signal.window;
                let look = Look { view: input.view, reading, stale, window, now_us: input.now.us, tick };
                line.judge(&mut state.rules[number], &look, replicas.wanted)
            }
            Does::Track(track) => self.track(track, number, state, seen, replicas, input.now),
            Does::Schedule(schedule) => match schedule.active((input.unix_ms / 1000) as i64) {
                Some(_) => Verdict::Floor(schedule.min),
                None => Verdict::Quiet,
            },
            Does::Forecast(ahead) => {
                let Seen { reading, stale } = seen[ahead.slot];
                if let (Some(value), false) = (reading.value, stale) {
                    state.season.learn(ahead.period_ms, ahead.lead_ms, input.unix_ms, input.now.us, value);
                }
                match state.season.forecast(ahead.period_ms, input.unix_ms) {
                    Ok(forecast) if ahead.observe => Verdict::Observed(hpa::ceil(forecast.value / ahead.per)),
                    Ok(forecast) => Verdict::Floor(hpa::ceil(forecast.value / ahead.per)),
                    Err(Silent::Inferior) => Verdict::Inferior,
                    Err(Silent::Learning) => {
                        let of_s = 2.0 * ahead.period_ms as f64 / 1000.0;
                        // whole slots may add up to a little more
                        Verdict::Learning { seen_s: state.season.seen_s().min(of_s), of_s }
                    }
                }
            }
            Does::Script(n) => match input.script.as_mut().map(|script| script.wish(*n, replicas)) {
                Some(Ok(Some(wish))) => {
                    if !wish.reason.is_empty() {
                        reasons.push((number, wish.reason));
                    }
                    Verdict::Wish(wish.replicas)
                }
                Some(Ok(None)) => Verdict::Quiet,
                Some(Err(why)) => Verdict::Failed(why),
                None => Verdict::Failed("no Lua here".into()),
            },
        }
    }

    fn track(
        &self,
        track: &Track,
        number: usize,
        state: &mut State,
        seen: &[Seen],
        replicas: Replicas,
        now: Now,
    ) -> Verdict {
        let value = |slot: usize| seen[slot].reading.value.filter(|_| !seen[slot].stale);
        let Some(stable) = value(track.slot) else { return Verdict::NoValue { slot: track.slot } };
        if let Some(panic) = &track.panic {
            let Some(short) = value(panic.slot) else { return Verdict::NoValue { slot: panic.slot } };
            let memory = &mut state.rules[number].panic;
            let stable = (stable, panic.stable_s);
            return Verdict::Wish(
                panic.panic.desired(memory, now.us, stable, short, track.per, replicas.ready).replicas,
            );
        }
        Verdict::Wish(match track.share {
            Share::Total => hpa::total(stable, track.per, replicas.wanted, track.tolerance),
            Share::Mean => hpa::mean(stable, track.per, replicas.wanted, replicas.ready, track.tolerance),
        })
    }

    /// The highest wish. A stale signal keeps what there is, and `limit stale=` may ask for more.
    fn wish(&self, verdicts: &[Verdict], current: u32, input: &Input<'_>) -> Path {
        let mut best: Option<(u32, usize)> = None;
        let mut offer = |wish: u32, rule: usize| {
            if best.is_none_or(|(most, _)| wish > most) {
                best = Some((wish, rule));
            }
        };
        let is_down = |n: usize| matches!(self.rules[n].does, Does::Down(_));
        let downs = || (0..self.rules.len()).filter(|n| is_down(*n));
        let all_down = downs().all(|n| matches!(verdicts[n], Verdict::Wish(_)));
        let (mut stale, mut opinion, mut calendar) = (None, downs().next().is_some() && !all_down, true);
        for (n, (rule, verdict)) in self.rules.iter().zip(verdicts).enumerate() {
            calendar &= matches!(rule.does, Does::Schedule(_) | Does::Forecast(_));
            match verdict {
                Verdict::Wish(wish) if !is_down(n) || all_down => offer(*wish, n),
                Verdict::Floor(floor) => offer(*floor, n),
                Verdict::NoValue { slot } if matches!(rule.does, Does::Track(_)) => stale = Some(*slot),
                Verdict::NoValue { slot } if self.signals[*slot].is_reported() => stale = Some(*slot),
                Verdict::Failed(_) => opinion = true,
                _ => {}
            }
        }
        // only floors, or nobody: a calendar alone goes back to the minimum, all else keeps what there is
        let levels = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Wish(_)));
        let keep = match (calendar, levels) {
            (true, _) => self.limits.least(),
            (false, true) if !opinion => 0,
            _ => current,
        };
        let keep = if input.event == Event::Request { current } else { keep };
        let (wish, rule) =
            best.map_or((keep, None), |(wish, rule)| (wish.max(keep), (wish >= keep).then_some(rule)));
        let Some(slot) = stale else { return Path { wish, rule, limited: wish, why: None, asked: false } };
        let safe = current.max(self.limits.stale);
        let (kept, why) = if wish < safe { (safe, Some(Why::Stale { slot })) } else { (wish, None) };
        Path { wish: kept, rule, limited: kept, why, asked: false }
    }

    /// Brakes, bounds, cooldown.
    fn outcome(&self, state: &mut State, path: &mut Path, current: u32, input: &Input<'_>) -> Outcome {
        let now_us = input.now.us;
        let bounds = (self.limits.least(), self.limits.max.max(self.limits.least()));
        let steady = self.stabilise(state, path.wish, current, input);
        let paced = self.pace(state, steady, current, now_us);
        let to = paced.clamp(bounds.0, bounds.1);
        path.limited = to;
        let wish = path.wish;
        if to == current {
            return Outcome::Stay(match path.why {
                _ if wish == current && path.why.is_none() => Why::Enough,
                Some(why) if wish == current => why,
                _ if steady == current => Why::Stabilising { wish },
                _ if paced == current => Why::TooFast { wish },
                _ if wish > current => Why::AtMax { wish },
                _ => Why::AtMin { wish },
            });
        }
        let left = |until_us: u64| until_us.saturating_sub(now_us);
        if left(state.hold_us) > 0 {
            return Outcome::Stay(Why::Held { wish, left_s: left(state.hold_us) as f64 / 1e6 });
        }
        // what somebody else moved out of bounds comes back at once
        let writes = input.mode == Mode::On && !self.observe;
        let outside = writes && (current < bounds.0 || current > bounds.1);
        let since = |at_us: u64, cooldown_us: u64| if at_us == 0 { 0 } else { left(at_us + cooldown_us) };
        let cooling = match to > current {
            true => since(state.up_us, self.cooldown.up_us),
            false => since(state.up_us.max(state.down_us), self.cooldown.down_us),
        };
        if cooling > 0 && !outside {
            return Outcome::Stay(Why::Cooldown { wish, left_s: cooling as f64 / 1e6 });
        }
        let pending = state.pending;
        let lost = now_us.saturating_sub(pending.at_us) > LOST_US;
        let further = path.asked && to < pending.to && pending.to < pending.from;
        if pending.id != 0 && !lost && to <= pending.to.max(current) && !further {
            return Outcome::Stay(Why::Pending { wish, to: pending.to });
        }
        state.decisions += 1;
        let order = Pending { id: state.decisions, at_us: now_us.max(1), from: current, to };
        if writes {
            state.pending = order;
            return Outcome::Scale { from: current, to };
        }
        match input.mode {
            // an order for whoever leads: `Policy::leave` tells when that is another gateway
            Mode::Follow if !self.observe => state.pending = order,
            // a cooldown as if it had been written, or every tick would decide again
            _ => state.changed(to > current, now_us),
        }
        Outcome::Would { from: current, to }
    }

    /// The stabilisation windows of both directions, as Kubernetes has them.
    fn stabilise(&self, state: &mut State, wish: u32, current: u32, input: &Input<'_>) -> u32 {
        let (now_us, past) = (input.now.us, &mut state.past);
        let within = |window_s: u32, found: Option<u32>| found.filter(|_| window_s > 0).unwrap_or(wish);
        let lowest = within(self.up.window_s, past.lowest(now_us, self.up.window_s)).min(wish);
        let highest = within(self.down.window_s, past.highest(now_us, self.down.window_s)).max(wish);
        if self.window_s() > 0 && input.event == Event::Tick {
            past.record(now_us, self.window_s(), wish);
        }
        if wish > current {
            current.max(lowest)
        } else {
            current.min(highest)
        }
    }

    /// The rules of speed.
    fn pace(&self, state: &State, wish: u32, current: u32, now_us: u64) -> u32 {
        let minute = |amount: &Amount| Behavior {
            rules: vec![Speed { amount: *amount, period_s: 60 }],
            ..Behavior::default()
        };
        let minute = self.limits.rate.as_ref().map(minute);
        if wish > current {
            let rate = minute.map_or(u32::MAX, |rate| rate.highest(current, &state.events, now_us));
            wish.min(self.up.highest(current, &state.events, now_us)).min(rate)
        } else {
            let rate = minute.map_or(0, |rate| rate.lowest(current, &state.events, now_us));
            wish.max(self.down.lowest(current, &state.events, now_us)).max(rate)
        }
    }

    fn spend(&self, state: &mut State, verdicts: &[Verdict], view: &dyn View) {
        for (n, (rule, verdict)) in self.rules.iter().zip(verdicts).enumerate() {
            if let (Does::Up(line) | Does::Down(line), Verdict::Wish(_)) = (&rule.does, verdict) {
                line.spend(self, &mut state.rules[n], view);
            }
        }
    }

    /// `do` lines are in force while an `up` line holds that more replicas cannot answer, and a while longer.
    fn actions(
        &self,
        state: &mut State,
        verdicts: &[Verdict],
        path: &Path,
        current: u32,
        outcome: Outcome,
        input: &Input<'_>,
    ) -> Actions {
        let acts = matches!(outcome, Outcome::Scale { .. });
        let idle = matches!(input.mode, Mode::Observe | Mode::Off);
        if self.actions.is_empty() || idle || self.observe {
            let turned = core::mem::take(&mut state.acting);
            return Actions { in_force: false, turned, notify: false };
        }
        let up = |(rule, verdict): (&super::Rule, &Verdict)| {
            matches!((&rule.does, verdict), (Does::Up(_), Verdict::Wish(_)))
        };
        let pressed = match self.target {
            None => self.rules.iter().zip(verdicts).any(up),
            Some(_) => path.wish > self.limits.max && current >= self.limits.max,
        };
        let now_us = input.now.us;
        if pressed {
            state.pressed_us = now_us.max(1);
        }
        let relief_us = self.relief_us();
        let in_force = state.pressed_us > 0 && now_us < state.pressed_us + relief_us;
        let turned = in_force != state.acting;
        state.acting = in_force;
        Actions { in_force, turned, notify: acts || turned }
    }
}

impl Outcome {
    /// A number for each kind of explanation.
    fn code(self) -> u32 {
        match self {
            Self::Scale { .. } => 1,
            Self::Would { .. } => 2,
            Self::Stay(why) => match why {
                Why::Enough => 10,
                Why::Off => 11,
                Why::NoTarget => 12,
                Why::Unknown => 13,
                Why::Paused => 14,
                Why::Stale { .. } => 15,
                Why::Stabilising { .. } => 16,
                Why::TooFast { .. } => 17,
                Why::AtMax { .. } => 18,
                Why::AtMin { .. } => 19,
                Why::Cooldown { .. } => 20,
                Why::Held { .. } => 21,
                Why::Pending { .. } => 22,
            },
        }
    }
}
