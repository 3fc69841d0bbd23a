//! `autoscale_split` at work: what its variable says to a request, and what a tick makes of its guards.

use std::rc::Rc;

use logic::autoscale::metrics::series::Upstream;
use logic::autoscale::metrics::table::Ref;
use logic::autoscale::metrics::zone::{of_upstream, Zone};
use logic::autoscale::policy::Mode;
use logic::autoscale::read::Reading;
use logic::autoscale::signal::Signal;
use logic::autoscale::split::{Change, Phase, Progress, Split, WHOLE};

use super::Shell;
use crate::conf::{MainConf, SplitConf};
use crate::ngx::{clock, log_cycle, Level, Request};

/// The splits of a worker, in the order of their directives.
pub struct Splits {
    all: Vec<Seat>,
    mode: Mode,
    tick_s: u32,
}

struct Seat {
    conf: Rc<SplitConf>,
    /// The upstream that may grow, which keeps how far it is.
    moving: Ref<Upstream>,
}

/// A split now.
pub struct State<'a> {
    pub split: &'a Split,
    /// Of [`WHOLE`], the moving arm's.
    pub share: u32,
    pub phase: Phase,
}

impl Splits {
    pub fn new(main: &MainConf, zone: &Zone<'_>, tick_s: u64) -> Splits {
        let seat = |conf: &Rc<SplitConf>| {
            let name = &conf.split.arms[conf.split.moving].upstream;
            let moving = zone.find_upstream(name.as_bytes()).unwrap_or(Ref::NONE);
            Seat { conf: Rc::clone(conf), moving }
        };
        let mode = main.autoscale.settings().map(|settings| settings.mode).unwrap_or_default();
        let splits =
            Splits { all: main.splits.borrow().iter().map(seat).collect(), mode, tick_s: tick_s as u32 };
        // what happens from here on counts
        for (seat, progress) in splits.all.iter().filter_map(|seat| Some((seat, seat.progress(zone)?))) {
            progress.begin(&seat.conf.split, clock::monotonic());
        }
        splits
    }

    /// The upstream that a request goes to.
    fn arm<'s>(&'s self, shell: &Shell, number: usize, request: Request) -> Option<&'s str> {
        let seat = self.all.get(number)?;
        let split = &seat.conf.split;
        let share = seat.progress(&shell.zone).map_or(split.arms[split.moving].share, |p| p.share(split).0);
        let key = seat.conf.key.as_ref().and_then(|key| key.eval(&request)).filter(|key| !key.is_empty());
        let place = key.map_or_else(|| Split::place(shell.random()), |key| split.place_of(key));
        Some(&split.arm(share, place).upstream)
    }

    /// One worker of all judges the guards.
    pub fn tick(&self, zone: &Zone<'_>) {
        let now = clock::monotonic();
        let read = |signal: &Signal| -> Option<Reading> {
            signal.resolve(zone, self.tick_s).ok()?.read(zone, now).ok()
        };
        for seat in self.all.iter().filter(|_| self.mode != Mode::Off) {
            let split = &seat.conf.split;
            let Some(progress) = seat.progress(zone) else { continue };
            if let Some(change) = progress.tick(split, self.mode == Mode::Observe, &read, now) {
                say(split, &change);
            }
        }
    }

    /// How far the split of a variable is, `None` when there is none.
    pub fn state<'s>(&'s self, zone: &Zone<'_>, variable: &str) -> Option<State<'s>> {
        let seat = self.named(variable)?;
        let split = &seat.conf.split;
        let (share, phase) = seat.progress(zone)?.share(split);
        Some(State { split, share, phase })
    }

    /// Has a split begin anew; false when there is none.
    pub fn restart(&self, zone: &Zone<'_>, variable: &str) -> bool {
        let restart = |seat: &Seat| {
            seat.progress(zone)?.restart(&seat.conf.split, clock::monotonic());
            Some(())
        };
        let restarted = self.named(variable).and_then(restart).is_some();
        if restarted {
            log_cycle(Level::Notice, &format!("autoscale_split ${variable}: it begins anew, by a script"));
        }
        restarted
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|seat| seat.conf.split.variable.as_str())
    }

    fn named(&self, variable: &str) -> Option<&Seat> {
        self.all.iter().find(|seat| seat.conf.split.variable == variable)
    }
}

impl Seat {
    fn progress<'z>(&self, zone: &Zone<'z>) -> Option<Progress<'z>> {
        Some(Progress::new(&zone.side(self.moving)?[of_upstream::SPLIT], self.conf.mark))
    }
}

fn say(split: &Split, change: &Change) {
    let arm = &split.arms[split.moving].upstream;
    let percent = |share: u32| f64::from(share) * 100.0 / f64::from(WHOLE);
    let (level, what) = match change {
        Change::Stepped { from, to } => {
            (Level::Notice, format!("\"{arm}\" has {}% from now on, after {}%", percent(*to), percent(*from)))
        }
        Change::RolledBack { from, why } => {
            (Level::Error, format!("\"{arm}\" has nothing from now on, after {}%: {why}", percent(*from)))
        }
        Change::Would(what) => (Level::Notice, format!("only observed, it would {what}, of \"{arm}\"")),
    };
    log_cycle(level, &format!("autoscale_split ${}: {what}", split.variable));
}

/// What the variable of split `number` says: the first upstream where there is no zone to ask.
pub fn value(request: Request, number: usize) -> Option<Vec<u8>> {
    let main = request.main_conf();
    if let Some(shell) = main.shell() {
        return shell.splits().arm(shell, number, request).map(|arm| arm.as_bytes().to_vec());
    }
    let splits = main.splits.borrow();
    Some(splits.get(number)?.split.arms[0].upstream.as_bytes().to_vec())
}
