//! How fast the number of replicas may change: the `behavior` of Kubernetes' HorizontalPodAutoscaler (autoscaling/v2).
//!
//! Source: `pkg/controller/podautoscaler/horizontal.go` of Kubernetes. Two brakes for each direction:
//! - the *stabilisation window* ([`Past`]): down goes no lower than the highest recommendation of the window, up no higher than the lowest;
//! - the *rules*: so many replicas, or so much per cent, in a period, counted from the number there was when the period began.

mod events;
mod past;

pub use events::{Events, EVENTS};
pub use past::{Past, BUCKETS};

/// How many rules one direction can have.
pub const RULES: usize = 4;

/// Which of several rules decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// The one that allows the greatest change.
    #[default]
    Max,
    /// The one that allows the smallest.
    Min,
    /// None: this direction is closed.
    Disabled,
}

/// A number of replicas, or a part of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    Replicas(u32),
    /// 1.0 is 100 %.
    Part(f64),
}

/// At most so much in a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    pub amount: Amount,
    pub period_s: u32,
}

/// The brakes of one direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behavior {
    pub window_s: u32,
    pub select: Select,
    /// Without rules the speed is free.
    pub rules: Vec<Rule>,
}

impl Behavior {
    /// The highest number that the rules for scaling up allow now.
    pub fn highest(&self, current: u32, events: &Events, now_us: u64) -> u32 {
        if self.select == Select::Disabled {
            return current;
        }
        let allowed = self.rules.iter().map(|rule| {
            let start = rule.start(current, events, now_us);
            match rule.amount {
                Amount::Replicas(n) => start + f64::from(n),
                // rounded up: a small part of a few must not be nothing for ever
                Amount::Part(part) => (start * (1.0 + part) - 1e-9).ceil(),
            }
        });
        let chosen = match self.select {
            Select::Min => allowed.reduce(f64::min),
            _ => allowed.reduce(f64::max),
        };
        // a period that began higher (it was scaled down since) does not push
        chosen.map_or(u32::MAX, |n| (n.max(0.0) as u32).max(current))
    }

    /// The lowest number that the rules for scaling down allow now.
    pub fn lowest(&self, current: u32, events: &Events, now_us: u64) -> u32 {
        if self.select == Select::Disabled {
            return current;
        }
        let allowed = self.rules.iter().map(|rule| {
            let start = rule.start(current, events, now_us);
            match rule.amount {
                Amount::Replicas(n) => start - f64::from(n),
                Amount::Part(part) => (start * (1.0 - part) + 1e-9).floor(),
            }
        });
        let chosen = match self.select {
            Select::Min => allowed.reduce(f64::max),
            _ => allowed.reduce(f64::min),
        };
        chosen.map_or(0, |n| (n.max(0.0) as u32).min(current))
    }
}

impl Rule {
    /// How many there were when the period began.
    fn start(&self, current: u32, events: &Events, now_us: u64) -> f64 {
        f64::from(current) - events.change(self.period_s, now_us) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn behavior(select: Select, rules: &[Rule]) -> Behavior {
        Behavior { window_s: 0, select, rules: rules.to_vec() }
    }

    fn pods(n: u32, period_s: u32) -> Rule {
        Rule { amount: Amount::Replicas(n), period_s }
    }

    fn percent(n: f64, period_s: u32) -> Rule {
        Rule { amount: Amount::Part(n / 100.0), period_s }
    }

    #[test]
    fn the_documentation_s_scale_down_example() {
        // "the first policy (Pods) allows at most 4 replicas to be scaled down in one minute, the second (Percent) at most 10 % ...
        // 80 replicas: 8 are allowed, then ceil... until 40 or fewer replicas, when 4 will be applied"
        let down = behavior(Select::Max, &[pods(4, 60), percent(10.0, 60)]);
        let none = Events::default();
        assert_eq!(down.lowest(80, &none, 0), 72);
        // "in the next iteration 72: 10 % is 7.2, rounded up to 8"
        assert_eq!(down.lowest(72, &none, 0), 64);
        assert_eq!(down.lowest(40, &none, 0), 36);
        assert_eq!(down.lowest(10, &none, 0), 6);
        assert_eq!(behavior(Select::Min, &[pods(4, 60), percent(10.0, 60)]).lowest(80, &none, 0), 76);
        assert_eq!(behavior(Select::Disabled, &[pods(4, 60)]).lowest(80, &none, 0), 80);
    }

    #[test]
    fn the_defaults_of_scaling_up() {
        // "4 pods or 100 % of the currently running replicas every 15 seconds, whichever is higher"
        let up = behavior(Select::Max, &[pods(4, 15), percent(100.0, 15)]);
        let none = Events::default();
        assert_eq!([1, 4, 5, 50].map(|n| up.highest(n, &none, 0)), [5, 8, 10, 100]);
        assert_eq!(behavior(Select::Min, &[pods(4, 15), percent(100.0, 15)]).highest(50, &none, 0), 54);
        assert_eq!(behavior(Select::Disabled, &[pods(4, 15)]).highest(50, &none, 0), 50);
        assert_eq!(behavior(Select::Max, &[percent(1.0, 15)]).highest(1, &none, 0), 2);
    }

    #[test]
    fn a_period_counts_from_the_number_it_began_with() {
        let up = behavior(Select::Max, &[pods(4, 60)]);
        let mut events = Events::default();
        events.push(10 * S, 3);
        // 13 now, 10 when the period began: 14 at most until the 3 are older than the period
        assert_eq!(up.highest(13, &events, 20 * S), 14);
        assert_eq!(up.highest(13, &events, 69 * S), 14);
        assert_eq!(up.highest(13, &events, 70 * S), 17);
        // 5 were taken away in the period: it began with 18
        events.push(70 * S, -5);
        assert_eq!(up.highest(13, &events, 71 * S), 22);
        // more than allowed has happened already: no further, and not back
        events.push(71 * S, 20);
        assert_eq!(up.highest(33, &events, 72 * S), 33);
    }

    #[test]
    fn no_rule_is_no_brake() {
        let free = Behavior::default();
        assert_eq!(
            (free.highest(3, &Events::default(), 0), free.lowest(3, &Events::default(), 0)),
            (u32::MAX, 0)
        );
    }
}
