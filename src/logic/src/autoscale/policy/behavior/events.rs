//! The latest changes of the number of replicas.

/// How many changes are kept one by one.
pub const EVENTS: usize = 32;

/// A change, and when it happened. `at_us` of 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub at_us: u64,
    pub change: i64,
}

/// The latest changes, the oldest first.
///
/// When there is no room the two oldest become one at the later time: they brake a little longer than they should, never shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events(pub [Event; EVENTS]);

impl Default for Events {
    fn default() -> Self {
        Self([Event::default(); EVENTS])
    }
}

impl Events {
    pub fn push(&mut self, at_us: u64, change: i64) {
        let at_us = at_us.max(1);
        let list = &mut self.0;
        let free = list.iter().position(|event| event.at_us == 0).unwrap_or_else(|| {
            // ups and downs apart, so that one does not hide the other
            let same = (1..EVENTS).find(|i| (list[*i].change > 0) == (list[0].change > 0)).unwrap_or(1);
            list[same].change += list[0].change;
            list.rotate_left(1);
            EVENTS - 1
        });
        list[free] = Event { at_us, change };
    }

    /// What was added, less what was taken away, in the last `period_s` seconds.
    pub fn change(&self, period_s: u32, now_us: u64) -> i64 {
        let period_us = u64::from(period_s) * 1_000_000;
        let young = |event: &&Event| event.at_us > 0 && now_us < event.at_us + period_us;
        self.0.iter().filter(young).map(|event| event.change).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_brakes_longer_not_shorter() {
        let mut events = Events::default();
        for s in 0..EVENTS as u64 + 5 {
            events.push(s * 1_000_000, 1);
        }
        assert_eq!(events.change(3600, 40_000_000), EVENTS as i64 + 5);
        assert!(events.0.windows(2).all(|pair| pair[0].at_us < pair[1].at_us));
    }
}
